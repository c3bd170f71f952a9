"""Subcommands about runs that are over: list, show, compare, fetch, accept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from rpac_ci.cli.group import JSON, cli, print_json
from rpac_ci.command_table import terminal_help

if TYPE_CHECKING:
    pass


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
        print_json([run.to_json() for run in runs])
    else:
        click.echo(history_table(runs, filters), color=False if "NO_COLOR" in os.environ else None)


@cli.command(help=terminal_help("compare"))
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@click.argument("words", nargs=-1, metavar="[unfair=true]")
@JSON
def compare(first: str, second: str, words: tuple[str, ...], as_json: bool) -> None:
    """Two runs by their ids, or parts of them."""
    from rpac_ci import api, terminal
    from rpac_ci.commands import Compare, parse_words

    asked = parse_words(("compare", first, second, *words))
    assert isinstance(asked, Compare)
    found = api.compare(first, second, unfair=bool(asked.unfair))
    if as_json:
        print_json(found.to_json())
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
        print_json(record.to_json())
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
    print_json(paths) if as_json else click.echo("\n".join(paths))


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
        print_json([{name: getattr(one, name) for name in names} for one in accepted])
        return
    for one in accepted:
        click.echo(f"accepted {one.run}: {one.path}")
    if accepted[0].remark:
        click.echo(f"in the log only: {accepted[0].remark}")
