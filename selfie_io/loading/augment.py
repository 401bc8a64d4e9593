"""The changes of a loader's images, checked where they are made, and presets of published recipes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from selfie_io.loading.checks import boolean, choice, finite, integer, is_number, plain
from selfie_io.records.layout import RecordLayout

PadMode = Literal["zeros", "reflect"]
Flip = Literal["none", "random", "alternate"]
CropAt = Literal["random", "center"]
Range = tuple[float, float]
MAX_PIXELS = 2**31 - 1
MOST = 1e30  # of brightness, contrast and saturation: float32 holds the pixels


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Changes of an image, in this order: resize, pad, crop, flip, brightness, contrast, saturation, hue,
    grayscale, (normalise,) cutout, erase.

    pad: pixels added on each side, with byte 0 or by reflection without repeating the edge
    pad_mode: "zeros" or "reflect", how the added pixels are filled
    crop: (height, width) of a window, at a random place or (crop_at) in the center; None keeps the size
    flip: "random" mirrors half of the images; "alternate" mirrors each image in every other epoch
    brightness: adds a delta from [-brightness, brightness), in byte units, without clipping
    contrast: (low, high), scales each channel around its mean by a factor from that range
    cutout: side of a square that is set to 0.0 after normalisation; its center is uniform over the image
    translate: moves the image by up to so many pixels each way: pad=translate at the image's own size
    resize: (height, width), or the shorter side, bilinear; then crop
    resize_crop: (low, high), a window of that part of the area, its width to its height in `ratio`, stretched
        to `crop`: torchvision's RandomResizedCrop, bilinear
    antialias: resize and resize_crop average all pixels under an output where the image shrinks, as Pillow
        does; slower
    saturation: (low, high), a factor: 0 is grey, 1 changes nothing
    hue: rotates by up to so many turns each way, at most 0.5
    grayscale: probability that an image becomes grey
    erase: probability that a rectangle is set to 0.0 after normalisation; its part of the area is in
        erase_scale, its height to its width in erase_ratio: torchvision's RandomErasing

    Raises ValueError for values outside these ranges, and for two of pad, translate, resize and resize_crop.
    """

    pad: int = 0
    crop: tuple[int, int] | None = None
    pad_mode: PadMode = "zeros"
    flip: Flip = "none"
    brightness: float = 0.0
    contrast: Range | None = None
    cutout: int = 0
    crop_at: CropAt = "random"
    translate: int = 0
    resize: int | tuple[int, int] | None = None
    resize_crop: Range | None = None
    ratio: Range = (3 / 4, 4 / 3)
    antialias: bool = False
    saturation: Range | None = None
    hue: float = 0.0
    grayscale: float = 0.0
    erase: float = 0.0
    erase_scale: Range = (0.02, 0.33)
    erase_ratio: Range = (0.3, 3.3)

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        integer("pad", self.pad, 0, MAX_PIXELS)
        integer("cutout", self.cutout, 0, MAX_PIXELS)
        integer("translate", self.translate, 0, MAX_PIXELS)
        choice("pad_mode", self.pad_mode, PadMode)
        choice("flip", self.flip, Flip)
        choice("crop_at", self.crop_at, CropAt)
        if self.crop is not None:
            _sides("crop", self.crop)
        if isinstance(self.resize, Sequence):
            _sides("resize", self.resize)
        elif self.resize is not None:
            integer("resize", self.resize, 1, MAX_PIXELS)
        finite("brightness", self.brightness, MOST)
        for name in ("contrast", "saturation"):
            if getattr(self, name) is not None:
                _range(name, getattr(self, name), 0, MOST)
        if self.resize_crop is not None:
            _range("resize_crop", self.resize_crop, 0, 1, above=True)
        _range("ratio", self.ratio, 0, above=True)
        _range("erase_scale", self.erase_scale, 0, 1)
        _range("erase_ratio", self.erase_ratio, 0, above=True)
        boolean("antialias", self.antialias)
        if self.antialias and not self.resizes:
            raise ValueError("antialias belongs to resize and resize_crop, got neither")
        _number("hue", self.hue, 0.5, "turns")
        _number("grayscale", self.grayscale, 1, "a probability")
        _number("erase", self.erase, 1, "a probability")
        self._check_windows()

    def _check_windows(self) -> None:
        pad = 0 if self.pad == self.translate else self.pad
        given: dict[str, object] = {"pad": pad, "translate": self.translate, "resize": self.resize}
        given |= {"resize_crop": self.resize_crop}
        chosen = [f"{name}={value}" for name, value in given.items() if value]
        if len(chosen) > 1:
            names = "pad, translate, resize and resize_crop"
            raise ValueError(f"{names} exclude each other, got {', '.join(chosen)}")
        if self.translate:
            if self.crop is not None:
                raise ValueError(f"translate keeps the image's size: crop must be None, got {self.crop}")
            object.__setattr__(self, "pad", self.translate)
        if self.resize_crop is not None and self.crop_at == "center":
            raise ValueError("resize_crop takes a random window: crop_at must be 'random', got 'center'")

    @classmethod
    def cifar(cls) -> "Augment":
        """Pad by 4, crop to 32x32, mirror half of the images (He et al. 2016, section 4.2)."""
        return cls(pad=4, crop=(32, 32), flip="random")

    @classmethod
    def imagenet(cls, size: int = 224) -> "Augment":
        """A window of 8 to 100 % of the area, stretched to size x size; mirror half (Szegedy et al. 2015)."""
        return cls(resize_crop=(0.08, 1.0), crop=(size, size), flip="random")

    @classmethod
    def clothing1m(cls, size: int = 224) -> "Augment":
        """Shorter side to 256, crop to 224x224, mirror half (Patrini et al. 2017); others in proportion."""
        return cls(resize=round(size * 256 / 224), crop=(size, size), flip="random")

    def __repr__(self) -> str:
        values = ((field.name, getattr(self, field.name), field.default) for field in fields(self))
        changed = ", ".join(f"{name}={value!r}" for name, value, default in values if value != default)
        return f"Augment({changed})"

    @property
    def mixes_channels(self) -> bool:
        """Whether saturation, hue or grayscale are asked for."""
        return self.saturation not in (None, (1.0, 1.0)) or self.hue > 0 or self.grayscale > 0

    @property
    def resizes(self) -> bool:
        """Whether images are resized."""
        return self.resize is not None or self.resize_crop is not None


