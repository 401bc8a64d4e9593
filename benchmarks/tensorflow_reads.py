"""Reads converted files by TensorFlow, as the SELFIE authors' program does, and compares the pixels.

It uses nothing of this project but the format. It prints the number of equal records and exits with 1 if one
differs.

Run: python benchmarks/tensorflow_reads.py FOLDER [CHANNELS HEIGHT WIDTH]
"""

import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

_BATCH = 1000


def main():
    folder, *shape = sys.argv[1:]
    channels, height, width = map(int, shape or (3, 32, 32))
    size = 8 + channels * height * width
    files = sorted(str(path) for path in Path(folder).glob("*_batch*.bin"))
    expected = np.concatenate([np.fromfile(name, np.uint8).reshape(-1, size) for name in files])

    def parsed(record):
        values = tf.io.decode_raw(record, tf.uint8)
        number, label = (
            tf.io.decode_raw(tf.strings.substr(record, first, 4), tf.int32, little_endian=False)[0]
            for first in (0, 4)
        )
        image = tf.reshape(tf.strided_slice(values, [8], [size]), (channels, height, width))
        return number, label, tf.transpose(image, (1, 2, 0))

    first = 0
    for numbers, labels, images in tf.data.FixedLengthRecordDataset(files, size).map(parsed).batch(_BATCH):
        some = expected[first : first + _BATCH]
        same = np.array_equal(np.stack([numbers, labels], axis=1), some[:, :8].copy().view(">i4"))
        pixels = some[:, 8:].reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        if not same or not np.array_equal(images.numpy(), pixels):
            sys.exit(f"records {first} to {first + len(some) - 1} differ")
        first += len(some)
    print(f"{first} of {len(expected)} records are equal")
    sys.exit(first != len(expected))


if __name__ == "__main__":
    main()
