"""The stand-in GitHub is as strict as the real one where the bot may go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import github
import pytest
import requests
from github.Repository import Repository as RemoteRepository

from rpac_ci.github.client import GitHub as Client
from tests.standins.github import GitHubServer, Pull, Special, openapi

ALL = {
    "contents": "write", "pull_requests": "write", "issues": "write", "checks": "write",
    "actions": "write",
}  # fmt: skip
NO_COMMIT = "c0ffee" * 6 + "c0ff"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path / "github") as server:
        yield server
        assert server.violations == []


@pytest.fixture
def loose(tmp_path: Path) -> Iterator[GitHubServer]:
    """A server whose violations are what a test is about."""
    with GitHubServer(tmp_path / "github") as server:
        yield server


@pytest.fixture
def described() -> openapi.Description:
    found, reason = openapi.load()
    if found is None:
        pytest.skip(reason)
    return found


def client(hub: GitHubServer, token: str, full_name: str = "lab/experiments") -> RemoteRepository:
    made = github.Github(
        auth=github.Auth.Token(token), base_url=hub.api_url, retry=None,
        seconds_between_requests=None, seconds_between_writes=None,
    )  # fmt: skip
    return made.get_repo(full_name)


def opened(hub: GitHubServer, files: int = 1) -> Pull:
    author = hub.user("octocat", role="write")
    hub.push("topic", {f"data/{n:03}.txt": f"{n}\n" for n in range(files)}, "Add data")
    return hub.open_pull("topic", by=author)


def ask(
    hub: GitHubServer, method: str, path: str, body: object = None, token: str | None = None,
    root: str = "",
) -> requests.Response:  # fmt: skip
    """A request about the first repository."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = body if isinstance(body, bytes) else None
    return requests.request(
        method, f"{root or hub.api_url}{path}", json=None if data else body, data=data,
        headers=headers, timeout=20,
    )  # fmt: skip


def lab(path: str) -> str:
    return f"/repos/lab/experiments{path}"


