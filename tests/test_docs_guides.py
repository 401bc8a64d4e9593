"""The guides do what they say: every command and program in them runs, and quoted messages exist."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import selfie_io.convert.cli
import selfie_train.cli

ROOT = Path(__file__).parents[1]
GUIDES = ("start", "sources", "loader", "audit", "clusters")  # noise, tutorial with use: tests of their own
COMMANDS = {"selfie-convert": selfie_io.convert.cli.main, "selfie-train": selfie_train.cli.main}
MODULES = {"selfie_io": selfie_io.convert.cli.main, "selfie_train": selfie_train.cli.main}


def blocks(page):
    return re.findall(
        r"^```(\w+)\n(.*?)^```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL | re.MULTILINE
    )


def lines(text):
    """The commands of a block of shell, in a line each."""
    return text.strip().replace("\\\n", " ").splitlines()


def run_line(line):
    """Run one command of a guide; the programs of the package in this process, which saves seconds each."""
    name, *arguments = shlex.split(line, comments=True)
    if name == "torchrun":
        subprocess.run([sys.executable, "-m", "torch.distributed.run", *arguments], check=True, timeout=240)
    elif name == "mkdir":
        subprocess.run([name, *arguments], check=True)
    else:
        if name == "python":
            assert arguments[0] == "-m", line
            name = f"-m {arguments[1]}"
            arguments = arguments[2:]
        main = COMMANDS.get(name) or MODULES[name.removeprefix("-m ")]
        try:
            status = main(arguments)
        except SystemExit as ended:  # --help and --tyro-write-completion
            status = ended.code or 0
        assert status == 0, line


def run_page(page):
    """Run all that is on a page, in the working folder."""
    for kind, text in blocks(page):
        if kind == "json":
            Path("grid.json").write_text(text)
        elif kind == "python":
            exec(compile(text, page, "exec"), {})
        else:
            assert kind == "sh"
            for line in lines(text):
                run_line(line)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", GUIDES)
@pytest.mark.usefixtures("shared_embeddings")
def test_a_guide_runs_as_it_stands(page, tmp_path, monkeypatch, digits):
    monkeypatch.chdir(tmp_path)
    if page != "start":
        shutil.copytree(digits, "data/digits")
    if page == "audit":  # as a review exports it
        Path("decisions.csv").write_text("index,decision,label\n3,relabel,8\n7,drop,-1\n")
    run_page(page)


def test_the_installation_page_names_targets_and_options_that_exist(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    makefile = (ROOT / "Makefile").read_text()
    lines = [line for _, text in blocks("installation") for line in text.strip().splitlines()]
    assert len(lines) >= 10
    for line in lines:
        if line.startswith("make "):
            assert re.search(rf"^{line[5:]}:", makefile, re.MULTILINE), line
        else:
            run_line(line)
    for command in COMMANDS:
        assert command in (tmp_path / "completions" / command).read_text()
    assert capsys.readouterr().out.startswith(f"selfie-convert {selfie_io.__version__}\n")


def test_the_messages_of_the_faq_are_messages_of_the_code():
    code = "".join(
        path.read_text() for part in ("selfie_io", "selfie_train") for path in (ROOT / part).rglob("*.py")
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code + (ROOT / "setup.py").read_text())  # a literal over several lines
    quoted = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/faq.md").read_text(), re.MULTILINE)
    assert len(quoted) > 12
    for message in quoted:
        for part in message.split("..."):
            assert part.strip() in code, message
