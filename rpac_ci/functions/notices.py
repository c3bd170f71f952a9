"""
The last thing a function does for a run: an object in the store, made once, and, where it may, a
`repository_dispatch` that wakes a workflow on GitHub.

Who made the object sends. Where that is not known to have happened a while later, whoever comes by
sends again: at least once, so the receiving side has to bear several. Nothing that goes wrong here
holds up a run.
"""

from __future__ import annotations

import json
import logging
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Protocol
from urllib.parse import urlsplit

from rpac_ci import __version__
from rpac_ci.canonical import canonical_json
from rpac_ci.errors import GitHubError, RpacError
from rpac_ci.events import LEASE_S, timestamp
from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage

EVENT_TYPE = "rpac-run-released"  # as `github.events` knows it, which is not in the package
API = "https://api.github.com"
WAIT_S = 10.0

_log = logging.getLogger("rpac")


class Send(Protocol):
    """Tells somebody outside; raises `RpacError` when that did not succeed."""

    def __call__(self, run: str, cloud: str, status: str) -> None:
        """Say that a run has come to `status`."""
        ...


class Notices:
    """The notices of one store's runs."""

    def __init__(self, storage: Storage, sender: Callable[[], Send | None]) -> None:
        """
        Args:
            storage: that has the runs.
            sender: asked when there is something to send; None means that nobody is told.
        """
        self._storage = storage
        self._sender = sender

    def give(self, run: str, cloud: str, status: str) -> None:
        """Leave a run's notice, and see that it is sent; logs what goes wrong."""
        try:
            self._give(run, cloud, status)
        except RpacError as exc:
            _log.warning("%s: no notice: %s; the timer tries again", run, exc.message)

    def _give(self, run: str, cloud: str, status: str) -> None:
        key = Keys(run).notice
        notice = {"run": run, "cloud": cloud, "status": status, "at": timestamp(),
                  "nonce": secrets.token_hex(8)}  # fmt: skip
        first = self._storage.create_json(key, dict(notice))
        if not first:
            found = self._storage.get_json(key)
            if found is None or found.get("sent") or not self._is_stale(key):
                return
            notice = found
        send = self._sender()
        if send is None:
            return
        send(run, cloud, str(notice["status"]))
        self._storage.put(key, canonical_json({**notice, "sent": timestamp()}))
        _log.info("%s: sent %s", run, EVENT_TYPE)

    def _is_stale(self, key: str) -> bool:
        """Whether who made it would have sent it by now, by the store's clock."""
        entry = self._storage.head(key)
        if entry is None:
            return False
        return (self._storage.now("notices/clock") - entry.modified).total_seconds() > LEASE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Sends `repository_dispatch`; the token needs the right to write contents."""

    repository: str  # OWNER/NAME
    token: str
    api: str = API

    def __repr__(self) -> str:
        return f"Dispatch({self.repository}, {self.api})"

    def __call__(self, run: str, cloud: str, status: str) -> None:
        """See `Send`."""
        url = f"{self.api.rstrip('/')}/repos/{self.repository}/dispatches"
        address = urlsplit(url)
        if address.scheme != "https" and address.hostname not in ("127.0.0.1", "localhost"):
            raise GitHubError(f"{self.api} would get the token without TLS")
        payload = {"run": run, "cloud": cloud, "status": status}
        body = json.dumps({"event_type": EVENT_TYPE, "client_payload": payload}).encode()
        headers = {
            "Authorization": f"Bearer {self.token}", "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28", "Content-Type": "application/json",
            "User-Agent": f"rpac/{__version__}",
        }  # fmt: skip
        asked = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - looked at above
        try:
            with urllib.request.urlopen(asked, timeout=WAIT_S):  # noqa: S310
                return
        except urllib.error.HTTPError as exc:
            with exc:
                raise GitHubError(f"GitHub answers {exc.code} to {address.path}") from exc
        except (OSError, HTTPException) as exc:
            raise GitHubError(f"GitHub does not answer at {self.api}: {exc}") from exc
