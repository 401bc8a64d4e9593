"""selfie-train export: a trained network for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from selfie_train.commands.subcommand import DONE, TrainCommand


@dataclass(frozen=True)
class ExportRun(TrainCommand):
    """Write a trained network to the new folder OUT, for programs without this package.

      safetensors  the weights, as torch has them; two files of a run with two networks
      onnx         one graph: bytes in, class probabilities out; the normalisation, and the mean of two
                   networks, are in it (extra [onnx])

    OUT/network.json says how to feed the network: image shape, order of bytes, normalisation, class names,
    versions.
    """

    EXAMPLES = (
        "selfie-train export runs/selfie exported",
        "selfie-train export runs/selfie exported-onnx --to onnx",
    )

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    out: tyro.conf.Positional[Path]
    """The folder to write; it must not exist."""
    to: Literal["safetensors", "onnx"] = "safetensors"
    """The format."""
    which: Literal["last", "best"] = "last"
    """The weights: the run's last ones, or those of its best epoch (early stopping keeps them)."""

    def run(self) -> int:
        """Load the run and write its networks."""
        from selfie_train.inference.export import DESCRIPTION, export_run
        from selfie_train.inference.trained_run import load_run

        trained = load_run(self.run_folder, which=self.which, device="cpu")
        if not trained.finished:
            print(f"the run is not finished: these are the weights of epoch {trained.epoch}")
        export_run(trained, self.out, to=self.to)
        files = ", ".join(sorted(path.name for path in self.out.iterdir() if path.name != DESCRIPTION))
        print(f"{self.out}: {files}; {DESCRIPTION} says how to feed {'them' if ',' in files else 'it'}")
        return DONE
