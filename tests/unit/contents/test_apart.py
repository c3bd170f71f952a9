"""Comparisons in another process: what ends it early costs one finding, not the others."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from rpac_ci.contents import (
    DIFFERENT,
    IDENTICAL,
    NOT_COMPARED,
    SAME_CONTENT,
    WITHIN_TOLERANCE,
    Finding,
    Tolerance,
    Wanted,
    compare_apart,
    compare_files,
)
from rpac_ci.contents.apart import Pair
from rpac_ci.processes import StoppedError
from tests.unit.contents.builders import EXACT, within

ONE_CORE_S = 60.0  # more than any comparison here takes on a busy machine


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, *values: float) -> Path:
        path = tmp_path / name
        np.save(path, np.array(values))
        return path

    return make


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that opens only when somebody writes it: its reader waits for ever."""
    path = tmp_path / "endless.npy"
    os.mkfifo(path)
    return path


def children() -> list[psutil.Process]:
    def reads(child: psutil.Process) -> bool:
        try:
            return "rpac_ci.contents" in child.cmdline()
        except psutil.NoSuchProcess:  # another test's, which is over
            return False

    return [child for child in psutil.Process().children() if reads(child)]


def wait_for_reader(endless: Path) -> psutil.Process:
    """The child, once it waits for `endless`: opening a pipe to write returns no sooner."""
    descriptor = os.open(endless, os.O_WRONLY)
    (child,) = children()
    os.kill(child.pid, signal.SIGSTOP)  # or it would read the end of the pipe
    os.close(descriptor)
    return child


def test_findings_are_those_of_compare_files_in_order(make: Callable[..., Path]) -> None:
    a, b, c = make("a.npy", 1.0), make("b.npy", 1.5), make("c.npy", 1.0, 2.0)
    loose = Wanted(
        tolerance=Tolerance(abs_tol=1e-3), variables={"arr*": Tolerance(rel_tol=0.6)},
        ignore=("x@y",), equal_nan=False, key=("k",),
    )  # fmt: skip
    pairs: list[Pair] = [
        ("x.npy", a, a, EXACT), ("x.npy", a, b, EXACT), ("x.npy", a, b, loose),
        ("x.npy", a, c, EXACT), ("x.bin", a, b, EXACT),
    ]  # fmt: skip
    findings = compare_apart(pairs, limit_s=ONE_CORE_S)
    assert [finding.agreement for finding in findings] == [
        IDENTICAL, DIFFERENT, WITHIN_TOLERANCE, DIFFERENT, NOT_COMPARED,
    ]  # fmt: skip
    for finding, (name, reference, observed, wanted) in zip(findings, pairs, strict=True):
        assert finding == compare_files(reference, observed, wanted, name=name)


def test_nothing_to_compare() -> None:
    assert compare_apart([], limit_s=1) == []


