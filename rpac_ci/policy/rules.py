"""
The rules of the policy, as tables: the first line that applies decides. Pure.

Here are the rules about who asks, where and for what, and those about approvals; `plans` has
those about what would run. Each table is for one kind of case, made once the tables before it had
nothing to say, so that no rule asks whether there is a plan or settings at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from rpac_ci.command_table import Role
from rpac_ci.policy.facts import SCHEDULE, Action, Approval, Decision, Facts, Kind, Pull
from rpac_ci.policy.reasons import REASONS
from rpac_ci.quantities import format_duration
from rpac_ci.site_config import DEFAULT_ROLES, Forks, SiteConfig

MAX_AGE_S = 48 * 3600.0  # as long as the ledger surely knows what was handled
MAX_SKEW_S = 300.0  # between GitHub's clock and ours
STARTING = frozenset({"reproduce", "plan", "approve"})
LOCKED_OUT = STARTING | {"accept"}  # where nothing new is wanted
CHANGING = STARTING | {"accept", "cancel"}
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Rule(Generic[C]):
    """
    One line of a table.

    Attributes:
        code: the reason's.
        applies: when it decides.
        says: words about this case, in place of the code's general meaning.
        hint: what to do about it.
        kind: what then becomes of the request.
    """

    code: str
    applies: Callable[[C], bool]
    says: Callable[[C], str] | None = None
    hint: Callable[[C], str] | str = ""
    kind: Kind = Kind.REFUSE


def first(rules: Iterable[Rule[C]], case: C) -> Decision | None:
    """What the first rule that applies says; None where none does."""
    for rule in rules:
        if rule.applies(case):
            hint = rule.hint if isinstance(rule.hint, str) else rule.hint(case)
            message = rule.says(case) if rule.says else ""
            return decision(rule.kind, rule.code, message, hint)
    return None


def decision(kind: Kind, code: str, message: str = "", hint: str = "") -> Decision:
    """A decision, with the code's meaning where there are no better words."""
    return Decision(kind=kind, code=code, message=message or REASONS[code], hint=hint)


# --- who asks, where, for what


def _needed(facts: Facts) -> Role | None:
    """The role that a command needs; None for a word that is no command."""
    roles = facts.config.roles if facts.config else DEFAULT_ROLES
    role = roles.get(facts.verb)
    if role is Role.READ and facts.verb in CHANGING and not facts.repository.private:
        return Role.TRIAGE  # in a public repository everybody has read
    return role


def _held(facts: Facts) -> Role | None:
    return Role(facts.person.role) if facts.person.role in _ROLES else None


_ROLES = frozenset(Role)


def _is_odd(facts: Facts) -> bool:
    """Whether the parts of a request do not belong together."""
    if facts.action == Action.SCHEDULED:
        return facts.verb != "reproduce" or facts.pull is not None or facts.person != SCHEDULE
    return facts.action not in _ACTIONS or facts.person.kind == SCHEDULE.kind


_ACTIONS = frozenset(Action)


def _is_bot(facts: Facts) -> bool:
    person = facts.person
    if facts.action == Action.SCHEDULED:
        return False
    human = person.kind == "User" and not person.login.endswith("[bot]")
    return not human and not (facts.config and person.id in facts.config.bots)


def _lacks_role(facts: Facts) -> bool:
    needed, held = _needed(facts), _held(facts)
    return needed is None or held is None or not held.includes(needed)


def _starts_on_pull(applies: Callable[[Pull], bool]) -> Callable[[Facts], bool]:
    return lambda f: f.pull is not None and f.verb in STARTING and applies(f.pull)


def _is_locked(facts: Facts) -> bool:
    # whoever locked it wants no more of it; what runs can still be looked at and cancelled
    return facts.pull is not None and facts.pull.locked and facts.verb in LOCKED_OUT


_DEFAULT_BRANCH = "comment on an issue: there, experiments of the default branch are run"

