"""selfie-convert plan, run, merge: one pack, cut into shards for many machines, with the same result.

The plan says which record file each shard writes, and the rules that follow from the first picture. A shard
is written to a folder of its own beside OUT, `.OUT.shards/<i>`; merge links the files of all into OUT.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import tyro

from selfie_io.convert.command import DONE, Command, CommandError, progress, say
from selfie_io.convert.decode import Decoder, PictureRule
from selfie_io.convert.info import describe, summary
from selfie_io.convert.pack import check_source, check_target, worker_count
from selfie_io.convert.reading import Reading, checked_labels, refuse_bad, too_many
from selfie_io.convert.sources import open_source
from selfie_io.convert.sources.base import Source, SourceOptions
from selfie_io.records.atomic import atomic_folder, atomic_path
from selfie_io.records.files import file_name
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import FileEntry, write_manifest
from selfie_io.records.writer import ChannelSums, RecordFileWriter, make_manifest

_SHARD_NAME = "shard.json"
_MAX_JSON_BYTES = 1 << 28


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
    test_fraction: float | None
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

    def shard_folder(self, plan_path: Path, shard: int) -> Path:
        """Where a shard is written."""
        out = self.out_folder(plan_path)
        return out.parent / f".{out.name}.shards" / str(shard)

    def out_folder(self, plan_path: Path) -> Path:
        """OUT, which a plan names relative to its own folder."""
        return plan_path.parent / self.out


class ShardResult(msgspec.Struct, frozen=True):
    """What a shard wrote; the sums are those of its training files."""

    plan_digest: str
    files: list[FileEntry]
    pixels: int
    sums: list[int]
    squares: list[int]


@dataclass(frozen=True)
class Plan(Reading, Command):
    """Cut the packing of SOURCE into shards: write PLAN.json, which `run` and `merge` follow anywhere.

      selfie-convert plan pictures.zip plan.json --shards 8
      selfie-convert run plan.json --shard 3     each of 0..7, anywhere, in any order, again if it failed
      selfie-convert merge plan.json             the same folder as `selfie-convert pack` writes

    The machines share the file system that SOURCE and PLAN.json are on. A shard writes whole record files, so
    --records-per-file sets how finely the work can be cut.
    """

    source: tyro.conf.Positional[str]
    """Where the pictures are; any source of pack."""
    plan: tyro.conf.Positional[Path]
    """The plan to write."""
    shards: int
    """How many shards."""
    out: Path | None = None
    """The folder that merge writes; else PLAN without .json."""

    def run(self) -> int:
        """Look at the source and write the plan."""
        self.check()
        check_source(self.source)
        if self.plan.suffix != ".json":
            raise CommandError(f"PLAN is a .json file, got {self.plan}")
        if self.shards < 1:
            raise CommandError(f"--shards is positive, got {self.shards}")
        out = self.out or self.plan.with_suffix("")
        with open_source(self.source, self.kind, self.source_options()) as (source, seen):
            say(f"{self.source}: {seen}")
            for note in source.notes:
                say(f"note: {note}")
            files = _cut(source.splits, self.records_per_file, self.shards)
            plan = ShardPlan(
                source=os.path.relpath(self.source, self.plan.parent)
                if self.source != "digits"
                else "digits",
                kind=source.kind,
                test_fraction=self.test_fraction,
                source_digest=_source_digest(source),
                rule=asdict(self.picture_rule(source, skip_bad=False)),
                name=self.name or out.resolve().name,
                class_names=self.all_class_names(source),
                provenance=self.provenance(source, self.source),
                out=os.path.relpath(out, self.plan.parent),
                num_shards=self.shards,
                files=files,
            )
        with atomic_path(self.plan) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")
        busy = len({file.shard for file in files})
        idle = f"; {self.shards - busy} shards have nothing to do" if busy < self.shards else ""
        print(f"{self.plan}: {len(files)} record files in {self.shards} shards{idle}")
        return DONE


@dataclass(frozen=True)
class Run(Command):
    """Write one shard of PLAN.json. Run again, it writes the same; a finished one is left as it is."""

    plan: tyro.conf.Positional[Path]
    """The plan."""
    shard: int
    """Which shard, from 0."""
    source: str | None = None
    """Where this machine has SOURCE, if not where the plan says."""
    workers: Annotated[int, tyro.conf.arg(help_behavior_hint="(default: one per core)")] = 0
    """Processes that decode pictures; the result is the same for any number."""

    def run(self) -> int:
        """Write the record files of the shard."""
        plan = read_plan(self.plan)
        if not 0 <= self.shard < plan.num_shards:
            raise CommandError(f"--shard is 0..{plan.num_shards - 1}, got {self.shard}")
        folder = plan.shard_folder(self.plan, self.shard)
        if _finished(folder, plan):
            print(f"{folder}: is written already")
            return DONE
        path = self.source or (
            plan.source if plan.source == "digits" else str(self.plan.parent / plan.source)
        )
        check_source(path)
        mine = [file for file in plan.files if file.shard == self.shard]
        with (
            open_source(path, plan.kind, SourceOptions(plan.test_fraction)) as (source, _),
            progress(f"shard {self.shard}", sum(file.stop - file.start for file in mine)) as advance,
        ):
            if _source_digest(source) != plan.source_digest:
                raise ValueError(f"{path}: is not the source of {self.plan}, or has changed since")
            with atomic_folder(folder, replace=folder.exists()) as temporary:
                result = _write_shard(
                    plan, mine, source, path, temporary, worker_count(self.workers), advance
                )
                (temporary / _SHARD_NAME).write_bytes(msgspec.json.encode(result))
        print(f"{folder}: {sum(file.records for file in result.files):,} records")
        return DONE


@dataclass(frozen=True)
class Merge(Command):
    """Put the shards of PLAN.json together: OUT is then what `selfie-convert pack` would have written."""

    plan: tyro.conf.Positional[Path]
    """The plan."""
    force: bool = False
    """Replace OUT (with the label overlays in it) if it is a data set."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Check that each shard is there, link its files into OUT and write the manifest."""
        plan = read_plan(self.plan)
        out = plan.out_folder(self.plan)
        check_target(out, str(self.plan), force=self.force)
        folders = [plan.shard_folder(self.plan, shard) for shard in range(plan.num_shards)]
        missing = [str(shard) for shard, folder in enumerate(folders) if not _finished(folder, plan)]
        if missing:
            raise ValueError(f"{self.plan}: not written yet: shard {', '.join(missing)}")
        results = [_read_result(folder) for folder in folders]
        entries: dict[str, list[FileEntry]] = {"train": [], "test": []}
        by_name = {file.name: file for result in results for file in result.files}
        sums = ChannelSums.zero(plan.layout.channels)
        for result in results:
            sums += ChannelSums(result.pixels, result.sums, result.squares)
        with atomic_folder(out, replace=out.exists()) as temporary:
            for file in plan.files:
                name = file_name(file.split, file.position)
                entry = by_name.get(name)
                if entry is None or entry.records != file.stop - file.start:
                    raise ValueError(f"{folders[file.shard]}: {name} is not what the plan says")
                _link(folders[file.shard] / name, temporary / name, entry.bytes)
                entries[file.split].append(entry)
            manifest = make_manifest(plan.layout, entries, sums, plan.name, plan.class_names, plan.provenance)
            write_manifest(temporary, manifest)
        shutil.rmtree(folders[0].parent, ignore_errors=True)
        print(json.dumps(summary(out, manifest)) if self.json else f"{out}: {describe(manifest)}")
        return DONE


