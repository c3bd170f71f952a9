"""
What a person sees in a terminal: live phases, results, tables. Colours and live lines only where
standard error or output is a terminal; otherwise plain lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape, render

from rpac_ci.quantities import count, format_bytes, format_duration, format_value
from rpac_ci.records import Agreement, Check, ReferenceKind, RunRecord

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
    shown = [c for c in verdict.checks if c.required or c.agreement is Agreement.DIFFERENT]
    _print_columns(
        console,
        ("check", "rule", "expected", "observed", ""),
        map(_check_row, shown or verdict.checks),
    )
    metrics = record.outcome.metrics
    if not verdict.checks:
        rows = [
            (name, escape(format_value(metrics[name].value, metrics[name].unit)))
            for name in sorted(metrics)
        ]
        _print_columns(console, ("metric", "value"), rows)
    if record.outcome.metrics_problem and not record.outcome.log_tail:
        console.print(escape(record.outcome.metrics_problem), style="yellow", soft_wrap=True)
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


def _check_row(check: Check) -> tuple[str, ...]:
    good = check.agreement in (Agreement.IDENTICAL, Agreement.WITHIN_TOLERANCE)
    colour = "green" if good else "red" if check.required else "yellow"
    return (
        escape(check.name),
        escape(check.rule),
        escape(format_value(check.expected, check.unit)),
        escape(format_value(check.observed, check.unit)),
        f"[{colour}]{check.agreement}[/]",
    )


def _print_columns(console: Console, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they must be: a cut digest or run id cannot be copied."""
    table = [header, *rows]
    if len(table) == 1:
        return
    widths = [max(cell_len(render(row[n]).plain) for row in table) for n in range(len(header))]
    for number, row in enumerate(table):
        cells = [
            cell + " " * (width - cell_len(render(cell).plain))
            for cell, width in zip(row, widths, strict=True)
        ]
        style = "bold" if number == 0 and any(header) else ""
        console.print("  ".join(cells).rstrip(), style=style, soft_wrap=True)


def show_plan(planned: Plan) -> None:
    """The pipeline in short, and what differs from the reference."""
    console = Console(highlight=False)
    pipeline = planned.pipeline
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
        ("machines", _machines(planned)),
        ("limits", f"{format_duration(pipeline.limits.time)}"),
        ("environment", _environment(planned)),
        *[(f"data {name}", f"{ref.uri} ({ref.level})") for name, ref in pipeline.data.items()],
        ("reference", planned.reference.kind.value + _reference_runs(planned)),
    ]
    for name, value in rows:
        console.print(f"{name:<14}{escape(value)}", soft_wrap=True)
    changed = planned.reference.changed
    against = (
        "the run" if planned.reference.kind is ReferenceKind.RUN else "the experiment as it is"
    )
    says = f"changed against {against}:" if changed else f"nothing changed against {against}"
    console.print(f"\n{says}")
    for key, (before, after) in sorted(changed.items()):
        console.print(f"  {escape(f'{key}: {before} → {after}')}", soft_wrap=True)
    for remark in [*planned.remarks]:
        console.print(f"  {escape(remark)}")


def _machines(planned: Plan) -> str:
    need = planned.pipeline.resources
    each = f"{count(need.cpus, 'cpu')}, {format_bytes(need.memory << 20)}"
    gpus = f", {count(need.gpus, 'gpu')}" if need.gpus else ""
    return f"{need.nodes} × ({each}{gpus})"


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
    rows = []
    for record in records:
        outcome = record.verdict.outcome if record.verdict else record.outcome.status.value
        around = record.circumstances
        verdict = f"[{_colour(outcome)}]{outcome}[/]"
        rows.append((record.run, record.experiment, around.cloud, str(len(around.nodes)), verdict))
    _print_columns(console, ("run", "experiment", "cloud", "nodes", "verdict"), rows)


def show_report(report: str) -> None:
    """Rendered on a terminal, as it is elsewhere."""
    console = Console(highlight=False)
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(report))
    else:
        console.print(report, markup=False, soft_wrap=True)
