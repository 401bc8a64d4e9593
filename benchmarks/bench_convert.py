"""selfie-convert pack of the CIFAR-10 JPEGs, against Pillow decoding them and discarding the result.

    python benchmarks/bench_convert.py cifar10-jpeg.zip [--workers 1 2] [--repeats 5]

Both are whole commands that read the zip anew, with the same number of processes, in one run. Also measured:
the peak memory of pack and its workers together. Also checked, where TensorFlow is installed: its
FixedLengthRecordDataset reads the files pixel for pixel.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from environments import python_of
from timing import Comparison, compare, save, show

HERE = Path(__file__).parent


def pillow_alone(archive: str, workers: int) -> int:
    """Run the rival; returns how many images it decoded."""
    command = [sys.executable, str(HERE / "pillow_alone.py"), archive, str(workers)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def pack(archive: str, out: Path, workers: int) -> None:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "selfie_io.convert.cli", "pack", archive, str(out)]
    subprocess.run([*command, "--workers", str(workers)], check=True, capture_output=True)


def peak_memory(archive: str, out: Path, workers: int) -> int:
    """The peak proportional memory (PSS, bytes) of pack and its workers, sampled 20 times a second."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "selfie_io.convert.cli", "pack", archive, str(out)]
    process = subprocess.Popen([*command, "--workers", str(workers)], stderr=subprocess.DEVNULL)
    peak = 0
    watch = threading.Event()
    while process.poll() is None:
        peak = max(peak, sum(_pss(child) for child in [process.pid, *_descendants(process.pid)]))
        watch.wait(0.05)
    return peak


def _descendants(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def read_by_tensorflow(out: Path) -> str:
    """The result of tensorflow_reads.py on the files."""
    python = python_of("tf_data")
    if subprocess.run([python, "-c", "import tensorflow"], capture_output=True).returncode:
        return "not installed"
    command = [python, str(HERE / "tensorflow_reads.py"), str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    return (result.stdout or result.stderr).strip()


def measure(archive: str, out: Path, workers: int, repeats: int) -> tuple[Comparison, dict[str, Any]]:
    """Time both, then sample the memory of one more pack."""
    count = pillow_alone(archive, workers)
    result = compare(
        f"{count:,} JPEGs, workers: {workers}",
        {
            "Pillow, discarded": lambda: pillow_alone(archive, workers),
            "selfie-convert pack": lambda: pack(archive, out, workers),
        },
        repeats=repeats,
        warmups=0,
        items=count,
    )
    show(result)
    ratio = result.ratio("selfie-convert pack", "Pillow, discarded")
    peak = peak_memory(archive, out, workers)
    print(f"pack takes {ratio:.2f} times as long; peak memory {peak / 1e6:.0f} MB")
    return result, {"workers": workers, "ratio": ratio, "peak_memory_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "packed"
        measured = [measure(options.archive, out, workers, options.repeats) for workers in options.workers]
        tensorflow = read_by_tensorflow(out)
        print(f"TensorFlow: {tensorflow}")
        results, figures = zip(*measured, strict=True)
        save("bench_convert", list(results), figures=figures, tensorflow=tensorflow)


if __name__ == "__main__":
    main()
