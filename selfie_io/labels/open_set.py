"""Open-set noise: images of another data set under given labels (Wang et al., CVPR 2018).

No label of such an image would be right, so an overlay cannot say it: a new data set is written,
and the record files of both stay as they are.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from selfie_io.labels.noise import keyed_bits, stream_base
from selfie_io.labels.transition import check_rate
from selfie_io.records.atomic import atomic_folder
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.manifest import Manifest
from selfie_io.records.split import RecordSplit
from selfie_io.records.writer import DatasetWriter

KIND = "open-set"

# Streams of draws, far from those of the other kinds of noise.
_REPLACED_STREAM, _IMAGE_STREAM = 1 << 32, (1 << 32) + 1
_CHUNK = 1024  # images in memory


def write_open_set(
    dataset: RecordDataset, other: RecordDataset, rate: float, out: str | Path, *, seed: int = 0
) -> Manifest:
    """Write `dataset` anew to the folder `out`, about `rate` of its training images replaced by
    `other`'s.

    Whether an image is replaced, and by which one, depends on (seed, index) alone; an image of
    `other` comes twice only if `dataset` is larger. Labels and the test split stay. Returns the
    manifest, whose provenance tells all. Raises ValueError if the shapes of the images differ or
    the rate is outside [0, 1], FileExistsError if `out` exists.
    """
    check_rate(rate)
    if dataset.layout != other.layout:
        raise ValueError(
            f"both data sets must have images of one shape, got {dataset.layout.shape} "
            f"and {other.layout.shape}"
        )
    replaced = _replaced(len(dataset.train), rate, seed)
    deck = np.argsort(keyed_bits(stream_base(seed, _IMAGE_STREAM), np.arange(len(other.train))))
    with atomic_folder(out) as folder, DatasetWriter(folder, dataset.layout, dataset.num_classes) as writer:
        for name, split in dataset.splits.items():
            for indices in _chunks(split):
                images = split.images(indices)
                if name == "train":
                    swap = replaced[indices]
                    images[swap] = other.train.images(deck[indices[swap] % deck.size])
                names = split.names(indices)
                if name == "train":
                    theirs = other.train.names(deck[indices[swap] % deck.size])
                    for place, new in zip(np.flatnonzero(swap).tolist(), theirs, strict=True):
                        names[place] = new
                known = names if any(names) else None
                writer.append(name, images, split.labels[indices], known)
        provenance = {
            "kind": KIND,
            "rate": rate,
            "seed": seed,
            "replaced": int(replaced.sum()),
            "images_of": other.name,
            "source": dataset.manifest.provenance if dataset.manifest else None,
        }
        return writer.finish(
            name=f"{dataset.name}, open-set", class_names=dataset.class_names, provenance=provenance
        )


def replaced_images(dataset: RecordDataset) -> npt.NDArray[np.bool_]:
    """Tell which training images of a data set by `write_open_set` are another's, bool (N,).

    Raises ValueError if it was not written so.
    """
    told = dataset.manifest.provenance if dataset.manifest else {}
    if told.get("kind") != KIND:
        raise ValueError(f"{dataset.path}: not written with open-set noise")
    replaced = _replaced(len(dataset.train), told["rate"], told["seed"])
    if replaced.sum() != told["replaced"]:
        raise ValueError(f"{dataset.path}: {told['replaced']} images were replaced, not {replaced.sum()}")
    return replaced


def _replaced(count: int, rate: float, seed: int) -> npt.NDArray[np.bool_]:
    bits = keyed_bits(stream_base(seed, _REPLACED_STREAM), np.arange(count))
    replaced: npt.NDArray[np.bool_] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 < rate
    return replaced


def _chunks(split: RecordSplit) -> list[npt.NDArray[np.int64]]:
    return np.array_split(np.arange(len(split)), range(_CHUNK, len(split), _CHUNK))
