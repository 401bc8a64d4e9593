"""What the tests of the backends share: folders, comparisons with the native backend, programs."""

import itertools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from conftest import make_folder

import selfie_io as sio

EVERYTHING = sio.Augment(
    pad=4, crop=(30, 27), flip="random", brightness=63.0, contrast=(0.2, 1.8), cutout=9, pad_mode="reflect"
)
AUGMENTATIONS = [
    None,
    EVERYTHING,
    sio.Augment(pad=9, crop=(20, 9), brightness=20.0, flip="alternate"),
    sio.Augment(crop=(7, 30), contrast=(0.5, 1.5), cutout=6),
    sio.Augment(pad=40, crop=(5, 4)),  # windows wholly inside the padding
]


def need_dali():
    """Skip the test that asks, where DALI is not installed."""
    pytest.importorskip("nvidia.dali", reason="needs DALI: make test-dali", exc_type=ImportError)


def open_train(folder, shape=(3, 32, 32), train_files=(40, 33)):
    make_folder(folder, shape=shape, train_files=train_files, test=0)
    return sio.open_dataset(folder, shape=shape).train


def expect_same(batches, wanted):
    """Every tensor of every batch to the bit, and of the same kind."""
    for batch, native in itertools.zip_longest(batches, wanted):
        for name, tensor, other in zip(batch._fields, batch, native, strict=True):
            assert tensor.dtype == other.dtype, name
            assert tensor.is_contiguous(), name
            assert torch.equal(tensor, other), name


def expect_as_native(split, backend, **options):
    expect_same(sio.Loader(split, backend=backend, **options), sio.Loader(split, **options))


def check_every_option(folder, backend, dtype):
    for shape in ((3, 32, 32), (5, 38, 33)):
        split = open_train(folder / str(shape[0]), shape, (9, 4))
        plain = [None, sio.PerImage(), sio.PerChannel([0.4] * shape[0], [0.2] * shape[0])]
        for augment, normalize, layout in itertools.product(AUGMENTATIONS, plain, ("NCHW", "NHWC")):
            expect_as_native(
                split, backend, augment=augment, normalize=normalize, dtype=dtype, layout=layout,
                batch_size=6, shuffle=True, seed=3,
            )  # fmt: skip


def run_program(program, *arguments, **environment):
    """A Python program in a process of its own; what it prints. It must end, and in good order."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environment}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout
