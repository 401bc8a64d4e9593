"""selfie-train evaluate: how good a run is on a data set, class by class."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from rich.table import Table as RichTable

from selfie_io.rich_console import RichConsole
from selfie_train.commands.subcommand import DONE, TrainCommand

if TYPE_CHECKING:
    from selfie_train.inference.evaluation import Evaluation

MOST_CLASSES = 20  # in the table on the terminal; --json has all


@dataclass(frozen=True)
class Evaluate(TrainCommand):
    """Compare what a run predicts with the labels of a data set.

    The figures are error, loss, the error of each class, the classes that are confused most often, and how
    far the probabilities can be trusted (expected calibration error). Of a run with two networks
    (Co-teaching, DivideMix) the prediction is the mean of both networks' probabilities; `run` logs the mean
    of both networks' errors instead, which is told as well.
    """

    EXAMPLES = (
        "selfie-train evaluate runs/selfie --dataset data/digits",
        "selfie-train evaluate runs/selfie --dataset data/digits --out predictions.csv",
        "selfie-train evaluate runs/selfie --dataset data/cifar10 --split train --labels worse_label --json",
    )

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    dataset: Path
    """The data set, a folder of record files with the shape and classes that the run learnt."""
    split: Literal["test", "train"] = "test"
    """The split to predict."""
    labels: Annotated[str | None, tyro.conf.arg(metavar="OVERLAY")] = None
    """Compare with the labels of this overlay, with --split train; by default with the stored labels."""
    which: Literal["last", "best"] = "last"
    """The weights: the run's last ones, or those of its best epoch (early stopping keeps them)."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write every prediction: a .csv with names, labels and probabilities, or a .npy of all probabilities,
    float32 (n, k); by default none is written."""
    json: bool = False
    """Print the figures, the confusion matrix too, as JSON."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: CUDA where there is one."""

    def run(self) -> int:
        """Evaluate, and print the figures."""
        from selfie_io.records.dataset import open_dataset
        from selfie_train.inference.evaluation import evaluate
        from selfie_train.inference.table import check_out, write_evaluation
        from selfie_train.inference.trained_run import load_run

        check_out(self.out)
        trained = load_run(self.run_folder, which=self.which, device=self.device, dataset=self.dataset)
        dataset = open_dataset(self.dataset)
        found = evaluate(trained, dataset, labels=self.labels, split=self.split)
        if self.out is not None:
            write_evaluation(self.out, found, dataset.splits[self.split])
        told = {
            "run": str(self.run_folder),
            "dataset": str(self.dataset),
            "epoch": trained.epoch,
            "finished": trained.finished,
            **found.to_json(),
        }
        if self.json:
            print(json.dumps(told))
            return DONE
        console = RichConsole()
        if not trained.finished:
            console.print(
                f"the run is not finished: these are the weights of epoch {trained.epoch}", soft_wrap=True
            )
        for table in tables(found):
            console.print(table)
        if not found.labels_known_clean:
            console.print("the labels are not known to be clean: an error may be the label's", soft_wrap=True)
        if found.left_out:
            console.print(f"{found.left_out:,} records are left out: their label is -1")
        if self.out is not None:
            console.print(f"predictions: {self.out}", soft_wrap=True)
        return DONE


def tables(found: Evaluation) -> list[Any]:
    """The figures for the terminal: of all records, and of the classes, the worst first."""
    figures = RichTable("evaluation", found.split)
    figures.add_row("records", f"{found.records:,}")
    figures.add_row("error", f"{found.error:.2f} %")
    if len(found.network_errors) > 1:
        figures.add_row(
            "error of each network", ", ".join(f"{error:.2f} %" for error in found.network_errors)
        )
    figures.add_row("loss", f"{found.loss:.4f}")
    figures.add_row("mean confidence", f"{100 * found.confidence:.2f} %")
    figures.add_row("calibration error", f"{100 * found.calibration_error:.2f} %")

    counts = found.confusion.sum(1)
    order = [label for label in np.argsort(-found.class_errors, kind="stable").tolist() if counts[label]]
    more = f" (the {MOST_CLASSES} worst of {len(order)})" if len(order) > MOST_CLASSES else ""
    classes = RichTable(f"class{more}", "records", "error", "most often taken for")
    for label in order[:MOST_CLASSES]:
        wrong = found.confusion[label].copy()
        wrong[label] = 0
        taken = int(wrong.argmax())
        told = f"{found.class_names[taken]} ({wrong[taken]:,})" if wrong[taken] else ""
        classes.add_row(
            found.class_names[label], f"{counts[label]:,}", f"{found.class_errors[label]:.2f} %", told
        )
    return [figures, classes]
