"""
An archive of NASA's Earthdata Cloud on real sockets, under its own name: https with an authority of
its own behind a proxy that leads every name here. It plays the endpoint that gives credentials of
S3 for a token, the files by https, and the page where people sign in.

How it differs: one server is the archive, the login and the place where files are; nobody signs in
there by password; credentials are those that the test has chosen.
"""

from __future__ import annotations

import base64
import contextlib
import json
import select
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import trustme

from tests.standins import web

ARCHIVE = "archive.podaac.earthdata.nasa.gov"
LOGIN = "urs.earthdata.nasa.gov"
FILES = "files.podaac.earthdatacloud.nasa.gov"  # where the archive's redirects lead
TOKEN = "t0ken-that-nobody-may-see"
BUCKET = "podaac-ops-protected"
KEYS = {
    "accessKeyId": "ASIASTANDIN",
    "secretAccessKey": "s3cret-of-an-hour",
    "sessionToken": "s3ssion-of-an-hour",
    "expiration": "2099-01-01 00:00:00+00:00",
}


class Archive:
    """The stand-in; `files` are its objects by path, `bearers` what was sent to which host."""

    def __init__(self, server: web.Server) -> None:
        self.server = server
        self.files: dict[str, bytes] = {}
        self.bearers: list[tuple[str, str]] = []
        self.password = ""  # of anybody, that the login takes in the place of a token
        self.credentials: Mapping[str, str] | None = KEYS

    def serve(self, key: str, content: bytes) -> str:
        """Have a file; returns its locator."""
        path = f"/{BUCKET}/{key}"
        self.files[path] = content
        self.server.pages[path] = self._file
        self.server.pages[f"/signed{path}"] = web.content(content)
        return f"earthdata://{ARCHIVE}{path}"

    def _file(self, request: BaseHTTPRequestHandler) -> None:
        if self._knows(request):
            web.redirect(f"https://{FILES}/signed{request.path}?A-userid=lab")(request)
        else:
            web.redirect(f"https://{LOGIN}/oauth/authorize?state={request.path}")(request)

    def give_credentials(self, request: BaseHTTPRequestHandler) -> None:
        """`/s3credentials`."""
        if not self._knows(request):
            web.redirect(f"https://{LOGIN}/oauth/authorize?state=/s3credentials")(request)
        elif self.credentials is None:
            web.status(500)(request)
        else:
            web.content(json.dumps(dict(self.credentials)).encode())(request)

    def sign_in(self, request: BaseHTTPRequestHandler) -> None:
        """The page for people, and the way back for those who bring a password."""
        given = base64.b64encode(f"lab:{self.password}".encode()).decode()
        if self.password and request.headers.get("Authorization") == f"Basic {given}":
            path = request.path.partition("state=")[2].replace("%2F", "/")
            request.send_response(302)
            request.send_header("Location", f"https://{ARCHIVE}{path}")
            request.send_header(
                "Set-Cookie", "session=signed-in; Domain=earthdata.nasa.gov; Path=/"
            )
            request.send_header("Content-Length", "0")
            request.end_headers()
        else:
            web.content(b"<html>Earthdata Login</html>")(request)

    def _knows(self, request: BaseHTTPRequestHandler) -> bool:
        said = request.headers.get("Authorization", "")
        if said:
            self.bearers.append((request.headers["Host"], said))
        return said == f"Bearer {TOKEN}" or "signed-in" in request.headers.get("Cookie", "")


@contextmanager
def serve(folder: Path) -> Iterator[tuple[Archive, dict[str, str]]]:
    """
    A running archive.

    Yields:
        It, and the variables by which clients find it.
    """
    authority = trustme.CA()
    with web.serve(authority, ARCHIVE, LOGIN, FILES) as server, _Proxy(server.server_port) as proxy:
        archive = Archive(server)
        server.pages["/s3credentials"] = archive.give_credentials
        server.pages["/oauth/authorize"] = archive.sign_in
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield (
                archive,
                {
                    "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
                    "NO_PROXY": "localhost,127.0.0.1",
                    "REQUESTS_CA_BUNDLE": str(web.bundle(authority, folder / "earthdata-ca.pem")),
                },
            )
        finally:
            proxy.shutdown()
            thread.join()


class _Proxy(socketserver.ThreadingTCPServer):
    """Answers CONNECT, and leads it to one server whatever the name."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.port = port


class _Tunnel(socketserver.StreamRequestHandler):
    rbufsize = 0  # what follows the request is the other server's

    def handle(self) -> None:
        assert isinstance(self.server, _Proxy)
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ends = {self.connection: there, there: self.connection}
            with contextlib.suppress(OSError):
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        data = end.recv(1 << 16)
                        if not data:
                            return
                        ends[end].sendall(data)
