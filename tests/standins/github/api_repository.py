"""Who asks, repositories, roles, branches, refs, contents, dispatches."""

from __future__ import annotations

import json
import re

from tests.standins.github.api import Answer, Call, RefusedError, invalid, not_found, route
from tests.standins.github.shapes import rights_of
from tests.standins.github.state import FOLDED, Dispatch, Object

MAX_PAYLOAD = 64 * 1024
MAX_KEYS = 10

# --- who asks -----------------------------------------------------------------------------------


@route("GET", "~/user")
def get_user(call: Call) -> Answer:
    if call.token is None:
        raise RefusedError(401, "Requires authentication")
    if call.token.permissions is not None:
        raise RefusedError(403, "Resource not accessible by integration")
    return Answer(200, call.shapes.whole_user(call.token.user))


@route("GET", "~/rate_limit")
def rate_limit(call: Call) -> Answer:
    left = {"limit": 5000, "remaining": 4999, "reset": 4_000_000_000, "used": 1}
    return Answer(200, {"resources": {"core": left, "search": left}, "rate": left})


# --- repositories -------------------------------------------------------------------------------


@route("GET", "", "metadata=read")
def get_repository(call: Call) -> Answer:
    rights: Object | None = None
    if call.token is not None:
        role = call.repository.role(call.token.user)
        if call.token.permissions is not None:
            role = "write" if call.token.permissions.get("contents") == "write" else "read"
        rights = rights_of(FOLDED.get(role, "read"), role)
    return Answer(200, call.shapes.whole_repository(call.repository, rights))


@route("GET", "/collaborators/{username}/permission", "metadata=read")
def get_permission(call: Call) -> Answer:
    if call.token is None:
        raise RefusedError(401, "Requires authentication")
    user = call.state.user_named(call.words["username"])
    if user is None:
        raise RefusedError(404, f"{call.words['username']} is not a user")
    role = call.repository.role(user)
    # a role of an organization's own is built on a standard one: "data-steward:write"
    name, _, standard = role.partition(":")
    return Answer(
        200,
        call.shapes.permission(call.repository, user, FOLDED[standard or name], name),
    )


# --- branches -----------------------------------------------------------------------------------


@route("GET", "/branches/{branch}", "contents=read")
def get_branch(call: Call) -> Answer:
    name, bare = call.words["branch"], call.repository.bare
    sha = bare.ref(f"refs/heads/{name}")
    if sha is None:
        raise RefusedError(404, "Branch not found")
    return Answer(200, call.git_shapes.branch(call.repository, name, bare.commit(sha)))


@route("GET", "/branches/{branch}/protection", "administration=read")
def get_protection(call: Call) -> Answer:
    name = call.words["branch"]
    contexts = call.repository.required.get(name)
    if contexts is None:
        raise RefusedError(404, "Branch not protected")
    address = f"{call.shapes.root(call.repository)}/branches/{name}/protection"
    checks = f"{address}/required_status_checks"
    return Answer(200, {
        "url": address,
        "required_status_checks": {
            "url": checks, "strict": False, "contexts": contexts,
            "contexts_url": f"{checks}/contexts",
            "checks": [{"context": context, "app_id": None} for context in contexts],
        },
        "enforce_admins": {"url": f"{address}/enforce_admins", "enabled": False},
    })  # fmt: skip


@route("GET", "/rules/branches/{branch}", "metadata=read")
def get_rules(call: Call) -> Answer:
    source = {"ruleset_source_type": "Repository", "ruleset_source": call.repository.full_name,
              "ruleset_id": 42}  # fmt: skip
    rules = call.repository.rules.get(call.words["branch"], [])
    return call.page(rules, lambda rule: {**rule, **source})


# --- refs and commits ---------------------------------------------------------------------------


def _ref(call: Call) -> str:
    return f"refs/{call.words['ref']}"


@route("GET", "/git/ref/{ref}", "contents=read")
def get_ref(call: Call) -> Answer:
    sha = call.repository.bare.ref(_ref(call))
    if sha is None:
        raise not_found()
    return Answer(200, call.git_shapes.ref(call.repository, _ref(call), sha))


