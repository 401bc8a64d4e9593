"""FFCV over its own .beton file: flipped, and moved by up to the padding."""

from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.transforms import RandomHorizontalFlip, RandomTranslate
from ffcv_steps import beton_loader
from serving import PAD, serve


def open_epoch(work):
    return beton_loader(work, [SimpleRGBImageDecoder(), RandomHorizontalFlip(), RandomTranslate(padding=PAD)])


serve(open_epoch, "ffcv")
