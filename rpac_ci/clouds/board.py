"""
What a provider says about things of runs, asked for all runs of this process together, and not more
often than every few seconds, however many runs are watched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeAlias, TypeVar

Thing = TypeVar("Thing")

FRESH_S = 2.0

Fresh: TypeAlias = Callable[[int], float]


def fresh_for(watched: int) -> float:
    """
    How long an answer is given again, in seconds: who is alone is asked for at every look, and
    sets the pace by that; the more there are, the less often.
    """
    return min(FRESH_S, 0.1 * (watched - 1))


class Board(Generic[Thing]):
    """The last known state of everything that somebody watches."""

    def __init__(
        self, ask: Callable[[frozenset[str]], Mapping[str, Thing]], *, fresh: Fresh = fresh_for
    ) -> None:
        """
        Args:
            ask: asks the provider about things of these names; what it does not know is left out,
                and what nobody has asked about may be there.
            fresh: seconds that an answer is given again, by the number of things watched.
        """
        self._provider = ask
        self._fresh = fresh
        self._asking = threading.Lock()
        self._noting = threading.Lock()  # never held while the provider is asked
        self._watched: dict[str, float] = {}  # name -> when somebody asked last
        self._known: dict[str, Thing] = {}
        self._answered: frozenset[str] = frozenset()  # things that the last answer was about
        self._asked = float("-inf")

    def look(self, name: str) -> Thing | None:
        """The thing as it was a moment ago; None when the provider does not know it."""
        with self._noting:
            self._watched[name] = time.monotonic()
        with self._asking:  # those who wait here are all in the next answer
            now = time.monotonic()
            # asked about before is not enough: that may have failed
            fresh_s = self._fresh(len(self._watched))
            if name not in self._answered or now - self._asked > fresh_s:
                self._ask(now, fresh_s)
            return self._known.get(name)

    def forget(self, name: str) -> None:
        """Nobody watches this any more."""
        with self._noting:
            self._watched.pop(name, None)
        with self._asking:
            self._known.pop(name, None)
            self._answered -= {name}

    def _ask(self, now: float, fresh_s: float) -> None:
        stale = now - 60 * max(1.0, fresh_s)
        with self._noting:
            self._watched = {name: at for name, at in self._watched.items() if at >= stale}
            watched = frozenset(self._watched)
        self._known = dict(self._provider(watched))
        self._asked, self._answered = now, watched
