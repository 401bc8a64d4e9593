"""selfie-train audit: which labels are probably wrong, how many, and what they should be."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.table import Table as RichTable

from selfie_io.records.atomic import atomic_path
from selfie_io.records.plain_files import read_json
from selfie_io.rich_console import RichConsole
from selfie_train.commands.audit_pages import AuditPages
from selfie_train.commands.audit_run import add_run, run_note
from selfie_train.commands.audit_subject import Subject, open_subject
from selfie_train.commands.subcommand import DONE, TrainCommand
from selfie_train.runs.label_issues import SHARED_FIGURES, LabelIssues, summarise, write_issues
from selfie_train.runs.own_files import OwnFiles

_OWN = ("issues.csv", "audit.json", "audit.html", "review.html", "review_images")  # beside the cache
MOST_CLASSES_TOLD = 1000  # in the transition matrix of audit.json: a million numbers
_SHOWN = (
    "records",
    "flagged",
    "expected_precision",
    *SHARED_FIGURES,
    "ranking_auroc",
    "seconds",
)


@dataclass(frozen=True)
class Audit(TrainCommand):
    """Find the training labels that are probably wrong, in images of any origin.

    WHAT is a source of images (a folder with one folder for each class, an archive: as selfie-convert pack
    reads it), a packed data set, or a run (its data and the labels that it trained on).

    OUT/issues.csv ranks all records, OUT/audit.json has the counts, and two overlays are saved in the data
    set: one with the flagged labels changed, one with the doubtful records left out.
    """

    EXAMPLES = (
        "selfie-train audit photos/ --out audits/photos",
        "selfie-train audit data/cifar10 --noise overlay:worse_label --out audits/worse",
        "selfie-train audit data/cifar10 --probabilities mine.npy --out audits/mine",
        "selfie-train audit runs/selfie --out audits/selfie --folds 5",
    )

    what: tyro.conf.Positional[str]
    """A folder or archive of images, a data set, or a run."""
    out: Path
    """Where issues.csv, audit.json and the pages go; also a cache, so that a stopped audit goes on."""
    folds: int | None = None
    """Train this many networks, each on the other folds. By default, where no source of evidence is named,
    features are used if the extra [features] is installed, else 5 folds."""
    repeats: int = 1
    """Deal the folds so many times and average: better evidence for as many times the time."""
    workers: int | None = None
    """Folds to train at a time, by default as many as processors and folds allow. Under torchrun its
    processes share the folds of a packed data set or a run."""
    ray: bool = False
    """Train the folds on the Ray cluster that runs already; OUT must lie where all its machines see it."""
    features: str | None = None
    """efficientnet-lite0, timm:NAME, or a .npy file (N, d) in the order of the training records. Default: see
    --folds."""
    probabilities: Path | None = None
    """A .npy file (N, k) of your own network's class probabilities, each of a record left out of training; by
    default there are none."""
    noise: str | None = None
    """overlay:NAME audits the labels of an overlay; by default the stored ones, of a run those that it
    learnt."""
    precision: float | None = None
    """Flag as many labels as keep this share of the flags right; by default the expected F1 decides."""
    dataset: Path | None = None
    """Where a run's data set lies now, if it moved; by default where it was."""
    seed: int = 0
    """Deals the records over the folds and starts the networks."""

    def run(self) -> int:
        """Audit, and print what was found."""
        found = audit(
            self.what,
            self.out,
            folds=self.folds,
            repeats=self.repeats,
            workers=self.workers,
            ray=self.ray,
            features=self.features,
            probabilities=self.probabilities,
            noise=self.noise,
            precision=self.precision,
            dataset=self.dataset,
            seed=self.seed,
            quiet=False,
        )
        console = RichConsole()
        table = RichTable("audit", self.what)
        for name, value in found.rows():
            table.add_row(name, value)
        console.print(table)
        for line in found.next_steps():
            console.print(line, soft_wrap=True)
        return DONE


