"""
S3 that fails where it hurts: a proxy on a real socket in front of a moto server.

The proxy passes every request on, one at a time (S3 decides atomically who creates a key, moto does
not), and spoils the answers to those writes that it was told to spoil.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from datetime import timedelta
from enum import Enum, auto
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self

from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from rpac_ci.storage import Storage

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class Fault(Enum):
    """What happens to a write instead of a plain answer."""

    STORE_THEN_500 = auto()
    STORE_THEN_DROP = auto()
    ERROR_500 = auto()
    REFUSE_412 = auto()


class FaultyS3:
    """A server for the length of a `with` block; `storage()` gives stores with a bucket each."""

    _buckets: ClassVar[itertools.count[int]] = itertools.count(1)

    def __init__(self) -> None:
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._faults: deque[Fault] = deque()
        self._always: Fault | None = None
        self._failing_reads = 0
        self._one_at_a_time = threading.Lock()
        self.writes = 0  # PUT requests that reached the proxy

    def __enter__(self) -> Self:
        self._moto.start()
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._proxy.daemon_threads = True
        self._thread = threading.Thread(target=self._proxy.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._proxy.shutdown()
        self._thread.join()
        self._proxy.server_close()
        self._moto.stop()

    def storage(self, *, client_retries: int = 0) -> Storage:
        """
        A store in a new bucket.

        Args:
            client_retries: how often obstore itself repeats a request before it tells anybody.
        """
        self.fail()
        bucket = f"bucket-{next(self._buckets)}"
        status, _, _ = self._ask_moto("PUT", f"/{bucket}", {}, b"")
        assert status == 200
        quick = timedelta(milliseconds=1)
        store = S3Store(
            bucket,
            endpoint=f"http://127.0.0.1:{self._proxy.server_port}",
            region="us-east-1",
            access_key_id="nobody",
            secret_access_key="nothing",
            client_options={"allow_http": True, "timeout": "20s", "connect_timeout": "5s"},
            retry_config={
                "max_retries": client_retries,
                "backoff": {"init_backoff": quick, "max_backoff": quick, "base": 2},
                "retry_timeout": timedelta(seconds=20),
            },
        )
        return Storage(f"s3://{bucket}", backend=store)

    def fail(self, *faults: Fault, always: Fault | None = None, reads: int = 0) -> None:
        """
        Spoil the next writes, one fault for each, and forget what was told before.

        Args:
            faults: for the next writes, in order.
            always: for every write after those.
            reads: how many of the next requests other than writes are answered with 500.
        """
        self._faults = deque(faults)
        self._always = always
        self._failing_reads = reads
        self.writes = 0

    def _next_fault(self, method: str) -> Fault | None:
        if method == "PUT":
            self.writes += 1
            return self._faults.popleft() if self._faults else self._always
        self._failing_reads -= 1
        return Fault.ERROR_500 if self._failing_reads >= 0 else None

    def _ask_moto(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        host, port = self._moto.get_host_and_port()
        connection = HTTPConnection(host, port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with server._one_at_a_time:
                    fault = server._next_fault(self.command)
                    if fault is Fault.ERROR_500:
                        return self._answer(500)
                    if fault is Fault.REFUSE_412:
                        return self._answer(412)
                    status, headers, text = server._ask_moto(
                        self.command, self.path, dict(self.headers.items()), body
                    )
                if fault is Fault.STORE_THEN_500:
                    return self._answer(500)
                if fault is Fault.STORE_THEN_DROP:
                    self.close_connection = True
                    return None
                return self._answer(status, headers, text)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

            def _answer(
                self, status: int, headers: list[tuple[str, str]] | None = None, body: bytes = b""
            ) -> None:
                length = str(len(body))
                self.send_response(status)
                for name, value in headers or []:
                    if name.lower() == "content-length" and self.command == "HEAD":
                        length = value
                    elif name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler
