"""What the subcommands share: their form and their exit statuses."""

from abc import ABC, abstractmethod

DONE, FAILED, BAD_COMMAND, INTERRUPTED = 0, 1, 2, 130


class TrainCommand(ABC):
    """A subcommand of selfie-train: its fields are the command line."""

    @abstractmethod
    def run(self) -> int:
        """Do it and return the exit status; raises ValueError and OSError for bad data or a bad run."""
