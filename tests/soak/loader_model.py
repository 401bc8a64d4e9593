"""The slow model of a Loader: which records a batch must have, by docs/determinism.md, with lists and loops.

It uses tests/reference.py, which is written from the text, and nothing of selfie_io's loading.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np
import reference

QUASI_BLOCK_BYTES, QUASI_WINDOW_BLOCKS = 1 << 20, 64


@dataclass
class Records:
    """A data set as it was written: record ids and labels (N,), pixels uint8 (N, C, H, W)."""

    record_ids: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray


@dataclass
class LoaderModel:
    """A Loader with these options over `records`.

    seen: the checksum of each image that came once, by (epoch, view, index): it must come again as it was
    """

    records: Records
    options: dict
    seen: dict = field(default_factory=dict)
    orders: dict = field(default_factory=dict)

    @property
    def members(self):
        indices = self.options.get("indices")
        return sorted(range(len(self.records.labels)) if indices is None else indices)

    @property
    def is_independent(self):
        return (
            self.options["shuffle"]
            and self.options["order"] == "independent"
            and "weights" not in self.options
        )

    @property
    def global_batch_size(self):
        size = self.options["batch_size"] * self.options["world_size"]
        return min(size, len(self.members)) if self.is_independent else size

    def __len__(self):
        whole, rest = divmod(len(self.members), self.global_batch_size)
        return whole if self.options["drop_last"] or not rest else whole + 1

    def order(self, epoch):
        """The index at every position of an epoch."""
        if epoch not in self.orders:
            options, members, size = self.options, self.members, len(self.records.labels)
            if "weights" in options:
                weights = np.asarray(options["weights"])[members]
                row = [members[i] for i in reference.weighted_order(weights, options["seed"], epoch)]
            else:
                kind = options["order"] if options["shuffle"] else "sequential"
                block = max(1, QUASI_BLOCK_BYTES // (8 + self.records.pixels[0].size))
                row = reference.subset_order(
                    kind, members, size, options["seed"], epoch,
                    global_batch_size=self.global_batch_size, block=block, window=block * QUASI_WINDOW_BLOCKS,
                )  # fmt: skip
            self.orders[epoch] = row
        return self.orders[epoch]

    def indices(self, epoch, batch):
        """The records of this rank's part of a batch."""
        rank, world, size = self.options["rank"], self.options["world_size"], self.global_batch_size
        part = self.order(epoch)[batch * size : (batch + 1) * size]
        return part[len(part) * rank // world : len(part) * (rank + 1) // world]

    def draw(self, epoch, index, view):
        """The augmentation of one record."""
        shape = self.records.pixels.shape[1:]
        return reference.draw(self.options["augment"], shape, self.options["seed"], epoch, index, view)

    def image(self, epoch, index, view):
        """The finished image of one record, as float32 values."""
        options = self.options
        return reference.image(
            self.records.pixels[index], options["augment"], self.draw(epoch, index, view),
            options["normalize"], options["dtype"], options["layout"],
        )  # fmt: skip

    def difference(self, epoch, number, batch, sample):
        """What of a batch is not as it must be; None if all is. `sample` images are computed anew, and
        each image must be what it was when it came before.
        """
        wanted = self.indices(epoch, number)
        if batch.indices.tolist() != wanted:
            return f"indices {batch.indices.tolist()}, not {wanted}"
        labels = self.options.get("labels", self.records.labels)
        if batch.labels.tolist() != [int(labels[i]) for i in wanted]:
            return f"labels {batch.labels.tolist()} of records {wanted}"
        if batch.record_ids.tolist() != [int(self.records.record_ids[i]) for i in wanted]:
            return f"record ids {batch.record_ids.tolist()} of records {wanted}"
        views = batch.images if self.options["views"] > 1 else batch.images[None]
        exact = views.float().numpy()  # every dtype holds what float32 then holds
        for view, images in enumerate(exact):
            for place, index in enumerate(wanted):
                key, checksum = (epoch, view, index), zlib.crc32(np.ascontiguousarray(images[place]))
                if self.seen.setdefault(key, checksum) != checksum:
                    return f"the image of record {index} changed in view {view}"
        for view, place in sample(len(exact), len(wanted)):
            image = self.image(epoch, wanted[place], view)
            if not np.array_equal(exact[view][place], image):
                return f"the image of record {wanted[place]} in view {view}"
        return None
