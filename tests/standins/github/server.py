"""A stand-in GitHub on a real socket: the API and git, with state, rules, limits and faults."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from tests.standins.github import api, api_actions, api_issues, api_repository, openapi
from tests.standins.github.api import Answer, Call, Route
from tests.standins.github.faults import Fault, Faults
from tests.standins.github.githttp import PATH, GitHttp, moves
from tests.standins.github.messages import Logged, Request, Response
from tests.standins.github.shapes import Shapes
from tests.standins.github.state import Token
from tests.standins.github.story import Story

__all__ = ["GitHubServer"]

# what registers the operations when it is imported
OPERATIONS = (api_actions, api_issues, api_repository)
_PREFIX = "/api/v3"
_LIMIT = 1000  # requests an hour and repository with a job's own token


class GitHubServer(Story):
    """
    A stand-in GitHub, running from the moment it is made until `stop()`.

    Args:
        root: an empty folder for its repositories.
        repository: the first repository, `owner/name`; it has one commit.
        private: whether that repository is.
        described: judge requests and answers by GitHub's own description, where it can be had.
    """

    def __init__(
        self, root: Path, repository: str = "lab/experiments", *, private: bool = False,
        described: bool = True,
    ) -> None:  # fmt: skip
        self._http = _Listener(self)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        super().__init__(root, Shapes(self, self.url))
        self.main = self.repository(repository, private=private)
        self.faults = Faults()
        self.violations: list[str] = []  # of GitHub's description, by clients or by ourselves
        self.requests: list[Logged] = []
        self._described = described
        self._git = GitHttp(self, root)
        self._thread: threading.Thread | None = None

    # --- running --------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to answer."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
            self._thread.start()
        return self

    def stop(self) -> None:
        """Hang up on everybody and end; may be called twice."""
        self._http.closing.set()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.hang_up()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def api_url(self) -> str:
        """What GITHUB_API_URL says."""
        return self.url + _PREFIX

    @property
    def description(self) -> openapi.Description | None:
        """GitHub's description of its API, where it is used and can be had."""
        return openapi.load()[0] if self._described else None

    def counted(self, kind: str | None = None) -> list[str]:
        """Requests so far in short, of one kind (api, git) or all, in the order of answers."""
        with self.lock:
            return [one.words for one in self.requests if kind in (None, one.kind)]

    # --- answering ------------------------------------------------------------------------------

    def answer(self, request: Request) -> Response | None:
        """The response to a request; None to hang up."""
        refs = [move.ref for move in moves(request)]
        faults = self.faults.take(request, refs)
        for fault in faults:
            if fault.kind.startswith("slow:"):
                self._http.closing.wait(float(fault.kind.partition(":")[2]))
            elif fault.kind == "moved" and fault.action is not None:
                fault.action()
        last = faults[-1] if faults else None
        response = self._answer(request, last)
        with self.lock:
            status = response.status if response else 0
            self.requests.append(Logged(request.method, request.path, status, request.kind))
        return response

    def _answer(self, request: Request, fault: Fault | None) -> Response | None:
        if fault is not None and fault.kind == "drop":
            return None
        if fault is not None and fault.instead is not None and not fault.kind.endswith("-after"):
            return fault.instead
        token = self.tokens.get(request.credential or "")
        if request.credential is not None and token is None:
            response = _unknown(request)
        elif request.kind == "git":
            rejected = fault is not None and fault.kind == "push-rejected"
            response = self._git.answer(request, token, "error: refused" if rejected else "")
        else:
            response = self._api(request, token)
        if fault is not None and fault.kind == "drop-after":
            return None
        if fault is not None and fault.kind.endswith("-after"):
            return fault.instead
        return response

    def _api(self, request: Request, token: Token | None) -> Response:
        try:
            body = json.loads(request.body) if request.body.strip() else None
        except ValueError:
            return self._sent(Answer(400, {"message": "Problems parsing JSON"}))
        found = api.find(request.method, request.path)
        if found is None:
            return self._unknown_operation(request)
        known, words = found
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        if problems := self._problems(known, words, query, body):
            return self._violated(request, problems)
        if not isinstance(body, dict | None):
            return self._sent(Answer(400, {"message": "Body should be a JSON object"}))
        call = Call(self, self.shapes, token, request.path, words, query, body or {})
        with self.lock:
            answered = api.answer(call, known)
            response = self._sent(answered)
        description = self.description
        if description and description.has(known.method, known.template):
            seen = json.loads(response.body) if response.body else None
            wrong = description.answer_problems(known.method, known.template, response.status, seen)
            if wrong:
                return self._violated(request, wrong)
        return response

    def _problems(
        self, known: Route, words: dict[str, str], query: dict[str, str], body: Any
    ) -> list[str]:
        description = self.description
        if description is None:
            return []
        if not description.has(known.method, known.template):
            return [f"GitHub has no {known.method} {known.template}"]
        return description.request_problems(known.method, known.template, words, query, body)

    def _unknown_operation(self, request: Request) -> Response:
        description = self.description
        if description is not None and description.knows(request.method, request.path):
            return self._violated(request, ["the stand-in does not answer this"], 501)
        return self._violated(request, ["GitHub's API has no such operation"])

    def _violated(self, request: Request, problems: list[str], status: int = 400) -> Response:
        lines = [f"{request.method} {request.path}: {problem}" for problem in problems]
        with self.lock:
            self.violations += lines
        return self._sent(Answer(status, {"message": "; ".join(lines)}))

    def _sent(self, answer: Answer) -> Response:
        left = max(_LIMIT - len(self.requests), 1)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-RateLimit-Limit": str(_LIMIT),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": "4000000000",
            **answer.headers,
        }
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        return Response(answer.status, body, headers)


def _unknown(request: Request) -> Response:
    if request.kind == "git":
        return Response(
            401, b"Invalid username or token.\n", {"WWW-Authenticate": 'Basic realm="GitHub"'}
        )
    body = {"message": "Bad credentials", "documentation_url": api.DOCS, "status": "401"}
    return Response(401, json.dumps(body).encode(), {"Content-Type": "application/json"})


# --- the socket ---------------------------------------------------------------------------------


class _Listener(ThreadingHTTPServer):
    """Takes connections, and can hang up on all of them."""

    daemon_threads = False  # so that closing waits for what is being answered
    request_queue_size = 256

    def __init__(self, hub: GitHubServer) -> None:
        self.hub = hub
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection."""
        with self._guard:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._guard:
            self._open.discard(connection)

    def hang_up(self) -> None:
        """Wake those who wait for another request of a client that keeps its connection."""
        with self._guard:
            for connection in self._open:
                _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests; an error of our own is a violation."""
        import sys

        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.hub.violations.append(f"the stand-in failed: {error!r}")


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "GitHub.com"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.closed(self.connection)

    def _serve(self) -> None:
        raw, _, query = self.path.partition("?")
        path = unquote(raw) if PATH.fullmatch(raw) else raw
        kind = "git" if PATH.fullmatch(path) else "api"
        path = path.removeprefix(_PREFIX)
        headers = {name.title(): value for name, value in self.headers.items()}
        request = Request(self.command, path, query, headers, self._body(), kind)
        response = self.server.hub.answer(request)
        if response is None:
            self.close_connection = True
            _shut(self.connection)
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status not in (204, 304):
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body if self.command != "HEAD" else b"")
        self.wfile.flush()

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """`requests` is the log."""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
