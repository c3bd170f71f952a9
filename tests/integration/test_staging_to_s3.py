"""Inputs brought to S3, by the requests that it takes; S3 is a stand-in in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import s3
from tests.standins.aws import Gate

CLOCK = {"PUT": 1, "HEAD": 1}  # how long something is there is told by the store's own clock


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with s3.server() as gate:
        for name, value in s3.environment(gate).items():
            monkeypatch.setenv(name, value)
        yield gate


def stage(gate: Gate, folder: Path, cache: Path) -> dict[str, int]:
    """The requests of one staging, by method."""
    gate.calls.clear()
    s3.stage(folder, cache)
    return dict(gate.count("s3"))


def test_many_inputs_take_a_request_each_and_one_listing(gate: Gate, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number}.txt").write_text(f"number {number}")

    assert stage(gate, folder, tmp_path / "here") == {"GET": 1, "PUT": 120}
    again = {"GET": 1, **CLOCK}
    assert stage(gate, folder, tmp_path / "here") == again
    assert stage(gate, folder, tmp_path / "elsewhere") == again, "whoever brings them"
    (folder / "7.txt").write_text("another content")
    assert stage(gate, folder, tmp_path / "here") == {"GET": 1, "PUT": 2, "HEAD": 1}


def test_few_inputs_are_asked_for_one_by_one(gate: Gate, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("a")

    assert stage(gate, folder, tmp_path / "cache") == {"HEAD": 1, "PUT": 1}
    assert stage(gate, folder, tmp_path / "cache") == {"HEAD": 2, "PUT": 1}


def test_a_large_input_is_sent_in_parts(gate: Gate, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    content = bytes(range(256)) * (40 * 2**12)  # 40 MiB
    (folder / "large.bin").write_bytes(content)

    assert stage(gate, folder, tmp_path / "cache") == {"HEAD": 1, "POST": 2, "PUT": 3}
    assert stage(gate, folder, tmp_path / "cache") == {"HEAD": 2, "PUT": 1}
    assert gate.store
    [kept] = filter(None, gate.store.contents())  # beside the clock
    assert kept == content
