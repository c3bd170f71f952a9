"""Subcommands that look after log and store."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from rpac_ci.cli.group import JSON, QUIET, agreed, at_a_terminal, cli, print_json
from rpac_ci.errors import ExitCode, PolicyError
from rpac_ci.quantities import count, format_bytes

if TYPE_CHECKING:
    from rpac_ci.garbage import Garbage, Kept


@cli.command()
@click.argument("remote", default="origin")
@QUIET
@JSON
def push(remote: str, quiet: bool, as_json: bool) -> int:
    """
    Send local runs to the inbox of REMOTE (default: origin), where a collector takes them.

    The exit code is 6 when the remote has another run of the same id; nothing is overwritten.
    """
    from rpac_ci import api, terminal

    with terminal.progress(quiet=quiet or as_json) as notify:
        pushed = api.push(remote, notify=notify)
    if as_json:
        print_json(dataclasses.asdict(pushed))
    else:
        waiting = f", {len(pushed.waiting)} waiting there" if pushed.waiting else ""
        click.echo(f"{count(len(pushed.sent), 'entry', 'entries')} sent{waiting}")
        _print_alarms(pushed.conflicts, f"{remote} has other content under this name")
        for name, why in pushed.unfit.items():
            click.echo(f"{name}: not sent: {'; '.join(why)}")
    return int(ExitCode.HISTORY if pushed.conflicts or pushed.unfit else ExitCode.OK)


@cli.command()
@click.argument("remote", default="origin")
@QUIET
@JSON
def collect(remote: str, quiet: bool, as_json: bool) -> int:
    """
    Take the inbox of REMOTE (default: origin) into its log; what a job in CI does.

    The exit code is 6 when two runs have one id: the first is kept, the other set aside.
    """
    from rpac_ci import api, terminal
    from rpac_ci.github.git_access import authenticate_in_job

    authenticate_in_job(os.environ)
    with terminal.progress(quiet=quiet or as_json) as notify:
        collected = api.collect(remote, notify=notify)
    if as_json:
        print_json(dataclasses.asdict(collected))
    else:
        click.echo(f"{count(len(collected.added), 'entry', 'entries')} added to the log")
        _print_alarms(collected.unverified, "not dispatched by the bot: origin unverified")
        _print_alarms(
            collected.conflicts, "other content under this name, kept in refs/rpac/conflict/"
        )
        for name, why in collected.quarantined.items():
            click.echo(f"{name}: set aside in refs/rpac/quarantine/: {'; '.join(why)}")
    return int(ExitCode.HISTORY if collected.conflicts else ExitCode.OK)


def _print_alarms(names: Iterable[str], what: str) -> None:
    for name in names:
        click.echo(f"{name}: {what}")


@cli.command()
@click.option("--outputs", is_flag=True, help="Also look for the outputs in the store.")
@QUIET
@JSON
def fsck(outputs: bool, quiet: bool, as_json: bool) -> int:
    """
    Check the log: each run's files, digests, code and verdict, and that nothing was ever changed.

    The exit code is 6 when something is wrong; warnings are told and do not count.
    """
    from rpac_ci import api, terminal

    with terminal.progress(quiet=quiet or as_json) as notify:
        checked = api.fsck(outputs=outputs, notify=notify)
    errors = [finding for finding in checked.findings if finding.severity == "error"]
    if as_json:
        fields = ("where", "what", "severity")
        findings = [{name: getattr(f, name) for name in fields} for f in checked.findings]
        print_json({"runs": checked.runs, "findings": findings})
    else:
        for finding in checked.findings:
            click.echo(f"{finding.severity}: {finding.where}: {finding.what}")
        told = f"{checked.runs} runs checked, {len(errors)} errors"
        click.echo(f"{told}, {len(checked.findings) - len(errors)} warnings")
    return int(ExitCode.HISTORY if errors else ExitCode.OK)


@cli.command()
@click.argument("cloud", required=False, type=click.Choice(["aws", "azure"]))
@click.option("--yes", "-y", is_flag=True, help="With a cloud: remove without asking.")
@click.option("--dry-run", is_flag=True, help="Only tell.")
@JSON
def gc(cloud: str | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """
    Remove from the store what no record, open run or study needs; outputs and logs stay.

    Without a cloud from the store of this machine. A cloud's store is shared: what would go is told
    and asked for, nobody has touched it for 30 days, and inputs of open runs stay, whoever drives
    them. `git fetch` first: runs that are not in the log here are kept.
    """
    from rpac_ci import api

    if cloud is None:
        found, kept = api.gc(dry_run=dry_run)
        _print_garbage(found, kept, done=not dry_run, as_json=as_json)
        return
    asked: list[bool] = []

    def agree(found: list[Garbage], kept: list[Kept]) -> bool:
        if not as_json:
            _print_garbage(found, kept, done=False, as_json=False)
        asked.append(bool(found) and (yes or agreed("Remove it?", ask=not as_json)))
        return asked[0]

    found, kept = api.gc(cloud=cloud, dry_run=dry_run, agree=agree)
    done = any(asked)
    if as_json or dry_run:
        _print_garbage(found, kept, done=done, as_json=as_json)
    elif done:
        click.echo(f"{count(len(found), 'object')}, {_size(found)}: removed")
    if found and not done and not dry_run and (as_json or not at_a_terminal()):
        again = f"rpac gc {cloud} --yes"
        raise PolicyError("nothing was removed, and nobody asked", hint=f"to do it: {again}")


def _print_garbage(found: list[Garbage], kept: list[Kept], *, done: bool, as_json: bool) -> None:
    """What goes or is gone, and what stays although nothing names it."""
    if as_json:
        print_json(
            {
                "removed": [{"key": g.key, "size": g.size, "why": g.why.value} for g in found],
                "kept": [{"run": k.run, "size": k.size} for k in kept],
                "dry_run": not done,
            }
        )
        return
    for why in sorted({item.why for item in found}):
        some = [item for item in found if item.why is why]
        click.echo(f"{count(len(some), 'object')}, {_size(some)}: {why}")
    for item in kept:
        click.echo(f"kept {item.run}, {format_bytes(item.size)}: not in the log and not open")
    click.echo(f"{_size(found)} {'freed' if done else 'could be freed'}")


def _size(items: list[Garbage]) -> str:
    return format_bytes(sum(item.size for item in items))


@cli.command()
@click.option("--dry-run", is_flag=True, help="Only tell.")
@JSON
def sweep(dry_run: bool, as_json: bool) -> None:
    """
    Find and remove what finished runs left behind; name the runs that are still open.

    On AWS also shapes (compute environments with their queues) that no run has used for a week.
    """
    from rpac_ci import api

    swept = api.sweep(dry_run=dry_run)
    if as_json:
        print_json([{"run": s.run, "what": s.what, "action": s.action} for s in swept])
        return
    for item in swept:
        click.echo(": ".join(filter(None, (item.run, item.what, item.action))))
    if not swept:
        click.echo("nothing is left over")
