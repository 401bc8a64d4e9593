"""FFCV over its own .beton file: a random resized crop, or a crop and colour.

FFCV has no crop without a resize: a part of the area of the crop's size, with a ratio of 1, is one. It has no
hue and no grayscale, so its colour is brightness, contrast and saturation alone. It resizes as OpenCV's
INTER_AREA does, with antialiasing.
"""

from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
from ffcv.transforms import RandomBrightness, RandomContrast, RandomHorizontalFlip, RandomSaturation
from ffcv_steps import beton_loader
from serving import serve


def open_epoch(work):
    size, task = (work.options["crop"],) * 2, work.options["task"]
    part = (size[0] / work.side) ** 2
    window = {"scale": (0.08, 1.0)} if task == "window" else {"scale": (part, part), "ratio": (1.0, 1.0)}
    colour = []
    if task == "colour":
        colour = [change(0.4, p=1.0) for change in (RandomBrightness, RandomContrast, RandomSaturation)]
    decode = RandomResizedCropRGBImageDecoder(size, **window)
    return beton_loader(work, [decode, RandomHorizontalFlip(), *colour])


serve(open_epoch, "ffcv")
