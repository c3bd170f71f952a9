"""The client of GitHub's API: what it asks, what it makes of the answers, when it asks again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
import trustme
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.errors import ExitCode, GitHubError
from rpac_ci.github import answers as github_answers
from rpac_ci.github.answers import Annotation, ChangedFile, CommentRef, Role, Rule
from rpac_ci.github.client import GitHub
from rpac_ci.github.fields import FieldError, Fields
from rpac_ci.github.transport import PATIENCE_S, TRIES, UnclearError
from tests.conftest import asset
from tests.standins.web import broken_off, bundle, content, in_turn, redirect, serve, status

API = "https://api.github.com:443"
ROOT = f"{API}/repos/octocat/experiments"
TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
MARKER = "<!-- rpac run 20260102T030405Z-0a1b2c3d -->"
NOW = 1_800_000_000.0
BOT = {"id": 41898282, "login": "github-actions[bot]", "type": "Bot"}
MALLORY = {"id": 666, "login": "reader", "type": "User"}
COMMENTS = f"{ROOT}/issues/7/comments"


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def __call__(self) -> float:
        return NOW + sum(self.slept)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(clock: Clock) -> GitHub:
    return GitHub(
        "https://api.github.com", TOKEN, "octocat/experiments", sleep=clock.sleep, clock=clock
    )


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def comment(number: int, body: str = MARKER, user: dict[str, Any] | None = None) -> dict[str, Any]:
    """A comment as GitHub answers it."""
    url = f"https://github.com/octocat/experiments/pull/7#issuecomment-{number}"
    return {"id": number, "html_url": url, "body": body, "user": user or BOT}


def pull() -> dict[str, Any]:
    """A pull request as GitHub answers it."""
    event = json.loads(asset("events/pull_request_synchronize_fork.json").read_bytes())
    found: dict[str, Any] = event["pull_request"]
    return found


def sent(web: responses.RequestsMock, number: int = -1) -> Any:
    """The JSON of a request."""
    return json.loads(web.calls[number].request.body or "null")


def query(web: responses.RequestsMock, number: int = -1) -> dict[str, str]:
    """The query of a request."""
    asked = parse_qs(urlsplit(web.calls[number].request.url or "").query)
    return {name: values[0] for name, values in asked.items()}


def permission(
    role: str | None, folded: str, person: int = 583231, **more: object
) -> dict[str, object]:
    """What GitHub answers about a person."""
    user = {"id": person, "login": "octocat", "type": "User"}
    return {"permission": folded, "role_name": role, "user": user, **more}


PERMISSION = f"{ROOT}/collaborators/octocat/permission"


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (permission("admin", "admin"), "admin"),
        (permission("maintain", "write"), "maintain"),
        (permission("write", "write"), "write"),
        (permission("triage", "read"), "triage"),
        (permission("read", "read"), "read"),
        (permission("none", "none"), "none"),
        (permission("release-engineer", "write"), "write"),
        (permission("auditor", "read"), "read"),
        (permission("almost-admin", "admin"), "write"),
        (permission("Admin", "read"), "read"),
        (permission("admin", "read"), None),
        (permission("read", "admin"), None),
        (permission("write", "owner"), None),
        (permission(None, "write"), None),
        (permission("write", "write", person=583232), None),
        (permission("write", "write", user=None), None),
        ([], None),
        ({}, None),
        ("admin", None),
        (None, None),
    ],
)
def test_roles(answer: object, name: str | None, hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(PERMISSION, json=answer)
    role = hub.role("octocat", 583231)
    assert role.name == name
    assert bool(role.problem) is (name is None)


@pytest.mark.parametrize("status", [401, 403, 404, 422, 500, 503])
def test_a_role_that_cannot_be_read_is_none(
    status: int, hub: GitHub, web: responses.RequestsMock
) -> None:
    web.get(PERMISSION, json={"message": "no"}, status=status)
    role = hub.role("octocat", 583231)
    assert role.name is None
    assert f"GitHub answered {status}" in role.problem


def test_a_login_stays_one_part_of_the_address(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(f"{ROOT}/collaborators/..%2F..%2Fx%5Bbot%5D/permission", status=404, json={})
    assert hub.role("../../x[bot]", 1).name is None


def test_a_pull_request(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(f"{ROOT}/pulls/7", json=pull())
    found = hub.pull(7)
    assert (found.number, found.state, found.merged, found.draft) == (7, "open", False, False)
    assert (found.head_repository, found.fork) == ("contributor/experiments", True)
    assert (found.head_ref, found.base_ref, found.author_id) == ("add-exp-42", "main", 7300001)
    assert (found.maintainer_can_modify, found.changed_files) == (True, 3)
    assert hub.requests == len(web.calls) == 1


def test_a_pull_request_whose_fork_is_gone_is_of_a_fork(
    hub: GitHub, web: responses.RequestsMock
) -> None:
    answer = pull()
    answer["head"]["repo"] = None
    web.get(f"{ROOT}/pulls/7", json=answer)
    found = hub.pull(7)
    assert (found.head_repository, found.fork) == (None, True)


def test_requests_carry_the_token_and_nothing_else_does(
    hub: GitHub, web: responses.RequestsMock
) -> None:
    web.get(f"{ROOT}/pulls/7", json=pull())
    hub.pull(7)
    headers = web.calls[0].request.headers
    assert headers["Authorization"] == f"token {TOKEN}"
    assert headers["User-Agent"].startswith("rpac-ci/")
    assert headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert TOKEN not in (web.calls[0].request.url or "")
    assert TOKEN not in repr(hub)


def test_a_server_of_ones_own(web: responses.RequestsMock) -> None:
    hub = GitHub("https://github.example.org/api/v3/", TOKEN, "octocat/experiments")
    web.get("https://github.example.org:443/api/v3/repos/octocat/experiments/pulls/7", json=pull())
    assert hub.pull(7).number == 7


def test_a_repository_has_a_full_name() -> None:
    with pytest.raises(ValueError, match="owner/name"):
        GitHub("https://api.github.com", TOKEN, "octocat/../x")


def files(count: int, first: int = 0) -> list[dict[str, str]]:
    """Changed files as GitHub answers them."""
    return [{"filename": f"f{first + n}", "status": "added"} for n in range(count)]


def pages(web: responses.RequestsMock, url: str, *items: list[Any]) -> None:
    """Answer the pages of a list, with GitHub's links."""
    for number, page in enumerate(items, 1):
        links = [f'<{url}?per_page=100&page={number + 1}>; rel="next"'] * (number < len(items))
        links += [f'<{url}?per_page=100&page={len(items)}>; rel="last"'] * (number < len(items))
        web.get(
            url,
            json=page,
            headers={"Link": ", ".join(links)} if links else {},
            match=[responses.matchers.query_param_matcher({"per_page": 100, "page": number})],
        )


