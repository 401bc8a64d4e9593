"""Training with noisy labels: SELFIE and the methods it is compared with.

Names are imported on first use, so that `selfie_train.refurbish` can be used without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from selfie_io._extras import advice

if TYPE_CHECKING:
    from selfie_train.commands.audit import audit
    from selfie_train.config import TrainConfig
    from selfie_train.inference.evaluation import Evaluation, evaluate
    from selfie_train.inference.export import export_run
    from selfie_train.inference.prediction import predict
    from selfie_train.inference.trained_run import TrainedRun, load_run
    from selfie_train.methods.method import Choice, Method, Scores, register_method
    from selfie_train.models.builder import register_model
    from selfie_train.refurbish import Refurbisher
    from selfie_train.runs.result import Divergence, Stopped, TrainResult
    from selfie_train.training.loop import resume, train

_HOME = {
    "Choice": "methods.method",
    "Divergence": "runs.result",
    "Evaluation": "inference.evaluation",
    "Method": "methods.method",
    "Refurbisher": "refurbish",
    "Scores": "methods.method",
    "Stopped": "runs.result",
    "TrainConfig": "config",
    "TrainResult": "runs.result",
    "TrainedRun": "inference.trained_run",
    "audit": "commands.audit",
    "evaluate": "inference.evaluation",
    "export_run": "inference.export",
    "load_run": "inference.trained_run",
    "predict": "inference.prediction",
    "register_method": "methods.method",
    "register_model": "models.builder",
    "resume": "training.loop",
    "train": "training.loop",
}

__all__ = [
    "Choice",
    "Divergence",
    "Evaluation",
    "Method",
    "Refurbisher",
    "Scores",
    "Stopped",
    "TrainConfig",
    "TrainResult",
    "TrainedRun",
    "audit",
    "evaluate",
    "export_run",
    "load_run",
    "predict",
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
