"""The pages show the figures of benchmarks/results/, and each result has its chart."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("bench_*.json"))


def test_the_tables_are_those_of_the_json():
    command = [sys.executable, BENCHMARKS / "tables.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_has_its_chart(path):
    assert "</svg>" in path.with_suffix(".svg").read_text()[-10:]
