"""What can go wrong between GitHub and a client, queued by tests and used up by requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from tests.standins.github.messages import Request, Response

Kind: TypeAlias = str
Effect: TypeAlias = Literal["before", "after"]

_SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
)
# a fault's name -> the answer instead of the real one
_ANSWERS = {
    "502": (502, "<html><body>502 Bad Gateway</body></html>", {"Content-Type": "text/html"}),
    "500": (500, '{"message": "Server Error"}', {}),
    "404": (404, '{"message": "Not Found", "documentation_url": ""}', {}),
    "403": (403, '{"message": "Forbidden", "documentation_url": ""}', {}),
    "403-secondary": (403, f'{{"message": "{_SECONDARY}"}}', {"Retry-After": "1"}),
    "garbage": (200, "{ this is <not> JSON", {}),
}
_KINDS = {*_ANSWERS, "502-after", "500-after", "drop", "drop-after", "push-rejected", "moved"}


@dataclass
class Fault:
    """Something that will go wrong `times` times, after `skip` requests for which it does not."""

    method: str
    path: str
    kind: Kind
    times: int = 1
    skip: int = 0
    ref: str | None = None
    action: Callable[[], object] | None = None

    def matches(self, request: Request, refs: list[str]) -> bool:
        """Whether a request is meant; `refs` are those that a push would move."""
        if self.kind == "push-rejected" and not refs:
            return False
        return (
            fnmatchcase(request.method, self.method)
            and fnmatchcase(request.path, self.path)
            and (self.ref is None or self.ref in refs)
        )

    @property
    def instead(self) -> Response | None:
        """The answer that is sent instead of the real one; None where the real one is sent."""
        known = _ANSWERS.get(self.kind.removesuffix("-after"))
        if known is None:
            return None
        status, body, headers = known
        return Response(status, body.encode(), {"Content-Type": "application/json", **headers})


class Faults:
    """The queue."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[Fault] = []

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._queue.clear()

    def add(
        self, kind: Kind, *, method: str = "*", path: str = "*", times: int = 1, skip: int = 0,
        ref: str | None = None, action: Callable[[], object] | None = None,
    ) -> Fault:  # fmt: skip
        """
        Queue a fault.

        Args:
            kind: `502`, `500`, `404`, `403`, `403-secondary`, `garbage` (not JSON) instead of the
                effect; `502-after`, `500-after` once it happened; `drop` and `drop-after` hang up;
                `slow:SECONDS` answers late; `push-rejected` refuses a push as a hook does; `moved`
                calls `action` before the answer.
            method: a pattern.
            path: a pattern for the path without the API's prefix: `*/comments`.
            times: how many requests.
            skip: how many matching requests pass before.
            ref: only pushes of this ref, such as `refs/heads/rpac/log`.
            action: what `moved` does.
        """
        if kind not in _KINDS and not kind.startswith("slow:"):
            raise ValueError(f"{kind}: no such fault")
        fault = Fault(method, path, kind, times, skip, ref, action)
        with self._lock:
            self._queue.append(fault)
        return fault

    def take(self, request: Request, refs: list[str]) -> list[Fault]:
        """What goes wrong with a request: any number of `moved` and `slow`, then one other."""
        taken = []
        with self._lock:
            for fault in list(self._queue):
                if not fault.matches(request, refs):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self._queue.remove(fault)
                taken.append(fault)
                if fault.kind != "moved" and not fault.kind.startswith("slow:"):
                    break
        return taken

    @property
    def left(self) -> list[Fault]:
        """What was queued and has not happened."""
        with self._lock:
            return list(self._queue)
