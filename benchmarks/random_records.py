"""Record files of random images in the layout of CIFAR-10."""

import numpy as np


def write_records(folder, records, shape=(3, 32, 32)):
    """Write the records to five files, as CIFAR-10 has."""
    rng = np.random.default_rng(0)
    record = np.dtype([("record_id", ">u4"), ("label", ">u4"), ("pixels", np.uint8, shape)])
    folder.mkdir(parents=True, exist_ok=True)
    for number, ids in enumerate(np.array_split(np.arange(records), 5), 1):
        table = np.empty(ids.size, record)
        table["record_id"] = ids
        table["label"] = rng.integers(0, 10, ids.size)
        table["pixels"] = rng.integers(0, 256, (ids.size, *shape), dtype=np.uint8)
        table.tofile(folder / f"data_batch_{number}.bin")
