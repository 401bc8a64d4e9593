"""Images to embeddings: EfficientNet-Lite0 (or a network of timm), in batches, into a .npy that is a cache.

The file is named by the digest of the images and of what made the embeddings. It grows row by row under
another name, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfie_io.records.lock import target_lock
from selfie_io.records.split import RecordSplit
from selfie_train.evidence.efficientnet_lite import FEATURE_SIZE, WEIGHTS_SHA256, EfficientNetLite0

SIDE = 160  # pixels to which images are scaled; more is slower and on small images not better
BATCH = 16  # of larger batches the activations leave the cache
EFFICIENTNET = "efficientnet-lite0"
_WAIT_SECONDS = 24 * 3600.0  # for a run that makes the same embeddings

Advance = Callable[[int], None]


def embed(split: RecordSplit, model: str, cache: Path, advance: Advance) -> tuple[NDArray[np.float16], str]:
    """Embeddings float16 (N, d) of all images, memory-mapped, and their digest; made if not in `cache` yet.

    model: "efficientnet-lite0" or "timm:NAME". `advance` is told how many images are done.
    Raises ModuleNotFoundError without the package that has the network, OSError if `cache` cannot be written.
    """
    network, size, identity = _network(model)
    key = {"images": images_digest(split), "model": identity, "side": SIDE, "mirrored": True, "version": 1}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache / f"embeddings-{digest[:32]}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with target_lock(path, wait_seconds=_WAIT_SECONDS):  # another run may need them, too
            if not path.exists():
                _fill(path, split, network, size, advance)
    else:
        advance(len(split))
    features = np.load(path, mmap_mode="r", allow_pickle=False)
    if features.shape != (len(split), size) or features.dtype != np.float16:
        raise ValueError(
            f"{path}: must hold float16 {(len(split), size)}, got {features.dtype} "
            f"{features.shape}; remove it"
        )
    return features, digest


def images_digest(split: RecordSplit) -> str:
    """SHA-256, in hex, over a split: ids, labels and pixels of its files, and the indices of a subset."""
    digest = hashlib.sha256()
    if split.whole is not split:
        digest.update(np.ascontiguousarray(split.indices, "<i8").tobytes())
    for file in split.files:
        with file.open("rb") as stream:
            digest.update(
                hashlib.file_digest(stream, "sha256").digest()
                if hasattr(hashlib, "file_digest")
                else hashlib.sha256(stream.read()).digest()
            )
    return digest.hexdigest()


def _fill(
    path: Path, split: RecordSplit, network: Callable[[Tensor], Tensor], size: int, advance: Advance
) -> None:
    """Write the embeddings of all images; what an earlier try has written is kept, whole batches only."""
    partial = path.with_suffix(".partial")
    row_bytes = 2 * size
    done = partial.stat().st_size // (row_bytes * BATCH) * BATCH if partial.exists() else 0
    done = min(done, len(split))
    with partial.open("r+b" if done else "wb") as file:
        file.truncate(done * row_bytes)
        file.seek(done * row_bytes)
        advance(done)
        for begin in range(done, len(split), BATCH):
            indices = np.arange(begin, min(begin + BATCH, len(split)))
            rows = _embed_batch(split.images(indices), network)
            file.write(rows.tobytes())
            advance(len(indices))
    temporary = path.with_suffix(".temporary")
    with temporary.open("wb") as target, partial.open("rb") as source:
        header = {"descr": "<f2", "fortran_order": False, "shape": (len(split), size)}
        np.lib.format.write_array_header_1_0(target, header)
        while chunk := source.read(1 << 24):
            target.write(chunk)
    temporary.replace(path)
    partial.unlink()


@torch.inference_mode()
def _embed_batch(images: NDArray[np.uint8], network: Callable[[Tensor], Tensor]) -> NDArray[np.float16]:
    """The mean over each image and its mirror image; a short batch is filled up, so that no sum changes."""
    count = len(images)
    whole = (
        np.concatenate([images, np.repeat(images[-1:], BATCH - count, axis=0)]) if count < BATCH else images
    )
    pixels = torch.from_numpy(whole).float()
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    elif pixels.shape[1] != 3:
        pixels = pixels[:, :1].expand(-1, 3, -1, -1) if pixels.shape[1] == 2 else pixels[:, :3]
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    pixels = F.interpolate(pixels, size=(SIDE, SIDE), mode="bicubic", antialias=max(pixels.shape[2:]) > SIDE)
    pixels = (pixels.clamp(0, 255) - 127) / 128
    with torch.autocast("cpu", torch.bfloat16, enabled=_bfloat16_is_fast()):
        rows = (network(pixels) + network(pixels.flip(3))) / 2
    found: NDArray[np.float16] = rows[:count].clamp(-6e4, 6e4).numpy().astype("<f2")
    return found


def _bfloat16_is_fast() -> bool:
    """Whether the processor multiplies bfloat16 itself; else float32 is faster."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and bool(
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    )


def _network(model: str) -> tuple[Callable[[Tensor], Tensor], int, dict[str, Any]]:
    arithmetic = "bfloat16" if _bfloat16_is_fast() else "float32"
    if model == EFFICIENTNET:
        identity = {"name": model, "weights": WEIGHTS_SHA256, "arithmetic": arithmetic}
        return EfficientNetLite0(), FEATURE_SIZE, identity
    return _timm_network(model.removeprefix("timm:"), arithmetic)


def _timm_network(name: str, arithmetic: str) -> tuple[Callable[[Tensor], Tensor], int, dict[str, Any]]:
    import timm

    network = timm.create_model(name, pretrained=True, num_classes=0).eval()
    wanted = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(wanted[key])[:, None, None] for key in ("mean", "std"))
    weights = hashlib.sha256()
    for key, value in network.state_dict().items():
        weights.update(key.encode() + value.contiguous().numpy().tobytes())

    def features(images: Tensor) -> Tensor:
        rows: Tensor = network((((images * 128 + 127) / 255) - mean) / std).float()
        return rows

    identity = {"name": f"timm:{name}", "weights": weights.hexdigest(), "arithmetic": arithmetic}
    return features, int(network.num_features), identity
