"""The version of this project, from the installed distribution."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """The version of the distribution; "0+unknown" if the sources are used without being installed."""
    for name in ("selfie-io", "selfie"):  # the second is the name before 0.2
        try:
            return installed_version(name)
        except PackageNotFoundError:
            continue
    return "0+unknown"
