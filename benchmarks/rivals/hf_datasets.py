"""Hugging Face datasets: an Arrow table with the torch format; batches are cropped and flipped by index."""

import datasets
import numpy as np
import torch
from serving import MEAN, PAD, STD, read_pictures, serve


def open_epoch(work):
    torch.set_num_threads(work.threads)
    pictures, labels = read_pictures(work)
    features = datasets.Features(
        {"pixels": datasets.Array3D((3, work.side, work.side), "uint8"), "label": datasets.Value("int64")}
    )
    pictures, labels = pictures[:20_000], labels[:20_000]  # building the table takes longer than reading it
    table = datasets.Dataset.from_dict({"pixels": pictures, "label": labels}, features).with_format("torch")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    rows = torch.arange(work.side)

    class Epoch:
        def __iter__(self):
            order = np.random.default_rng().permutation(len(table))
            for chosen in np.array_split(order, len(table) // work.batch_size):
                batch = table[chosen]
                count = len(chosen)
                padded = torch.nn.functional.pad(batch["pixels"], (PAD,) * 4)
                top, left = torch.randint(0, 2 * PAD + 1, (2, count, 1))
                x = left + torch.where(torch.rand(count, 1) < 0.5, rows.flip(0), rows)
                one, planes = torch.arange(count)[:, None, None, None], torch.arange(3)[:, None, None]
                windows = padded[one, planes, (top + rows)[:, None, :, None], x[:, None, None, :]]
                yield (windows.float() / 255 - mean) / std, batch["label"]

    return Epoch()


serve(open_epoch, datasets)
