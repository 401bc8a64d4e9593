"""Training with noisy labels: SELFIE and the methods it is compared with.

Names are imported on first use, so that `selfie_train.refurbish` can be used without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from selfie_io._extras import advice

if TYPE_CHECKING:
    from selfie_train.commands.audit import audit
    from selfie_train.config import TrainConfig
    from selfie_train.methods.method import Choice, Method, Scores, register_method
    from selfie_train.models.builder import register_model
    from selfie_train.refurbish import Refurbisher
    from selfie_train.runs.result import Divergence, Stopped, TrainResult
    from selfie_train.training.loop import resume, train

_HOME = {
    "Choice": "methods.method",
    "Divergence": "runs.result",
    "Method": "methods.method",
    "Refurbisher": "refurbish",
    "Scores": "methods.method",
    "Stopped": "runs.result",
    "TrainConfig": "config",
    "audit": "commands.audit",
    "TrainResult": "runs.result",
    "register_method": "methods.method",
    "register_model": "models.builder",
    "resume": "training.loop",
    "train": "training.loop",
}

__all__ = [
    "Choice",
    "Divergence",
    "Method",
    "Refurbisher",
    "Scores",
    "Stopped",
    "TrainConfig",
    "TrainResult",
    "audit",
    "register_method",
    "register_model",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'selfie_train' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"selfie_train.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"selfie_train.{name}: {advice(error, training=True)}", name=error.name
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
