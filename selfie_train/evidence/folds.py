"""Evidence from K networks, each trained on the other folds: probabilities of records that it never saw.

A fold that is done is kept in the cache, so that a stopped audit goes on with the next one. Folds run in
processes side by side, on the processes that torchrun started, or on a Ray cluster, with the same result.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from selfie_io.processors import available_processors
from selfie_io.records.split import RecordSplit
from selfie_train.evidence.features import Progress
from selfie_train.evidence.fold_processes import complete_in_processes, complete_on_ray
from selfie_train.evidence.fold_training import FoldTask, complete_fold
from selfie_train.evidence.source import Evidence, stratified_folds

AIRNET_SIDE = 16  # smaller images are convnet's
SMALL = 20_000  # records, from which on the middle airnet pays
IMAGES_TRAINED_ON = 80_000  # by each network: fewer epochs of more records
EPOCHS = (8, 30)  # at least, at most
PROCESS_WORK = 3e8  # pixels to train on, below which a process of its own takes longer to start than it saves
POLL_SECONDS = 0.5


def folds_evidence(
    split: RecordSplit,
    given: NDArray[np.int64],
    num_classes: int,
    count: int,
    cache: Path,
    *,
    data_digest: str,
    seed: int,
    progress: Progress,
    model: str | None = None,
    repeats: int = 1,
    workers: int | None = None,
    ray: bool = False,
    together: bool = False,
) -> Evidence:
    """Probabilities from `count` networks; each record's come from the one that did not train on it.

    `repeats` deals anew and averages. `workers` folds run at a time, by default as many as processors and
    folds allow; `together` shares them out over the processes of torchrun, all of which call this.

    Raises ValueError if there are fewer than two records a fold, fewer than two folds, or no repeat or
    worker, ChildProcessError if a process fails.
    """
    if count < 2 or count > len(given) // 2:
        raise ValueError(
            f"--folds must be in 2..{max(len(given) // 2, 2)} for {len(given)} records, got {count}"
        )
    for option, value in (("--repeats", repeats), ("--workers", 1 if workers is None else workers)):
        if value < 1:
            raise ValueError(f"{option} must be positive, got {value}")
    name = model or _model(split, len(given))
    learnt_by_each = max(len(given) * (count - 1) // count, 1)
    epochs = int(np.clip(round(IMAGES_TRAINED_ON / learnt_by_each), *EPOCHS))
    cache.mkdir(parents=True, exist_ok=True)
    side_by_side = max(1, min(count, available_processors()))
    threads = max(1, available_processors() // side_by_side)
    digests, tasks = [], []
    for repeat in range(repeats):
        key = {
            "data": data_digest,
            "labels": hashlib.sha256(np.ascontiguousarray(given, "<i8").tobytes()).hexdigest(),
            "model": name,
            "folds": count,
            "epochs": epochs,
            "seed": seed + 1000 * repeat,
            "version": 3,
        }
        digests.append(hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest())
        dealt = stratified_folds(given, count, seed + 1000 * repeat)
        tasks += [
            FoldTask(
                split,
                given,
                num_classes,
                np.flatnonzero(dealt != fold),
                np.flatnonzero(dealt == fold),
                name,
                epochs,
                seed + 1000 * repeat + fold,
                threads,
                cache / f"fold-{digests[-1][:32]}-{fold}.npy",
            )
            for fold in range(count)
        ]
    with progress("folds", len(tasks) * epochs) as advance:
        _complete(tasks, workers or side_by_side, advance, ray=ray, together=together)
    shares = np.zeros((len(given), num_classes), np.float32)
    for task in tasks:
        shares[task.judged] += np.load(task.path, allow_pickle=False)
    shares /= np.float32(repeats)
    made_from = {"model": name, "folds": count, "epochs": epochs, "seed": seed, "repeats": repeats}
    digest = hashlib.sha256("".join(digests).encode()).hexdigest() if repeats > 1 else digests[0]
    return Evidence("folds", digest, True, shares, made_from)


def _model(split: RecordSplit, records: int) -> str:
    if min(split.layout.shape[1:]) < AIRNET_SIDE:
        return "convnet"
    return "airnet-small" if records < SMALL else "airnet"


def _complete(
    tasks: Sequence[FoldTask],
    workers: int,
    advance: Callable[[int], None],
    *,
    ray: bool,
    together: bool,
) -> None:
    """Complete what is missing: here, beside, or elsewhere."""
    if together:  # each process takes its share, and waits for the files of the others
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        for task in tasks[rank::world_size]:
            if not task.path.exists():
                complete_fold(task, advance)
        while not all(task.path.exists() for task in tasks):
            time.sleep(POLL_SECONDS)
        return
    done = [task for task in tasks if task.path.exists()]
    tasks = [task for task in tasks if not task.path.exists()]
    advance(sum(task.epochs for task in done))
    if not tasks:
        return
    if ray:
        complete_on_ray(tasks, advance)
        return
    layout = tasks[0].split.layout
    work = sum(len(task.learnt) * task.epochs for task in tasks) * layout.height * layout.width
    if workers > 1 and work >= PROCESS_WORK and not torch.cuda.is_available():
        complete_in_processes(tasks, min(workers, len(tasks)), advance)
        return
    for task in tasks:
        complete_fold(task, advance)
