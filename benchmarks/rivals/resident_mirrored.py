"""All images and their mirror images as tensors: no flip at run time, for twice the memory."""

import torch
from serving import PAD, read_images, serve
from torch_steps import normalise, windows


class Epoch:
    def __init__(self, work):
        torch.set_num_threads(work.threads)
        images, labels = read_images(work)
        images = torch.from_numpy(images)
        self.views = windows(torch.stack([images, images.flip(-1)]))
        self.labels = torch.from_numpy(labels)
        self.batch_size = work.batch_size

    def __iter__(self):
        for chosen in torch.randperm(len(self.labels)).split(self.batch_size):
            top, left = torch.randint(0, 2 * PAD + 1, (2, len(chosen)))
            mirrored = torch.randint(0, 2, (len(chosen),))
            yield normalise(self.views[mirrored, chosen, :, top, left]), self.labels[chosen]


serve(Epoch, "torch")
