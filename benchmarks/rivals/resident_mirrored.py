"""All pictures and their mirror images as tensors: nothing is left to flip, for twice the memory."""

import torch
from serving import PAD, read_pictures, serve
from torch_steps import normalise, windows


class Epoch:
    def __init__(self, work):
        torch.set_num_threads(work.threads)
        pictures, labels = read_pictures(work)
        pictures = torch.from_numpy(pictures)
        self.views = windows(torch.stack([pictures, pictures.flip(-1)]))
        self.labels = torch.from_numpy(labels)
        self.batch_size = work.batch_size

    def __iter__(self):
        for chosen in torch.randperm(len(self.labels)).split(self.batch_size):
            top, left = torch.randint(0, 2 * PAD + 1, (2, len(chosen)))
            mirrored = torch.randint(0, 2, (len(chosen),))
            yield normalise(self.views[mirrored, chosen, :, top, left]), self.labels[chosen]


serve(Epoch, "torch")
