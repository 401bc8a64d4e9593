"""The best that a careful user of torch writes: all pictures as a tensor, batches gathered by index."""

import torch
from serving import MEAN, PAD, STD, read_pictures, serve


class Epoch:
    def __init__(self, work):
        torch.set_num_threads(work.threads)
        pictures, labels = read_pictures(work)
        self.padded = torch.nn.functional.pad(torch.from_numpy(pictures), (PAD,) * 4)
        self.labels = torch.from_numpy(labels)
        self.work = work
        self.scale = 1 / (255 * torch.tensor(STD).view(1, 3, 1, 1))
        self.shift = -torch.tensor(MEAN).view(1, 3, 1, 1) / torch.tensor(STD).view(1, 3, 1, 1)

    def __iter__(self):
        side = self.work.side
        windows = self.padded.unfold(2, side, 1).unfold(3, side, 1)  # a view: (N, 3, 9, 9, side, side)
        for chosen in torch.randperm(len(self.labels)).split(self.work.batch_size):
            top, left = torch.randint(0, 2 * PAD + 1, (2, len(chosen)))
            images = windows[chosen, :, top, left]
            flipped = torch.rand(len(chosen), 1, 1, 1) < 0.5
            images = torch.where(flipped, images.flip(-1), images)
            yield torch.addcmul(self.shift, images.float(), self.scale), self.labels[chosen]


serve(Epoch, torch)
