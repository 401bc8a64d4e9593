"""The one vocabulary of split words: which part of a data set a folder, file or array name speaks
of.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

TRAIN, TEST, VALIDATION = "train", "test", "validation"

_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
    **dict.fromkeys(
        ("val", "valid", "validation", "validate", "validating", "dev", "eval", "evaluation"), VALIDATION
    ),
}
# What may stand beside a split word in the name of a folder that is a split, apart or grown together.
_DECORATION = (
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "photo", "photos", "jpg",
    "jpeg", "png", "split", "splits", "seg", "folder", "folders", "dir", "file", "files", "sample", "samples",
    "part", "subset", "raw", "cropped", "resized", "small", "full", "all", "new", "final", "my", "the", "a",
)  # fmt: skip
_GROWN = re.compile(
    rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))})({'|'.join(_DECORATION)})", re.ASCII
)
_Item = TypeVar("_Item")


def words(name: str) -> list[str]:
    """The words of a name in lower case: cut at what is no letter and where camel case begins one."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    apart = re.sub(r"(?<![a-z])t10k(?![a-z])", "test", apart)  # MNIST's own word
    found: list[str] = []
    for word in re.split(r"[^a-z]+", apart):
        grown = _GROWN.fullmatch(word)
        found += [grown[1], grown[2]] if grown else [word] if word else []
    return found


def splits_in(name: str) -> set[str]:
    """The splits that the words of a name speak of."""
    return {_WORDS[word] for word in words(name) if word in _WORDS}


def split_of_folder(name: str, beside: Iterable[str] = ()) -> str | None:
    """The split whose folder `name` is: one split word, alone or with words such as "set" and
    "images".

    Any other words may stand there, too, if a folder `beside` it has the same ones with another
    split word: "birds_train" beside "birds_test". "test_tube" alone is no split.
    """
    found = [word for word in words(name) if word in _WORDS]
    if len({_WORDS[word] for word in found}) != 1:
        return None
    if all(word in _WORDS or word in _DECORATION for word in words(name)):
        return _WORDS[found[0]]
    for other in beside:
        if _template(other) == _template(name) and splits_in(other) and splits_in(other) != splits_in(name):
            return _WORDS[found[0]]
    return None


def split_of_path(path: str, where: str) -> str | None:
    """The split of a file: its own name decides, and where that is silent the folders above it.

    Raises ValueError, naming the path `where` it is, if they speak of two splits.
    """
    *folders, own = path.split("/")
    found = splits_in(own.rsplit(".", 1)[0]) or splits_in(own)
    if not found:
        for folder in folders:
            found |= splits_in(folder)
    if len(found) > 1:
        raise ValueError(
            f"{where}: a path must name one split, got {' and '.join(sorted(found))}; rename the "
            "file or the folder"
        )
    return next(iter(found), None)


def without_splits(path: str) -> str:
    """A path without the folders and words that speak of a split: what two splits of one set share."""
    return "/".join(" ".join(_template(part)) for part in path.split("/") if _template(part) != ["*"])


def choose_splits(found: dict[str, _Item], named: dict[str, str]) -> tuple[dict[str, _Item], list[str]]:
    """Which of the splits found is used for training and which for testing, and notes about that.

    `named` tells how each split is called in messages. Raises ValueError if none is for training.
    """
    if TRAIN not in found:
        raise ValueError(
            f"a source must have a training split, got {', '.join(named[split] for split in found)} alone"
        )
    used = {TRAIN: found[TRAIN]}
    notes = []
    if TEST in found:
        used[TEST] = found[TEST]
        if VALIDATION in found:
            notes.append(f"{named[VALIDATION]} is left out: {named[TEST]} is the test split")
    elif VALIDATION in found:
        used[TEST] = found[VALIDATION]
        notes.append(f"{named[VALIDATION]} becomes the test split: there is no other")
    return used, notes


def class_order(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Class names in the order of their labels, and a note where that is not the order of their
    text.

    Names that are all integers are sorted as numbers, others as text.
    """
    as_text = sorted(set(names))
    if not all(re.fullmatch(r"-?[0-9]{1,18}", name, re.ASCII) for name in as_text):
        return as_text, []
    as_numbers = sorted(as_text, key=lambda name: (int(name), name))
    if as_numbers == as_text:
        return as_text, []
    first = next(name for name, other in zip(as_numbers, as_text, strict=True) if name != other)
    return as_numbers, [
        f"the class names are integers and are sorted as numbers: label {as_numbers.index(first)} "
        f"is {first!r} "
        f"(sorted as text it would be {as_text[as_numbers.index(first)]!r})"
    ]


def some(names: Sequence[str], most: int = 3) -> str:
    """The first of many names, for a note."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def counted(number: int, noun: str) -> str:
    """A number with its noun, for a note: "1 image", "1,200 images"."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _template(name: str) -> list[str]:
    return ["*" if word in _WORDS else word for word in words(name)]
