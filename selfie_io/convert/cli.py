"""The selfie-convert command: parse, call, exit status."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from selfie_io.console import quiet_on_broken_pipe
from selfie_io.convert.adopt import Adopt
from selfie_io.convert.command import BAD_COMMAND, BAD_DATA, DONE, Command, CommandError
from selfie_io.convert.download import Download
from selfie_io.convert.export import Export
from selfie_io.convert.info import Info
from selfie_io.convert.labels import Labels
from selfie_io.convert.merge import Merge
from selfie_io.convert.noise import Noise
from selfie_io.convert.pack import Pack
from selfie_io.convert.preview import Preview
from selfie_io.convert.shards import Plan, Run
from selfie_io.convert.verify import Verify
from selfie_io.version import version

COMMANDS: tuple[type[Command], ...] = (
    Download, Pack, Plan, Run, Merge, Adopt, Info, Verify, Preview, Export, Noise, Labels,
)  # fmt: skip
_INTERRUPTED = 130

_DESCRIPTION = """Data sets of pictures to record files and back.

  selfie-convert download cifar10 downloads      the published files of a set, checked
  selfie-convert pack pictures.zip data/mine     read pictures, write record files
  selfie-convert plan | run | merge              the same on many machines
  selfie-convert adopt data/animal10n            give the authors' record files a manifest
  selfie-convert info data/mine                  what is in it
  selfie-convert verify data/mine --deep         is it whole and undamaged
  selfie-convert preview data/mine grid.png      look at it
  selfie-convert export data/mine out            give it back as pictures in folders
  selfie-convert noise data/mine --rate 0.4      a noisy set of labels beside the true ones
  selfie-convert labels data/cifar10 CIFAR-10_human.pt --key worse_label

Exit status: 0 done; 1 the data is bad, each defect named by file, record and byte; 2 the command is wrong.
A command that fails or is killed leaves the old state or the new one, never half."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    with quiet_on_broken_pipe():
        return _run(sys.argv[1:] if arguments is None else arguments)


def _run(given: Sequence[str]) -> int:
    if list(given) == ["--version"]:
        print(f"selfie-convert {version()}")
        return DONE
    overview = not given or given[0] in ("-h", "--help")
    commands: Any = Union[tuple(_brief(one) if overview else one for one in COMMANDS)]  # noqa: UP007
    command: Command = tyro.cli(
        commands,
        prog="selfie-convert",
        description=_DESCRIPTION,
        args=given,
        config=(
            tyro.conf.DisallowNone,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.OmitSubcommandPrefixes,
            tyro.conf.PositionalMetavarFromFieldName,
        ),
    )
    try:
        return command.run()
    except CommandError as error:
        _complain(error)
        return BAD_COMMAND
    except (ValueError, IndexError, OSError, ModuleNotFoundError) as error:
        _complain(error)
        return BAD_DATA
    except MemoryError:
        _complain("there is not enough memory")
        return BAD_DATA
    except KeyboardInterrupt:
        _complain("interrupted; nothing was changed")
        return _INTERRUPTED


def _brief(command: type[Command]) -> Any:
    """The command with the first line of its help alone, for the overview."""
    return Annotated[command, tyro.conf.subcommand(description=(command.__doc__ or "").split("\n")[0])]


def _complain(error: Exception | str) -> None:
    for line in str(error).split("\n"):
        # Names come from the data: none of them may steer the terminal.
        shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
        print(f"selfie-convert: {shown}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
