"""All pictures as a tensor in memory, batches gathered by index: the best of seven ways to write it.

Of those that keep each picture once; see resident_mirrored.py.
"""

import torch
from serving import read_pictures, serve
from torch_steps import flip_half, normalise, some_windows, windows


class Epoch:
    def __init__(self, work):
        torch.set_num_threads(work.threads)
        pictures, labels = read_pictures(work)
        self.views = windows(torch.from_numpy(pictures))
        self.labels = torch.from_numpy(labels)
        self.batch_size = work.batch_size

    def __iter__(self):
        for chosen in torch.randperm(len(self.labels)).split(self.batch_size):
            yield normalise(flip_half(some_windows(self.views, chosen))), self.labels[chosen]


serve(Epoch, "torch")
