"""The part of a report that holds a run against one on other machines: time, cost, fidelity."""

from __future__ import annotations

from rpac_ci.changes import against_reference, compared_run
from rpac_ci.formats.markdown_parts import code, table, text
from rpac_ci.performance import PerformanceComparison, compare, fidelity
from rpac_ci.records import ReferenceRun, RunRecord, performance

_AROUND = ("place", "machines", "software", "rpac")
_PARTS = "code, command, engine, environment, data, scientific arguments, ranks and seed"


def performance_section(record: RunRecord) -> str:
    """Time and cost beside those of the reference run; empty where both had the same machines."""
    past = compared_run(record)
    if past is None or past.performance is None:
        return ""
    same = past.science == record.identity.science
    found = compare(past.performance, performance(record), same_science=same)
    if not found.elsewhere:
        return ""
    lines = [
        f"## On {text(found.machines[1])}, after {text(found.machines[0])}",
        "",
        _science(record, past),
        "",
        text(fidelity(found)),
        "",
        quantities(found, ("Reference", "This run")),
        "",
    ]
    lines += [f"- {text(note)}" for note in found.notes]
    if found.unfair_cost:
        ask = f"rpac compare {past.run} {record.run} unfair=true"
        lines += [f"- They are given all the same by `{ask}`"]
    lines += [f"- Price of the {n}: {text(p)}" for n, p in zip(
        ("reference", "run"), found.prices, strict=True
    )]  # fmt: skip
    around = [change.key for change in against_reference(record) if change.kind in _AROUND]
    if around:
        lines += [f"- Circumstances that changed: {text(', '.join(sorted(around)))}"]
    return "\n".join(lines)


def _science(record: RunRecord, past: ReferenceRun) -> str:
    if past.science == record.identity.science:
        return (
            f"**The same science.** {_PARTS.capitalize()} have the digest "
            f"`{code(record.identity.science)}` in both runs."
        )
    return (
        f"**Other science.** The digest of {_PARTS} was `{code(past.science)}`, "
        f"now it is `{code(record.identity.science)}`."
    )


def quantities(found: PerformanceComparison, header: tuple[str, str]) -> str:
    """Times and costs as a table."""
    rows = [tuple(map(text, line.cells)) for line in found.lines]
    return table(("", *header, "Ratio"), rows)
