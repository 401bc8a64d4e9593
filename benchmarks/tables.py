"""Fills the tables of README.md and docs/ from the JSON in results/.

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
# The names in README, in its order; the roof has the same number of threads.
NAMES = {
    "roof": "roof: the same threads store the same bytes and compute nothing",
    "selfie": "**selfie**",
    "resident_mirrored": "torch, all images and their mirror images as tensors",
    "resident_tensors": "torch, all images as a tensor, batches gathered",
    "airbench_style": "cifar10-airbench, all images as float32",
    "dali_cpu": "NVIDIA DALI, CPU",
    "ffcv_loader": "FFCV",
    "hf_datasets": "Hugging Face datasets",
    "tf_data": "tf.data",
    "torchvision_loader": "torch DataLoader, torchvision v2",
    "webdataset_loader": "WebDataset",
}
AUGMENTERS = {"torchvision_batches": "torchvision v2", "dali_augment": "DALI", "ffcv_augment": "FFCV"}


def read(name):
    return json.loads((HERE / "results" / f"{name}.json").read_text())


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def work_of(title):
    return next(work for work in read("bench_loader")["works"] if work["title"] == title)


def rivals():
    """The loader and its rivals at 3x32x32: images per second, and the speed-up of selfie over each."""
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
    return markdown(
        ["images per second", "1 thread", "selfie's speed-up", "2 threads", "selfie's speed-up"], lines
    )


def loader(title):
    """One workload of bench_loader: the rate of each contender, and relative to the first."""
    work = work_of(title)
    return markdown(
        ["images per second", "median", "min", "max", "relative to selfie"],
        [
            [f"{row['name']} {row['version']}".strip()]
            + [f"{row[key]:,}" for key in ("median", "min", "max")]
            + [f"{row['of_first']:.3f}"]
            for row in work["rows"]
        ],
    )


def goals():
    head = [f"3x{side}x{side}, {threads} threads" for side, threads in aims.WORKS]
    return markdown(["measured (goal)", *head], aims.lines(read("bench_loader")["works"]))


def opening():
    return markdown(
        ["records", "seconds to the first batch", "MB above `import torch`"],
        [
            [f"{row['records']:,}", f"{row['seconds']:.3f}", f"{row['megabytes']:.0f}"]
            for row in read("bench_open")["rows"]
        ],
    )


def memory():
    content = read("bench_memory")
    own = {name: sorted(rates)[len(rates) // 2] for name, rates in content["disk"].items()}
    names = ["images per second", "of the disk's rate", "distance of neighbours", "near another of the batch"]
    rows = [[f"the disk itself: {name}", f"{rate:,.0f}", "", "", ""] for name, rate in own.items()]
    for row in content["rows"]:
        runs = row.get("of_disk_of_runs", [])
        part = f"{row['of_disk']:.2f}" if runs else ""
        if len(runs) > 1:
            part += f" ({min(runs):.2f} to {max(runs):.2f})"
        shares = [f"{row['distance']:.3f}", f"{row['near']:.0%}"]
        rows.append([row["row"], f"{row['per_second']:,.0f}", part, *shares])
    return markdown(["set, order", *names], rows)


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
    """One row a workload of bench_convert: medians and extremes."""
    content = read("bench_convert")
    rows = []
    for work, figures in zip(content["comparisons"], content["figures"], strict=True):
        cells = []
        for timing in work["timings"]:
            seconds = sorted(timing["seconds"])
            cells.append(f"{seconds[len(seconds) // 2]:.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})")
        peak = f"{figures['peak_memory_bytes'] / 1e6:.0f}"
        rows.append([str(figures["workers"]), *cells, f"{figures['ratio']:.2f}", peak])
    return markdown(["processes", "Pillow alone, seconds", "`pack`, seconds", "ratio", "peak MB"], rows)


def backends():
    """One row a workload of bench_backends; the speed-up of dali over the pipeline by hand, by medians."""
    names = ("dali", "dali by hand", "resident", "native")
    rows = []
    for work in read("bench_backends")["comparisons"]:
        seconds = {row["name"]: sorted(row["seconds"])[len(row["seconds"]) // 2] for row in work["timings"]}
        rates = [f"{work['items'] / seconds[name]:,.0f}" for name in names]
        ratio = f"{work['notes']['dali_times_faster_than_by_hand']:.2f}"
        rows.append([work["title"].partition(",")[0], *rates[:2], ratio, *rates[2:]])
    return markdown(
        ["images per second", "`dali`", "DALI by hand", "speed-up", "`resident`", "`native`"], rows
    )


def augment():
    """bench_augment: ours beside the rivals, and the time of our options relative to a crop."""
    tables = read("bench_augment")["tables"]
    titles = {"window": "random resized crop", "plain": "crop", "colour": "crop and colour"}
    rows = []
    for task, title in titles.items():
        ours, *rivals = tables[task]
        cells = [f"{ours['median']:,} ({ours['min']:,} to {ours['max']:,})"]
        cells += [f"{one['median']:,} ({1 / one['of_first']:.1f} times slower)" for one in rivals]
        rows.append([title, *cells])
    for one in tables["options"]:
        if one["name"] == "views=2":
            told = f"{one['median']:,} ({one['of_first']:.2f} of one view)"
            rows.append(["crop, views=2, records", told, *("" for _ in rivals)])
    return markdown(["images per second", "selfie", *(AUGMENTERS[one["name"]] for one in rivals)], rows)


def machine(name):
    """The machine of a result; the tables of bench_loader may have several, each is named."""
    content = read(name)
    works = content.get("works", [content])
    told = [work["machine"] for work in works]
    lines = [
        f"{one['cpu']}, {one['cores']} cores, torch {one['versions']['torch']}, {one['date']}" for one in told
    ]
    spreads = [work["roof_spread"] for work in works if "roof_spread" in work]
    known = f"; the roof's spread was {min(spreads):.0%} to {max(spreads):.0%}" if spreads else ""
    return "; ".join(dict.fromkeys(lines)) + known + "."


def filled(page):
    """The text of the page with every table filled from the JSON."""
    makers = {
        "rivals": rivals,
        "goals": goals,
        "loader": loader,
        "opening": opening,
        "memory": memory,
        "augment": augment,
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
        sys.exit(f"tables must equal the JSON in results/, differ in {names}; run benchmarks/tables.py")
    for page in stale:
        page.write_text(filled(page))


if __name__ == "__main__":
    main()
