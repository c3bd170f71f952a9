"""What a person sees in a terminal of the clouds: the service mapping, plans side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from rpac_ci.catalog.mapping import CLOUDS
from rpac_ci.performance import fidelity
from rpac_ci.terminal import print_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpac_ci.catalog.mapping import Row, ServiceMapping
    from rpac_ci.performance import PerformanceComparison
    from rpac_ci.side_by_side import SideBySide


def show_mapping(known: ServiceMapping) -> None:
    """Concerns and needs, one line each, then why some of them have no answer on a cloud."""
    console = Console(highlight=False)
    for title, rows in (("concern", known.concerns), ("need", known.needs)):
        cells = [
            (escape(name), *(escape(row.on(cloud).by or "none") for cloud in CLOUDS))
            for name, row in rows.items()
        ]
        print_columns(console, (title, *CLOUDS), cells)
        console.print()
    for name, row in {**known.concerns, **known.needs}.items():
        _print_notes(console, name, row)
    console.print(
        f"as of {known.date}; --json has the source of every answer", style="dim", soft_wrap=True
    )


def _print_notes(console: Console, name: str, row: Row) -> None:
    notes: Mapping[str, str] = {
        cloud: f"none, {cell.none}" if cell.none else cell.how or ""
        for cloud in CLOUDS
        for cell in [row.on(cloud)]
    }
    console.print(f"{escape(name)}: {escape(row.what)}", soft_wrap=True)
    for cloud, note in notes.items():
        if note:
            console.print(f"  {cloud}: {escape(note)}", soft_wrap=True)


def show_side_by_side(beside: SideBySide) -> None:
    """Plans for several clouds, a column each, and why some have none."""
    console = Console(highlight=False)
    cells = [tuple(map(escape, row)) for row in beside.rows]
    print_columns(console, ("", *map(escape, beside.header)), cells)
    for note in beside.notes:
        console.print(escape(note), soft_wrap=True)


def show_performance(found: PerformanceComparison, runs: tuple[str, str]) -> None:
    """Times and costs of two runs, the grade of their machines, and which ratios are fair."""
    console = Console(highlight=False)
    console.print()
    rows = [tuple(map(escape, line.cells)) for line in found.lines]
    print_columns(console, ("time and cost", "first", "second", "ratio"), rows)
    console.print(escape(fidelity(found)), soft_wrap=True)
    for note in found.notes:
        console.print(escape(note), soft_wrap=True)
    if found.unfair_cost and not found.anyway:
        console.print(f"all the same: rpac compare {' '.join(runs)} unfair=true", soft_wrap=True)
    for which, price in zip(("first", "second"), found.prices, strict=True):
        console.print(f"price of the {which}: {escape(price)}", soft_wrap=True)
