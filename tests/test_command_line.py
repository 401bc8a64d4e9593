"""The help of both commands: it fits 80 columns, teaches by examples that parse, and shows no None."""

import dataclasses
import re
import shlex

import pytest

import selfie_io.convert.cli
import selfie_train.cli
from selfie_io.command_line import field_texts, first_sentence, fitted, shell_lines
from selfie_train.config import TrainConfig

PROGRAMS = {"selfie-convert": selfie_io.convert.cli, "selfie-train": selfie_train.cli}
COMMANDS = [(program, name) for program, module in PROGRAMS.items() for name in module.COMMANDS]
GROUPS = ("data", "method", "network", "schedule", "machine", "output")


def help_of(program, arguments, capsys, monkeypatch, columns=80):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        PROGRAMS[program].main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("program", "name"), [*COMMANDS, *((program, None) for program in PROGRAMS)])
def test_help_fits_the_terminal_and_shows_no_none(program, name, capsys, monkeypatch):
    text = help_of(program, [name] if name else [], capsys, monkeypatch)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert not re.search(r"\bNone\b", text)
    assert "@description@" not in text
    if name:
        assert text.count("\nexamples:\n") == 1
        assert "".join(text.partition("\nexamples:\n")[2]).count(f"  {program} ") >= 1
    else:
        for command in PROGRAMS[program].COMMANDS:
            assert f" {command} " in text


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_every_command_has_examples_and_each_parses(program, name, monkeypatch):
    command = PROGRAMS[program].COMMANDS[name]
    assert any(example.split()[1] == name for example in command.EXAMPLES)
    done = []
    for kind in PROGRAMS[program].COMMANDS.values():
        monkeypatch.setattr(kind, "run", lambda self: done.append(type(self)) or 0)
    monkeypatch.setattr(selfie_train.cli, "import_plugin", lambda _: None)
    for example in command.EXAMPLES:
        first, *arguments = shlex.split(example)
        assert first == program
        assert PROGRAMS[program].main(arguments) == 0, example
    assert len(done) == len(command.EXAMPLES)
    assert command in done


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_every_option_is_described_and_tells_what_its_absence_means(program, name):
    command = PROGRAMS[program].COMMANDS[name]
    texts = field_texts(command)
    for field in dataclasses.fields(command):
        assert texts.get(field.name), field.name
        if field.default in (None, ()) and field.name != "imports":
            assert "default" in texts[field.name].lower(), (field.name, texts[field.name])


def test_the_options_of_run_are_in_groups(capsys, monkeypatch):
    groups = selfie_train.cli.COMMANDS["run"].GROUPS
    assert tuple(groups) == GROUPS
    names = [name for members in groups.values() for name in members]
    assert sorted(names) == sorted({field.name for field in dataclasses.fields(TrainConfig)} - {"imports"})
    text = help_of("selfie-train", ["run"], capsys, monkeypatch)
    begins = [text.index(f" {title} options ") for title in GROUPS]
    assert begins == sorted(begins)
    for title, members in groups.items():
        box = text[text.index(f" {title} options ") :].partition("╰")[0]
        for member in members:
            assert f"--{member.replace('_', '-')} " in box.replace(",", " "), member


def test_a_value_in_a_group_is_checked_and_an_unknown_option_is_named(capsys):
    for given, told in (
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--epoch", "1"], "--epoch"),
    ):
        with pytest.raises(SystemExit) as ended:
            selfie_train.cli.main(["run", "--dataset", "d", *given])
        assert ended.value.code == 2
        assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_texts_are_wrapped_and_commands_cut_between_options(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = "One paragraph of words\nthat go on and on and on.\n\n"
    text += "  name  a list whose text is longer than a line\n  b     x"
    assert fitted(text).splitlines() == [
        "One paragraph of words that go on and on",
        "and on.",
        "",
        "  name  a list whose text is longer than",
        "        a line",
        "  b     x",
    ]
    assert shell_lines("program do --one 'a b' --two 2 --flag", 20) == [
        "program do \\",
        "    --one 'a b' \\",
        "    --two 2 --flag",
    ]
    for lines in (shell_lines("program do --one 'a b' --two 2 --flag", width) for width in range(20, 60)):
        joined = "\n".join(lines).replace(" \\\n", " ")
        assert shlex.split(joined) == ["program", "do", "--one", "a b", "--two", "2", "--flag"]


def test_the_overview_shows_first_sentences():
    class Command:
        """Do it, at once and
        for all. Then rest.

        More.
        """

    assert first_sentence(Command) == "Do it, at once and for all."
