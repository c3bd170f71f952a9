"""The policy's rules about what would run and what it may cost. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rpac_ci.policy.facts import Action, Facts, Kind, Planned
from rpac_ci.policy.rules import COMMIT, Rule
from rpac_ci.quantities import format_usd
from rpac_ci.site_config import SiteConfig

_SHA_PREFIX = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, slots=True)
class Request:
    """Something that could be run."""

    facts: Facts
    config: SiteConfig
    plan: Planned

    @property
    def reckoned(self) -> float:
        """What it may cost at most, in USD; negative where that cannot be said."""
        plan, worst = self.plan, self.plan.worst_case
        given = (plan.cost_low, plan.cost_high, plan.cost_limit)
        if worst is None or not all(_is_amount(cost) for cost in given if cost is not None):
            return -1.0
        return max(worst, plan.cost_low)

    @property
    def costs(self) -> bool:
        """Whether it may cost money."""
        return self.reckoned > 0


def _is_amount(dollars: float) -> bool:
    return math.isfinite(dollars) and dollars >= 0


def _has_moved(request: Request) -> bool:
    facts, head = request.facts, request.plan.head_sha
    if facts.head_moved or not COMMIT.fullmatch(head):
        return True
    # an approved plan may be older than a push of nothing but reports: `plan-stale` tells
    return facts.pull is not None and facts.verb != "approve" and facts.pull.head_sha != head


def _is_other_commit(request: Request) -> bool:
    sha = request.facts.sha_asked
    if sha is None:
        return False
    return not _SHA_PREFIX.fullmatch(sha) or not request.plan.head_sha.startswith(sha)


def _is_elsewhere(value: str | None, allowed: Iterable[str] | None) -> bool:
    """Whether a list is given, and what is asked for does not stand in it."""
    return allowed is not None and (
        value is None or not any(fnmatchcase(value, pattern) for pattern in allowed)
    )


def _is_other_registry(request: Request) -> bool:
    name, allowed = request.plan.registry, request.config.allow.registries
    if name is None or allowed is None:
        return False
    return not any(f"{name}/".startswith(f"{start}/") for start in allowed)


def _is_without_budget(request: Request) -> bool:
    budgets = request.config.budgets
    named = (budgets.run, budgets.month, budgets.clouds.get(request.plan.cloud))
    return request.costs and all(budget is None for budget in named)


def _is_ledger_unreadable(request: Request) -> bool:
    spent = request.facts.spent
    if not request.costs:
        return False
    return spent is None or not all(
        map(_is_amount, (spent.month, spent.person, *spent.clouds.values()))
    )


def _exceeds(budget: float | None, request: Request, spent: float = 0.0) -> bool:
    # rounded to a millionth, so that 0.1 + 0.2 fits into 0.3
    return budget is not None and request.costs and round(spent + request.reckoned, 6) > budget


def _over_month(request: Request) -> bool:
    spent = request.facts.spent
    return spent is not None and _exceeds(request.config.budgets.month, request, spent.month)


def _over_person(request: Request) -> bool:
    spent = request.facts.spent
    return spent is not None and _exceeds(request.config.budgets.person, request, spent.person)


def _over_cloud(request: Request) -> bool:
    spent, cloud = request.facts.spent, request.plan.cloud
    budget = request.config.budgets.clouds.get(cloud)
    return spent is not None and _exceeds(budget, request, spent.clouds.get(cloud, 0.0))


def _over(budget: str) -> Callable[[Request], str]:
    def says(request: Request) -> str:
        return f"{format_usd(request.reckoned)} at worst is more than {budget} has left"

    return says


_APPROVE = "/approve with the plan's id runs exactly that"
_WAIT = "wait for other runs to be settled or for the next month, or ask for less"
_OTHER_TARGET = "rpac.yaml of the default branch says what is allowed"

PLAN: tuple[Rule[Request], ...] = (
    Rule("head-moved", _has_moved, hint="look at what is new, and comment again"),
    Rule(
        "sha-differs",
        _is_other_commit,
        lambda r: f"sha= names another commit than {r.plan.head_sha[:12]}",
        "leave sha= out, or name the commit that is there now",
    ),
    Rule(
        "cloud-not-allowed",
        lambda r: r.plan.cloud not in r.config.allow.clouds,
        lambda r: f"the cloud {r.plan.cloud} is not allowed here",
        lambda r: f"allowed are: {', '.join(r.config.allow.clouds) or 'none'}",
    ),
    Rule(
        "region-not-allowed",
        lambda r: _is_elsewhere(r.plan.region, r.config.allow.regions.get(r.plan.cloud)),
        hint=_OTHER_TARGET,
    ),
    Rule(
        "machine-not-allowed",
        lambda r: _is_elsewhere(r.plan.machine, r.config.allow.machines.get(r.plan.cloud)),
        hint=_OTHER_TARGET,
    ),
    Rule("image-not-pinned", lambda r: not r.plan.image_pinned, hint="name@sha256:… pins it"),
    Rule("registry-not-allowed", _is_other_registry, hint=_OTHER_TARGET),
    Rule(
        "price-unknown",
        lambda r: r.plan.worst_case is None,
        hint="rpac catalog show lists the machines whose price is known: machine=…",
    ),
    Rule("price-implausible", lambda r: not r.reckoned >= 0),
    Rule(
        "cost-limit-too-low",
        lambda r: r.plan.cost_limit is not None and r.plan.cost_low > r.plan.cost_limit,
        lambda r: f"it costs {format_usd(r.plan.cost_low)} at least, more than its own limit",
        "raise cost= or limits.cost, or ask for less",
    ),
    Rule(
        "no-budget",
        _is_without_budget,
        hint="for example 'budgets: {run: 5 USD, month: 100 USD}' in rpac.yaml",
    ),
    Rule("ledger-unreadable", _is_ledger_unreadable, hint="comment again in some minutes"),
    Rule(
        "over-run-budget",
        lambda r: _exceeds(r.config.budgets.run, r),
        lambda r: f"{format_usd(r.reckoned)} at worst is more than one run may cost",
        "fewer or smaller machines, or less time",
    ),
    Rule("over-cloud-budget", _over_cloud, _over("this month's budget of the cloud"), _WAIT),
    Rule("over-person-budget", _over_person, _over("this month's budget of the person"), _WAIT),
    Rule("over-month-budget", _over_month, _over("this month's budget"), _WAIT),
)

# what is allowed, and still waits for somebody's word
QUESTIONS: tuple[Rule[Request], ...] = (
    Rule("planned", lambda r: r.facts.verb == "plan", kind=Kind.ASK, hint=_APPROVE),
    Rule(
        "from-fork",
        lambda r: r.facts.pull is not None and r.facts.pull.fork,
        kind=Kind.ASK,
        hint=_APPROVE,
    ),
    Rule("price-open", lambda r: r.plan.cost_high is None, kind=Kind.ASK, hint=_APPROVE),
    Rule(
        "cost-above-limit",
        lambda r: r.reckoned > r.config.auto_approve_below,
        lambda r: (
            f"it may cost {format_usd(r.reckoned)}, and without an approval at most "
            f"{format_usd(r.config.auto_approve_below)} are spent"
        ),
        _APPROVE,
        Kind.ASK,
    ),
    Rule(
        "other-cloud",
        # what a schedule asks for stands in the settings themselves
        lambda r: r.plan.changes_target and r.facts.action != Action.SCHEDULED,
        kind=Kind.ASK,
        hint=_APPROVE,
    ),
)
