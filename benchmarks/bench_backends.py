"""The loader's backends on the CPU, and a DALI pipeline written by hand: one epoch of CIFAR-10's size.

All pad by 4, crop, mirror half of the pictures and normalise per channel to float32.

Run: python benchmarks/bench_backends.py [--records 50000] [--batch-size 128] [--repeats 5]
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from dali_by_hand import DaliByHand
from random_records import write_records
from timing import compare, save, show

import selfie_io as sio

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def epoch(loader):
    """Take every batch and look at one of its values."""
    return sum(float(batch[0][0, 0, 0, 0]) for batch in loader)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    options = {
        "batch_size": arguments.batch_size,
        "shuffle": True,
        "augment": sio.Augment(pad=4, flip="random"),
        "normalize": sio.PerChannel(MEAN, STD),
    }
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), arguments.records)
        split = sio.open_dataset(folder, shape=(3, 32, 32)).train
        loaders = {
            name: sio.Loader(split, backend=name, **options) for name in ("native", "resident", "dali")
        }
        same = {key: getattr(loaders["dali"].options, key) for key in ("num_threads", "prefetch_batches")}
        loaders["dali by hand"] = DaliByHand(split, MEAN, STD, batch_size=arguments.batch_size, **same)
        comparison = compare(
            f"{arguments.records:,} pictures of 3x32x32 on the CPU, batches of {arguments.batch_size}",
            {name: partial(epoch, loader) for name, loader in loaders.items()},
            repeats=arguments.repeats,
            items=arguments.records,
        )
    show(comparison, baseline="dali by hand")
    ratio = comparison.ratio("dali by hand", "dali")
    print(save("bench_backends", [comparison], dali_times_faster_than_by_hand=ratio))


if __name__ == "__main__":
    main()
