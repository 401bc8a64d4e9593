"""What every rival does in its own process and environment: make batches when told, and tell the seconds.

A rival gives `serve` a function that takes the Work and returns an iterable over one epoch of batches, images
first. On standard input comes a number of batches, on standard output go the seconds that they took.
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
    """`package` is told with its version.

    whole_epochs: an epoch's work is done at its beginning, so only whole epochs can be timed
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


def read_pictures(work):
    """Every picture and label of the record files: uint8 (N, 3, side, side) and int64 (N,)."""
    record = np.dtype([("record_id", ">u4"), ("label", ">u4"), ("pixels", "u1", (3, work.side, work.side))])
    table = np.concatenate(
        [np.fromfile(path, record) for path in sorted(work.folder.glob("data_batch_*.bin"))]
    )
    return np.ascontiguousarray(table["pixels"]), table["label"].astype(np.int64)