def run_git(folder: Path, *words: str, token: str = "", hub: GitHubServer | None = None) -> str:
    header = ["-c", f"http.extraheader={hub.basic(token)}"] if hub else []
    done = subprocess.run(
        ["git", *header, *words], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def committed(clone: Path, name: str = "a.txt", content: str = "a") -> str:
    (clone / name).write_text(content)
    run_git(clone, "add", name)
    run_git(clone, "commit", "--quiet", "--message", f"add {name}")
    return run_git(clone, "rev-parse", "HEAD")


# --- the API as PyGithub sees it ----------------------------------------------------------------


def test_a_pull_request_is_read(hub: GitHubServer) -> None:
    pull = opened(hub, files=3)
    seen = client(hub, hub.token(ALL)).get_pull(pull.number)
    assert (seen.head.sha, seen.head.ref) == (pull.head_sha, "topic")
    assert seen.base.sha == hub.sha("main")
    assert (seen.state, seen.merged, seen.draft, seen.changed_files) == ("open", False, False, 3)
    assert seen.head.repo.full_name == seen.base.repo.full_name == "lab/experiments"
    assert seen.user.login == "octocat"


def test_files_of_a_pull_request_come_in_pages(hub: GitHubServer) -> None:
    pull = opened(hub, files=65)
    remote = client(hub, hub.token(ALL))
    assert len({file.filename for file in remote.get_pull(pull.number).get_files()}) == 65
    first = ask(hub, "GET", lab(f"/pulls/{pull.number}/files?per_page=30"))
    assert set(first.links) == {"next", "last"}
    middle = requests.get(first.links["next"]["url"], timeout=20)
    assert set(middle.links) == {"next", "last", "prev", "first"}
    last = requests.get(middle.links["next"]["url"], timeout=20)
    assert set(last.links) == {"prev", "first"}
    assert len(last.json()) == 5


def test_kinds_of_changes_are_told_apart(hub: GitHubServer) -> None:
    long = "".join(f"line {n}\n" for n in range(50))
    hub.push("main", {"old.txt": long, "gone.txt": "x\n", "b.bin": b"\0\1", "c.txt": "1\n"})
    hub.push("topic", {
        "old.txt": None, "new name.txt": long + "more\n", "gone.txt": None, "c.txt": "2\n3\n",
        "link": Special("120000", "c.txt"), "ü\n.txt": "odd\n", "b.bin": b"\0\2",
    })  # fmt: skip
    pull = hub.open_pull("topic", by=hub.user("octocat"))
    files = {f.filename: f for f in client(hub, hub.token()).get_pull(pull.number).get_files()}
    assert {name: file.status for name, file in files.items()} == {
        "new name.txt": "renamed", "gone.txt": "removed", "c.txt": "modified", "link": "added",
        "ü\n.txt": "added", "b.bin": "modified",
    }  # fmt: skip
    assert files["new name.txt"].previous_filename == "old.txt"
    assert (files["c.txt"].additions, files["c.txt"].deletions) == (2, 1)


def test_a_comment_is_written_edited_and_deleted(hub: GitHubServer) -> None:
    pull = opened(hub)
    issue = client(hub, hub.token(ALL)).get_issue(pull.number)
    made = issue.create_comment("hello")
    assert (made.user.login, made.user.type, made.user.id) == (
        "github-actions[bot]", "Bot", 41898282,
    )  # fmt: skip
    made.edit("goodbye")
    assert [comment.body for comment in hub.comments(pull)] == ["goodbye"]
    made.delete()
    assert hub.comments(pull) == []
    with pytest.raises(github.UnknownObjectException):
        made.edit("again")


def test_a_reaction_stands_once(hub: GitHubServer) -> None:
    pull = opened(hub)
    comment = hub.comment(pull, hub.user("octocat"), "/reproduce exp-42")
    remote = client(hub, hub.token(ALL)).get_issue(pull.number).get_comment(comment.id)
    first, second = remote.create_reaction("eyes"), remote.create_reaction("eyes")
    assert first.id == second.id
    assert [reaction.content for reaction in comment.reactions] == ["eyes"]
    assert [reaction.content for reaction in remote.get_reactions()] == ["eyes"]
    seen = ask(hub, "GET", lab(f"/issues/comments/{comment.id}")).json()
    assert (seen["reactions"]["eyes"], seen["reactions"]["total_count"]) == (1, 1)


@pytest.mark.parametrize(
    ("role", "permission", "name"),
    [
        ("admin", "admin", "admin"), ("maintain", "write", "maintain"),
        ("write", "write", "write"), ("triage", "read", "triage"), ("read", "read", "read"),
        (None, "read", "read"), ("data-steward:write", "write", "data-steward"),
    ],
)  # fmt: skip
def test_roles(hub: GitHubServer, role: str | None, permission: str, name: str) -> None:
    hub.user("octocat", role=role)
    seen = ask(hub, "GET", lab("/collaborators/octocat/permission"), token=hub.token()).json()
    assert (seen["permission"], seen["role_name"]) == (permission, name)


def test_a_name_nobody_has(hub: GitHubServer) -> None:
    path = lab("/collaborators/nobody/permission")
    assert ask(hub, "GET", path, token=hub.token()).status_code == 404
    assert ask(hub, "GET", path).status_code == 401


def test_a_check_run_begins_and_ends(hub: GitHubServer) -> None:
    pull = opened(hub)
    remote = client(hub, hub.token(ALL))
    check = remote.create_check_run(
        "rpac: exp-42", pull.head_sha, status="in_progress", external_id="run-1",
        output={"title": "Running", "summary": "…"},
    )  # fmt: skip
    note = {"path": "a.yaml", "start_line": 1, "end_line": 1, "annotation_level": "failure",
            "message": "wrong"}  # fmt: skip
    for _ in range(2):
        check.edit(
            conclusion="success",
            output={"title": "Done", "summary": "fine", "annotations": [note]},
        )
    (seen,) = hub.checks(pull.head_sha)
    assert (seen.status, seen.conclusion, seen.external_id) == ("completed", "success", "run-1")
    assert len(seen.annotations) == 2  # they are added, not replaced
    (listed,) = remote.get_commit(pull.head_sha).get_check_runs(check_name="rpac: exp-42")
    assert listed.id == seen.id
    assert [a.message for a in listed.get_annotations()] == ["wrong", "wrong"]


def test_issues_are_opened_listed_and_closed(hub: GitHubServer) -> None:
    remote = client(hub, hub.token(ALL))
    made = remote.create_issue("Verdict changed", "body", labels=["rpac"])
    assert [issue.number for issue in remote.get_issues(state="open")] == [made.number]
    made.edit(state="closed")
    assert list(remote.get_issues(state="open")) == []
    (seen,) = hub.issues()
    assert (seen.state, seen.labels) == ("closed", ["rpac"])


def test_branches_refs_commits_and_contents(hub: GitHubServer) -> None:
    sha = hub.push("a/b", {"folder/ü.txt": "content\n"}, "Say something")
    remote = client(hub, hub.token(ALL))
    assert remote.get_branch("a/b").commit.sha == sha
    assert remote.get_git_ref("heads/a/b").object.sha == sha
    assert remote.get_commit(sha).commit.message == "Say something"
    content = remote.get_contents("folder/ü.txt", ref="a/b")
    assert not isinstance(content, list)
    assert content.decoded_content == b"content\n"
    made = remote.create_git_ref("refs/tags/one", sha)
    with pytest.raises(github.GithubException, match="already exists"):
        remote.create_git_ref("refs/tags/one", sha)
    made.delete()
    with pytest.raises(github.UnknownObjectException):
        remote.get_git_ref("tags/one")


def test_a_ref_moves_forward_only_unless_forced(hub: GitHubServer) -> None:
    first, second = hub.sha("main"), hub.push("topic", {"a": "a"})
    assert first is not None
    ref = client(hub, hub.token(ALL)).get_git_ref("heads/topic")
    with pytest.raises(github.GithubException, match="not a fast forward"):
        ref.edit(first)
    assert hub.sha("topic") == second
    ref.edit(first, force=True)
    assert hub.sha("topic") == first


def test_protection_and_rules_are_told(hub: GitHubServer) -> None:
    hub.required_checks("main", ["tests"])
    hub.rule("main", "required_status_checks", checks=["lint"])
    hub.rule("main", "non_fast_forward")
    token = hub.token(ALL | {"administration": "read"})
    branch = ask(hub, "GET", lab("/branches/main"), token=token).json()
    assert branch["protected"]
    assert branch["protection"]["required_status_checks"]["contexts"] == ["tests"]
    rules = ask(hub, "GET", lab("/rules/branches/main"), token=token).json()
    assert [rule["type"] for rule in rules] == ["required_status_checks", "non_fast_forward"]
    shown = ask(hub, "GET", lab("/branches/main/protection"), token=token).json()
    assert shown["required_status_checks"]["contexts"] == ["tests"]
    assert ask(hub, "GET", lab("/branches/x/protection"), token=token).status_code == 404


def test_dispatches_are_kept(hub: GitHubServer) -> None:
    hub.workflow(".github/workflows/rpac.yml", "rpac")
    remote = client(hub, hub.token(ALL))
    assert remote.create_repository_dispatch("rpac", {"advance": True})
    path = lab("/actions/workflows/rpac.yml/dispatches")
    body = {"ref": "main", "inputs": {"command": "/status"}, "return_run_details": True}
    answer = ask(hub, "POST", path, body, hub.token(ALL))
    sent = [(one.event, one.target, one.payload) for one in hub.main.dispatches]
    assert sent == [
        ("repository_dispatch", "rpac", {"advance": True}),
        ("workflow_dispatch", ".github/workflows/rpac.yml", {"command": "/status"}),
    ]
    run = remote.get_workflow_run(answer.json()["workflow_run_id"])
    assert run.event == "workflow_dispatch"
    assert run.cancel()
    assert hub.cancelled == [run.id]


def test_jobs_and_their_steps(hub: GitHubServer) -> None:
    steps = [{"name": "Fetch", "status": "completed", "conclusion": "success"},
             {"name": "Run", "status": "in_progress"}]  # fmt: skip
    run = hub.workflow_run(jobs=[hub.job("run", steps=steps)])
    (job,) = client(hub, hub.token(ALL)).get_workflow_run(run.id).jobs()
    assert [(step.name, step.status) for step in job.steps] == [
        ("Fetch", "completed"), ("Run", "in_progress"),
    ]  # fmt: skip
    run.status = "completed"
    path = lab(f"/actions/runs/{run.id}/cancel")
    assert ask(hub, "POST", path, token=hub.token(ALL)).status_code == 409


def test_settings_need_the_right_to_administer(hub: GitHubServer) -> None:
    admin = hub.token({"administration": "read", "actions": "read"})
    for path in ("/actions/permissions", "/actions/permissions/workflow"):
        assert ask(hub, "GET", lab(path), token=admin).status_code == 200
        assert ask(hub, "GET", lab(path), token=hub.token(ALL)).status_code == 403
    assert ask(hub, "GET", lab("/actions/oidc/customization/sub"), token=admin).json() == {
        "use_default": True
    }


def test_environments_and_variables(hub: GitHubServer) -> None:
    settings, token = hub.main.actions, hub.token({"actions": "read", "variables": "read"})
    remote = Client(hub.url + "/api/v3", token, "lab/experiments")
    assert remote.environment("rpac-cloud") is None
    assert remote.variable("RPAC_AWS_ROLE") is None
    settings.environments["rpac-cloud"] = None
    found = remote.environment("rpac-cloud")
    assert found is not None
    assert found.any_branch
    settings.environments["rpac-cloud"] = {
        "protected_branches": False, "custom_branch_policies": True,
    }  # fmt: skip
    settings.variables["RPAC_AWS_ROLE"] = "arn:aws:iam::1:role/x"
    found = remote.environment("rpac-cloud")
    assert found is not None
    assert not found.any_branch
    assert remote.variable("RPAC_AWS_ROLE") == "arn:aws:iam::1:role/x"


@pytest.mark.parametrize("root", ["/api/v3", ""])
def test_both_forms_of_the_address(hub: GitHubServer, root: str) -> None:
    assert ask(hub, "GET", "/rate_limit", root=hub.url + root).json()["rate"]["limit"] == 5000
    assert ask(hub, "GET", lab(""), root=hub.url + root).json()["full_name"] == "lab/experiments"


# --- rights -------------------------------------------------------------------------------------


def _writes(hub: GitHubServer) -> dict[str, tuple[str, str, object, str]]:
    pull = opened(hub)
    issue = hub.open_issue("A question", by=hub.user("octocat"))
    comment = hub.comment(pull, hub.user("octocat"), "hello")
    check = {"name": "x", "head_sha": pull.head_sha}
    text, eyes = {"body": "x"}, {"content": "eyes"}
    either, ref = "issues=write; pull_requests=write", {"ref": "refs/tags/x", "sha": pull.head_sha}
    return {
        "comment on a pull request": ("POST", f"/issues/{pull.number}/comments", text, either),
        "comment on an issue": ("POST", f"/issues/{issue.number}/comments", text, "issues=write"),
        "edit": ("PATCH", f"/issues/comments/{comment.id}", text, either),
        "reaction": ("POST", f"/issues/comments/{comment.id}/reactions", eyes, either),
        "issue": ("POST", "/issues", {"title": "x"}, "issues=write"),
        "check run": ("POST", "/check-runs", check, "checks=write"),
        "ref": ("POST", "/git/refs", ref, "contents=write"),
        "dispatch": ("POST", "/dispatches", {"event_type": "x"}, "contents=write"),
        "cancel": ("POST", "/actions/runs/7/cancel", None, "actions=write"),
    }


def test_each_right_is_asked_for_and_suffices(hub: GitHubServer) -> None:
    for name, (method, path, body, right) in _writes(hub).items():
        alternatives = [one.partition("=")[0] for one in right.split("; ")]
        without = hub.token({k: v for k, v in ALL.items() if k not in alternatives})
        refused = ask(hub, method, lab(path), body, without)
        assert refused.status_code == 403, name
        assert refused.json()["message"] == "Resource not accessible by integration"
        assert refused.headers["X-Accepted-GitHub-Permissions"] == right, name
        for alternative in alternatives:
            token = hub.token({alternative: "write"})
            assert ask(hub, method, lab(path), body, token).status_code < 300, (name, alternative)


def test_nobody_and_a_wrong_token(hub: GitHubServer) -> None:
    for name, (method, path, body, _) in _writes(hub).items():
        assert ask(hub, method, lab(path), body).status_code == 401, name
    refused = ask(hub, "GET", lab(""), token="ghs_wrong")
    assert (refused.status_code, refused.json()["message"]) == (401, "Bad credentials")
    token = hub.token(ALL)
    hub.revoke(token)
    assert ask(hub, "GET", lab(""), token=token).status_code == 401


def test_a_token_of_one_repository_writes_in_no_other(hub: GitHubServer) -> None:
    pull = opened(hub)
    other = hub.repository("lab/other")
    token = hub.token(ALL, repository=other)
    path = lab(f"/issues/{pull.number}/comments")
    assert ask(hub, "POST", path, {"body": "x"}, token).status_code == 403


def test_an_archived_repository_is_read_only(hub: GitHubServer) -> None:
    writes = _writes(hub)
    hub.main.archived = True
    for name, (method, path, body, _) in writes.items():
        refused = ask(hub, method, lab(path), body, hub.token(ALL))
        assert refused.status_code == 403, name
        assert "archived" in refused.json()["message"]
    assert ask(hub, "GET", lab(""), token=hub.token(ALL)).json()["archived"]


def test_a_private_repository_is_not_there_for_others(tmp_path: Path) -> None:
    with GitHubServer(tmp_path, private=True) as hub:
        reader = hub.personal_token(hub.user("reader", role="read"))
        stranger = hub.personal_token(hub.user("contributor", role=None))
        elsewhere = hub.token(ALL, repository=hub.repository("lab/other"))
        for token, status in ((None, 404), (stranger, 404), (elsewhere, 404), (reader, 200)):
            assert ask(hub, "GET", lab(""), token=token).status_code == status
        seen = ask(hub, "GET", lab("/collaborators/contributor/permission"), token=reader).json()
        assert (seen["permission"], seen["role_name"]) == ("none", "none")
        # a token of the job itself reads only what it was given
        blind = hub.token({"contents": "read"})
        assert ask(hub, "GET", lab("/issues"), token=blind).status_code == 403


def test_a_locked_conversation_takes_no_strangers(hub: GitHubServer) -> None:
    pull = opened(hub)
    pull.locked = True
    path = lab(f"/issues/{pull.number}/comments")
    stranger = hub.personal_token(hub.user("contributor", role=None))
    refused = ask(hub, "POST", path, {"body": "x"}, stranger)
    assert (refused.status_code, "locked" in refused.json()["message"]) == (403, True)
    assert ask(hub, "POST", path, {"body": "x"}, hub.token(ALL)).status_code == 201


def test_who_asks(hub: GitHubServer) -> None:
    person = hub.personal_token(hub.user("octocat"))
    assert ask(hub, "GET", "/user", token=person).json()["login"] == "octocat"
    assert ask(hub, "GET", "/user", token=hub.token(ALL)).status_code == 403
    assert ask(hub, "GET", "/user").status_code == 401
    check = {"name": "x", "head_sha": hub.sha("main")}
    hub.user("octocat", role="admin")
    assert ask(hub, "POST", lab("/check-runs"), check, person).status_code == 403  # Apps only


# --- limits -------------------------------------------------------------------------------------


def _output(**changes: object) -> dict[str, object]:
    return {"output": {"title": "t", "summary": "s", **changes}}


NOTE = {"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"}


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        (_output(summary="é" * 32_767), _output(summary="é" * 32_768)),
        (_output(text="x" * 65_535), _output(text="x" * 65_536)),
        (_output(annotations=[NOTE] * 50), _output(annotations=[NOTE] * 51)),
        (
            _output(annotations=[NOTE | {"start_column": 1}]),
            _output(annotations=[NOTE | {"start_column": 1, "end_line": 2}]),
        ),
    ],
    ids=["summary in bytes", "text", "annotations", "columns on one line"],
)
def test_limits_of_check_runs(hub: GitHubServer, fits: object, too_much: object) -> None:
    token, start = hub.token(ALL), {"name": "x", "head_sha": hub.sha("main")}
    assert isinstance(fits, dict)
    assert isinstance(too_much, dict)
    assert ask(hub, "POST", lab("/check-runs"), start | fits, token).status_code == 201
    refused = ask(hub, "POST", lab("/check-runs"), start | too_much, token)
    assert refused.status_code == 422
    assert len(hub.checks(str(hub.sha("main")))) == 1


