"""What both commands share: help that fits the terminal, options in groups, examples below."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import Annotated, Any, ClassVar, Protocol, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

WIDEST = 100  # columns of a text
_DESCRIPTION = "@description@"  # in tyro's help, where the text goes


class Command(Protocol):
    """A subcommand: a dataclass whose fields are the command line and whose docstring is its help.

    EXAMPLES: commands that are printed below the help
    GROUPS: the fields of each box of the help, by its title; the others are in the box "options"
    """

    EXAMPLES: ClassVar[tuple[str, ...]]
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {}


class OptionGroup:
    """The fields in one box of a help; made for each box anew."""

    fields: tuple[StructFieldSpec, ...] = ()


def parse(
    program: str,
    description: str,
    commands: Mapping[str, type],
    arguments: Sequence[str],
    config: tuple[Any, ...],
) -> Any:
    """Make the command that the arguments name; SystemExit after help, and with status 2 for a wrong one."""
    overview = not arguments or arguments[0] not in commands
    asks = "-h" in arguments or "--help" in arguments
    named: Any = tuple(
        Annotated[
            command,
            tyro.conf.subcommand(name, description=first_sentence(command) if overview else _DESCRIPTION),
        ]
        for name, command in commands.items()
    )

    chosen: Any = Union[named]  # noqa: UP007

    def make() -> Any:
        return tyro.cli(
            chosen,
            prog=program,
            description=_DESCRIPTION,
            args=arguments,
            config=config,
        )

    registry = ConstructorRegistry()
    registry.struct_rule(_rule(tuple(commands.values())))
    with registry:
        if not asks:
            return make()
        printed = _Terminal()
        try:
            with contextlib.redirect_stdout(printed):
                return make()
        finally:
            command = None if overview else commands[arguments[0]]
            print(
                _help(printed.getvalue(), description if command is None else _docstring(command), command),
                end="",
            )


class _Terminal(io.StringIO):
    """Takes what is printed, in colours if standard output takes colours."""

    def __init__(self) -> None:
        super().__init__()
        self._is_terminal, self._encoding = sys.stdout.isatty(), sys.stdout.encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What the terminal can show decides how boxes are drawn."""
        return self._encoding

    def isatty(self) -> bool:
        """Whether colours are wanted."""
        return self._is_terminal


def _help(printed: str, description: str, command: Any) -> str:
    """The help with its text wrapped and its examples."""
    usage, _, rest = printed.partition("\n")
    if command is None:
        usage = re.sub(r"\{[a-z,-]+\}", "COMMAND", usage)
    text = f"{_usage(usage)}\n{rest}".replace(_DESCRIPTION, fitted(description))
    return text if command is None else f"{text.rstrip()}\n\n{_examples(command)}"


