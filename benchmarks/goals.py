"""The goals beside the measurements; each ratio is of medians of one table of bench_loader."""

from bench_loader import SIDES, THREADS, title_of

# Speed-up over a rival.
RIVALS = {
    "resident_tensors": {(32, 1): 8},
    "resident_mirrored": {},
    "dali_cpu": {(32, 1): 10},
    "ffcv_loader": {(32, 1): 12},
    "torchvision_loader": {(32, 1): 130},
}
# Fraction of the roof, two threads.
ROOF = {(32, 2): 0.65, (64, 2): 0.75}
# Speed relative to float32 NCHW without the option, on every workload.
OPTIONS = {
    "float16": 0.85,
    "bfloat16": 0.85,
    "uint8": 0.85,
    "NHWC": 0.85,
    "PerImage": 0.55,
    "all augmentations": 0.4,
    "pread": 0.7,
    "batch 32": 0.6,
}
SECOND_THREAD = 1.7  # where the roof allows it
WORKS = [(side, threads) for side in SIDES for threads in THREADS]


def lines(works):
    """A row per goal: its name, then "measured (goal)" for each of WORKS, in bold if missed."""
    parts = {work["title"]: {row["name"]: row["of_first"] for row in work["rows"]} for work in works}
    rivals = {work: parts.get(title_of(*work, "rivals"), {}) for work in WORKS}
    options = {work: parts.get(title_of(*work, "options"), {}) for work in WORKS}
    made = [
        line(
            f"speed-up over {name}",
            {work: 1 / part[name] for work, part in rivals.items() if name in part},
            asked,
        )
        for name, asked in RIVALS.items()
    ]
    roofs = {work: 1 / part["roof, 2 threads"] for work, part in rivals.items() if part and work[1] == 2}
    made.append(line("fraction of the roof, 2 threads", roofs, ROOF))
    seconds = {work: part["2 threads"] for work, part in options.items() if "2 threads" in part}
    made.append(line("speed-up of 2 threads over 1", seconds, dict.fromkeys(seconds, SECOND_THREAD)))
    for name, asked in OPTIONS.items():
        part = {work: part[name] for work, part in options.items() if name in part}
        made.append(line(f"{name}: speed relative to the default", part, dict.fromkeys(WORKS, asked)))
    return made


def line(name, measured, asked):
    return [name, *(cell(measured.get(work), asked.get(work)) for work in WORKS)]


def cell(measured, asked):
    if measured is None:
        return ""
    figure = f"{measured:.3g}"
    if asked is None:
        return figure
    return f"{figure if measured >= asked else f'**{figure}**'} ({asked:g})"
