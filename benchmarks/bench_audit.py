"""How well wrong labels are found: our score and threshold against cleanlab's on the same probabilities.

Lines: the folder experiment (6 classes of CIFAR-10 JPEGs, 3,241 images, 15 % moved to wrong folders) and
CIFAR-10 JPEGs with injected noise. cleanlab runs in an interpreter of its own (--cleanlab PYTHON), because it
is no dependency. No truth is used but to grade. Human labels of CIFAR-100N cannot be a line: there are no
images that go with them here. "last loss" is that of a probe which trained on all labels. The score of
version 0.1 asked a trained network and cannot be had from features. Writes the JSON, a figure and a table.

    python benchmarks/bench_audit.py cifar10-jpeg.zip --cleanlab venv/bin/python --seeds 3
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from bar_chart import Bar, Panel, draw
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import selfie_io as sio
from selfie_train.evidence.embedding import _fill, _network
from selfie_train.evidence.neighbours import find_neighbours
from selfie_train.evidence.probe import PENALTIES, _fit, _predict, _Scale, cross_fit
from selfie_train.evidence.score import score_labels
from selfie_train.evidence.source import Evidence, stratified_folds

RESULTS = Path(__file__).parent / "results"
SHOWN = {
    "ours": "ours, features and neighbours",
    "ours, features alone": "ours, features alone",
    "ours, neighbours alone": "ours, neighbours alone",
    "cleanlab self_confidence on probe": "cleanlab, the features' probabilities",
    "cleanlab self_confidence on neighbours": "cleanlab, the neighbours' votes",
    "cleanlab self_confidence on our pool": "cleanlab, our pooled probabilities",
    "last loss": "last loss",
}
FIGURES = ("f1", "ap", "auroc", "rate_error")
LINES = ("folder", "symmetric-0.2", "pair-0.4", "asymmetric-0.3", "instance-0.2", "instance-0.4")
CLEANLAB = """
import sys, numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from cleanlab.count import estimate_joint
data = np.load(sys.argv[1]); given, p = data["given"], data["p"].astype(float); p /= p.sum(1, keepdims=True)
joint = estimate_joint(given, p)
np.savez(sys.argv[2], flagged=find_label_issues(given, p), rate=1 - np.trace(joint),
         self_confidence=1 - get_label_quality_scores(given, p, method="self_confidence"),
         margin=1 - get_label_quality_scores(given, p, method="normalized_margin"))
"""


def silent(steps):
    """Progress that nobody sees."""


class Pool:
    """`per_class` images of each class, uint8 (N, 3, 32, 32), and their embeddings, kept in `cache`."""

    def __init__(self, archive: Path, per_class: int, cache: Path) -> None:
        with zipfile.ZipFile(archive) as file:
            members = sorted(name for name in file.namelist() if name.endswith(".jpg") and "train/" in name)
            self.classes = sorted({name.split("/")[-2] for name in members})
            labels = np.array([self.classes.index(name.split("/")[-2]) for name in members])
            rng = np.random.default_rng(0)
            drawn = [
                rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in range(len(self.classes))
            ]
            names = [members[position] for position in np.concatenate(drawn)]
            self.pixels = np.stack([np.asarray(Image.open(io.BytesIO(file.read(n)))) for n in names])
        self.pixels = np.ascontiguousarray(self.pixels.transpose(0, 3, 1, 2))
        self.labels = np.array([self.classes.index(name.split("/")[-2]) for name in names])
        path = cache / f"bench_audit-{per_class}.npy"
        if not path.exists():
            network, size, _ = _network("efficientnet-lite0")
            _fill(path, self, network, size, silent)  # type: ignore[arg-type]
        self.features = np.load(path)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices):
        return self.pixels[indices]


def folder_experiment(pool: Pool, seed: int, records: int = 3241, share: float = 0.15):
    """(positions, true, given) of 6 classes drawn by `seed`, `share` of the records in a wrong class."""
    rng = np.random.default_rng([seed, 15])
    classes = np.sort(rng.permutation(10)[:6])
    counts = np.full(6, records // 6)
    counts[: records - counts.sum()] += 1
    positions = np.concatenate(
        [rng.permutation(np.flatnonzero(pool.labels == c))[:n] for c, n in zip(classes, counts, strict=True)]
    )
    true = np.repeat(np.arange(6), counts)
    given = true.copy()
    moved = rng.permutation(records)[: round(share * records)]
    given[moved] = (true[moved] + rng.integers(1, 6, len(moved))) % 6
    return positions, true, given


def injected(pool: Pool, line: str, seed: int, records: int):
    """(positions, true, given) of all ten classes with noise of `line`, "pair-0.4" say."""
    kind, rate = line.split("-")
    rng = np.random.default_rng([seed, 16])
    positions = np.sort(rng.permutation(len(pool))[:records])
    true = pool.labels[positions]
    if kind == "instance":
        given = sio.inject_instance_noise(pool.images(positions), true, 10, float(rate), seed=seed)
    else:
        matrix = sio.transition_matrix(kind, 10, float(rate), class_names=pool.classes)
        given = sio.inject_noise(true, matrix, seed=seed)
    return positions, true, np.asarray(given)


def grade(wrong, score, flagged=None, rate=None) -> dict[str, float]:
    """AP, AUROC, and where there are flags their precision, recall and F1."""
    figures = {"ap": average_precision_score(wrong, score), "auroc": roc_auc_score(wrong, score)}
    if flagged is not None:
        hits = int((flagged & wrong).sum())
        figures |= {
            "precision": hits / max(int(flagged.sum()), 1),
            "recall": hits / int(wrong.sum()),
            "f1": 2 * hits / int(flagged.sum() + wrong.sum()),
        }
    if rate is not None:
        figures |= {"rate": float(rate), "rate_error": float(rate - wrong.mean())}
    return {key: round(float(value), 4) for key, value in figures.items()}


def cleanlab_says(python: str, given, probabilities):
    """What cleanlab finds in these probabilities, by an interpreter that has it."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("in.npz", "out.npz")]
        np.savez(paths[0], given=given, p=probabilities)
        subprocess.run([python, "-c", CLEANLAB, *paths], check=True, capture_output=True)
        return dict(np.load(paths[1]))