def test_all_pages_of_files(hub: GitHub, web: responses.RequestsMock) -> None:
    pages(web, f"{ROOT}/pulls/7/files", files(100), files(100, 100), files(3, 200))
    found = hub.pull_files(7, 203)
    assert [file.path for file in found] == [f"f{n}" for n in range(203)]
    assert len(web.calls) == 3


def test_a_file_that_was_renamed(hub: GitHub, web: responses.RequestsMock) -> None:
    answer = {"filename": "b\nc", "status": "renamed", "previous_filename": "a"}
    web.get(f"{ROOT}/pulls/7/files", json=[answer])
    assert hub.pull_files(7) == [ChangedFile(path="b\nc", status="renamed", previous="a")]


@pytest.mark.parametrize(("there", "expected"), [(3, 4), (3, 2), (0, 1)])
def test_files_that_are_not_all_there_are_an_error(
    there: int, expected: int, hub: GitHub, web: responses.RequestsMock
) -> None:
    web.get(f"{ROOT}/pulls/7/files", json=files(there))
    with pytest.raises(GitHubError, match=f"GitHub lists {there} of {expected}"):
        hub.pull_files(7, expected)


def test_a_full_page_without_links_may_not_be_the_last(
    hub: GitHub, web: responses.RequestsMock
) -> None:
    for number, page in ((1, files(100)), (2, [])):
        asked = responses.matchers.query_param_matcher({"per_page": 100, "page": number})
        web.get(f"{ROOT}/pulls/7/files", json=page, match=[asked])
    assert len(hub.pull_files(7, 100)) == 100


