"""`rpac bot`: the jobs of a workflow, each a thin call of the module that does it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rpac_ci.cli.group import cli
from rpac_ci.errors import ExitCode, RpacError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from rpac_ci.bot import Context, Handled
    from rpac_ci.bot.cloud_jobs import Looked
    from rpac_ci.bot.finish import Finished
    from rpac_ci.bot.jobs import Going
    from rpac_ci.github.actions import Host
    from rpac_ci.workspace import Workspace


@cli.group(invoke_without_command=True)
@click.option(
    "--event", "event", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
    help="The event's JSON; by default what GITHUB_EVENT_PATH names.",
)  # fmt: skip
@click.option("--name", default=None, help="Kind of the event, such as issue_comment.")
@click.option("--dry-run", is_flag=True, help="Show what would be decided, without any network.")
@click.option(
    "--role", default="write", show_default=True, help="Assumed role of the person in a dry run."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.pass_context
def bot(
    ctx: click.Context, event: str | None, name: str | None, dry_run: bool, role: str, as_json: bool
) -> int:
    """
    Handle an event of GitHub; what a workflow's first job does.

    Reads the variables that GitHub Actions sets. Exit codes: 0 handled, also where there was
    nothing to do; 2 invalid experiments; 4 refused; 5 GitHub does not answer; 6 a git error.
    """
    if ctx.invoked_subcommand:
        return 0
    if dry_run:
        return _dry_run(event, name, role, as_json=as_json)
    from rpac_ci import bot as bots

    host = _host(event, name)
    handled = bots.handle(host, Path())
    bots.write_outputs(host, handled.sent, handled.clouds)
    _show(handled, as_json=as_json)
    return handled.exit_code


def _host(event: str | None = None, name: str | None = None) -> Host:
    """The job, and git able to speak to its server."""
    from rpac_ci.github.actions import Host

    environ = dict(os.environ)
    if event:
        environ["GITHUB_EVENT_PATH"] = event
    if name:
        environ["GITHUB_EVENT_NAME"] = name
    host = Host.read(environ)
    from rpac_ci.github.git_access import authenticate

    authenticate(os.environ, host)
    return host


def _show(handled: Handled, *, as_json: bool) -> None:
    from rpac_ci.github.actions import neutral_log

    if as_json:
        value = {
            "code": handled.code, "codes": handled.codes, "message": handled.message,
            "runs": [one.to_json() for one in handled.sent],
        }  # fmt: skip
        click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
        return
    said = f"{handled.code}: {handled.message}" if handled.message else handled.code
    # a runner obeys certain lines of a job's log
    click.echo(neutral_log(said) if os.environ.get("GITHUB_ACTIONS") == "true" else said)
    for one in handled.sent:
        click.echo(f"{one.run}: {one.name}, at most {one.minutes} min")


def _dry_run(event: str | None, name: str | None, role: str, *, as_json: bool) -> int:
    from rpac_ci.bot import dry_run as bot_dry_run

    environ = os.environ
    path = event or environ.get("GITHUB_EVENT_PATH")
    if not path:
        raise click.UsageError("name the event's file: --event FILE")
    kind = name or environ.get("GITHUB_EVENT_NAME") or "issue_comment"
    handled = bot_dry_run.dry_run(Path(path), kind, role=role)
    _show(handled, as_json=as_json)
    return handled.exit_code


def _context(host: Host) -> Context:
    from datetime import UTC, datetime

    from rpac_ci.bot import Context
    from rpac_ci.git import Git
    from rpac_ci.github.client import GitHub
    from rpac_ci.workspace import Workspace

    return Context(
        host=host,
        workspace=Workspace.at(Git.discover(Path())),
        github=GitHub(host.api_url, host.token, host.repository),
        now=datetime.now(UTC),
        repository=int(os.environ.get("GITHUB_REPOSITORY_ID") or 0),
        default_branch="",
    )


@bot.command()
@click.argument("run", metavar="RUN")
def fetch(run: str) -> None:
    """Bring a dispatched run's code here, so that `bot run` needs no token."""
    from rpac_ci.bot import jobs as bot_jobs
    from rpac_ci.git import Git
    from rpac_ci.workspace import Workspace

    _host()
    there = bot_jobs.fetch(Workspace.at(Git.discover(Path())), run)
    click.echo(f"{run}: fetched to {there.root}")


@bot.command()
@click.argument("run", metavar="RUN")
@click.option("--out", type=click.Path(file_okay=False), required=True, help="Folder for results.")
def run(run: str, out: str) -> None:
    """
    Run what was fetched, and write what came out to a folder; the verdict comes later.

    An interrupt cancels the run: everything is released, and what there is, is handed over.
    """
    from rpac_ci import terminal
    from rpac_ci.bot import jobs as bot_jobs
    from rpac_ci.git import Git
    from rpac_ci.workspace import Workspace

    workspace = Workspace.at(Git.discover(Path()))
    with terminal.progress(quiet=False) as notify:
        bot_jobs.run(workspace, run, Path(out), notify)
    click.echo(f"{run}: results in {out}")


@bot.command()
@click.argument("run", metavar="RUN")
@click.option("--out", type=click.Path(file_okay=False), required=True, help="Folder for results.")
def submit(run: str, out: str) -> None:
    """
    Bring a dispatched run on its way on its cloud, write how far it is to a folder, and leave.

    An interrupt cancels the run: everything is released, and what there is, is handed over.
    """
    from rpac_ci import terminal
    from rpac_ci.bot import cloud_jobs

    workspace = _settled(_host())
    with terminal.progress(quiet=False) as notify:
        looked = cloud_jobs.submit(workspace, run, Path(out), enter=_signed_in, notify=notify)
    _said([looked])


