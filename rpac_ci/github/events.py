"""
What happened on GitHub: the JSON of an event -> a typed record.

The only module that reads an event. The bytes may be anything: whatever is not exactly one of the
few events that matter becomes `Ignored`, with a reason code that stays the same over versions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from rpac_ci.github.fields import FieldError, Fields, Json

MAX_BYTES = 25 * 1024 * 1024  # GitHub sends no larger event
MAX_COMMAND = 65_536
DISPATCH_TYPE = "rpac"
RELEASED_TYPE = "rpac-run-released"  # by a function in a cloud


class Reason(StrEnum):
    """Why an event is not looked at; part of the public contract."""

    EVENT = "event-not-handled"
    ACTION = "action-not-handled"
    TOO_LARGE = "event-too-large"
    NOT_JSON = "event-not-json"
    DUPLICATE_KEY = "event-duplicate-key"
    TOO_DEEP = "event-too-deep"
    MALFORMED = "event-malformed"


class Via(StrEnum):
    """How a command came without a comment."""

    WORKFLOW_DISPATCH = "workflow_dispatch"
    REPOSITORY_DISPATCH = "repository_dispatch"


class PullAction(StrEnum):
    """What happened to a pull request."""

    OPENED = "opened"
    SYNCHRONIZE = "synchronize"
    REOPENED = "reopened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """The repository an event belongs to."""

    id: int
    full_name: str
    default_branch: str
    private: bool
    fork: bool
    archived: bool
    owner_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An account; `kind` is GitHub's `User`, `Bot`, `Organization` or `Mannequin`."""

    id: int
    login: str
    kind: str

    @property
    def is_bot(self) -> bool:
        """Whether anything but a person's own account speaks."""
        return self.kind != "User" or self.login.endswith("[bot]")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentCreated:
    """A new comment on an issue or a pull request; `app` is the GitHub App it was made through."""

    repository: Repository
    number: int
    is_pull: bool
    state: str
    locked: bool
    comment_id: int
    body: str
    author: Person
    sender: Person
    created_at: datetime
    url: str
    app: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullChanged:
    """A pull request was opened, pushed to, reopened or closed."""

    repository: Repository
    action: PullAction
    number: int
    head_sha: str
    head_ref: str
    head_repository: str | None  # None: the fork was deleted
    head_repository_id: int | None
    base_ref: str
    base_sha: str
    author: Person
    sender: Person
    draft: bool
    merged: bool
    state: str

    @property
    def same_repository(self) -> bool:
        """Whether the branch is in the repository itself, so that only its people can move it."""
        return self.head_repository_id == self.repository.id


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandDispatched:
    """A command that was sent without a comment; `ref` is the branch it was sent for."""

    repository: Repository
    command: str
    sender: Person
    ref: str
    via: Via


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """A notice that open runs should be looked at."""

    repository: Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """The timer; on some servers it does not say for which repository."""

    repository: Repository | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Nothing to do, and why."""

    code: Reason
    message: str


Event: TypeAlias = CommentCreated | PullChanged | CommandDispatched | Advance | Scheduled | Ignored


def read_event(name: str, raw: bytes) -> Event:
    """
    Read an event; never raises.

    Args:
        name: of the event, as in GITHUB_EVENT_NAME.
        raw: the event's file.

    Returns:
        The event, or `Ignored` with its reason. Of the event's text, at most its action is in the
        message, escaped and short.
    """
    reader = _READERS.get(name)
    if reader is None:
        return Ignored(code=Reason.EVENT, message=f"the event {name[:60]!r} is none of ours")
    if len(raw) > MAX_BYTES:
        return Ignored(code=Reason.TOO_LARGE, message=f"more than {MAX_BYTES} bytes")
    try:
        return reader(Fields.of(_parse(raw)))
    except _DuplicateKeyError:
        return Ignored(code=Reason.DUPLICATE_KEY, message="one object has a key twice")
    except RecursionError:
        return Ignored(code=Reason.TOO_DEEP, message="nested too deeply")
    except FieldError as exc:
        return Ignored(code=Reason.MALFORMED, message=str(exc)[:300])
    except ValueError:  # not UTF-8, not JSON, NaN, a number with thousands of digits
        return Ignored(code=Reason.NOT_JSON, message="the event's file is not JSON")


class _DuplicateKeyError(ValueError):
    """A key stands twice in one object, so that two readers may see two values."""


def _parse(raw: bytes) -> Json:
    document: Json = json.loads(
        raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
    )
    return document


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise _DuplicateKeyError
    return read


def _no_constant(word: str) -> Json:
    raise ValueError(word)


def _comment(event: Fields) -> Event:
    if (action := event.text("action")) != "created":
        return _not_handled(action)
    issue, comment = event.object("issue"), event.object("comment")
    app = comment.optional("performed_via_github_app")
    return CommentCreated(
        repository=_repository(event.object("repository")),
        number=issue.id("number"),
        is_pull=issue.optional("pull_request") is not None,
        state=issue.one_of("state", "open", "closed"),
        locked=issue.flag("locked"),
        comment_id=comment.id("id"),
        body=comment.text("body"),
        author=_person(comment.object("user")),
        sender=_person(event.object("sender")),
        created_at=comment.time("created_at"),
        url=comment.url("html_url"),
        app=app.id("id") if app else None,
    )


def _pull(event: Fields) -> Event:
    if (action := event.text("action")) not in _PULL_ACTIONS:
        return _not_handled(action)
    pull = event.object("pull_request")
    head, base = pull.object("head"), pull.object("base")
    fork = head.optional("repo")
    return PullChanged(
        repository=_repository(event.object("repository")),
        action=PullAction(action),
        number=pull.id("number"),
        head_sha=head.sha("sha"),
        head_ref=head.ref("ref"),
        head_repository=fork.full_name("full_name") if fork else None,
        head_repository_id=fork.id("id") if fork else None,
        base_ref=base.ref("ref"),
        base_sha=base.sha("sha"),
        author=_person(pull.object("user")),
        sender=_person(event.object("sender")),
        draft=pull.flag("draft"),
        merged=pull.flag("merged"),
        state=pull.one_of("state", "open", "closed"),
    )


def _workflow_dispatch(event: Fields) -> Event:
    return CommandDispatched(
        repository=_repository(event.object("repository")),
        command=_command(event.object("inputs")),
        sender=_person(event.object("sender")),
        ref=event.ref("ref"),
        via=Via.WORKFLOW_DISPATCH,
    )


def _repository_dispatch(event: Fields) -> Event:
    if (action := event.text("action")) not in (DISPATCH_TYPE, RELEASED_TYPE):
        return _not_handled(action)
    payload = event.object("client_payload")
    repository = _repository(event.object("repository"))
    if action == RELEASED_TYPE:
        # what it says of a run is a hint: all are looked at, and what their stores say counts
        return Advance(repository=repository)
    if payload.value == {"advance": True} and payload.flag("advance"):
        return Advance(repository=repository)
    if set(payload.value) != {"command"}:
        raise FieldError('client_payload: expected {"advance": true} or {"command": "…"}')
    return CommandDispatched(
        repository=repository,
        command=_command(payload),
        sender=_person(event.object("sender")),
        ref=event.ref("branch"),
        via=Via.REPOSITORY_DISPATCH,
    )


def _schedule(event: Fields) -> Event:
    repository = event.optional("repository")
    return Scheduled(repository=_repository(repository) if repository else None)


def _repository(repository: Fields) -> Repository:
    return Repository(
        id=repository.id("id"),
        full_name=repository.full_name("full_name"),
        default_branch=repository.ref("default_branch"),
        private=repository.flag("private"),
        fork=repository.flag("fork"),
        archived=repository.flag("archived"),
        owner_id=repository.object("owner").id("id"),
    )


def _person(person: Fields) -> Person:
    return Person(id=person.id("id"), login=person.login("login"), kind=person.line("type", 40))


def _command(fields: Fields) -> str:
    command = fields.text("command")
    if not command.strip() or len(command) > MAX_COMMAND:
        raise fields.wrong("command", f"1 to {MAX_COMMAND} characters")
    return command


def _not_handled(action: str) -> Ignored:
    return Ignored(code=Reason.ACTION, message=f"the action {action[:60]!r} is none of ours")


_PULL_ACTIONS = {str(action) for action in PullAction}
_READERS: Mapping[str, Callable[[Fields], Event]] = MappingProxyType(
    {
        "issue_comment": _comment,
        "pull_request": _pull,
        "workflow_dispatch": _workflow_dispatch,
        "repository_dispatch": _repository_dispatch,
        "schedule": _schedule,
    }
)