def test_limits_of_texts(hub: GitHubServer) -> None:
    pull, token = opened(hub), hub.token(ALL)
    path = lab(f"/issues/{pull.number}/comments")
    assert ask(hub, "POST", path, {"body": "é" * 65_536}, token).status_code == 201
    refused = ask(hub, "POST", path, {"body": "x" * 65_537}, token)
    assert refused.status_code == 422
    assert "Body is too long (maximum is 65536 characters)" in refused.json()["message"]
    assert refused.json()["errors"][0]["field"] == "body"
    assert ask(hub, "POST", path, {"body": " \n"}, token).status_code == 422
    assert ask(hub, "POST", lab("/issues"), {"title": "x" * 257}, token).status_code == 422
    missing = {"name": "x", "head_sha": NO_COMMIT}
    assert ask(hub, "POST", lab("/check-runs"), missing, token).status_code == 422
    many = {"event_type": "x", "client_payload": {str(n): n for n in range(11)}}
    assert ask(hub, "POST", lab("/dispatches"), many, token).status_code == 422
    large = {"event_type": "x", "client_payload": {"a": "x" * 70_000}}
    assert ask(hub, "POST", lab("/dispatches"), large, token).status_code == 422


# --- pull requests follow their branches --------------------------------------------------------


def test_the_head_follows_the_branch_until_it_is_closed(hub: GitHubServer) -> None:
    pull = opened(hub)
    ref = f"refs/pull/{pull.number}/head"
    assert hub.main.bare.ref(ref) == pull.head_sha == hub.sha("topic")
    second = hub.push("topic", {"more.txt": "more"})
    assert hub.main.bare.ref(ref) == pull.head_sha == second
    hub.close(pull)
    hub.push("topic", {"late.txt": "late"})
    assert hub.main.bare.ref(ref) == pull.head_sha == second


