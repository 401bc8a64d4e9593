"""The protocol of a rival, which runs in its own process and environment.

A rival gives `serve` a function that takes the Work and returns an iterable over one epoch of batches, images
first. Standard input gives a number of batches; standard output gets the seconds that they took.
"""

import argparse
import importlib.metadata
import itertools
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PAD = 4


class Work(NamedTuple):
    folder: Path
    side: int
    batch_size: int
    threads: int
    options: dict


def serve(open_epoch, package="", whole_epochs=False):
    """Answer requests for batches until standard input ends.

    package: its version is reported.
    whole_epochs: an epoch does its work at its beginning, so that only whole epochs are timed.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("side", type=int)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("options", type=json.loads)
    work = Work(**vars(parser.parse_args()))
    epoch = open_epoch(work)
    batches = itertools.chain.from_iterable(itertools.repeat(epoch))
    version = importlib.metadata.version(package) if package else ""
    tell({"ready": version, "turn": len(epoch) if whole_epochs else 1})
    for line in sys.stdin:
        start = time.perf_counter()
        for batch in itertools.islice(batches, int(line)):
            shape = tuple(batch[0].shape)
        tell({"seconds": time.perf_counter() - start, "shape": shape})


def tell(message):
    print(json.dumps(message), flush=True)


def read_images(work):
    """All images and labels of the record files: uint8 (N, 3, side, side) and int64 (N,)."""
    record = np.dtype([("record_id", ">u4"), ("label", ">u4"), ("pixels", "u1", (3, work.side, work.side))])
    table = np.concatenate(
        [np.fromfile(path, record) for path in sorted(work.folder.glob("data_batch_*.bin"))]
    )
    return np.ascontiguousarray(table["pixels"]), table["label"].astype(np.int64)
