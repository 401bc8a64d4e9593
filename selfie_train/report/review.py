"""review.html: a page on which a person decides about each finding of an audit, without server or network."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_folder, atomic_path
from selfie_train.report.review_data import ReviewData
from selfie_train.report.sprites import SheetLayout, draw_sheets

__all__ = ["EMBEDDED_BYTES", "ReviewData", "write_review"]

EMBEDDED_BYTES = 56_000_000  # of sheets in base64 inside the page; more lie in a folder beside it
SMOOTH_SIDE = 96  # pixels: smaller images are enlarged with hard edges
_SCRIPTS = (
    "review_csv.js",
    "review_state.js",
    "review_sheets.js",
    "review_filters.js",
    "review_grid.js",
    "review_single.js",
    "review_dialogs.js",
    "review_main.js",
)


@dataclass(frozen=True)
class _Sheets:
    """The sheets of one kind ("findings" or "neighbours")."""

    kind: str
    layout: SheetLayout
    encoded: list[tuple[bytes, str]]

    @property
    def embedded_bytes(self) -> int:
        return sum(4 * -(-len(content) // 3) for content, _ in self.encoded)

    def file_names(self) -> list[str]:
        return [f"{self.kind}-{number:05d}.{form}" for number, (_, form) in enumerate(self.encoded)]


def write_review(path: str | Path, data: ReviewData, *, embedded_bytes: int = EMBEDDED_BYTES) -> list[Path]:
    """Write the page, whole or not at all, and return what was written.

    Images that take more than `embedded_bytes` lie in a folder beside the page, named after it; the page
    needs that folder. Raises OSError if a file cannot be written.
    """
    path = Path(path)
    findings, neighbours, neighbour_sprites = _all_sheets(data)
    kinds = [findings] if neighbours is None else [findings, neighbours]
    folder = path.parent / f"{path.stem}_images"
    inside = sum(sheets.embedded_bytes for sheets in kinds) <= embedded_bytes
    written = [path]
    if not inside:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder, replace=True) as temporary:
            for sheets in kinds:
                for name, (image, _) in zip(sheets.file_names(), sheets.encoded, strict=True):
                    (temporary / name).write_bytes(image)
        written.append(folder)
    content = _columns(data)
    content["sheets"] = {sheets.kind: _described(sheets, folder.name, inside) for sheets in kinds}
    if neighbour_sprites is not None:
        content["neighbours"]["sprite"] = neighbour_sprites.ravel().tolist()
    html = _page(data.title, content, kinds if inside else [])
    with atomic_path(path) as temporary_page:
        temporary_page.write_text(html, encoding="utf-8")
    if inside and folder.is_dir() and (folder / "findings-00000.webp").exists():
        shutil.rmtree(folder)  # of an earlier, larger page of this name
    return written


def _all_sheets(data: ReviewData) -> tuple[_Sheets, _Sheets | None, NDArray[np.int64] | None]:
    """The findings' sheets; the neighbours' and the sprite of each neighbour (-1: none), if there are any."""
    count = len(data.index)
    height, width = data.finding_images(np.arange(min(count, 1))).shape[2:] if count else (1, 1)
    layout = SheetLayout(count, height, width)
    findings = _Sheets("findings", layout, list(draw_sheets(layout, data.finding_images, fine=True)))
    if data.neighbours is None or not callable(data.images) or not count:
        return findings, None, None
    positions, inverse = np.unique(data.neighbours, return_inverse=True)
    absent = int(positions[0] == -1) if len(positions) else 0
    positions = positions[absent:].astype(np.int64)
    layout = SheetLayout(len(positions), height, width)
    images = data.images
    sheets = list(draw_sheets(layout, lambda numbers: images(positions[numbers]), fine=False))
    return findings, _Sheets("neighbours", layout, sheets), inverse.reshape(data.neighbours.shape) - absent


def _described(sheets: _Sheets, folder: str, inside: bool) -> dict[str, Any]:
    layout = sheets.layout
    return {
        "width": layout.width,
        "height": layout.height,
        "columns": layout.columns,
        "perSheet": layout.per_sheet,
        "pixelated": max(layout.width, layout.height) < SMOOTH_SIDE,
        "types": [form for _, form in sheets.encoded],
        "files": None if inside else [f"{folder}/{name}" for name in sheets.file_names()],
    }


def _columns(data: ReviewData) -> dict[str, Any]:
    """Everything but the images as JSON holds it, column by column; probabilities with four digits."""
    total = float(np.sum(data.score)) if data.estimated_wrong is None else float(data.estimated_wrong)
    content: dict[str, Any] = {
        "title": data.title,
        "digest": data.digest,
        "classes": list(data.class_names),
        "records": int(data.records),
        "estimatedWrong": round(total, 3),
        "estimated": data.estimated_wrong is not None,
        "names": None if data.name is None else list(data.name),
        "topCount": int(np.shape(data.top_classes)[1]),
        "sources": [_dictionary(name, words) for name, words in data.sources.items()],
        "duplicates": None if data.duplicates is None else list(data.duplicates),
        "neighbours": None,
    }
    for key, values in {
        "index": data.index,
        "recordId": data.record_id,
        "given": data.given,
        "suggested": data.suggested,
        "flagged": np.asarray(data.flagged).astype(np.int64),
        "topClasses": data.top_classes,
    }.items():
        content[key] = np.asarray(values).astype(np.int64).ravel().tolist()
    for key, numbers in {"score": data.score, "topProbabilities": data.top_probabilities}.items():
        known = np.nan_to_num(np.asarray(numbers, np.float64), nan=0.0)
        content[key] = np.round(known, 4).ravel().tolist()
    if data.neighbours is not None and data.neighbour_labels is not None:
        content["neighbours"] = {
            "count": int(data.neighbours.shape[1]),
            "index": np.asarray(data.neighbours).astype(np.int64).ravel().tolist(),
            "label": np.asarray(data.neighbour_labels).astype(np.int64).ravel().tolist(),
            "sprite": None,
        }
    return content


def _dictionary(name: str, words: Any) -> dict[str, Any]:
    """A source's words, each distinct one once."""
    distinct = list(dict.fromkeys(words))
    places = {word: place for place, word in enumerate(distinct)}
    return {"name": name, "words": distinct, "word": [places[word] for word in words]}


def _page(title: str, content: dict[str, Any], kinds: list[_Sheets]) -> str:
    templates = files("selfie_train.report") / "templates"
    parts = "".join((templates / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f"(() => {{\n{parts}}})();\n"  # nothing of it is global: no name of the browser is in the way
    style = (templates / "review.css").read_text(encoding="utf-8")
    # The page may load nothing, and runs no script but its own, whatever a name may hold.
    policy = (
        "default-src 'none'; img-src 'self' data: blob: file:; base-uri 'none'; form-action 'none'; "
        f"script-src {_source_hash(script)}; style-src {_source_hash(style)}"
    )
    environment = Environment(
        loader=PackageLoader("selfie_train.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)  # ASCII: lone surrogates too
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    sheets = [
        (f"{sheets.kind}-{number}", Markup(base64.b64encode(image).decode()))
        for sheets in kinds
        for number, (image, _) in enumerate(sheets.encoded)
    ]
    shown = title.encode("utf-8", "replace").decode()
    return environment.get_template("review.html").render(
        title=shown,
        policy=policy,
        data=Markup(text),
        script=Markup(script),
        style=Markup(style),
        sheets=sheets,
    )


def _source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
