"""What was aimed at beside what was measured; each ratio is of medians of one table of bench_loader."""

from bench_loader import SIDES, THREADS, title_of

# Times as fast as a rival.
RIVALS = {
    "resident_tensors": {(32, 1): 8},
    "resident_mirrored": {},
    "dali_cpu": {(32, 1): 10},
    "ffcv_loader": {(32, 1): 12},
    "torchvision_loader": {(32, 1): 130},
}
# As a part of the roof with two threads.
ROOF = {(32, 2): 0.65, (64, 2): 0.75}
# As a part of the speed of float32 NCHW without it, on every work.
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
SECOND_THREAD = 1.7  # where the roof leaves room
WORKS = [(side, threads) for side in SIDES for threads in THREADS]


def lines(works):
    """A line per goal: its name, then "measured (asked)" for each of WORKS, bold where it was not reached."""
    parts = {work["title"]: {row["name"]: row["of_first"] for row in work["rows"]} for work in works}
    rivals = {work: parts.get(title_of(*work, "rivals"), {}) for work in WORKS}
    options = {work: parts.get(title_of(*work, "options"), {}) for work in WORKS}
    made = [
        line(
            f"times as fast as {name}",
            {work: 1 / part[name] for work, part in rivals.items() if name in part},
            asked,
        )
        for name, asked in RIVALS.items()
    ]
    roofs = {work: 1 / part["roof, 2 threads"] for work, part in rivals.items() if part and work[1] == 2}
    made.append(line("part of the roof, 2 threads", roofs, ROOF))
    seconds = {work: part["2 threads"] for work, part in options.items() if "2 threads" in part}
    made.append(line("2 threads: times as fast as 1", seconds, dict.fromkeys(seconds, SECOND_THREAD)))
    for name, asked in OPTIONS.items():
        part = {work: part[name] for work, part in options.items() if name in part}
        made.append(line(f"{name}: part of the speed without", part, dict.fromkeys(WORKS, asked)))
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