@bot.command("look-after")
@click.argument("cloud", metavar="CLOUD")
@click.option("--out", type=click.Path(file_okay=False), required=True, help="Folder for results.")
def look_after(cloud: str, out: str) -> int:
    """
    Go on with all runs that were sent to a cloud, and remove what is left of others there.

    Writes how far each run is to a folder of its own; nobody waits for nodes. Exit code 5: a run
    could not be gone on with, and the next look tries again.
    """
    from datetime import UTC, datetime

    from rpac_ci.bot import cloud_jobs

    workspace = _settled(_host())
    with _signed_in(cloud):
        looked = cloud_jobs.look_after(workspace, cloud, Path(out), datetime.now(UTC))
    _said(looked)
    return int(ExitCode.COULD_NOT_RUN if any(one.problem for one in looked) else ExitCode.OK)


def _settled(host: Host) -> Workspace:
    """The checkout of the default branch, with its settings."""
    from rpac_ci.git import Git
    from rpac_ci.site_config import read_site
    from rpac_ci.workspace import Workspace

    git = Git.discover(Path())
    return Workspace.at(git, read_site(git, git.resolve(host.sha or "HEAD") or "HEAD"))


def _signed_in(cloud: str) -> AbstractContextManager[None]:
    from rpac_ci.bot.sign_in import signed_in

    return signed_in(cloud, os.environ)


def _said(looked: Sequence[Looked]) -> None:
    from rpac_ci.github.actions import neutral_log

    for one in looked:
        click.echo(neutral_log(": ".join(filter(None, (one.run, one.status, one.problem)))))
    if not looked:
        click.echo("no runs are under way, and nothing is left over")


@bot.command()
@click.argument("run", metavar="[RUN]", required=False)
@click.option(
    "--results", type=click.Path(file_okay=False),
    help="Folder that the run's job wrote; without RUN, one with a folder for each run.",
)  # fmt: skip
@click.option("--job", default="", help="How the run's job ended: success, failure, cancelled.")
@click.option("--comment", type=int, help="Id of the comment that follows the run.")
@click.option("--check", type=int, help="Id of the check run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def conclude(
    run: str | None, results: str | None, job: str, comment: int | None, check: int | None,
    as_json: bool,
) -> int:  # fmt: skip
    """
    Judge what a run's job left, commit it, and tell it; of a run that goes on, tell how far it is.

    The exit code is that of the verdict only where the run could not be recorded or could not run:
    a result that is not reproduced is told by its check, not by a failed job.
    """
    from rpac_ci.bot import finish as bot_finish

    host = _host()
    push_token = os.environ.get("RPAC_PUSH_TOKEN", "").strip()
    if push_token:
        from rpac_ci.github.git_access import authenticate

        authenticate(os.environ, host, push_token)
    folder = Path(results) if results and Path(results).is_dir() else None
    starts = bool(push_token)
    if run is None:
        done = bot_finish.finish_all(_context(host), folder, starts_checks=starts) if folder else {}
        return max(
            [_concluded(name, one, as_json=as_json) for name, one in done.items()], default=0
        )
    finished = bot_finish.finish(
        _context(host), run, folder, cancelled=job == "cancelled", comment=comment, check=check,
        starts_checks=starts,
    )  # fmt: skip
    return _concluded(run, finished, as_json=as_json)


def _concluded(run: str, done: Finished | Going | RpacError, *, as_json: bool) -> int:
    """Print what became of a run; returns the exit code of the job."""
    from rpac_ci.bot.jobs import Going
    from rpac_ci.github.actions import neutral_log

    code = 0
    if isinstance(done, RpacError):
        value: dict[str, Any] = {"run": run, "error": done.message}
        line, code = done.message, int(done.exit_code)
    elif isinstance(done, Going):
        value = {"run": run, "phase": done.phase, "problem": done.problem}
        line = ": ".join(filter(None, (done.phase, done.problem)))
    else:
        verdict = done.record.verdict
        assert verdict is not None
        value = {
            "run": run, "verdict": verdict.to_json(), "log_commit": done.log_commit,
            "branch_commit": done.branch_commit, "remark": done.remark,
        }  # fmt: skip
        line = f"{verdict.outcome}: {verdict.reason}"
        code = verdict.exit_code if verdict.exit_code == ExitCode.COULD_NOT_RUN else 0
    if as_json:
        click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        click.echo(neutral_log(f"{run}: {line}"))
    return code


@bot.command()
@click.argument("run", metavar="RUN")
@click.option("--comment", type=int, help="Id of the comment that follows the run.")
@click.option("--job", required=True, help="Name of the job that is followed.")
@click.option("--every", default=20.0, show_default=True, help="Seconds between two looks.")
def follow(run: str, comment: int | None, job: str, every: float) -> None:
    """Keep the comment about a run up to date until its job is over."""
    from rpac_ci.bot import follow as bot_follow

    host = _host()
    if comment is None:
        click.echo("there is no comment to keep up to date")
        return
    try:
        bot_follow.follow(_context(host), run, comment, job, every_s=every)
    except RpacError as exc:  # the run itself does not depend on this
        _context(host).warn(f"the comment about {run} is not kept up to date: {exc.message}")
