"""Tells image files by their content and reads them; one bad image does not spoil a source."""

import re
from pathlib import PurePosixPath

from selfie_io.convert.sources.file_tree import Tree

_MAX_IMAGE_BYTES = 1 << 26  # of a file: several wait for each worker
_SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm",
}  # fmt: skip
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")
_NETPBM = re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*[0-9]+\s", re.ASCII)


def ends_like_image(name: str) -> bool:
    """Whether a file name ends as those of images do."""
    return PurePosixPath(name).suffix.lower() in _SUFFIXES


def is_image(tree: Tree, name: str) -> bool:
    """Whether a file is to be read as an image: it ends like one, or begins like one.

    So a file that ends like an image and is none counts as a bad image and is named.
    """
    return ends_like_image(name) or begins_like_image(tree.head(name), tree.size(name))


def begins_like_image(head: bytes, size: int) -> bool:
    """Whether the first bytes of a file of `size` bytes are those of an image."""
    if head.startswith(_MAGICS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    if head[:2] == b"BM":  # many a text begins so, but does not go on with its own size
        return int.from_bytes(head[2:6], "little") in (size, 0) and head[6:10] == bytes(4)
    return _NETPBM.match(head) is not None


def read_image(tree: Tree, name: str) -> bytes | ValueError:
    """The content of an image file, or why it cannot be read."""
    if tree.size(name) > _MAX_IMAGE_BYTES:
        return ValueError(f"an image must have at most {_MAX_IMAGE_BYTES} bytes, got {tree.size(name)}")
    try:
        return tree.read(name)
    except ValueError as error:
        return ValueError(str(error).removeprefix(f"{tree.place(name)}: "))
    except OSError as error:
        return ValueError(error.strerror or str(error))
