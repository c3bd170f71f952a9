"""The page of a study: one row for each run, spread, scaling, figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from rpac_ci.formats.charts import Panel, chart
from rpac_ci.formats.markdown import check_table
from rpac_ci.formats.markdown_parts import details, table, text
from rpac_ci.log_paths import run_folder
from rpac_ci.quantities import format_duration, format_value
from rpac_ci.studies import Member, StudyRecord, numeric

MAX_PANELS, MAX_COLUMNS = 6, 6
METRICS = "figures/metrics.svg"


def page(study: StudyRecord, *, figures: Sequence[str]) -> str:
    """
    The page in Markdown.

    Args:
        study: with all its members.
        figures: paths of the figures beside it.
    """
    sections = [
        f"# {text(study.experiment)}: study of {len(study.members)} runs",
        text(study.title),
        f"> **{text(study.outcome)}**: {text(study.reason)}",
        f"Asked for: `{' '.join(study.words)}`" if study.words else "",
        _members(study),
        _pooled(study),
        _spread(study),
        _scaling(study),
        "\n\n".join(f"![{text(path)}]({path})" for path in figures),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _members(study: StudyRecord) -> str:
    keys = sorted({key for member in study.members for key in member.changes})
    names = _metrics(study)[:MAX_COLUMNS]
    header = ("Run", *map(text, keys), "Verdict", "Command", *map(text, names))
    rows = [
        (
            _link(study, member),
            *(text(member.changes.get(key, "")) for key in keys),
            text(member.outcome),
            format_duration(member.command_s) if member.command_s is not None else "–",
            *(_value(member, name) for name in names),
        )
        for member in study.members
    ]
    more = len(_metrics(study)) - len(names)
    note = f"\n\n{more} more metrics are in `study.json` and in the runs." if more > 0 else ""
    return f"## Runs\n\n{table(header, rows)}{note}"


def _link(study: StudyRecord, member: Member) -> str:
    if member.status == "not started":
        return f"`{member.run}`"
    folder = run_folder(study.experiment, member.run).removeprefix(f"reports/{study.experiment}/")
    return f"[`{member.run}`](../../{folder}/report.md)"


def _value(member: Member, name: str) -> str:
    metric = member.metrics.get(name)
    return text(format_value(metric.value, metric.unit)) if metric else "–"


def _pooled(study: StudyRecord) -> str:
    if study.pooled is None:
        return ""
    return f"## All runs as one sample\n\n{check_table(study.pooled.checks)}"


def _spread(study: StudyRecord) -> str:
    if not study.spread or all(spread.count < 2 for spread in study.spread.values()):
        return ""
    header = ("Metric", "Runs", "Mean", "Standard deviation", "Least", "Most")
    rows = [
        (
            text(name),
            str(spread.count),
            text(format_value(spread.mean, spread.unit)),
            text(format_value(spread.sd, spread.unit)) if spread.sd else "0",
            text(format_value(spread.least, spread.unit)),
            text(format_value(spread.most, spread.unit)),
        )
        for name, spread in study.spread.items()
    ]
    proposal = "\n".join(_rule(study))
    lines = ["## Spread over runs of the same science", "", table(header, rows)]
    if proposal:
        title = "Tolerances that this spread suggests (three standard deviations)"
        lines += ["", details(title, f"```yaml\nverify:\n{proposal}\n```")]
    return "\n".join(lines)


def _rule(study: StudyRecord) -> Iterator[str]:
    for name, spread in study.spread.items():
        if spread.sd:
            yield f"  {name}: {{expect: {spread.mean:.6g}, abs_tol: {3 * spread.sd:.2g}}}"


def _scaling(study: StudyRecord) -> str:
    """Wall time of the command over the number of nodes, where nodes were varied."""
    if "nodes" not in study.axes:
        return ""
    times: dict[int, list[float]] = {}
    for member in study.members:
        if member.command_s and member.status == "succeeded":
            times.setdefault(member.nodes, []).append(member.command_s)
    if len(times) < 2:
        return ""
    least = min(times)
    first = fmean(times[least])
    rows = []
    for nodes, found in sorted(times.items()):
        speed_up = first / fmean(found)
        efficiency = 100 * speed_up * least / nodes
        rows.append(
            (str(nodes), str(len(found)), format_duration(fmean(found)), f"{speed_up:.2f}",
             f"{efficiency:.0f} %")
        )  # fmt: skip
    header = ("Nodes", "Runs", "Command, mean", f"Speed-up over {least}", "Efficiency")
    note = "\n\nRuns of one machine stand side by side, so such times say nothing about clusters."
    return f"## Scaling\n\n{table(header, rows)}{note}"


def figures(study: StudyRecord) -> dict[str, str]:
    """Path -> SVG: each metric over what was varied."""
    members = [member for member in study.members if member.metrics]
    names = [name for name in _metrics(study) if any(name in m.metrics for m in members)]
    if len(members) < 2 or not names:
        return {}
    panels = [_panel(study, members, name) for name in names[:MAX_PANELS]]
    return {METRICS: chart(panels)}


def _panel(study: StudyRecord, members: Sequence[Member], name: str) -> Panel:
    key = _axis(study)
    places = _places(study, members, key)
    some = [m for m in members if name in m.metrics]
    unit = next((m.metrics[name].unit for m in some), None)
    return Panel(
        title=f"{name} ({unit})" if unit else name,
        x_label=key or "run",
        points=[(places[m.run][0], float(m.metrics[name].value)) for m in some],
        ticks=sorted(set(places.values())),
    )


def _axis(study: StudyRecord) -> str | None:
    """What stands on the axis below: the list with the most numbers, else the first list."""
    numbers = {
        key: len(values)
        for key, values in study.axes.items()
        if all(numeric(value) is not None for value in values)
    }
    return max(numbers, key=lambda key: numbers[key], default=next(iter(study.axes), None))


def _places(
    study: StudyRecord, members: Sequence[Member], key: str | None
) -> dict[str, tuple[float, str]]:
    """Run -> place on the axis below, and the label there."""
    if key is None:
        return {member.run: (float(n), str(n)) for n, member in enumerate(members, 1)}
    values = study.axes[key]
    spaced = {value: float(n) for n, value in enumerate(values)}
    numbers = {value: numeric(value) for value in values}
    where = {
        value: spaced[value] if None in numbers.values() else float(numbers[value] or 0.0)
        for value in values
    }
    return {
        member.run: (where[member.changes[key]], member.changes[key])
        for member in members
        if key in member.changes
    }


def _metrics(study: StudyRecord) -> list[str]:
    return sorted({name for member in study.members for name in member.metrics})