def last_loss(features, given, classes):
    """The loss on each given label of a probe that trained on all of them."""
    scale, rows = _Scale(features), np.arange(len(given))
    targets = np.eye(classes, dtype=np.float32)[given]
    weights = _fit(features, scale, rows, targets, PENALTIES[0], None)
    return -np.log(np.maximum(_predict(features, scale, rows, weights)[rows, given], 1e-30))


def summarise(results):
    """Medians over the seeds: {line: {contender: {figure: value}}}, and of the folder line its overlays."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for line in dict.fromkeys(one["line"] for one in results):
        of_line = [one for one in results if one["line"] == line]
        found[line] = {
            name: {
                figure: float(np.median([one["contenders"][name][figure] for one in of_line]))
                for figure in of_line[0]["contenders"][name]
            }
            for name in of_line[0]["contenders"]
        }
        overlays = ("wrong", "relabel_leaves", "drop_leaves", "drop_keeps", "seconds")
        found[line]["all"] = {key: float(np.median([one[key] for one in of_line])) for key in overlays}
    return found


def table(medians) -> str:
    """Markdown: a row for each line and contender."""
    rows = ["| labels | evidence | F1 | AP | AUROC | error of the rate |", "|---|---|---:|---:|---:|---:|"]
    for line, contenders in medians.items():
        for name, shown in SHOWN.items():
            if name in contenders:
                cells = [
                    f"{contenders[name][figure]:{'+' if figure == 'rate_error' else ''}.3f}"
                    if figure in contenders[name]
                    else "n/a"
                    for figure in FIGURES
                ]
                rows.append(f"| {line.replace('-', ' ')} | {shown} | {' | '.join(cells)} |")
    return "\n".join(rows)


def draw_f1(path: Path, medians) -> None:
    """F1 of each contender that has a threshold, a panel a line."""
    panels = [
        Panel(
            line.replace("-", " "),
            "F1",
            [
                Bar(shown, contenders[name]["f1"], f"{contenders[name]['f1']:.3f}")
                for name, shown in SHOWN.items()
                if "f1" in contenders.get(name, {})
            ],
        )
        for line, contenders in medians.items()
    ]
    draw(path, panels)


def measure(pool: Pool, line: str, seed: int, records: int, cleanlab: str | None) -> dict[str, object]:
    """All contenders on one line."""
    made = folder_experiment(pool, seed) if line == "folder" else injected(pool, line, seed, records)
    positions, true, given = made
    classes, wrong = int(true.max()) + 1, given != true
    features = pool.features[positions]
    begin = time.perf_counter()
    folds = stratified_folds(given, 5, seed)
    neighbours = find_neighbours(features, seed, silent)
    probe, votes = cross_fit(features, given, classes, folds, neighbours, silent)
    sources = [Evidence("features", "", True, probe), Evidence("neighbours", "", True, votes)]
    both = score_labels(sources, given, classes)
    seconds = time.perf_counter() - begin
    found: dict[str, object] = {"line": line, "seed": seed, "wrong": float(wrong.mean()), "seconds": seconds}
    contenders = {"ours": grade(wrong, both.score, both.flagged, both.rate.rate)}
    for one in sources:
        alone = score_labels([one], given, classes)
        contenders[f"ours, {one.name} alone"] = grade(wrong, alone.score, alone.flagged, alone.rate.rate)
    contenders["last loss"] = grade(wrong, last_loss(features, given, classes))
    if cleanlab is not None:
        pooled = both.pooled
        for name, shares in (("probe", probe), ("neighbours", votes), ("our pool", pooled)):
            said = cleanlab_says(cleanlab, given, shares)
            for score in ("self_confidence", "margin"):
                contenders[f"cleanlab {score} on {name}"] = grade(
                    wrong, said[score], said["flagged"], float(said["rate"])
                )
    kept = both.without_doubtful(given)
    used = kept >= 0
    found["relabel_leaves"] = float(np.mean(both.relabelled(given) != true))
    found["drop_leaves"] = float(np.mean(kept[used] != true[used]))
    found["drop_keeps"] = float(used.mean())
    found["contenders"] = contenders
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--cleanlab", help="an interpreter that has cleanlab")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--records", type=int, default=6000, help="of a line with injected noise")
    parser.add_argument("--per-class", type=int, default=1500, help="images of each class to draw from")
    parser.add_argument("--lines", nargs="*", default=LINES)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, default=RESULTS / "bench_audit.json")
    options = parser.parse_args()
    pool = Pool(options.archive, options.per_class, options.cache)
    results = []
    words = [Path(word).name for word in sys.argv[1:]]  # a result names no folder of a machine
    for seed in range(options.seeds):  # all lines of a seed first: a run that is cut short has them all
        for line in options.lines:
            results.append(measure(pool, line, seed, options.records, options.cleanlab))
            print(json.dumps(results[-1]), flush=True)
            medians = summarise(results)
            written = {
                "command": " ".join(["python benchmarks/bench_audit.py", *words]),
                "records": options.records,
                "per_class": options.per_class,
                "medians": medians,
                "results": results,
            }
            options.out.write_text(json.dumps(written, indent=1) + "\n")
    draw_f1(options.out.with_suffix(".svg"), medians)
    print(table(medians))


if __name__ == "__main__":
    main()