def _usage(line: str) -> str:
    """The usage in lines that fit, cut between its parts."""
    parts = re.findall(r"(?:\[[^\[\]]*(?:\[[^\]]*\][^\[\]]*)*\]|\S)+", line)
    joined = " ".join(part.replace(" ", "\0") for part in parts)
    indent = " " * (joined.index("[-h]") if "[-h]" in joined else 4)
    wrapped = textwrap.wrap(
        joined, _columns(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapped).replace("\0", " ")


def _examples(command: Any) -> str:
    """The examples of a command, to be pasted into a shell."""
    lines = ["examples:"]
    for example in command.EXAMPLES:
        lines += [f"  {line}" for line in shell_lines(example, _columns() - 2)]
    return "\n".join(lines) + "\n"


def shell_lines(command: str, width: int) -> list[str]:
    """A command in lines of at most `width` columns, each but the last with a backslash at its end.

    It is cut between arguments, but not between an option and its value.
    """
    words: list[str] = []
    previous = ""
    for word in shlex.split(command):
        if previous.startswith("--") and not word.startswith("-"):
            words[-1] += f" {shlex.quote(word)}"
        else:
            words.append(shlex.quote(word))
        previous = word
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= width - 2:
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(f"    {word}")
    return lines


def fitted(text: str) -> str:
    """A text with its paragraphs wrapped to the terminal. Indented lines are lists and stay lines.

    An indented line that is too long goes on below its second column.
    """
    blocks = []
    for block in re.split(r"\n{2,}", text.strip("\n")):
        lines: list[str] = []
        for line in block.split("\n"):
            if lines and not line.startswith(" ") and not lines[-1].startswith(" "):
                lines[-1] += f" {line}"  # of the same paragraph
            else:
                lines.append(line)
        blocks.append("\n".join(_wrapped(line) for line in lines))
    return "\n\n".join(blocks)


def _wrapped(line: str) -> str:
    second = re.match(r"(\s+\S.*?\s{2,})\S", line)
    indent = len(second[1]) if second else len(line) - len(line.lstrip())
    return "\n".join(
        textwrap.wrap(
            line, _columns(), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
    )


def _columns() -> int:
    return max(40, min(WIDEST, shutil.get_terminal_size().columns))


def _docstring(command: type) -> str:
    return inspect.getdoc(command) or ""


def first_sentence(command: type) -> str:
    """The first sentence of a command's docstring, in one line."""
    first = " ".join(_docstring(command).partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z])", first)[0]


@cache
def field_texts(command: type) -> dict[str, str]:
    """The docstring below each field of a dataclass and of its bases, in one line."""
    texts: dict[str, str] = {}
    for base in reversed(command.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        for field, below in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                value = getattr(below.value, "value", None)
                if isinstance(value, str) and isinstance(field.target, ast.Name):
                    texts[field.target.id] = " ".join(value.split())
    return texts


def _rule(commands: tuple[type, ...]) -> Callable[[StructTypeInfo], StructConstructorSpec | None]:
    """How tyro makes a command: from its fields, in their groups."""

    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        kind = info.type
        if isinstance(kind, type) and issubclass(kind, OptionGroup):
            return StructConstructorSpec(instantiate=_as_dict, fields=kind.fields)
        if kind not in commands:
            return None
        groups: dict[str, tuple[str, ...]] = getattr(kind, "GROUPS", {})
        fields = _field_specs(kind)
        grouped = {name for names in groups.values() for name in names}
        specs = [spec for name, spec in fields.items() if name not in grouped]
        for title, names in groups.items():
            group: Any = type(title, (OptionGroup,), {"fields": tuple(fields[name] for name in names)})
            hint: Any = Annotated[group, tyro.conf.OmitArgPrefixes]
            specs.append(StructFieldSpec(title, hint, tyro.MISSING, helptext=""))

        def make(**given: Any) -> Any:
            inside = {name: value for title in groups for name, value in given.pop(title).items()}
            return kind(**given, **inside)

        return StructConstructorSpec(instantiate=make, fields=tuple(specs))

    return rule


def _as_dict(**values: Any) -> dict[str, Any]:
    return values


def _field_specs(command: type) -> dict[str, StructFieldSpec]:
    """What tyro has to know of each field of a dataclass."""
    hints, texts = get_type_hints(command, include_extras=True), field_texts(command)
    specs = {}
    for field in dataclasses.fields(command):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        elif default is dataclasses.MISSING:
            default = tyro.MISSING
        hint = _unset(hints[field.name]) if default in (None, ()) else hints[field.name]
        specs[field.name] = StructFieldSpec(field.name, hint, default, helptext=texts.get(field.name, ""))
    return specs


def _unset(hint: Any) -> Any:
    """The hint of an option that is None or empty, so that its help does not show that: its text says what
    it means."""
    base, *more = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    kinds = [kind for kind in get_args(base) if kind is not NoneType]
    metavar = None
    if len(kinds) == 1 and isinstance(kinds[0], type) and get_origin(kinds[0]) is None:
        metavar = kinds[0].__name__.upper()
    elif len(kinds) == 1 and get_origin(kinds[0]) is tuple:
        metavar = " ".join(part.__name__.upper() for part in get_args(kinds[0]))
    return Annotated[(base, tyro.conf.arg(metavar=metavar, help_behavior_hint=""), *more)]
