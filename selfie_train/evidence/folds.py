"""Evidence from K networks, each trained on the other folds: probabilities of records that it never saw.

A fold that is done is kept in the cache, so that a stopped audit goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from selfie_io.loading.augment import Augment
from selfie_io.loading.loader import Loader
from selfie_io.loading.options import PerImage
from selfie_io.records.atomic import atomic_path
from selfie_io.records.split import RecordSplit
from selfie_train.evidence.features import Progress
from selfie_train.evidence.source import Evidence, stratified_folds
from selfie_train.models.builder import model_builder

AIRNET_SIDE = 16  # smaller images are convnet's
STEM_IMAGES = 2000
IMAGES_TRAINED_ON = 300_000  # by each network: fewer epochs of more records
EPOCHS = (8, 40)  # at least, at most
BATCH = 64
LEARNING_RATE = 0.05


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
) -> Evidence:
    """Probabilities from `count` networks; each record's come from the one that did not train on it.

    Raises ValueError if there are fewer than two records a fold or fewer than two folds.
    """
    if count < 2 or count > len(given) // 2:
        raise ValueError(
            f"--folds must be in 2..{max(len(given) // 2, 2)} for {len(given)} records, got {count}"
        )
    name = model or ("airnet" if min(split.layout.shape[1:]) >= AIRNET_SIDE else "convnet")
    epochs = int(np.clip(round(IMAGES_TRAINED_ON / len(given)), *EPOCHS))
    key = {
        "data": data_digest,
        "labels": hashlib.sha256(np.ascontiguousarray(given, "<i8").tobytes()).hexdigest(),
        "model": name,
        "folds": count,
        "epochs": epochs,
        "seed": seed,
        "version": 1,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    dealt = stratified_folds(given, count, seed)
    shares = np.empty((len(given), num_classes), np.float32)
    cache.mkdir(parents=True, exist_ok=True)
    with progress("folds", count * epochs) as advance:
        for fold in range(count):
            outside = np.flatnonzero(dealt == fold)
            path = cache / f"fold-{digest[:32]}-{fold}.npy"
            if path.exists():
                advance(epochs)
            else:
                found = _train_and_predict(
                    split,
                    given,
                    num_classes,
                    np.flatnonzero(dealt != fold),
                    outside,
                    name,
                    epochs,
                    seed + fold,
                    advance,
                )
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    np.save(file, found)
            shares[outside] = np.load(path, allow_pickle=False)
    made_from = {"model": name, "folds": count, "epochs": epochs, "seed": seed}
    return Evidence("folds", digest, True, shares, made_from)


def _train_and_predict(
    split: RecordSplit,
    given: NDArray[np.int64],
    num_classes: int,
    inside: NDArray[np.int64],
    outside: NDArray[np.int64],
    name: str,
    epochs: int,
    seed: int,
    advance: Callable[[int], None],
) -> NDArray[np.float32]:
    """Train on `inside` with the given labels, float32 (len(outside), k) of `outside`."""
    height, width = split.layout.height, split.layout.width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = model_builder(name)(split.layout.shape, num_classes)
        augment = Augment(pad=max(height // 8, 1), crop=(height, width), flip="random")
        loader = Loader(
            split,
            batch_size=min(BATCH, len(inside)),
            shuffle=True,
            drop_last=True,
            seed=seed,
            labels=given,
            augment=augment,
            normalize=PerImage(),
            indices=inside,
        )
        prepare = getattr(network, "prepare", None)  # airnet makes its stem from images
        if prepare is not None:
            chosen = inside[np.linspace(0, len(inside) - 1, min(len(inside), STEM_IMAGES)).astype(np.int64)]
            with Loader(split, batch_size=len(chosen), normalize=PerImage(), indices=chosen) as stem:
                prepare(next(iter(stem)).images)
        with loader:
            _train(network, loader, epochs, advance)
    network.eval()
    found = np.empty((len(outside), num_classes), np.float32)
    done = 0
    with (
        torch.inference_mode(),
        Loader(split, batch_size=256, normalize=PerImage(), indices=outside) as loader,
    ):
        for batch in loader:
            logits = F.softmax(network(batch.images), 1) + F.softmax(network(batch.images.flip(3)), 1)
            found[done : done + len(logits)] = (logits / 2).numpy()
            done += len(logits)
    return found


def _train(network: nn.Module, loader: Loader, epochs: int, advance: Callable[[int], None]) -> None:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": 5e-4}, {"params": plain, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        momentum=0.9,
        nesterov=True,
    )
    steps = max(epochs * len(loader), 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.25
    )
    network.train()
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(network(batch.images), batch.labels, label_smoothing=0.1)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        advance(1)