def resized_size(augment: Augment, layout: RecordLayout) -> tuple[int, int]:
    """The (height, width) of the images before the crop."""
    if augment.resize is None:
        return layout.height, layout.width
    if isinstance(augment.resize, Sequence):
        return augment.resize[0], augment.resize[1]
    shorter = min(layout.height, layout.width)
    return augment.resize * layout.height // shorter, augment.resize * layout.width // shorter


def crop_size(augment: Augment, layout: RecordLayout) -> tuple[int, int]:
    """The (height, width) of the loader's images."""
    return augment.crop or resized_size(augment, layout)


def _sides(name: str, sides: object) -> None:
    if not isinstance(sides, Sequence) or isinstance(sides, str) or len(sides) != 2:
        raise ValueError(f"{name} must be (height, width), got {sides!r}")
    integer(f"{name} height", sides[0], 1, MAX_PIXELS)
    integer(f"{name} width", sides[1], 1, MAX_PIXELS)


def _range(name: str, values: Any, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Of (a, b) with low <= a <= b <= high, finite; above: low < a."""
    fits = isinstance(values, tuple) and len(values) == 2 and all(map(is_number, values))
    if not fits or not low <= values[0] <= values[1] <= high or (above and values[0] == low):
        bound = f"{low:g} {'<' if above else '<='} low <= high" + (f" <= {high:g}" if high < math.inf else "")
        raise ValueError(f"{name} must be (low, high) with {bound}, got {values!r}")


def _number(name: str, value: Any, high: float, unit: str) -> None:
    if not is_number(value) or not 0 <= value <= high:
        raise ValueError(f"{name} must be in 0..{high:g} ({unit}), got {value!r}")
