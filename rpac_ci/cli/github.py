"""`rpac init` and `rpac doctor`: a repository made ready for the bot, and looked at."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rpac_ci.cli.group import JSON, cli
from rpac_ci.errors import ExitCode, PolicyError

if TYPE_CHECKING:
    from rpac_ci.canonical import Json
    from rpac_ci.github.setup.setup import Setup


@cli.command()
@click.option("--upgrade", is_flag=True, help="Also renew what another version of rpac wrote.")
@click.option(
    "--source", metavar="SOURCE",
    help="What runners install: git+https://HOST/OWNER/NAME@COMMIT or rpac-ci==VERSION.",
)  # fmt: skip
@click.option("--yes", "-y", is_flag=True, help="Write without asking.")
@click.option("--dry-run", is_flag=True, help="Only show what would be written.")
@JSON
def init(
    upgrade: bool, source: str | None, yes: bool, dry_run: bool, as_json: bool
) -> int:  # fmt: skip
    """
    Make a repository ready for commands in comments on GitHub.

    Shows the changes first: workflows, the action that installs rpac, rpac.yaml, an example where
    there is no experiment, a line of .gitignore. What people wrote or edited is left alone.
    """
    from rpac_ci.github.setup import setup as setups

    setup = setups.prepare(Path(), source=source, upgrade=upgrade)
    if not as_json:
        _show(setup)
    write = bool(setup.changes) and not dry_run and (yes or _agreed(ask=not as_json))
    if write:
        setups.apply(setup)
    if as_json:
        click.echo(json.dumps(_to_json(setup, written=write), indent=2, sort_keys=True))
    elif write:
        _next_steps(setup)
    if setup.changes and not (write or dry_run) and (as_json or not _at_a_terminal()):
        raise PolicyError(
            "nothing was written, and nobody asked", hint="to write it: rpac init --yes"
        )
    return int(ExitCode.OK)


def _agreed(*, ask: bool) -> bool:
    return ask and _at_a_terminal() and click.confirm("Write these changes?", err=True)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _show(setup: Setup) -> None:
    for line in setup.diff().splitlines():
        click.secho(line, fg=None if "NO_COLOR" in os.environ else _color(line))
    for left in setup.left:
        click.echo(f"{left.path}: {left.state}: {left.why}", err=True)
    if not setup.changes:
        click.echo("nothing to write")


def _color(line: str) -> str | None:
    if line.startswith(("+++", "---", "@@")):
        return "cyan"
    return {"+": "green", "-": "red"}.get(line[:1])


def _next_steps(setup: Setup) -> None:
    paths = " ".join(change.path for change in setup.changes)
    click.echo(f"{len(setup.changes)} files written; the runners install {setup.source}\n")
    click.echo(f"next: git add {paths}")
    click.echo("      git commit -m 'Reproduce experiments from comments', and push it")
    click.echo("      rpac doctor")
    click.echo(f"then comment on a pull request: /reproduce {setup.experiment}")


def _to_json(setup: Setup, *, written: bool) -> dict[str, Json]:
    return {
        "source": str(setup.source),
        "changes": [{"path": one.path, "action": one.action} for one in setup.changes],
        "left": [{"path": one.path, "state": one.state, "why": one.why} for one in setup.left],
        "diff": setup.diff(),
        "experiment": setup.experiment,
        "written": written,
    }


@cli.command()
@click.option(
    "--environment", default="rpac-cloud", show_default=True,
    help="Environment whose jobs may enter a cloud; part of the subjects that are printed.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Do not ask GitHub.")
@JSON
def doctor(environment: str, offline: bool, as_json: bool) -> int:
    """
    Check what the bot needs, here and on GitHub, and print the fix of each finding.

    Reads GITHUB_TOKEN or GH_TOKEN; changes nothing. The exit code is 2 when something has to be
    fixed.
    """
    from rpac_ci.github import doctor as doctors

    report = doctors.examine(Path(), os.environ, environment=environment, offline=offline)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2, sort_keys=True, ensure_ascii=False))
    else:
        click.echo(report.text())
    return int(ExitCode.OK if report.healthy else ExitCode.INVALID_INPUT)
