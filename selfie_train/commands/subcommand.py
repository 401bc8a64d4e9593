"""What the subcommands share: their form and their exit statuses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from selfie_train.plugins import Imports

DONE, FAILED, BAD_COMMAND, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, kw_only=True)
class TrainCommand(ABC):
    """A subcommand of selfie-train: its fields are the command line."""

    EXAMPLES: ClassVar[tuple[str, ...]] = ()  # below its help
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {}  # the fields of each box of its help

    imports: Imports = ()
    """A Python module or file to import first, which registers methods and models of your own; repeatable."""

    @abstractmethod
    def run(self) -> int:
        """Do it and return the exit status; raises ValueError and OSError for bad data or a bad run."""