def test_a_list_without_end_is_an_error(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(RULES, json=[{"type": "deletion"}] * 100)
    with pytest.raises(GitHubError, match="more than 3000 items"):
        hub.rules("main")
    assert len(web.calls) == 31


def test_three_thousand_files_may_be_more(hub: GitHub, web: responses.RequestsMock) -> None:
    pages(web, f"{ROOT}/pulls/7/files", *[files(100)] * 30)
    with pytest.raises(GitHubError, match="cannot all be read"):
        hub.pull_files(7)


def test_pull_requests_from_a_branch(hub: GitHub, web: responses.RequestsMock) -> None:
    ours = pull()
    ours["head"]["repo"] = ours["base"]["repo"]
    ours["merged_at"] = None
    for name in ("merged", "maintainer_can_modify", "changed_files"):
        del ours[name]
    web.get(f"{ROOT}/pulls", json=[ours, pull()])
    found = hub.open_pulls_of("add-exp-42")
    assert [(one.number, one.fork, one.merged, one.changed_files) for one in found] == [
        (7, False, False, None)
    ]
    assert query(web)["head"] == "octocat:add-exp-42"


@pytest.mark.parametrize(("status", "done"), [(201, True), (200, True), (403, False), (500, False)])
def test_a_reaction_is_worth_no_failure(
    status: int, done: bool, hub: GitHub, web: responses.RequestsMock
) -> None:
    web.post(f"{ROOT}/issues/comments/5/reactions", json={}, status=status)
    assert hub.react(5, "eyes") is done
    assert sent(web) == {"content": "eyes"}


# comments: once, whatever happens to the answers


def test_a_comment_begins_with_its_marker(hub: GitHub, web: responses.RequestsMock) -> None:
    web.post(COMMENTS, json=comment(11), status=201)
    made = hub.comment(7, "# Done", MARKER)
    assert made == CommentRef(id=11, url=comment(11)["html_url"])
    assert sent(web) == {"body": f"{MARKER}\n# Done"}
    assert len(web.calls) == 1


def test_a_comment_is_never_too_long(hub: GitHub, web: responses.RequestsMock) -> None:
    web.post(COMMENTS, json=comment(11), status=201)
    web.patch(f"{ROOT}/issues/comments/11", json=comment(11))
    hub.comment(7, "x " * 65_536, MARKER)
    hub.edit_comment(11, "x " * 65_536, MARKER)
    for number in range(2):
        body = sent(web, number)["body"]
        assert len(body) <= 65_536
        assert body.startswith(f"{MARKER}\nx x")
        assert "_Shortened" in body


@pytest.mark.parametrize("marker", ["", "rpac", "<!-- a --> b", "<!-- -->", "<!-- a\nb -->"])
def test_a_marker_is_a_comment_of_html(marker: str, hub: GitHub) -> None:
    with pytest.raises(ValueError, match="expected <!--"):
        hub.comment(7, "x", marker)


lost: list[Callable[[], dict[str, Any]]] = [
    lambda: {"status": 502, "body": "<html>"},
    lambda: {"status": 500, "json": {"message": "Server Error"}},
    lambda: {"status": 201, "body": "<html>not JSON"},
    lambda: {"status": 201, "json": {"id": True}},
    lambda: {"body": requests.exceptions.ReadTimeout()},
    lambda: {"body": requests.exceptions.ConnectionError()},
    lambda: {"body": requests.exceptions.ChunkedEncodingError()},
]
LOST = pytest.mark.parametrize(
    "fault", lost, ids=["502", "500", "garbage", "shape", "timeout", "dropped", "torn"]
)


@LOST
def test_a_comment_whose_answer_is_lost_is_looked_for_and_not_repeated(
    fault: Callable[[], dict[str, Any]], hub: GitHub, web: responses.RequestsMock, clock: Clock
) -> None:
    web.post(COMMENTS, **fault())
    web.get(COMMENTS, json=[comment(9, "hello", MALLORY), comment(11, f"{MARKER}\n# Done")])
    assert hub.comment(7, "# Done", MARKER).id == 11
    assert [call.request.method for call in web.calls] == ["POST", "GET"]
    assert len(clock.slept) == 1


@LOST
def test_a_comment_that_was_not_made_is_made(
    fault: Callable[[], dict[str, Any]], hub: GitHub, web: responses.RequestsMock
) -> None:
    web.post(COMMENTS, **fault())
    web.get(COMMENTS, json=[comment(10, f"> {MARKER}"), comment(9, MARKER, MALLORY)])
    web.get(f"{API}/user", json={"message": "Resource not accessible by integration"}, status=403)
    web.post(COMMENTS, json=comment(12), status=201)
    assert hub.comment(7, "# Done", MARKER).id == 12


def test_three_lost_comments_are_an_error(hub: GitHub, web: responses.RequestsMock) -> None:
    web.post(COMMENTS, status=502)
    web.get(COMMENTS, json=[])
    with pytest.raises(UnclearError, match="502") as caught:
        hub.comment(7, "# Done", MARKER)
    assert caught.value.transient
    assert [call.request.method for call in web.calls].count("POST") == TRIES


def test_a_comment_that_is_refused_is_not_repeated(
    hub: GitHub, web: responses.RequestsMock
) -> None:
    answer = {"message": "Validation Failed", "errors": [{"field": "body", "code": "custom"}]}
    web.post(COMMENTS, json=answer, status=422)
    with pytest.raises(GitHubError, match=r"Validation Failed.*custom") as caught:
        hub.comment(7, "x", MARKER)
    assert caught.value.status == 422
    assert len(web.calls) == 1


def test_the_newest_comment_is_found_first(hub: GitHub, web: responses.RequestsMock) -> None:
    first = [comment(n, f"{MARKER} old") for n in range(1, 101)]
    last = [comment(301), comment(302, f"\n{MARKER}\nnew"), comment(303, "later")]
    last_page = f'<{COMMENTS}?per_page=100&page=3>; rel="last"'
    for number, page in ((1, first), (3, last)):
        asked = responses.matchers.query_param_matcher({"per_page": 100, "page": number})
        web.get(COMMENTS, json=page, headers={"Link": last_page}, match=[asked])
    found = hub.find_comment(7, MARKER)
    assert found is not None
    assert found.id == 302
    assert len(web.calls) == 2


def test_a_user_finds_his_own_comments(hub: GitHub, web: responses.RequestsMock) -> None:
    me = {"id": 583231, "login": "octocat", "type": "User"}
    web.get(COMMENTS, json=[comment(1, MARKER, me), comment(2, MARKER, MALLORY)])
    web.get(f"{API}/user", json=me)
    found = hub.find_comment(7, MARKER)
    assert found is not None
    assert found.id == 1
    hub.find_comment(7, MARKER)
    assert [call.request.path_url for call in web.calls].count("/user") == 1


def test_once_known_only_our_own_bot_counts(hub: GitHub, web: responses.RequestsMock) -> None:
    other = {"id": 49699333, "login": "dependabot[bot]", "type": "Bot"}
    web.post(COMMENTS, json=comment(11), status=201)
    web.get(COMMENTS, json=[comment(11), comment(12, MARKER, other), comment(13, MARKER)])
    hub.comment(7, "x", MARKER)
    found = hub.find_comment(7, MARKER)
    assert found is not None
    assert found.id == 13
    web.replace(responses.GET, COMMENTS, json=[comment(12, MARKER, other)])
    assert hub.find_comment(7, MARKER) is None


def test_comments_of_others_may_be_anything(hub: GitHub, web: responses.RequestsMock) -> None:
    odd = [{"body": "\ud800\0", "user": BOT}, {"body": 7}, {"body": MARKER, "user": None}, {}]
    web.get(COMMENTS, json=[comment(5), *odd])
    found = hub.find_comment(7, MARKER)
    assert found is not None
    assert found.id == 5
    web.replace(responses.GET, COMMENTS, json=[{**comment(5), "html_url": None}])
    with pytest.raises(GitHubError, match="not understood"):
        hub.find_comment(7, MARKER)


def test_who_we_are_may_be_unknown_for_a_while(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(COMMENTS, json=[comment(1, MARKER, MALLORY)])
    web.get(f"{API}/user", status=422, json={})
    with pytest.raises(GitHubError, match="422 to GET /user"):
        hub.find_comment(7, MARKER)


def test_whether_a_comment_is_there(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(f"{ROOT}/issues/comments/1", json=comment(1))
    web.get(f"{ROOT}/issues/comments/2", json={"message": "Not Found"}, status=404)
    web.get(f"{ROOT}/issues/comments/3", json={"message": "no"}, status=403)
    assert hub.comment_exists(1)
    assert not hub.comment_exists(2)
    with pytest.raises(GitHubError):
        hub.comment_exists(3)


def test_a_comment_that_somebody_deleted(hub: GitHub, web: responses.RequestsMock) -> None:
    web.patch(f"{ROOT}/issues/comments/2", json={"message": "Not Found"}, status=404)
    with pytest.raises(GitHubError) as caught:
        hub.edit_comment(2, "x")
    assert caught.value.status == 404


def test_an_issue_is_opened_once(hub: GitHub, web: responses.RequestsMock) -> None:
    url = "https://github.com/octocat/experiments/issues/9"
    other = {"body": MARKER, "user": BOT, "html_url": url + "0", "pull_request": {}}
    web.get(f"{ROOT}/issues", json=[other, {"body": None, "user": None}])
    web.post(f"{ROOT}/issues", json={"html_url": url}, status=201)
    assert hub.issue("t" * 300, "text", MARKER, ["rpac"]) == url
    assert sent(web) == {"title": "t" * 255, "body": f"{MARKER}\ntext", "labels": ["rpac"]}
    web.replace(responses.GET, f"{ROOT}/issues", json=[
        {"body": f"{MARKER}\ntext", "user": BOT, "html_url": url}
    ])  # fmt: skip
    assert hub.issue("again", "text", MARKER) == url
    assert [call.request.method for call in web.calls] == ["GET", "POST", "GET"]


# checks


CHECKS = f"{ROOT}/check-runs"
SHA = "c0ffee0000000000000000000000000000000001"


def test_a_check_is_opened(hub: GitHub, web: responses.RequestsMock) -> None:
    web.post(CHECKS, json={"id": 5}, status=201)
    assert hub.open_check("rpac", SHA, "Planned", "🌊" * 30_000, "run-1", "https://x.org") == 5
    body = sent(web)
    assert len(body["output"].pop("summary").encode()) <= 65_535
    assert body == {
        "name": "rpac",
        "head_sha": SHA,
        "status": "in_progress",
        "external_id": "run-1",
        "details_url": "https://x.org",
        "output": {"title": "Planned"},
    }
    assert len(web.calls) == 1


@pytest.mark.parametrize("there", [True, False])
def test_a_check_whose_answer_is_lost(
    there: bool, hub: GitHub, web: responses.RequestsMock
) -> None:
    runs = [{"id": 4, "external_id": "run-0"}, {"id": 5, "external_id": "run-1"}][: 1 + there]
    web.post(CHECKS, status=502)
    web.get(f"{ROOT}/commits/{SHA}/check-runs", json={"total_count": 2, "check_runs": runs})
    if not there:
        web.post(CHECKS, json={"id": 6}, status=201)
    assert hub.open_check("rpac", SHA, "Planned", "", "run-1") == (5 if there else 6)


def test_annotations_go_in_batches_and_the_end_comes_last(
    hub: GitHub, web: responses.RequestsMock
) -> None:
    web.patch(f"{CHECKS}/5", json={"id": 5})
    remarks = [Annotation(path="a.yaml", line=n, message="got 0") for n in range(1, 121)]
    hub.update_check(5, title="t", summary="s", conclusion="failure", annotations=remarks)
    bodies = [sent(web, number) for number in range(3)]
    assert [len(body["output"]["annotations"]) for body in bodies] == [50, 50, 20]
    assert [body.get("conclusion") for body in bodies] == [None, None, "failure"]
    assert bodies[0]["output"]["annotations"][0] == {
        "path": "a.yaml", "start_line": 1, "end_line": 1, "annotation_level": "failure",
        "message": "got 0",
    }  # fmt: skip


def test_a_check_is_updated_with_one_request(hub: GitHub, web: responses.RequestsMock) -> None:
    web.patch(f"{CHECKS}/5", json={"id": 5})
    hub.update_check(5, title="t", summary="s", text="x" * 70_000, status="in_progress")
    body = sent(web)
    assert len(body["output"].pop("text").encode()) <= 65_535
    assert body == {"status": "in_progress", "output": {"title": "t", "summary": "s"}}
    assert len(web.calls) == 1


def test_columns_of_annotations_are_told_on_one_line_only() -> None:
    one = Annotation(path="a", line=1, message="m", column=3, title="t").body()
    assert (one["start_column"], one["end_column"], one["title"]) == (3, 3, "t")
    assert "start_column" not in Annotation(
        path="a", line=1, end_line=2, message="m", column=3
    ).body()  # fmt: skip


# branches and their rules


BRANCH = f"{ROOT}/branches/main"
RULES = f"{ROOT}/rules/branches/main"


def branch(protected: bool, **protection: object) -> dict[str, object]:
    """A branch as GitHub answers it."""
    answer: dict[str, object] = {"name": "main", "commit": {"sha": SHA}, "protected": protected}
    return answer | ({"protection": protection} if protection else {})


CLASSIC = {"enforcement_level": "everyone", "contexts": ["tests"], "checks": [{"context": "tests"}]}
RULE = {
    "type": "required_status_checks",
    "parameters": {"required_status_checks": [{"context": "lint", "integration_id": 1}]},
}


@pytest.mark.parametrize(
    ("answer", "rules", "required"),
    [
        (branch(False), [], []),
        (branch(False), [RULE, {"type": "deletion"}], ["lint"]),
        (branch(True, enabled=True, required_status_checks=CLASSIC), [], ["tests"]),
        (branch(True, enabled=True, required_status_checks=CLASSIC), [RULE], ["tests", "lint"]),
        (branch(True, enabled=True, required_status_checks={**CLASSIC, "enforcement_level": "off"}),
         [], []),
        (branch(True, required_status_checks={"contexts": ["a", "a"]}), [], ["a"]),
        (branch(True, required_status_checks={"checks": [{"context": "a"}]}), [], ["a"]),
        (branch(True, required_status_checks={"contexts": [1]}), [], None),
        (branch(True, enabled=True), [], []),
        (branch(True), [], None),
        ({}, [], None),
        (branch(False), {}, None),
        (branch(False), [{"type": "required_status_checks"}], None),
    ],
)  # fmt: skip
def test_required_checks(
    answer: object, rules: object, required: list[str] | None, hub: GitHub
) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as web:
        web.get(BRANCH, json=answer)
        web.get(RULES, json=rules)
        assert hub.required_checks("main") == required


@pytest.mark.parametrize(
    ("status", "message", "required"),
    [
        (403, "Upgrade to GitHub Pro or make this repository public to enable this feature.", []),
        (403, "Resource not accessible by integration", None),
        (404, "Not Found", None),
    ],
)
def test_rules_that_cannot_be_read(
    status: int, message: str, required: object, hub: GitHub, web: responses.RequestsMock
) -> None:
    web.get(BRANCH, json=branch(False))
    web.get(RULES, json={"message": message}, status=status)
    assert hub.required_checks("main") == required


def test_the_name_of_a_branch_is_one_part_of_the_address(
    hub: GitHub, web: responses.RequestsMock
) -> None:
    web.get(
        f"{ROOT}/branches/feature%2F%C3%A4%3F", status=404, json={"message": "Branch not found"}
    )
    assert hub.branch("feature/ä?") is None


def test_rules(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(RULES, json=[RULE, {"type": "non_fast_forward"}])
    kinds = [Rule(kind="required_status_checks", checks=("lint",)), Rule(kind="non_fast_forward")]
    assert hub.rules("main") == kinds


# workflows and settings


def test_the_jobs_of_a_run(hub: GitHub, web: responses.RequestsMock) -> None:
    step = {
        "name": "Run",
        "status": "completed",
        "conclusion": "success",
        "number": 1,
        "started_at": "2026-02-03T04:05:06Z",
        "completed_at": "2026-02-03T04:05:09.000Z",
    }
    job = {
        "id": 1,
        "name": "runs (exp-42)",
        "status": "in_progress",
        "conclusion": None,
        "html_url": "https://github.com/x",
        "steps": [step],
        "started_at": None,
    }
    web.get(f"{ROOT}/actions/runs/3/jobs", json={"total_count": 1, "jobs": [job]})
    (found,) = hub.jobs(3)
    assert (found.name, found.status, found.conclusion) == ("runs (exp-42)", "in_progress", None)
    assert found.steps[0].conclusion == "success"
    assert found.steps[0].started_at is not None
    assert found.steps[0].started_at.isoformat() == "2026-02-03T04:05:06+00:00"
    assert query(web)["filter"] == "latest"


@pytest.mark.parametrize(("status", "done"), [(202, True), (409, False), (404, False)])
def test_a_run_is_cancelled(
    status: int, done: bool, hub: GitHub, web: responses.RequestsMock
) -> None:
    web.post(f"{ROOT}/actions/runs/3/cancel", json={}, status=status)
    assert hub.cancel_workflow(3) is done


def test_what_doctor_reads(hub: GitHub, web: responses.RequestsMock) -> None:
    repository = json.loads(asset("events/schedule.json").read_bytes())["repository"]
    web.get(ROOT, json=repository | {"permissions": {"admin": False, "push": True}})
    web.get(f"{ROOT}/actions/permissions", json={"enabled": True, "allowed_actions": "all"})
    web.get(
        f"{ROOT}/actions/permissions/workflow",
        json={"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False},
    )
    web.get(
        f"{ROOT}/actions/oidc/customization/sub",
        json={"use_default": False, "include_claim_keys": ["repo", "context"]},
    )
    flow = {"id": 1, "name": "👨‍💻 rpac", "path": ".github/workflows/rpac.yml", "state": "active"}
    web.get(f"{ROOT}/actions/workflows", json={"total_count": 1, "workflows": [flow]})
    assert hub.repository().default_branch == "main"
    assert hub.rights() == {"admin": False, "push": True}
    assert hub.actions_enabled()
    assert hub.workflow_permissions().default == "read"
    assert (hub.oidc_subject().claims, hub.oidc_subject().immutable) == (("repo", "context"), None)
    assert [one.path for one in hub.workflows()] == [".github/workflows/rpac.yml"]


# what is asked again, and when


@pytest.mark.parametrize(
    "fault",
    [*lost[:3], *lost[4:]],
    ids=["502", "500", "garbage", "timeout", "dropped", "torn"],
)
def test_reading_is_repeated(
    fault: Callable[[], dict[str, Any]], hub: GitHub, web: responses.RequestsMock, clock: Clock
) -> None:
    web.get(f"{ROOT}/pulls/7", **fault())
    web.get(f"{ROOT}/pulls/7", **fault())
    web.get(f"{ROOT}/pulls/7", json=pull())
    assert hub.pull(7).number == 7
    assert 0.75 <= clock.slept[0] <= 1.25
    assert 1.5 <= clock.slept[1] <= 2.5


def test_an_edit_is_repeated(hub: GitHub, web: responses.RequestsMock) -> None:
    web.patch(f"{ROOT}/issues/comments/1", status=503, headers={"Retry-After": "7"})
    web.patch(f"{ROOT}/issues/comments/1", json=comment(1))
    hub.edit_comment(1, "x")
    assert len(web.calls) == 2


def test_three_failures_are_an_error_that_says_so(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(f"{ROOT}/pulls/7", body=requests.exceptions.ReadTimeout(f"secret {TOKEN}"))
    with pytest.raises(GitHubError, match="did not answer in time: GET /repos/") as caught:
        hub.pull(7)
    error = caught.value
    assert (error.transient, error.status, error.exit_code) == (True, None, ExitCode.COULD_NOT_RUN)
    assert TOKEN not in error.message + error.hint
    assert len(web.calls) == TRIES


@pytest.mark.parametrize(
    ("status", "headers", "message", "slept"),
    [
        (403, {"Retry-After": "17"}, "You have exceeded a secondary rate limit.", 17),
        (429, {"Retry-After": "1"}, "", 1),
        (403, {}, "You have exceeded a secondary rate limit. Please wait a few minutes", 60),
        (
            403,
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 30)},
            "API rate limit exceeded for installation ID 1.",
            31,
        ),
        (
            429,
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) - 30)},
            "API rate limit exceeded",
            1,
        ),
        (429, {"X-RateLimit-Remaining": "0"}, "", 60),
        (403, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "", 60),
    ],
)
def test_limits_are_waited_for_also_where_something_is_made(
    status: int, headers: dict[str, str], message: str, slept: float,
    hub: GitHub, web: responses.RequestsMock, clock: Clock,
) -> None:  # fmt: skip
    web.post(COMMENTS, status=status, headers=headers, json={"message": message})
    web.post(COMMENTS, json=comment(11), status=201)
    assert hub.comment(7, "x", MARKER).id == 11
    assert clock.slept == [slept]


def test_a_limit_that_lasts_too_long_is_an_error_with_the_time(
    hub: GitHub, web: responses.RequestsMock, clock: Clock
) -> None:
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 1799)}
    web.get(
        f"{ROOT}/pulls/7", status=403, headers=reset, json={"message": "API rate limit exceeded"}
    )
    with pytest.raises(GitHubError, match="rate limit is reached") as caught:
        hub.pull(7)
    assert caught.value.transient
    assert caught.value.hint == "try again after 2027-01-15 08:30:00 UTC"
    assert clock.slept == []


