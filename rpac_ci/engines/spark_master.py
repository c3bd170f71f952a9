"""The master's own account of its workers, asked over HTTP and not too often."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

from rpac_ci.engines.installed import free_port

_TIMEOUT_S = 0.5  # nobody waits for a master that is busy: it counts as before
SOON_S, NOW_AND_THEN_S = 0.2, 1.0  # between two questions: while workers come, and later


class Master:
    """Where the master listens, and what it has said so far."""

    def __init__(self, address: str) -> None:
        """
        Args:
            address: of main; a free port is taken for workers and one for people.
        """
        self.address = address
        self.port, self.web_port = free_port(address), free_port(address)
        self._asked = float("-inf")
        self._seen: set[str] = set()
        self._alive: set[str] = set()
        self._lost: set[str] = set()

    @property
    def url(self) -> str:
        """Where workers and applications connect to."""
        return f"spark://{self.address}:{self.port}"

    def listens(self) -> bool:
        """Whether workers can connect; a worker that is too early waits for ten seconds."""
        try:
            socket.create_connection((self.address, self.port), timeout=_TIMEOUT_S).close()
        except OSError:
            return False
        return True

    def workers(self, *, every_s: float) -> dict[str, int]:
        """
        How many workers have been seen, live, and were lost.

        Args:
            every_s: the master is not asked again before that.
        """
        now = time.monotonic()
        if now - self._asked >= every_s:
            self._asked = now
            self._note(self._ask())
        return {"seen": len(self._seen), "alive": len(self._alive), "lost": len(self._lost)}

    def _note(self, account: dict[str, Any] | None) -> None:
        if account is None:
            return
        self._alive = {w["id"] for w in account["workers"] if w["state"] == "ALIVE"}
        self._seen |= self._alive
        self._lost |= self._seen - self._alive  # for good: the time it was away is lost work

    def _ask(self) -> dict[str, Any] | None:
        connection = http.client.HTTPConnection(self.address, self.web_port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", "/json/")
            account: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return account
