"""selfie-train demo: images -> records -> 40 % pair noise -> Default and SELFIE on the same labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from selfie_io.records.dataset import RecordDataset, open_dataset
from selfie_io.rich_console import RichConsole
from selfie_train.commands.attempt import complete
from selfie_train.commands.compare import compare
from selfie_train.commands.subcommand import DONE, TrainCommand
from selfie_train.config import TrainConfig
from selfie_train.report.attempt import try_report
from selfie_train.runs.comparison import RunGroup, terminal_table
from selfie_train.runs.own_files import OwnFiles
from selfie_train.runs.result import read_refurbished

NOISE_RATE = 0.4
# Records above which the short schedule is used: an epoch of it takes as long as many epochs of digits.
LARGE = 10_000
SCHEDULES: dict[str, dict[str, Any]] = {
    "small": {"epochs": 40, "warmup": 10, "history": 5, "restarts": 0},
    "large": {"epochs": 4, "warmup": 2, "history": 2, "restarts": 0, "channels_last": True},
}


@dataclass(frozen=True)
class Demo(TrainCommand):
    """Real images, 40 % of their labels changed: Default and SELFIE side by side, in minutes."""

    EXAMPLES = (
        "selfie-train demo",
        "selfie-train demo --data photos/ --out runs/photos --seed 1",
    )

    data: str = "digits"
    """digits (from scikit-learn), a source that `selfie-convert pack` reads, or a folder of records."""
    out: Path = Path("runs/demo")
    """Where records, runs and report go; an earlier demo there is used."""
    seed: int = 0
    """Of noise, weights and order."""

    def run(self) -> int:
        """Pack, train both methods, compare."""
        demo(self.data, self.out, self.seed, RichConsole())
        return DONE


@dataclass(frozen=True)
class DemoResult:
    """What the demo found."""

    dataset: RecordDataset
    groups: list[RunGroup]  # Default, SELFIE
    report: Path | None


def demo(data: str, out: Path, seed: int, console: Console) -> DemoResult:
    """Run the demo into `out`, on digits, a source that `selfie-convert pack` reads, or a folder of records.

    What an earlier demo left in `out` is used. Raises as pack, `train` and `resume` do.
    """
    dataset = records(data, out)
    labels = _noisy_labels(dataset, seed)
    schedule = SCHEDULES["large" if len(dataset.train) > LARGE else "small"]
    configs = [
        TrainConfig(
            dataset=str(dataset.path),
            method=method,
            model="convnet",
            noise=f"overlay:{labels}",
            seed=seed,
            out=str(out / f"{method}-s{seed}"),
            **schedule,
        )
        for method in ("default", "selfie")
    ]
    for config in configs:
        console.rule(f"{config.method}, {config.num_runs} x {config.epochs} epochs")
        if not complete(config):
            console.print(f"{config.run_folder} is done already", soft_wrap=True)
    groups = compare([config.run_folder for config in configs], out, say=console.print)
    console.print(terminal_table(groups))
    return DemoResult(dataset, groups, _report(dataset, groups, out, console))


def records(data: str, out: Path) -> RecordDataset:
    """The data set in the folder `data`, or of the source `data`, packed into a folder in `out` once."""
    from selfie_io.convert.commands.pack import Pack

    if (Path(data) / "dataset.json").exists():
        return open_dataset(data)
    folder = out / Path(data).resolve().name
    if not folder.exists():
        out.mkdir(parents=True, exist_ok=True)
        Pack(source=data, out=folder, workers=1).run()
    return open_dataset(folder)


def _noisy_labels(dataset: RecordDataset, seed: int) -> str:
    """Write the noisy labels as an overlay and return its name; the record files keep the true ones."""
    from selfie_io.labels.noise import inject_noise, transition_matrix
    from selfie_io.labels.overlay_writer import save_overlay

    name = f"demo-pair-{NOISE_RATE}-s{seed}"
    matrix = transition_matrix("pair", dataset.num_classes, NOISE_RATE)
    noisy = inject_noise(dataset.train.labels, matrix, seed=seed, record_ids=dataset.train.record_ids)
    provenance = {
        "kind": "pair",
        "rate": NOISE_RATE,
        "seed": seed,
        "transition_matrix": matrix.tolist(),
    }
    save_overlay(dataset, name, noisy, provenance)
    return name


def _report(dataset: RecordDataset, groups: list[RunGroup], out: Path, console: Console) -> Path | None:
    selfie = groups[1].runs[0]
    report = out / "report.html"

    def draw() -> None:
        from selfie_train.report.comparison import write_comparison_report
        from selfie_train.report.run import refurbished_gallery

        stored = dataset.train.labels
        given = dataset.train.labels_from(selfie.config.noise.removeprefix("overlay:"))
        clean = stored if dataset.labels_known_clean else None
        gallery = refurbished_gallery(dataset, given, read_refurbished(selfie.folder), clean)
        changed = f"{np.mean(given != stored):.1%} of the training labels"
        known = (
            "are wrong"
            if dataset.labels_known_clean
            else "were changed; the others are not known to be right"
        )
        write_comparison_report(
            groups,
            report,
            title=f"SELFIE on {dataset.name}: {changed} {known}",
            lead=f"Same network ({selfie.config.model}), images, labels and {selfie.config.epochs} epochs "
            "for both; one run each, so SELFIE goes without the restarts of its paper.",
            more=[] if gallery is None else [gallery],
        )

    with OwnFiles(out, ("report.html",)).being_written():
        drawn = try_report(report, draw, say=console.print)
    if not drawn:
        return None
    console.print(f"report: {report}", soft_wrap=True)
    return report