def test_a_fork(hub: GitHubServer, tmp_path: Path) -> None:
    outsider = hub.user("contributor", role=None)
    fork = hub.fork(outsider)
    sha = hub.push("idea", {"a.txt": "a"}, repository=fork)
    pull = hub.open_pull("idea", by=outsider, fork=fork)
    seen = client(hub, hub.token(ALL)).get_pull(pull.number)
    assert seen.head.repo.full_name == "contributor/experiments"
    assert seen.head.repo.fork
    assert seen.head.repo.id != seen.base.repo.id
    assert [file.filename for file in seen.get_files()] == ["a.txt"]
    clone = hub.clone(tmp_path / "clone")
    run_git(clone, "fetch", "--quiet", "origin", f"refs/pull/{pull.number}/head")
    assert run_git(clone, "rev-parse", "FETCH_HEAD") == sha == pull.head_sha
    later = hub.push("idea", {"b.txt": "b"}, repository=fork)
    assert hub.main.bare.ref(f"refs/pull/{pull.number}/head") == later
    hub.delete_repository(fork)
    gone = ask(hub, "GET", lab(f"/pulls/{pull.number}")).json()
    assert (gone["head"]["repo"], gone["head"]["sha"]) == (None, later)


def test_pull_requests_of_a_branch(hub: GitHubServer) -> None:
    pull = opened(hub)
    outsider = hub.user("contributor", role=None)
    fork = hub.fork(outsider)
    hub.push("topic", {"x": "x"}, repository=fork)
    hub.open_pull("topic", by=outsider, fork=fork)
    found = ask(hub, "GET", lab("/pulls?head=lab:topic&state=open")).json()
    assert [one["number"] for one in found] == [pull.number]
    everything = ask(hub, "GET", lab("/pulls?head=topic")).json()  # ignored without an owner
    assert len(everything) == 2


