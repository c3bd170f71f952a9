"""Which nodes live, and how a command on many nodes ended: decided from what they write."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rpac_ci.canonical import Json, canonical_json
from rpac_ci.jobs import Keys
from rpac_ci.node import rank_ends, roll_call
from rpac_ci.node.rank_ends import RankEnds
from rpac_ci.node.roll_call import RollCall
from rpac_ci.storage import Storage

KEYS = Keys("20260102T030405Z-0a1b2c3d")
LIMIT_S = 10.0


class Clock:
    """Main's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class World:
    """Three nodes as main sees them."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self.storage, self.clock = storage, clock
        self.roll_call = RollCall(storage, KEYS, 3, limit_s=LIMIT_S)
        self.ends = RankEnds(storage, KEYS, 3, self.roll_call, aftershocks=["peer is gone"])
        self._count = 0
        self._second = 1_000_000_000

    def beat(self, *indices: int) -> None:
        """Some nodes give a sign of life."""
        self._count += 1
        for index in indices:
            self.storage.put(KEYS.beat(index), canonical_json({"count": self._count}))
            self._written(KEYS.beat(index))

    def passes(self, seconds: float) -> None:
        """Time passes, and main looks."""
        self.clock.now += seconds
        self.roll_call.look()

    def end(self, index: int, code: int, said: str = "") -> None:
        """A node's ranks end."""
        self.storage.put(f"{KEYS.log(index, f'rank-{index}')}000000.txt", said.encode())
        body: dict[str, Json] = {
            "code": code,
            "log": f"{index}/rank-{index}",
            "out_of_memory": False,
        }
        self.storage.create_json(KEYS.ended(index), body)
        self._written(KEYS.ended(index))

    def _written(self, key: str) -> None:
        """Each object a second after the one before it, by the store's clock."""
        self._second += 1
        os.utime(Path(urlsplit(self.storage.url).path, key), (self._second, self._second))


@pytest.fixture
def world(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Clock()
    for module in (roll_call, rank_ends):
        monkeypatch.setattr(module, "time", clock)
    return World(storage, clock)


def test_a_node_is_lost_after_its_silence_and_found_again_by_a_beat(world: World) -> None:
    world.beat(1, 2)
    world.passes(2)
    for _ in range(6):
        world.beat(1)
        world.passes(2)
    assert world.roll_call.lost() == [2]
    world.beat(2)
    world.passes(2)
    assert world.roll_call.lost() == []


def test_nobody_is_lost_before_the_first_look(world: World) -> None:
    assert world.roll_call.lost() == []


def test_all_must_have_ended_well(world: World) -> None:
    world.end(0, 0)
    world.end(2, 0)
    assert world.ends.look() is None
    world.end(1, 0)
    end = world.ends.look()
    assert end is not None
    assert end["code"] == 0


def test_the_first_to_fail_counts_and_not_those_who_miss_it(world: World) -> None:
    world.end(2, 9)
    world.end(0, 1)
    world.end(1, 1)
    assert world.ends.look() is None  # their logs are on the way
    world.passes(3)
    end = world.ends.look()
    assert end is not None
    assert (end["code"], end["log"], end["lost"]) == (9, "2/rank-2", [])


def test_who_waits_for_a_peer_may_end_before_it_and_is_no_cause(world: World) -> None:
    world.end(0, 1, "Error: the peer is gone")
    world.end(1, 1, "Error: the peer is gone")
    world.end(2, 9, "rank 2 gives up")
    assert world.ends.look() is None
    world.passes(3)
    end = world.ends.look()
    assert end is not None
    assert (end["code"], end["log"]) == (9, "2/rank-2")


def test_a_node_that_goes_on_is_not_waited_for_longer_than_its_peers_need(world: World) -> None:
    world.end(1, 9)
    assert world.ends.look() is None  # node 2 may have been first
    world.passes(1)
    world.beat(2)
    world.passes(1)
    assert world.ends.look() is None
    world.passes(2)
    end = world.ends.look()
    assert end is not None
    assert (end["code"], end["lost"]) == (9, [])


def test_a_failure_because_a_node_was_lost_is_told_as_such(world: World) -> None:
    world.beat(1, 2)
    world.passes(2)
    world.end(0, 1)
    world.end(1, 1)
    for _ in range(4):
        assert world.ends.look() is None
        world.beat(1)
        world.passes(2)
    world.passes(3)
    end = world.ends.look()
    assert end is not None
    assert end["lost"] == [2]
