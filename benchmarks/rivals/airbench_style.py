"""The method of cifar10-airbench: crops and flips a whole epoch at once, then cuts it into batches."""

import torch
from serving import MEAN, PAD, STD, read_images, serve


class Epoch:
    def __init__(self, work):
        torch.set_num_threads(work.threads)
        images, labels = read_images(work)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        normal = (torch.from_numpy(images).float() / 255 - mean) / std
        self.padded = torch.nn.functional.pad(normal, (PAD,) * 4)
        self.labels = torch.from_numpy(labels)
        self.work = work

    def __len__(self):
        return -(-len(self.labels) // self.work.batch_size)

    def __iter__(self):
        side, count = self.work.side, len(self.labels)
        offsets = torch.randint(0, 2 * PAD + 1, (2, count))
        images = torch.empty(count, 3, side, side)
        for top in range(2 * PAD + 1):
            for left in range(2 * PAD + 1):
                mask = (offsets[0] == top) & (offsets[1] == left)
                images[mask] = self.padded[mask, :, top : top + side, left : left + side]
        flipped = torch.rand(count, 1, 1, 1) < 0.5
        images = torch.where(flipped, images.flip(-1), images)
        for chosen in torch.randperm(count).split(self.work.batch_size):
            yield images[chosen], self.labels[chosen]


serve(Epoch, "torch", whole_epochs=True)
