"""A gate before Blob Storage that counts what is asked, and may hold it up."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from tests.standins.azure.memory_blob import MemoryBlob

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length"}


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    size: int  # bytes of its body
    at: float = field(default_factory=time.monotonic)  # seconds


class Blobs:
    """Answers from memory, or as Azurite behind it does."""

    def __init__(self, memory: MemoryBlob | None) -> None:
        """
        Args:
            memory: of the blobs; None for Azurite.
        """
        self.memory = memory
        self.calls: list[Asked] = []
        self.latency_s = 0.0
        self.before: Callable[[Asked], int] = lambda _: 0  # a status instead of an answer; 0: none
        self._lock = threading.Lock()
        self._local = threading.local()

    @property
    def needs_azurite(self) -> bool:
        """Whether there must be one behind it."""
        return self.memory is None

    def begin(self, url: str, bundle: Path) -> None:
        """Where Azurite is, and whom to trust."""
        self._behind = urlsplit(url).netloc
        self._context = ssl.create_default_context(cafile=str(bundle))

    def count(self) -> Counter[str]:
        """Requests by method."""
        with self._lock:
            return Counter(call.method for call in self.calls)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request."""
        asked = Asked(method, path, len(body))
        with self._lock:
            self.calls.append(asked)
        time.sleep(self.latency_s)
        if status := self.before(asked):
            return status, {"x-ms-error-code": "AuthenticationFailed"}, b""
        if self.memory is not None:
            return self.memory.answer(method, path, headers, body)
        kept = {name: value for name, value in headers.items() if name not in _HOP}
        connection = self._connection()
        connection.request(method, path, body=body, headers=kept)
        said = connection.getresponse()
        content = said.read()
        given = {k.lower(): v for k, v in said.getheaders() if k.lower() not in _HOP}
        if method == "HEAD" and (size := said.getheader("content-length")):
            given["content-length"] = size
        return said.status, given, content

    def _connection(self) -> http.client.HTTPSConnection:
        """One for each thread, which is one for each of the client's."""
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPSConnection(
                self._behind, timeout=120, context=self._context
            )
        made: http.client.HTTPSConnection = self._local.connection
        return made
