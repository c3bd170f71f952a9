"""
What a person sees in a terminal: live phases, results, tables. Colours and live lines only where
standard error or output is a terminal; otherwise plain lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rpac_ci.quantities import format_duration
from rpac_ci.records import Agreement, RunRecord

if TYPE_CHECKING:
    from rpac_ci.conclude import Conclusion
    from rpac_ci.driver import Notify, Progress
    from rpac_ci.planning import Plan

_SAYS = {
    "stage": "code, environment and data",
    "provision": "machines",
    "submit": "nodes started",
    "watch": "running",
    "collect": "outputs and logs",
    "release": "everything given back",
}


def _colour(outcome: str) -> str:
    if outcome.startswith(("reproduced", "baseline", "compared")):
        return "green"
    return "red" if outcome == "not reproduced" else "yellow"


@contextmanager
def progress(*, quiet: bool) -> Iterator[Notify]:
    """A `notify` that shows the steps of a run on standard error while they happen."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with console.status("planning") as status:
            yield _Lines(console, lambda text: status.update(text)).take
    else:
        yield _Lines(console, lambda _: None).take


class _Lines:
    """One line for each finished step; the current one is given to `update`."""

    def __init__(self, console: Console, update: Callable[[str], None]) -> None:
        self._console = console
        self._update = update
        self._begun: dict[str, float] = {}

    def take(self, event: Progress) -> None:
        """Show one piece of progress."""
        says = _SAYS.get(event.step, event.step)
        begun = self._begun.setdefault(event.step, time.monotonic())
        match event.status:
            case "started" | "moving" | "note" | "waiting":
                detail = f": {event.detail}" if event.detail else ""
                self._update(f"[bold]{event.step}[/] {escape(says + detail)}")
                if event.status == "note":
                    self._print(f"  {event.step:<10}{event.detail}", "dim")
            case "done":
                took = format_duration(time.monotonic() - begun)
                detail = f" ({event.detail})" if event.detail else ""
                self._print(f"✓ {event.step:<10}{says}{detail}  {took}", "")
                self._begun.pop(event.step)
            case "failed":
                self._print(f"✗ {event.step:<10}{event.detail}", "red")
            case _:
                pass

    def _print(self, text: str, style: str) -> None:
        self._console.print(escape(text), style=style, soft_wrap=True)


def show_conclusion(conclusion: Conclusion) -> None:
    """The verdict, its checks, and where to read on."""
    console = Console(highlight=False)
    verdict, record = conclusion.verdict, conclusion.record
    required = [c for c in verdict.checks if c.required or c.agreement is Agreement.DIFFERENT]
    if required:
        table = Table(box=None, pad_edge=False)
        for name in ("check", "rule", "expected", "observed", ""):
            table.add_column(name)
        for check in required:
            good = check.agreement in (Agreement.IDENTICAL, Agreement.WITHIN_TOLERANCE)
            table.add_row(
                escape(check.name),
                check.rule,
                *(_value(value, check.unit) for value in (check.expected, check.observed)),
                f"[{'green' if good else 'red'}]{check.agreement}[/]",
            )
        console.print(table)
    if record.outcome.log_tail:
        console.print("the end of the log:", style="dim")
        console.print(escape(record.outcome.log_tail), soft_wrap=True)
    if record.outcome.hint:
        console.print(f"hint: {escape(record.outcome.hint)}")
    style = _colour(verdict.outcome)
    console.print(f"\n[bold {style}]{verdict.outcome}[/]: {escape(verdict.reason)}", soft_wrap=True)
    console.print(f"run     {conclusion.run}")
    if conclusion.branch_commit:
        console.print(f"report  {conclusion.folder}/report.md", soft_wrap=True)
        console.print(f"commit  {conclusion.branch_commit[:12]}, log {conclusion.log_commit[:12]}")
    else:
        console.print(f"report  rpac show {conclusion.run}", soft_wrap=True)
        console.print(f"log     {conclusion.log_commit[:12]}; branch: {escape(conclusion.remark)}")
    console.print(f"again   rpac reproduce {record.experiment}@{conclusion.run}", soft_wrap=True)


def _value(value: float | str | None, unit: str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):  # a hash
        return f"{value[:12]}…"
    return escape(f"{value} {unit}" if unit else str(value))


def show_plan(planned: Plan) -> None:
    """The pipeline in short, and what differs from the reference."""
    console = Console(highlight=False)
    pipeline, need = planned.pipeline, planned.pipeline.resources
    rows = [
        ("experiment", f"{pipeline.id}: {pipeline.title}"),
        ("pipeline", pipeline.digest),
        ("science", planned.science + (" (variant)" if planned.variant else "")),
        (
            "code",
            f"commit {(pipeline.source.commit or 'none')[:12]}, {pipeline.source.sha256[:19]}…",
        ),
        ("command", " ".join(pipeline.command)),
        ("engine", pipeline.engine.name.value),
        ("where", f"{pipeline.target.cloud}, runtime {pipeline.target.runtime}"),
        ("machines", f"{need.nodes} × {need.cpus} cpus, {need.memory} MiB, {need.gpus} gpus"),
        ("limits", f"{format_duration(pipeline.limits.time)}"),
        ("environment", _environment(planned)),
        *[(f"data {name}", f"{ref.uri} ({ref.level})") for name, ref in pipeline.data.items()],
        ("reference", planned.reference.kind.value + _reference_runs(planned)),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows:
        table.add_row(name, escape(value))
    console.print(table)
    changed = planned.reference.changed
    console.print("\nchanged against the reference:" if changed else "\nnothing changed")
    for key, (before, after) in sorted(changed.items()):
        console.print(f"  {escape(key)}: {escape(str(before))} → {escape(str(after))}")
    for remark in [*planned.remarks]:
        console.print(f"  {escape(remark)}")


def _environment(planned: Plan) -> str:
    environment = planned.pipeline.environment
    if environment.lock_sha256:
        return f"{environment.lock}, sha256 {environment.lock_sha256[:12]}…"
    return "none declared: whatever the machine has"


def _reference_runs(planned: Plan) -> str:
    return "".join(f" {run.run}" for run in planned.reference.runs)


def show_history(records: Sequence[RunRecord]) -> None:
    """One line for each run."""
    console = Console(highlight=False)
    if not records:
        console.print("no runs yet: rpac reproduce <experiment>")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "experiment", "cloud", "nodes", "verdict"):
        table.add_column(name, no_wrap=True)
    for record in records:
        outcome = record.verdict.outcome if record.verdict else record.outcome.status.value
        around = record.circumstances
        table.add_row(
            record.run, record.experiment, around.cloud, str(len(around.nodes)),
            f"[{_colour(outcome)}]{outcome}[/]",
        )  # fmt: skip
    console.print(table)


def show_report(report: str) -> None:
    """Rendered on a terminal, as it is elsewhere."""
    console = Console(highlight=False)
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(report))
    else:
        console.print(report, markup=False, soft_wrap=True)
