"""Events of GitHub: the few that matter are read exactly, everything else is ignored by name."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.github.events import (
    MAX_BYTES,
    MAX_COMMAND,
    Advance,
    CommandDispatched,
    CommentCreated,
    Event,
    Ignored,
    Person,
    PullAction,
    PullChanged,
    Reason,
    Repository,
    Scheduled,
    Via,
    read_event,
)
from rpac_ci.github.fields import is_full_name, is_ref, is_sha
from tests.conftest import asset

OCTOCAT = Person(id=583231, login="octocat", kind="User")
CONTRIBUTOR = Person(id=7300001, login="contributor", kind="User")
REPOSITORY = Repository(
    id=1296269,
    full_name="octocat/experiments",
    default_branch="main",
    private=False,
    fork=False,
    archived=False,
    owner_id=583231,
)
EVENTS = {
    "issue_comment_created": "issue_comment",
    "issue_comment_on_issue": "issue_comment",
    "issue_comment_by_app": "issue_comment",
    "pull_request_opened": "pull_request",
    "pull_request_synchronize_fork": "pull_request",
    "pull_request_closed_fork_gone": "pull_request",
    "workflow_dispatch": "workflow_dispatch",
    "repository_dispatch_command": "repository_dispatch",
    "repository_dispatch_advance": "repository_dispatch",
    "schedule": "schedule",
}
PAYLOADS = {file: json.loads(asset(f"events/{file}.json").read_bytes()) for file in EVENTS}


def event(file: str, name: str | None = None) -> Event:
    """The event of a file in tests/assets/events."""
    return read_event(name or EVENTS[file], asset(f"events/{file}.json").read_bytes())


def read(name: str, payload: object) -> Event:
    """The event of a payload."""
    return read_event(name, json.dumps(payload).encode())


def changed(file: str, path: str, value: object) -> Event:
    """The event of a file with one field changed; `...` removes it."""
    payload = copy.deepcopy(PAYLOADS[file])
    *above, last = path.split(".")
    node = payload
    for key in above:
        node = node[key]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return read(EVENTS[file], payload)


def test_a_comment_on_a_pull_request() -> None:
    assert event("issue_comment_created") == CommentCreated(
        repository=REPOSITORY,
        number=7,
        is_pull=True,
        state="open",
        locked=False,
        comment_id=3900000001,
        body="/reproduce exp-42 cloud=local",
        author=OCTOCAT,
        sender=OCTOCAT,
        created_at=datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        url="https://github.com/octocat/experiments/pull/7#issuecomment-3900000001",
        app=None,
    )


def test_a_comment_on_an_issue() -> None:
    read = event("issue_comment_on_issue")
    assert isinstance(read, CommentCreated)
    assert not read.is_pull
    assert read.author == CONTRIBUTOR


def test_a_comment_by_an_app_says_so() -> None:
    read = event("issue_comment_by_app")
    assert isinstance(read, CommentCreated)
    assert read.app == 15368
    assert read.author.is_bot
    assert not CONTRIBUTOR.is_bot


def test_a_pull_request_of_the_repository_itself() -> None:
    read = event("pull_request_opened")
    assert read == PullChanged(
        repository=REPOSITORY,
        action=PullAction.OPENED,
        number=7,
        head_sha="c0ffee0000000000000000000000000000000001",
        head_ref="add-exp-42",
        head_repository="octocat/experiments",
        head_repository_id=1296269,
        base_ref="main",
        base_sha="c0ffee0000000000000000000000000000000002",
        author=CONTRIBUTOR,
        sender=CONTRIBUTOR,
        draft=False,
        merged=False,
        state="open",
    )
    assert read.same_repository


def test_a_push_to_a_fork() -> None:
    read = event("pull_request_synchronize_fork")
    assert isinstance(read, PullChanged)
    assert read.head_repository == "contributor/experiments"
    assert not read.same_repository


def test_a_merged_pull_request_whose_fork_is_gone() -> None:
    read = event("pull_request_closed_fork_gone")
    assert isinstance(read, PullChanged)
    assert (read.action, read.merged, read.state) == (PullAction.CLOSED, True, "closed")
    assert read.head_repository is None
    assert not read.same_repository


def test_a_fork_that_took_the_name_of_the_repository_is_a_fork() -> None:
    read = changed("pull_request_synchronize_fork", "pull_request.head.repo.full_name",
                   "octocat/experiments")  # fmt: skip
    assert isinstance(read, PullChanged)
    assert not read.same_repository


@pytest.mark.parametrize(
    ("file", "ref", "via"),
    [
        ("workflow_dispatch", "refs/heads/main", Via.WORKFLOW_DISPATCH),
        ("repository_dispatch_command", "main", Via.REPOSITORY_DISPATCH),
    ],
)
def test_a_command_that_is_sent(file: str, ref: str, via: Via) -> None:
    assert event(file) == CommandDispatched(
        repository=REPOSITORY, command="/reproduce exp-42", sender=OCTOCAT, ref=ref, via=via
    )


def test_a_notice_and_the_timer() -> None:
    assert event("repository_dispatch_advance") == Advance(repository=REPOSITORY)
    assert event("schedule") == Scheduled(repository=REPOSITORY)
    assert read("schedule", {"schedule": "0 0 * * *"}) == Scheduled(repository=None)


@pytest.mark.parametrize(
    "name",
    [
        "", "push", "workflow_run", "pull_request_target", "pull_request_review",
        "pull_request_review_comment", "commit_comment", "discussion_comment", "issues",
        "check_run", "deployment", "ISSUE_COMMENT", "issue_comment\n", "\ud800",
    ],
)  # fmt: skip
def test_every_other_event_is_ignored_whatever_is_in_it(name: str) -> None:
    ignored = read_event(name, b"\xff not even JSON")
    assert isinstance(ignored, Ignored)
    assert ignored.code == Reason.EVENT
    assert ignored.message.isprintable()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("issue_comment_edited", "issue_comment"),
        ("issue_comment_deleted", "issue_comment"),
        ("pull_request_labeled", "pull_request"),
    ],
)
def test_every_other_action_is_ignored(file: str, name: str) -> None:
    ignored = event(file, name)
    assert isinstance(ignored, Ignored)
    assert ignored.code == Reason.ACTION


def test_another_type_of_repository_dispatch_is_ignored() -> None:
    ignored = changed("repository_dispatch_command", "action", "deploy")
    assert isinstance(ignored, Ignored)
    assert ignored.code == Reason.ACTION


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b"\xff\xfe{}", Reason.NOT_JSON),
        (b"\xef\xbb\xbf{}", Reason.NOT_JSON),
        ('{"action": "créated"}'.encode("latin-1"), Reason.NOT_JSON),
        ('{"action": "created"}'.encode("utf-16"), Reason.NOT_JSON),
        (b'{"a": NaN}', Reason.NOT_JSON),
        (b'{"a": -Infinity}', Reason.NOT_JSON),
        (b'{"a": ' + b"9" * 5000 + b"}", Reason.NOT_JSON),
        (b"{} {}", Reason.NOT_JSON),
        (b"payload=%7B%7D", Reason.NOT_JSON),
        (b"[]", Reason.MALFORMED),
        (b"null", Reason.MALFORMED),
        (b'"created"', Reason.MALFORMED),
        (b"{}", Reason.MALFORMED),
        (b'{"action": true}', Reason.MALFORMED),
        (b'{"action": "created"}', Reason.MALFORMED),
        (b'{"action": "edited", "action": "created"}', Reason.DUPLICATE_KEY),
        (b'{"action": "created", "comment": {"id": 1, "id": 2}}', Reason.DUPLICATE_KEY),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, Reason.TOO_DEEP),
        (b"[" * 100_000 + b"]" * 100_000, Reason.TOO_DEEP),
        (b" " * (MAX_BYTES + 1), Reason.TOO_LARGE),
    ],
    ids=lambda value: value[:30].decode("latin-1") if isinstance(value, bytes) else str(value),
)
def test_what_is_no_event(raw: bytes, code: Reason) -> None:
    ignored = read_event("issue_comment", raw)
    assert isinstance(ignored, Ignored)
    assert ignored.code == code
    assert len(ignored.message) <= 300


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("issue_comment_created", "comment.id", True),
        ("issue_comment_created", "comment.id", -1),
        ("issue_comment_created", "comment.id", 0),
        ("issue_comment_created", "comment.id", "3900000001"),
        ("issue_comment_created", "comment.id", 1.0),
        ("issue_comment_created", "comment.id", 2**63),
        ("issue_comment_created", "comment.id", ...),
        ("issue_comment_created", "comment.body", None),
        ("issue_comment_created", "comment.body", "\ud800"),
        ("issue_comment_created", "comment.body", "a\0b"),
        ("issue_comment_created", "comment.body", ["/reproduce"]),
        ("issue_comment_created", "comment.created_at", "yesterday"),
        ("issue_comment_created", "comment.created_at", "2026-02-30T00:00:00Z"),
        ("issue_comment_created", "comment.created_at", "2026-02-03T04:05:06"),
        ("issue_comment_created", "comment.created_at", "0001-01-01T00:00:00+14:00"),
        ("issue_comment_created", "comment.html_url", "javascript:alert(1)"),
        ("issue_comment_created", "comment.html_url", "https://x\n"),
        ("issue_comment_created", "comment.user", None),
        ("issue_comment_created", "comment.user.login", "../../x"),
        ("issue_comment_created", "comment.user.login", "octocat\n"),
        ("issue_comment_created", "comment.user.type", ...),
        ("issue_comment_created", "comment.performed_via_github_app", {}),
        ("issue_comment_created", "comment.performed_via_github_app", 15368),
        ("issue_comment_created", "issue.pull_request", True),
        ("issue_comment_created", "issue.state", "merged"),
        ("issue_comment_created", "issue.locked", 0),
        ("issue_comment_created", "sender", ...),
        ("issue_comment_created", "repository.full_name", "octocat"),
        ("issue_comment_created", "repository.full_name", "octocat/.."),
        ("issue_comment_created", "repository.full_name", "octocat/experiments/x"),
        ("issue_comment_created", "repository.full_name", "octocat/experiments\n"),
        ("issue_comment_created", "repository.full_name", "octo cat/experiments"),
        ("issue_comment_created", "repository.archived", ...),
        ("issue_comment_created", "repository.owner", "octocat"),
        ("issue_comment_created", "repository.default_branch", "--upload-pack=x"),
        ("pull_request_opened", "pull_request.head.sha", "main"),
        ("pull_request_opened", "pull_request.head.sha", "C0FFEE" + "0" * 34),
        ("pull_request_opened", "pull_request.head.ref", "a\nb"),
        ("pull_request_opened", "pull_request.head.ref", "a..b"),
        ("pull_request_opened", "pull_request.head.ref", ""),
        ("pull_request_opened", "pull_request.head.repo", "octocat/experiments"),
        ("pull_request_opened", "pull_request.draft", "false"),
        ("pull_request_opened", "pull_request.merged", None),
        ("workflow_dispatch", "inputs", None),
        ("workflow_dispatch", "inputs.command", ""),
        ("workflow_dispatch", "inputs.command", " \n"),
        ("workflow_dispatch", "inputs.command", "x" * (MAX_COMMAND + 1)),
        ("workflow_dispatch", "ref", "refs/heads/\x07"),
        ("repository_dispatch_command", "client_payload", []),
        ("repository_dispatch_command", "client_payload", {}),
        ("repository_dispatch_command", "client_payload", {"command": 1}),
        ("repository_dispatch_command", "client_payload", {"command": "/help", "advance": True}),
        ("repository_dispatch_advance", "client_payload", {"advance": False}),
        ("repository_dispatch_advance", "client_payload", {"advance": 1}),
        ("repository_dispatch_advance", "client_payload", {"advance": 1.0}),
        ("schedule", "repository", []),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named_and_never_quoted(
    file: str, path: str, value: object
) -> None:
    ignored = changed(file, path, value)
    assert isinstance(ignored, Ignored)
    assert ignored.code == Reason.MALFORMED
    assert path.partition(".")[0] in ignored.message
    assert "expected" in ignored.message
    assert ignored.message.isprintable()


def test_fields_that_nobody_reads_may_be_anything() -> None:
    assert changed("issue_comment_created", "issue.title", ["\ud800"]) == event(
        "issue_comment_created"
    )


@pytest.mark.parametrize(
    "ref", ["main", "add-exp-42", "feature/ä", "refs/heads/main", "v1.2", "a@b", "x" * 255]
)
def test_names_of_branches(ref: str) -> None:
    assert is_ref(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "", "-x", "/x", "x/", ".x", "x.", "a//b", "a/.b", "a.lock", "a.lock/b", "a..b", "a@{b",
        "a b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a\tb", "a\n", "a\x7f", "a\u202eb",
        "x" * 256,
    ],
)  # fmt: skip
def test_what_is_no_name_of_a_branch(ref: str) -> None:
    assert not is_ref(ref)


def test_forms() -> None:
    assert is_full_name("octocat/.github")
    assert not is_full_name("octocat/.")
    assert not is_full_name("octocat/experiments\n")
    assert is_sha("0" * 40)
    assert is_sha("0" * 64)
    assert not is_sha("0" * 41)


def paths(node: object, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every node of a payload."""
    if above:
        yield above
    items = node.items() if isinstance(node, dict) else []
    for key, value in items:
        yield from paths(value, (*above, key))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PATHS = [(file, path) for file, payload in PAYLOADS.items() for path in paths(payload)]


