"""selfie-convert plan and run: one pack, cut into shards for many machines (merge.py puts them together)."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import tyro

from selfie_io.convert.cache import find_source
from selfie_io.convert.command import DONE, Command, CommandError, progress, say
from selfie_io.convert.decode import Decoder
from selfie_io.convert.pack import worker_count
from selfie_io.convert.pictures import PictureRule
from selfie_io.convert.places import name_of, new_folder
from selfie_io.convert.reading import Reading, checked_labels, refuse_bad, too_many
from selfie_io.convert.shard_plan import (
    SHARD_NAME,
    FilePlan,
    ShardPlan,
    ShardResult,
    cut,
    named_in,
    place_of,
    read_plan,
    read_result,
    shard_place,
    write_plan,
)
from selfie_io.convert.sources import open_source
from selfie_io.convert.sources.base import Source, SourceOptions
from selfie_io.records.files import file_name
from selfie_io.records.writer import ChannelSums, RecordFileWriter


@dataclass(frozen=True)
class Plan(Reading, Command):
    """Cut the packing of SOURCE into shards: write PLAN.json, which `run` and `merge` follow anywhere.

      selfie-convert plan pictures.zip plan.json --shards 8
      selfie-convert run plan.json --shard 3     each of 0..7, anywhere, in any order, again if it failed
      selfie-convert merge plan.json             the same folder as `selfie-convert pack` writes

    The machines share the file system that SOURCE, PLAN.json and OUT are on, or reach them by URLs (s3://...).
    A shard writes whole record files, so --records-per-file sets how finely the work can be cut.
    """

    source: tyro.conf.Positional[str]
    """Where the pictures are; any source of pack."""
    plan: tyro.conf.Positional[str]
    """The plan to write: a path or a URL."""
    shards: int
    """How many shards."""
    out: str | None = None
    """The folder that merge writes, or its URL; else PLAN without .json."""

    def run(self) -> int:
        """Look at the source and write the plan."""
        self.check()
        path = find_source(self.source)
        if not self.plan.endswith(".json"):
            raise CommandError(f"PLAN is a .json file, got {self.plan}")
        if self.shards < 1:
            raise CommandError(f"--shards is positive, got {self.shards}")
        out = self.out or self.plan.removesuffix(".json")
        with open_source(path, self.kind, self.source_options()) as (source, seen):
            say(f"{self.source}: {seen}")
            for note in source.notes:
                say(f"note: {note}")
            plan = ShardPlan(
                source="digits" if self.source == "digits" else named_in(self.plan, self.source),
                kind=source.kind,
                test_fraction=self.test_fraction,
                source_digest=_source_digest(source),
                rule=asdict(self.picture_rule(source, skip_bad=False)),
                name=self.name or name_of(out),
                class_names=self.all_class_names(source),
                provenance=self.provenance(source, self.source),
                out=named_in(self.plan, out),
                num_shards=self.shards,
                files=cut(source.splits, self.records_per_file, self.shards),
            )
        write_plan(self.plan, plan)
        busy = len({file.shard for file in plan.files})
        idle = f"; {self.shards - busy} shards have nothing to do" if busy < self.shards else ""
        print(f"{self.plan}: {len(plan.files)} record files in {self.shards} shards{idle}")
        return DONE


@dataclass(frozen=True)
class Run(Command):
    """Write one shard of PLAN.json. Run again, it writes the same; a finished one is left as it is."""

    plan: tyro.conf.Positional[str]
    """The plan: a path or a URL."""
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
        folder = shard_place(place_of(self.plan, plan.out), self.shard)
        if read_result(folder, plan) is not None:
            print(f"{folder}: is written already")
            return DONE
        planned = plan.source if plan.source == "digits" else place_of(self.plan, plan.source)
        path = find_source(self.source or planned)
        mine = [file for file in plan.files if file.shard == self.shard]
        with (
            open_source(path, plan.kind, SourceOptions(plan.test_fraction)) as (source, _),
            progress(f"shard {self.shard}", sum(file.stop - file.start for file in mine)) as advance,
        ):
            if _source_digest(source) != plan.source_digest:
                raise ValueError(f"{path}: is not the source of {self.plan}, or has changed since")
            with new_folder(folder, last=SHARD_NAME) as temporary:
                result = _write_shard(
                    plan, mine, source, path, temporary, worker_count(self.workers), advance
                )
                (temporary / SHARD_NAME).write_bytes(msgspec.json.encode(result))
        print(f"{folder}: {sum(file.records for file in result.files):,} records")
        return DONE


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
