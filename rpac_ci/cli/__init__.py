"""
The command line: one short function for each subcommand, all of them thin over `rpac_ci.api`.

Results go to standard output, progress and errors to standard error. Nothing heavy is imported
before a subcommand needs it.
"""

from __future__ import annotations

import os
import signal
import sys

import click

# each adds its subcommands to the group
from rpac_ci.cli import bot, catalog, github, images, past, runs, setup, setup_azure, upkeep  # noqa: F401
from rpac_ci.cli.group import cli
from rpac_ci.errors import ExitCode, ExperimentError, RpacError


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = cli.main(args=arguments, prog_name="rpac", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return int(ExitCode.INVALID_INPUT)
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return int(ExitCode.CANCELLED)
    except RpacError as exc:
        _show_error(exc)
        return int(exc.exit_code)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - keep the interpreter quiet
        return 0
    return result if isinstance(result, int) else 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _show_error(error: RpacError) -> None:
    _say(error.message, prefix="" if isinstance(error, ExperimentError) else "rpac: ")
    if error.hint:
        _say(f"hint: {error.hint}", prefix="      ")


def _say(text: str, prefix: str = "rpac: ") -> None:
    if os.environ.get("GITHUB_ACTIONS") == "true":  # a runner obeys certain lines of a job's log
        from rpac_ci.github.actions import neutral_log

        text = neutral_log(text)
    click.echo(f"{prefix}{text}", err=True)
