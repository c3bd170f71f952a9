"""
Where a job of GitHub Actions asks for a token of its own: the runner's service, on a socket.

Its tokens live for five minutes, as GitHub's do. Nobody here checks a signature: whoever wants to
know whether a token is one of its own asks it.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "repo:lab/experiments:environment:rpac-cloud"
LIFE_S = 300


@dataclass
class Issuer:
    """Gives tokens, and knows them again."""

    url: str = ""
    bearer: str = field(default_factory=lambda: secrets.token_hex(8))
    subject: str = SUBJECT
    asked: list[str] = field(default_factory=list)  # audiences
    given: set[str] = field(default_factory=set)
    status: int = 200
    tries: int = 0  # requests, also those that got no token

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a job with `id-token: write`."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.bearer,
        }

    def token(self, audience: str) -> str:
        """A token in the form of a JWT."""
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": audience, "sub": self.subject, "jti": secrets.token_hex(8),
            "iat": now, "nbf": now - 5, "exp": now + LIFE_S,
        }  # fmt: skip
        parts = [{"alg": "RS256", "typ": "JWT"}, claims, {}]
        token = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in parts
        )
        self.given.add(token)
        return token


def claims(token: str) -> dict[str, Any]:
    """What a token says."""
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return read


@contextmanager
def serve() -> Iterator[Issuer]:
    """A service that gives tokens."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.tries += 1
            asked = parse_qs(urlsplit(self.path).query)
            known = self.headers["Authorization"] == f"Bearer {issuer.bearer}"
            status = issuer.status if known and "api-version" in asked else 401
            answer: dict[str, Any] = {"message": "no"}
            if status == 200:
                issuer.asked += asked["audience"]
                answer = {"value": issuer.token(asked["audience"][0]), "count": 1}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
