"""
One request to GitHub: tried again where that does no harm, refused with a reason where it does not
help.

GET and PATCH are repeated after a failure of the server or the network. POST is not: whoever asked
has to look first whether it happened (`UnclearError`). What a rate limit turned away did not happen
and is asked again, whatever it was, once GitHub says it may.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import uniform
from typing import TypeAlias

from rpac_ci.errors import GitHubError
from rpac_ci.github.fields import Json

TRIES = 3
PATIENCE_S = 120.0
SECONDARY_S = 60.0  # what GitHub asks for when it says nothing itself

Query: TypeAlias = Mapping[str, str | int]
# verb, path, query, body -> status, headers with lower-case names, body; raises GitHubError
Send: TypeAlias = Callable[[str, str, Query | None, Json], tuple[int, Mapping[str, str], str]]

_LIMITS = ("secondary rate limit", "api rate limit exceeded", "abuse detection")
_RIGHTS = re.compile(r"[a-z_]+=[a-z]+([,;] ?[a-z_]+=[a-z]+)*")


class UnclearError(GitHubError):
    """The answer is lost or unreadable: what was asked may have happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A good answer."""

    status: int
    headers: Mapping[str, str]
    body: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Later:
    """Why an answer is not there yet."""

    error: GitHubError
    wait_s: float | None  # None: as long as one waits for a server to recover
    happened: bool | None  # None: not known


class Transport:
    """Sends requests, one at a time, and waits where GitHub asks for it."""

    def __init__(
        self,
        send: Send,
        *,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._send, self._patience_s = send, patience_s
        self._sleep, self._clock = sleep, clock

    def call(
        self,
        verb: str,
        path: str,
        *,
        query: Query | None = None,
        body: Json = None,
        repeat: bool | None = None,
    ) -> Answer:
        """
        Ask until there is an answer, three times at most.

        Args:
            verb: of HTTP.
            path: below the API's address.
            query: parameters of the address.
            body: what to send, as JSON.
            repeat: whether asking twice is asking once; by default so for GET and PATCH.

        Raises:
            UnclearError: it may have happened.
            GitHubError: it did not happen; transient when a later try may succeed.
        """
        repeat = verb in {"GET", "PATCH"} if repeat is None else repeat
        waited = 0.0
        for attempt in range(1, TRIES + 1):
            answer = self._once(verb, path, query, body)
            if isinstance(answer, Answer):
                return answer
            if answer.happened is None and not repeat:
                raise answer.error
            wait_s = backoff_s(attempt) if answer.wait_s is None else answer.wait_s
            if attempt == TRIES or waited + wait_s > self._patience_s:
                raise answer.error
            self._sleep(wait_s)
            waited += wait_s
        raise AssertionError("unreachable")

    def pause(self, attempt: int) -> None:
        """Wait before another try of something that was unclear."""
        self._sleep(backoff_s(attempt))

    def _once(self, verb: str, path: str, query: Query | None, body: Json) -> Answer | _Later:
        try:
            status, headers, text = self._send(verb, path, query, body)
        except GitHubError as exc:
            if not exc.transient:
                raise
            unclear = UnclearError(exc.message, hint=exc.hint, transient=True)
            unclear.__cause__ = exc
            return _Later(error=unclear, wait_s=None, happened=None)
        what = f"{verb} {path}"
        if status < 300:
            return _good(what, status, headers, text)
        if status >= 500:
            error = UnclearError(
                f"GitHub answered {status} to {what}",
                hint="GitHub has a disturbance, see https://www.githubstatus.com; try again later",
                status=status,
                transient=True,
            )
            return _Later(error=error, wait_s=_seconds(headers, "retry-after"), happened=None)
        message = _message(text)
        if status == 429 or (status == 403 and _is_limit(headers, message)):
            return self._limited(what, status, headers)
        raise refusal(what, status, headers, message)

    def _limited(self, what: str, status: int, headers: Mapping[str, str]) -> _Later:
        now = self._clock()
        wait_s = _seconds(headers, "retry-after")
        if wait_s is None and headers.get("x-ratelimit-remaining") == "0":
            reset = _seconds(headers, "x-ratelimit-reset")
            wait_s = None if reset is None else max(0.0, reset - now) + 1
        if wait_s is None:
            wait_s = SECONDARY_S
        then = datetime.fromtimestamp(now + min(wait_s, 7 * 86_400), UTC)
        error = GitHubError(
            f"GitHub's rate limit is reached: {what} was turned away ({status})",
            hint=f"try again after {then:%Y-%m-%d %H:%M:%S} UTC",
            status=status,
            transient=True,
        )
        return _Later(error=error, wait_s=wait_s, happened=False)


def backoff_s(attempt: int) -> float:
    """One second, then two, four, …; with jitter, so that many clients do not come together."""
    return uniform(0.75, 1.25) * 2.0 ** (attempt - 1)  # noqa: S311 -- no secret


def refusal(what: str, status: int, headers: Mapping[str, str], message: str) -> GitHubError:
    """The error for an answer that will be the same next time; names the right that is missing."""
    said = f": {message}" if message else ""
    text, hint = f"GitHub answered {status} to {what}{said}", _HINTS.get(status, "")
    if status == 403 and (rights := _rights(headers)) and "archived" not in message:
        text = f"the token lacks a right for {what}: {rights}{f' ({message})' if message else ''}"
        hint = f"give the job 'permissions: {rights}', or the GitHub App this right"
    return GitHubError(text, hint=hint, status=status)


_HINTS = {
    301: "the repository was renamed or moved; use its new name",
    307: "the repository was renamed or moved; use its new name",
    308: "the repository was renamed or moved; use its new name",
    401: "the token is not accepted: it is wrong, expired or revoked",
    403: "the token may not do this; rpac doctor says which rights are needed",
    404: "it does not exist, or the token may not see it",
    410: "it is gone, or switched off in the repository's settings",
}


def _good(what: str, status: int, headers: Mapping[str, str], text: str) -> Answer | _Later:
    try:
        body: Json = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        error = UnclearError(
            f"GitHub answered {what} with something that is not JSON",
            hint="something between here and GitHub may have answered instead, such as a proxy",
            status=status,
            transient=True,
        )
        return _Later(error=error, wait_s=None, happened=None)
    return Answer(status=status, headers=headers, body=body)


def _message(text: str) -> str:
    """What GitHub says about an error, on one line."""
    try:
        body: Json = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(body, dict) or not isinstance(message := body.get("message"), str):
        return ""
    errors = body.get("errors")
    more = json.dumps(errors) if errors else ""
    line = " ".join(f"{message} {more}".split())
    return "".join(c for c in line if c.isprintable())[:300]


def _is_limit(headers: Mapping[str, str], message: str) -> bool:
    return (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or any(limit in message.lower() for limit in _LIMITS)
    )


def _rights(headers: Mapping[str, str]) -> str:
    """`contents=write,workflows=write; issues=write` -> words as in a workflow."""
    given = headers.get("x-accepted-github-permissions", "").strip()
    if not _RIGHTS.fullmatch(given):
        return ""
    shown = given.replace("_", "-").replace("=", ": ").replace(" ", "").replace(":", ": ")
    return shown.replace(",", " and ").replace(";", " or ")


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    value = headers.get(name, "")
    return float(value) if re.fullmatch(r"[0-9]{1,12}", value) else None
