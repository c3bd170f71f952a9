"""`.npy` and `.npz`: pairs of arrays with a known answer."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rpac_ci.contents import (
    DIFFERENT,
    IDENTICAL,
    NOT_COMPARED,
    SAME_CONTENT,
    WITHIN_TOLERANCE,
    Tolerance,
    Wanted,
    arrays,
)
from tests.unit.contents.builders import EXACT, check, ignoring, within

BIG = 2**53 + 1
NAN, INF = float("nan"), float("inf")
STRICT_NAN = Wanted(equal_nan=False)
STRICT_NAN_WITHIN = Wanted(tolerance=Tolerance(abs_tol=1), equal_nan=False)


def npy(path: Path, array: npt.ArrayLike, version: tuple[int, int] = (1, 0)) -> Path:
    """Write an array; a header of another version makes other bytes of the same content."""
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.asarray(array), version=version, allow_pickle=True)
    return path


def record(*rows: tuple[float, int]) -> npt.NDArray[Any]:
    return np.array(list(rows), [("x", "f8"), ("n", "i4")])


def moments(*texts: str) -> npt.NDArray[Any]:
    return np.array(texts, "M8[s]")


PAIRS: dict[str, tuple[Any, Any, Wanted, str, str]] = {
    "same values": ([1.5, 2.0], [1.5, 2.0], EXACT, SAME_CONTENT, ""),
    "no values": (np.zeros((0, 3)), np.zeros((0, 3)), EXACT, SAME_CONTENT, ""),
    "no values of other length": (np.zeros((0, 3)), np.zeros((0, 4)), EXACT, DIFFERENT, "shape"),
    "scalar": (np.float64(3), np.float64(3), EXACT, SAME_CONTENT, ""),
    "other scalar": (np.float64(3), np.float64(4), EXACT, DIFFERENT, "1 of 1 values differ"),
    "other byte order": (
        np.arange(5, dtype=">i4"), np.arange(5, dtype="<i4"), EXACT, SAME_CONTENT, "",
    ),
    "other memory order": (
        np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        EXACT, SAME_CONTENT, "",
    ),
    "transposed": (np.ones((2, 3)), np.ones((3, 2)), EXACT, DIFFERENT, "shape (2, 3) -> (3, 2)"),
    "other type": (
        np.ones(2, "f4"), np.ones(2, "f8"), within(1), DIFFERENT, "type float32 -> float64",
    ),
    "sign of an integer type": (np.ones(2, "i4"), np.ones(2, "u4"), EXACT, DIFFERENT, "type"),
    "less than the tolerance": ([1.0, 2.0], [1.0, 2.01], within(0.02), WITHIN_TOLERANCE, "[1]"),
    "more than the tolerance": ([1.0, 2.0], [1.0, 2.03], within(0.02), DIFFERENT, "at [1]"),
    "the reference is the scale": ([100.0], [101.0], within(0, 0.01), WITHIN_TOLERANCE, ""),
    "and not the other": ([100.0], [101.0 + 1e-9], within(0, 0.01), DIFFERENT, ""),
    "any difference when exact": ([1.0], [np.nextafter(1.0, 2)], EXACT, DIFFERENT, "1 of 1"),
    "signs of zero": ([0.0, -0.0], [-0.0, 0.0], EXACT, SAME_CONTENT, ""),
    "NaN in its place": ([1, NAN], [1, NAN], EXACT, SAME_CONTENT, ""),
    "NaN with other bits": (
        np.array([NAN]), np.array([0x7FF8000000000001], "u8").view("f8"), EXACT, SAME_CONTENT, "",
    ),
    "NaN moved": ([1, NAN, 1], [1, 1, NAN], within(10), DIFFERENT, "2 of 3 values differ"),
    "NaN forbidden": ([1, NAN], [1, NAN], STRICT_NAN, DIFFERENT, "1 of 2 values differ"),
    "NaN forbidden, tolerance": ([1, NAN], [1, NAN], STRICT_NAN_WITHIN, DIFFERENT, "1 of 2"),
    "infinite in its place": ([INF, -INF], [INF, -INF], EXACT, SAME_CONTENT, ""),
    "infinite of other sign": ([INF], [-INF], within(1e300, 1e3), DIFFERENT, "inf -> -inf"),
    "infinite and finite": ([INF], [1.0], within(1e300, 1e3), DIFFERENT, "inf -> 1.0"),
    "farther apart than a double": ([1.7e308], [-1.7e308], within(0, 5), DIFFERENT, ""),
    "half precision": (
        np.array([1.0], "f2"), np.array([1.001], "f2"), within(0, 0.002), WITHIN_TOLERANCE, "",
    ),
    "integers beyond a double": ([BIG], [BIG - 1], EXACT, DIFFERENT, "1 of 1 values differ"),
    "integers beyond a double, tolerance": ([BIG], [BIG - 1], within(0.9), DIFFERENT, ""),
    "integers beyond a double, within": ([BIG], [BIG - 1], within(1), WITHIN_TOLERANCE, ""),
    "the ends of int64": (
        [2**63 - 1], [-(2**63)], within(2.0**63), DIFFERENT, "at most 1.84e+19",
    ),
    "the ends of uint64": (
        np.array([2**64 - 1], "u8"), np.array([0], "u8"), within(1e19), DIFFERENT, "",
    ),
    "small unsigned": (
        np.array([0], "u1"), np.array([255], "u1"), within(1), DIFFERENT, "at most 255",
    ),
    "truth": ([True, False], [True, True], within(5), DIFFERENT, "1 of 2 values differ"),
    "text": (["a", "b"], ["a", "c"], within(5), DIFFERENT, "'b' -> 'c'"),
    "same text": (["a", "b"], ["a", "b"], EXACT, SAME_CONTENT, ""),
    "bytes": ([b"a"], [b"b"], EXACT, DIFFERENT, "'a' -> 'b'"),
    "moments": (
        moments("2026-01-01T00:00:00"), moments("2026-01-01T00:00:01"), within(5), DIFFERENT, "",
    ),
    "no moment": (moments("NaT"), moments("NaT"), EXACT, SAME_CONTENT, ""),
    "no moment, forbidden": (moments("NaT"), moments("NaT"), STRICT_NAN, DIFFERENT, ""),
    "unit of moments": (
        moments("2026-01-01"), moments("2026-01-01").astype("M8[ms]"), EXACT, DIFFERENT, "type",
    ),
    "complex within": ([1 + 1j], [1 + 1.001j], within(0, 0.001), WITHIN_TOLERANCE, ""),
    "complex beyond": ([1 + 1j], [1 + 1.01j], within(0, 0.001), DIFFERENT, ""),
    "complex, NaN in one part": (
        [complex(NAN, 1)], [complex(NAN, 2)], within(5), DIFFERENT, "1 of 1",
    ),
    "fields within": (
        record((1.0, 1)), record((1.1, 1)), within(0.2), WITHIN_TOLERANCE, "array.x: 1 of 1",
    ),
    "fields beyond": (record((1.0, 1)), record((1.0, 3)), within(0.2), DIFFERENT, "array.n"),
    "names of fields": (
        record((1.0, 1)), record((1.0, 1)).astype([("y", "f8"), ("n", "i4")]), EXACT, DIFFERENT,
        "type",
    ),
    "raw bytes": (np.array([b"ab"], "V2"), np.array([b"ac"], "V2"), EXACT, DIFFERENT, ""),
    "objects": (
        np.array([{}], object), np.array([{}], object), EXACT, NOT_COMPARED, "the reference",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_pair(tmp_path: Path, name: str) -> None:
    left, right, wanted, agreement, note = PAIRS[name]
    reference = npy(tmp_path / "a.npy", left)
    observed = npy(tmp_path / "b.npy", right, version=(2, 0))
    check(reference, observed, wanted, agreement, note)


@pytest.mark.parametrize("name", PAIRS)
def test_pair_in_an_archive(tmp_path: Path, name: str) -> None:
    """Members in another order and of another time do not count."""
    left, right, wanted, agreement, note = PAIRS[name]
    names = [f"{key}.npy" for key in ("array", "same")]
    reference = npz(tmp_path / "a.npz", dict(zip(names, (left, [1]), strict=True)))
    observed = npz(tmp_path / "b.npz", dict(zip(reversed(names), ([1], right), strict=True)), 1999)
    check(reference, observed, wanted, agreement, note)


def npz(path: Path, members: dict[str, Any], year: int = 2026, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, array in members.items():
            raw = io.BytesIO()
            np.lib.format.write_array(raw, np.asarray(array), allow_pickle=True)
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), raw.getvalue())
    return path


def test_same_bytes_need_no_reader(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(b"\0\1")
    check(tmp_path / "a.bin", tmp_path / "b.bin", EXACT, IDENTICAL)


def test_other_bytes_of_an_unknown_format(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    (tmp_path / "b.bin").write_bytes(b"\0\2")
    check(tmp_path / "a.bin", tmp_path / "b.bin", EXACT, NOT_COMPARED, "nothing here reads a.bin")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    reference = npy(tmp_path / "a.npy", [1.0])
    check(reference, tmp_path / "b.npy", EXACT, NOT_COMPARED, "No such file")


def test_all_of_it_ignored(tmp_path: Path) -> None:
    reference, observed = npy(tmp_path / "a.npy", [1.0]), npy(tmp_path / "b.npy", [2.0])
    check(reference, observed, ignoring("array"), NOT_COMPARED, "nothing to compare")


def test_names_of_arrays(tmp_path: Path) -> None:
    reference = npz(tmp_path / "a.npz", {"x.npy": [1], "y.npy": [1]})
    observed = npz(tmp_path / "b.npz", {"x.npy": [1], "z.npy": [1]})
    note = "arrays only in the reference: y; arrays only in the observed: z"
    check(reference, observed, EXACT, DIFFERENT, note)
    check(reference, observed, ignoring("y", "z"), SAME_CONTENT)
    check(reference, observed, ignoring("*"), NOT_COMPARED, "nothing to compare")


def test_compression_of_an_archive_does_not_count(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(1000.0))
    np.savez_compressed(tmp_path / "b.npz", x=np.arange(1000.0))
    check(tmp_path / "a.npz", tmp_path / "b.npz", EXACT, SAME_CONTENT)


def test_each_array_has_its_tolerance(tmp_path: Path) -> None:
    reference = npz(tmp_path / "a.npz", {"x.npy": [1.0], "y.npy": [1.0]})
    observed = npz(tmp_path / "b.npz", {"x.npy": [1.1], "y.npy": [1.1]})
    loose = {"y": Tolerance(abs_tol=0.2)}
    finding = check(reference, observed, Wanted(variables=loose), DIFFERENT)
    assert (finding.variable, finding.differing, finding.total) == ("x", 1, 1)
    loose = {"[xy]": Tolerance(abs_tol=0.2)}
    check(reference, observed, Wanted(variables=loose), WITHIN_TOLERANCE)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("length", [0, 5, 60, 128, 135])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_truncated_file(tmp_path: Path, suffix: str, length: int, side: int) -> None:
    whole = tmp_path / f"a.{suffix}"
    np.save(whole, [1.0, 2.0]) if suffix == "npy" else np.savez(whole, x=[1.0, 2.0])
    cut = tmp_path / f"b.{suffix}"
    cut.write_bytes(whole.read_bytes()[:length])
    pair = (whole, cut) if side else (cut, whole)
    check(*pair, EXACT, NOT_COMPARED, ("the reference", "the observed")[side])


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_not_that_format(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.{suffix}").write_text(f"this is text {name}")
    paths = [tmp_path / f"{name}.{suffix}" for name in ("a", "b")]
    check(paths[0], paths[1], EXACT, NOT_COMPARED, "the reference cannot be read")


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "loaded"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (mark,)

    for name in ("a", "b"):
        array = np.array([Payload(), name], object)
        npy(tmp_path / f"{name}.npy", array)
        npz(tmp_path / f"{name}.npz", {"x.npy": array})
        (tmp_path / f"{name}.pickled.npy").write_bytes(pickle.dumps([Payload(), name]))
    for suffix in ("npy", "npz", "pickled.npy"):
        pair = [tmp_path / f"{name}.{suffix}" for name in ("a", "b")]
        check(pair[0], pair[1], EXACT, NOT_COMPARED)
    assert not mark.exists()


def test_bytes_behind_an_array(tmp_path: Path) -> None:
    reference = npy(tmp_path / "a.npy", [1.0])
    observed = tmp_path / "b.npy"
    observed.write_bytes(reference.read_bytes() + b"hidden")
    check(reference, observed, EXACT, NOT_COMPARED, "more bytes in the file")


def test_what_is_no_array_in_an_archive(tmp_path: Path) -> None:
    reference = npz(tmp_path / "a.npz", {"x.npy": [1]})
    observed = npz(tmp_path / "b.npz", {"x.npy": [1], "no\ntes.txt": [1]})
    check(reference, observed, EXACT, NOT_COMPARED, "no tes.txt in it is no array")


def test_a_name_twice_in_an_archive(tmp_path: Path) -> None:
    reference = npz(tmp_path / "a.npz", {"x.npy": [1]})
    observed = npz(tmp_path / "b.npz", {"x.npy": [1]})
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(observed, "a") as archive:
        archive.writestr("x.npy", b"")
    check(reference, observed, EXACT, NOT_COMPARED, "twice")


def test_a_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_EXPANDED", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1 << 20))
    np.savez(tmp_path / "b.npz", x=[1.0])
    check(tmp_path / "b.npz", tmp_path / "a.npz", EXACT, NOT_COMPARED, "the observed: its arrays")


def test_sums_in_another_order(tmp_path: Path) -> None:
    """Reductions in other chunks agree within what their precision allows, and not exactly."""
    values = np.random.default_rng(1).random((50, 100_000))
    for kind, tolerance in (("f4", 1e-5), ("f8", 1e-9)):
        data = values.astype(kind)
        halves = data[:, ::-1].reshape(50, 10, -1).sum(axis=2).sum(axis=1)
        reference = npy(tmp_path / f"a-{kind}.npy", data.sum(axis=1))
        observed = npy(tmp_path / f"b-{kind}.npy", halves)
        check(reference, observed, within(0, tolerance), WITHIN_TOLERANCE)
        check(reference, observed, EXACT, DIFFERENT)


def test_differences_in_many_blocks(tmp_path: Path) -> None:
    """Positions and counts are those of the whole array."""
    left = np.zeros((5, 1000, 1000))
    right = left.copy()
    right[1, 2, 3], right[4, 5, 6], right[4, 999, 999] = 0.5, -2.0, NAN
    finding = check(
        npy(tmp_path / "a.npy", left), npy(tmp_path / "b.npy", right), within(1), DIFFERENT,
        "array: 3 of 5000000 values differ, at most 2, 2 of them beyond the tolerance, "
        "such as 0.0 -> -2.0 at [4, 5, 6]",
    )  # fmt: skip
    assert (finding.max_abs, finding.max_rel, finding.differing) == (2.0, None, 3)
