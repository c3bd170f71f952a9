"""
One experiment planned for several clouds, one column each, before money is spent.

A cloud that cannot serve has its reason in its column and does not stop the others. All prices are
in USD, with the day of the catalog; machines are graded against those of the first column that has
any, or of the run that is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rpac_ci import catalog, clouds
from rpac_ci.canonical import Json
from rpac_ci.catalog.machines import Machine, Price
from rpac_ci.errors import PipelineError, PolicyError, RpacError
from rpac_ci.planning import Plan, make_plan
from rpac_ci.quantities import count, format_bytes, format_duration
from rpac_ci.study_words import Axes
from rpac_ci.workspace import Workspace

KEY = "cloud"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one cloud offers: a plan, or why there is none."""

    cloud: str
    plan: Plan | None = None
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """The columns, in the order asked for."""

    columns: Sequence[Column]

    @property
    def header(self) -> list[str]:
        """The clouds."""
        return [column.cloud for column in self.columns]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Name and one cell for each cloud, of what at least one of them has to say."""
        first = next((m for m in map(_machine, self._plans) if m), None)
        shown: Mapping[str, Callable[[Plan], str]] = {
            "region": lambda plan: plan.pipeline.target.region or "",
            "started as": _started,
            "machines": _machines,
            "fidelity": lambda plan: _fidelity(plan, first),
            "price of a node": _node_price,
            "cost": _cost,
            "time limit": lambda plan: format_duration(plan.pipeline.limits.time),
            "wait at most": _queue,
            "traffic": _traffic,
            "science": lambda plan: plan.science[7:19] + (" (variant)" if plan.variant else ""),
            "pipeline": lambda plan: plan.pipeline.digest[7:19],
        }
        rows = [("possible", *("yes" if c.plan else "no" for c in self.columns))]
        for name, cell in shown.items():
            cells = [cell(c.plan) if c.plan else "" for c in self.columns]
            if any(cells):
                rows.append((name, *(text or "–" for text in cells)))
        return rows

    @property
    def notes(self) -> list[str]:
        """Why clouds cannot serve, and what their plans remark; one text each."""
        notes = []
        for column in self.columns:
            if column.plan is None:
                hint = f" ({column.hint})" if column.hint else ""
                reason = "; ".join(column.reason.splitlines())
                notes.append(f"{column.cloud}: not available: {reason}{hint}")
            else:
                notes += [f"{column.cloud}: {remark}" for remark in column.plan.remarks]
        digests = {plan.science for plan in self._plans}
        if len(digests) == 1 and len(self._plans) > 1:
            notes.append(f"the same science everywhere: {digests.pop()}")
        return notes

    @property
    def _plans(self) -> list[Plan]:
        return [column.plan for column in self.columns if column.plan]

    def to_json(self, plan_json: Callable[[Plan], Mapping[str, Json]]) -> dict[str, Json]:
        """As plain values, each plan as it is for itself."""
        return {
            "clouds": [
                {"cloud": column.cloud, "available": True, **plan_json(column.plan)}
                if column.plan
                else {
                    "cloud": column.cloud,
                    "available": False,
                    "reason": column.reason,
                    "hint": column.hint,
                }
                for column in self.columns
            ],
            "rows": {name: list(cells) for name, *cells in self.rows},
            "notes": list(self.notes),
        }


def is_asked(found: Axes | None) -> bool:
    """Whether the words of a plan vary the cloud and nothing else."""
    return found is not None and list(found.values) == [KEY] and found.repeat == 1


def plan(
    workspace: Workspace, target: str, found: Axes, *, allow_dirty: bool = False
) -> SideBySide:
    """
    Plan for every cloud of the list.

    Args:
        workspace: the repository.
        target: `<experiment>` or `<experiment>@<run>`.
        found: words that `is_asked`.
        allow_dirty: as for `planning.make_plan`.

    Raises:
        PipelineError: no cloud of them can serve.
        RpacError: the command itself is wrong, as `planning.make_plan` says.
    """
    columns = []
    for cloud in found.values[KEY]:
        words = [*found.fixed, f"{KEY}={cloud}"]
        try:
            made = make_plan(workspace, target, words, allow_dirty=allow_dirty)
        except (PipelineError, PolicyError) as exc:
            columns.append(refused(cloud, exc))
        else:
            columns.append(Column(cloud=cloud, plan=made))
    beside = SideBySide(columns=columns)
    if not any(column.plan for column in columns):
        raise PipelineError("\n".join(beside.notes))
    return beside


def refused(cloud: str, error: RpacError) -> Column:
    """The column of a cloud that cannot serve."""
    return Column(cloud=cloud, reason=error.message, hint=error.hint)


# --- cells --------------------------------------------------------------------------------------


def _machine(plan: Plan) -> Machine | None:
    target = plan.pipeline.target
    if target.machine is None or target.cloud not in catalog.CLOUDS:
        return None
    return catalog.load(target.cloud).machines.get(target.machine)


def _started(plan: Plan) -> str:
    target = plan.pipeline.target
    parts = [target.runtime, target.mode.value if target.mode else None]
    return ", ".join([*filter(None, parts), *(["spot"] if target.spot else [])])


def _machines(plan: Plan) -> str:
    machine, need = _machine(plan), plan.pipeline.resources
    if machine is not None:
        return f"{need.nodes} × {machine}"
    gpus = f", {count(need.gpus, 'GPU')}" if need.gpus else ""
    return f"{need.nodes} × ({count(need.cpus, 'cpu')}, {format_bytes(need.memory << 20)}{gpus})"


def _fidelity(plan: Plan, first: Machine | None) -> str:
    if change := plan.pipeline.lineage.machine:
        return f"{change.grade}, to {change.recorded}"
    machine = _machine(plan)
    if first is None:
        return ""
    if machine is None:
        return f"D, to {first.cloud} {first.name}"
    grade = catalog.fidelity(first, machine)
    return "" if machine == first else f"{grade}, to {first.cloud} {first.name}"


def _price(plan: Plan) -> Price | None:
    target = plan.pipeline.target
    if target.machine is None or target.cloud not in catalog.CLOUDS:
        return None
    known = catalog.load(target.cloud)
    return known.price(target.machine, target.region, spot=target.spot)


def _node_price(plan: Plan) -> str:
    price = _price(plan)
    if price is not None:
        return f"{price.usd_per_hour:.10g} USD/h, as of {price.date}"
    return "not known" if plan.pipeline.target.machine else "nothing"


def _cost(plan: Plan) -> str:
    if plan.price is None:
        return "not known"
    least, most = plan.price
    return f"{least:.2f} to {most:.2f} USD" if most else "0.00 USD"


def _queue(plan: Plan) -> str:
    planner = clouds.planner(plan.pipeline.target.cloud)
    return format_duration(planner.capabilities.queue_s) if planner.capabilities.queue_s else ""


def _traffic(plan: Plan) -> str:
    """What bytes cost that leave a region, as far as their number is known."""
    amounts = [transfer.usd for transfer in plan.transfers]
    if not amounts:
        return ""
    known = f"{sum(amount for amount in amounts if amount is not None):.2f} USD"
    return f"{known}, and what is not known" if None in amounts else known
