"""What the FFCV rivals share: the loader and its .beton file, which the first run writes beside the records.

torch copies the pixels to float32 NCHW and normalises them: the fastest of five ways, FFCV's NormalizeImage
and ToTorchImage among them. FFCV's random order was faster than its quasi-random one.
"""

import numpy as np
import torch
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.basics import IntDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import Convert, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter
from serving import read_images
from torch_steps import normalise


class Images:
    def __init__(self, work):
        images, self.labels = read_images(work)
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], int(self.labels[index])


class Normalise(torch.nn.Module):
    def forward(self, images):
        """Copies to NCHW first: a permuted tensor would stay NHWC in memory."""
        return normalise(torch.empty(images.shape).copy_(images))


def beton_loader(work, steps):
    """A loader whose images go through `steps`, of which the first decodes."""
    torch.set_num_threads(work.threads)
    path = work.folder / "images.beton"
    if not path.exists():
        partial = path.with_suffix(".partial")
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        DatasetWriter(str(partial), fields, num_workers=1).from_indexed_dataset(Images(work))
        partial.rename(path)
    image = [*steps, ToTensor(), ToTorchImage(), Normalise()]
    return Loader(
        str(path), batch_size=work.batch_size, num_workers=work.threads, order=OrderOption.RANDOM,
        os_cache=True, drop_last=False,
        pipelines={"image": image, "label": [IntDecoder(), ToTensor(), Convert(torch.int64)]},
    )  # fmt: skip
