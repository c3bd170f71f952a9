"""Past runs as a table for people: one line a run, with a column for what was filtered by."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import click

from rpac_ci.filters import Filter
from rpac_ci.past_runs import PastRun
from rpac_ci.quantities import format_duration, format_usd

_SHOWN = ("cloud", "nodes", "verdict")  # keys that have a column anyway
_STARTED = ("since", "until")


def history_table(runs: Sequence[PastRun], filters: Sequence[Filter] = ()) -> str:
    """
    One line for each run, in colours; columns as wide as they must be.

    Args:
        runs: newest first.
        filters: what was asked; their keys become columns, each once.
    """
    if not runs:
        return "no run matches" if filters else "no runs yet: rpac reproduce <experiment>"
    asked = {_title(item.key): item for item in filters if item.key not in _SHOWN}
    header = ["run", "experiment", "cloud", "nodes", *asked, "verdict"]
    rows = [_cells(run, list(asked.values())) for run in runs]
    widths = [max(map(_width, column)) for column in zip(header, *rows, strict=True)]
    lines = [click.style(_line(header, widths), bold=True)]
    for run, row in zip(runs, rows, strict=True):
        row[-1] = click.style(row[-1], fg=_colour(run))
        lines.append(_line(row, widths))
    return "\n".join(lines)


def _title(key: str) -> str:
    return "started" if key in _STARTED else key


def _cells(run: PastRun, asked: Sequence[Filter]) -> list[str]:
    nodes = "–" if run.nodes is None else str(run.nodes)
    shown = [_shown(item, run) for item in asked]
    verdict = "; ".join(filter(None, [run.outcome, run.problem]))
    return [run.run, run.experiment, run.cloud or "–", nodes, *shown, verdict]


def _shown(item: Filter, run: PastRun) -> str:
    family, _, name = item.key.partition(".")
    value: Any = run.started if item.key in _STARTED else item.value(run)
    if value is None:
        return "–"
    match family:
        case "metric":
            return _metric(run.metrics[name])
        case "duration":
            return format_duration(value)
        case "cost":
            return format_usd(value)
        case "commit" | "data":
            return str(value)[:12]
        case _:
            return str(value).lower() if isinstance(value, bool) else str(value)


def _metric(metric: Mapping[str, Any]) -> str:
    value, unit, values = metric["value"], metric.get("unit"), metric.get("values")
    number = str(value) if isinstance(value, int) else f"{value:.10g}"
    several = f"(mean of {len(values)})" if values else ""
    return " ".join(filter(None, [number, unit, several]))


def _colour(run: PastRun) -> str:
    outcome = run.outcome or ""
    if run.problem:
        return "yellow"
    if outcome.startswith(("reproduced", "baseline", "compared")):
        return "green"
    return "red" if outcome == "not reproduced" else "yellow"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell + " " * (width - _width(cell)) for cell, width in zip(cells[:-1], widths, strict=False)
    ]
    return "  ".join([*padded, cells[-1]])


def _width(text: str) -> int:
    """Columns of a terminal; East Asian letters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
