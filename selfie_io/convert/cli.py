"""The selfie-convert command: parse, call, exit status."""

import sys
from collections.abc import Sequence

import tyro

from selfie_io._extras import advice
from selfie_io.command_line import parse
from selfie_io.console import (
    harmless,
    harmless_output,
    open_closed_streams,
    quiet_on_broken_pipe,
    unexpected,
)
from selfie_io.convert.commands.adopt import Adopt
from selfie_io.convert.commands.apply import Apply
from selfie_io.convert.commands.check import Check
from selfie_io.convert.commands.download import Download
from selfie_io.convert.commands.export import Export
from selfie_io.convert.commands.info import Info
from selfie_io.convert.commands.labels import Labels
from selfie_io.convert.commands.merge import Merge
from selfie_io.convert.commands.noise import Noise
from selfie_io.convert.commands.pack import Pack
from selfie_io.convert.commands.plan import Plan
from selfie_io.convert.commands.preview import Preview
from selfie_io.convert.commands.run import RunShard
from selfie_io.convert.commands.verify import Verify
from selfie_io.convert.subcommand import BAD_COMMAND, BAD_DATA, DONE, CommandError, Subcommand, tool
from selfie_io.foreign_settings import ignore_foreign_settings, say_ignored
from selfie_io.termination import interrupted_by_sigterm

COMMANDS: dict[str, type[Subcommand]] = {
    "download": Download,
    "pack": Pack,
    "plan": Plan,
    "run": RunShard,
    "merge": Merge,
    "adopt": Adopt,
    "info": Info,
    "verify": Verify,
    "check": Check,
    "preview": Preview,
    "export": Export,
    "noise": Noise,
    "labels": Labels,
    "apply": Apply,
}
_INTERRUPTED = 130

_DESCRIPTION = """Convert image data sets to record files and back.

  selfie-convert download cifar10 downloads  fetch the published files of a set
  selfie-convert pack images.zip data/mine   read images, write record files
  selfie-convert plan | run | merge          the same on many machines
  selfie-convert adopt data/animal10n        manifest for the authors' records
  selfie-convert info data/mine              describe it
  selfie-convert verify data/mine --deep     check that it is whole
  selfie-convert check data/mine             find duplicates, leaks, blanks
  selfie-convert preview data/mine grid.png  draw some of its images
  selfie-convert export data/mine out        write it as images in folders
  selfie-convert noise data/mine --rate 0.4  inject noise, beside the true labels
  selfie-convert labels data/mine human.pt --key worse_label
                                             import labels that people gave
  selfie-convert apply images decisions.csv clean
                                             write a corrected copy

COMMAND --help has options and examples; --version tells the version.

Exit status: 0 done; 1 bad data, each defect named by file, record and byte; 2 wrong command line. A
command that fails or is killed leaves the old state or the new one, never half of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    open_closed_streams()
    say_ignored(ignore_foreign_settings())
    with quiet_on_broken_pipe(), interrupted_by_sigterm() as termination:
        return termination.status(_run(sys.argv[1:] if arguments is None else arguments))


def _run(given: Sequence[str]) -> int:
    if list(given) == ["--version"]:
        print(tool())
        return DONE
    with harmless_output(needed=any(harmless(one) != one for one in given)):  # its complaint quotes them
        command: Subcommand = parse(
            "selfie-convert",
            _DESCRIPTION,
            COMMANDS,
            given,
            (
                tyro.conf.DisallowNone,
                tyro.conf.FlagCreatePairsOff,
                tyro.conf.OmitSubcommandPrefixes,
                tyro.conf.PositionalMetavarFromFieldName,
            ),
        )
    with harmless_output():
        return _status(command)


def _status(command: Subcommand) -> int:
    """Run a command; returns its exit status, and says in lines why it is not 0."""
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
    except RecursionError:
        _complain("the data is nested too deeply")
        return BAD_DATA
    except Exception as error:
        _complain(unexpected(error))
        return BAD_DATA


def _complain(error: Exception | str) -> None:
    for line in (error if isinstance(error, str) else advice(error)).split("\n"):
        print(f"selfie-convert: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
