"""Requests of the REST API -> what they do and answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.standins.github.shapes import Shapes
from tests.standins.github.state import (
    Check,
    Comment,
    Hub,
    Issue,
    Reaction,
    Repository,
    Token,
    now,
)

MAX_COMMENT, MAX_CHECK_BYTES, MAX_ANNOTATIONS = 65_536, 65_535, 50
_FOLDED = {"maintain": "write", "triage": "read"}


@dataclass
class Answer:
    """Status, JSON and headers."""

    status: int
    value: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.answer = Answer(
            status, {"message": message, "documentation_url": "https://x"}, headers
        )


@dataclass
class Call:
    """One request of somebody who is known."""

    state: Hub
    shapes: Shapes
    token: Token
    method: str
    path: str
    query: str
    body: bytes

    @property
    def sent(self) -> dict[str, Any]:
        """What was sent along."""
        value: dict[str, Any] = json.loads(self.body or b"{}")
        return value

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return parse_qs(self.query).get(name, [default])[0]

    def may(self, right: str, level: str, where: Repository) -> None:
        """Refuse what the token may not do."""
        have = self.token.permissions.get(right, "none")
        if level == "write" and where.archived:
            raise RefusedError(403, "Repository was archived so is read-only.")
        if have != "write" and have != level:
            accepted = {"X-Accepted-GitHub-Permissions": f"{right}={level}"}
            raise RefusedError(403, "Resource not accessible by integration", **accepted)

    def page(self, items: list[Any]) -> Answer:
        """One page of a list, with links to the others."""
        size, number = int(self.asked("per_page", "30")), int(self.asked("page", "1"))
        last = max(1, -(-len(items) // size))
        headers = {}
        if last > 1:
            address = f"{self.shapes.api}{self.path}?per_page={size}&page="
            links = [f'<{address}{last}>; rel="last"', f'<{address}1>; rel="first"']
            if number < last:
                links.insert(0, f'<{address}{number + 1}>; rel="next"')
            headers["Link"] = ", ".join(links)
        return Answer(200, items[(number - 1) * size : number * size], headers)


Route = Callable[..., Answer]
_ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    """A function that answers requests below a repository."""
    compiled = re.compile(
        pattern.replace("{n}", r"(\d+)").replace("{x}", "([^/]+)").replace("{p}", "(.+)")
    )

    def add(function: Route) -> Route:
        _ROUTES.append((method, compiled, function))
        return function

    return add


def respond(call: Call) -> Answer:
    """The answer to a request."""
    found = re.fullmatch(r"/repos/([^/]+/[^/]+)(/.*)?", call.path)
    if call.path == "/user":
        if call.token.user.type == "Bot":
            return Answer(403, {"message": "Resource not accessible by integration"})
        return Answer(200, call.shapes.user(call.token.user))
    where = call.state.repositories.get(found[1]) if found else None
    if found is None or where is None:
        return Answer(404, {"message": "Not Found"})
    for method, pattern, function in _ROUTES:
        match = pattern.fullmatch(found[2] or "")
        if match and method == call.method:
            words = [int(w) if w.isdigit() else w for w in match.groups()]
            try:
                return function(call, where, *words)
            except RefusedError as exc:
                return exc.answer
            except KeyError:
                return Answer(404, {"message": "Not Found"})
    return Answer(404, {"message": "Not Found"})


@route("GET", "")
def _repository(call: Call, where: Repository) -> Answer:
    return Answer(200, call.shapes.repository(where) | {"permissions": {
        "admin": False, "maintain": False, "push": call.token.permissions.get("contents") == "write",
        "triage": False, "pull": True,
    }})  # fmt: skip


@route("GET", "/collaborators/{x}/permission")
def _permission(call: Call, where: Repository, login: str | int) -> Answer:
    user = next(u for u in [*call.state.users.values(), None] if u is None or u.login == str(login))
    if user is None:
        raise RefusedError(404, "Not Found")
    role = where.roles.get(user.id, "none" if where.private else "read")
    shape = call.shapes.user(user) | {"role_name": role, "permissions": {
        "pull": True, "triage": False, "push": False, "maintain": False, "admin": False,
    }}  # fmt: skip
    folded = _FOLDED.get(role, role)
    return Answer(200, {"permission": folded, "role_name": role, "user": shape})


# --- pull requests ------------------------------------------------------------------------------


@route("GET", "/pulls/{n}")
def _pull(call: Call, where: Repository, number: int) -> Answer:
    call.may("pull_requests", "read", where)
    return Answer(200, call.shapes.pull(where.pulls[number]))


@route("GET", "/pulls/{n}/files")
def _files(call: Call, where: Repository, number: int) -> Answer:
    call.may("pull_requests", "read", where)
    return call.page(call.shapes.files(where.pulls[number]))


# --- comments and issues ------------------------------------------------------------------------


def _may_comment(call: Call, where: Repository, number: int) -> None:
    right = "pull_requests" if number in where.pulls else "issues"
    call.may(right, "write", where)
    if where.issues[number].locked and call.token.user.id not in where.roles:
        if call.token.user.type != "Bot":
            raise RefusedError(403, "Unable to create comment because issue is locked.")


def _fits(body: str) -> str:
    if len(body) > MAX_COMMENT:
        raise RefusedError(422, f"Body is too long (maximum is {MAX_COMMENT} characters)")
    return body


@route("GET", "/issues/{n}/comments")
def _list_comments(call: Call, where: Repository, number: int) -> Answer:
    found = [c for c in where.comments.values() if c.number == number]
    return call.page([call.shapes.comment(where, comment) for comment in found])


@route("POST", "/issues/{n}/comments")
def _comment(call: Call, where: Repository, number: int) -> Answer:
    _may_comment(call, where, number)
    comment = Comment(
        call.state.next_id(), number, call.token.user, _fits(call.sent["body"]), now(), now()
    )
    where.comments[comment.id] = comment
    return Answer(201, call.shapes.comment(where, comment))


@route("GET", "/issues/comments/{n}")
def _one_comment(call: Call, where: Repository, number: int) -> Answer:
    return Answer(200, call.shapes.comment(where, where.comments[number]))


@route("PATCH", "/issues/comments/{n}")
def _edit(call: Call, where: Repository, number: int) -> Answer:
    comment = where.comments[number]
    _may_comment(call, where, comment.number)
    comment.body, comment.updated_at = _fits(call.sent["body"]), now()
    comment.edits += 1
    return Answer(200, call.shapes.comment(where, comment))


@route("POST", "/issues/comments/{n}/reactions")
def _react(call: Call, where: Repository, number: int) -> Answer:
    comment = where.comments[number]
    _may_comment(call, where, comment.number)
    content, mine = call.sent["content"], call.token.user
    known = [r for r in comment.reactions if r.content == content and r.user is mine]
    if not known:
        comment.reactions.append(Reaction(call.state.next_id(), content, mine))
    found = (known or comment.reactions)[-1]
    shape = {"id": found.id, "node_id": "R", "user": call.shapes.user(mine), "content": content}
    return Answer(200 if known else 201, shape | {"created_at": now()})


@route("GET", "/issues")
def _issues(call: Call, where: Repository) -> Answer:
    state = call.asked("state", "open")
    found = [i for i in where.issues.values() if state in ("all", i.state)]
    return call.page([call.shapes.issue(where, issue) for issue in reversed(found)])


@route("POST", "/issues")
def _open_issue(call: Call, where: Repository) -> Answer:
    call.may("issues", "write", where)
    issue = add_issue(call.state, where, call.token.user, call.sent["title"],
                      _fits(call.sent.get("body") or ""))  # fmt: skip
    issue.labels = list(call.sent.get("labels", []))
    return Answer(201, call.shapes.issue(where, issue))


def add_issue(state: Hub, where: Repository, user: Any, title: str, body: str) -> Issue:
    """A new issue of a repository."""
    number = len(where.issues) + 1
    where.issues[number] = Issue(number, state.next_id(), user, title, body)
    return where.issues[number]


# --- checks -------------------------------------------------------------------------------------


def _output(sent: Mapping[str, Any]) -> dict[str, Any]:
    output = dict(sent.get("output") or {})
    for name in ("summary", "text"):
        if len((output.get(name) or "").encode()) > MAX_CHECK_BYTES:
            raise RefusedError(422, f"Invalid request. output.{name} exceeds a maximum length")
    if len(output.get("annotations", [])) > MAX_ANNOTATIONS:
        raise RefusedError(422, "Invalid request. No more than 50 items are allowed")
    return output


def _update(check: Check, sent: Mapping[str, Any]) -> None:
    output = _output(sent)
    check.annotations += output.pop("annotations", [])
    check.output |= output
    check.status = sent.get("status", check.status)
    if "conclusion" in sent:
        check.status, check.conclusion = "completed", sent["conclusion"]


@route("POST", "/check-runs")
def _open_check(call: Call, where: Repository) -> Answer:
    call.may("checks", "write", where)
    sent = call.sent
    if where.sha(sent["head_sha"]) is None:
        raise RefusedError(422, f"No commit found for SHA: {sent['head_sha']}")
    check = Check(
        call.state.next_id(), sent["name"], sent["head_sha"], "queued", None,
        sent.get("external_id", ""), sent.get("details_url", "https://example.org"), {},
    )  # fmt: skip
    _update(check, sent)
    where.checks[check.id] = check
    return Answer(201, call.shapes.check(where, check))


@route("PATCH", "/check-runs/{n}")
def _update_check(call: Call, where: Repository, number: int) -> Answer:
    call.may("checks", "write", where)
    check = where.checks[number]
    _update(check, call.sent)
    return Answer(200, call.shapes.check(where, check))


@route("GET", "/commits/{p}/check-runs")
def _list_checks(call: Call, where: Repository, ref: str) -> Answer:
    call.may("checks", "read", where)
    sha, name = where.sha(str(ref)), call.asked("check_name")
    found = [c for c in where.checks.values() if c.head_sha == sha and name in ("", c.name)]
    answer = call.page([call.shapes.check(where, check) for check in found])
    answer.value = {"total_count": len(found), "check_runs": answer.value}
    return answer


# --- branches and rules -------------------------------------------------------------------------


@route("GET", "/branches/{p}")
def _branch(call: Call, where: Repository, name: str | int) -> Answer:
    branch = str(name)
    sha, required = where.sha(f"refs/heads/{branch}"), where.required.get(branch, [])
    if sha is None:
        raise RefusedError(404, "Branch not found")
    api = f"{call.shapes.api}/repos/{where.full_name}"
    person = {"name": "x", "email": "x@example.org", "date": now()}
    commit = {
        "sha": sha, "node_id": "C", "url": api, "html_url": api, "comments_url": api,
        "author": None, "committer": None, "parents": [],
        "commit": {"author": person, "committer": person, "message": "x", "comment_count": 0,
                   "tree": {"sha": sha, "url": api}, "url": api,
                   "verification": {"verified": False, "reason": "unsigned", "signature": None,
                                    "payload": None, "verified_at": None}},
    }  # fmt: skip
    checks = {"enforcement_level": "non_admins" if required else "off", "contexts": required,
              "checks": [{"context": name, "app_id": None} for name in required]}  # fmt: skip
    return Answer(200, {
        "name": branch, "commit": commit, "protected": bool(required),
        "protection": {"enabled": bool(required), "required_status_checks": checks},
        "protection_url": f"{api}/branches/{branch}/protection",
        "_links": {"html": api, "self": api},
    })  # fmt: skip


@route("GET", "/rules/branches/{p}")
def _rules(call: Call, where: Repository, name: str | int) -> Answer:
    return call.page(where.rules.get(str(name), []))


# --- actions ------------------------------------------------------------------------------------


@route("POST", "/dispatches")
def _dispatch(call: Call, where: Repository) -> Answer:
    call.may("contents", "write", where)
    where.dispatches.append(call.sent)
    return Answer(204)


@route("POST", "/actions/runs/{n}/cancel")
def _cancel(call: Call, where: Repository, number: int) -> Answer:
    call.may("actions", "write", where)
    where.cancelled.append(number)
    return Answer(202, {})


@route("GET", "/actions/runs/{n}/jobs")
def _jobs(call: Call, where: Repository, number: int) -> Answer:
    call.may("actions", "read", where)
    found = where.jobs.get(number, [])
    return Answer(200, {"total_count": len(found), "jobs": found})


@route("GET", "/actions/workflows")
def _workflows(call: Call, where: Repository) -> Answer:
    call.may("actions", "read", where)
    return Answer(200, {"total_count": len(where.workflows), "workflows": where.workflows})


@route("GET", "/actions/permissions")
def _actions(call: Call, where: Repository) -> Answer:
    return Answer(200, {"enabled": True, "allowed_actions": "all"})


@route("GET", "/actions/permissions/workflow")
def _workflow_permissions(call: Call, where: Repository) -> Answer:
    return Answer(200, {
        "default_workflow_permissions": "read", "can_approve_pull_request_reviews": False,
    })  # fmt: skip


@route("GET", "/actions/oidc/customization/sub")
def _oidc(call: Call, where: Repository) -> Answer:
    return Answer(200, {"use_default": True})
