"""Writes .npy files, and says so if the disk is full: numpy.save does not."""

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt


def write_npy(file: BinaryIO, array: npt.NDArray[Any]) -> None:
    """Write an array in .npy format 1.0, in C order; raises OSError if not all of it can be written.

    numpy.save and numpy.lib.format.write_array write to a file through the buffer of a C stream, and do
    not look at what closing that stream gives: on a full disk an array of up to 4,096 bytes is cut
    without a word.
    """
    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    file.write(array.reshape(-1).view(np.uint8).data)
