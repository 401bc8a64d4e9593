"""Starts selfie-train: Ctrl-C before it runs, while its modules are imported, is a line as it is later."""

from selfie_io.start import start


def main() -> int:
    """The command selfie-train."""
    return start("selfie-train", "selfie_train.cli")