def test_deleting_the_branch_closes_its_pull_request(hub: GitHubServer) -> None:
    pull = opened(hub)
    sha = pull.head_sha
    hub.delete_branch("topic")
    seen = client(hub, hub.token(ALL)).get_pull(pull.number)
    assert (seen.state, seen.merged, seen.head.sha) == ("closed", False, sha)


@pytest.mark.parametrize("squash", [True, False], ids=["squash", "merge"])
def test_merging(hub: GitHubServer, squash: bool) -> None:
    pull = opened(hub, files=2)
    before, head = hub.sha("main"), pull.head_sha
    hub.push("main", {"meanwhile.txt": "x"})
    merged = hub.merge(pull, squash=squash)
    hub.delete_branch("topic")
    seen = client(hub, hub.token(ALL)).get_pull(pull.number)
    assert (seen.state, seen.merged, seen.merge_commit_sha) == ("closed", True, merged)
    assert seen.head.sha == head
    assert set(hub.files("main", "data/")) == {"data/000.txt", "data/001.txt"}
    assert hub.main.bare.is_ancestor(head, merged) is not squash
    assert before != hub.sha("main") == merged


def test_authors_may_lie_about_time(hub: GitHubServer) -> None:
    sha = hub.push("topic", {"a": "a"}, author_date=datetime(2001, 2, 3, tzinfo=UTC))
    seen = client(hub, hub.token(ALL)).get_commit(sha).commit
    assert seen.author.date.year == 2001
    assert seen.committer.date.year > 2001


# --- git ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".git", ""])
def test_anybody_clones_what_is_public(hub: GitHubServer, tmp_path: Path, suffix: str) -> None:
    run_git(tmp_path, "clone", "--quiet", f"{hub.url}/lab/experiments{suffix}", "clone")
    assert (tmp_path / "clone" / "README.md").read_text() == "# experiments\n"


