"""
The command line: one short function for each subcommand, all of them thin over `rpac_ci.api`.

Results go to standard output, progress and errors to standard error. Nothing heavy is imported
before a subcommand needs it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from rpac_ci import __version__
from rpac_ci.command_table import terminal_help
from rpac_ci.errors import ExitCode, ExperimentError, RpacError

if TYPE_CHECKING:
    from rpac_ci.conclude import Conclusion
    from rpac_ci.planning import Plan
    from rpac_ci.study_runs import StudyPlan

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
    click.echo(f"{prefix}{text}", err=True)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


@cli.command(help=terminal_help("reproduce"))
@click.argument("target", metavar="EXPERIMENT[@RUN]")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@DIRTY
@click.option(
    "--no-commit", is_flag=True, help="Leave the current branch alone; the log gets the run."
)
@QUIET
@JSON
def reproduce(
    target: str, overrides: tuple[str, ...], allow_dirty: bool, no_commit: bool,
    quiet: bool, as_json: bool,
) -> int:  # fmt: skip
    """One run, or a study when the words hold lists."""
    from rpac_ci import api, terminal

    study = api.plan_study(target, overrides, allow_dirty=allow_dirty)
    if study:
        return _study(study, commit=not no_commit, quiet=quiet, as_json=as_json)
    with terminal.progress(quiet=quiet or as_json) as notify:
        conclusion = api.reproduce(
            target,
            overrides,
            allow_dirty=allow_dirty,
            commit=not no_commit,
            notify=notify,
            via="cli",
        )
    if as_json:
        _print_json(_conclusion_json(conclusion))
    else:
        terminal.show_conclusion(conclusion)
    return conclusion.verdict.exit_code


def _study(planned: StudyPlan, *, commit: bool, quiet: bool, as_json: bool) -> int:
    from rpac_ci import api, terminal

    with terminal.progress(quiet=quiet or as_json) as notify:
        concluded = api.study(planned, commit=commit, notify=notify, via="cli")
    if as_json:
        _print_json(
            {
                "report": f"{concluded.folder}/study.md",
                "log_commit": concluded.log_commit,
                "branch_commit": concluded.branch_commit,
                "remark": concluded.remark,
                "study": concluded.record.to_json(),
            }
        )
    else:
        terminal.show_study(concluded)
    return concluded.record.exit_code


def _conclusion_json(conclusion: Conclusion) -> dict[str, Any]:
    return {
        "run": conclusion.run,
        "verdict": conclusion.verdict.to_json(),
        "report": f"{conclusion.folder}/report.md",
        "log_commit": conclusion.log_commit,
        "branch_commit": conclusion.branch_commit,
        "remark": conclusion.remark,
        "record": conclusion.record.to_json(),
    }


@cli.command(help=terminal_help("plan"))
@click.argument("target", metavar="EXPERIMENT[@RUN]")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@DIRTY
@JSON
def plan(target: str, overrides: tuple[str, ...], allow_dirty: bool, as_json: bool) -> None:
    """The plan of one run, or of every run of a study."""
    from rpac_ci import api, terminal

    study = api.plan_study(target, overrides, allow_dirty=allow_dirty)
    if study:
        if as_json:
            _print_json([{"changes": changes, **_plan_json(one)} for one, changes in study.members])
        else:
            terminal.show_study_plan(study)
        return
    planned = api.plan(target, overrides, allow_dirty=allow_dirty)
    if as_json:
        _print_json(_plan_json(planned))
    else:
        terminal.show_plan(planned)


def _plan_json(planned: Plan) -> dict[str, Any]:
    return {
        "target": str(planned.target),
        "pipeline_digest": planned.pipeline.digest,
        "science_digest": planned.science,
        "variant": planned.variant,
        "reference": planned.reference.to_json(),
        "remarks": planned.remarks,
        "pipeline": planned.pipeline.to_json(),
    }


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATH]...")
@JSON
def validate(paths: tuple[str, ...], as_json: bool) -> int:
    """Check experiments and print every problem as file:line:column."""
    from rpac_ci import api

    problems = api.validate(paths)
    if as_json:
        fields = ("file", "line", "column", "what", "right")
        _print_json([{name: getattr(problem, name) for name in fields} for problem in problems])
    else:
        for problem in problems:
            click.echo(str(problem))
        if not problems:
            click.echo("no problems")
    return int(ExitCode.INVALID_INPUT if problems else ExitCode.OK)


@cli.command()
@click.argument("experiment", metavar="ID")
@click.option("--title", default="", help="One line that says what it shows.")
@JSON
def new(experiment: str, title: str, as_json: bool) -> None:
    """Start an experiment that runs as it is."""
    from rpac_ci import scaffold

    paths = scaffold.new(experiment, title=title)
    if as_json:
        _print_json([str(path) for path in paths])
        return
    click.echo("\n".join(map(str, paths)))
    click.echo(f"\nnext: git add {paths[0].parent} && git commit -m 'Add {experiment}'")
    click.echo(f"      rpac reproduce {experiment}")


@cli.command(help=terminal_help("history"))
@click.argument("words", nargs=-1, metavar="[EXPERIMENT] [FILTER]...")
@click.option("-n", "last", type=click.IntRange(min=1), default=20, show_default=True)
@click.option(
    "--ref", "refs", multiple=True, metavar="REF",
    help="Only runs of this branch, such as origin/rpac/log; may be repeated.",
)  # fmt: skip
@JSON
def history(words: tuple[str, ...], last: int, refs: tuple[str, ...], as_json: bool) -> None:
    """A table of runs; filters come behind the experiment, or alone."""
    from datetime import UTC, datetime
    from pathlib import Path

    from rpac_ci import past_runs
    from rpac_ci.filters import is_filter, parse_filters
    from rpac_ci.git import Git
    from rpac_ci.history_table import history_table

    # not through the API, which imports what only runs need: a list is to be there at once
    experiment = words[0] if words and not is_filter(words[0]) else None
    filters = parse_filters(words[1:] if experiment else words, datetime.now(UTC))
    runs = past_runs.find(Git.discover(Path()), experiment, filters, last=last, refs=refs)
    if as_json:
        _print_json([run.to_json() for run in runs])
    else:
        click.echo(history_table(runs, filters), color=False if "NO_COLOR" in os.environ else None)


@cli.command(help=terminal_help("compare"))
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@JSON
def compare(first: str, second: str, as_json: bool) -> None:
    """Two runs by their ids, or parts of them."""
    from rpac_ci import api, terminal

    found = api.compare(first, second)
    if as_json:
        _print_json(found.to_json())
    else:
        terminal.show_comparison(found)


@cli.command()
@click.argument("run", metavar="RUN")
@JSON
def show(run: str, as_json: bool) -> None:
    """Show the report of a run or a study."""
    from rpac_ci import api, terminal

    record, report = api.show(run)
    if as_json:
        _print_json(record.to_json())
    else:
        terminal.show_report(report)


@cli.command()
@click.argument("run", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is over.")
@click.option("--node", default=0, show_default=True, help="Index of the node.")
@click.option(
    "--role", default="command", show_default=True, help="command, node, scheduler, worker."
)
def logs(run: str, follow: bool, node: int, role: str) -> None:
    """Print the log of a run."""
    from rpac_ci import api

    for text in api.logs(run, node=node, role=role, follow=follow):
        click.echo(text, nl=False)


@cli.command()
@click.argument("run", metavar="RUN")
@click.argument("destination", required=False, type=click.Path(file_okay=False))
@JSON
def fetch(run: str, destination: str | None, as_json: bool) -> None:
    """Copy the outputs of a run into a folder (default: ./RUN), every byte checked."""
    from rpac_ci import api

    paths = [str(path) for path in api.fetch(run, destination)]
    _print_json(paths) if as_json else click.echo("\n".join(paths))


@cli.command(help=terminal_help("accept"))
@click.argument("run", metavar="RUN")
@click.option("--no-commit", is_flag=True, help="Leave the current branch alone.")
@JSON
def accept(run: str, no_commit: bool, as_json: bool) -> None:
    """One run, or each of a study."""
    from rpac_ci import api

    accepted = api.accept(run, commit=not no_commit)
    if as_json:
        names = ("run", "path", "branch_commit", "remark")
        _print_json([{name: getattr(one, name) for name in names} for one in accepted])
        return
    for one in accepted:
        click.echo(f"accepted {one.run}: {one.path}")
    if accepted[0].remark:
        click.echo(f"in the log only: {accepted[0].remark}")


@cli.command()
@click.argument("run", required=False)
@click.option("--all", "every", is_flag=True, help="Every open run.")
@QUIET
@JSON
def advance(run: str | None, every: bool, quiet: bool, as_json: bool) -> int:
    """
    Go on with a run whose driver is gone, to its end.

    The exit code is that of the run's verdict; with --all it says only whether every run could be
    taken to its end (5 when one stays open).
    """
    from rpac_ci import api, terminal

    if bool(run) == every:
        raise click.UsageError("name one run, or give --all")
    with terminal.progress(quiet=quiet or as_json) as notify:
        advanced = api.advance(run, notify=notify)
    if as_json:
        _print_json([{"run": item.run, "status": item.status} for item in advanced])
    for item in [] if as_json else advanced:
        click.echo(f"{item.run}: {item.status}")
    if not advanced and not as_json:
        click.echo("no open runs")
    if any(item.error for item in advanced):
        return int(ExitCode.COULD_NOT_RUN)
    return advanced[0].exit_code if run else 0


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
    from rpac_ci.quantities import count

    with terminal.progress(quiet=quiet or as_json) as notify:
        pushed = api.push(remote, notify=notify)
    if as_json:
        _print_json(dataclasses.asdict(pushed))
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
    from rpac_ci.quantities import count

    with terminal.progress(quiet=quiet or as_json) as notify:
        collected = api.collect(remote, notify=notify)
    if as_json:
        _print_json(dataclasses.asdict(collected))
    else:
        click.echo(f"{count(len(collected.added), 'entry', 'entries')} added to the log")
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
        _print_json({"runs": checked.runs, "findings": findings})
    else:
        for finding in checked.findings:
            click.echo(f"{finding.severity}: {finding.where}: {finding.what}")
        told = f"{checked.runs} runs checked, {len(errors)} errors"
        click.echo(f"{told}, {len(checked.findings) - len(errors)} warnings")
    return int(ExitCode.HISTORY if errors else ExitCode.OK)


@cli.command()
@click.option("--dry-run", is_flag=True, help="Only tell.")
@JSON
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove from the store what no record, open run or study needs; outputs and logs stay."""
    from rpac_ci import api
    from rpac_ci.quantities import count, format_bytes

    found, kept = api.gc(dry_run=dry_run)
    if as_json:
        _print_json(
            {
                "removed": [{"key": g.key, "size": g.size, "why": g.why.value} for g in found],
                "kept": [{"run": k.run, "size": k.size} for k in kept],
                "dry_run": dry_run,
            }
        )
        return
    for why in sorted({item.why for item in found}):
        sizes = [item.size for item in found if item.why is why]
        click.echo(f"{count(len(sizes), 'object')}, {format_bytes(sum(sizes))}: {why}")
    for item in kept:
        click.echo(f"kept {item.run}, {format_bytes(item.size)}: not in the log and not open")
    freed = format_bytes(sum(item.size for item in found))
    click.echo(f"{freed} {'could be freed' if dry_run else 'freed'}")


@cli.command()
@click.option("--dry-run", is_flag=True, help="Only tell.")
@JSON
def sweep(dry_run: bool, as_json: bool) -> None:
    """Find and remove what finished runs left behind; name the runs that are still open."""
    from rpac_ci import api

    swept = api.sweep(dry_run=dry_run)
    if as_json:
        _print_json([{"run": s.run, "what": s.what, "action": s.action} for s in swept])
        return
    for item in swept:
        click.echo(f"{item.run}: {item.what}: {item.action}")
    if not swept:
        click.echo("nothing is left over")
