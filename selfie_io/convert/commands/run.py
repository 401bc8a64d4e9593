"""selfie-convert run: writes one shard of a plan."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import tyro

from selfie_io.convert.decoding.decoder import Decoder
from selfie_io.convert.decoding.images import ImageRule
from selfie_io.convert.packing import PLAN_HINT, Appended, append_items, opened_source, worker_count
from selfie_io.convert.shard_plan import (
    SHARD_NAME,
    FilePlan,
    ShardPlan,
    ShardResult,
    place_of,
    read_plan,
    read_result,
    shard_place,
    source_digest,
)
from selfie_io.convert.sources.source import Source, SourceOptions
from selfie_io.convert.storage.locations import new_folder
from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, progress
from selfie_io.records.files import file_name
from selfie_io.records.manifest import FileEntry
from selfie_io.records.writer import ChannelSums, RecordFileWriter


@dataclass(frozen=True)
class RunShard(Subcommand):
    """Write one shard of PLAN.json. A repeated run writes the same; a finished shard is left as it
    is.
    """

    EXAMPLES = (
        "selfie-convert run plan.json --shard 3",
        "selfie-convert run s3://bucket/plan.json --shard 0 --workers 8",
    )

    plan: tyro.conf.Positional[str]
    """The plan: a path or a URL."""
    shard: int
    """The shard, from 0."""
    source: str | None = None
    """Where SOURCE is on this machine; by default where the plan says."""
    workers: Annotated[int, tyro.conf.arg(help_behavior_hint="(default: one per core)")] = 0
    """Processes that decode images; the result is the same for any number."""

    def run(self) -> int:
        """Write the record files of the shard."""
        plan = read_plan(self.plan)
        if not 0 <= self.shard < plan.num_shards:
            raise CommandError(f"--shard must be in 0..{plan.num_shards - 1}, got {self.shard}")
        folder = shard_place(place_of(self.plan, plan.out), self.shard)
        if read_result(folder, plan) is not None:
            print(f"{folder}: is written already")
            return DONE
        planned = plan.source if plan.source == "digits" else place_of(self.plan, plan.source)
        location = self.source or planned
        workers = worker_count(self.workers)
        mine = [file for file in plan.files if file.shard == self.shard]
        with (
            opened_source(location, plan.kind, SourceOptions(**plan.options)) as source,
            progress(f"shard {self.shard}", sum(file.stop - file.start for file in mine)) as advance,
        ):
            if source_digest(source) != plan.source_digest:
                raise ValueError(f"{location}: is not the source of {self.plan}, or has changed since")
            with new_folder(folder, last=SHARD_NAME, replace=True) as temporary:
                result = _write_shard(plan, mine, source, location, temporary, workers, advance)
                (temporary / SHARD_NAME).write_bytes(msgspec.json.encode(result))
        print(f"{folder}: {sum(file.records for file in result.files):,} records")
        return DONE


def _write_shard(
    plan: ShardPlan,
    files: list[FilePlan],
    source: Source,
    location: str,
    folder: Path,
    workers: int,
    advance: Callable[[int], None],
) -> ShardResult:
    sums = ChannelSums.zero(plan.layout.channels)
    entries = []
    turned = 0
    with Decoder(ImageRule(**plan.rule), workers) as decoder:
        for file in files:
            entry, file_sums, done = _write_file(plan, file, source, location, folder, decoder, advance)
            entries.append(entry)
            turned += done.turned
            if file.split == "train":
                sums += file_sums
    return ShardResult(plan.digest, entries, turned, sums.pixels, sums.sums, sums.squares)


def _write_file(
    plan: ShardPlan,
    file: FilePlan,
    source: Source,
    location: str,
    folder: Path,
    decoder: Decoder,
    advance: Callable[[int], None],
) -> tuple[FileEntry, ChannelSums, Appended]:
    writer = RecordFileWriter(
        folder / file_name(file.split, file.position), plan.layout, len(plan.class_names)
    )

    def append(images: npt.NDArray[np.uint8], labels: list[int], names: list[str]) -> None:
        first = file.start + writer.records
        writer.append(images, labels, np.arange(first, first + len(labels)), names)

    try:
        done = append_items(
            decoder,
            source.items(file.split, file.start, file.stop),
            len(plan.class_names),
            append,
            skip_bad=False,
            advance=advance,
            location=location,
            hint=PLAN_HINT,
        )
    finally:
        entry = writer.close()
    if writer.records != file.stop - file.start:
        raise ValueError(
            f"{location}: {file.stop - file.start} items were planned, {writer.records} are there"
        )
    return entry, writer.channel_sums, done
