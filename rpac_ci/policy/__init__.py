"""
The policy: a request and the facts about it -> proceed, ask, refuse or ignore. Pure.

Rules stand in tables, and the first one that applies decides. Their order is deliberate: what is no
request at all is ignored first; then who asks, so that strangers learn nothing else; then where;
then what would run and what it may cost. A request that no rule stops proceeds. Whatever is not
known, or is no number, is a reason to refuse.
"""

from __future__ import annotations

from rpac_ci.policy.facts import (
    SCHEDULE,
    Action,
    Approval,
    Decision,
    Facts,
    Kind,
    Person,
    Planned,
    Pull,
    Repository,
    Spent,
)
from rpac_ci.policy.plans import PLAN, QUESTIONS, Request
from rpac_ci.policy.reasons import REASONS
from rpac_ci.policy.rules import (
    ADMISSION,
    APPROVAL,
    PLAN_AGAIN,
    STARTING,
    Approving,
    decision,
    first,
)
from rpac_ci.site_config import SiteConfig

__all__ = [
    "REASONS",
    "SCHEDULE",
    "Action",
    "Approval",
    "Decision",
    "Facts",
    "Kind",
    "Person",
    "Planned",
    "Pull",
    "Repository",
    "Spent",
    "admit",
    "decide",
]


def admit(facts: Facts) -> Decision:
    """
    What can be decided before anything is planned: who asks, where, and for what.

    Returns:
        `proceed` with the code `admitted` where nothing stands against the request so far.
    """
    return first(ADMISSION, facts) or decision(Kind.PROCEED, "admitted")


def decide(facts: Facts) -> Decision:
    """
    What becomes of a request; never raises.

    Args:
        facts: everything about it; `planned` for reproduce and plan, `approval` for approve.

    Returns:
        The decision, with one of the codes of `REASONS`.
    """
    admitted = admit(facts)
    if admitted.kind is not Kind.PROCEED or facts.verb not in STARTING:
        return admitted
    if facts.config is None:
        return decision(Kind.REFUSE, "settings-unreadable")
    if facts.verb == "approve":
        return _approve(facts, facts.config)
    if facts.planned is None:
        return decision(Kind.REFUSE, "plan-missing")
    request = Request(facts, facts.config, facts.planned)
    answer = first(PLAN, request) or first(QUESTIONS, request)
    return answer or decision(Kind.PROCEED, "within-limits")


def _approve(facts: Facts, config: SiteConfig) -> Decision:
    approval = facts.approval
    if approval is None or approval.plan is None:
        return decision(Kind.REFUSE, "unknown-plan", hint=PLAN_AGAIN)
    refused = first(APPROVAL, Approving(facts, config, approval))
    # what is allowed, and what is left to spend, may have changed since the plan was made
    refused = refused or first(PLAN, Request(facts, config, approval.plan))
    return refused or decision(Kind.PROCEED, "approved")
