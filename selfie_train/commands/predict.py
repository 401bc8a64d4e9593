"""selfie-train predict: the classes of image files, by a trained run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from selfie_io.convert.subcommand import progress
from selfie_train.commands.subcommand import DONE, TrainCommand

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfie_train.inference.trained_run import TrainedRun

LISTED = 20  # predictions that are printed where --out takes all


@dataclass(frozen=True)
class Predict(TrainCommand):
    """Tell the classes of image files.

    An image is decoded and scaled to the size that the run learnt, as selfie-convert pack does it. Of a run
    with two networks (Co-teaching, DivideMix) the prediction is the mean of both networks' probabilities.
    """

    EXAMPLES = (
        "selfie-train predict runs/selfie photo.jpg other.png",
        "selfie-train predict runs/selfie photos/ --out predictions.csv",
        "selfie-train predict runs/selfie photos.zip --skip-bad --out probabilities.npy",
    )

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, folders of images, archives of images."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the predictions: a .csv with the names, or a .npy of all probabilities, float32 (n, k); by
    default they are printed."""
    which: Literal["last", "best"] = "last"
    """The weights: the run's last ones, or those of its best epoch (early stopping keeps them)."""
    skip_bad: bool = False
    """Leave out files that are no images, and say which."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: CUDA where there is one."""

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("IMAGES must name an image, a folder or an archive, got nothing")

    def run(self) -> int:
        """Predict, and print or write what came out."""
        from selfie_train.inference.table import check_out, write_predictions
        from selfie_train.inference.trained_run import load_run

        check_out(self.out)
        trained = load_run(self.run_folder, which=self.which, device=self.device)
        if not trained.finished:
            _say(f"the run is not finished: these are the weights of epoch {trained.epoch}")
        names, shares = self._predict(trained)
        if self.out is None:
            print("name,label,class,probability")
        shown = names if self.out is None else names[:LISTED]
        for name, row in zip(shown, shares, strict=False):
            label = int(row.argmax())
            print(f"{name},{label},{trained.class_names[label]},{row[label]:.4f}")
        if self.out is not None:
            if len(names) > LISTED:
                print(f"and {len(names) - LISTED:,} more")
            write_predictions(self.out, shares, names, trained.class_names)
            print(f"{len(names):,} predictions: {self.out}")
        return DONE

    def _predict(self, trained: TrainedRun) -> tuple[list[str], NDArray[np.float32]]:
        """The names of the images that could be read, and their probabilities float32 (n, k); by
        default they are printed."""
        import numpy as np

        from selfie_train.inference.inputs import count_files, file_batches
        from selfie_train.inference.prediction import probabilities

        names: list[str] = []
        found: list[NDArray[np.float32]] = []
        bad: list[str] = []
        size = int(trained.config.batch_size)
        with progress("predict", count_files(self.images), "images") as advance:
            for part in file_batches(self.images, trained.shape, size):
                bad += [f"{name}: {reason}" for name, reason in part.bad]
                advance(len(part.names) + len(part.bad))
                if bad and not self.skip_bad:
                    continue
                names += part.names
                found.append(probabilities(trained.logits(part.images)).numpy())
        if bad and not self.skip_bad:
            told = "\n".join(bad[:LISTED]) + (
                f"\nand {len(bad) - LISTED:,} more" if len(bad) > LISTED else ""
            )
            raise ValueError(f"{told}\n(--skip-bad leaves them out)")
        for line in bad:
            _say(f"left out: {line}")
        if not names:
            raise ValueError("none of the files is an image that can be read")
        return names, np.concatenate(found)


def _say(line: str) -> None:
    print(f"selfie-train: {line}", file=sys.stderr)
