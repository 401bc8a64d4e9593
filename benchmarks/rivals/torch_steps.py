"""Steps in torch that several rivals share."""

import torch
from serving import MEAN, PAD, STD

_SCALE = 1 / (255 * torch.tensor(STD).view(1, 3, 1, 1))
_SHIFT = -torch.tensor(MEAN).view(1, 3, 1, 1) / torch.tensor(STD).view(1, 3, 1, 1)


def normalise(images):
    """Bytes to normalised float32, per channel; in place after the conversion: faster than addcmul."""
    return images.float().mul_(_SCALE).add_(_SHIFT)


def windows(images):
    """A view of every window of the padded images: (..., 3, 9, 9, side, side)."""
    side = images.shape[-1]
    padded = torch.nn.functional.pad(images, (PAD,) * 4)
    return padded.unfold(-2, side, 1).unfold(-2, side, 1)


def some_windows(views, chosen):
    """One random window of each chosen image, gathered."""
    top, left = torch.randint(0, 2 * PAD + 1, (2, len(chosen)))
    return views[chosen, :, top, left]


def flip_half(images):
    """Flip half of the images in place: faster than torch.where."""
    flipped = torch.rand(len(images)) < 0.5
    images[flipped] = images[flipped].flip(-1)
    return images
