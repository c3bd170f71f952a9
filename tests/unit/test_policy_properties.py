"""What holds for any facts: nothing raises, nothing closed gets through, money only restricts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.command_table import Role
from rpac_ci.policy import (
    REASONS,
    SCHEDULE,
    Approval,
    Decision,
    Facts,
    Kind,
    Person,
    Planned,
    Pull,
    Repository,
    Spent,
    admit,
    decide,
)
from rpac_ci.site_config import CLOUDS, DEFAULT_ROLES
from tests.unit.policy_cases import (
    APPROVAL,
    AUTHOR,
    AWS,
    FORK,
    FREE,
    HEAD,
    MAINTAINER,
    NOW,
    OCTOCAT,
    OTHER,
    PLAN,
    approve,
    ask,
    paid,
    site,
)

text = st.text(max_size=6)
dollars = st.sampled_from([0.0, 0.5, 1.0, 5.0, 20.0]) | st.floats()
maybe_dollars = st.none() | dollars
usd = st.sampled_from(["0 USD", "0.5 USD", "1 USD", "7 USD", "1000 USD"])
flags = st.booleans()
shas = st.sampled_from([HEAD, OTHER, "", "main", HEAD[:7]])
times = st.sampled_from([NOW, NOW - timedelta(hours=2), NOW.replace(tzinfo=None)]) | st.datetimes(
    timezones=st.none() | st.just(UTC)
)
clouds = st.sampled_from(["local", "aws", "azure", "gcp"])
people = st.just(SCHEDULE) | st.builds(
    Person, id=st.sampled_from([AUTHOR, OCTOCAT, MAINTAINER, 44]), login=text,
    kind=st.sampled_from(["User", "User", "Bot", "Schedule", ""]),
    role=st.sampled_from([*Role, *Role, None, "none", "owner"]),
)  # fmt: skip
pulls = st.builds(
    Pull, number=st.sampled_from([7, 8]), author=st.sampled_from([AUTHOR, OCTOCAT]),
    state=st.sampled_from(["open", "open", "closed", ""]), merged=flags, draft=flags, locked=flags,
    fork=flags, head_sha=shas, head_repository=st.sampled_from([None, "lab/code", "reader/code"]),
    base_ref=text, default_branch=text, files_readable=flags,
)  # fmt: skip
plans = st.builds(
    Planned, id=text, experiment=text, cloud=clouds, region=st.none() | text,
    machine=st.none() | text, registry=st.none() | text, image_pinned=flags, cost_low=dollars,
    cost_high=maybe_dollars, cost_limit=maybe_dollars, head_sha=shas, changes_target=flags,
)  # fmt: skip
spendings = st.builds(
    Spent, month=dollars, person=dollars, clouds=st.dictionaries(clouds, dollars, max_size=2)
)
approvals = st.builds(
    Approval, plan=st.none() | plans, pull=st.sampled_from([None, 7, 8]), made_at=times, used=flags,
    stale=flags, digest_ok=flags, requester=st.sampled_from([OCTOCAT, MAINTAINER]),
    base_changed=flags,
)  # fmt: skip
sites = st.builds(
    site,
    enabled=st.sampled_from([True, True, False]),
    auto_approve_below=usd,
    approval=st.fixed_dictionaries({"by_author": flags}),
    budgets=st.fixed_dictionaries({}, optional={"run": usd, "month": usd, "person": usd}),
    allow=st.fixed_dictionaries({"clouds": st.lists(st.sampled_from(CLOUDS), max_size=3)}),
    forks=st.sampled_from(["ask", "never"]),
    bots=st.sampled_from([[], [44]]),
    roles=st.dictionaries(st.sampled_from(sorted(DEFAULT_ROLES)), st.sampled_from(list(Role))),
)
anything = st.builds(
    Facts, config=st.none() | sites, config_problem=text,
    verb=st.sampled_from([*DEFAULT_ROLES, "", "sweep"]), person=people, sender_is_author=flags,
    action=st.sampled_from(["created", "dispatched", "scheduled", "edited", ""]),
    repository=st.builds(Repository, default_branch=text, archived=flags, private=flags),
    pull=st.none() | pulls, sha_asked=st.none() | shas, head_moved=flags, planned=st.none() | plans,
    spent=st.none() | spendings, approval=st.none() | approvals, now=times,
    attempt=st.sampled_from([1, 1, 0, 2]), comment_age_s=st.sampled_from([0.0, 1e6]) | st.floats(),
)  # fmt: skip


CHANGES: Mapping[str, st.SearchStrategy[Any]] = {
    "config": st.none() | sites, "person": people, "pull": st.none() | pulls,
    "planned": st.none() | plans, "spent": st.none() | spendings,
    "approval": st.none() | approvals, "approval_plan": st.none() | plans, "head_moved": flags,
    "sender_is_author": flags, "attempt": st.integers(0, 2), "sha_asked": st.none() | shas,
    "planned_cost_high": maybe_dollars, "planned_cost_low": dollars, "planned_cloud": clouds,
    "planned_cost_limit": maybe_dollars, "spent_month": dollars, "pull_fork": flags,
    "pull_head_sha": shas, "approval_used": flags, "approval_pull": st.sampled_from([None, 7, 8]),
    "person_role": st.sampled_from([*Role, None]), "person_id": st.sampled_from([AUTHOR, OCTOCAT]),
}  # fmt: skip


@st.composite
def likely(draw: st.DrawFn) -> Facts:
    """A request that would proceed, but for a few facts that are anything."""
    facts = draw(
        st.sampled_from([FREE, ask(pull=None), approve(), approve(**FORK), paid(), paid(0.5)])
    )
    for name in draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True)):
        part = name.partition("_")[0]
        if not hasattr(facts, part) or getattr(facts, part) is not None:
            facts = ask(facts, **{name: draw(CHANGES[name])})
    return facts


def closed(facts: Facts) -> list[str]:
    """Reasons for which nothing may ever proceed, told without the policy's own tables."""
    plan = facts.planned
    if facts.verb == "approve":
        plan = facts.approval.plan if facts.approval else None
    found = {
        "role": facts.person.role not in list(Role),
        "settings": facts.config is None and facts.verb != "help",
        "attempt": facts.attempt != 1,
        "archived": facts.repository.archived,
        "sender": facts.action == "created" and not facts.sender_is_author,
    }
    if facts.verb in ("reproduce", "approve", "plan"):
        found |= {
            "plan": plan is None or facts.verb == "plan",
            "switch": facts.config is not None and not facts.config.enabled,
            "moved": facts.head_moved,
            "price": plan is not None and plan.cost_high is None and plan.cost_limit is None,
            "ledger": plan is not None and facts.spent is None and bool(plan.cost_high),
            "fork": facts.verb != "approve" and facts.pull is not None and facts.pull.fork,
            "cloud": bool(plan and facts.config and plan.cloud not in facts.config.allow.clouds),
            "image": plan is not None and not plan.image_pinned,
        }
    if facts.verb == "approve" and facts.approval:
        approval = facts.approval
        found |= {
            "used": approval.used,
            "stale": approval.stale,
            "altered": not approval.digest_ok,
            "place": approval.pull != (facts.pull.number if facts.pull else None),
        }
    return [name for name, holds in found.items() if holds]


