"""The shape of one record: which byte holds what (docs/format.md)."""

from dataclasses import dataclass

HEADER_BYTES = 8  # record_id and label, uint32 each, big-endian
MAX_CLASSES = 65536  # label histories keep a class in at most 16 bits
MAX_PLANE_PIXELS = 1 << 22  # keeps every integer sum over a plane of bytes inside 64 bits
MAX_CHANNELS = 64


@dataclass(frozen=True)
class RecordLayout:
    """The image shape shared by every record of a data set.

    Raises ValueError if a side is not positive or too large to be an image.
    """

    channels: int  # planes of an image
    height: int  # rows of a plane
    width: int  # pixels of a row

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width) < 1:
            raise ValueError(f"channels, height and width must be positive, got {self.shape}")
        if self.channels > MAX_CHANNELS or self.height * self.width > MAX_PLANE_PIXELS:
            raise ValueError(
                f"an image must have at most {MAX_CHANNELS} planes of {MAX_PLANE_PIXELS} pixels, "
                f"got {self.shape}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the pixels alone: C * H * W."""
        return self.channels * self.height * self.width

    @property
    def record_bytes(self) -> int:
        """Bytes of one record: the header and the pixels."""
        return HEADER_BYTES + self.pixel_bytes