@dataclass(frozen=True)
class AuditResult:
    """What an audit found, as `audit.json` has it, with the scores of all records.

    score: float64 (N,), P(the given label is wrong); suggested: int64 (N,); flagged: bool (N,)
    """

    folder: Path
    dataset: Path
    summary: dict[str, Any]
    score: NDArray[np.float64]
    suggested: NDArray[np.int64]
    flagged: NDArray[np.bool_]

    def rows(self) -> list[tuple[str, str]]:
        """The figures for a table: those that are known."""
        shown = []
        for name in _SHOWN:
            value = self.summary[name]
            if value is not None:
                text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
                shown.append((name.replace("_", " "), text))
        shown += [(f"overlay to {kind}", name) for kind, name in self.summary["overlays"].items()]
        return shown

    def next_steps(self) -> list[str]:
        """What was decided, and what to do next."""
        overlays = self.summary["overlays"]
        return [
            *self.summary["notes"],
            f"look at: {self.folder / 'audit.html'}; every record: {self.folder / 'issues.csv'}",
            f"train without the doubtful: selfie-train run --dataset {self.dataset} "
            f"--noise overlay:{overlays['drop']} (or overlay:{overlays['relabel']})",
        ]


def audit(
    what: str | Path,
    out: str | Path,
    *,
    folds: int | None = None,
    repeats: int = 1,
    workers: int | None = None,
    ray: bool = False,
    features: str | None = None,
    probabilities: str | Path | None = None,
    noise: str | None = None,
    precision: float | None = None,
    dataset: str | Path | None = None,
    seed: int = 0,
    quiet: bool = True,
) -> AuditResult:
    """Audit a source of images, a data set or a run; the options are those of the command.

    what: a folder or archive of images, a data set, or a run
    out: where issues.csv, audit.json, the pages and the cache go
    folds: train this many networks, each on the other folds
    repeats: deal the folds so many times and average
    workers: folds to train at a time; ray: train them on a Ray cluster
    features: a .npy of embeddings, efficientnet-lite0 or timm:NAME
    probabilities: a .npy of class probabilities of a network of your own
    noise: overlay:NAME audits these labels instead of the stored ones
    precision: flag labels so that this part of the flagged ones is wrong
    dataset: where the data set of a run lies now, if it moved
    seed: of folds and weights
    quiet: print nothing

    Raises ValueError for data or options that do not fit, OSError for what cannot be read or written,
    ModuleNotFoundError where an extra is missing.
    """
    from selfie_io.labels.transition import matrix_classes
    from selfie_train.evidence.gathering import EvidenceOptions, gather
    from selfie_train.evidence.reliability import label_reliability
    from selfie_train.evidence.score import score_labels

    if precision is not None and not 0 < precision <= 1:
        raise ValueError(f"--precision must be above 0 and at most 1, got {precision}")
    path = None if probabilities is None else Path(probabilities)
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    options = EvidenceOptions(
        folds, None if features is None else str(features), path, seed, repeats, workers, ray, together
    )
    out = Path(out)
    started = time.perf_counter()
    subject = open_subject(str(what), out, noise, None if dataset is None else Path(dataset))
    num_classes = matrix_classes(subject.dataset.num_classes)
    own = OwnFiles(out, _OWN, is_earlier=_is_earlier_audit)
    out.mkdir(parents=True, exist_ok=True)  # not before: a refused audit leaves nothing behind
    gathered = gather(
        subject.dataset.train,
        subject.given,
        num_classes,
        options,
        out / "cache",
        _silent if quiet else _progress,
    )
    if int(os.environ.get("RANK", "0")) > 0:
        raise SystemExit(DONE)  # torchrun: this process did its share of the folds, the first one goes on
    add_run(subject, gathered, _silent if quiet else _progress)
    scores = score_labels(
        gathered.sources,
        subject.given,
        num_classes,
        precision=precision,
        statistics=gathered.statistics,
    )
    rows = np.arange(len(subject.given))
    issues = LabelIssues(
        dataset=subject.dataset,
        given=subject.given,
        clean=subject.clean,
        suggested=scores.suggested,
        scores=scores.score,
        flagged=scores.flagged,
        signals={f"{one.name}_given": one.of_given(subject.given) for one in gathered.sources}
        | {"suggested_probability": scores.posterior[rows, scores.suggested]},
    )
    notes = [*subject.notes, *gathered.notes]
    if of_run := run_note(subject, gathered, scores):
        notes.append(of_run)
    if scores.is_weak:
        notes.append(
            f"the evidence is weak: by its own word it errs on {scores.evidence_error:.0%} of the records, "
            "so only what is nearly sure is flagged and the noise rate is rough"
        )
    if unsure := int((scores.flagged & ~scores.sure).sum()):
        notes.append(
            f"{unsure:,} flagged labels are not changed in the relabel overlay: the evidence may err there"
        )
    if num_classes > MOST_CLASSES_TOLD:
        notes.append(f"audit.json has the transition matrix of at most {MOST_CLASSES_TOLD:,} classes")
    overlays, folder, said = _save_overlays(
        subject, scores.relabelled(subject.given), scores.without_doubtful(subject.given), out
    )
    notes += said
    rate = scores.rate
    summary: dict[str, Any] = {
        "records": len(rows),
        "flagged": int(scores.flagged.sum()),
        "threshold": scores.threshold,
        "expected_precision": scores.expected_precision,
        "expected_recall": scores.expected_recall,
        "noise_rate": rate.rate,
        "noise_rate_low": rate.low,
        "noise_rate_high": rate.high,
        "wrong_labels": rate.rate * len(rows),
        "wrong_by_given_class": rate.wrong_by_given.tolist(),
        "transition_matrix": rate.transition_matrix.tolist() if num_classes <= MOST_CLASSES_TOLD else None,
        "class_names": subject.dataset.class_names,
        "overlays": overlays,
        "overlay_folder": str(folder),
        "dataset": str(subject.dataset.path),
        "sources": [{**one.describe(), "weight": scores.weights.get(one.name)} for one in gathered.sources],
        "reliability": label_reliability(
            scores.pooled, rate.transition_matrix, subject.given, uniform=rate.uniform
        ),
        "evidence_error": scores.evidence_error,
        **summarise(issues),
        "notes": notes,
        "seconds": time.perf_counter() - started,
    }
    pages = AuditPages(issues, summary, scores.posterior, gathered)
    with own.being_written():
        write_issues(out / "issues.csv", issues)
        _write_json(out / "audit.json", summary)
        pages.write(out, notes.append)
    return AuditResult(out, subject.dataset.path, summary, scores.score, scores.suggested, scores.flagged)


