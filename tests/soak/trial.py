"""One trial of a part of the soak: its random numbers, its scratch folder, what it counts."""

import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Trial:
    """A trial is a pure function of (seed, part, number): the same three repeat it.

    counts: what was done, by name; the soak adds them up
    """

    seed: int
    part: str
    number: int
    scratch: Path
    counts: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed} {self.part} {self.number}")

    @property
    def repeat(self) -> str:
        """The command that does this trial again."""
        return f"PYTHONPATH=tests python -m soak --seed {self.seed} --part {self.part} --trial {self.number}"

    def folder(self, name: str) -> Path:
        """An empty folder of that name below scratch."""
        path = self.scratch / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


class Failure(AssertionError):
    """A promise that did not hold, with what was done before."""


def expect(holds: bool, what: str) -> None:
    """Raise Failure unless the promise holds."""
    if not holds:
        raise Failure(what)
