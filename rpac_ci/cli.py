"""
The command line: one short function for each subcommand, all of them thin over `rpac_ci.api`.

Results go to standard output, progress and errors to standard error. Nothing heavy is imported
before a subcommand needs it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from rpac_ci import __version__
from rpac_ci.errors import ExitCode, ExperimentError, RpacError

if TYPE_CHECKING:
    from rpac_ci.conclude import Conclusion

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


@cli.command()
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
    """
    Run an experiment, or a past run exactly, and judge the result.

    KEY=VALUE puts changes on top: cloud runtime nodes cpus memory gpus seed time cost args.NAME
    data.NAME.
    """
    from rpac_ci import api, terminal

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


@cli.command()
@click.argument("target", metavar="EXPERIMENT[@RUN]")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@DIRTY
@JSON
def plan(target: str, overrides: tuple[str, ...], allow_dirty: bool, as_json: bool) -> None:
    """Show what `reproduce` would do and what differs from the reference, without doing it."""
    from rpac_ci import api, terminal

    planned = api.plan(target, overrides, allow_dirty=allow_dirty)
    if as_json:
        _print_json(
            {
                "target": str(planned.target),
                "pipeline_digest": planned.pipeline.digest,
                "science_digest": planned.science,
                "variant": planned.variant,
                "reference": planned.reference.to_json(),
                "remarks": planned.remarks,
                "pipeline": planned.pipeline.to_json(),
            }
        )
    else:
        terminal.show_plan(planned)


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


@cli.command()
@click.argument("experiment", required=False)
@click.option("-n", "last", type=click.IntRange(min=1), default=20, show_default=True)
@JSON
def history(experiment: str | None, last: int, as_json: bool) -> None:
    """List past runs, newest first."""
    from rpac_ci import api, terminal

    records = api.history(experiment, last=last)
    if as_json:
        _print_json([record.to_json() for record in records])
    else:
        terminal.show_history(records)


@cli.command()
@click.argument("run", metavar="RUN")
@JSON
def show(run: str, as_json: bool) -> None:
    """Show the report of a run."""
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


@cli.command()
@click.argument("run", metavar="RUN")
@click.option("--no-commit", is_flag=True, help="Leave the current branch alone.")
@JSON
def accept(run: str, no_commit: bool, as_json: bool) -> None:
    """Accept a run as a reference for later ones."""
    from rpac_ci import api

    accepted = api.accept(run, commit=not no_commit)
    if as_json:
        names = ("run", "path", "branch_commit", "remark")
        _print_json({name: getattr(accepted, name) for name in names})
        return
    click.echo(f"accepted {accepted.run}: {accepted.path}")
    if accepted.remark:
        click.echo(f"in the log only: {accepted.remark}")


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
