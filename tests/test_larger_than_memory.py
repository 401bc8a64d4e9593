"""What the loader tells the system about record files that memory cannot hold: sparse ones here."""

import os
import re
from pathlib import Path

import pytest

import selfie_io as sio

SHAPE = (3, 32, 32)
RECORD_BYTES = 8 + 3 * 32 * 32
MEMORY_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def is_read_page_by_page(path):
    """Whether the system was told so of any mapping of a file."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M)
    flags = [re.search(r"VmFlags: (.*)", one)[1].split() for one in mappings if str(path) in one]
    assert flags
    return any("rr" in words for words in flags)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells how it treats a mapping")
@pytest.mark.parametrize(("parts_of_memory", "random"), [(0.25, False), (0.75, True)])
def test_a_shuffle_of_more_than_half_of_memory_is_read_page_by_page(tmp_path, parts_of_memory, random):
    path = tmp_path / "data_batch_1.bin"
    with path.open("wb") as file:
        file.truncate(int(MEMORY_BYTES * parts_of_memory) // RECORD_BYTES * RECORD_BYTES)
    split = sio.open_dataset(tmp_path, shape=SHAPE).train
    for shuffle in (True, False, True):
        with sio.Loader(split, batch_size=8, shuffle=shuffle) as loader:
            next(iter(loader))
            assert is_read_page_by_page(path) == (random and shuffle)
