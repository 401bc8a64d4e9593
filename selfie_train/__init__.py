"""Training with noisy labels: SELFIE and the methods it is compared with.

Names are imported on first use, so that `selfie_train.refurbish` can be used without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfie_train.config import TrainConfig
    from selfie_train.engine import Divergence, Stopped, resume, train
    from selfie_train.methods.base import Choice, Method, Scores
    from selfie_train.refurbish import Refurbisher
    from selfie_train.registry import register_method, register_model
    from selfie_train.results import TrainResult

_HOME = {
    "Choice": "methods.base",
    "Divergence": "engine",
    "Method": "methods.base",
    "Refurbisher": "refurbish",
    "Scores": "methods.base",
    "Stopped": "engine",
    "TrainConfig": "config",
    "TrainResult": "results",
    "register_method": "registry",
    "register_model": "registry",
    "resume": "engine",
    "train": "engine",
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
    "register_method",
    "register_model",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'selfie_train' has no attribute {name!r}")
    value = getattr(import_module(f"selfie_train.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
