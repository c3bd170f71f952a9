"""
What the ledger holds: plans people may approve, runs that were dispatched, what they cost.

A ticket's id is the hash of all the ticket says, so an approval binds the commit, the pipeline, the
cloud, the image and the cost that people saw, and nothing else.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from rpac_ci.canonical import canonical_json, readable_json
from rpac_ci.documents import Model

ID_DIGITS = 16


class _Document(Model):
    def to_bytes(self) -> bytes:
        """The bytes that stand in the ledger."""
        return readable_json(self.to_json())


class Ticket(_Document):
    """A plan as it was shown: enough to run exactly that, whatever becomes of the branch."""

    schema_: Annotated[Literal["rpac/plan/1"], Field(alias="schema")] = "rpac/plan/1"
    id: str = ""
    repository: int
    pull: int | None
    comment: int | None  # that asked for it
    requester: int
    words: str
    experiment: str
    target: str
    head: str  # commit
    base: str | None  # branch that the pull request wants to go to
    tree: str  # of the commit, without reports/
    pipeline: str  # digest
    science: str
    cloud: str
    region: str | None
    machine: str | None
    image: str | None
    nodes: int
    cost_low: float
    cost_high: float | None  # worst case in USD; None: not known
    cost_limit: float | None  # where the run is stopped
    minutes: int  # that the run may take, from dispatch to release
    made_at: str
    created: dict[str, Any]  # the run's first event

    def signed(self) -> Self:
        """The ticket with its id."""
        return self.model_copy(update={"id": self.digest_id()})

    def digest_id(self) -> str:
        """The id that the content has."""
        content = canonical_json({**self.to_json(), "id": ""})
        return hashlib.sha256(content).hexdigest()[:ID_DIGITS]


class Dispatch(_Document):
    """A run that was sent off, with what it may cost at most."""

    schema_: Annotated[Literal["rpac/dispatch/1"], Field(alias="schema")] = "rpac/dispatch/1"
    run: str
    ticket: str
    experiment: str
    cloud: str
    pull: int | None
    issue: int | None  # or pull request, where it is talked about
    comment: int | None  # that asked for it, or that approved
    actor: int
    approved_by: int | None = None
    reserved_usd: float
    at: str
    minutes: int
    workflow_run: int | None
    rerun: bool = False  # by a schedule


class Cancelled(_Document):
    """Somebody wants a run on a provider's machines to stop; who looks after it sees to that."""

    schema_: Annotated[Literal["rpac/cancellation/1"], Field(alias="schema")] = (
        "rpac/cancellation/1"
    )
    run: str
    actor: int
    comment: int | None
    at: str


class StudyMember(Model):
    """One run of a study, and what of the lists it has."""

    run: str
    changes: dict[str, str]


class StudyOrder(_Document):
    """Several runs that one command sent off, for a page over them."""

    schema_: Annotated[Literal["rpac/study-order/1"], Field(alias="schema")] = "rpac/study-order/1"
    study: str
    experiment: str
    words: list[str]
    members: list[StudyMember]
    pull: int | None
    issue: int | None


class Settlement(_Document):
    """What a dispatched run cost in the end, and how it came out."""

    schema_: Annotated[Literal["rpac/settlement/1"], Field(alias="schema")] = "rpac/settlement/1"
    run: str
    outcome: str
    cost_usd: float | None  # None: not known, so the reservation stands


class Handled(_Document):
    """A comment that was answered, so that nothing of it is done twice."""

    schema_: Annotated[Literal["rpac/handled/1"], Field(alias="schema")] = "rpac/handled/1"
    comment: int
    actor: int
    at: str
    workflow_run: int | None
    codes: list[str]
    runs: list[str]
    tickets: list[str]


class Approved(_Document):
    """The one use of a ticket."""

    schema_: Annotated[Literal["rpac/approval/1"], Field(alias="schema")] = "rpac/approval/1"
    ticket: str
    run: str
    actor: int
    comment: int | None
    at: str
