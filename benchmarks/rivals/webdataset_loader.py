"""WebDataset over tar shards of raw pixels, which the first run writes next to the records."""

import io

import numpy as np
import torch
import webdataset
from serving import MEAN, PAD, STD, read_images, serve


def open_epoch(work):
    shards = work.folder / "shards"
    if not shards.exists():
        partial = shards.with_suffix(".partial")
        partial.mkdir(exist_ok=True)
        images, labels = read_images(work)
        with webdataset.ShardWriter(str(partial / "%03d.tar"), maxcount=5000, verbose=0) as writer:
            for number, (image, label) in enumerate(zip(images[:20_000], labels, strict=False)):
                pixels = io.BytesIO()
                np.save(pixels, image)
                writer.write({"__key__": f"{number:07}", "npy": pixels.getvalue(), "cls": int(label)})
        partial.rename(shards)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    def change(sample):
        padded = torch.nn.functional.pad(torch.from_numpy(sample[0]), (PAD,) * 4)
        top, left = torch.randint(0, 2 * PAD + 1, (2,)).tolist()
        window = padded[:, top : top + work.side, left : left + work.side]
        window = window.flip(-1) if torch.rand(()) < 0.5 else window
        return (window.float() / 255 - mean) / std, sample[1]

    torch.set_num_threads(1)
    urls = sorted(str(path) for path in shards.glob("*.tar"))
    dataset = (
        webdataset.WebDataset(urls, shardshuffle=len(urls), empty_check=False)
        .shuffle(1000).decode().to_tuple("npy", "cls").map(change).batched(work.batch_size)
    )  # fmt: skip
    workers = work.threads if work.threads > 1 else 0
    return webdataset.WebLoader(dataset, batch_size=None, num_workers=workers)


serve(open_epoch, "webdataset")
