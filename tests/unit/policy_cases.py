"""Requests for tests of the policy: one that proceeds, and others that differ in some facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rpac_ci.policy import Approval, Facts, Person, Planned, Pull, Repository, Spent
from rpac_ci.site_config import SiteConfig

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HEAD = "a" * 40
OTHER = "b" * 40
AUTHOR, OCTOCAT, MAINTAINER = 11, 22, 33
AWS: dict[str, Any] = {"clouds": ["aws"]}
FORK: dict[str, Any] = {"pull_fork": True, "pull_head_repository": "reader/code"}
MONEY: dict[str, Any] = {
    "budgets": {"run": "10 USD", "month": "100 USD", "person": "50 USD"},
    "allow": {"clouds": ["local", "aws"]},
}


def site(**keys: Any) -> SiteConfig:
    """Settings as `rpac.yaml` would say them."""
    return SiteConfig.model_validate(keys)


def allowing(**keys: Any) -> SiteConfig:
    """Settings that allow AWS, some of it."""
    return site(allow={**AWS, **keys})


PERSON = Person(id=OCTOCAT, login="octocat", kind="User", role="write")
REPOSITORY = Repository(default_branch="main", archived=False, private=False)
PULL = Pull(
    number=7, author=AUTHOR, state="open", merged=False, draft=False, locked=False, fork=False,
    head_sha=HEAD, head_repository="lab/code", base_ref="main", default_branch="main",
)  # fmt: skip
PLAN = Planned(
    id="0123456789abcdef", experiment="exp-42", cloud="local", region=None, machine=None,
    registry=None, image_pinned=True, cost_low=0.0, cost_high=0.0, cost_limit=None, head_sha=HEAD,
    changes_target=False,
)  # fmt: skip
APPROVAL = Approval(
    plan=PLAN, pull=7, made_at=NOW - timedelta(hours=1), used=False, stale=False, digest_ok=True,
    requester=OCTOCAT, base_changed=False,
)  # fmt: skip
FREE = Facts(
    config=site(), config_problem="", verb="reproduce", person=PERSON, sender_is_author=True,
    action="created", repository=REPOSITORY, pull=PULL, sha_asked=None, head_moved=False,
    planned=PLAN, spent=Spent(month=0.0, person=0.0), approval=None, now=NOW, attempt=1,
    comment_age_s=2.0,
)  # fmt: skip
PARTS = {
    "person": Person, "repository": Repository, "pull": Pull, "planned": Planned, "spent": Spent,
    "approval": Approval,
}  # fmt: skip


def ask(facts: Facts = FREE, **changes: Any) -> Facts:
    """Facts with other ones; `pull_draft=True` changes one of a part."""
    for name, value in changes.items():
        part, _, rest = name.partition("_")
        if part in PARTS and rest:
            value, name = replace(getattr(facts, part), **{rest: value}), part
        facts = replace(facts, **{name: value})
    return facts


def approve(**changes: Any) -> Facts:
    """A maintainer approves, who is neither author nor asked for it; `plan_…` changes the plan."""
    plan = {n.removeprefix("plan_"): v for n, v in changes.items() if n.startswith("plan_")}
    changes = {n: v for n, v in changes.items() if not n.startswith("plan_")}
    facts = ask(
        verb="approve", person_id=MAINTAINER, person_role="maintain", planned=None,
        approval=replace(APPROVAL, plan=replace(PLAN, **plan)),
    )  # fmt: skip
    return ask(facts, **changes)


def paid(high: float | None = 5.0, low: float = 1.0, **changes: Any) -> Facts:
    """A run that costs money, where some may be spent without an approval."""
    changes = {"config": site(**MONEY, auto_approve_below="5 USD"), **changes}
    return ask(planned_cloud="aws", planned_cost_low=low, planned_cost_high=high, **changes)
