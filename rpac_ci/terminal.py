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

from rpac_ci.pipeline import Pipeline, total_ranks
from rpac_ci.quantities import count, format_bytes, format_duration, format_value
from rpac_ci.records import GOOD, Agreement, Check, ReferenceKind

if TYPE_CHECKING:
    from rpac_ci.catalog import Catalog, Machine
    from rpac_ci.comparison import RunComparison
    from rpac_ci.conclude import Conclusion
    from rpac_ci.driver import Notify, Progress
    from rpac_ci.planning import Plan
    from rpac_ci.studies import StudyRecord
    from rpac_ci.study_runs import StudyConclusion, StudyPlan

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
    print_columns(
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
        print_columns(console, ("metric", "value"), rows)
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
    colour = "green" if check.agreement in GOOD else "red" if check.required else "yellow"
    return (
        escape(check.name),
        escape(check.rule),
        escape(format_value(check.expected, check.unit)),
        escape(format_value(check.observed, check.unit)),
        f"[{colour}]{check.agreement}[/]",
    )


def print_columns(console: Console, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
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


def show_study(concluded: StudyConclusion) -> None:
    """One line for each run of a study, and what they say together."""
    console = Console(highlight=False)
    study = concluded.record
    keys = sorted({key for member in study.members for key in member.changes})
    rows = [
        (
            member.run,
            *(escape(member.changes.get(key, "")) for key in keys),
            f"{member.command_s:.1f} s" if member.command_s is not None else "–",
            f"[{_colour(member.outcome)}]{member.outcome}[/]",
        )
        for member in study.members
    ]
    print_columns(console, ("run", *keys, "command", "verdict"), rows)
    _print_spread(console, study)
    if study.pooled:
        console.print("\nall runs as one sample:")
        header = ("check", "rule", "expected", "observed", "")
        print_columns(console, header, map(_check_row, study.pooled.checks))
    style = _colour(study.outcome)
    console.print(f"\n[bold {style}]{study.outcome}[/]: {escape(study.reason)}", soft_wrap=True)
    console.print(f"study   {study.study}")
    if concluded.branch_commit:
        console.print(f"page    {concluded.folder}/study.md", soft_wrap=True)
    else:
        console.print(f"page    git show rpac/log:{concluded.folder}/study.md", soft_wrap=True)
        console.print(f"branch  {escape(concluded.remark)}")


def _print_spread(console: Console, study: StudyRecord) -> None:
    rows = [
        (
            escape(name),
            str(spread.count),
            escape(format_value(spread.mean, spread.unit)),
            "0" if not spread.sd else f"{spread.sd:.3g}",
        )
        for name, spread in study.spread.items()
        if spread.count > 1
    ]
    if rows:
        console.print()
        print_columns(console, ("metric", "runs", "mean", "standard deviation"), rows)


def show_study_plan(planned: StudyPlan) -> None:
    """The runs of a study, before any is started."""
    console = Console(highlight=False)
    rows = [
        (
            str(number),
            escape(" ".join(f"{key}={value}" for key, value in changes.items())) or "as declared",
            _machines(plan),
            "variant" if plan.variant else "",
            plan.pipeline.digest[7:19],
        )
        for number, (plan, changes) in enumerate(planned.members, 1)
    ]
    print_columns(console, ("run", "changes", "machines", "", "pipeline"), rows)
    for remark in planned.remarks:
        console.print(f"  {escape(remark)}")


def show_comparison(found: RunComparison) -> None:
    """Two runs side by side."""
    console = Console(highlight=False)
    first, second = found.runs
    rows: list[Sequence[str]] = [
        ("verdict", *(f"[{_colour(outcome)}]{outcome}[/]" for outcome in found.outcomes))
    ]
    print_columns(console, ("", first, second), rows)
    console.print(
        f"\n{'the same' if found.same_science else 'other'} science, "
        f"{'the same' if found.same_pipeline else 'another'} pipeline"
    )
    console.print(escape(found.science_text), soft_wrap=True)
    rows = [
        (
            escape(change.key),
            escape(_short(change.before)),
            escape(_short(change.after)),
            change.effect.value,
        )
        for change in found.changes
    ]
    console.print()
    print_columns(console, ("changed", "first", "second", "could explain a number"), rows)
    rows = [
        (
            escape(pair.name),
            escape(format_value(pair.first.value, pair.first.unit) if pair.first else "–"),
            escape(format_value(pair.second.value, pair.second.unit) if pair.second else "–"),
            "–" if pair.difference is None else f"{pair.difference:+.3g}",
            "–" if pair.relative is None else f"{pair.relative:+.2g}",
        )
        for pair in found.metrics
    ]
    console.print()
    print_columns(console, ("metric", "first", "second", "difference", "relative"), rows)
    rows = [(escape(pair.path), pair.says, escape(pair.note)) for pair in found.outputs]
    console.print()
    print_columns(console, ("output", "", ""), rows)
    if found.performance:
        from rpac_ci.terminal_clouds import show_performance

        show_performance(found.performance, found.runs)


def _short(value: object) -> str:
    shown = "–" if value is None else str(value)
    return shown if len(shown) <= 40 else shown[:37] + "…"


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
        ("engine", _engine(pipeline)),
        ("where", _where(pipeline)),
        ("machines", _machines(planned)),
        *[("fidelity", str(change)) for change in [pipeline.lineage.machine] if change],
        ("limits", f"{format_duration(pipeline.limits.time)}"),
        *[("cost", cost) for cost in [_cost(planned)] if cost],
        ("environment", _environment(planned)),
        *[(f"data {name}", f"{ref.uri} ({ref.level})") for name, ref in pipeline.data.items()],
        *[("traffic", str(transfer)) for transfer in planned.transfers],
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


def _engine(pipeline: Pipeline) -> str:
    ranks = total_ranks(pipeline)
    return pipeline.engine.name.value + (f", {count(ranks, 'rank')}" if ranks else "")


def _machines(planned: Plan) -> str:
    need = planned.pipeline.resources
    each = f"{count(need.cpus, 'cpu')}, {format_bytes(need.memory << 20)}"
    gpus = f", {count(need.gpus, 'gpu')}" if need.gpus else ""
    machine = planned.pipeline.target.machine
    return f"{need.nodes} × {f'{machine} ' if machine else ''}({each}{gpus})"


def _where(pipeline: Pipeline) -> str:
    target = pipeline.target
    chosen = [target.region, f"runtime {target.runtime}", target.mode and target.mode.value]
    return ", ".join([target.cloud, *filter(None, chosen), *(["spot"] if target.spot else [])])


def _cost(planned: Plan) -> str:
    if planned.price is None:
        return "not known: the catalog has no price for these machines there"
    least, most = planned.price
    if not most:
        return ""
    return f"{least:.2f} to {most:.2f} USD for the machines, without storage and traffic"


def _environment(planned: Plan) -> str:
    environment = planned.pipeline.environment
    if environment.image:
        return f"image {environment.image}"
    if environment.lock_sha256:
        return f"{environment.lock}, sha256 {environment.lock_sha256[:12]}…"
    contained = planned.pipeline.target.runtime != "process"
    return f"none declared: whatever the {'engine image' if contained else 'machine'} has"


def _reference_runs(planned: Plan) -> str:
    return "".join(f" {run.run}" for run in planned.reference.runs)


def show_machines(rows: Sequence[tuple[Catalog, Machine]], region: str | None) -> None:
    """Machines of catalogs, with what is known of their prices in a region."""
    header = ["cloud", "machine", "cpus", "GiB", "gpus"]
    header += [f"USD/h {region}", "as of"] if region else []
    cells = []
    for known, machine in rows:
        size = [str(machine.cpus), f"{machine.memory_mib / 1024:g}"]
        gpus = f"{machine.gpus} × {machine.gpu_kind}" if machine.gpus else ""
        row = [machine.cloud, machine.name, *size, gpus]
        if region:
            price = known.price(machine.name, region)
            row += [f"{price.usd_per_hour:.10g}", price.date] if price else ["–", ""]
        note = "burstable" if machine.burstable else ""
        if machine.retired:
            note = f"retired: {_replacement(known, machine)}"
        cells.append([escape(cell) for cell in (*row, note)])
    print_columns(Console(highlight=False), [*header, ""], cells)


def _replacement(known: Catalog, machine: Machine) -> str:
    from rpac_ci.catalog import fidelity

    if machine.replaced_by is None:
        return "nothing takes its place"
    grade = fidelity(machine, known.machines[machine.replaced_by])
    return f"{machine.replaced_by}, grade {grade}"


def show_report(report: str) -> None:
    """Rendered on a terminal, as it is elsewhere."""
    console = Console(highlight=False)
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(report))
    else:
        console.print(report, markup=False, soft_wrap=True)
