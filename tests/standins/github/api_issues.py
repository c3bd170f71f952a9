"""Issues, comments, reactions, pull requests."""

from __future__ import annotations

from collections.abc import Sequence

from tests.standins.github.api import Answer, Call, RefusedError, invalid, not_found, route
from tests.standins.github.shapes import EMOJI
from tests.standins.github.state import RANK, Comment, Issue, Pull, Reaction

MAX_BODY = 65_536
MAX_TITLE = 256
MAX_FILES = 3000

_TALK = "issues=write; pull_requests=write"


def _comment(call: Call) -> Comment:
    comment = call.repository.comments.get(call.number("comment_id"))
    if comment is None:
        raise not_found()
    return comment


def _checked(resource: str, body: str) -> str:
    if len(body) > MAX_BODY:
        message = f"body is too long (maximum is {MAX_BODY} characters)"
        raise RefusedError(
            422, f"Validation Failed: Body is too long (maximum is {MAX_BODY} characters)",
            errors=[{"resource": resource, "code": "custom", "field": "body", "message": message}],
        )  # fmt: skip
    return body


# --- issues -------------------------------------------------------------------------------------


@route("GET", "/issues", "issues=read")
def list_issues(call: Call) -> Answer:
    state, labels = call.query.get("state", "open"), call.query.get("labels", "")
    wanted = {label for label in labels.split(",") if label}
    creator = call.query.get("creator")
    found = [
        issue
        for issue in call.repository.issues.values()
        if state in ("all", issue.state)
        and wanted <= set(issue.labels)
        and creator in (None, issue.user.login)
    ]
    if call.query.get("direction", "desc") == "desc":
        found.reverse()
    return call.page(found, call.shapes.issue)


@route("POST", "/issues", "issues=write")
def create_issue(call: Call) -> Answer:
    assert call.token is not None
    title, body = str(call.body["title"]), call.body.get("body") or ""
    if not title.strip():
        raise invalid("Issue", "title", code="missing_field")
    if len(title) > MAX_TITLE:
        raise invalid("Issue", "title", message=f"title is too long (maximum is {MAX_TITLE})")
    issue = call.state.add_issue(
        call.repository, call.token.user, title, _checked("Issue", body), call.token.app
    )
    labels = call.body.get("labels") or []
    issue.labels = [label if isinstance(label, str) else label["name"] for label in labels]
    return Answer(201, call.shapes.issue(issue))


@route("GET", "/issues/{issue_number}", "issues=read")
def get_issue(call: Call) -> Answer:
    return Answer(200, call.shapes.issue(call.issue()))


@route("PATCH", "/issues/{issue_number}", _TALK)
def edit_issue(call: Call) -> Answer:
    issue = call.issue()
    call.need_to_talk(issue)
    issue.title = str(call.body.get("title") or issue.title)
    issue.body = _checked("Issue", call.body.get("body") or issue.body)
    if call.body.get("state") == "closed" and issue.state == "open":
        call.state.close(issue)
    elif call.body.get("state") == "open":
        issue.state, issue.closed_at = "open", None
    if isinstance(labels := call.body.get("labels"), list):
        issue.labels = [label if isinstance(label, str) else label["name"] for label in labels]
    issue.updated_at = call.state.now()
    return Answer(200, call.shapes.issue(issue))


# --- comments -----------------------------------------------------------------------------------


@route("GET", "/issues/{issue_number}/comments", "issues=read")
def list_comments(call: Call) -> Answer:
    return call.page(call.issue().comments, call.shapes.comment)


@route("POST", "/issues/{issue_number}/comments", _TALK)
def create_comment(call: Call) -> Answer:
    assert call.token is not None
    issue, token = call.issue(), call.token
    call.need_to_talk(issue)
    person = token.permissions is None
    if issue.locked and person and RANK.index(issue.repository.role(token.user)) < 2:
        raise RefusedError(403, "Unable to create comment because issue is locked.")
    body = _checked("IssueComment", call.body["body"])
    if not body.strip():
        raise invalid("IssueComment", "body", message="body can't be blank")
    comment = call.state.add_comment(issue, token.user, body, token.app)
    return Answer(201, call.shapes.comment(comment))


