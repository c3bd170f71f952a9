"""NumPy's own files: one array (`.npy`) or several in a ZIP archive (`.npz`)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from rpac_ci.contents.findings import Finding, UnreadableError, Wanted
from rpac_ci.contents.report import Report, reading
from rpac_ci.contents.values import Array, Rule, Tally, blocks, compare_array

MAX_EXPANDED = 16 << 30  # bytes that the members of an archive may say they have
NAME = "array"  # the array of an .npy file has no name of its own


def compare_npy(reference: Path, observed: Path, wanted: Wanted) -> Finding:
    """Compare two `.npy` files; in patterns, the array's name is `array`."""
    with reading("reference"):
        left = _open_npy(reference)
    with reading("observed"):
        right = _open_npy(observed)
    report = Report()
    if not wanted.ignores(NAME):
        _compare(NAME, left, right, wanted, report)
    return report.finding()


def compare_npz(reference: Path, observed: Path, wanted: Wanted) -> Finding:
    """Compare two `.npz` files: the same names, and each array as `compare_npy` does."""
    report = Report()
    with reading("reference"):
        left = _members(reference)
    with reading("observed"):
        right = _members(observed)
    names = [{name for name in side if not wanted.ignores(name)} for side in (left, right)]
    report.only_on_one_side("arrays", *names)
    for name in sorted(names[0] & names[1]):
        try:
            with reading("reference"):
                reference_array = _load(reference, left[name])
            with reading("observed"):
                observed_array = _load(observed, right[name])
            _compare(name, reference_array, observed_array, wanted, report)
        except UnreadableError as exc:
            report.cannot(f"{name}: {exc}")
    return report.finding()


def _open_npy(path: Path) -> Array:
    """An array on disk, without reading it; pickled objects are refused."""
    array: Array = np.lib.format.open_memmap(path, mode="r")
    start = getattr(array, "offset", None)
    if start is not None and start + array.nbytes != path.stat().st_size:
        raise UnreadableError("there are more bytes in the file than in its array")
    return array


def _members(path: Path) -> dict[str, str]:
    """Name of array → name in the archive, of an archive that is safe to read."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    if (expanded := sum(info.file_size for info in infos)) > MAX_EXPANDED:
        raise UnreadableError(f"its arrays would have {expanded >> 30} GiB")
    if len({info.filename for info in infos}) != len(infos):
        raise UnreadableError("a name stands in it twice")
    others = [info.filename for info in infos if not info.filename.endswith(".npy")]
    if others:
        raise UnreadableError(f"{others[0]} in it is no array")
    return {info.filename.removesuffix(".npy"): info.filename for info in infos}


def _load(path: Path, member: str) -> Array:
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise UnreadableError("there are more bytes in a member than in its array")
    return array


def _compare(name: str, reference: Array, observed: Array, wanted: Wanted, report: Report) -> None:
    report.looked_at += 1
    types = [side.dtype.newbyteorder("=") for side in (reference, observed)]
    if reference.shape != observed.shape:
        report.differ(f"{name}: shape {reference.shape} -> {observed.shape}")
    elif types[0] != types[1]:
        report.differ(f"{name}: type {types[0]} -> {types[1]}")
    else:
        rule = Rule(tolerance=wanted.tolerance_of(name), equal_nan=wanted.equal_nan)
        tallies: dict[str, Tally] = {}
        for part in blocks(reference.shape, reference.dtype.itemsize, None):
            origin = tuple(axis.start for axis in part)
            compare_array(tallies, name, reference[part], observed[part], rule, origin=origin)
        report.add(tallies.values())
