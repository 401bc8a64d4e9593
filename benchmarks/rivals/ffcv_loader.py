"""FFCV over its own .beton file, written next to the records at the first run."""

import ffcv
import numpy as np
import torch
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import (
    Convert,
    NormalizeImage,
    RandomHorizontalFlip,
    RandomTranslate,
    ToTensor,
    ToTorchImage,
)  # fmt: skip
from ffcv.writer import DatasetWriter
from serving import MEAN, PAD, STD, read_pictures, serve


class Pictures:
    def __init__(self, work):
        pictures, self.labels = read_pictures(work)
        self.pictures = np.ascontiguousarray(pictures.transpose(0, 2, 3, 1))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.pictures[index], int(self.labels[index])


def open_epoch(work):
    path = work.folder / "pictures.beton"
    if not path.exists():
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        DatasetWriter(str(path), fields, num_workers=1).from_indexed_dataset(Pictures(work))
    bytes_mean, bytes_std = 255 * np.array(MEAN), 255 * np.array(STD)
    image = [
        SimpleRGBImageDecoder(),
        RandomHorizontalFlip(),
        RandomTranslate(padding=PAD),
        NormalizeImage(bytes_mean, bytes_std, np.float32),
        ToTensor(),
        ToTorchImage(channels_last=False),
    ]
    return Loader(
        str(path), batch_size=work.batch_size, num_workers=work.threads, order=OrderOption.RANDOM,
        os_cache=True, drop_last=False,
        pipelines={"image": image, "label": [IntDecoder(), ToTensor(), Convert(torch.int64)]},
    )  # fmt: skip


serve(open_epoch, ffcv)