@given(st.sampled_from(PATHS), anything | st.just(...))
def test_a_payload_with_any_node_dropped_or_replaced_is_an_event(
    place: tuple[str, tuple[str, ...]], value: object
) -> None:
    file, path = place
    payload = copy.deepcopy(PAYLOADS[file])
    node = payload
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    done = read(EVENTS[file], payload)
    if isinstance(done, Ignored):
        assert done.code in {Reason.MALFORMED, Reason.ACTION, Reason.NOT_JSON}
        assert done.message.isprintable()
    elif isinstance(done, CommentCreated):
        assert done.created_at.tzinfo is UTC
        assert type(done.comment_id) is int
        done.body.encode()


@given(st.sampled_from(sorted(set(EVENTS.values()))), st.binary() | st.text().map(str.encode))
def test_any_bytes_are_an_event(name: str, raw: bytes) -> None:
    assert isinstance(read_event(name, raw), Ignored | Scheduled)


@given(st.sampled_from(sorted(EVENTS)), st.data())
def test_a_torn_event_is_ignored(file: str, data: st.DataObject) -> None:
    raw = json.dumps(PAYLOADS[file]).encode()
    torn = raw[: data.draw(st.integers(0, len(raw) - 1))]
    done = read_event(EVENTS[file], torn)
    assert isinstance(done, Ignored)
    assert done.code == Reason.NOT_JSON
