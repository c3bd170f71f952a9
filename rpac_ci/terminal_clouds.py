"""What a person sees in a terminal of the clouds: the service mapping, plans side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from rpac_ci.catalog.mapping import CLOUDS
from rpac_ci.terminal import print_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpac_ci.catalog.mapping import Row, ServiceMapping


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
