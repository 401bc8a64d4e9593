"""The README does what it says: its commands and its Python example run, in order, in an empty folder."""

import re
import shlex
from pathlib import Path

import pytest
from test_docs_guides import lines, run_line

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    return [shlex.split(line, comments=True) for block in blocks("sh") for line in lines(block) if line]


def test_make_targets_are_run_by_ci():
    """The two commands of the first screen are targets of the Makefile, and CI runs both."""
    targets = [words[1] for words in commands() if words[0] == "make"]
    assert targets == ["demo", "test"]
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci/run").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
        assert re.search(rf"^make {target}$", ci, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_embeddings")
def test_commands_and_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks("sh"):
        for line in lines(block):
            if line and not line.startswith("make "):
                run_line(line)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "data/digits/labels/pair-0.4.npy").exists()
    (example,) = blocks("python")
    capsys.readouterr()
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count("torch.Size([128, 1, 8, 8]) tensor([") == 11
    assert printed.count("torch.Size([30, 1, 8, 8])") == 1
