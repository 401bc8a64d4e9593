"""NVIDIA DALI on the CPU, fed by an external source that gathers a batch from memory."""

import sys
from pathlib import Path

import nvidia.dali
from serving import MEAN, STD, serve

import selfie_io as sio

sys.path.append(str(Path(__file__).parents[1]))
from dali_by_hand import DaliByHand


def open_epoch(work):
    split = sio.open_dataset(work.folder, shape=(3, work.side, work.side)).train
    return DaliByHand(
        split, MEAN, STD, batch_size=work.batch_size, num_threads=work.threads, prefetch_batches=2
    )


serve(open_epoch, nvidia.dali)
