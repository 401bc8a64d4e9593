"""Images of records as PNG, with what a method thinks of their labels."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfie_io.records.dataset import RecordDataset
from selfie_train.report.page import GalleryImage


def png_base64(pixels: NDArray[np.uint8]) -> str:
    """uint8[C, H, W] as a PNG in base64: grey if C is not 3."""
    array = pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels[0]
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(out, format="PNG")
    return base64.b64encode(out.getvalue()).decode()


def label_images(
    dataset: RecordDataset,
    indices: NDArray[np.int64],
    given: NDArray[np.int64],
    suggested: NDArray[np.int64],
    clean: NDArray[np.int64] | None,
    details: list[str] | None = None,
) -> list[GalleryImage]:
    """The training images at `indices` with their labels; the label arrays are of all N samples."""
    names = dataset.class_names
    images = []
    for place, (index, pixels) in enumerate(
        zip(indices.tolist(), dataset.train.images(indices), strict=True)
    ):
        verdict = ""
        if clean is not None:
            verdict = "right" if suggested[index] == clean[index] else "wrong"
        detail = details[place] if details else f"record {dataset.train.record_ids[index]}"
        images.append(
            GalleryImage(png_base64(pixels), names[given[index]], names[suggested[index]], verdict, detail)
        )
    return images


def spread(candidates: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of the candidates, evenly spread over them."""
    if len(candidates) <= count:
        return candidates
    return candidates[np.linspace(0, len(candidates) - 1, count).round().astype(np.int64)]
