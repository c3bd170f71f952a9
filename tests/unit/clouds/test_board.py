"""How long an answer about all runs of a process is given again."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from rpac_ci.clouds.board import FRESH_S, Board, fresh_for


def test_the_more_are_watched_the_longer_an_answer_stands() -> None:
    lengths = [fresh_for(watched) for watched in (1, 2, 11, 21, 1000)]
    assert lengths == pytest.approx([0, 0.1, 1, FRESH_S, FRESH_S])


def test_who_is_alone_is_asked_for_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what nobody has asked about may be in an answer, and serves who asks next."""
    asked: list[frozenset[str]] = []
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def ask(watched: frozenset[str]) -> Mapping[str, int]:
        asked.append(watched)
        return {"a": len(asked), "b": len(asked), "of another process": len(asked)}

    board = Board(ask)
    for number in (1, 2, 3):
        now += 0.01
        assert board.look("a") == number
    assert board.look("b") == 4, "nobody has watched it"
    now += 0.05
    assert (board.look("a"), board.look("b")) == (4, 4)
    now += 0.06
    assert (board.look("a"), board.look("b")) == (5, 5)
    board.forget("b")
    now += 0.01
    assert board.look("a") == 6, "alone again"
    assert board.look("nobody's") is None
