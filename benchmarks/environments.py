"""The environments of the rivals: the requirements and the interpreter of each.

Run: python benchmarks/environments.py [RIVAL ...]    makes those that are missing
"""

import argparse
import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENTS = Path(__file__).parent / ".environments"
TORCH = "torch==2.13.0"
# The module that shows whether an environment is here, and the packages to install where it is missing.
NEEDS = {
    "torch": ("torch", []),
    "dali": ("nvidia.dali", ["nvidia-dali-cuda130==2.4.0", TORCH, "numpy"]),
    # Compiled from source: on Debian after `apt install libopencv-dev libturbojpeg0-dev pkg-config`.
    "ffcv": ("ffcv", ["ffcv==1.0.2", "pillow", TORCH, "numpy"]),
    "tensorflow": ("tensorflow", ["tensorflow-cpu==2.21.0", "numpy"]),
    "datasets": ("datasets", ["datasets==5.2.0", TORCH, "numpy"]),
    "webdataset": ("webdataset", ["webdataset==1.0.2", TORCH, "numpy"]),
    # torchvision's wheels fit one version of torch, and not its builds for CPUs.
    "torchvision": ("torchvision", ["torchvision==0.29.1", "torch==2.14.1", "numpy"]),
}
# The rivals of bench_loader and of bench_augment, and the environment of each.
LOADERS = {
    "resident_tensors": "torch",
    "resident_mirrored": "torch",
    "airbench_style": "torch",
    "dali_cpu": "dali",
    "ffcv_loader": "ffcv",
    "tf_data": "tensorflow",
    "hf_datasets": "datasets",
    "webdataset_loader": "webdataset",
    "torchvision_loader": "torchvision",
}
AUGMENTERS = {"torchvision_batches": "torchvision", "dali_augment": "dali", "ffcv_augment": "ffcv"}
RIVALS = LOADERS | AUGMENTERS


def python_of(rival):
    """The interpreter of the rival's environment, or this one."""
    own = ENVIRONMENTS / RIVALS.get(rival, rival) / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def _is_here(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def install(rivals=tuple(RIVALS)):
    """Make the environments that are missing or have another version; name those that fail."""
    for environment in dict.fromkeys(RIVALS[rival] for rival in rivals):
        module, needs = NEEDS[environment]
        home = ENVIRONMENTS / environment
        done = home / "installed.txt"
        wanted = "\n".join(needs)
        if _is_here(module) or (done.exists() and done.read_text() == wanted):
            continue
        print(f"making an environment: {', '.join(needs)}", flush=True)
        venv.create(home, clear=True, with_pip=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", *needs]
        if subprocess.run(pip).returncode:
            print(f"{needs[0]} cannot be installed here")
        else:
            done.write_text(wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rivals", nargs="*", metavar="RIVAL", help=f"of {', '.join(RIVALS)}; all without")
    chosen = parser.parse_args().rivals
    if unknown := [name for name in chosen if name not in RIVALS]:
        parser.error(f"a rival must be one of {', '.join(RIVALS)}, got {', '.join(unknown)}")
    install(chosen or tuple(RIVALS))
