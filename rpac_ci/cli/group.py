"""The command `rpac` itself, and options that many subcommands share."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from rpac_ci import __version__

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
QUIET = click.option("--quiet", "-q", is_flag=True, help="No progress, only the result.")
DIRTY = click.option(
    "--allow-dirty", is_flag=True,
    help="Accept uncommitted changes and new files of the experiment; they are recorded.",
)  # fmt: skip
EXIT_CODES = """\b
Exit codes: 0 reproduced, compared or baseline; 1 not reproduced; 2 invalid input; 3 the command
failed; 4 refused; 5 could not run; 6 git or history error; 7 inconclusive; 130 cancelled."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="rpac")
@click.option(
    "-C", "folder", type=click.Path(exists=True, file_okay=False), metavar="FOLDER",
    help="Work in the repository that holds FOLDER.",
)  # fmt: skip
def cli(folder: str | None) -> None:
    """Reproduce computational experiments, and keep the outcome in git."""
    if folder:
        os.chdir(folder)


def print_json(value: Any) -> None:
    """Print a result for programs."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def at_a_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def agreed(question: str, *, ask: bool = True) -> bool:
    """Ask; nobody at a terminal, or nobody to be asked, means no."""
    return ask and at_a_terminal() and click.confirm(question, err=True)


def show_diff(diff: str) -> None:
    """Print a diff in the colours of one."""
    for line in diff.splitlines():
        click.secho(line, fg=None if "NO_COLOR" in os.environ else _color(line))


def _color(line: str) -> str | None:
    if line.startswith(("+++", "---", "@@")):
        return "cyan"
    return {"+": "green", "-": "red"}.get(line[:1])
