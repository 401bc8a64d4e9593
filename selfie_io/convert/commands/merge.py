"""selfie-convert merge: joins the shards of a plan to one data set."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from selfie_io.convert.packing import decoding_notes, with_notes
from selfie_io.convert.shard_plan import (
    ShardPlan,
    ShardResult,
    place_of,
    read_plan,
    read_result,
    shard_place,
    shards_place,
)
from selfie_io.convert.storage.locations import (
    check_target,
    clear_url,
    foreign_names,
    is_url,
    open_url,
    read_file,
    remove_folder,
    write_file,
)
from selfie_io.convert.subcommand import DONE, Subcommand
from selfie_io.convert.summary import describe, summary
from selfie_io.records.atomic import atomic_folder
from selfie_io.records.files import file_name
from selfie_io.records.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    decode_manifest,
    encode_manifest,
    write_manifest,
)
from selfie_io.records.names import NAMES_SUFFIX
from selfie_io.records.writer import ChannelSums, make_manifest


@dataclass(frozen=True)
class Merge(Subcommand):
    """Join the shards of PLAN.json: OUT becomes what `selfie-convert pack` would have written.

    The shards are removed at the end. A second merge reports that OUT is there and changes nothing.
    """

    EXAMPLES = (
        "selfie-convert merge plan.json",
        "selfie-convert merge plan.json --force --json",
    )

    plan: tyro.conf.Positional[str]
    """The plan: a path or a URL."""
    force: bool = False
    """Replace OUT, and the label overlays in it, if it is a data set."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Check that each shard is there, link its files into OUT and write the manifest."""
        plan = read_plan(self.plan)
        out = place_of(self.plan, plan.out)
        busy = sorted({file.shard for file in plan.files})  # the others have nothing to do
        results = [read_result(shard_place(out, shard), plan) for shard in busy]
        missing = [str(shard) for shard, result in zip(busy, results, strict=True) if result is None]
        manifest = _merged(plan, self.plan, out) if missing or not self.force else None
        if manifest is None:
            check_target(out, self.plan, force=self.force)
            if missing:
                raise ValueError(f"{self.plan}: not written yet: shard {', '.join(missing)}")
            manifest = _manifest(plan, out, [result for result in results if result is not None])
            if is_url(out):
                _copy(plan, out, manifest)
            else:
                _link(plan, Path(out), manifest, replace=self.force)
        remove_folder(shards_place(out))  # killed here, the next merge finds OUT merged
        print(json.dumps(summary(out, manifest)) if self.json else f"{out}: {describe(manifest)}")
        return DONE


def _merged(plan: ShardPlan, plan_place: str, out: str) -> Manifest | None:
    """The manifest of `out` if that is what `plan` describes and no older than the plan."""
    try:
        if not _time(plan_place) <= _time(f"{out}/{MANIFEST_NAME}"):
            return None
        manifest = decode_manifest(read_file(f"{out}/{MANIFEST_NAME}", MAX_MANIFEST_BYTES), out)
    except (FileNotFoundError, NotADirectoryError, NotImplementedError, ValueError):
        return None
    told = (plan.name, plan.layout, plan.class_names, _without_notes(plan.provenance))
    planned: dict[str, list[int]] = {}
    for file in plan.files:
        planned.setdefault(file.split, []).append(file.stop - file.start)
    found = {name: [file.records for file in split.files] for name, split in manifest.splits.items()}
    provenance = _without_notes(manifest.provenance)
    same = told == (manifest.name, manifest.layout, manifest.class_names, provenance)
    return manifest if same and planned == found else None


def _without_notes(provenance: dict[str, Any]) -> dict[str, Any]:
    """A provenance without its notes, to which decoding adds some."""
    return {key: value for key, value in provenance.items() if key != "notes"}


def _time(place: str) -> int:
    """When a file was written, in whole seconds: an object store tells no more."""
    if not is_url(place):
        return int(Path(place).stat().st_mtime)
    system, path = open_url(place)
    return int(system.modified(path).timestamp())


def _manifest(plan: ShardPlan, out: str, results: list[ShardResult]) -> Manifest:
    """The manifest of all shards together; raises ValueError if they are not what the plan says."""
    by_name = {file.name: file for result in results for file in result.files}
    entries: dict[str, list[FileEntry]] = {"train": [], "test": []}
    for file in plan.files:
        name = file_name(file.split, file.position)
        entry = by_name.get(name)
        if entry is None or entry.records != file.stop - file.start:
            raise ValueError(f"{shard_place(out, file.shard)}: {name} is not what the plan says")
        entries[file.split].append(entry)
    sums = ChannelSums.zero(plan.layout.channels)
    for result in results:
        sums += ChannelSums(result.pixels, result.sums, result.squares)
    notes = decoding_notes(sum(result.turned for result in results), [])
    provenance = with_notes(plan.provenance, notes)
    return make_manifest(
        plan.layout, entries, sums, plan.name, plan.class_names, provenance, labels=plan.labels
    )


def _link(plan: ShardPlan, out: Path, manifest: Manifest, *, replace: bool) -> None:
    """Give the finished files a second name in OUT, or copy them where that cannot be."""
    with atomic_folder(out, replace=replace, foreign=foreign_names) as temporary:
        for place, name in _files(plan, str(out), manifest, lambda place: Path(place).stat().st_size):
            try:
                (temporary / name).hardlink_to(place)
            except OSError:
                shutil.copyfile(place, temporary / name)
        write_manifest(temporary, manifest)


def _copy(plan: ShardPlan, out: str, manifest: Manifest) -> None:
    """Copy the finished files to OUT, where they are, and write the manifest last."""
    system, path = open_url(out)
    files = _files(plan, out, manifest, lambda place: int(system.size(open_url(place)[1])))
    clear_url(out, first=MANIFEST_NAME)
    for place, name in files:
        system.cp_file(open_url(place)[1], f"{path}/{name}")
    write_file(f"{out}/{MANIFEST_NAME}", encode_manifest(manifest))


def _files(
    plan: ShardPlan, out: str, manifest: Manifest, size_of: Callable[[str], int]
) -> list[tuple[str, str]]:
    """The place of each finished file and its name; raises ValueError if one has not the size it
    had.
    """
    bytes_of = {file.name: file.bytes for split in manifest.splits.values() for file in split.files}
    names_of = {
        file.name for split in manifest.splits.values() for file in split.files if file.names is not None
    }
    files = []
    for file in plan.files:
        name = file_name(file.split, file.position)
        place = f"{shard_place(out, file.shard)}/{name}"
        if size_of(place) != bytes_of[name]:
            raise ValueError(f"{place}: has {size_of(place)} bytes, its shard wrote {bytes_of[name]}")
        files.append((place, name))
        if name in names_of:
            stem = name.removesuffix(".bin")
            files.append((place.removesuffix(".bin") + NAMES_SUFFIX, stem + NAMES_SUFFIX))
    return files