def test_paths_are_those_of_the_caller(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("a.npy", 1.0).parent
    monkeypatch.chdir(folder)
    pair = ("a.npy", Path("a.npy"), Path("a.npy"), EXACT)
    assert compare_apart([pair], limit_s=ONE_CORE_S)[0].agreement == IDENTICAL


@pytest.mark.slow
def test_a_reader_that_hangs(make: Callable[..., Path], endless: Path) -> None:
    a, b = make("a.npy", 1.0), make("b.npy", 2.0)
    hangs = ("x.npy", a, endless, EXACT)
    fine = ("x.npy", a, b, within(1))
    first, second, third = compare_apart([fine, hangs, fine], limit_s=5)
    assert (first.agreement, third.agreement) == (WITHIN_TOLERANCE, WITHIN_TOLERANCE)
    assert second == Finding(agreement=NOT_COMPARED, note="comparing took longer than 5 s")
    assert children() == []


@pytest.mark.parametrize(
    ("number", "note"),
    [
        (signal.SIGSEGV, "the reader was ended by SIGSEGV"),
        (signal.SIGKILL, "the reader was ended by SIGKILL, perhaps for want of memory"),
    ],
)
def test_a_reader_that_crashes(
    make: Callable[..., Path], endless: Path, number: signal.Signals, note: str
) -> None:
    a, b = make("a.npy", 1.0), make("b.npy", 2.0)
    pairs: list[Pair] = [("x.npy", a, endless, EXACT), ("x.npy", a, b, EXACT)]
    with ThreadPoolExecutor(1) as pool:
        comparing = pool.submit(compare_apart, pairs, limit_s=ONE_CORE_S)
        child = wait_for_reader(endless)
        child.send_signal(number)
        with contextlib.suppress(psutil.NoSuchProcess):  # SIGKILL does not wait for it
            child.send_signal(signal.SIGCONT)
        first, second = comparing.result(timeout=ONE_CORE_S)
    assert first == Finding(agreement=NOT_COMPARED, note=note)
    assert second.agreement == DIFFERENT


def test_stopping(make: Callable[..., Path], endless: Path) -> None:
    stop = threading.Event()
    pair = ("x.npy", make("a.npy", 1.0), endless, EXACT)
    with ThreadPoolExecutor(1) as pool:
        comparing = pool.submit(compare_apart, [pair], limit_s=ONE_CORE_S, stop=stop)
        child = wait_for_reader(endless)
        stop.set()
        with pytest.raises(StoppedError):
            comparing.result(timeout=ONE_CORE_S)
    assert not child.is_running()


@pytest.mark.slow
def test_more_memory_than_allowed(tmp_path: Path, make: Callable[..., Path]) -> None:
    for name, last in (("large.npz", 0.0), ("other.npz", 1.0)):
        values = np.zeros(100_000_000, "f4")  # 400 MB, a few hundred kB in the archive
        values[-1] = last
        np.savez_compressed(tmp_path / name, x=values)
    small = ("x.npy", make("a.npy", 1.0), make("b.npy", 2.0), EXACT)
    large = ("x.npz", tmp_path / "large.npz", tmp_path / "other.npz", EXACT)
    first, second = compare_apart(
        [large, small], limit_s=ONE_CORE_S, memory_bytes=300 << 20
    )  # fmt: skip
    assert first.agreement == NOT_COMPARED
    assert "memory" in first.note
    assert second.agreement == DIFFERENT


def test_the_child_sees_no_secrets_and_no_terminal(
    make: Callable[..., Path], endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")
    monkeypatch.setenv("HDF5_PLUGIN_PATH", "/somewhere")
    pair = ("x.npy", make("a.npy", 1.0), endless, EXACT)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        comparing = pool.submit(compare_apart, [pair], limit_s=ONE_CORE_S, stop=stop)
        child = wait_for_reader(endless)
        environment, session = child.environ(), os.getsid(child.pid)
        stop.set()
        assert isinstance(comparing.exception(timeout=ONE_CORE_S), StoppedError)
    assert not {"A_TOKEN", "HDF5_PLUGIN_PATH", "HOME"} & environment.keys()
    assert session == child.pid


@pytest.mark.slow
def test_each_format_is_read_within_a_limit_of_memory(tmp_path: Path) -> None:
    """What the libraries themselves take leaves room in half a gibibyte."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zarr

    pairs: list[Pair] = []
    for name in ("x.h5", "x.zarr", "x.parquet", "x.csv"):
        paths = [tmp_path / f"{side}-{name}" for side in "ab"]
        for path in paths:
            values = np.arange(100_000.0)
            if name == "x.h5":
                with h5py.File(path, "w") as file:
                    file["x"] = values
                    file.attrs["history"] = path.name
            elif name == "x.zarr":
                group = zarr.open_group(path, mode="w")
                group.create_array("x", data=values)
            elif name == "x.parquet":
                codec = "zstd" if path is paths[0] else "none"
                pq.write_table(pa.table({"x": values}), path, compression=codec)
            else:
                path.write_text("x\n1.5\n2" if path is paths[0] else "x\n1.50\n2")
        pairs.append((name, paths[0], paths[1], EXACT))
    findings = compare_apart(pairs, limit_s=ONE_CORE_S, memory_bytes=512 << 20)
    assert [(finding.agreement, finding.note) for finding in findings] == [(SAME_CONTENT, "")] * 4
