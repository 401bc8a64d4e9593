"""Puts the tables of docs/performance.md in place, from the JSON in results/.

Run: python benchmarks/tables.py
"""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"


def read(name):
    return json.loads((HERE / "results" / f"{name}.json").read_text())


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def loader(title):
    """One work of bench_loader: every contender's rate and what part it is of the first one's."""
    work = next(work for work in read("bench_loader")["works"] if work["title"] == title)
    return markdown(
        ["pictures per second", "median", "min", "max", "of selfie"],
        [
            [f"{row['name']} {row['version']}".strip()]
            + [f"{row[key]:,}" for key in ("median", "min", "max")]
            + [f"{row['of_first']:.3f}"]
            for row in work["rows"]
        ],
    )


def opening():
    return markdown(
        ["records", "seconds to the first batch", "MB above `import torch`"],
        [
            [f"{row['records']:,}", f"{row['seconds']:.3f}", f"{row['megabytes']:.0f}"]
            for row in read("bench_open")["rows"]
        ],
    )


def quasi():
    return markdown(
        ["order", "pictures per second", "median distance of neighbours", "near another of its batch"],
        [
            [row["order"], f"{row['per_second']:,.0f}", f"{row['distance']:.3f}", f"{row['near']:.0%}"]
            for row in read("bench_quasi")["rows"]
        ],
    )


def machine(name):
    told = read(name)["machine"]
    return f"{told['cpu']}, {told['cores']} cores, torch {told['versions']['torch']}, {told['date']}."


def main():
    makers = {"loader": loader, "opening": opening, "quasi": quasi, "machine": machine}

    def table(match):
        name, _, argument = match[1].partition(": ")
        made = makers[name](argument) if argument else makers[name]()
        return f"<!-- {match[1]} -->\n{made}\n<!-- end -->"

    page = PAGE.read_text()
    PAGE.write_text(re.sub(r"<!-- (\w.*?) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
