"""
Datasets: groups of named arrays with dimensions and attributes (NetCDF, HDF5, Zarr).

A reader for each format makes a `Dataset`, with everything that is in the file; what the reader
cannot show stands in `unread`, so that no part of a file is left out unnoticed. Chunks,
compression, byte order, unlimited dimensions and the order of names do not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from rpac_ci.contents.findings import Finding, Tolerance, UnreadableError, Wanted, printable
from rpac_ci.contents.packing import ATTRIBUTES, Packing
from rpac_ci.contents.report import Report, reading
from rpac_ci.contents.values import (
    Array,
    Decode,
    Rule,
    Selection,
    Tally,
    blocks,
    compare_array,
)

Attributes: TypeAlias = Mapping[str, object]
Opened: TypeAlias = Callable[[Path], AbstractContextManager["Dataset"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """
    One array of a file, not yet read.

    Args:
        dims: names of its dimensions, empty where one has none.
        shape: lengths.
        type: of its values in words, without byte order; equal words mean the same type.
        itemsize: bytes of a value.
        numeric: whether a tolerance can apply; not to enumerations and compound types.
        chunks: how it is stored.
        attributes: as the file has them.
        read: one part of it, as it is stored.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    type: str
    itemsize: int
    numeric: bool
    chunks: tuple[int, ...] | None
    attributes: Attributes
    read: Callable[[Selection], Array]


@dataclass(slots=True, kw_only=True)
class Dataset:
    """
    All that is in a file, by path (`group/variable`; the root group is the empty path).

    Args:
        variables: arrays.
        groups: attributes of each group.
        dimensions: length of each named dimension; None when it is unlimited.
        others: what else there is, in words: links and named types.
        unread: what cannot be read, and why.
    """

    variables: dict[str, Variable] = field(default_factory=dict)
    groups: dict[str, Attributes] = field(default_factory=dict)
    dimensions: dict[str, int | None] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def compare_datasets(open_file: Opened, reference: Path, observed: Path, wanted: Wanted) -> Finding:
    """Compare two files that `open_file` reads."""
    with ExitStack() as stack:
        left = stack.enter_context(_opened(open_file, reference, "reference"))
        right = stack.enter_context(_opened(open_file, observed, "observed"))
        return _compare(left, right, wanted).finding()


@contextmanager
def _opened(open_file: Opened, path: Path, side: str) -> Iterator[Dataset]:
    with ExitStack() as stack:
        with reading(side):
            dataset = stack.enter_context(open_file(path))
        yield dataset


def _compare(reference: Dataset, observed: Dataset, wanted: Wanted) -> Report:
    report = Report()
    for side, dataset in (("reference", reference), ("observed", observed)):
        for path, why in sorted(dataset.unread.items()):
            owner, is_attribute, attribute = path.rpartition("@")
            if is_attribute and wanted.ignores_attribute(owner, attribute):
                continue
            if not wanted.ignores(owner if is_attribute else path):
                report.cannot(f"{printable(path) or 'the root group'} of the {side}: {why}")
    groups = _common("groups", reference.groups, observed.groups, wanted, report)
    variables = _common("variables", reference.variables, observed.variables, wanted, report)
    _compare_words("dimension", reference.dimensions, observed.dimensions, wanted, report)
    _compare_words("", reference.others, observed.others, wanted, report)
    for path in groups:
        owners = reference.groups[path], observed.groups[path]
        report.looked_at += _compare_attributes(path, *owners, wanted, report, leave_out=())
    for path in variables:
        report.looked_at += 1
        sides = reference.variables[path], observed.variables[path]
        tolerant = sides[0].numeric and not wanted.tolerance_of(path).exact
        _compare_attributes(
            path, sides[0].attributes, sides[1].attributes, wanted, report,
            leave_out=ATTRIBUTES if tolerant else (),
        )  # fmt: skip
    for path in variables:
        sides = reference.variables[path], observed.variables[path]
        if _same_structure(path, *sides, report):
            _compare_values(path, *sides, wanted, report)
    return report


def _common(
    what: str,
    reference: Mapping[str, object],
    observed: Mapping[str, object],
    wanted: Wanted,
    report: Report,
) -> list[str]:
    left, right = ({p for p in side if not wanted.ignores(p)} for side in (reference, observed))
    report.only_on_one_side(what, left, right)
    return sorted(left & right)


def _compare_words(
    what: str,
    reference: Mapping[str, object],
    observed: Mapping[str, object],
    wanted: Wanted,
    report: Report,
) -> None:
    label = f"{what} ".lstrip()
    for path in _common(f"{label}names".strip(), reference, observed, wanted, report):
        left, right = reference[path], observed[path]
        if left != right and left is not None and right is not None:
            report.differ(f"{label}{printable(path)}: {printable(left)} -> {printable(right)}")


