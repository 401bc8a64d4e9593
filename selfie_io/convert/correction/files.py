"""Corrected copies of folders, zips and tars of image files: files move to the folder of their class."""

from __future__ import annotations

import csv
import errno
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from selfie_io.convert.correction.plan import DROPPED_FOLDER, Change, Correction
from selfie_io.records.csv_cells import harmless_row, original_cell
from selfie_io.records.plain_files import check_plain

_TABLES = (".csv", ".tsv")


def moved_names(correction: Correction, kind: str, taken: set[str]) -> dict[str, str]:
    """Where each changed file goes, by its name.

    An image folder's file goes to the folder of its class, an ANIMAL-10N one gets the number of its
    class, a dropped one goes to `_dropped/` under its old path. A file of that name keeps its place:
    the newcomer is called NAME_from_CLASS. Raises ValueError if the class does not stand in a path.
    """
    taken = set(taken)
    moved = {}
    level = _class_level(correction) if kind != "animal10n" else None
    for name, change in correction.changes.items():
        if change.dropped:
            target = f"{DROPPED_FOLDER}/{name}"
        elif kind == "animal10n":
            target = _renumbered(name, change)
        else:
            target = _in_folder(name, change, correction.folder_names, level)
        path, number = PurePosixPath(target), 1
        while str(path) in taken:
            suffix = f"_from_{_plain(correction.class_names[change.given])}" + (
                f"_{number}" if number > 1 else ""
            )
            path, number = PurePosixPath(target).with_stem(PurePosixPath(target).stem + suffix), number + 1
        moved[name] = str(path)
        taken.add(str(path))
    return moved


def _renumbered(name: str, change: Change) -> str:
    folder, slash, file = name.rpartition("/")
    prefix, line, rest = file.partition("_")
    if not line or not prefix.isdecimal():
        raise ValueError(f"{name}: must be named LABEL_anything")
    return f"{folder}{slash}{change.label}_{rest}"


def _class_level(correction: Correction) -> int | None:
    """The level of the path at which every item has the folder of its class; the deepest of several.

    So a class that is called as its split, or as a folder around everything, is not taken for that.
    """
    levels: set[int] | None = None
    for name, label in correction.given.items():
        folder = correction.folder_names[label]
        here = {level for level, part in enumerate(name.split("/")[:-1]) if part == folder}
        levels = here if levels is None else levels & here
        if not levels:
            return None
    return max(levels) if levels else None


def _in_folder(name: str, change: Change, folders: Sequence[str], level: int | None) -> str:
    given, parts = folders[change.given], name.split("/")
    if level is None:
        level = next((place for place, part in enumerate(parts[:-1]) if part == given), None)
    if level is None:
        raise ValueError(f"{name}: no folder in this path is called as its class, {given!r}")
    parts[level] = folders[change.label]
    return "/".join(parts)


def corrected_boxes(
    names: Sequence[str], read: Callable[[str], bytes], moved: Mapping[str, str]
) -> dict[str, bytes]:
    """`WNID_boxes.txt` of Tiny-ImageNet, lines of moved images in the file of their new class."""
    lines: dict[str, list[bytes]] = {}
    there = set(names)
    for name, target in moved.items():
        old, new = _boxes_of(name), _boxes_of(target)
        for table in (old, new):
            if table in there and table not in lines:
                lines[table] = read(table).splitlines(keepends=True)
        image = name.rpartition("/")[2].encode() + b"\t"
        if old in lines:
            own = [line for line in lines[old] if line.startswith(image)]
            lines[old] = [line for line in lines[old] if not line.startswith(image)]
            if new in lines:
                lines[new] += [
                    target.rpartition("/")[2].encode() + b"\t" + line[len(image) :] for line in own
                ]
    return {table: b"".join(of_table) for table, of_table in lines.items()}


def _boxes_of(name: str) -> str:
    folder = name.rpartition("/")[0].removesuffix("/images")
    return f"{folder}/{folder.rpartition('/')[2]}_boxes.txt"


def _plain(class_name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in class_name)[:50]


