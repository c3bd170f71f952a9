"""Waiting for something that Azure does in its own time: often at first, then less so."""

from __future__ import annotations

import time
from collections.abc import Iterator

FIRST_S, LONGEST_S = 0.1, 5.0


def until(limit_s: float) -> Iterator[float]:
    """
    Look, then look again after a pause; ends when the time is over.

    Args:
        limit_s: for all looks together; there is at least one.

    Yields:
        Seconds since the first look, none at the first.
    """
    begun, pause, passed = time.monotonic(), FIRST_S, 0.0
    while True:
        yield passed
        if passed > limit_s:
            return
        time.sleep(pause)
        pause, passed = min(LONGEST_S, 1.3 * pause), time.monotonic() - begun