@pytest.mark.parametrize("rights", [{"contents": "read"}, {"issues": "write"}, None])
def test_pushing_needs_the_right_to_write(
    hub: GitHubServer, tmp_path: Path, rights: dict[str, str] | None
) -> None:
    clone = hub.clone(tmp_path / "clone")
    committed(clone)
    token, server = (hub.token(rights), hub) if rights else ("", None)
    with pytest.raises(RuntimeError, match=r"403|could not read Username"):
        run_git(clone, "push", "origin", "HEAD:topic", token=token, hub=server)
    assert hub.sha("topic") is None


def test_pushing_moves_pull_requests_before_git_returns(hub: GitHubServer, tmp_path: Path) -> None:
    pull = opened(hub)
    clone, token = hub.clone(tmp_path / "clone"), hub.token(ALL)
    run_git(clone, "checkout", "--quiet", "topic")
    sha = committed(clone)
    run_git(clone, "push", "--quiet", "origin", "topic", token=token, hub=hub)
    assert hub.sha("topic") == sha == pull.head_sha
    assert hub.main.bare.ref(f"refs/pull/{pull.number}/head") == sha


@pytest.mark.slow
def test_large_pushes_come_in_chunks(hub: GitHubServer, tmp_path: Path) -> None:
    clone, token = hub.clone(tmp_path / "clone"), hub.token(ALL)
    (clone / "noise").write_bytes(os.urandom(3_000_000))
    committed(clone, "small")
    run_git(clone, "add", "noise")
    run_git(clone, "commit", "--quiet", "--message", "noise")
    run_git(clone, "push", "--quiet", "origin", "HEAD:big", token=token, hub=hub)
    assert len(hub.files("big")["noise"]) == 3_000_000
    again = hub.clone(tmp_path / "again")
    run_git(again, "fetch", "--quiet", "--depth=1", "origin", str(hub.sha("big")))


def test_refs_of_pull_requests_are_githubs_own(hub: GitHubServer, tmp_path: Path) -> None:
    clone, token = hub.clone(tmp_path / "clone"), hub.token(ALL)
    committed(clone)
    with pytest.raises(RuntimeError, match="hidden ref"):
        run_git(clone, "push", "origin", "HEAD:refs/pull/9/head", token=token, hub=hub)


def test_an_atomic_push_with_a_lease_that_is_lost(hub: GitHubServer, tmp_path: Path) -> None:
    clone, token = hub.clone(tmp_path / "clone"), hub.token(ALL)
    before = hub.sha("main")
    hub.push("main", {"other.txt": "x"})
    committed(clone)
    lease = f"--force-with-lease=refs/heads/main:{before}"
    with pytest.raises(RuntimeError, match=r"stale info|rejected"):
        run_git(clone, "push", "--atomic", lease, "origin", "HEAD:main", "HEAD:also",
                token=token, hub=hub)  # fmt: skip
    assert hub.sha("also") is None


def test_a_protected_branch_takes_only_what_is_checked(hub: GitHubServer, tmp_path: Path) -> None:
    hub.required_checks("main", ["tests"])
    clone, token = hub.clone(tmp_path / "clone"), hub.token(ALL)
    sha = committed(clone)
    with pytest.raises(RuntimeError, match="GH006"):
        run_git(clone, "push", "origin", "main", token=token, hub=hub)
    run_git(clone, "push", "--quiet", "origin", "HEAD:topic", token=token, hub=hub)
    client(hub, token).create_check_run("tests", sha, conclusion="success")
    run_git(clone, "push", "--quiet", "origin", "main", token=token, hub=hub)
    assert hub.sha("main") == sha


def test_rules_against_rewriting_and_deleting(hub: GitHubServer, tmp_path: Path) -> None:
    hub.push("kept", {"a.txt": "a"})
    hub.rule("kept", "non_fast_forward")
    hub.rule("kept", "deletion")
    clone, token = hub.clone(tmp_path / "clone"), hub.token(ALL)
    committed(clone)
    with pytest.raises(RuntimeError, match="non-fast-forward"):
        run_git(clone, "push", "--force", "origin", "HEAD:kept", token=token, hub=hub)
    with pytest.raises(RuntimeError, match="GH013"):
        run_git(clone, "push", "origin", ":kept", token=token, hub=hub)


def test_a_private_repository_is_cloned_with_a_token_alone(tmp_path: Path) -> None:
    with GitHubServer(tmp_path / "github", private=True) as hub:
        with pytest.raises(subprocess.CalledProcessError):
            hub.clone(tmp_path / "no")
        hub.clone(tmp_path / "yes", token=hub.token({"contents": "read"}))
        with pytest.raises(subprocess.CalledProcessError):
            hub.clone(tmp_path / "blind", token=hub.token({"issues": "read"}))


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "happened"),
    [
        ("502", 502, False), ("502-after", 502, True), ("500", 500, False), ("404", 404, False),
        ("403", 403, False), ("403-secondary", 403, False), ("garbage", 200, False),
        ("drop", 0, False), ("drop-after", 0, True),
    ],
)  # fmt: skip
def test_faults(hub: GitHubServer, kind: str, status: int, happened: bool) -> None:
    pull, token = opened(hub), hub.token(ALL)
    path = lab(f"/issues/{pull.number}/comments")
    hub.faults.add(kind, method="POST", path="*/comments", times=1)
    assert ask(hub, "GET", path, token=token).status_code == 200  # another method
    if status:
        answer = ask(hub, "POST", path, {"body": "first"}, token)
        assert answer.status_code == status
        assert ("Retry-After" in answer.headers) is (kind == "403-secondary")
        if kind == "garbage":
            with pytest.raises(json.JSONDecodeError):
                json.loads(answer.text)
    else:
        with pytest.raises(requests.ConnectionError):
            ask(hub, "POST", path, {"body": "first"}, token)
    assert bool(hub.comments(pull)) is happened
    assert ask(hub, "POST", path, {"body": "second"}, token).status_code == 201
    assert hub.comments(pull)[-1].body == "second"
    assert hub.faults.left == []
    assert [one.status for one in hub.requests if one.method == "POST"] == [status, 201]


