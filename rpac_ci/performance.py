"""
Time and cost of two runs in one system of units: seconds, hours of a node, USD. Pure.

Ratios are given where they are fair. Times are, when both runs did the same science on machines of
grade A or B to each other, none of which had more work than processors, and both on the provider's
own machines. Costs are, when times are and both are reckoned with prices of one currency, day and
kind. An unfair ratio is left out with its reasons, unless it is asked for: `unfair=true`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rpac_ci.canonical import Json
from rpac_ci.catalog import machines
from rpac_ci.catalog.equivalents import differences
from rpac_ci.catalog.machines import Grade
from rpac_ci.placement import NodePrice, Performance

_ALIKE = (Grade.A, Grade.B)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One quantity of both runs; None where it is not known."""

    name: str
    unit: str
    first: float | None
    second: float | None
    ratio: float | None = None  # second / first; None also where it is not fair

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """For a table."""
        return (self.name, _shown(self.first, self.unit), _shown(self.second, self.unit),
                "–" if self.ratio is None else f"{self.ratio:.3g}")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceComparison:
    """What two runs took and cost, and which of it may be held against each other."""

    clouds: tuple[str, str]
    machines: tuple[str, str]
    grade: Grade
    differs: Sequence[str]  # of the machines, in words
    lines: Sequence[Line]
    prices: tuple[str, str]
    unfair_time: Sequence[str]  # reasons
    unfair_cost: Sequence[str]
    anyway: bool  # unfair ratios were asked for

    @property
    def elsewhere(self) -> bool:
        """Whether the runs had other machines."""
        return self.machines[0] != self.machines[1]

    @property
    def notes(self) -> list[str]:
        """Why ratios are left out, or what to think of those that are there; one text each."""
        verb = "not fair" if self.anyway else "left out"
        notes = []
        if self.unfair_time:
            notes.append(f"Ratios of times are {verb}: {'; '.join(self.unfair_time)}.")
        if more := [why for why in self.unfair_cost if why not in self.unfair_time]:
            notes.append(f"Ratios of costs are {verb}: {'; '.join(more)}.")
        elif self.unfair_time:
            notes.append("So are those of costs.")
        return notes

    def to_json(self) -> dict[str, Json]:
        """As plain values."""
        return {
            "clouds": list(self.clouds),
            "machines": list(self.machines),
            "grade": self.grade.value,
            "differs": list(self.differs),
            "quantities": [
                {"name": line.name, "unit": line.unit, "first": line.first, "second": line.second,
                 "ratio": line.ratio}
                for line in self.lines
            ],
            "prices": list(self.prices),
            "unfair_time": list(self.unfair_time),
            "unfair_cost": list(self.unfair_cost),
            "unfair_asked_for": self.anyway,
        }  # fmt: skip


def compare(
    first: Performance, second: Performance, *, same_science: bool, unfair: bool = False
) -> PerformanceComparison:
    """
    Hold two runs against each other.

    Args:
        first: the one that the other is measured by.
        second: the other.
        same_science: whether their science digests are equal.
        unfair: give ratios that are not fair as well.
    """
    grade, differs = alike(first, second)
    time = list(_unfair_time(first, second, grade, differs, same_science=same_science))
    cost = [*time, *_unfair_cost(first, second)]
    lines = [
        *_lines(_times, first, second, fair=unfair or not time),
        *_lines(_costs, first, second, fair=unfair or not cost),
    ]
    return PerformanceComparison(
        clouds=(first.cloud, second.cloud),
        machines=(_machine(first), _machine(second)),
        grade=grade,
        differs=differs,
        lines=lines,
        prices=(_price_text(first), _price_text(second)),
        unfair_time=time,
        unfair_cost=cost,
        anyway=unfair,
    )


def fidelity(found: PerformanceComparison) -> str:
    """The grade of the machines to each other, in one sentence."""
    differs = f" ({', '.join(found.differs)})" if found.differs else ", alike in all that counts"
    return f"Fidelity of the machines: grade {found.grade}{differs}."


