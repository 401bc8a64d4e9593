"""A run's networks as one ONNX graph: bytes in, class probabilities out."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from selfie_train.inference.trained_run import TrainedRun

OPSET = 18


class FedByBytes(nn.Module):
    """Normalises images uint8 (n, C, H, W), each over all its values, and averages the networks' softmax."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities float32 (n, k). In float32 alone, which every runtime has."""
        values = images.float()
        least = (values.shape[1] * values.shape[2] * values.shape[3]) ** -0.5
        centred = values - values.mean((1, 2, 3), keepdim=True)
        std = centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(least)
        normalised = centred / std
        total: Tensor = self.networks[0](normalised).softmax(1)
        for network in list(self.networks)[1:]:
            total = total + network(normalised).softmax(1)
        averaged: Tensor = total / len(self.networks)
        return averaged


def write_onnx(run: TrainedRun, path: Path) -> None:
    """Write the networks of `run` as one ONNX graph with a free batch size, checked by ONNX.

    Raises ModuleNotFoundError without the extra [onnx], ValueError if torch cannot export the network.
    """
    import onnx
    import onnxscript  # noqa: F401 - torch's exporter needs it, and would ask for it in words of its own

    module = FedByBytes([copy.deepcopy(network).cpu().float() for network in run.networks]).eval()
    module = module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.zeros(2, *run.shape, dtype=torch.uint8)
    batch = torch.export.Dim("n", min=1)
    with _silence():
        try:
            torch.onnx.export(
                module,
                (example,),
                path,
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes={"images": {0: batch}},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter raises its own kinds, with pages of text
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"torch {torch.__version__} cannot export {run.config.model} to ONNX: {reason}; "
                "--to safetensors always works"
            ) from error
    onnx.checker.check_model(path)


@contextlib.contextmanager
def _silence():  # type: ignore[no-untyped-def]
    """The exporter prints its steps, warns about its own inside and logs what it leaves out."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
