"""Puts the measured tables of README.md, docs/performance.md and docs/gpu.md in, from the JSON in results/.

Run: python benchmarks/tables.py [--check]
"""

import argparse
import json
import re
import sys
from pathlib import Path

import goals as aims

HERE = Path(__file__).parent
PAGES = [HERE.parent / page for page in ("README.md", "docs/performance.md", "docs/gpu.md")]
# As README calls them, in its order; the roof is that of as many threads.
NAMES = {
    "roof": "the roof: as many threads write as many bytes, nothing computed",
    "selfie": "**selfie**",
    "resident_mirrored": "torch, all pictures and their mirror images as tensors",
    "resident_tensors": "torch, all pictures as a tensor, batches gathered",
    "airbench_style": "cifar10-airbench's way, all pictures as float32",
    "dali_cpu": "NVIDIA DALI, CPU",
    "ffcv_loader": "FFCV",
    "hf_datasets": "Hugging Face datasets",
    "tf_data": "tf.data",
    "torchvision_loader": "torch DataLoader, torchvision v2",
    "webdataset_loader": "WebDataset",
}


def read(name):
    return json.loads((HERE / "results" / f"{name}.json").read_text())


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def work_of(title):
    return next(work for work in read("bench_loader")["works"] if work["title"] == title)


def rivals():
    """The loader beside its rivals at 3x32x32: pictures per second, and how many times selfie's are more."""
    columns = []
    for threads in (1, 2):
        rows = work_of(f"3x32x32, batch 256, {threads} threads: rivals")["rows"]
        columns.append({row["name"].replace(f"roof, {threads} threads", "roof"): row for row in rows})
    lines = []
    for key, name in NAMES.items():
        if all(key in column for column in columns):
            cells = [name]
            for column in columns:
                row = column[key]
                cells += [f"{float(format(row['median'], '.3g')):,.0f}", f"{1 / row['of_first']:.3g}"]
            lines.append(cells)
    return markdown(["pictures per second", "1 thread", "selfie is x", "2 threads", "selfie is x"], lines)


def loader(title):
    """One work of bench_loader: every contender's rate and what part it is of the first one's."""
    work = work_of(title)
    return markdown(
        ["pictures per second", "median", "min", "max", "of selfie"],
        [
            [f"{row['name']} {row['version']}".strip()]
            + [f"{row[key]:,}" for key in ("median", "min", "max")]
            + [f"{row['of_first']:.3f}"]
            for row in work["rows"]
        ],
    )


def goals():
    head = [f"3x{side}x{side}, {threads} threads" for side, threads in aims.WORKS]
    return markdown(["measured (asked)", *head], aims.lines(read("bench_loader")["works"]))


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


def batch():
    return markdown(
        ["microseconds a batch", "Python, median", "min", "max", "wall, median"],
        [
            [f"{'x'.join(map(str, row['shape']))}, batch {row['batch_size']}, threads {row['threads']}"]
            + [f"{row[key]:.1f}" for key in ("python_median", "python_min", "python_max", "wall_median")]
            for row in read("bench_batch")["rows"]
        ],
    )


def conversion():
    """One line a work of bench_convert, with the medians, and the extremes of both."""
    content = read("bench_convert")
    rows = []
    for work, figures in zip(content["comparisons"], content["figures"], strict=True):
        cells = []
        for timing in work["timings"]:
            seconds = sorted(timing["seconds"])
            cells.append(f"{seconds[len(seconds) // 2]:.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})")
        peak = f"{figures['peak_memory_bytes'] / 1e6:.0f}"
        rows.append([str(figures["workers"]), *cells, f"{figures['ratio']:.2f}", peak])
    return markdown(["processes", "Pillow alone, seconds", "`pack`, seconds", "times", "MB at most"], rows)


def backends():
    """One line a work of bench_backends; how many times as fast as by hand dali is, by the medians."""
    names = ("dali", "dali by hand", "resident", "native")
    rows = []
    for work in read("bench_backends")["comparisons"]:
        seconds = {row["name"]: sorted(row["seconds"])[len(row["seconds"]) // 2] for row in work["timings"]}
        rates = [f"{work['items'] / seconds[name]:,.0f}" for name in names]
        ratio = f"{work['notes']['dali_times_faster_than_by_hand']:.2f}"
        rows.append([work["title"].partition(",")[0], *rates[:2], ratio, *rates[2:]])
    return markdown(["pictures per second", "`dali`", "by hand", "times", "`resident`", "`native`"], rows)


def machine(name):
    """The machine; of bench_loader's tables, which may be of several days, each that differs."""
    content = read(name)
    told = [work["machine"] for work in content["works"]] if "works" in content else [content["machine"]]
    lines = [
        f"{one['cpu']}, {one['cores']} cores, torch {one['versions']['torch']}, {one['date']}" for one in told
    ]
    return "; ".join(dict.fromkeys(lines)) + "."


def filled(page):
    """The page's text with every table as the JSON has it now."""
    makers = {
        "rivals": rivals,
        "goals": goals,
        "loader": loader,
        "opening": opening,
        "quasi": quasi,
        "batch": batch,
        "conversion": conversion,
        "backends": backends,
        "machine": machine,
    }

    def table(match):
        name, _, argument = match[1].partition(": ")
        made = makers[name](argument) if argument else makers[name]()
        return f"<!-- {match[1]} -->\n{made}\n<!-- end -->"

    return re.sub(r"<!-- (\w.*?) -->\n.*?<!-- end -->", table, page.read_text(), flags=re.DOTALL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page would change")
    check = parser.parse_args().check
    stale = [page for page in PAGES if filled(page) != page.read_text()]
    if check and stale:
        names = ", ".join(page.name for page in stale)
        sys.exit(
            f"tables must be as the JSON in results/ has them, not so: {names}; run benchmarks/tables.py"
        )
    for page in stale:
        page.write_text(filled(page))


if __name__ == "__main__":
    main()
