"""Adds pages of the repository's root, charts and the commands' help to the site; a hook of mkdocs."""

import contextlib
import io
import os
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
CHARTS = "benchmarks/results/"


def on_files(files, config):
    """Add the root's pages, the charts of the benchmarks, and a page with the help of every command."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for chart in sorted((ROOT / CHARTS).glob("*.svg")):
        files.append(File.generated(config, f"charts/{chart.name}", abs_src_path=str(chart)))
    files.append(File.generated(config, "api/commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown, page, config, files):  # noqa: ARG001 (mkdocs names them)
    """Point links to the root at the site's own pages."""
    markdown = markdown.replace(f"](../{CHARTS}", "](charts/").replace("](../README.md", "](index.md")
    for name, target in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({target}")
    return markdown


def commands_page():
    """The help of selfie-convert and selfie-train, and of each subcommand, as the terminal shows it."""
    from selfie_io.convert import cli as convert
    from selfie_train import cli as train

    lines = ["# Commands", "", "The output of `--help`."]
    for program, module in (("selfie-convert", convert), ("selfie-train", train)):
        lines += ["", f"## {program}", "", "```text", help_of(module.main, []), "```"]
        for name in module.COMMANDS:
            lines += ["", f"### {program} {name}", "", "```text", help_of(module.main, [name]), "```"]
    return "\n".join(lines) + "\n"


def help_of(main, arguments):
    """What `--help` prints, without colours and frames."""
    os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*arguments, "--help"])
    return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()).strip()
