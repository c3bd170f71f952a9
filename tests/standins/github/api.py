"""Requests to the API: which there are, who may make them, and what an answer is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote, urlencode

from tests.standins.github.shapes import Shapes
from tests.standins.github.shapes_actions import ActionShapes
from tests.standins.github.shapes_pulls import GitShapes
from tests.standins.github.state import RANK, Issue, Object, Repository, State, Token

T = TypeVar("T")

DOCS = "https://docs.github.com/rest"
# least role of a person for what an installation needs a permission for
_ROLES = {
    "contents=write": "write", "actions=write": "write", "administration=read": "admin",
    "issues=write": "read", "pull_requests=write": "read",
}  # fmt: skip


@dataclass
class Answer:
    """What goes back: `body` as JSON, or nothing."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """An answer that is an error, in GitHub's shape."""

    def __init__(
        self, status: int, message: str, *, errors: Sequence[Object | str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        body: Object = {"message": message, "documentation_url": DOCS, "status": str(status)}
        if errors:
            body["errors"] = list(errors)
        self.answer = Answer(status, body, dict(headers or {}))


def not_found() -> RefusedError:
    """What is not there, or is nobody's business."""
    return RefusedError(404, "Not Found")


def invalid(resource: str, name: str, *, message: str = "", code: str = "invalid") -> RefusedError:
    """422, in the shape that names a field."""
    if message:
        error = {"resource": resource, "code": "custom", "field": name, "message": message}
    else:
        error = {"resource": resource, "code": code, "field": name}
    return RefusedError(422, "Validation Failed", errors=[error])


@dataclass
class Call:
    """One request, with all that handlers need."""

    state: State
    shapes: Shapes
    token: Token | None
    path: str
    words: Mapping[str, str]
    query: Mapping[str, str]
    body: Object

    @cached_property
    def git_shapes(self) -> GitShapes:
        """Shapes of what lives in git."""
        return GitShapes(self.shapes)

    @cached_property
    def action_shapes(self) -> ActionShapes:
        """Shapes of what runs."""
        return ActionShapes(self.shapes, self.git_shapes)

    @cached_property
    def repository(self) -> Repository:
        """The repository in the path, if who asks may see it."""
        found = self.state.repository_named(f"{self.words['owner']}/{self.words['repo']}")
        if found is None or not may_read(self.token, found):
            raise not_found()
        return found

    def number(self, word: str) -> int:
        """A number in the path."""
        if not self.words[word].isascii() or not self.words[word].isdigit():
            raise not_found()
        return int(self.words[word])

    def issue(self) -> Issue:
        """The issue or pull request in the path."""
        issue = self.repository.issues.get(self.number("issue_number"))
        if issue is None:
            raise not_found()
        return issue

    def need(self, right: str) -> None:
        """Refuse who lacks a right; several that would do are parted by semicolons."""
        if self.token is None:
            if _open_to_all(self.repository, right):
                return
            raise RefusedError(401, "Requires authentication")
        if self.repository.archived and right.endswith("=write"):
            raise RefusedError(403, "Repository was archived so is read-only.")
        if not any(_allowed(self.token, self.repository, one) for one in right.split("; ")):
            what = "integration" if self.token.app else "personal access token"
            raise RefusedError(
                403, f"Resource not accessible by {what}",
                headers={"X-Accepted-GitHub-Permissions": right},
            )  # fmt: skip

    def need_to_talk(self, issue: Issue) -> None:
        """Refuse who may not write here; issues and pull requests are two rights."""
        self.need("issues=write; pull_requests=write" if issue.is_pull else "issues=write")

    def page(self, items: Sequence[T], shape: Callable[[T], Any], within: str = "") -> Answer:
        """One page of a list, with links to the others."""
        size = min(max(int(self.query.get("per_page", "30")), 1), 100)
        number = max(int(self.query.get("page", "1")), 1)
        last = max(math.ceil(len(items) / size), 1)
        shown = [shape(item) for item in items[(number - 1) * size : number * size]]
        links = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
        if number <= 1:
            links = {name: links[name] for name in ("next", "last")}
        if number >= last:
            links = {name: page for name, page in links.items() if name in {"prev", "first"}}
        root = f"{self.shapes.api}{self.path}"
        header = ", ".join(
            f'<{root}?{urlencode({**self.query, "page": page})}>; rel="{name}"'
            for name, page in links.items()
        )
        body = {"total_count": len(items), within: shown} if within else shown
        return Answer(200, body, {"Link": header} if header else {})


def may_read(token: Token | None, repository: Repository) -> bool:
    """Whether a repository is there at all for who asks."""
    if not repository.private:
        return True
    if token is None:
        return False
    if token.permissions is not None:
        return token.repository == repository.id
    return repository.role(token.user) != "none"


def _open_to_all(repository: Repository, right: str) -> bool:
    return right.endswith("=read") and right != "administration=read" and not repository.private


def _allowed(token: Token, repository: Repository, right: str) -> bool:
    scope, _, level = right.partition("=")
    if token.permissions is None:
        least = "admin" if scope == "administration" else _ROLES.get(right)
        if least is None:
            return level == "read"
        return RANK.index(repository.role(token.user)) >= RANK.index(least)
    if _open_to_all(repository, right):
        return True
    given = token.permissions.get(scope) if token.repository == repository.id else None
    return given == "write" or given == level


Handler: TypeAlias = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """An operation: method, path as GitHub's description has it, and who answers it."""

    method: str
    template: str
    right: str
    handler: Handler
    pattern: re.Pattern[str]


ROUTES: list[Route] = []
# these may have slashes in them
_LONG = {"ref", "path", "branch"}


def route(method: str, template: str, right: str = "") -> Callable[[Handler], Handler]:
    """Register who answers an operation, and the right it needs."""

    def register(handler: Handler) -> Handler:
        whole = f"/repos/{{owner}}/{{repo}}{template}" if template[:1] != "~" else template[1:]
        form = re.sub(
            r"\{(\w+)\}",
            lambda m: f"(?P<{m[1]}>.+)" if m[1] in _LONG else f"(?P<{m[1]}>[^/]+)",
            whole,
        )
        ROUTES.append(Route(method, whole, right, handler, re.compile(form)))
        return handler

    return register


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The operation that a request means; where several fit, the most literal one."""
    best: tuple[int, Route, dict[str, str]] | None = None
    for known in ROUTES:
        if known.method != method or not (match := known.pattern.fullmatch(path)):
            continue
        words = {name: unquote(text) for name, text in match.groupdict().items()}
        rank = known.template.count("{") * 1000 - len(known.template)
        if best is None or rank < best[0]:
            best = rank, known, words
    return best[1:] if best else None


def answer(call: Call, known: Route) -> Answer:
    """Let an operation's handler answer."""
    try:
        if "owner" in call.words:
            _ = call.repository
            if known.right:
                call.need(known.right)
        return known.handler(call)
    except RefusedError as exc:
        return exc.answer
