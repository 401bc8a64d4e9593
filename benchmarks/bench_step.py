"""The cost of each method in a training step over the plain step; of SELFIE also in two and three passes.

    python benchmarks/bench_step.py [--repeats 15] [--models convnet]

The batch is 128 images of 3x32x32 among 50,000 samples. SELFIE's histories are full and a third of them can
be refurbished. Every method is past its warm-up; DivideMix has two views of each image, and the mixture that
it fits once an epoch is not in the step. The loader's share is the time that the plain step waits for
batches.
"""

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `selfie-train` does

import numpy as np
import torch
import torch.nn.functional as F
from timing import compare, save, show

import selfie_io as sio
from selfie_io.records.layout import RecordLayout
from selfie_io.records.writer import DatasetWriter
from selfie_train import TrainConfig
from selfie_train.methods.method import method_class
from selfie_train.methods.selfie import Selfie
from selfie_train.training.distributed import join_processes
from selfie_train.training.learner import Learner

SAMPLES, CLASSES, BATCH, SHAPE = 50_000, 10, 128, (3, 32, 32)
METHODS = ("active-bias", "gce", "sce", "forward", "elr", "small-loss", "co-teaching", "dividemix")
MODELS = ("convnet", "densenet-10-12")


def random_batch(rng):
    """A batch of random pixels: the content does not change the time."""
    labels = torch.from_numpy(rng.integers(CLASSES, size=BATCH))
    indices = torch.from_numpy(rng.choice(SAMPLES, BATCH, replace=False))
    return sio.Batch(torch.randn(BATCH, *SHAPE), labels, indices, indices)


def selfie_method(config, rng):
    """SELFIE after its warm-up: the predictions of a third of the samples never changed."""
    method = Selfie(config, SAMPLES, CLASSES, 0.4)
    everyone = np.arange(SAMPLES)
    consistent = everyone % 3 == 0
    for _ in range(config.history):
        anything = rng.integers(CLASSES, size=SAMPLES)
        method.refurbisher.record(everyone, np.where(consistent, everyone % CLASSES, anything))
    return method


def plain_step(learner, batch):
    """The mean over the given labels."""
    learner.score(batch, 50, 0, len(batch.labels), gather=False)
    learner.update(None)


def selfie_step(learner, method, batch):
    """Score, choose, update, as the training loop does."""
    scores = learner.score(batch, 50, 0, len(batch.labels), gradients=not method.learns_anew(50))
    learner.update(method.choose(scores))


def other_methods(model, batch):
    """name -> a step of each other method that chooses, past its warm-up."""
    rng = np.random.default_rng(2)
    found = {}
    for name in METHODS:
        options = ("transition=injected",) if name == "forward" else ()
        config = TrainConfig(
            "none",
            method=name,
            method_options=options,
            noise="pair:0.4",
            model=model,
            lr=0.01,
            recipe="paper",
        )
        method = method_class(name)(config, SAMPLES, CLASSES, 0.4)
        learner = Learner(
            config, join_processes("cpu"), SHAPE, CLASSES, method.num_networks,
            needs_probabilities=method.needs_probabilities, num_views=method.num_views,
        )  # fmt: skip
        learner.start_run(0)
        ours = batch
        if method.num_views > 1:
            ours = batch._replace(images=torch.stack([batch.images, batch.images.flip(-1)]))
            # A third of the labels has a high loss; the mixture is fitted once an epoch, not in the step.
            losses = np.where(np.arange(SAMPLES) % 3 == 0, 3, 0.3) + rng.random((2, SAMPLES))
            method._losses[:] = losses
            learner.update(method.choose(learner.score(ours, 50, 0, BATCH)))
        found[name] = partial(selfie_step, learner, method, ours)
    return found