def read_plan(path: Path) -> ShardPlan:
    """Read a plan; raises CommandError if there is none, ValueError if it makes no sense."""
    try:
        with path.open("rb") as opened:
            plan = msgspec.json.decode(opened.read(_MAX_JSON_BYTES), type=ShardPlan)
        PictureRule(**plan.rule)
        for file in plan.files:
            if file.split not in ("train", "test") or not 0 <= file.shard < plan.num_shards:
                raise ValueError(f"{file} is no part of it")
        plan.layout  # noqa: B018 - raises for what is no shape
    except FileNotFoundError:
        raise CommandError(f"there is no PLAN {path}") from None
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: is no plan: {error}") from error
    return plan


def _cut(splits: dict[str, int], records_per_file: int, shards: int) -> list[FilePlan]:
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


def _write_shard(
    plan: ShardPlan,
    files: list[FilePlan],
    source: Source,
    path: str,
    folder: Path,
    workers: int,
    advance: Callable[[int], None],
) -> ShardResult:
    sums = ChannelSums.zero(plan.layout.channels)
    entries = []
    with Decoder(PictureRule(**plan.rule), workers) as decoder:
        for file in files:
            writer = RecordFileWriter(
                folder / file_name(file.split, file.position), plan.layout, len(plan.class_names)
            )
            try:
                items = checked_labels(source.items(file.split, file.start, file.stop), len(plan.class_names))
                bad = []
                for decoded in decoder.decode(items):
                    bad += decoded.bad
                    if too_many(bad):
                        break
                    first = file.start + writer.records
                    writer.append(
                        decoded.images, decoded.labels, np.arange(first, first + len(decoded.labels))
                    )
                    advance(len(decoded.labels))
                refuse_bad(path, bad, "(a plan takes no bad pictures; selfie-convert pack --skip-bad does)")
            finally:
                entry = writer.close()
            if writer.records != file.stop - file.start:
                raise ValueError(
                    f"{path}: {file.stop - file.start} items were planned, {writer.records} are there"
                )
            entries.append(entry)
            if file.split == "train":
                sums += writer.channel_sums
    return ShardResult(plan.digest, entries, sums.pixels, sums.sums, sums.squares)


def _source_digest(source: Source) -> str:
    """Tells a source from another: its kind, classes, counts, and the names and labels of its first items."""
    some = {
        split: [(item.name, item.label) for item in islice(source.items(split), 3)] for split in source.splits
    }
    facts = [source.kind, source.class_names, source.splits, some]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _finished(folder: Path, plan: ShardPlan) -> bool:
    return (folder / _SHARD_NAME).exists() and _read_result(folder).plan_digest == plan.digest


def _read_result(folder: Path) -> ShardResult:
    path = folder / _SHARD_NAME
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_JSON_BYTES), type=ShardResult)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error


def _link(source: Path, target: Path, size: int) -> None:
    """Give a finished file a second name, or copy it where that cannot be; it stays for another merge."""
    if source.stat().st_size != size:
        raise ValueError(f"{source}: has {source.stat().st_size} bytes, its shard wrote {size}")
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
