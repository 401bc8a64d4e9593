"""What commands print about a data set that they wrote: one line, or JSON."""

from pathlib import Path
from typing import Any

from selfie_io.convert.subcommand import shape_text
from selfie_io.records.manifest import Manifest


def describe(manifest: Manifest) -> str:
    """One line about a data set."""
    counts = " + ".join(f"{entry.records:,} {split}" for split, entry in manifest.splits.items())
    shape = shape_text(manifest.layout.shape)
    return f"{counts} records of {shape}, {manifest.num_classes} classes"


def summary(folder: str | Path, manifest: Manifest) -> dict[str, Any]:
    """What is said about a data set in JSON; the manifest itself has the rest."""
    return {
        "folder": str(folder),
        "name": manifest.name,
        "shape": list(manifest.layout.shape),
        "num_classes": manifest.num_classes,
        "class_names": manifest.class_names,
        "records": {split: entry.records for split, entry in manifest.splits.items()},
        "channel_mean": manifest.channel_mean,
        "channel_std": manifest.channel_std,
        "notes": manifest.provenance.get("notes", []),
        "labels": manifest.labels,
        "provenance": manifest.provenance,
    }
