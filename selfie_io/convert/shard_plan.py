"""The plan file (which shard writes which record files, where and how) and the result file of a
shard.

Each shard has a folder of its own beside OUT, `.OUT.shards/<i>`; its shard.json is written last.
"""

import hashlib
import json
import os
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec

from selfie_io.convert.decoding.images import ImageRule
from selfie_io.convert.sources.source import Source, SourceOptions
from selfie_io.convert.storage.locations import beside, is_url, name_of, read_file, write_file
from selfie_io.convert.subcommand import CommandError
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import FileEntry
from selfie_io.records.plain_files import check_json_size
from selfie_io.records.quick_json import decode_json

SHARD_NAME = "shard.json"
MAX_SHARDS = 100_000
_MAX_JSON_BYTES = 1 << 28
_MAX_PLAN_BYTES = 1 << 26  # 400,000 record files


class FilePlan(msgspec.Struct, frozen=True):
    """One record file: the items of its split that it holds, and the shard that writes it."""

    split: str
    position: int
    start: int
    stop: int
    shard: int


class ShardPlan(msgspec.Struct, frozen=True):
    """All that a machine needs to know to write its shard."""

    source: str
    kind: str
    options: dict[str, Any]
    labels: Literal["clean", "unknown"]
    source_digest: str
    rule: dict[str, Any]
    name: str
    class_names: list[str]
    provenance: dict[str, Any]
    out: str
    num_shards: int
    files: list[FilePlan]

    @property
    def digest(self) -> str:
        """Tells shards of this plan from those of another."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def layout(self) -> RecordLayout:
        """The shape of a record."""
        return RecordLayout(self.rule["channels"], self.rule["height"], self.rule["width"])


class ShardResult(msgspec.Struct, frozen=True):
    """What a shard wrote; the sums are those of its training files."""

    plan_digest: str
    files: list[FileEntry]
    turned: int
    pixels: int
    sums: list[int]
    squares: list[int]


def named_in(plan_place: str, place: str) -> str:
    """How a plan names a place: a path relative to the plan's own folder, if both are paths."""
    if is_url(place):
        return place
    if is_url(plan_place):
        return os.path.abspath(place)  # noqa: PTH100 - links stay links
    return os.path.relpath(place, os.path.dirname(plan_place) or ".")  # noqa: PTH120


def place_of(plan_place: str, named: str) -> str:
    """The place that a plan names."""
    if is_url(named) or os.path.isabs(named):  # noqa: PTH117
        return named
    return beside(plan_place, named)


def shards_place(out: str) -> str:
    """Where the folders of all shards of `out` are."""
    return beside(out, f".{name_of(out)}.shards")


def shard_place(out: str, shard: int) -> str:
    """Where a shard of `out` is written."""
    return f"{shards_place(out)}/{shard}"


def cut(splits: dict[str, int], records_per_file: int, shards: int) -> list[FilePlan]:
    """The record files of all splits, in order, in shards of about the same number of records."""
    spans = []
    for split, count in splits.items():
        size = records_per_file if split == "train" else max(1, count)
        spans += [
            (split, position, start, min(count, start + size))
            for position, start in enumerate(range(0, count, size))
        ]
    total = sum(stop - start for _, _, start, stop in spans)
    files = []
    before = 0
    for split, position, start, stop in spans:
        middle = before + (stop - start) / 2
        files.append(FilePlan(split, position, start, stop, min(shards - 1, int(middle * shards / total))))
        before += stop - start
    return files


def check_plan_target(place: str) -> None:
    """Raise CommandError if something else than a plan is at `place`, a path."""
    if is_url(place) or not os.path.lexists(place):
        return
    try:
        read_plan(place)
    except ValueError as error:
        raise CommandError(f"PLAN must be absent or a plan, {place} is another file") from error


def write_plan(place: str, plan: ShardPlan) -> None:
    """Write a plan, whole or not at all."""
    write_file(place, msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")


def read_plan(place: str) -> ShardPlan:
    """Read a plan; raises CommandError if there is none, ValueError if it makes no sense."""
    try:
        content = read_file(place, _MAX_PLAN_BYTES)
        check_json_size(content, "a plan", value_bytes=12)
        plan = decode_json(content, ShardPlan)
        for kind, told in ((ImageRule, plan.rule), (SourceOptions, plan.options)):
            msgspec.convert(told, kind)  # of the right types
            kind(**told)  # and of no other names
        _check_files(plan)
        if not plan.class_names or len(set(plan.class_names)) != len(plan.class_names):
            raise ValueError("class_names must be distinct, at least one")
        if not plan.source or not plan.out or "\0" in plan.source + plan.out:
            raise ValueError("source and out must be places")
        if not is_url(plan.out) and Path(plan.out).name in ("", ".."):
            raise ValueError(f"out must end in the name of a folder, got {plan.out!r}")
        plan.layout  # noqa: B018 - raises for what is no shape
    except FileNotFoundError:
        raise CommandError(f"PLAN must exist, there is none at {place}") from None
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{place}: is no plan: {error}") from error
    return plan


def _check_files(plan: ShardPlan) -> None:
    """Raise ValueError unless the files of each split follow each other from record 0, each in a shard."""
    if not 1 <= plan.num_shards <= MAX_SHARDS:
        raise ValueError(f"num_shards must be in 1..{MAX_SHARDS}, got {plan.num_shards}")
    ends: dict[str, tuple[int, int]] = {}
    for file in plan.files:
        expected = ends.get(file.split, (0, 0))
        fits = (file.position, file.start) == expected and file.stop > file.start
        if file.split not in ("train", "test") or not 0 <= file.shard < plan.num_shards or not fits:
            raise ValueError(f"{file} is no part of it")
        ends[file.split] = (file.position + 1, file.stop)
    if "train" not in ends or ends.get("test", (1, 0))[0] != 1:
        raise ValueError("files must name training records, and test records in one file")


def read_result(folder: str, plan: ShardPlan) -> ShardResult | None:
    """What the shard in `folder` wrote; None if it is not whole or of another plan."""
    try:
        content = read_file(f"{folder}/{SHARD_NAME}", _MAX_JSON_BYTES)
        check_json_size(content, SHARD_NAME)
        result = msgspec.json.decode(content, type=ShardResult)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder}/{SHARD_NAME}: {error}") from error
    return result if result.plan_digest == plan.digest else None


def source_digest(source: Source) -> str:
    """Tells a source from another: its kind, classes, counts, and the names and labels of its first
    items.
    """
    some = {
        split: [(item.name, item.label) for item in islice(source.items(split), 3)] for split in source.splits
    }
    facts = [source.kind, source.class_names, source.splits, some]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