def test_a_fault_may_come_later_and_more_than_once(hub: GitHubServer) -> None:
    hub.faults.add("502", path="/rate_limit", skip=1, times=2)
    assert [ask(hub, "GET", "/rate_limit").status_code for _ in range(4)] == [200, 502, 502, 200]


def test_a_slow_answer(hub: GitHubServer) -> None:
    hub.faults.add("slow:30", path="/rate_limit")
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{hub.api_url}/rate_limit", timeout=0.05)
    begun = time.monotonic()
    hub.stop()  # does not wait for it
    assert time.monotonic() - begun < 10


def test_the_head_moves_between_two_requests(hub: GitHubServer) -> None:
    pull, remote = opened(hub), client(hub, hub.token(ALL))
    hub.faults.add("moved", path="*/pulls/*", action=lambda: hub.push("topic", {"late": "x"}))
    before = pull.head_sha
    assert remote.get_pull(pull.number).head.sha == pull.head_sha != before


def test_rejected_pushes(hub: GitHubServer, tmp_path: Path) -> None:
    clone, token = hub.clone(tmp_path / "clone"), hub.token(ALL)
    committed(clone)
    hub.faults.add("push-rejected", ref="refs/heads/rpac/log", times=2)
    run_git(clone, "push", "--quiet", "origin", "HEAD:other", token=token, hub=hub)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="pre-receive hook declined"):
            run_git(clone, "push", "origin", "HEAD:rpac/log", token=token, hub=hub)
    run_git(clone, "push", "--quiet", "origin", "HEAD:rpac/log", token=token, hub=hub)
    assert hub.sha("rpac/log") == hub.sha("other")


def test_gits_answer_may_be_lost_after_the_push(hub: GitHubServer, tmp_path: Path) -> None:
    clone, token = hub.clone(tmp_path / "clone"), hub.token(ALL)
    sha = committed(clone)
    hub.faults.add("502-after", method="POST", path="*git-receive-pack")
    with pytest.raises(RuntimeError, match="502"):
        run_git(clone, "push", "origin", "HEAD:topic", token=token, hub=hub)
    assert hub.sha("topic") == sha


def test_an_unknown_fault_is_an_error(hub: GitHubServer) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        hub.faults.add("503-before")


# --- the description ----------------------------------------------------------------------------


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("GET", lab("/issue/1"), None, "no such operation"),
        ("GET", lab("/labels"), None, "does not answer this"),
        ("POST", lab("/issues"), {"body": "x"}, "'title' is a required property"),
        ("POST", lab("/issues"), {"title": "x", "colour": "red"}, "colour"),
        ("POST", lab("/issues"), None, "body: missing"),
        ("POST", lab("/check-runs"), {"name": "x"}, "head_sha"),
        ("PATCH", lab("/check-runs/1"), {"output": {"title": "x", "summary": "y", "z": 1}}, "z"),
        ("PATCH", lab("/check-runs/1"), {"conclusion": "fine"}, "fine"),
        ("GET", lab("/pulls?state=ajar"), None, "ajar"),
        ("GET", lab("/pulls?per_pages=3"), None, "per_pages: not known"),
        ("GET", lab("/pulls/first"), None, "pull_number"),
    ],
)
def test_what_github_does_not_describe_is_a_violation(
    loose: GitHubServer, method: str, path: str, body: object, problem: str
) -> None:
    answer = ask(loose, method, path, body, loose.token(ALL))
    assert answer.status_code in {400, 501}
    assert problem in answer.json()["message"]
    assert len(loose.violations) == 1
    assert problem in loose.violations[0]


def test_its_own_answers_are_judged_too(described: openapi.Description, hub: GitHubServer) -> None:
    shown = hub.shapes.comment(hub.comment(opened(hub), hub.user("octocat"), "x"))

    def judged(body: object) -> list[str]:
        template = "/repos/{owner}/{repo}/issues/comments/{comment_id}"
        return described.answer_problems("GET", template, 200, body)

    assert judged(shown) == []
    assert "'id' is a required property" in judged({k: v for k, v in shown.items() if k != "id"})[0]
    assert "created_at" in judged(shown | {"created_at": "yesterday"})[0]
    assert judged(shown | {"author_association": "FRIEND"})


def test_what_is_not_json(hub: GitHubServer) -> None:
    answer = ask(hub, "POST", lab("/issues"), b"{title}", hub.token(ALL))
    assert (answer.status_code, answer.json()["message"]) == (400, "Problems parsing JSON")


def test_it_answers_without_the_description(tmp_path: Path) -> None:
    with GitHubServer(tmp_path, described=False) as hub:
        assert ask(hub, "POST", lab("/issues"), {"title": "x"}, hub.token(ALL)).status_code == 201


