"""Shows that instance-dependent noise gives similar images the same wrong label (docs/noise.md).

Run: python benchmarks/look_alike.py data/cifar10 docs/look_alike.png

For each pair of images of one class with changed labels: the correlation of their pixels, and whether their
noisy labels agree. Symmetric noise of the same rate is the control.
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from selfie_io.labels.instance_noise import inject_instance_noise
from selfie_io.labels.noise import inject_noise, transition_matrix
from selfie_io.records.dataset import open_dataset

RATE = 0.4
BINS = np.linspace(-0.6, 1, 17)


def standardised(images):
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def agreement(split, noisy, num_classes):
    """Share of agreeing pairs in each bin of correlation, over all pairs of one class with changed labels."""
    pairs, agreeing = np.zeros(len(BINS) - 1), np.zeros(len(BINS) - 1)
    for label in range(num_classes):
        members = np.flatnonzero((split.labels == label) & (noisy != label))
        flat = standardised(split.images(members))
        alike = (flat @ flat.T)[np.triu_indices(len(members), 1)]
        same = (noisy[members][:, None] == noisy[members])[np.triu_indices(len(members), 1)]
        pairs += np.histogram(alike, BINS)[0]
        agreeing += np.histogram(alike[same], BINS)[0]
    return agreeing / np.maximum(pairs, 1), pairs


def main(folder, out):
    dataset = open_dataset(folder)
    split, num_classes = dataset.train, dataset.num_classes
    clean, ids = split.labels, split.record_ids
    kinds = {
        "instance-dependent": inject_instance_noise(split, clean, num_classes, RATE, record_ids=ids),
        "symmetric": inject_noise(clean, transition_matrix("symmetric", num_classes, RATE), record_ids=ids),
    }
    middles = (BINS[1:] + BINS[:-1]) / 2
    figure, axis = plt.subplots(figsize=(5.2, 3.4), dpi=100, layout="constrained")
    for kind, noisy in kinds.items():
        print(f"{kind}: realised rate {np.mean(noisy != clean):.4f}\n  correlation  agreeing  pairs")
        share, pairs = agreement(split, noisy, num_classes)
        for middle, agreeing, count in zip(middles, share, pairs, strict=True):
            print(f"  {middle:11.2f}  {agreeing:8.3f}  {count:,.0f}")
        enough = pairs >= 1000
        axis.plot(middles[enough], share[enough], marker="o", markersize=3, label=kind)
    axis.set(
        xlabel="correlation of the pixels of two images of one class with changed labels",
        ylabel="share with the same noisy label",
        ylim=(0, None),
    )
    axis.legend(frameon=False)
    figure.savefig(out)
    print(f"{out}: {Path(out).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