ADMISSION: tuple[Rule[Facts], ...] = (
    Rule("action-not-handled", _is_odd, kind=Kind.IGNORE),
    Rule("repeated-attempt", lambda f: f.attempt != 1, kind=Kind.IGNORE),
    Rule("bot", _is_bot, kind=Kind.IGNORE),
    Rule(
        "sender-differs",
        lambda f: f.action == Action.CREATED and not f.sender_is_author,
        kind=Kind.IGNORE,
    ),
    Rule("unknown-command", lambda f: f.verb not in DEFAULT_ROLES, hint="/help lists them"),
    Rule("archived", lambda f: f.repository.archived),
    Rule(
        "comment-too-old",
        lambda f: not -MAX_SKEW_S <= f.comment_age_s <= MAX_AGE_S,
        hint="comment again",
    ),
    Rule(
        "role-unreadable",
        lambda f: f.person.role is None,
        hint="comment again; if that does not help, rpac doctor names a missing right",
    ),
    Rule("role-unknown", lambda f: _held(f) is None, hint=f"known are {', '.join(Role)}"),
    Rule(
        "role-too-low",
        _lacks_role,
        lambda f: f"/{f.verb} needs the role {_needed(f)}, and this account has {f.person.role}",
        lambda f: f"somebody with the role {_needed(f)} can comment the same",
    ),
    Rule(
        "settings-unreadable",
        lambda f: f.config is None and f.verb != "help",
        lambda f: f"rpac.yaml of the default branch cannot be used: {f.config_problem}",
        "correct it on the default branch; rpac doctor checks it",
    ),
    Rule(
        "disabled",
        # what runs can still be cancelled
        lambda f: not (f.config is None or f.config.enabled) and f.verb in LOCKED_OUT,
        hint="'enabled: true' in rpac.yaml of the default branch switches it on",
    ),
    Rule("locked", _is_locked, hint=f"unlock the conversation, or {_DEFAULT_BRANCH}"),
    Rule("pull-merged", _starts_on_pull(lambda p: p.merged), hint=_DEFAULT_BRANCH),
    Rule(
        "pull-closed", _starts_on_pull(lambda p: p.state != "open"), hint="reopen the pull request"
    ),
    Rule(
        "head-repository-gone",
        _starts_on_pull(lambda p: p.head_repository is None),
        hint="open a new pull request from a repository that is there",
    ),
    Rule("head-unknown", _starts_on_pull(lambda p: not COMMIT.fullmatch(p.head_sha))),
    Rule("files-unreadable", _starts_on_pull(lambda p: not p.files_readable)),
    Rule(
        "forks-never",
        lambda f: (
            f.pull is not None
            and f.pull.fork
            and f.verb in STARTING
            and (f.config is None or f.config.forks is not Forks.ASK)
        ),
        hint="somebody who can push may bring the commits to a branch of this repository",
    ),
    # A draft of the repository's own branch is where its people try things. One from elsewhere
    # would take a maintainer's reading for what its author calls unfinished.
    Rule(
        "draft-fork",
        _starts_on_pull(lambda p: p.draft and p.fork),
        hint="mark the pull request as ready for review",
    ),
)


# --- approvals


@dataclass(frozen=True, slots=True)
class Approving:
    """Somebody approves a plan that there is."""

    facts: Facts
    config: SiteConfig
    approval: Approval

    @property
    def place(self) -> int | None:
        """Number of the pull request where it is approved."""
        return self.facts.pull.number if self.facts.pull else None

    @property
    def first_person(self) -> int:
        """Who stands for the request, so that an approval is another one's word."""
        return self.facts.pull.author if self.facts.pull else self.approval.requester


def _is_fresh(made_at: datetime, now: datetime, expires_s: float) -> bool:
    if made_at.utcoffset() is None or now.utcoffset() is None:
        return False  # times without a zone cannot be told apart from others
    return -MAX_SKEW_S <= (now - made_at).total_seconds() < expires_s


PLAN_AGAIN = "/plan makes a new one"

APPROVAL: tuple[Rule[Approving], ...] = (
    Rule("plan-altered", lambda a: not a.approval.digest_ok, hint=PLAN_AGAIN),
    Rule("plan-of-another-place", lambda a: a.approval.pull != a.place, hint=PLAN_AGAIN),
    Rule("plan-used", lambda a: a.approval.used, hint=PLAN_AGAIN),
    Rule(
        "plan-expired",
        lambda a: not _is_fresh(a.approval.made_at, a.facts.now, a.config.approval.expires),
        lambda a: f"the plan is older than {format_duration(a.config.approval.expires)}",
        PLAN_AGAIN,
    ),
    Rule("plan-stale", lambda a: a.approval.stale, hint=PLAN_AGAIN),
    Rule("base-changed", lambda a: a.approval.base_changed, hint=PLAN_AGAIN),
    Rule(
        "own-request",
        lambda a: a.facts.person.id == a.first_person and not a.config.approval.by_author,
        hint="somebody else may approve; 'approval: {by_author: true}' in rpac.yaml allows it",
    ),
)