def test_patience_ends(hub: GitHub, web: responses.RequestsMock, clock: Clock) -> None:
    web.get(f"{ROOT}/pulls/7", status=429, headers={"Retry-After": "70"}, json={})
    with pytest.raises(GitHubError, match="rate limit"):
        hub.pull(7)
    assert clock.slept == [70]
    assert sum(clock.slept) <= PATIENCE_S


# what is refused says why


@pytest.mark.parametrize(
    ("status", "headers", "message", "said", "hint"),
    [
        (
            403,
            {"X-Accepted-GitHub-Permissions": "pull_requests=write; issues=write"},
            "Resource not accessible by integration",
            "lacks a right for POST .*: pull-requests: write or issues: write "
            r"\(Resource not accessible by integration\)",
            "give the job 'permissions: pull-requests: write or issues: write'",
        ),
        (
            403,
            {"X-Accepted-GitHub-Permissions": "contents=read,metadata=read"},
            "",
            "contents: read and metadata: read",
            "give the job",
        ),
        (403, {"X-Accepted-GitHub-Permissions": "x\x1b[0m"}, "no", "403 .*: no", "rpac doctor"),
        (403, {}, "Must have admin rights", "Must have admin rights", "rpac doctor"),
        (
            403,
            {"X-Accepted-GitHub-Permissions": "issues=write"},
            "Repository was archived so is read-only.",
            "archived so is read-only",
            "",
        ),
        (401, {}, "Bad credentials", "401 .*: Bad credentials", "wrong, expired or revoked"),
        (404, {}, "Not Found", "404", "may not see it"),
        (410, {}, "Issues are disabled", "410 .*disabled", "switched off"),
        (422, {}, "a\nb\x1bc", "422 .*: a bc", ""),
        (307, {}, "Moved", "307", "new name"),
        (451, {}, "", "answered 451", ""),
    ],
)
def test_a_refusal_names_what_is_missing_and_is_not_repeated(
    status: int, headers: dict[str, str], message: str, said: str, hint: str,
    hub: GitHub, web: responses.RequestsMock, clock: Clock,
) -> None:  # fmt: skip
    web.post(COMMENTS, status=status, headers=headers, json={"message": message})
    with pytest.raises(GitHubError, match=said) as caught:
        hub.comment(7, "x", MARKER)
    error = caught.value
    assert hint in error.hint
    assert (error.status, error.transient) == (status, False)
    assert error.message.isprintable()
    assert (len(web.calls), clock.slept) == (1, [])


