"""NVIDIA DALI on the CPU, fed by an external source that gathers a batch from memory."""

import sys
from pathlib import Path
from types import SimpleNamespace

from serving import MEAN, STD, read_images, serve

sys.path.append(str(Path(__file__).parents[1]))
from dali_by_hand import DaliByHand


class Split:
    """The part of a split that DaliByHand uses."""

    def __init__(self, work):
        self.pixels, self.labels = read_images(work)
        self.layout = SimpleNamespace(shape=self.pixels.shape[1:])

    def __len__(self):
        return len(self.labels)

    def images(self, indices):
        return self.pixels[indices]


def open_epoch(work):
    return DaliByHand(
        Split(work), MEAN, STD, batch_size=work.batch_size, num_threads=work.threads, prefetch_batches=2
    )


serve(open_epoch, "nvidia-dali-cuda130")