@route("GET", "/issues/comments/{comment_id}", "issues=read")
def get_comment(call: Call) -> Answer:
    return Answer(200, call.shapes.comment(_comment(call)))


@route("PATCH", "/issues/comments/{comment_id}", _TALK)
def edit_comment(call: Call) -> Answer:
    comment = _comment(call)
    _may_change(call, comment)
    comment.body = _checked("IssueComment", call.body["body"])
    comment.updated_at = call.state.now()
    return Answer(200, call.shapes.comment(comment))


@route("DELETE", "/issues/comments/{comment_id}", _TALK)
def delete_comment(call: Call) -> Answer:
    comment = _comment(call)
    _may_change(call, comment)
    comment.issue.comments.remove(comment)
    del call.repository.comments[comment.id]
    return Answer(204)


def _may_change(call: Call, comment: Comment) -> None:
    """One's own comments, and others' for who can push."""
    assert call.token is not None
    call.need_to_talk(comment.issue)
    token = call.token
    others = token.permissions is None and token.user is not comment.user
    if others and RANK.index(call.repository.role(token.user)) < RANK.index("write"):
        raise RefusedError(403, "Must have admin rights to Repository.")


# --- reactions ----------------------------------------------------------------------------------


@route("GET", "/issues/comments/{comment_id}/reactions", "issues=read")
def list_reactions(call: Call) -> Answer:
    content = call.query.get("content")
    found = [r for r in _comment(call).reactions if content in (None, r.content)]
    return call.page(found, call.shapes.reaction)


@route("POST", "/issues/comments/{comment_id}/reactions", _TALK)
def react_to_comment(call: Call) -> Answer:
    comment = _comment(call)
    return _react(call, comment.issue, comment.reactions)


@route("POST", "/issues/{issue_number}/reactions", _TALK)
def react_to_issue(call: Call) -> Answer:
    issue = call.issue()
    return _react(call, issue, issue.reactions)


def _react(call: Call, issue: Issue, reactions: list[Reaction]) -> Answer:
    assert call.token is not None
    call.need_to_talk(issue)
    content = call.body["content"]
    if content not in EMOJI:
        raise invalid("Reaction", "content")
    reaction, new = call.state.add_reaction(reactions, call.token.user, content)
    return Answer(201 if new else 200, call.shapes.reaction(reaction))


# --- pull requests ------------------------------------------------------------------------------


def _pull(call: Call) -> Pull:
    found = call.repository.issues.get(call.number("pull_number"))
    if not isinstance(found, Pull):
        raise not_found()
    return found


@route("GET", "/pulls", "pull_requests=read")
def list_pulls(call: Call) -> Answer:
    state, base = call.query.get("state", "open"), call.query.get("base")
    head = call.query.get("head", "")
    found: Sequence[Pull] = [
        pull
        for pull in reversed(call.repository.pulls)
        if state in ("all", pull.state)
        and base in (None, pull.base_ref)
        # GitHub ignores a head without its owner
        and (":" not in head or head == f"{pull.head_owner.login}:{pull.head_ref}")
    ]
    return call.page(found, call.git_shapes.pull)


@route("GET", "/pulls/{pull_number}", "pull_requests=read")
def get_pull(call: Call) -> Answer:
    return Answer(200, call.git_shapes.whole_pull(_pull(call)))


@route("GET", "/pulls/{pull_number}/files", "pull_requests=read")
def list_files(call: Call) -> Answer:
    pull = _pull(call)
    changes = pull.repository.bare.changes(pull.base_sha, pull.head_sha)
    return call.page(changes[:MAX_FILES], lambda change: call.git_shapes.file(pull, change))
