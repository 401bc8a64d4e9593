"""One small reader for each kind of source; `open_source` finds the one that fits."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from selfie_io.convert.sources.animal10n import Animal10N
from selfie_io.convert.sources.archives import open_tree
from selfie_io.convert.sources.cifar_binary import Cifar10Binary, Cifar100Binary
from selfie_io.convert.sources.cifar_python import Cifar10Python, Cifar100Python
from selfie_io.convert.sources.digits import Digits
from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.held_out import HeldOut
from selfie_io.convert.sources.idx import Idx
from selfie_io.convert.sources.image_folder import ImageFolder
from selfie_io.convert.sources.image_table import ImageTable, in_one_folder
from selfie_io.convert.sources.npz import Npz
from selfie_io.convert.sources.parquet import Parquet
from selfie_io.convert.sources.published_digests import compare_with_published
from selfie_io.convert.sources.source import Source, SourceOptions
from selfie_io.convert.sources.svhn import Svhn
from selfie_io.convert.sources.tiny_imagenet import TinyImageNet
from selfie_io.convert.sources.webdataset import WebDataset

KINDS: dict[str, type[Source]] = {
    source.kind: source
    for source in (
        Cifar10Python,
        Cifar10Binary,
        Cifar100Python,
        Cifar100Binary,
        TinyImageNet,
        Animal10N,
        ImageFolder,
        ImageTable,
        Idx,
        Svhn,
        Npz,
        Parquet,
        WebDataset,
        Digits,
    )
}


@contextlib.contextmanager
def open_source(path: str, kind: str, options: SourceOptions) -> Iterator[tuple[Source, str]]:
    """Open the source at `path` (or "digits"); yields it and what showed its kind.

    Raises ValueError if `kind` is unknown, or "auto" and not exactly one kind fits, or the source
    is bad; OSError if it cannot be read.
    """
    if kind not in ("auto", *KINDS):
        raise ValueError(f"--kind must be one of auto, {', '.join(KINDS)}, got {kind!r}")
    if kind == "digits" or (kind == "auto" and path == "digits" and not Path(path).exists()):
        yield _split(Digits(None, options), options, "digits"), "digits: the word"
        return
    with open_tree(path) as tree:
        name, what = _recognise(tree, path, kind, options)
        _refuse_keys(name, options, path)
        published, all_published = compare_with_published(tree)
        source = KINDS[name](tree, options)
        source.tree = tree
        source.published = source.published or all_published
        source.notes = [*published, *tree.notes(), *source.notes]
        yield _split(source, options, path), f"{name}: {what}"


def _recognise(tree: Tree, path: str, kind: str, options: SourceOptions) -> tuple[str, str]:
    """The kind of a tree and what showed it; raises ValueError unless exactly one fits."""
    seen = {
        name: found
        for name, source in KINDS.items()
        if kind in ("auto", name) and (found := source.recognise(tree, options)) is not None
    }
    fitting = {name: found.what for name, found in seen.items() if found.fits}
    if {ImageFolder.kind, ImageTable.kind} == set(fitting) and in_one_folder(tree):
        del fitting[ImageFolder.kind]  # one folder of images is no class where a table gives labels
    if len(fitting) == 1:
        return next(iter(fitting.items()))
    if len(fitting) > 1:
        raise ValueError(
            f"{path}: one kind must fit, choose with --kind: "
            + "; ".join(f"{name} ({what})" for name, what in fitting.items())
        )
    if kind != "auto":
        reason = seen[kind].what if kind in seen else f"it must hold {KINDS[kind].wants}"
        raise ValueError(f"{path}: is not of the kind {kind}: {reason}")
    rule = f"{path}: no kind fits; the kinds are {', '.join(KINDS)}"
    if seen:
        raise ValueError("\n".join([rule, *(f"  {name}: {found.what}" for name, found in seen.items())]))
    raise ValueError(f"{rule}; {_hint(tree)}")


def _hint(tree: Tree) -> str:
    """What to do about a source that comes close to no kind."""
    if {"data_batch_1.bin", "dataset.json"} <= set(tree.names):
        return "this is a data set that pack wrote; export writes other formats"
    if "data_batch_1.bin" in tree:
        return "record files without a manifest are for selfie-convert adopt"
    if not tree.names:
        return "there is no file in it"
    return (
        f"images need labels: class folders, or a table of file and label; the first file is {tree.names[0]}"
    )


def _refuse_keys(name: str, options: SourceOptions, path: str) -> None:
    for option, value in (("--image-key", options.image_key), ("--label-key", options.label_key)):
        if value is not None and not KINDS[name].takes_keys:
            takers = ", ".join(kind for kind, source in KINDS.items() if source.takes_keys)
            raise ValueError(f"{path}: {option} is for the kinds {takers}, this is {name}")


def _split(source: Source, options: SourceOptions, where: str) -> Source:
    """The source with a test split held out, if that is asked for or the kind does so by itself."""
    if options.test_fraction is None and source.default_test_fraction is not None:
        options = SourceOptions(source.default_test_fraction, options.test_seed)
    if options.test_fraction is not None:
        return HeldOut(source, options, where)
    if not source.names_splits:
        raise ValueError(
            f"{where}: no split is named, so --test-fraction is needed (for example 0.2; 0 for no test split)"
        )
    if "test" not in source.splits:
        source.notes = [*source.notes, "there is no test split; --test-fraction 0.2 would hold one out"]
    return source