def check(facts: Facts) -> Decision:
    decision = decide(facts)
    assert decision.code in REASONS
    assert decision.message
    if closed(facts):
        assert decision.kind is not Kind.PROCEED
    return decision


@given(anything)
def test_no_facts_make_it_raise_or_let_through_what_is_closed(facts: Facts) -> None:
    check(facts)


@given(likely())
def test_one_wrong_fact_is_enough_to_close(facts: Facts) -> None:
    check(facts)
    admitted = admit(facts)
    if admitted.kind is not Kind.PROCEED:
        assert decide(facts) == admitted


named = st.sampled_from(["run", "month", "person", "aws", "auto"])


def lowered(text: str, by: float) -> str:
    return f"{float(text.removesuffix(' USD')) * by:.4f} USD"


@given(
    spent=st.builds(
        Spent, month=st.floats(0, 200), person=st.floats(0, 200),
        clouds=st.fixed_dictionaries({"aws": st.floats(0, 200)}),
    ),
    high=st.floats(0, 30),
    limits=st.dictionaries(named, usd, min_size=1),
    which=named,
    by=st.floats(0, 1),
    facts=st.sampled_from([paid(), approve(plan_cloud="aws")]),
)  # fmt: skip
def test_with_less_to_spend_nothing_more_is_allowed(
    spent: Spent, high: float, limits: dict[str, str], which: str, by: float, facts: Facts
) -> None:
    def decided(limits: Mapping[str, str]) -> Kind:
        budgets: dict[str, Any] = {n: v for n, v in limits.items() if n not in ("aws", "auto")}
        budgets["clouds"] = {"aws": limits["aws"]} if "aws" in limits else {}
        config = site(allow=AWS, budgets=budgets, auto_approve_below=limits.get("auto", "0 USD"))
        plan = replace(PLAN, cloud="aws", cost_high=high)
        approval = replace(APPROVAL, plan=plan) if facts.approval else None
        changes = {"config": config, "spent": spent, "planned": plan, "approval": approval}
        return decide(ask(facts, **changes)).kind

    before = decided(limits)
    if which in limits:
        limits = {**limits, which: lowered(limits[which], by)}
    order = [Kind.REFUSE, Kind.ASK, Kind.PROCEED]
    assert order.index(decided(limits)) <= order.index(before)


@given(high=st.floats(0, 10), more=st.floats(0, 10))
def test_what_costs_more_is_not_easier_to_get(high: float, more: float) -> None:
    order = [Kind.REFUSE, Kind.ASK, Kind.PROCEED]
    dearer, cheaper = decide(paid(high + more, 0.0)), decide(paid(high, 0.0))
    assert order.index(dearer.kind) <= order.index(cheaper.kind)
