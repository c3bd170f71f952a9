"""
What changed between two runs, and which of the changes could explain another number. Pure.

A run is flattened to dotted keys (`records.summary`); each key has a kind, and a kind an effect: a
program or an input can change any digit, the number of workers only the order of summation, the
name of the cloud nothing at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rpac_ci.records import (
    Agreement,
    Check,
    ReferenceKind,
    ReferenceRun,
    RunRecord,
    Status,
    as_reference,
    summary,
)

# relative; what another order of summation does to 10 million float32 values is 7.6e-7, to float64
# values 2e-15. Iterative methods enlarge it.
ROUNDING = 1e-5


class Effect(StrEnum):
    """Whether a change could explain another result."""

    YES = "yes"
    LAST_DIGITS = "last digits"  # order of summation, fused operations
    UNLIKELY = "unlikely"
    NO = "no"


# beginning of a key -> what it is, effect; the first that fits counts
_KINDS: Sequence[tuple[str, str, Effect]] = (
    ("code.commit", "code", Effect.NO),  # the content decides, not the commit that held it
    ("source.commit", "code", Effect.NO),
    ("source.tree", "code", Effect.NO),
    ("source.dirty", "code", Effect.NO),
    ("code", "code", Effect.YES),
    ("source", "code", Effect.YES),
    ("command", "code", Effect.YES),
    ("args.", "argument", Effect.YES),
    ("operational.", "operational argument", Effect.LAST_DIGITS),
    ("data.", "data", Effect.YES),
    ("seed", "seed", Effect.YES),
    ("environment.", "software", Effect.YES),
    ("packages", "software", Effect.YES),
    ("python", "software", Effect.YES),
    ("engine.on_worker_loss", "machines", Effect.LAST_DIGITS),
    ("layout.ranks_per_node", "machines", Effect.LAST_DIGITS),
    ("layout.ranks", "ranks", Effect.YES),  # they split the data
    ("layout.", "machines", Effect.LAST_DIGITS),
    ("image", "software", Effect.LAST_DIGITS),  # of the lock's packages it changes none
    ("engine", "software", Effect.YES),
    ("determinism.", "software", Effect.YES),
    ("nodes", "machines", Effect.LAST_DIGITS),
    ("workers", "machines", Effect.LAST_DIGITS),
    ("threads", "machines", Effect.LAST_DIGITS),
    ("resources.", "machines", Effect.LAST_DIGITS),
    ("cpu", "machines", Effect.LAST_DIGITS),
    ("gpu", "machines", Effect.LAST_DIGITS),
    ("machine", "machines", Effect.LAST_DIGITS),
    ("instance", "machines", Effect.LAST_DIGITS),
    ("kernel", "machines", Effect.UNLIKELY),
    ("system", "machines", Effect.UNLIKELY),
    ("cloud", "place", Effect.UNLIKELY),
    ("runtime", "place", Effect.UNLIKELY),
    ("region", "place", Effect.UNLIKELY),
    ("endpoint", "place", Effect.UNLIKELY),
    ("spot", "place", Effect.UNLIKELY),
    ("target.", "place", Effect.UNLIKELY),
    ("rpac", "rpac", Effect.UNLIKELY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between two runs."""

    key: str
    kind: str
    before: Any
    after: Any
    effect: Effect


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every key whose values differ, those that explain most first."""
    return _sorted(
        _change(key, before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    )


def _sorted(changes: Iterable[Change]) -> list[Change]:
    order = list(Effect)
    return sorted(changes, key=lambda change: (order.index(change.effect), change.key))


def against_reference(record: RunRecord) -> list[Change]:
    """What differs between a judged run and the run, or declared experiment, it is judged by."""
    declared = _declared(record)
    run = compared_run(record)
    if run is None:
        return declared
    past, now = dict(run.summary), summary(record)
    if "packages" in past:  # only their digest was kept
        now = as_reference(record, packages=False).summary
    # an older record told less of its reference, a run that failed less of itself
    if "code" not in past or record.outcome.status is not Status.SUCCEEDED:
        now = {key: value for key, value in now.items() if key in past}
        past = {key: value for key, value in past.items() if key in now}
    found = between(past, now)
    known = {change.key for change in found}
    return _sorted([*found, *(change for change in declared if change.key not in known)])


def compared_run(record: RunRecord) -> ReferenceRun | None:
    """Of the reference's runs the one that the verdict names; None for declared values."""
    named = record.verdict.reference if record.verdict else ""
    if record.reference.kind not in (ReferenceKind.RUN, ReferenceKind.ACCEPTED):
        return None
    runs = record.reference.runs
    return next((run for run in runs if named.endswith(run.run)), runs[0])


def _declared(record: RunRecord) -> list[Change]:
    """Overrides, and what the pipelines themselves say differently."""
    operational = {n for n, arg in record.identity.args.items() if arg.role == "operational"}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for key, (old, new) in record.reference.changed.items():
        name = _plain(key, operational)
        before[name], after[name] = old, new
    return between(before, after)


# of a pipeline -> of a summary
_SAME = {
    "source.sha256": "code",
    "resources.nodes": "nodes",
    "target.machine": "instance",
    **{f"target.{name}": name for name in ("cloud", "region", "runtime", "spot")},
}


def _plain(key: str, operational: set[str]) -> str:
    """`args.trees.value` of a pipeline -> `args.trees` of a summary."""
    family, _, rest = key.partition(".")
    name, _, field = rest.partition(".")
    if family == "args" and field == "value":
        return f"operational.{name}" if name in operational else f"args.{name}"
    if family == "data" and field == "sha256":
        return f"data.{name}"
    return _SAME.get(key, key)


def _change(key: str, before: Any, after: Any) -> Change:
    for beginning, kind, effect in _KINDS:
        if key.startswith(beginning):
            return Change(key=key, kind=kind, before=before, after=after, effect=effect)
    return Change(key=key, kind="declaration", before=before, after=after, effect=Effect.NO)


def explanation(changes: Sequence[Change], checks: Sequence[Check]) -> str:
    """
    One sentence: what could explain the numbers that differ.

    Args:
        changes: between the run and its reference.
        checks: of the verdict.

    Returns:
        Empty when no number and no file differs.
    """
    worst = largest_difference(checks)
    if worst is None:
        return ""
    causes = [change for change in changes if change.effect is Effect.YES]
    if causes:
        return f"Could explain it: {_names(causes)}."
    small = [change for change in changes if change.effect is Effect.LAST_DIGITS]
    if small and worst <= ROUNDING:
        return f"A difference of this size can come from rounding: {_names(small)}."
    nothing = f"no more than rounding ({_names(small)})" if small else "nothing"
    return (
        f"Of what is recorded, {nothing} has changed, which does not explain it: look for "
        "randomness without a seed, the time of day, the network, or files outside the inputs."
    )


def largest_difference(checks: Sequence[Check]) -> float | None:
    """The largest relative difference that checks found; None when nothing differs."""
    worst: float | None = None
    for check in checks:
        if check.agreement is Agreement.DIFFERENT or check.difference:
            worst = max(worst or 0.0, _relative(check))
    return worst


def _relative(check: Check) -> float:
    if check.difference is None or not isinstance(check.expected, (int, float)):
        return math.inf
    return abs(check.difference / check.expected) if check.expected else math.inf


def _names(changes: Sequence[Change]) -> str:
    names = [change.key for change in changes]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