def three_passes(learner, method, batch):
    """The authors' scheme: score and choose, train on the chosen again, log their loss again."""
    (network,), (optimizer,) = learner.networks, learner.optimizers
    network.train()
    with torch.no_grad():
        logits = network(batch.images)
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
    indices, labels = batch.indices.numpy(), batch.labels.numpy()
    selection = method.refurbisher.select(indices, labels, losses.numpy(), method.noise_rate)
    method.refurbisher.record(indices, logits.argmax(1).numpy())
    kept = torch.from_numpy(selection.weights) > 0
    images, targets = batch.images[kept], torch.from_numpy(selection.targets)[kept]
    loss = F.cross_entropy(network(images), targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        return F.cross_entropy(network(images), targets).item()


def steps(model):
    """name -> a callable that makes one step; each has its own weights."""
    batch = random_batch(np.random.default_rng(0))

    def prepare(**options):
        config = TrainConfig("none", model=model, recipe="paper", lr=0.01, **options)
        learner = Learner(config, join_processes("cpu"), SHAPE, CLASSES, 1)
        learner.start_run(0)
        return learner, selfie_method(config, np.random.default_rng(1))

    plain, _ = prepare()
    masked, masking = prepare()
    twice, choosing = prepare(two_pass=True)
    thrice, choosing_again = prepare()
    return {
        "plain": lambda: plain_step(plain, batch),
        "SELFIE, one pass": lambda: selfie_step(masked, masking, batch),
        "SELFIE, two passes": lambda: selfie_step(twice, choosing, batch),
        "the authors' three passes": lambda: three_passes(thrice, choosing_again, batch),
        **other_methods(model, batch),
    }


def loader_share(model, folder):
    """The share of two plain epochs that is spent waiting for the loader."""
    learner = Learner(
        TrainConfig("none", model=model, recipe="paper", lr=0.01), join_processes("cpu"), SHAPE, CLASSES, 1
    )
    learner.start_run(0)
    augment = sio.Augment(pad=4, crop=SHAPE[1:], flip="random")
    waiting = total = 0.0
    with sio.Loader(
        sio.open_dataset(folder).train, batch_size=BATCH, shuffle=True, augment=augment
    ) as loader:
        for epoch in range(3):  # the first one warms up
            batches = iter(loader)
            begin = before = time.perf_counter()
            wait = 0.0
            while (batch := next(batches, None)) is not None:
                wait += time.perf_counter() - before
                plain_step(learner, batch)
                before = time.perf_counter()
            if epoch:
                waiting += wait
                total += time.perf_counter() - begin
    return waiting / total


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    comparisons, figures = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        rng = np.random.default_rng(0)
        folder = Path(temporary) / "noise"
        folder.mkdir()
        with DatasetWriter(folder, RecordLayout(*SHAPE), CLASSES, records_per_file=10_000) as writer:
            writer.append(
                "train",
                rng.integers(256, size=(40 * BATCH, *SHAPE), dtype=np.uint8),
                rng.integers(CLASSES, size=40 * BATCH),
            )
            writer.finish(name="noise", class_names=[str(i) for i in range(CLASSES)], provenance={})
        for model in options.models:
            comparison = compare(
                f"one step, {model}, batch {BATCH}",
                steps(model),
                repeats=options.repeats,
                warmups=3,
                items=BATCH,
            )
            show(comparison)
            cpu = {timing.name: timing.median_cpu for timing in comparison.timings}
            figures[model] = {
                "selfie_over_plain": comparison.ratio("SELFIE, one pass", "plain"),
                "selfie_over_plain_cpu": cpu["SELFIE, one pass"] / cpu["plain"],
                "three_passes_over_plain": comparison.ratio("the authors' three passes", "plain"),
                "three_passes_over_plain_cpu": cpu["the authors' three passes"] / cpu["plain"],
                **{f"{name}_over_plain": comparison.ratio(name, "plain") for name in METHODS},
                "loader_share": loader_share(model, folder),
            }
            print(model, {name: round(value, 4) for name, value in figures[model].items()})
            comparisons.append(comparison)
    print(save("bench_step", comparisons, figures=figures))


if __name__ == "__main__":
    main()