def corrected_table(content: bytes, suffix: str, correction: Correction) -> bytes | None:
    """A table of labels with the changed rows: other labels, and no row for what was dropped.

    The column of files is the one whose cells name the training files, the column of labels the one that
    holds their classes, by name or number. None if the table names none of them. Raises ValueError
    if two columns do.
    """
    text = content.decode("utf-8-sig")
    separator = "\t" if suffix == ".tsv" else max(",;\t", key=text.split("\n", 1)[0].count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    by_cell: dict[str, str] = {}
    for name in correction.given:
        path = PurePosixPath(name)
        for key in (name, *("/".join(path.parts[start:]) for start in range(1, len(path.parts))), path.stem):
            by_cell[key] = name if by_cell.setdefault(key, name) == name else ""
    width = min(map(len, rows), default=0)

    def named(cell: str) -> str:
        return by_cell.get(cell) or by_cell.get(original_cell(cell), "")

    counts = [sum(bool(named(row[column])) for row in rows[1:]) for column in range(width)]
    if not counts or not max(counts):
        return None
    files = counts.index(max(counts))
    listed = {place: named(row[files]) for place, row in enumerate(rows) if place and named(row[files])}
    labels = [
        column
        for column in range(width)
        if column != files
        and all(_is_class(rows[place][column], correction, name) for place, name in listed.items())
    ]
    if len(labels) != 1:
        found = ", ".join(rows[0][column] for column in labels) or "none"
        raise ValueError(f"one column must hold the classes of the training files, got {found}")
    out = io.StringIO(newline="")
    lines = "\r\n" if "\r\n" in text else "\n"
    writer = csv.writer(out, delimiter=separator, lineterminator=lines)
    for place, row in enumerate(rows):
        change = correction.changes.get(listed.get(place, ""))
        if change is not None:
            if change.dropped:
                continue
            by_number = row[labels[0]].strip() == str(change.given)
            row[labels[0]] = str(change.label) if by_number else correction.class_names[change.label]
        writer.writerow(row)
    return out.getvalue().encode()


def _is_class(cell: str, correction: Correction, name: str) -> bool:
    """Whether a cell is the class of an item, as a number or by name."""
    given = correction.given[name]
    return original_cell(cell.strip()) in (str(given), correction.class_names[given])


def undo_list(correction: Correction, moved: Mapping[str, str]) -> bytes:
    """`_dropped/undo.csv`: where each changed file was, where it is now, and both labels."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["name", "now", "given_label", "given_class", "label", "class"])
    for name, change in correction.changes.items():
        new_class = "" if change.dropped else correction.class_names[change.label]
        cells = [
            name,
            moved.get(name, name),
            change.given,
            correction.class_names[change.given],
            change.label,
            new_class,
        ]
        writer.writerow(harmless_row(cells))
    return out.getvalue().encode("utf-8", "surrogatepass")


def copy_folder(
    source: Path, out: Path, moved: Mapping[str, str], replaced: Mapping[str, bytes], *, link: bool,
    advance: Callable[[int], None],
) -> int:  # fmt: skip
    """Copy a folder, files of `moved` to their new names, others with new content where `replaced` has it.

    Files are hard links where `link` and the file system allow, which costs no room; they share their
    content with the source. Returns how many are links.
    """
    links = 0
    for folder, _, files in os.walk(source):
        for file in files:
            path = Path(folder, file)
            name = path.relative_to(source).as_posix()
            target = out / moved.get(name, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            advance(1)
            if name in replaced:
                target.write_bytes(replaced[name])
                continue
            if link and not path.is_symlink():
                try:
                    os.link(path, target)
                    links += 1
                    continue
                except FileExistsError:
                    raise
                except OSError:  # another file system, or one without links
                    link = False
            if target.exists():
                raise FileExistsError(errno.EEXIST, "two files of the copy have one name", str(target))
            check_plain(path)  # behind a link, too: a device never ends
            shutil.copy2(path, target)
    return links


def copy_zip(
    source: Path, out: Path, moved: Mapping[str, str], replaced: Mapping[str, bytes], more: bytes
) -> None:
    """Copy a zip, members of `moved` under their new names; `more` becomes `_dropped/undo.csv`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            content = replaced[member.filename] if member.filename in replaced else old.read(member)
            member.filename = moved.get(member.filename, member.filename)
            new.writestr(member, content)
        new.writestr(zipfile.ZipInfo(f"{DROPPED_FOLDER}/undo.csv", (1980, 1, 1, 0, 0, 0)), more)


def copy_tar(
    source: Path, out: Path, moved: Mapping[str, str], replaced: Mapping[str, bytes], more: bytes
) -> None:
    """Copy a tar, compressed as `source` is, members of `moved` under their new names."""
    with tarfile.open(source, "r:*") as old, tarfile.open(out, _tar_mode(source)) as new:  # type: ignore[call-overload]
        for member in old:
            file = old.extractfile(member) if member.isfile() else None
            name = member.name.removeprefix("./")
            if name in replaced:
                file, member.size = io.BytesIO(replaced[name]), len(replaced[name])
            member.name = moved.get(name, member.name)
            member.pax_headers = {
                key: value for key, value in member.pax_headers.items() if key not in ("path", "size")
            }
            new.addfile(member, file)
        member = tarfile.TarInfo(f"{DROPPED_FOLDER}/undo.csv")
        member.size = len(more)
        new.addfile(member, io.BytesIO(more))


def _tar_mode(source: Path) -> str:
    with source.open("rb") as file:
        magic = file.read(6)
    for start, mode in ((b"\x1f\x8b", "w:gz"), (b"BZh", "w:bz2"), (b"\xfd7zXZ", "w:xz")):
        if magic.startswith(start):
            return mode
    return "w"


def tables_of(names: Sequence[str]) -> list[str]:
    """The names that end as tables do."""
    return [name for name in names if name.lower().endswith(_TABLES) and "/." not in "/" + name]