def test_a_description_that_is_not_there_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPAC_OPENAPI", str(tmp_path / "none.json"))
    openapi.load.cache_clear()
    try:
        assert openapi.load() == (None, f"RPAC_OPENAPI: there is no {tmp_path / 'none.json'}")
        monkeypatch.delenv("RPAC_OPENAPI")
        monkeypatch.setenv("RPAC_CACHE", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        for _ in range(2):  # the second time it is remembered
            openapi.load.cache_clear()
            found, reason = openapi.load()
            assert found is None
            assert "npm is not installed" in reason
    finally:
        openapi.load.cache_clear()


# --- events and variables -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["issue_comment_created", "pull_request_opened", "workflow_dispatch", "schedule"]
)
def test_events_have_the_fields_of_real_ones(hub: GitHubServer, name: str) -> None:
    from tests.conftest import asset

    pull = opened(hub)
    comment = hub.comment(pull, hub.user("octocat"), "/reproduce exp-42")
    author = hub.user("octocat")
    made: dict[str, object] = {
        "issue_comment_created": hub.event("issue_comment", comment=comment),
        "pull_request_opened": hub.pull_event(pull, "opened", author),
        "workflow_dispatch": hub.dispatch_event("status", sender=author),
        "schedule": hub.schedule_event(),
    }
    _contains(made[name], json.loads(asset(f"events/{name}.json").read_text()), name)


def _contains(made: object, sample: object, where: str) -> None:
    if isinstance(sample, dict):
        assert isinstance(made, dict), where
        for key, value in sample.items():
            assert key in made, f"{where}.{key}"
            if value is not None and made[key] is not None and key not in {"inputs", "license"}:
                _contains(made[key], value, f"{where}.{key}")


def test_the_bot_understands_every_event(hub: GitHubServer) -> None:
    from rpac_ci.github import events

    pull, person = opened(hub), hub.user("octocat")
    comment = hub.comment(pull, person, "/reproduce exp-42")
    for name, payload, kind in (
        ("issue_comment", hub.event("issue_comment", comment=comment), events.CommentCreated),
        ("pull_request", hub.pull_event(pull, "synchronize", person), events.PullChanged),
        ("workflow_dispatch", hub.dispatch_event("x", sender=person), events.CommandDispatched),
        (
            "repository_dispatch",
            hub.dispatch_event(sender=person, payload={"advance": True}),
            events.Advance,
        ),
        ("schedule", hub.schedule_event(), events.Scheduled),
    ):
        assert isinstance(events.read_event(name, json.dumps(payload).encode()), kind)
    edited = hub.event("issue_comment", comment=comment, action="edited")
    assert isinstance(
        events.read_event("issue_comment", json.dumps(edited).encode()), events.Ignored
    )


def test_the_variables_of_a_job(hub: GitHubServer, tmp_path: Path) -> None:
    pull, person = opened(hub), hub.user("octocat")
    payload = hub.pull_event(pull, "opened", person)
    given = hub.environment("pull_request", payload, "ghs_x", tmp_path / "work")
    assert json.loads(Path(given["GITHUB_EVENT_PATH"]).read_text()) == payload
    assert given["GITHUB_REF"] == f"refs/pull/{pull.number}/merge"
    assert (given["GITHUB_ACTOR"], given["GITHUB_ACTOR_ID"]) == ("octocat", str(person.id))
    assert Path(given["GITHUB_OUTPUT"]).read_text() == ""
    comment = hub.comment(pull, person, "x")
    other = hub.environment("issue_comment", hub.event("issue_comment", comment=comment))
    assert other["GITHUB_SHA"] == hub.sha("main")
    assert "GITHUB_TOKEN" not in other
    assert other["GITHUB_RUN_ID"] != given["GITHUB_RUN_ID"]
    assert all(isinstance(value, str) for value in (given | other).values())


# --- many at once -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hundred_comments_at_once(hub: GitHubServer) -> None:
    pull, token = opened(hub), hub.token(ALL)

    def write(number: int) -> int:
        with requests.Session() as session:
            session.headers["Authorization"] = f"token {token}"
            url = hub.api_url + lab(f"/issues/{pull.number}/comments")
            made = session.post(url, json={"body": str(number)}, timeout=60).json()
            eyes = {"content": "eyes"}
            done = session.post(f"{made['url']}/reactions", json=eyes, timeout=60)
            assert done.status_code == 201
            return int(made["id"])

    with ThreadPoolExecutor(100) as pool:
        ids = list(pool.map(write, range(100)))
    assert len(set(ids)) == 100
    assert {comment.body for comment in hub.comments(pull)} == {str(n) for n in range(100)}
    assert all(len(comment.reactions) == 1 for comment in hub.comments(pull))
    listed = [c.id for c in client(hub, token).get_issue(pull.number).get_comments()]
    assert listed == [comment.id for comment in hub.comments(pull)]
    assert hub.counted().count(f"POST {lab('/issues/N/comments')}") == 100


@pytest.mark.slow
def test_eight_pushers_at_once(hub: GitHubServer, tmp_path: Path) -> None:
    token = hub.token(ALL)

    def push(number: int) -> None:
        clone = hub.clone(tmp_path / f"clone-{number}")
        committed(clone, f"{number}.txt", str(number))
        run_git(clone, "push", "--quiet", "origin", f"HEAD:branch-{number}", token=token, hub=hub)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(push, range(8)))
    assert all(hub.files(f"branch-{n}")[f"{n}.txt"] == str(n).encode() for n in range(8))
    assert {one.kind for one in hub.requests} == {"git"}
