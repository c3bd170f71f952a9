"""A server on localhost, https with an authority of its own, and pages that misbehave."""

from __future__ import annotations

import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import trustme

Page: TypeAlias = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers paths with pages; unknown paths with 404."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: Counter[str] = Counter()
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked[self.path] += 1
                page = server.pages.get(self.path.partition("?")[0])
                if page is None:
                    self.send_error(404)
                else:
                    page(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self._scheme = "https"

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"{self._scheme}://localhost:{self.server_port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what these tests are about."""


@contextmanager
def serve(authority: trustme.CA | None = None, *names: str) -> Iterator[Server]:
    """A running server; https when there is an authority for its certificate, of these names."""
    context = None
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", *names).configure_cert(context)
    with Server(context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def bundle(authority: trustme.CA, path: Path) -> Path:
    """The authority's certificate as a file for REQUESTS_CA_BUNDLE."""
    authority.cert_pem.write_to_path(str(path))
    return path


# --- pages --------------------------------------------------------------------------------------


def content(data: bytes, headers: Mapping[str, str] | None = None) -> Page:
    """A plain answer."""

    def page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return page


def status(code: int) -> Page:
    """An empty answer with a status."""

    def page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return page


def in_turn(*pages: Page) -> Page:
    """Another page each time; the last one stays."""
    left = list(pages)

    def page(request: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(request)

    return page


def redirect(url: str) -> Page:
    """Sends the client elsewhere."""

    def page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", url)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return page


def broken_off(data: bytes) -> Page:
    """Promises more than it sends, and hangs up."""

    def page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(2 * len(data)))
        request.end_headers()
        request.wfile.write(data)

    return page


def stalled(server: Server, data: bytes) -> Page:
    """Sends the beginning, then nothing for as long as the server lives."""

    def page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(2 * len(data)))
        request.end_headers()
        request.wfile.write(data)
        request.wfile.flush()
        server.closing.wait()

    return page


def silent(server: Server) -> Page:
    """Takes the question and says nothing for as long as the server lives."""

    def page(_: BaseHTTPRequestHandler) -> None:
        server.closing.wait()

    return page


def chunked(data: bytes, *, complete: bool) -> Page:
    """Sends pieces without saying how long it will be; hangs up before the end if told so."""

    def page(request: BaseHTTPRequestHandler) -> None:
        request.protocol_version = "HTTP/1.1"
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for piece in (data[:1000], data[1000:]):
            request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        request.wfile.write(b"0\r\n\r\n" if complete else b"")
        request.close_connection = True

    return page


def dripping(server: Server) -> Page:
    """Sends a byte now and then, for as long as the server lives."""

    def page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        while not server.closing.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    return page