@pytest.mark.parametrize("body", ["", "no", "[]", '"x"', '{"message": 1}', '{"errors": {}}'])
def test_a_refusal_without_words_is_a_refusal(
    body: str, hub: GitHub, web: responses.RequestsMock
) -> None:
    web.get(f"{ROOT}/pulls/7", status=400, body=body)
    with pytest.raises(GitHubError, match="GitHub answered 400 to GET"):
        hub.pull(7)


def test_a_run_that_may_not_be_cancelled(hub: GitHub, web: responses.RequestsMock) -> None:
    web.post(f"{ROOT}/actions/runs/3/cancel", status=403, json={})
    with pytest.raises(GitHubError, match="403"):
        hub.cancel_workflow(3)


# over real sockets


PULL_PAGE = "/repos/octocat/experiments/pulls/7"


def test_pygithub_repeats_nothing_on_its_own(clock: Clock) -> None:
    with serve() as server:
        server.pages[PULL_PAGE] = in_turn(
            status(502), broken_off(b'{"number": 7'), content(json.dumps(pull()).encode())
        )
        hub = GitHub(server.url(""), TOKEN, "octocat/experiments", sleep=clock.sleep)
        assert hub.pull(7).number == 7
        assert (server.asked[PULL_PAGE], hub.requests, len(clock.slept)) == (3, 3, 2)


