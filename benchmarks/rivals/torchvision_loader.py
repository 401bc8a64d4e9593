"""torch's DataLoader over a map-style dataset, with the transforms of torchvision v2."""

import torch
from serving import MEAN, PAD, STD, read_pictures, serve
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Pictures(Dataset):
    def __init__(self, work):
        pictures, labels = read_pictures(work)
        self.pictures, self.labels = torch.from_numpy(pictures), torch.from_numpy(labels)
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
        return self.transform(self.pictures[index]), self.labels[index]


def open_epoch(work):
    torch.set_num_threads(1)
    # Workers are processes: one thread is the process itself.
    workers = work.threads if work.threads > 1 else 0
    return DataLoader(
        Pictures(work), work.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


serve(open_epoch, "torchvision")
