"""The loader's backends on the CPU, and a DALI pipeline written by hand.

Each pads by 4, crops, flips half of the images and normalises, per channel or per image, to float32.

Run: python benchmarks/bench_backends.py [--records 50000] [--batch-size 128] [--repeats 7] [--threads 2]
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
NORMALIZATIONS = {"PerChannel": sio.PerChannel(MEAN, STD), "PerImage": sio.PerImage()}


def epoch(loader):
    """Take every batch and read one of its values."""
    return sum(float(batch[0][0, 0, 0, 0]) for batch in loader)


def measure(split, name, arguments):
    """One comparison; its notes hold the speed-up of the dali backend over the pipeline by hand."""
    options = {"batch_size": arguments.batch_size, "num_threads": arguments.threads}
    loaders = {
        backend: sio.Loader(
            split,
            backend=backend,
            shuffle=True,
            augment=sio.Augment(pad=4, flip="random"),
            normalize=NORMALIZATIONS[name],
            **options,
        )
        for backend in ("native", "resident", "dali")
    }
    same = {key: getattr(loaders["dali"].options, key) for key in ("num_threads", "prefetch_batches")}
    constants = (MEAN, STD) if name == "PerChannel" else (None, None)
    loaders["dali by hand"] = DaliByHand(split, *constants, batch_size=arguments.batch_size, **same)
    sides = "x".join(map(str, split.layout.shape))
    comparison = compare(
        f"{sides} {name}, on the CPU: batch {arguments.batch_size}, {same['num_threads']} threads",
        {backend: partial(epoch, loader) for backend, loader in loaders.items()},
        repeats=arguments.repeats,
        items=len(split),
    )
    comparison.notes["dali_times_faster_than_by_hand"] = comparison.ratio("dali by hand", "dali")
    show(comparison, baseline="dali by hand")
    return comparison


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000, help="of 3x32x32; a quarter of 3x64x64")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None, help="default: the processors of this process")
    arguments = parser.parse_args()
    comparisons = []
    for side, records in ((32, arguments.records), (64, arguments.records // 4)):
        with tempfile.TemporaryDirectory() as folder:
            write_records(Path(folder), records, (3, side, side))
            split = sio.open_dataset(folder, shape=(3, side, side)).train
            comparisons += [measure(split, name, arguments) for name in NORMALIZATIONS]
    print(save("bench_backends", comparisons))


if __name__ == "__main__":
    main()
