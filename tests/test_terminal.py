"""Names from data are shown harmless: no escape sequence, no markup, and no formula in a spreadsheet."""

import ast
import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from converting import as_folder, encoded
from rich.table import Table

from selfie_io.console import HarmlessStream, harmless, open_closed_streams
from selfie_io.convert.cli import main
from selfie_io.records.csv_cells import harmless_row, original_cell
from selfie_io.rich_console import RichConsole
from selfie_io.start import start
from selfie_train.cli import main as train_main

ROOT = Path(__file__).parents[1]
EVIL = ["\x1b]0;owned\x07", "[red]x[/red]", "[/x]", "\u202etxt.exe"]
RAW = set("\x1b\x07\x08\x00\u202e\x9b")


@pytest.fixture
def hostile(tmp_path):
    """A data set whose classes, name, provenance and folder would control a terminal."""
    from selfie_io.records.layout import RecordLayout
    from selfie_io.records.writer import DatasetWriter

    folder = tmp_path / "set\x1b[31m"
    folder.mkdir()
    with DatasetWriter(folder, RecordLayout(1, 4, 4), 4) as writer:
        writer.append("train", np.arange(128, dtype=np.uint8).reshape(8, 1, 4, 4), np.arange(8) % 4)
        writer.append("test", np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 1]))
        writer.finish(name="\x1b[35mname[/red]", class_names=EVIL, provenance={"x": "\x1b[5mblink"})
    return folder


def test_no_command_lets_a_name_control_the_terminal(hostile, tmp_path, capsys):
    stray = tmp_path / "stray"
    shutil.copytree(hostile, stray)
    (stray / "\x1b]0;x\x07_batch9.bin").write_bytes(b"1")
    commands = [
        ["noise", hostile, "--rate", "0.5", "--name", "n"],
        ["info", hostile],
        ["info", hostile, "--overlay", "n"],
        ["info", hostile, "--json"],
        ["verify", hostile],
        ["verify", stray],
        ["check", hostile, "--all"],
        ["info", tmp_path / "\x1b[31mnowhere"],
        ["export", hostile, tmp_path / "\x1b[31mout"],
    ]
    for command in commands:
        main([str(word) for word in command])
        shown = capsys.readouterr()
        assert not RAW & set(shown.out + shown.err), command
        if command[0] == "info" and "--json" not in command and command[1] == hostile:
            assert "[red]x[/red]" in shown.out  # as it is written, not as markup


def test_a_wrong_command_line_is_quoted_harmless(capsys):
    with pytest.raises(SystemExit):
        main(["pack", "\x1b[31m", "out", "--\x1b]0;t\x07"])
    assert not RAW & set("".join(capsys.readouterr()))


def test_pack_names_hostile_files_harmless(tmp_path, capsys):
    good = encoded(np.zeros((4, 4, 3), np.uint8))
    members = {f"{split}/{kind}/1.png": good for split in ("train", "test") for kind in "ab"}
    as_folder(tmp_path / "src", {**members, "train/a/0\x1b]0;t\x07.png": b"no image"})
    assert main(["pack", str(tmp_path / "src"), str(tmp_path / "out"), "--workers", "1"]) == 1
    shown = "".join(capsys.readouterr())
    assert r"\x1b]0;t\x07" in shown
    assert not RAW & set(shown)


def test_rich_tables_and_lines_show_text_alone():
    stream = io.StringIO()
    console = RichConsole(file=stream, force_terminal=True, width=200)
    table = Table("[bold]head", title=EVIL[0])
    table.add_row(EVIL[1], ":smile: http://u:SECRET@h/x?sig=SECRET")
    console.print(table)
    console.print("\x1b]0;owned\x07[/x]", soft_wrap=True)
    text = stream.getvalue()
    assert "\x1b]0" not in text
    assert "\x07" not in text
    assert "SECRET" not in text
    assert "[red]x[/red]" in text
    assert ":smile:" in text


