"""`rpac init` and `rpac doctor`: a repository made ready for the bot, and looked at."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rpac_ci.cli.group import JSON, agreed, at_a_terminal, cli, show_diff
from rpac_ci.errors import CommandError, ExitCode, ExperimentError, PolicyError

if TYPE_CHECKING:
    from rpac_ci.canonical import Json
    from rpac_ci.github.diagnosis import Finding
    from rpac_ci.github.setup.setup import Setup
    from rpac_ci.site_clouds import AwsSite, AzureSite


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
    ask = not as_json
    write = bool(setup.changes) and not dry_run and (yes or agreed("Write these changes?", ask=ask))
    if write:
        setups.apply(setup)
    if as_json:
        click.echo(json.dumps(_to_json(setup, written=write), indent=2, sort_keys=True))
    elif write:
        _next_steps(setup)
    if setup.changes and not (write or dry_run) and (as_json or not at_a_terminal()):
        raise PolicyError(
            "nothing was written, and nobody asked", hint="to write it: rpac init --yes"
        )
    return int(ExitCode.OK)


def _show(setup: Setup) -> None:
    show_diff(setup.diff())
    for left in setup.left:
        click.echo(f"{left.path}: {left.state}: {left.why}", err=True)
    if not setup.changes:
        click.echo("nothing to write")


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
@click.argument("cloud", required=False, type=click.Choice(["aws", "azure"]))
@click.option(
    "--environment", default="rpac-cloud", show_default=True,
    help="Environment whose jobs may enter a cloud; part of the subjects that are printed.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Do not ask GitHub or a cloud.")
@JSON
def doctor(cloud: str | None, environment: str, offline: bool, as_json: bool) -> int:
    """
    Check what the bot needs, here and on GitHub, and print the fix of each finding.

    A cloud that rpac.yaml names is looked at, too; with its name as an argument, it alone. Reads
    GITHUB_TOKEN or GH_TOKEN; changes nothing. The exit code is 2 when something has to be fixed.
    """
    from rpac_ci.github import doctor as doctors
    from rpac_ci.github.diagnosis import Report

    if cloud is None:
        report = doctors.examine(Path(), os.environ, environment=environment, offline=offline)
    else:
        report = Report(findings=())
    if not offline:
        found = _cloud_findings(cloud)
        report = replace(report, findings=(*report.findings, *found))
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2, sort_keys=True, ensure_ascii=False))
    else:
        click.echo(report.text())
    return int(ExitCode.OK if report.healthy else ExitCode.INVALID_INPUT)


def _cloud_findings(asked: str | None) -> list[Finding]:
    """Of one cloud, or of each that the settings name."""
    from rpac_ci.git import Git
    from rpac_ci.site_config import load_site

    try:
        clouds = load_site(Git.discover(Path()).root).clouds
    except ExperimentError:
        if asked:
            raise
        return []  # the mistakes are among the findings already
    if asked and asked not in clouds.configured:
        raise CommandError(
            f"rpac.yaml names no place on {'AWS' if asked == 'aws' else 'Azure'}",
            hint=f"rpac setup {asked} makes one",
        )
    found: list[Finding] = []
    if clouds.aws and asked in {None, "aws"}:
        found += _examined("aws", partial(_examine_aws, clouds.aws), asked)
    if clouds.azure and asked in {None, "azure"}:
        found += _examined("azure", partial(_examine_azure, clouds.azure), asked)
    return found


def _examined(cloud: str, examine: Callable[[], list[Finding]], asked: str | None) -> list[Finding]:
    from rpac_ci.github.diagnosis import Finding, Severity

    try:
        return examine()
    except CommandError as exc:  # its SDK is not installed
        if asked:
            raise
        what = f"not checked: {exc.message}"
        return [Finding(topic=cloud, severity=Severity.WARNING, what=what, fix=exc.hint)]


def _examine_aws(made: AwsSite) -> list[Finding]:
    from rpac_ci.clouds.aws.clients import clients
    from rpac_ci.clouds.aws.doctor import examine

    return examine(made, clients(made.region))


def _examine_azure(made: AzureSite) -> list[Finding]:
    from rpac_ci.clouds.azure.arm import Arm
    from rpac_ci.clouds.azure.doctor import examine

    return examine(made, Arm(made.subscription))
