"""The tutorial's commands and programs run as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import selfie_io.convert.cli
import selfie_train.cli
from selfie_train import registry

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.md"
COMMANDS = {"selfie-convert": selfie_io.convert.cli.main, "selfie-train": selfie_train.cli.main}


def run_command(line):
    name, *arguments = shlex.split(line)
    if name == "torchrun":
        subprocess.run([sys.executable, "-m", "torch.distributed.run", *arguments], check=True, timeout=240)
    else:
        assert COMMANDS[name](arguments) == 0, line


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a dozen trainings and a launch of processes, perhaps on a busy machine
def test_the_tutorial_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for table in ("METHODS", "MODELS"):  # what the programs register is forgotten afterwards
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    blocks = re.findall(r"```(\w+)\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    assert {kind for kind, _ in blocks} == {"sh", "python", "json"}
    for kind, text in blocks:
        if kind == "json":
            Path("grid.json").write_text(text)
        elif kind == "python":
            exec(compile(text, str(TUTORIAL), "exec"), {})
        else:
            for line in text.strip().splitlines():
                run_command(line)
    for made in (
        "runs/compared/table.csv",
        "runs/audited/issues.csv",
        "runs/patient/summary.json",
        "runs/grid/report.html",
    ):
        assert Path(made).exists(), made
    assert Path("runs/two/summary.json").exists()
