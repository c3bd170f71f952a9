"""git over HTTP: `git http-backend` as the CGI program it is, behind GitHub's own rules."""

from __future__ import annotations

import gzip
import re
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.standins.github import bare
from tests.standins.github.api import may_read
from tests.standins.github.messages import Request, Response
from tests.standins.github.state import RANK, Repository, State, Token

PATH = re.compile(
    r"/(?P<owner>[^/]+)/(?P<name>[^/]+?)(\.git)?/(?P<rest>info/refs|git-(upload|receive)-pack)"
)
_HOOK = '#!/bin/sh\nprintf "%s\\n" "$RPAC_STANDIN_SAYS" >&2\nexit 1\n'
_NONE = "0" * 40


@dataclass(frozen=True)
class Move:
    """What a push wants of one ref."""

    old: str
    new: str
    ref: str


class GitHttp:
    """Answers git's requests."""

    def __init__(self, state: State, root: Path) -> None:
        self._state, self._root = state, root
        hooks = root / "hooks"
        hooks.mkdir(parents=True, exist_ok=True)
        (hooks / "pre-receive").write_text(_HOOK)
        (hooks / "pre-receive").chmod(0o755)
        self._hooks = hooks

    def answer(self, request: Request, token: Token | None, rejection: str = "") -> Response:
        """
        Answer a request.

        Args:
            request: its path matches `PATH`.
            token: of who asks.
            rejection: what a push is refused with, as by a hook; "" lets it through.
        """
        match = PATH.fullmatch(request.path)
        assert match is not None
        repository = self._state.repository_named(f"{match['owner']}/{match['name']}")
        writes = "git-receive-pack" in request.path + request.query
        if (refusal := _refusal(repository, token, writes=writes)) is not None:
            return refusal
        assert repository is not None
        pushed = moves(request)
        says = rejection or self._forbidden(repository, token, pushed)
        response = self._backend(request, repository, match["rest"], token, pushed, says)
        if pushed:
            self._state.branches_moved(repository)
        return response

    def _backend(
        self, request: Request, repository: Repository, rest: str, token: Token | None,
        pushed: list[Move], says: str,
    ) -> Response:  # fmt: skip
        path = repository.bare.path
        settings = {"core.hooksPath": str(self._hooks)} if says else {}
        if any(self._guarded(repository, move) for move in pushed):
            settings["receive.denyNonFastForwards"] = "true"
        environment = bare.environment() | {
            "GIT_PROJECT_ROOT": str(path.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{path.name}/{rest}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.query,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": token.user.login if token else "",
            "REMOTE_ADDR": "127.0.0.1",
            "RPAC_STANDIN_SAYS": says,
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for number, (name, value) in enumerate(settings.items()):
            environment[f"GIT_CONFIG_KEY_{number}"] = name
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        done = subprocess.run(
            ["git", "http-backend"], input=request.body, capture_output=True, check=False,
            env=environment,
        )  # fmt: skip
        return _parsed(done.stdout, done.stderr)

    def _forbidden(self, repository: Repository, token: Token | None, pushed: list[Move]) -> str:
        """What protection and rulesets say to a push; "" when nothing."""
        for move in pushed:
            branch = move.ref.removeprefix("refs/heads/")
            if branch == move.ref:
                continue
            rules = {rule["type"] for rule in repository.rules.get(branch, ())}
            wanted = list(repository.required.get(branch, ()))
            for rule in repository.rules.get(branch, ()):
                if rule["type"] == "required_status_checks":
                    checks = rule["parameters"]["required_status_checks"]
                    wanted += [check["context"] for check in checks]
            passed = {c.name for c in repository.checks.values()
                      if c.head_sha == move.new and c.conclusion == "success"}  # fmt: skip
            missing = [context for context in wanted if context not in passed]
            kind = "deletion" if move.new == _NONE else "update"
            kind = "creation" if move.old == _NONE else kind
            if kind in rules or (kind == "update" and "pull_request" in rules):
                return f"error: GH013: Repository rule violations found for {move.ref}."
            if missing and kind != "deletion":
                return (
                    f"error: GH006: Protected branch update failed for {move.ref}.\n"
                    f'Required status check "{missing[0]}" is expected.'
                )
        return ""

    @staticmethod
    def _guarded(repository: Repository, move: Move) -> bool:
        branch = move.ref.removeprefix("refs/heads/")
        rules = {rule["type"] for rule in repository.rules.get(branch, ())}
        return "non_fast_forward" in rules or branch in repository.required


def _refusal(
    repository: Repository | None, token: Token | None, *, writes: bool
) -> Response | None:
    """Why somebody may not read or write; None when they may."""
    if repository is None or not may_read(token, repository):
        return _asked() if token is None else Response(404, b"Repository not found.\n")
    rights = token.permissions if token else None
    if repository.private and rights is not None and "contents" not in rights:
        return Response(403, b"Write access to repository not granted.\n")
    if not writes:
        return None
    if token is None:
        return _asked()
    if repository.archived:
        return Response(403, b"This repository was archived so it is read-only.\n")
    if token.permissions is not None:
        mine = token.repository == repository.id
        allowed = mine and token.permissions.get("contents") == "write"
    else:
        allowed = RANK.index(repository.role(token.user)) >= RANK.index("write")
    if allowed:
        return None
    text = f"Permission to {repository.full_name}.git denied to {token.user.login}.\n"
    return Response(403, text.encode())


def _asked() -> Response:
    return Response(
        401, b"No anonymous write access.\n", {"WWW-Authenticate": 'Basic realm="GitHub"'}
    )


def moves(request: Request) -> list[Move]:
    """What a push wants; nothing for any other request."""
    if request.method != "POST" or not request.path.endswith("/git-receive-pack"):
        return []
    body = request.body
    if request.headers.get("Content-Encoding") == "gzip":
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error):
            return []
    return list(_commands(body))


def _commands(body: bytes) -> Iterator[Move]:
    """The pkt-lines `old new ref` before the first flush."""
    while re.fullmatch(rb"[0-9a-f]{4}", body[:4]):
        size = int(body[:4], 16)
        if size < 4:
            return
        line = body[4:size].partition(b"\0")[0].decode(errors="replace").rstrip("\n")
        words = line.split(" ", 2)
        if len(words) == 3:
            yield Move(*words)
        body = body[size:]


def _parsed(out: bytes, err: bytes) -> Response:
    head, separator, body = out.partition(b"\r\n\r\n")
    if not separator:
        return Response(500, err or b"git http-backend said nothing\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    status = int(headers.pop("Status", "200").split()[0])
    return Response(status, body, headers)