def test_an_answer_that_is_slow_is_not_waited_for(clock: Clock) -> None:
    with serve() as server:

        def silent(_: object) -> None:
            server.closing.wait(30)

        server.pages[PULL_PAGE] = silent
        hub = GitHub(
            server.url(""), TOKEN, "octocat/experiments", timeout_s=1, patience_s=0,
            sleep=clock.sleep,
        )  # fmt: skip
        with pytest.raises(GitHubError, match="did not answer in time"):
            hub.pull(7)
        assert server.asked[PULL_PAGE] == 1
        server.closing.set()


def test_authorities_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    with serve(authority) as server:
        server.pages[PULL_PAGE] = content(json.dumps(pull()).encode())
        with pytest.raises(GitHubError, match="certificate that is not trusted"):
            GitHub(server.url(""), TOKEN, "octocat/experiments").pull(7)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle(authority, tmp_path / "ca.pem")))
        assert GitHub(server.url(""), TOKEN, "octocat/experiments").pull(7).number == 7


def test_nobody_there(clock: Clock) -> None:
    with serve() as server:
        url = server.url("")
    hub = GitHub(url, TOKEN, "octocat/experiments", sleep=clock.sleep)
    assert "cannot be reached" in hub.role("octocat", 1).problem


def test_an_answer_that_sends_elsewhere_is_not_followed(clock: Clock) -> None:
    with serve() as server:
        server.pages[PULL_PAGE] = redirect("http://example.org/")
        hub = GitHub(server.url(""), TOKEN, "octocat/experiments", sleep=clock.sleep)
        with pytest.raises(GitHubError, match="302"):
            hub.pull(7)


