"""One small reader for each kind of source; `open_source` finds the one that fits."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from selfie_io.convert.sources.animal10n import Animal10N
from selfie_io.convert.sources.archives import open_tree
from selfie_io.convert.sources.cifar_binary import Cifar10Binary, Cifar100Binary
from selfie_io.convert.sources.cifar_python import Cifar10Python, Cifar100Python
from selfie_io.convert.sources.digits import Digits
from selfie_io.convert.sources.idx import Idx
from selfie_io.convert.sources.image_folder import ImageFolder
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
        yield Digits(None, options), "digits: the word"
        return
    with open_tree(path) as tree:
        seen = {name: source.recognise(tree) for name, source in KINDS.items() if kind in ("auto", name)}
        fitting = {name: what for name, what in seen.items() if what is not None}
        adopt = " (record files without a manifest are for selfie-convert adopt)"
        hint = adopt if "data_batch_1.bin" in tree else ""
        if kind == "auto" and len(fitting) != 1:
            raise ValueError(
                f"{path}: "
                + (
                    "more than one kind fits, choose with --kind: "
                    + "; ".join(f"{name} ({what})" for name, what in fitting.items())
                    if fitting
                    else f"no kind fits; the kinds are {', '.join(KINDS)}{hint}"
                )
            )
        if not fitting:
            raise ValueError(f"{path}: is not of the kind {kind}")
        name, what = next(iter(fitting.items()))
        published = compare_with_published(tree)
        source = KINDS[name](tree, options)
        source.notes = [*published, *source.notes]
        yield source, f"{name}: {what}"
