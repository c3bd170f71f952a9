"""Wait for a condition with a deadline: no test sleeps and hopes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: Callable[[], T], *, limit_s: float = 20) -> T:
    """The first answer that counts as true; an AssertionError when none comes in time."""
    deadline, pause = time.monotonic() + limit_s, threading.Event()
    while not (answer := what()):
        assert time.monotonic() < deadline, f"it did not happen within {limit_s} s"
        pause.wait(0.01)
    return answer