def test_a_certificate_that_is_not_trusted(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(f"{ROOT}/pulls/7", body=requests.exceptions.SSLError())
    with pytest.raises(GitHubError, match="certificate") as caught:
        hub.pull(7)
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
    assert len(web.calls) == 1


@pytest.mark.parametrize("body", ["null", "[]", "{}", '"x"', "1", '{"number": "7"}'])
def test_an_answer_of_another_shape_is_not_guessed_at(
    body: str, hub: GitHub, web: responses.RequestsMock
) -> None:
    web.get(f"{ROOT}/pulls/7", body=body)
    with pytest.raises(GitHubError, match=r"not understood: .*expected"):
        hub.pull(7)


def test_headers_that_are_garbage(hub: GitHub, web: responses.RequestsMock) -> None:
    web.get(
        f"{ROOT}/pulls/7",
        json=pull(),
        headers={"X-RateLimit-Remaining": "many", "X-RateLimit-Limit": "x"},
    )
    with pytest.raises(GitHubError, match="headers that are not understood"):
        hub.pull(7)


READERS: list[Callable[[Fields], object]] = [
    github_answers.pull,
    github_answers.changed_file,
    github_answers.comment_ref,
    github_answers.job,
    github_answers.repository,
    github_answers.workflow,
    github_answers.workflow_permissions,
    github_answers.oidc_subject,
    github_answers.branch,
    github_answers.environment,
    github_answers.variable,
    github_answers.rule,
    lambda answer: github_answers.role(answer, 1),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "user", "name", "type", "protected"]), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from(READERS), st.dictionaries(st.text(), values) | values)
def test_no_answer_is_worse_than_a_field_error(
    reader: Callable[[Fields], object], answer: Any
) -> None:
    with contextlib.suppress(FieldError):
        reader(Fields.of(answer))


def test_a_role_is_known_or_has_a_problem() -> None:
    assert Role(name="read").problem == ""
