"""What the bot says on GitHub of plans: where, how long, for how much, compared with what. Pure."""

from __future__ import annotations

from rpac_ci.bot.tickets import Ticket
from rpac_ci.bot.wording import as_code, dollars, quiet, short
from rpac_ci.formats.markdown_parts import fence, table
from rpac_ci.planning import Plan
from rpac_ci.quantities import count, format_duration


def plan(ticket: Ticket, planned: Plan, *, ask: str = "") -> str:
    """
    What would be done, and how to have it done.

    Args:
        ticket: of the plan.
        planned: the plan itself.
        ask: why it waits for an approval; "" when it was only asked for.
    """
    lines = [f"### 📋 Plan `{ticket.id}` for `{ticket.target}`", ""]
    if ask:
        lines += [f"It is not run yet: {quiet(ask)}", ""]
    lines += _planned(ticket, planned)
    lines += ["", "To run exactly this:", "", fence(f"/approve {ticket.id}")]
    return "\n".join(lines)


def preview(ticket: Ticket, planned: Plan) -> str:
    """What would be done if somebody asked for it."""
    lines = [f"### `{ticket.target}` on {quiet(ticket.cloud)}", "", *_planned(ticket, planned)]
    return "\n".join([*lines, "", "To run it:", "", fence(f"/reproduce {ticket.target}")])


def _planned(ticket: Ticket, planned: Plan) -> list[str]:
    pipeline = planned.pipeline
    machines = f"{count(ticket.nodes, 'node')} with {count(pipeline.resources.cpus, 'processor')}"
    low, high = ticket.cost_low, ticket.cost_high
    cost = dollars(high) if high is None or low == high else f"{low:.2f} to {high:.2f} USD"
    facts = [
        ("Commit", f"`{ticket.head}`"),
        ("Where", f"{quiet(ticket.cloud)}, {machines}, engine {pipeline.engine.name}"),
        *[("Machine", quiet(name)) for name in [ticket.machine] if name],
        *[("Fidelity", quiet(str(change))) for change in [pipeline.lineage.machine] if change],
        ("Command", f"`{as_code(' '.join(pipeline.command))}`"),
        ("Time limit", format_duration(pipeline.limits.time)),
        ("Cost", cost),
        ("Compared with", quiet(reference(planned))),
        ("Data", quiet(identity(planned))),
        *[("Traffic", quiet(str(transfer))) for transfer in planned.transfers],
        ("Pipeline", f"`{ticket.pipeline}`"),
    ]
    lines = [table(("", ""), facts)]
    if changed := planned.reference.changed:
        rows = [(quiet(k), quiet(short(v[0])), quiet(short(v[-1]))) for k, v in changed.items()]
        lines += ["", "What differs from the reference:", "", table(("", "Before", "Now"), rows)]
    return lines + [f"\n- {quiet(remark)}" for remark in planned.remarks]


def reference(planned: Plan) -> str:
    """What the result will be compared with, in a few words."""
    kind = planned.reference.kind.value
    runs = [run.run for run in planned.reference.runs]
    if kind == "expect":
        return "the values that the experiment declares"
    if kind == "none":
        return "nothing yet: this will be a baseline"
    return f"{'run' if kind == 'run' else 'accepted'} {', '.join(runs[:3])}"


def identity(planned: Plan) -> str:
    """How strongly the bytes of each input are known beforehand."""
    levels = [f"{name}: {ref.level.value}" for name, ref in planned.pipeline.data.items()]
    return ", ".join(levels) or "no inputs"
