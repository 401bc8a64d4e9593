"""Sorts the files of a source (shards, tables) into splits by their names."""

from collections.abc import Sequence
from typing import NamedTuple

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import SourceOptions
from selfie_io.convert.sources.split_words import TRAIN, counted, some, split_of_path, without_splits


class SplitFiles(NamedTuple):
    """Files by the split that they name, notes, and whether they are one pool without splits."""

    found: dict[str, list[str]]
    notes: list[str]
    pooled: bool


def split_files(tree: Tree, names: Sequence[str], options: SourceOptions) -> SplitFiles:
    """Sort files into splits: a file's own name decides, else the folders that it is in.

    Raises ValueError for a path that names two splits, a file without split beside files with one,
    and files that seem to be of two data sets.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(split_of_path(name, tree.place(name)) or "", []).append(name)
    notes = [] if options.join_folders else _refuse_two_sets(tree, found)
    if list(found) == [""]:
        return SplitFiles({TRAIN: list(names)}, notes, True)
    if "" in found:
        if not options.lenient:
            raise ValueError(
                f"{tree.place(found[''][0])}: a file must name its split (train, test or "
                "validation), as others do;"
                " rename it or move it away (--skip-bad or --kind leaves it out)"
            )
        unnamed = found.pop("")
        notes.append(
            f"{counted(len(unnamed), 'file')} without a split in the name left out ({some(unnamed, 20)})"
        )
    return SplitFiles(found, notes, False)


def named_splits(found: dict[str, list[str]]) -> dict[str, str]:
    """How messages call each split."""
    return {split: f"{some(names, 1)}" for split, names in found.items()}


def _refuse_two_sets(tree: Tree, found: dict[str, list[str]]) -> list[str]:
    """Raise ValueError if a split has files of one name in two folders, as two configurations of a
    " "set have."""
    notes = []
    for names in found.values():
        folders: dict[str, list[str]] = {}
        for name in names:
            folder, _, file = name.rpartition("/")
            folders.setdefault(without_splits(folder), []).append(file)
        if len(folders) < 2:
            continue
        files = [file for of_folder in folders.values() for file in of_folder]
        paths = sorted({name.rpartition("/")[0] or "." for name in names})
        if len(set(files)) < len(files):
            raise ValueError(
                f"{tree.path}: one folder must hold the files of a split, got {some(paths)} with "
                "files of the same"
                " names, as two configurations of a data set have; pack one of them "
                "(--join-folders joins them)"
            )
        notes.append(f"the files of {len(paths)} folders are put together ({some(paths)})")
    return notes[:1]
