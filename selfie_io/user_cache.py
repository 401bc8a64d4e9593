"""The folder where selfie keeps what it can make again: SELFIE_CACHE, else ~/.cache/selfie."""

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder; it need not exist. Raises RuntimeError where there is no home."""
    return Path(os.environ.get("SELFIE_CACHE") or Path.home() / ".cache" / "selfie")
