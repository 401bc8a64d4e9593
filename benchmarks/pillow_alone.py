"""The rival of bench_convert.py: decodes the images of a zip with Pillow and only counts them.

Run: python benchmarks/pillow_alone.py ARCHIVE WORKERS
"""

import functools
import io
import multiprocessing
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor

from PIL import Image

_CHUNK = 128


@functools.cache
def members(archive: str) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """The opened archive and its members; opened once a process."""
    opened = zipfile.ZipFile(archive)
    return opened, [member for member in opened.infolist() if not member.is_dir()]


def decode_and_drop(archive: str, first: int) -> int:
    """Decode one chunk of the members of a zip."""
    opened, found = members(archive)
    for member in found[first : first + _CHUNK]:
        with Image.open(io.BytesIO(opened.read(member))) as image:
            image.convert("RGB")
    return len(found[first : first + _CHUNK])


def main() -> None:
    archive, workers = sys.argv[1], int(sys.argv[2])
    count = len(members.__wrapped__(archive)[1])  # each process opens the archive itself
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        print(sum(pool.map(decode_and_drop, [archive] * (count // _CHUNK + 1), range(0, count, _CHUNK))))


if __name__ == "__main__":
    main()
