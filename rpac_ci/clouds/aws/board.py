"""
What AWS says about jobs, asked for all runs of this process together: one DescribeJobs for up to a
hundred of them, and not more often than every few seconds, however many runs are watched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

PAGE = 100  # jobs of one DescribeJobs
FRESH_S = 2.0

Describe: TypeAlias = Callable[[list[str]], list[dict[str, Any]]]


class JobBoard:
    """The last known description of every job that somebody watches."""

    def __init__(self, describe: Describe, *, fresh_s: float = FRESH_S) -> None:
        """
        Args:
            describe: asks AWS about at most `PAGE` jobs.
            fresh_s: an answer younger than this is given again, in seconds.
        """
        self._describe = describe
        self._fresh_s = fresh_s
        self._asking = threading.Lock()
        self._noting = threading.Lock()  # never held while AWS is asked
        self._watched: dict[str, float] = {}  # id -> when somebody asked last
        self._known: dict[str, dict[str, Any]] = {}
        self._answered: frozenset[str] = frozenset()  # jobs that the last answer was about
        self._asked = float("-inf")

    def look(self, job: str) -> dict[str, Any] | None:
        """The job's description, at most `fresh_s` old; None when AWS does not know the job."""
        with self._noting:
            self._watched[job] = time.monotonic()
        with self._asking:  # those who wait here are all in the next answer
            now = time.monotonic()
            # asked about before is not enough: that may have failed
            if job not in self._answered or now - self._asked > self._fresh_s:
                self._ask(now)
            return self._known.get(job)

    def forget(self, job: str) -> None:
        """Nobody watches this job any more."""
        with self._noting:
            self._watched.pop(job, None)
        with self._asking:
            self._known.pop(job, None)
            self._answered -= {job}

    def _ask(self, now: float) -> None:
        stale = now - 60 * max(1.0, self._fresh_s)
        with self._noting:
            self._watched = {job: at for job, at in self._watched.items() if at >= stale}
            watched = frozenset(self._watched)
        found: dict[str, dict[str, Any]] = {}
        for page in pages(sorted(watched)):
            found |= {description["jobId"]: description for description in self._describe(page)}
        self._known, self._asked, self._answered = found, now, watched


def pages(ids: Iterable[str]) -> Iterator[list[str]]:
    """Ids in groups that one DescribeJobs takes."""
    listed = list(ids)
    for start in range(0, len(listed), PAGE):
        yield listed[start : start + PAGE]
