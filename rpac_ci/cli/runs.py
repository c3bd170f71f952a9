"""Subcommands that make runs: plan, reproduce, go on with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rpac_ci.cli.group import DIRTY, JSON, QUIET, cli, print_json
from rpac_ci.command_table import terminal_help
from rpac_ci.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from rpac_ci.api.runs import Submitted
    from rpac_ci.conclude import Conclusion
    from rpac_ci.planning import Plan
    from rpac_ci.study_runs import StudyPlan


@cli.command(help=terminal_help("reproduce"))
@click.argument("target", metavar="EXPERIMENT[@RUN]")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@DIRTY
@click.option(
    "--no-commit", is_flag=True, help="Leave the current branch alone; the log gets the run."
)
@click.option(
    "--detach", is_flag=True, help="Leave once the nodes are on their way; rpac advance goes on."
)
@QUIET
@JSON
def reproduce(
    target: str, overrides: tuple[str, ...], allow_dirty: bool, no_commit: bool, detach: bool,
    quiet: bool, as_json: bool,
) -> int:  # fmt: skip
    """One run, or a study when the words hold lists."""
    from rpac_ci import api, terminal

    study = api.plan_study(target, overrides, allow_dirty=allow_dirty)
    if study and detach:
        raise CommandError(
            "a study is watched until all its runs are over", hint="leave out --detach"
        )
    if study:
        return _study(study, commit=not no_commit, quiet=quiet, as_json=as_json)
    if detach:
        with terminal.progress(quiet=quiet or as_json) as notify:
            submitted = api.submit(
                target, overrides, allow_dirty=allow_dirty, commit=not no_commit, notify=notify,
                via="cli",
            )  # fmt: skip
        return _submitted(submitted, as_json=as_json)
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
        print_json(_conclusion_json(conclusion))
    else:
        terminal.show_conclusion(conclusion)
    return conclusion.verdict.exit_code


def _submitted(submitted: Submitted, *, as_json: bool) -> int:
    """What became of a run that is left; its end, where there is nothing to leave."""
    from rpac_ci import terminal

    ended = submitted.conclusion
    if as_json:
        print_json(
            _conclusion_json(ended)
            if ended
            else {"run": submitted.run, "cloud": submitted.cloud, "detached": True}
        )
    elif ended:
        terminal.show_conclusion(ended)
    else:
        click.echo(f"{submitted.run} goes on by itself; judged and recorded by:")
        click.echo(f"  rpac advance {submitted.run}")
    return ended.verdict.exit_code if ended else int(ExitCode.OK)


def _study(planned: StudyPlan, *, commit: bool, quiet: bool, as_json: bool) -> int:
    from rpac_ci import api, terminal

    with terminal.progress(quiet=quiet or as_json) as notify:
        concluded = api.study(planned, commit=commit, notify=notify, via="cli")
    if as_json:
        print_json(
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
    """The plan of one run, of every run of a study, or of one run on several clouds."""
    from rpac_ci import api, terminal

    if beside := api.plan_clouds(target, overrides, allow_dirty=allow_dirty):
        if as_json:
            print_json(beside.to_json(_plan_json))
        else:
            from rpac_ci.terminal_clouds import show_side_by_side

            show_side_by_side(beside)
        return
    study = api.plan_study(target, overrides, allow_dirty=allow_dirty)
    if study:
        if as_json:
            print_json([{"changes": changes, **_plan_json(one)} for one, changes in study.members])
        else:
            terminal.show_study_plan(study)
        return
    planned = api.plan(target, overrides, allow_dirty=allow_dirty)
    if as_json:
        print_json(_plan_json(planned))
    else:
        terminal.show_plan(planned)


def _plan_json(planned: Plan) -> dict[str, Any]:
    change = planned.pipeline.lineage.machine
    return {
        "target": str(planned.target),
        "pipeline_digest": planned.pipeline.digest,
        "science_digest": planned.science,
        "variant": planned.variant,
        "machine_change": change.to_json() if change else None,
        "price_usd": planned.price,
        "transfers": [transfer.to_json() for transfer in planned.transfers],
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
        print_json([{name: getattr(problem, name) for name in fields} for problem in problems])
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
        print_json([str(path) for path in paths])
        return
    click.echo("\n".join(map(str, paths)))
    click.echo(f"\nnext: git add {paths[0].parent} && git commit -m 'Add {experiment}'")
    click.echo(f"      rpac reproduce {experiment}")


@cli.command()
@click.argument("run", required=False)
@click.option("--all", "every", is_flag=True, help="Every open run.")
@click.option("--wait", is_flag=True, help="Also wait for another driver that is at it.")
@QUIET
@JSON
def advance(run: str | None, every: bool, wait: bool, quiet: bool, as_json: bool) -> int:
    """
    Go on with a run whose driver is gone, to its end.

    The exit code is that of the run's verdict; with --all it says only whether every run could be
    taken to its end (5 when one stays open).
    """
    from rpac_ci import api, terminal

    if bool(run) == every:
        raise click.UsageError("name one run, or give --all")
    with terminal.progress(quiet=quiet or as_json) as notify:
        advanced = api.advance(run, wait=wait, notify=notify)
    if as_json:
        print_json([{"run": item.run, "status": item.status} for item in advanced])
    for item in [] if as_json else advanced:
        click.echo(f"{item.run}: {item.status}")
    if not advanced and not as_json:
        click.echo("no open runs")
    if any(item.error for item in advanced):
        return int(ExitCode.COULD_NOT_RUN)
    return advanced[0].exit_code if run else 0


@cli.command(help=terminal_help("status"))
@click.argument("run", required=False, metavar="[RUN]")
@JSON
def status(run: str | None, as_json: bool) -> None:
    """Open runs of this repository's store."""
    from rpac_ci import api

    found = api.status(run)
    if as_json:
        print_json([one.to_json() for one in found])
        return
    for one in found:
        click.echo(f"{one.run}  since {one.started}: {one.doing}")
    if not found:
        click.echo("no open runs")


@cli.command(help=terminal_help("cancel"))
@click.argument("run", metavar="RUN")
@JSON
def cancel(run: str, as_json: bool) -> None:
    """An open run of this repository's store."""
    from rpac_ci import api

    found = api.cancel(run)
    if as_json:
        print_json({"run": found})
    else:
        click.echo(f"{found} is told to stop; without a driver, rpac advance {found} ends it")