def _save_overlays(
    subject: Subject, relabelled: NDArray[np.int64], dropped: NDArray[np.int64], out: Path
) -> tuple[dict[str, str], Path, list[str]]:
    """Save both in the data set, or in OUT if that may only be read; their names, where they lie, notes."""
    from selfie_io.labels.overlay_writer import save_overlay

    base = re.sub(r"[^A-Za-z0-9_.+=-]", "_", subject.name)[:80]
    overlays = {"relabel": f"audit-{base}-relabel", "drop": f"audit-{base}-drop"}
    folder, notes = subject.dataset.path, []
    for name, labels in zip(overlays.values(), (relabelled, dropped), strict=True):
        try:
            save_overlay(subject.dataset, name, labels, {"kind": "audit"}, folder=folder)
        except OSError as error:
            notes.append(
                f"{subject.dataset.path} cannot be written ({error.strerror}): the overlays lie in "
                f"{out / 'labels'}; copy them to {subject.dataset.path / 'labels'} to train on them"
            )
            folder = out
            save_overlay(subject.dataset, name, labels, {"kind": "audit"}, folder=folder)
    return overlays, folder, notes


def _is_earlier_audit(out: Path) -> bool:
    """Whether version 0.1 wrote an audit into a folder."""
    try:
        values = read_json(out / "audit.json")
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"records", "flagged", "overlays"} <= values.keys()


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n")


def _progress(what: str, total: int) -> Any:
    from selfie_io.convert.subcommand import progress

    return progress(what, total, "steps" if what in ("probe", "folds") else "records")


def _silent(what: str, total: int) -> Any:  # noqa: ARG001
    import contextlib

    return contextlib.nullcontext(lambda steps: None)  # noqa: ARG005
