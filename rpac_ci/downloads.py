"""
Bytes from elsewhere as a stream: chunks that are counted and timed, and files behind https.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from rpac_ci.errors import SourceError

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 20
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 60.0
MAX_REDIRECTS = 10  # signing in to an archive takes some
LEAST_BYTES_PER_S, PATIENCE_S = 1024.0, 120.0  # a slower server is given up

Report: TypeAlias = Callable[[int, int | None], None]  # bytes so far, bytes in all if known


class RefusedError(SourceError):
    """It may not be read from here, or not by who asks."""


class Reader:
    """Reads a stream in chunks, reports, and can be stopped."""

    def __init__(self, report: Report | None, stop: threading.Event) -> None:
        self.stop = stop
        self._report = report

    def chunks(self, read: Callable[[int], bytes], total: int | None) -> Iterator[bytes]:
        """What `read` gives until it gives nothing."""
        done, began = 0, time.monotonic()
        while chunk := read(CHUNK):
            done += len(chunk)
            if self.stop.is_set():
                raise SourceError("fetching was given up")
            elapsed = time.monotonic() - began
            if elapsed > PATIENCE_S and done < LEAST_BYTES_PER_S * elapsed:
                raise SourceError(f"only {done} bytes came in {elapsed:.0f} s", transient=True)
            if self._report:
                self._report(done, total)
            yield chunk


class Look(Reader):
    """Learns how long a stream is, and reads nothing of it."""

    def __init__(self) -> None:
        super().__init__(None, threading.Event())
        self.total: int | None = None

    def chunks(self, read: Callable[[int], bytes], total: int | None) -> Iterator[bytes]:
        """None at all."""
        del read
        self.total = total
        return iter(())


def read_url(
    url: str,
    reader: Reader,
    *,
    headers: Mapping[str, str] | None = None,
    check: Callable[[Response], None] | None = None,
) -> Iterator[bytes]:
    """
    What is behind an https URL, also after redirects within https.

    Args:
        url: where it is.
        reader: that counts what comes.
        headers: sent along; a credential among them is not sent to another host.
        check: called with an answer before anything of it is read, to refuse it by raising.

    Raises:
        RefusedError: the server says that it may not be read.
        SourceError: it cannot be had; `transient` when a later try may help.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import HTTPError
    from urllib3.util import Retry

    retry = Retry(total=3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    try:
        with requests.Session() as session:
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.adapters.pop("http://")  # so that a redirect there is not followed
            session.max_redirects = MAX_REDIRECTS
            session.headers["Accept-Encoding"] = "identity"  # the file's own bytes are hashed
            timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
            with session.get(url, stream=True, timeout=timeout, headers=headers) as response:
                response.raise_for_status()
                if check:
                    check(response)
                length = response.headers.get("Content-Length", "")
                # read1 gives what has come, so that a server that drips is noticed
                yield from reader.chunks(
                    response.raw.read1, int(length) if length.isdigit() else None
                )
    except requests.exceptions.InvalidSchema as exc:
        raise SourceError(f"{url} redirects to an address without https") from exc
    except requests.HTTPError as exc:
        status = exc.response.status_code
        kind = RefusedError if status in (401, 403) else SourceError
        raise kind(
            f"{url} answered {status} {exc.response.reason}", transient=status >= 500
        ) from exc
    except (requests.RequestException, HTTPError) as exc:
        raise SourceError(f"{url} cannot be fetched: {reason(exc)}", transient=True) from exc


def reason(exc: BaseException) -> str:
    """The innermost cause: requests and urllib3 wrap it several times."""
    while isinstance(cause := exc.args[0] if exc.args else None, BaseException):
        exc = cause
    inner = getattr(exc, "reason", None)
    return reason(inner) if isinstance(inner, BaseException) else str(exc)[:300]