def alike(first: Performance, second: Performance) -> tuple[Grade, list[str]]:
    """The grade of two runs' machines, and what they do not have in common."""
    before, after = first.machine, second.machine
    if before is not None and after is not None:
        return machines.fidelity(before, after), differences(before, after)
    if before is None and after is None and first.cloud == second.cloud:
        if first.hardware and first.hardware == second.hardware:
            return Grade.A, []
        seen = [one.hardware or "not known" for one in (first, second)]
        return Grade.D, [f"{seen[0]} → {seen[1]}"]
    unknown = [one for one in (first, second) if one.machine is None]
    return Grade.D, [f"no catalog has the machine of cloud={one.cloud}" for one in unknown]


def _unfair_time(
    first: Performance,
    second: Performance,
    grade: Grade,
    differs: Sequence[str],
    *,
    same_science: bool,
) -> Iterator[str]:
    if not same_science:
        yield "another science is other work"
    if grade not in _ALIKE:
        yield f"the machines are of grade {grade} to each other ({', '.join(differs)})"
    for which, one in (("first", first), ("second", second)):
        if one.oversubscribed:
            yield f"the {which} asked for more processors than there were"
        if one.placement and one.placement.endpoint:
            yield f"the {which} was not on {one.cloud} itself, but at {one.placement.endpoint}"


def _unfair_cost(first: Performance, second: Performance) -> Iterator[str]:
    prices = [_price(one) for one in (first, second)]
    for which, one, price in zip(("first", "second"), (first, second), prices, strict=True):
        if price is None:
            why = "costs nothing here" if one.cost_usd == 0 else "has no known price"
            yield f"a node of the {which} {why}"
    before, after = prices
    if before is None or after is None:
        return
    if before.currency != after.currency:
        yield f"the prices are in {before.currency} and {after.currency}"
    if before.date != after.date:
        yield f"the prices are of {before.date} and {after.date}"
    if before.spot != after.spot:
        yield "only one of them paid for spot machines"


def _times(one: Performance) -> Iterator[tuple[str, str, float | None]]:
    yield "command", "s", one.command_s
    yield "whole run", "s", one.total_s
    yield "nodes", "", one.nodes or None
    yield "node-hours of the command", "h", _node_hours(one)


def _costs(one: Performance) -> Iterator[tuple[str, str, float | None]]:
    price, hours = _price(one), _node_hours(one)
    # of one currency alone: another one's amount is not in USD
    hourly = price.per_hour if price and price.currency == "USD" else None
    yield "price of a node-hour", "USD", hourly
    yield "cost of the run", "USD", one.cost_usd
    alone = hourly * hours if hourly is not None and hours is not None else None
    yield "cost of the command alone", "USD", alone
    each = one.cost_usd / hours if one.cost_usd is not None and hours else None
    yield "cost of the run by node-hour of the command", "USD", each


def _lines(
    quantities: Callable[[Performance], Iterator[tuple[str, str, float | None]]],
    first: Performance,
    second: Performance,
    *,
    fair: bool,
) -> Iterator[Line]:
    for (name, unit, old), (_, _, new) in zip(quantities(first), quantities(second), strict=True):
        ratio = new / old if fair and old and new is not None else None
        yield Line(name=name, unit=unit, first=old, second=new, ratio=ratio)


def _node_hours(one: Performance) -> float | None:
    return one.nodes * one.command_s / 3600 if one.nodes and one.command_s is not None else None


def _price(one: Performance) -> NodePrice | None:
    return one.placement.price if one.placement else None


def _price_text(one: Performance) -> str:
    price = _price(one)
    if price is not None:
        return str(price)
    return "nothing is paid" if one.cost_usd == 0 else "not known"


def _machine(one: Performance) -> str:
    placed = one.placement
    if placed is None or placed.machine is None:
        return one.cloud
    where = f"{one.cloud} {placed.machine}{' spot' if placed.spot else ''}"
    return f"{where} in {placed.region}" if placed.region else where


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    shown = f"{value:.1f}" if unit == "s" else f"{value:.4g}"
    return f"{shown} {unit}" if unit else shown
