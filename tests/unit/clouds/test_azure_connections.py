"""How a process reaches Azure: whom it trusts, which proxy it takes, what it sends."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest

from rpac_ci.clouds.azure import connections
from rpac_ci.errors import CommandError

VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", *connections.BUNDLES)


class Server(ThreadingHTTPServer):
    """Says what it was asked for, and with which token; as a proxy, lets nobody through."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append((self.command, self.path, self.headers["authorization"]))
                self.send_response(200 if self.command == "GET" else 403)
                self.send_header("content-length", "0")
                self.end_headers()

            do_CONNECT = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        if context:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that do not trust it go away."""


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority() -> trustme.CA:
    """Who signs the server's certificate."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate in a file."""
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return tmp_path / "authority.pem"


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    """A server that is `localhost`, and has no certificate for its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Server(context) as serving:
        yield serving
        serving.shutdown()


@pytest.fixture
def proxy() -> Iterator[Server]:
    """A proxy."""
    with Server() as serving:
        yield serving
        serving.shutdown()


def ask(url: str) -> int:
    """The status of one request with a token."""
    request = HttpRequest("GET", url, headers={"authorization": "Bearer token"})
    with Pipeline(connections.transport(url), [RetryPolicy(retry_total=0)]) as pipeline:
        return int(pipeline.run(request).http_response.status_code)


@pytest.mark.parametrize("variable", connections.BUNDLES)
def test_a_server_is_trusted_by_the_bundle_that_requests_would_take(
    server: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(bundle))
    assert ask(f"https://localhost:{server.server_port}/x") == 200


def test_nothing_is_sent_to_a_server_that_nobody_vouches_for(server: Server) -> None:
    with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(f"https://localhost:{server.server_port}/x")
    assert server.asked == []


def test_nothing_is_sent_to_a_server_of_another_name(
    server: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(ServiceRequestError, match=r"127\.0\.0\.1"):
        ask(f"https://127.0.0.1:{server.server_port}/x")
    assert server.asked == []


def test_a_bundle_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(CommandError, match=r"none\.pem: No such file"):
        connections.transport("https://localhost")


def test_the_proxy_of_the_environment_is_taken(
    server: Server, proxy: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_port}")
    with pytest.raises(ServiceRequestError, match="403"):
        ask(f"https://localhost:{server.server_port}/x")
    assert proxy.asked == [("CONNECT", f"localhost:{server.server_port}", None)]
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert ask(f"https://localhost:{server.server_port}/x") == 200


def test_a_netrc_does_not_take_the_place_of_the_token(
    server: Server, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert ask(f"https://localhost:{server.server_port}/x") == 200
    assert server.asked == [("GET", "/x", "Bearer token")]
