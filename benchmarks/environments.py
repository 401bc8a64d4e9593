"""The environments of the rivals: the requirements and the interpreter of each."""

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENTS = Path(__file__).parent / ".environments"
TORCH = "torch==2.13.0"
# The module that the rival imports, and the packages to install where it is missing.
NEEDS = {
    "resident_tensors": ("torch", []),
    "resident_mirrored": ("torch", []),
    "airbench_style": ("torch", []),
    "dali_cpu": ("nvidia.dali", ["nvidia-dali-cuda130==2.4.0", TORCH, "numpy"]),
    # Compiled from source: on Debian after `apt install libopencv-dev libturbojpeg0-dev pkg-config`.
    "ffcv_loader": ("ffcv", ["ffcv==1.0.2", "pillow", TORCH, "numpy"]),
    "tf_data": ("tensorflow", ["tensorflow-cpu==2.21.0", "numpy"]),
    "hf_datasets": ("datasets", ["datasets==5.2.0", TORCH, "numpy"]),
    "webdataset_loader": ("webdataset", ["webdataset==1.0.2", TORCH, "numpy"]),
    "dali_augment": ("nvidia.dali", ["nvidia-dali-cuda130==2.4.0", "numpy"]),
    # torchvision's wheels fit one version of torch, and not its builds for CPUs.
    "torchvision_loader": ("torchvision", ["torchvision==0.29.1", "torch==2.14.1", "numpy"]),
    "torchvision_batches": ("torchvision", ["torchvision==0.29.1", "torch==2.14.1", "numpy"]),
}
# Those of bench_loader; the others are of bench_augment.
LOADERS = [name for name in NEEDS if name not in ("dali_augment", "torchvision_batches")]


def python_of(rival):
    """The interpreter of the rival's environment, or this one."""
    own = ENVIRONMENTS / rival / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def _is_here(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def install():
    """Make an environment for each rival that is missing or has another version; name those that fail."""
    for rival, (module, needs) in NEEDS.items():
        home = ENVIRONMENTS / rival
        done = home / "installed.txt"
        wanted = "\n".join(needs)
        if _is_here(module) or (done.exists() and done.read_text() == wanted):
            continue
        print(f"making an environment for {rival}: {', '.join(needs)}", flush=True)
        venv.create(home, clear=True, with_pip=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", *needs]
        if subprocess.run(pip).returncode:
            print(f"{rival} cannot be installed here")
        else:
            done.write_text(wanted)