def test_a_stream_that_cannot_encode_a_name_escapes_it():
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    HarmlessStream(raw).write("é \udcff \x9b\n")
    raw.flush()
    assert raw.buffer.getvalue() == b"\\xe9 \\udcff \\x9b\n"
    assert harmless("a\tb\n") == "a\\tb\n"


@pytest.mark.parametrize(
    "name", ["=cmd|'calc'!A0", "+1", "-x", "@SUM(A1)", "\tx", "\rx", "'=x", "''=x", "x'="]
)
def test_a_name_goes_through_a_csv_and_back(name):
    text = io.StringIO(newline="")
    csv.writer(text).writerow(harmless_row([name, -1, 0.5]))
    cell, *numbers = next(csv.reader(io.StringIO(text.getvalue(), newline="")))
    assert cell[0] not in "=+-@\t\r"
    assert (original_cell(cell), numbers) == (name, ["-1", "0.5"])


def test_a_table_of_labels_that_we_wrote_is_a_source(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    names = ["=a.png", "+b.png", "-c.png", "@d.png", "e.png", "'=f.png"]
    as_folder(tmp_path / "source", {name: encoded(image) for name, image in zip(names, pixels, strict=True)})
    with (tmp_path / "source" / "labels.csv").open("w", newline="") as file:
        rows = [("file", "label"), *((name, "=one" if name < "@" else "two") for name in names)]
        csv.writer(file).writerows(map(harmless_row, rows))
    out = tmp_path / "out"
    command = ["pack", str(tmp_path / "source"), str(out), "--test-fraction", "0", "--workers", "1"]
    assert main(command) == 0
    manifest = json.loads((out / "dataset.json").read_text())
    assert (manifest["class_names"], manifest["splits"]["train"]["records"]) == (["=one", "two"], 6)


def test_every_writer_of_a_csv_makes_its_cells_harmless():
    numbers_alone = {"selfie_train/runs/log.py"}
    for path in [*(ROOT / "selfie_io").rglob("*.py"), *(ROOT / "selfie_train").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        place = path.relative_to(ROOT).as_posix()
        writes = any(
            isinstance(node, ast.Attribute)
            and node.attr in ("writer", "DictWriter")
            and isinstance(node.value, ast.Name)
            and node.value.id == "csv"
            for node in ast.walk(tree)
        )
        if writes and place not in numbers_alone:
            assert names & {"harmless_row", "harmless_cell"}, f"{place} writes a CSV with cells as they are"


def test_closed_streams_are_opened(tmp_path, monkeypatch):
    """With stdout closed, the first file that a command opened would get its number, and what is printed."""
    kept = [os.dup(number) for number in range(3)]
    monkeypatch.setattr(sys, "stdout", None)
    try:
        os.closerange(0, 3)
        open_closed_streams()
        descriptor = os.open(tmp_path / "data", os.O_CREAT | os.O_WRONLY)
        print("x" * 100, flush=True)
        sys.stdout.close()
        os.write(2, b"of a library in C")
        os.close(descriptor)
    finally:
        for number, copy in enumerate(kept):
            os.dup2(copy, number)
            os.close(copy)
    assert descriptor > 2
    assert (tmp_path / "data").read_bytes() == b""


def test_ctrl_c_while_a_command_is_imported_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in (("a", "raise KeyboardInterrupt"), ("b", "def main():\n    raise KeyboardInterrupt\n")):
        (tmp_path / f"interrupted_{name}.py").write_text(code)
        assert start("selfie-train", f"interrupted_{name}") == 130
        assert capsys.readouterr().err == "selfie-train: interrupted\n"
    (tmp_path / "good_command.py").write_text("def main():\n    return 7\n")
    assert start("selfie-train", "good_command") == 7


def test_a_command_in_a_deleted_folder_says_so(tmp_path, monkeypatch, capsys):
    """torch's libraries would end the process."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert train_main(["methods"]) == 1
    assert "the current folder was deleted" in capsys.readouterr().err