def _same_structure(path: str, reference: Variable, observed: Variable, report: Report) -> bool:
    name = printable(path)
    same = True
    for what, left, right in (
        ("dimensions", reference.dims, observed.dims),
        ("shape", reference.shape, observed.shape),
        ("type", reference.type, observed.type),
    ):
        if left != right:
            same = False
            shown = [
                str(side) if what != "dimensions" else f"({', '.join(map(str, side))})"
                for side in (left, right)
            ]
            report.differ(f"{name}: {what} {printable(shown[0])} -> {printable(shown[1])}")
    return same


def _compare_attributes(
    path: str,
    reference: Attributes,
    observed: Attributes,
    wanted: Wanted,
    report: Report,
    *,
    leave_out: tuple[str, ...],
) -> int:
    """Compare the attributes of one owner; returns how many there were to compare."""
    count = 0
    for name in sorted(reference.keys() | observed.keys()):
        if name in leave_out or wanted.ignores_attribute(path, name):
            continue
        count += 1
        label = f"{printable(path)}@{printable(name)}"
        if name not in observed:
            report.differ(f"{label}: only in the reference")
        elif name not in reference:
            report.differ(f"{label}: only in the observed")
        else:
            try:
                left, right = in_words(reference[name]), in_words(observed[name])
            except UnreadableError as exc:
                report.cannot(f"{label}: {exc}")
                continue
            if left != right:
                report.differ(f"{label}: {_shortly(left, right)}")
    return count


def _shortly(left: tuple[str, str], right: tuple[str, str]) -> str:
    if left[1] == right[1]:
        return f"type {left[0]} -> {right[0]}"
    return f"{printable(left[1], limit=40)} -> {printable(right[1], limit=40)}"


def in_words(value: object) -> tuple[str, str]:
    """
    An attribute's type and value; equal words mean equal attributes.

    Text is the same as one string or as an array of one, in whatever encoding of the file, and a
    number the same as an array of one: NetCDF knows no difference.

    Raises:
        UnreadableError: it holds references or objects of the file.
    """
    plain = isinstance(value, bool | int | float | list | dict | type(None))
    if plain and not isinstance(value, np.generic):  # from JSON
        return type(value).__name__, json.dumps(value, sort_keys=True)
    if isinstance(value, bytes | str):
        return "text", repr(_decoded(value))
    array = np.asarray(value)
    if array.dtype.kind in "SUOT":
        flat = array.ravel().tolist()
        if not all(isinstance(item, str | bytes) for item in flat):
            raise UnreadableError("an attribute of objects or references")
        texts = [_decoded(item) for item in flat]
        return "text", repr(texts[0] if len(texts) == 1 else texts)
    if array.dtype.hasobject:
        raise UnreadableError("an attribute of objects or references")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise UnreadableError("an attribute of extended precision")
    flat = array.ravel().tolist()
    kind = str(array.dtype.newbyteorder("="))
    return kind, repr(flat[0] if len(flat) == 1 else flat)


def _decoded(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return text.rstrip("\0")


def _compare_values(
    path: str, reference: Variable, observed: Variable, wanted: Wanted, report: Report
) -> None:
    tolerance = wanted.tolerance_of(path) if reference.numeric else Tolerance()
    rule = Rule(tolerance=tolerance, equal_nan=wanted.equal_nan)
    tallies: dict[str, Tally] = {path: Tally(name=path)}
    try:
        decode, same = _packings(reference, observed, rule)
        if not same:
            report.tolerated.append(f"{printable(path)}: packed differently")
        for part in blocks(reference.shape, reference.itemsize, reference.chunks):
            with reading("reference"):
                left = reference.read(part)
            with reading("observed"):
                right = observed.read(part)
            origin = tuple(axis.start for axis in part)
            compare_array(
                tallies, path, left, right, rule,
                origin=origin, decode=decode, everywhere=not same,
            )  # fmt: skip
    except UnreadableError as exc:
        report.cannot(f"{printable(path)}: {exc}")
    report.add(tallies.values())


def _packings(
    reference: Variable, observed: Variable, rule: Rule
) -> tuple[tuple[Decode, Decode] | None, bool]:
    """How to decode each side, and whether equal stored values mean the same on both."""
    if not reference.numeric or reference.type.startswith("complex"):
        return None, True
    try:
        packings = [Packing.of(side.attributes) for side in (reference, observed)]
    except UnreadableError:
        if rule.tolerance.exact:  # stored values are enough
            return None, True
        raise
    texts = [
        {name: in_words(side.attributes[name]) for name in ATTRIBUTES if name in side.attributes}
        for side in (reference, observed)
    ]
    same = texts[0] == texts[1] or rule.tolerance.exact
    return (packings[0].decode, packings[1].decode), same
