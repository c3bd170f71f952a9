"""
What the policy is told, and what it answers. Values only.

None stands for what could not be found out, and never speaks for a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from rpac_ci.site_config import SiteConfig


class Kind(StrEnum):
    """What becomes of a request."""

    PROCEED = "proceed"
    ASK = "ask"  # the plan is shown, and waits for /approve
    REFUSE = "refuse"  # with an answer
    IGNORE = "ignore"  # without one, so that bots do not talk to each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An answer: what happens, a code that stays the same over versions, words for people."""

    kind: Kind
    code: str
    message: str
    hint: str = ""


class Action(StrEnum):
    """How a request came: a new comment, a dispatched workflow, the site's own schedule."""

    CREATED = "created"
    DISPATCHED = "dispatched"
    SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who asks, by numeric id; `role` is as GitHub's permission endpoint names it."""

    id: int
    login: str
    kind: str  # User, Bot, …
    role: str | None


# asks for what `rerun:` of the default branch's settings says, and for nothing else
SCHEDULE: Final = Person(id=0, login="schedule", kind="Schedule", role="admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Where it happens."""

    default_branch: str
    archived: bool
    private: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A pull request as it was read last."""

    number: int
    author: int
    state: str
    merged: bool
    draft: bool
    locked: bool
    fork: bool
    head_sha: str
    head_repository: str | None  # None: deleted
    base_ref: str
    default_branch: str
    files_readable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What would run; costs in USD."""

    id: str
    experiment: str
    cloud: str
    region: str | None
    machine: str | None
    registry: str | None  # name of the image, without digest; None: no image is asked for
    image_pinned: bool  # also where there is no image
    cost_low: float
    cost_high: float | None  # worst case
    cost_limit: float | None  # where the run is stopped
    head_sha: str
    changes_target: bool  # to another cloud than the site's own

    @property
    def worst_case(self) -> float | None:
        """What to reckon with; a limit stands in for a price that is not known."""
        return self.cost_limit if self.cost_high is None else self.cost_high


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What is spent and reserved this month, in USD: in all, by this person, on each cloud."""

    month: float
    person: float
    clouds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A plan that somebody approves; without a plan there is none of this id."""

    plan: Planned | None
    pull: int | None  # where it was made; None: not on a pull request
    made_at: datetime
    used: bool
    stale: bool  # the tree changed, in more than reports/
    digest_ok: bool  # its content has the id it goes by
    requester: int
    base_changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a decision hangs on."""

    config: SiteConfig | None  # of the default branch; None: it has mistakes or cannot be read
    config_problem: str
    verb: str
    person: Person
    sender_is_author: bool
    action: str
    repository: Repository
    pull: Pull | None  # None: asked for somewhere else, about the default branch
    sha_asked: str | None
    head_moved: bool
    planned: Planned | None
    spent: Spent | None
    approval: Approval | None
    now: datetime
    attempt: int  # of the workflow run
    comment_age_s: float
