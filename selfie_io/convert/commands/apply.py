"""selfie-convert apply: a corrected copy of a source, after the decisions of a review."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from selfie_io.convert.correction import files, shards
from selfie_io.convert.correction.plan import DROPPED_FOLDER, Change, Correction, plan_correction
from selfie_io.convert.packing import opened_source
from selfie_io.convert.sources.archives import open_tree
from selfie_io.convert.sources.image_folder import RECORDS_NAME
from selfie_io.convert.sources.source import SourceOptions
from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, progress, say
from selfie_io.records.atomic import atomic_folder, atomic_path

_IMAGE_FILES = ("image-folder", "animal10n", "image-table", "tiny-imagenet")
_LISTED = 10


@dataclass(frozen=True)
class _Plan:
    """What is to be written: files to their new names, tables with new content, items in shards."""

    kind: str
    correction: Correction
    moved: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Apply(Subcommand):
    """Write a corrected copy of SOURCE to OUT, after DECISIONS, the decisions.csv of a review.

    SOURCE is what was packed or audited, and is never changed. OUT is of the same kind:
      folder, zip or tar   images move to the folder of their class, dropped ones to _dropped/;
                           tables of labels are corrected; _dropped/undo.csv lists every change
      npz                  other training labels; dropped records go to OUT_dropped.npz
      parquet, webdataset  other labels; dropped records go to _dropped/
    Files of a folder are hard links where possible, which cost no room: write to such a file in place
    and SOURCE changes as well; --copy makes copies. Packing OUT gives the records that packing SOURCE
    and importing DECISIONS (selfie-convert labels) give.
    """

    EXAMPLES = (
        "selfie-convert apply photos/ decisions.csv corrected/ --dry-run",
        "selfie-convert apply photos.zip decisions.csv corrected.zip --unsure drop",
    )

    source: tyro.conf.Positional[Path]
    """The folder, archive or file that was reviewed."""
    decisions: tyro.conf.Positional[Path]
    """The decisions.csv: name or index, given_label, decision (keep, relabel, drop, unsure), label."""
    out: tyro.conf.Positional[Path]
    """What to write; it must not exist."""
    dry_run: bool = False
    """Say what would be done, and write nothing."""
    unsure: Literal["keep", "drop"] = "keep"
    """What becomes of records that the reviewer was unsure about."""
    copy: bool = False
    """Copy files instead of making hard links."""
    kind: str = "auto"
    """The kind of SOURCE, as for pack."""
    test_fraction: float | None = None
    """As for pack: if SOURCE has no test split, the fraction of each class that was held out; by
    default what pack would take."""
    test_seed: int = 0
    """As for pack: the seed of the records that were held out."""
    json: bool = False
    """Print every change as JSON."""

    def run(self) -> int:
        """Read the source and the decisions, and write the copy, whole or not at all."""
        for name, path in (("SOURCE", self.source), ("DECISIONS", self.decisions)):
            if not path.exists():
                raise CommandError(f"{name} must exist, there is none at {path}")
        if self.out.exists() and not self.dry_run:
            raise CommandError(f"OUT must be absent, {self.out} is there already")
        if self.source.is_file() and self._dropped_file.exists() and not self.dry_run:
            raise CommandError(f"OUT_dropped must be absent, {self._dropped_file} is there already")
        inside = self.source.resolve()
        if inside.is_dir() and (inside == self.out.resolve() or inside in self.out.resolve().parents):
            raise CommandError(f"OUT must not lie in SOURCE, got {self.out}")
        if self.source.is_file() and "".join(self.source.suffixes[-1:]) != self.out.suffix:
            raise CommandError(f"OUT must end in {self.source.suffix} as SOURCE does, got {self.out}")
        plan, names = self._plan()
        self._say(plan)
        if not self.dry_run:
            with progress("write", len(names), "files") as advance:
                self._write(plan, names, advance)
        correction = plan.correction
        result = {
            "out": str(self.out),
            "decisions": correction.counts,
            "relabelled": len(correction.changes) - correction.dropped,
            "dropped": correction.dropped,
            "dry_run": self.dry_run,
        }
        if self.json:
            changes = [
                {
                    "name": name,
                    "now": plan.moved.get(name, name),
                    "given": change.given,
                    "label": change.label,
                }
                for name, change in correction.changes.items()
            ]
            print(json.dumps({**result, "changes": changes}))
        else:
            done = "would be" if self.dry_run else "are"
            print(
                f"{self.out}: {result['relabelled']:,} of {correction.items:,} training images {done} "
                f"relabelled, {correction.dropped:,} dropped; {self.source} is as it was"
            )
        return DONE

    @property
    def _dropped_file(self) -> Path:
        """Where the dropped records of a source that is one file go."""
        return self.out.with_name(f"{self.out.stem}_dropped{self.out.suffix}")

    def _plan(self) -> tuple[_Plan, list[str]]:
        """What is to be done, and the names of all files of the source."""
        options = SourceOptions(self.test_fraction, test_seed=self.test_seed, chosen=self.kind != "auto")
        with opened_source(str(self.source), self.kind, options) as source:
            correction = plan_correction(source, self.decisions, unsure=self.unsure)
            if source.kind not in (*_IMAGE_FILES, "npz", "parquet", "webdataset"):
                raise CommandError(
                    f"apply writes no {source.kind}; pack SOURCE, then `selfie-convert labels DATASET "
                    f"{self.decisions}` and train with --noise overlay:decisions"
                )
            kind = source.kind
        with open_tree(str(self.source)) as tree:
            names = list(tree.names)
            if kind not in _IMAGE_FILES:
                return _Plan(kind, correction), names
            replaced = {}
            tables = files.tables_of(names)
            if kind != "image-table":  # of class folders, only the export's own table has labels
                tables = [name for name in tables if Path(name).name == RECORDS_NAME]
            for name in tables:
                try:
                    content = files.corrected_table(tree.read(name), Path(name).suffix.lower(), correction)
                except ValueError as error:
                    raise ValueError(f"{tree.place(name)}: {error}") from error
                if content is not None:
                    replaced[name] = content
            told_by_table = kind == "image-table" or bool(replaced)
            moving = correction
            if told_by_table:  # the table has the labels: files stay where they are
                dropped = {name: change for name, change in correction.changes.items() if change.dropped}
                moving = replace(correction, changes=dropped)
            moved = files.moved_names(moving, kind, set(names))
            if kind == "tiny-imagenet":
                replaced |= files.corrected_boxes(names, tree.read, moved)
        return _Plan(kind, correction, moved, replaced), names

    def _say(self, plan: _Plan) -> None:
        say("decisions: " + ", ".join(f"{count:,} {word}" for word, count in plan.correction.counts.items()))
        for name in plan.correction.emptied:
            say(f"no training image of {name!r} is left")
        names = plan.correction.class_names
        changes = list(plan.correction.changes.values())
        for change in changes[:_LISTED] if self.dry_run else []:
            new = "dropped" if change.dropped else names[change.label]
            where = f" -> {plan.moved[change.name]}" if change.name in plan.moved else ""
            say(f"  {change.name}{where}  ({names[change.given]}: {new})")
        if self.dry_run and len(changes) > _LISTED:
            say(f"  and {len(changes) - _LISTED:,} more: --json lists them")

    def _write(self, plan: _Plan, names: list[str], advance: Callable[[int], None]) -> None:
        if plan.kind == "npz":
            dropped = self._dropped_file
            aside = atomic_path(dropped, replace=False) if plan.correction.dropped else nullcontext(dropped)
            with aside as second, atomic_path(self.out, replace=False) as first:
                shards.correct_npz(self.source, first, second, plan.correction)
            return
        if plan.kind in ("parquet", "webdataset"):
            self._write_shards(plan, advance)
            return
        undo = files.undo_list(plan.correction, plan.moved)
        if self.source.is_dir():
            with atomic_folder(self.out) as folder:
                links = files.copy_folder(
                    self.source, folder, plan.moved, plan.replaced, link=not self.copy, advance=advance
                )
                (folder / DROPPED_FOLDER).mkdir(exist_ok=True)
                (folder / DROPPED_FOLDER / "undo.csv").write_bytes(undo)
            say(f"{links:,} of {len(names):,} files are hard links" + ("" if links else ": all are copies"))
            return
        with atomic_path(self.out, replace=False) as archive:
            write = files.copy_zip if self.source.suffix.lower() == ".zip" else files.copy_tar
            write(self.source, archive, plan.moved, plan.replaced, undo)

    def _write_shards(self, plan: _Plan, advance: Callable[[int], None]) -> None:
        by_file: dict[str, dict[Any, Change]] = {}
        for name, change in plan.correction.changes.items():
            if plan.kind == "parquet":
                file, _, row = name.rpartition("#")
                by_file.setdefault(file, {})[int(row)] = change
            else:
                shard, inner = self._shard_of(name)
                by_file.setdefault(shard, {})[inner] = change

        def correct(source: Path, out: Path, dropped: Path, changes: dict[Any, Change]) -> None:
            if plan.kind == "parquet":
                shards.correct_parquet(source, out, dropped, changes, plan.correction.class_names)
            else:
                shards.correct_shard(source, out, dropped, changes)

        if self.source.is_file():
            dropped = self._dropped_file
            with atomic_path(self.out, replace=False) as first:
                correct(self.source, first, dropped, by_file.get(self.source.name, by_file.get("", {})))
            return
        with atomic_folder(self.out) as folder:
            held = {name: b"" for name in by_file}
            files.copy_folder(self.source, folder, {}, held, link=not self.copy, advance=advance)
            for name, changes in by_file.items():
                correct(self.source / name, folder / name, folder / DROPPED_FOLDER / name, changes)

    def _shard_of(self, name: str) -> tuple[str, str]:
        """The shard and the member of an item's name, which joins both by a slash."""
        if self.source.is_file():
            return "", name
        parts = name.split("/")
        for count in range(1, len(parts)):
            if (self.source / "/".join(parts[:count])).is_file():
                return "/".join(parts[:count]), "/".join(parts[count:])
        raise ValueError(f"{self.source}: {name} is in no shard")
