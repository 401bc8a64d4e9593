"""One split of a folder of record files, and some of its records: images, labels, ids and names by index."""

import errno
import hashlib
import operator
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from selfie_io._core import RecordFiles
from selfie_io.records.layout import RecordLayout
from selfie_io.records.names import names_path, read_names
from selfie_io.records.overlay_reader import read_overlay
from selfie_io.records.plain_files import open_plain
from selfie_io.records.selection import as_array, check_selection

if TYPE_CHECKING:
    import torch

CONTENT_BYTES = 1 << 28  # so much is read whole to tell a split from another one: less than a second
FileIo = Literal["mmap", "pread", "direct"]


class RecordSplit:
    """The records of one split, at positions ("indices") 0..N-1 in the order of the files.

    Also a map-style dataset of torch: split[i] is (uint8 tensor (C, H, W), label).
    `open_dataset` makes splits.

    dataset_path: the folder of the data set
    name: "train" or "test"
    files: the record files in reading order
    layout: the shape of a record
    num_classes: None if unknown: labels are only checked against MAX_CLASSES
    named_records: the number of records of each file, and whether it has a file of names
    file_digests: SHA-256 of each file; None without a manifest
    """

    def __init__(
        self,
        dataset_path: Path,
        name: str,
        files: Sequence[Path],
        layout: RecordLayout,
        num_classes: int | None,
        named_records: Sequence[tuple[int, bool]] | None = None,
        file_digests: Sequence[str] | None = None,
    ) -> None:
        """`named_records`: the number of records of each file, and whether it has a file of names.

        Raises OSError if a file cannot be opened, ValueError if one does not hold whole records."""
        self.dataset_path = dataset_path
        self.name = name
        self.files = list(files)
        self.layout = layout
        self.num_classes = num_classes  # None: unknown, so labels are only checked against MAX_CLASSES
        self._named_records = named_records
        self.file_digests = file_digests  # SHA-256 of each file; None without a manifest
        self._records = self.open_files("mmap")
        self._read_files: WeakValueDictionary[str, RecordFiles] = WeakValueDictionary()

    def open_files(self, io: FileIo) -> RecordFiles:
        """The files as the native core reads them, opened anew: "mmap" keeps no descriptor open, "pread" and
        "direct" (past the page cache, where the file system allows it) one a file.

        Raises OSError if there are more files than this process may open, with a way out.
        """
        try:
            return RecordFiles(
                paths=[os.fsencode(path) for path in self.files],
                channels=self.layout.channels,
                height=self.layout.height,
                width=self.layout.width,
                num_classes=self.num_classes or 0,
                io=io,
            )
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            advice = (
                f"{len(self.files)} record files need a descriptor each, and this process may open no"
                ' more: raise the limit (ulimit -n), use io="mmap", or pack with a larger'
                " --records-per-file"
            )
            raise OSError(error.errno, advice, str(self.dataset_path)) from error

    def shared_files(self, io: FileIo) -> RecordFiles:
        """The files as the native core reads them: mapped once, others open while a loader uses them."""
        if io == "mmap":
            return self._records
        files = self._read_files.get(io)
        if files is None:
            files = self._read_files[io] = self.open_files(io)
        return files

    @property
    def whole(self) -> "RecordSplit":
        """The split that indices refer to: this one, or that of a subset."""
        return self

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """The indices of this split's records, int64 (N,)."""
        return np.arange(len(self))

    def subset(self, indices: npt.ArrayLike) -> "RecordSubset":
        """The split of these records, which keep their indices and draws.

        Raises ValueError unless the indices are integers of its records, at least one, none repeated.
        """
        return RecordSubset(self, indices)

    def __len__(self) -> int:
        return len(self._records)

    @cached_property
    def _headers(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        record_ids, labels = self._records.headers()
        record_ids.flags.writeable = labels.flags.writeable = False  # shared by everybody who asks
        return record_ids, labels

    @property
    def record_ids(self) -> npt.NDArray[np.uint32]:
        """The stored ids, uint32 (N,), read-only. The first use reads the header of every record."""
        return self._headers[0]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The stored labels, int64 (N,), read-only. The first use reads the header of every record.

        Raises ValueError for a label that names no class, with file, record and byte.
        """
        return self._headers[1]

    def labels_from(self, name: str) -> npt.NDArray[np.int64]:
        """The labels of an overlay of the training split, int64 (N,).

        Raises ValueError if it was made from other labels, FileNotFoundError if there is none of
        that name.
        """
        if self.name != "train":
            raise ValueError(f"only the training split has overlays, this is {self.name!r}")
        return read_overlay(self.dataset_path, name, self.labels, self.num_classes)

    @cached_property
    def identity(self) -> dict[str, str | None]:
        """What tells this split from another one: SHA-256 in hex.

        "files" is of the manifest's digests, None without a manifest; "records" is of the number of records,
        their shape, and the bytes of 64 records that are spread evenly; "content" is of all bytes, None of a
        split that is larger than CONTENT_BYTES.
        """
        files = None
        if self.file_digests is not None:
            files = hashlib.sha256(" ".join(self.file_digests).encode()).hexdigest()
        return {"files": files, "records": self._sample_digest(), "content": self._content_digest()}

    def _sample_digest(self) -> str:
        records = hashlib.sha256(repr((len(self), self.layout.shape)).encode())
        wanted = np.unique(np.linspace(0, len(self) - 1, min(len(self), 64)).astype(np.int64))
        begin = 0
        for path in self.files:
            count = path.stat().st_size // self.layout.record_bytes
            with open_plain(path) as file:
                for position in wanted[(begin <= wanted) & (wanted < begin + count)].tolist():
                    file.seek((position - begin) * self.layout.record_bytes)
                    records.update(file.read(self.layout.record_bytes))
            begin += count
        return records.hexdigest()

    def _content_digest(self) -> str | None:
        if len(self) * self.layout.record_bytes > CONTENT_BYTES:
            return None
        content = hashlib.sha256()
        for path in self.files:
            with open_plain(path) as file:
                while block := file.read(1 << 20):
                    content.update(block)
        return content.hexdigest()

    def images(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """The pixels of some records, uint8 (n, C, H, W). Raises IndexError for an index outside
        0..N-1.
        """
        wanted = self.check_indices(indices)
        pixels = np.empty((wanted.size, *self.layout.shape), np.uint8)
        self._records.images(wanted, pixels)
        return pixels

    def names(self, indices: npt.ArrayLike) -> list[str | None]:
        """Where some records came from: a path in the source, an archive member, or a row such as
        "train.parquet#12"; None where that is not known.

        Only the names asked for are read. Raises IndexError for an index outside 0..N-1, ValueError
        if a file of names is damaged.
        """
        wanted = self.check_indices(indices)
        found: list[str | None] = [None] * wanted.size
        first = 0
        for path, (count, named) in zip(self.files, self._named_records or (), strict=False):
            places = np.flatnonzero((wanted >= first) & (wanted < first + count))
            if named and places.size:
                of_file = read_names(names_path(path), wanted[places] - first, count)
                for place, name in zip(places.tolist(), of_file, strict=True):
                    found[place] = name
            first += count
        return found

    def check_indices(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The indices as contiguous int64 (n,).

        Raises ValueError unless they are a row of integers, IndexError for one outside 0..N-1.
        """
        array = as_array("indices", "a row of integers", indices)
        if array.ndim != 1 or not (array.size == 0 or array.dtype.kind in "iu"):
            raise ValueError(f"indices must be a row of integers, got shape {array.shape} of {array.dtype}")
        wrong = (array < 0) | (array >= len(self))
        if wrong.any():
            raise IndexError(f"an index must be in 0..{len(self) - 1}, got {array[wrong][0]}")
        return np.ascontiguousarray(array, dtype=np.int64)

    def __getitem__(self, index: int) -> tuple["torch.Tensor", int]:
        import torch  # only users of torch pay for the import

        index = _integer(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"an index must be in {-len(self)}..{len(self) - 1}, got {index}")
        position = index % len(self)
        return torch.from_numpy(self.images([position])[0]), int(self.labels[position])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple["torch.Tensor", int]]:
        """What torch's DataLoader asks for: a whole batch at once."""
        import torch

        images = torch.from_numpy(self.images(indices))
        return [(image, int(self.labels[index])) for image, index in zip(images, indices, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        own = ("_records", "_read_files", "_headers", "identity")
        self._records.check_places()
        kept = {key: value for key, value in self.__dict__.items() if key not in own}
        return {**kept, "sample": self._sample_digest()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        sample = state.pop("sample", None)
        self.__dict__.update(state)
        self._records = self.open_files("mmap")
        self._read_files = WeakValueDictionary()
        if sample not in (None, self._sample_digest()):
            raise ValueError(
                f"{self.dataset_path}: a pickled split needs the records that it was made of, got others "
                f"in {self.files[0].name} or its neighbours; open the data set again"
            )

    def __repr__(self) -> str:
        classes = "unknown" if self.num_classes is None else self.num_classes
        size = size_text(len(self) * self.layout.record_bytes)
        return (
            f"RecordSplit({str(self.dataset_path)!r}, {self.name!r}: {len(self):,} records of "
            f"uint8 {self.layout.shape}, {classes} classes, {len(self.files)} files, {size})"
        )


class RecordSubset(RecordSplit):
    """Some records of a split. An index still names the record in the whole split.

    That holds for images(), a loader's batches and its draws. labels, record_ids and subset[position] follow
    the order of `indices` as given.
    """

    def __init__(self, split: RecordSplit, indices: npt.ArrayLike) -> None:
        chosen = check_selection(indices, len(split.whole))
        if split is not split.whole:
            outside = chosen[~np.isin(chosen, split.indices)]
            if outside.size:
                raise ValueError(f"indices must be of records of the subset, got {outside[0]}")
        self._whole, self._indices = split.whole, chosen
        self._take_over()

    def _take_over(self) -> None:
        whole = self._whole
        self.dataset_path, self.name, self.files = whole.dataset_path, whole.name, whole.files
        self.layout, self.num_classes = whole.layout, whole.num_classes
        self._records = whole._records
        self._indices.flags.writeable = False

    @property
    def whole(self) -> RecordSplit:
        """The split that this is a part of."""
        return self._whole

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """The indices of the records in the whole split, int64 (n,), as given, read-only."""
        return self._indices

    def shared_files(self, io: FileIo) -> RecordFiles:
        """The files of the whole split."""
        return self._whole.shared_files(io)

    def __len__(self) -> int:
        return self._indices.size

    @cached_property
    def _headers(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        record_ids = self._whole.record_ids[self._indices]
        labels = self._whole.labels[self._indices]
        record_ids.flags.writeable = labels.flags.writeable = False
        return record_ids, labels

    def labels_from(self, name: str) -> npt.NDArray[np.int64]:
        """The labels of an overlay, int64 (n,), in the order of `indices`. Raises as the whole split does."""
        return self._whole.labels_from(name)[self._indices]

    def check_indices(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The indices as contiguous int64 (n,).

        Raises ValueError unless they are integers (n,), IndexError for one outside the subset.
        """
        wanted = self._whole.check_indices(indices)
        outside = wanted[~np.isin(wanted, self._indices)]
        if outside.size:
            raise IndexError(f"an index must be of a record of the subset, got {outside[0]}")
        return wanted

    def __getitem__(self, position: int) -> tuple["torch.Tensor", int]:
        position = _integer(position)
        if not -len(self) <= position < len(self):
            raise IndexError(f"a position must be in {-len(self)}..{len(self) - 1}, got {position}")
        return self._whole[int(self._indices[position])]

    def __getitems__(self, positions: Sequence[int]) -> list[tuple["torch.Tensor", int]]:
        """A batch for torch's DataLoader, by positions in the subset."""
        return self._whole.__getitems__(self._indices[list(positions)].tolist())

    def __getstate__(self) -> dict[str, Any]:
        return {"_whole": self._whole, "_indices": self._indices}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._take_over()

    def __repr__(self) -> str:
        return f"{self._whole!r}.subset({len(self)} indices)"


def _integer(index: object) -> int:
    try:
        return operator.index(index)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):
        raise TypeError(f"an index must be an integer, got {index!r}") from None


def size_text(num_bytes: float) -> str:
    """Bytes as text with a unit, for example "184.8 MB"."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} GB"
