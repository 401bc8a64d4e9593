"""Loads a run's networks, ready to use, with all that is needed to feed them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfie_io.loading.core_pixels import Normalizer
from selfie_io.loading.options import PerImage
from selfie_io.records.layout import RecordLayout
from selfie_train.config import TrainConfig
from selfie_train.models.builder import model_builder
from selfie_train.models.exact_kernels import exact_kernels
from selfie_train.runs.data_identity import data_description, open_run_dataset, read_identity
from selfie_train.training.checkpoint import latest_checkpoint, read_arrays
from selfie_train.training.distributed import choose_device
from selfie_train.training.machine import autocast

Which = Literal["last", "best"]


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """The networks of a run, in eval mode on one device, and what they must be fed with."""

    folder: Path  # of the run
    config: TrainConfig  # its settings
    networks: list[nn.Module]  # those that the run tested; two for Co-teaching and DivideMix
    shape: tuple[int, int, int]  # channels, height, width of an image
    class_names: list[str]  # in the order of the columns of a prediction
    device: torch.device  # where the networks are
    weights: Path  # the file that the weights came from
    epoch: int  # epochs that they learnt for, of the last training run
    finished: bool  # whether the run was trained to its end
    normalize: PerImage = field(default_factory=PerImage)  # of the bytes 0..255 of an image

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @torch.no_grad()
    def logits(self, images: NDArray[np.uint8]) -> list[Tensor]:
        """Each network's output float32 (n, k) on the CPU, for images uint8 (n, C, H, W).

        The images go through the networks at once, in the precision in which the run tested them.
        Raises ValueError for images of another shape or dtype.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.shape:
            wanted = ", ".join(map(str, self.shape))
            raise ValueError(f"images must be uint8 (n, {wanted}), got {images.dtype} {images.shape}")
        if len(images) == 0:
            return [torch.empty(0, self.num_classes) for _ in self.networks]
        last = self.config.channels_last is True
        normalizer = Normalizer(RecordLayout(*self.shape), self.normalize, layout="NHWC" if last else "NCHW")
        placed = normalizer(np.ascontiguousarray(images)).to(self.device)
        if last:
            placed = placed.permute(0, 3, 1, 2)
        outputs = []
        with exact_kernels(self.device):
            for network in self.networks:
                with autocast(self.device, self.config.precision):
                    outputs.append(network(placed).float().cpu())
        return outputs

    def __repr__(self) -> str:
        many = "" if len(self.networks) == 1 else f"{len(self.networks)} x "
        state = "finished" if self.finished else "not finished"
        return (
            f"TrainedRun({str(self.folder)!r}: {many}{self.config.model} by {self.config.method}, epoch "
            f"{self.epoch}, {state}; uint8 {self.shape} -> {self.num_classes} classes on {self.device})"
        )


def load_run(
    folder: str | Path,
    *,
    which: Which = "last",
    device: str = "auto",
    dataset: str | Path | None = None,
) -> TrainedRun:
    """Load the networks of the run in `folder`, ready to use.

    They are those that the run tested: with averaged weights (`ema`) the averages. The last checkpoint has
    them, also of a run that is not finished.

    which: "last": the weights after the last epoch or, with early stopping, those that it kept; "best": the
        weights of the best epoch so far, which only a run with early stopping keeps
    device: cpu, cuda, cuda:N or auto (CUDA where there is one)
    dataset: where the run's data set lies now; only a run of an older version needs it, which kept no class
        names

    Raises OSError if there is no run or no checkpoint, ValueError for a damaged checkpoint, a run without a
    best epoch, or weights that do not fit its settings.
    """
    folder = Path(folder)
    if which not in ("last", "best"):
        raise ValueError(f'which must be "last" or "best", got {which!r}')
    config = TrainConfig.read(folder)
    place = choose_device(device)
    shape, class_names = _description(folder, config, dataset)
    checkpoint, defects = latest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        if defects:
            raise ValueError(f"{folder} has no whole checkpoint: {defects[0]}")
        raise FileNotFoundError(
            f"{folder} has no checkpoint, so no weights: train it first (selfie-train resume {folder})"
        )
    if defects:
        raise ValueError(
            f"the newest checkpoint of {folder} is damaged ({defects[0]}): selfie-train resume {folder} "
            "continues from the one before"
        )
    weights, arrays = checkpoint.path.with_suffix(".safetensors"), checkpoint.arrays
    try:
        epoch = int(checkpoint.values["position"]["epoch"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{checkpoint.path} is damaged: it tells no position: {error}") from None
    if which == "best":
        kept = sorted((folder / "checkpoints").glob("selected-*.safetensors"))
        if not kept:
            raise ValueError(
                f'which="best" needs a run that keeps its best epoch (early_stopping="label-wave"), and '
                f'{folder} keeps none: use which="last"'
            )
        weights, arrays = kept[-1], read_arrays(kept[-1])
        epoch = int(weights.stem.removeprefix("selected-")) + 1
    networks = _networks(config, shape, len(class_names), arrays, weights)
    order = torch.channels_last if config.channels_last is True else torch.contiguous_format
    for network in networks:
        network.eval().requires_grad_(False).to(place, memory_format=order)  # type: ignore[call-overload]
    return TrainedRun(
        folder=folder,
        config=config,
        networks=networks,
        shape=shape,
        class_names=class_names,
        device=place,
        weights=weights,
        epoch=epoch,
        finished=(folder / "summary.json").exists(),
    )


def _description(
    folder: Path, config: TrainConfig, moved: str | Path | None
) -> tuple[tuple[int, int, int], list[str]]:
    """The image shape and the class names: as the run kept them, else those of its data set."""
    stored = read_identity(folder) or {}
    if "shape" not in stored:
        if moved is not None:
            config = replace(config, dataset=str(Path(moved).absolute()))
        stored = data_description(open_run_dataset(config))
    try:
        channels, height, width = (int(size) for size in stored["shape"])
        names = [str(name) for name in stored["class_names"]]
        RecordLayout(channels, height, width)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'}: shape or class_names are damaged: {error}") from None
    return (channels, height, width), names


def _networks(
    config: TrainConfig,
    shape: tuple[int, int, int],
    num_classes: int,
    arrays: dict[str, NDArray[Any]],
    source: Path,
) -> list[nn.Module]:
    """The networks whose weights `arrays` holds: the averages where there are some."""
    networks: list[nn.Module] = []
    for prefix in ("average{}.network.", "network{}."):
        while any(name.startswith(prefix.format(len(networks))) for name in arrays):
            begin = prefix.format(len(networks))
            state = {
                name.removeprefix(begin): torch.from_numpy(np.array(value))
                for name, value in arrays.items()
                if name.startswith(begin)
            }
            network = model_builder(config.model)(shape, num_classes)
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                told = " ".join(str(error).split())[:300]
                raise ValueError(f"{source} does not fit {config.model} for {shape}: {told}") from None
            if not all(torch.isfinite(value).all() for value in network.state_dict().values()):
                raise ValueError(f"{source} is damaged: a weight is not finite")
            networks.append(network)
        if networks:
            return networks
    raise ValueError(f"{source} holds no network")
