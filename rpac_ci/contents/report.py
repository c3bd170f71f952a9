"""Differences, as they are found → one finding."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rpac_ci.contents.findings import (
    DIFFERENT,
    NOT_COMPARED,
    SAME_CONTENT,
    WITHIN_TOLERANCE,
    Finding,
    UnreadableError,
    listed,
    printable,
)

if TYPE_CHECKING:
    from rpac_ci.contents.values import Tally

SHOWN = 5  # differences in a note


@dataclass(slots=True)
class Report:
    """
    Collects what is found, in the order in which it is found.

    A difference outweighs what could not be compared: it stays one, whatever else there is. What
    could not be compared outweighs every agreement.
    """

    differences: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    tolerated: list[str] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    looked_at: int = 0  # variables, columns, groups

    def differ(self, what: str) -> None:
        """Something is not the same."""
        self.differences.append(what)

    def cannot(self, what: str) -> None:
        """Something could not be compared."""
        self.unread.append(what)

    def only_on_one_side(
        self, what: str, reference: Iterable[str], observed: Iterable[str]
    ) -> None:
        """Note names that only one side has."""
        left, right = set(reference), set(observed)
        if left - right:
            self.differ(f"{what} only in the reference: {listed(left - right)}")
        if right - left:
            self.differ(f"{what} only in the observed: {listed(right - left)}")

    def add(self, tallies: Iterable[Tally]) -> None:
        """The outcome of variables that were compared in full."""
        for tally in tallies:
            self.tallies.append(tally)
            if tally.differing:
                (self.differences if tally.beyond else self.tolerated).append(_in_words(tally))

    def finding(self) -> Finding:
        """All of it in one."""
        if not (self.looked_at or self.differences or self.unread):
            self.cannot("there is nothing to compare")
        notes = [*self.differences, *(f"not compared: {what}" for what in self.unread)]
        if self.differences:
            agreement = DIFFERENT
        elif self.unread:
            agreement = NOT_COMPARED
        else:
            agreement, notes = (
                (WITHIN_TOLERANCE if self.tolerated else SAME_CONTENT),
                [*self.tolerated],
            )
        worst = max((t for t in self.tallies if t.differing), key=_badness, default=None)
        more = f"; and {len(notes) - SHOWN} more" if len(notes) > SHOWN else ""
        total = sum(tally.total for tally in self.tallies)
        return Finding(
            agreement=agreement,
            note="; ".join(printable(note, limit=300) for note in notes[:SHOWN]) + more,
            max_abs=worst.max_abs if worst else None, max_rel=worst.max_rel if worst else None,
            differing=worst.differing if worst else 0, total=worst.total if worst else total,
            variable=printable(worst.name) if worst else None,
        )  # fmt: skip


def _badness(tally: Tally) -> tuple[bool, float, float, int]:
    return bool(tally.beyond), tally.max_rel or 0.0, tally.max_abs or 0.0, tally.differing


def _in_words(tally: Tally) -> str:
    """`sst: 3 of 1036800 values differ, at most 0.02 (2e-05 relative) at [4, 17]`."""
    at = f"[{', '.join(map(str, tally.at or ()))}]"
    text = f"{printable(tally.name)}: {tally.differing} of {tally.total} values differ"
    if tally.max_abs is None:
        return f"{text}, such as {tally.example} at {at}"
    relative = "" if tally.max_rel is None else f" ({tally.max_rel:.2g} relative)"
    text += f", at most {tally.max_abs:.3g}{relative}"
    if 0 < tally.beyond < tally.differing:
        text += f", {tally.beyond} of them beyond the tolerance"
    return f"{text}, such as {tally.example} at {at}"


@contextmanager
def reading(side: str) -> Iterator[None]:
    """
    Whatever a library raises while it reads one side is that file's fault, and says so.

    Readers of damaged files raise nearly anything, from KeyError to RuntimeError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableError, MemoryError) as exc:
        if isinstance(exc, UnreadableError) and not str(exc).startswith("the "):
            raise UnreadableError(f"the {side}: {exc}") from exc
        raise
    except Exception as exc:
        reason = printable(f"{type(exc).__name__}: {exc}", limit=200)
        raise UnreadableError(f"the {side} cannot be read: {reason}") from exc
