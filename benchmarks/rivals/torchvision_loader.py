"""torch's DataLoader over a map-style data set, with the transforms of torchvision v2."""

import torch
from serving import MEAN, PAD, STD, read_images, serve
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Images(Dataset):
    def __init__(self, work):
        images, labels = read_images(work)
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.transform = v2.Compose(
            [
                v2.RandomCrop(work.side, padding=PAD),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.labels[index]


def open_epoch(work):
    torch.set_num_threads(1)
    # Workers are processes: with one thread, the main process does the work.
    workers = work.threads if work.threads > 1 else 0
    return DataLoader(
        Images(work), work.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


serve(open_epoch, "torchvision")
