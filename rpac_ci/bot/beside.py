"""What the bot says of runs, or of plans, that stand side by side."""

from __future__ import annotations

from rpac_ci.bot.wording import as_code, quiet, short
from rpac_ci.comparison import RunComparison
from rpac_ci.formats.markdown_parts import table
from rpac_ci.performance import PerformanceComparison, fidelity
from rpac_ci.quantities import format_value
from rpac_ci.side_by_side import SideBySide


def plans(beside: SideBySide) -> str:
    """Plans for several clouds, one column each."""
    rows = [tuple(map(quiet, row)) for row in beside.rows]
    lines = [f"### Side by side: {quiet(', '.join(beside.header))}", ""]
    lines += [table(("", *map(quiet, beside.header)), rows), ""]
    return "\n".join([*lines, *(f"- {quiet(note)}" for note in beside.notes)])


def runs(found: RunComparison) -> str:
    """Two runs side by side."""
    first, second = found.runs
    lines = [
        f"`{as_code(first)}`: {quiet(found.outcomes[0])}; `{as_code(second)}`: "
        f"{quiet(found.outcomes[1])}",
        "",
        quiet(found.science_text),
    ]
    changes = [
        (quiet(c.key), quiet(short(c.before)), quiet(short(c.after)), c.effect.value)
        for c in found.changes
    ]
    if changes:
        lines += ["", table(("Changed", "First", "Second", "Could explain a number"), changes)]
    metrics = [
        (
            quiet(pair.name),
            quiet(format_value(pair.first.value, pair.first.unit) if pair.first else "–"),
            quiet(format_value(pair.second.value, pair.second.unit) if pair.second else "–"),
            "–" if pair.difference is None else f"{pair.difference:+.3g}",
        )
        for pair in found.metrics
    ]
    if metrics:
        lines += ["", table(("Metric", "First", "Second", "Difference"), metrics)]
    outputs = [(quiet(pair.path), pair.says, quiet(pair.note)) for pair in found.outputs]
    if outputs:
        lines += ["", table(("Output", "", ""), outputs)]
    if found.performance:
        lines += ["", *_performance(found.performance, found.runs)]
    return "\n".join(lines)


def _performance(spent: PerformanceComparison, runs: tuple[str, str]) -> list[str]:
    rows = [tuple(map(quiet, line.cells)) for line in spent.lines]
    lines = [quiet(fidelity(spent)), "", table(("", "First", "Second", "Ratio"), rows), ""]
    lines += [f"- {quiet(note)}" for note in spent.notes]
    if spent.unfair_cost and not spent.anyway:
        words = " ".join(map(as_code, runs))
        lines += [f"- All the same: `/compare {words} unfair=true`"]
    for which, price in zip(("first", "second"), spent.prices, strict=True):
        lines += [f"- Price of the {which}: {quiet(price)}"]
    return lines
