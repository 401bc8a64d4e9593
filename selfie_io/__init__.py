"""Records, loading, label noise and label history for learning with noisy labels.

Names are imported on first use, so that a command that only converts files pays for neither torch nor numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from selfie_io._extras import advice

if TYPE_CHECKING:
    from selfie_io.labels.history import LabelHistory
    from selfie_io.labels.human_labels import import_human_labels
    from selfie_io.labels.instance_noise import inject_instance_noise
    from selfie_io.labels.noise import inject_noise
    from selfie_io.labels.overlay_writer import save_overlay
    from selfie_io.labels.transition import observed_matrix, transition_matrix
    from selfie_io.loading.augment import Augment
    from selfie_io.loading.batch import Batch
    from selfie_io.loading.loader import Loader
    from selfie_io.loading.options import CIFAR10_MEAN_STD, IMAGENET_MEAN_STD, PerChannel, PerImage
    from selfie_io.records.dataset import RecordDataset, open_dataset
    from selfie_io.records.layout import RecordLayout
    from selfie_io.records.split import RecordSplit

__version__ = "0.2.0"

_HOME = {
    "LabelHistory": "labels.history",
    "inject_instance_noise": "labels.instance_noise",
    "inject_noise": "labels.noise",
    "observed_matrix": "labels.transition",
    "transition_matrix": "labels.transition",
    "import_human_labels": "labels.human_labels",
    "save_overlay": "labels.overlay_writer",
    "Batch": "loading.batch",
    "Loader": "loading.loader",
    "CIFAR10_MEAN_STD": "loading.options",
    "IMAGENET_MEAN_STD": "loading.options",
    "Augment": "loading.augment",
    "PerChannel": "loading.options",
    "PerImage": "loading.options",
    "RecordDataset": "records.dataset",
    "RecordSplit": "records.split",
    "open_dataset": "records.dataset",
    "RecordLayout": "records.layout",
}

__all__ = [
    "CIFAR10_MEAN_STD",
    "IMAGENET_MEAN_STD",
    "Augment",
    "Batch",
    "LabelHistory",
    "Loader",
    "PerChannel",
    "PerImage",
    "RecordDataset",
    "RecordLayout",
    "RecordSplit",
    "import_human_labels",
    "inject_instance_noise",
    "inject_noise",
    "observed_matrix",
    "open_dataset",
    "save_overlay",
    "transition_matrix",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'selfie_io' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"selfie_io.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"selfie_io.{name}: {advice(error)}", name=error.name) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