@route("POST", "/git/refs", "contents=write")
def create_ref(call: Call) -> Answer:
    ref, sha, bare = call.body["ref"], call.body["sha"], call.repository.bare
    if not re.fullmatch(r"refs/[^/ ]+/[^ ~^:?*\[\\]+", ref) or ref.startswith("refs/pull/"):
        raise RefusedError(422, "Reference name must be a full ref: refs/heads/…")
    if not bare.has(sha):
        raise RefusedError(422, "Object does not exist")
    if bare.ref(ref):
        raise RefusedError(422, "Reference already exists")
    try:
        bare.set_ref(ref, sha, "0" * 40)
    except RuntimeError as exc:
        raise RefusedError(422, "Reference already exists") from exc
    call.state.branches_moved(call.repository)
    return Answer(201, call.git_shapes.ref(call.repository, ref, sha))


@route("PATCH", "/git/refs/{ref}", "contents=write")
def move_ref(call: Call) -> Answer:
    ref, sha, bare = _ref(call), call.body["sha"], call.repository.bare
    old = bare.ref(ref)
    if old is None:
        raise RefusedError(422, "Reference does not exist")
    if not bare.has(sha):
        raise RefusedError(422, "Object does not exist")
    if not call.body.get("force") and not bare.is_ancestor(old, sha):
        raise RefusedError(422, "Update is not a fast forward")
    bare.set_ref(ref, sha, old)
    call.state.branches_moved(call.repository)
    return Answer(200, call.git_shapes.ref(call.repository, ref, sha))


@route("DELETE", "/git/refs/{ref}", "contents=write")
def delete_ref(call: Call) -> Answer:
    if call.repository.bare.ref(_ref(call)) is None:
        raise RefusedError(422, "Reference does not exist")
    call.repository.bare.set_ref(_ref(call), None)
    call.state.branches_moved(call.repository)
    return Answer(204)


@route("GET", "/commits/{ref}", "contents=read")
def get_commit(call: Call) -> Answer:
    sha = call.repository.bare.resolve(call.words["ref"])
    if sha is None:
        raise RefusedError(422, f"No commit found for SHA: {call.words['ref']}")
    return Answer(200, call.git_shapes.commit(call.repository, call.repository.bare.commit(sha)))


@route("GET", "/contents/{path}", "contents=read")
def get_contents(call: Call) -> Answer:
    bare, path = call.repository.bare, call.words["path"].strip("/")
    ref = call.query.get("ref", call.repository.default_branch)
    sha = bare.resolve(ref)
    if sha is None:
        raise RefusedError(404, f"No commit found for the ref {ref}")
    folder = path.rpartition("/")[0]
    try:
        beside = bare.entries(sha, folder)
    except RuntimeError as exc:
        raise not_found() from exc
    entry = next((entry for entry in beside if entry.path == path), None)
    if entry is None:
        raise not_found()
    if entry.type == "tree":
        inside = bare.entries(sha, path)
        return Answer(200, [call.git_shapes.entry(call.repository, one, ref) for one in inside])
    (raw,) = bare.blobs([entry.sha]) if entry.type == "blob" else (b"",)
    return Answer(200, call.git_shapes.content(call.repository, entry, ref, raw))


# --- dispatches ---------------------------------------------------------------------------------


@route("POST", "/dispatches", "contents=write")
def dispatch(call: Call) -> Answer:
    assert call.token is not None
    kind, payload = call.body["event_type"], call.body.get("client_payload") or {}
    if not 0 < len(kind) <= 100:
        raise invalid("RepositoryDispatch", "event_type")
    if len(payload) > MAX_KEYS or len(json.dumps(payload)) > MAX_PAYLOAD:
        raise RefusedError(422, "client_payload is too large")
    call.repository.dispatches.append(
        Dispatch("repository_dispatch", kind, payload, call.token.user)
    )
    return Answer(204)
