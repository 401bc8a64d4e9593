"""How fast each network trains on this machine's CPU: whole steps, the data in memory.

    python benchmarks/bench_networks.py [--repeats 9]

A step is what `selfie-train run --method default` does with a batch: forward, backward, update. All turns are
interleaved. `auto` is what `--precision auto --channels-last auto` takes here.
"""

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `selfie-train` does

import torch
from timing import compare, save, show

import selfie_io as sio
from selfie_train import TrainConfig
from selfie_train.recipes import Facts, resolve
from selfie_train.training.distributed import join_processes
from selfie_train.training.learner import Learner
from selfie_train.training.machine import step_operations

BATCH, CLASSES, SHAPE = 256, 10, (3, 32, 32)
FAST = {"precision": "bfloat16", "channels_last": True}
PLAIN = {"precision": "float32", "channels_last": False}
CONTENDERS = {
    "convnet, float32": ("convnet", PLAIN),
    "convnet, bfloat16, channels last": ("convnet", FAST),
    "airnet-small, bfloat16, channels last": ("airnet-small", FAST),
    "airnet, float32": ("airnet", PLAIN),
    "airnet, bfloat16, channels last": ("airnet", FAST),
    "airnet, SGD, bfloat16, channels last": ("airnet", {**FAST, "optimizer": "sgd"}),
    "airnet-wide, bfloat16, channels last": ("airnet-wide", FAST),
}


def step(model, options):
    """A callable that makes one training step on a batch of random pixels."""
    config = TrainConfig("none", method="default", model=model, batch_size=BATCH, **options)
    config = resolve(config, Facts(50_000, SHAPE, is_gpu=False))
    learner = Learner(config, join_processes("cpu"), SHAPE, CLASSES, 1)
    learner.start_run(0)
    images = torch.randn(BATCH, *SHAPE)
    if config.channels_last:
        images = images.permute(0, 2, 3, 1).contiguous()
    labels, indices = torch.randint(CLASSES, (BATCH,)), torch.arange(BATCH)
    batch = sio.Batch(images, labels, indices, indices)

    def run():
        learner.score(batch, 0, 0, BATCH, gather=False)
        learner.update(None)

    return run


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    comparison = compare(
        f"one training step, batch {BATCH} of 3x32x32",
        {name: step(*contender) for name, contender in CONTENDERS.items()},
        repeats=options.repeats,
        warmups=2,
        items=BATCH,
    )
    show(comparison)
    operations = {model: step_operations(model, SHAPE, CLASSES) for model, _ in CONTENDERS.values()}
    print(save("bench_networks", [comparison], figures={"operations_per_image": operations}))


if __name__ == "__main__":
    main()
