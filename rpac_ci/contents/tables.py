"""
Tables: CSV and TSV files, plain or gzip'd, and Parquet, read by pyarrow.

The order of columns does not count, that of rows does unless a key matches them. Both formats:
a column name that stands there twice, or a key that is not unique, is not compared.

Text files have no types, so each cell is read as text, and a column is one of numbers when every
cell of both files is a number or missing: whole numbers if all are whole, else double precision.
A number in a text file may have spaces around it; with superfluous zeros in front (`007`) it is an
identifier and the column is text. In a column of numbers an empty cell, `NA` or `null` is missing,
which equals missing and nothing else, and `nan` is NaN. Dates are text.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rpac_ci.contents.findings import Finding, UnreadableError, Wanted, listed, printable
from rpac_ci.contents.report import Report, reading
from rpac_ci.contents.values import Array, Rule, Tally, compare_array, shown

MAX_EXPANDED = 4 << 30  # bytes of a gzip'd text file once it is expanded
ROWS = 1 << 20  # compared at a time
WHOLE = r"^[+-]?(0|[1-9][0-9]*)$"
DECIMAL = (
    r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
    r"|^[+-]?(?i:nan|inf|infinity)$"
)
INFINITE = r"^[+-]?(?i:inf|infinity)$"
TOO_LONG = r"^[+-]?[0-9]{16,}$"  # whole numbers that a double may not hold
MISSING = ("", "NA", "null")
# what writers of Parquet note about their own tables
OWN_METADATA = ("ARROW:schema", "pandas", "org.apache.spark.*")


class Table:
    """Columns by name; those of a Parquet file are read when they are asked for."""

    def __init__(
        self, types: dict[str, Any], rows: int, read: Callable[[str], pa.ChunkedArray]
    ) -> None:
        self.types = types
        self.rows = rows
        self.read = read
        self.metadata: dict[str, str] = {}
        self.order: pa.Array | None = None

    def column(self, name: str) -> pa.ChunkedArray:
        """One column, in the order of the key if there is one."""
        values = self.read(name)
        return values if self.order is None else values.take(self.order)


def compare_text(
    reference: Path, observed: Path, wanted: Wanted, *, delimiter: str, compressed: bool
) -> Finding:
    """Compare two files of text with one line of column names."""
    with reading("reference"):
        left = _read_text(reference, delimiter, compressed=compressed)
    with reading("observed"):
        right = _read_text(observed, delimiter, compressed=compressed)
    for name in left.keys() & right.keys():
        left[name], right[name] = _as_numbers(left[name], right[name])
    tables = [
        Table(
            {name: column.type for name, column in side.items()},
            len(next(iter(side.values()), ())),
            side.__getitem__,
        )
        for side in (left, right)
    ]
    return _compare(tables[0], tables[1], wanted)


def compare_parquet(reference: Path, observed: Path, wanted: Wanted) -> Finding:
    """Compare two Parquet files: exact types, and metadata but for what writers note themselves."""
    with reading("reference"):
        left = _open_parquet(reference)
    with reading("observed"):
        right = _open_parquet(observed)
    return _compare(left, right, wanted)


def _read_text(path: Path, delimiter: str, *, compressed: bool) -> dict[str, pa.ChunkedArray]:
    import pyarrow.csv as pa_csv

    raw = _expanded(path) if compressed else path.read_bytes()
    text = io.TextIOWrapper(io.BytesIO(raw), "utf-8-sig", newline="")
    names = next(csv.reader(text, delimiter=delimiter, strict=True), [])
    _refuse_twice(names)
    table = pa_csv.read_csv(
        pa.BufferReader(raw),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=len(names) > 1
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )
    if table.column_names != names:
        raise UnreadableError("its column names are read in two ways")
    return {name: table.column(name) for name in names}


def _expanded(path: Path) -> bytes:
    with gzip.open(path) as file:
        raw = file.read(MAX_EXPANDED + 1)
    if len(raw) > MAX_EXPANDED:
        raise UnreadableError(f"it expands to more than {MAX_EXPANDED >> 30} GiB")
    return raw


def _open_parquet(path: Path) -> Table:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, page_checksum_verification=True)
    schema = file.schema_arrow
    _refuse_twice(schema.names)

    def read(name: str) -> pa.ChunkedArray:
        column = file.read(columns=[name])
        if column.column_names != [name]:
            raise UnreadableError(f"the column {printable(name)} cannot be read alone")
        column.validate(full=True)  # else damaged text or offsets come to light at any later time
        if column.num_rows != file.metadata.num_rows:
            raise UnreadableError(f"the column {printable(name)} is not as long as the file says")
        return column.column(0)

    table = Table({field.name: field.type for field in schema}, file.metadata.num_rows, read)
    table.metadata = {
        key.decode(errors="replace"): value.decode(errors="surrogateescape")
        for key, value in (schema.metadata or {}).items()
    }
    return table


def _refuse_twice(names: list[str]) -> None:
    if twice := {name for name in names if names.count(name) > 1}:
        raise UnreadableError(f"column names stand in it twice: {listed(twice)}")


def _as_numbers(
    reference: pa.ChunkedArray, observed: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Two columns of text as numbers of one type, or as they are when they are none."""
    sides = [_without_missing(column) for column in (reference, observed)]
    if not (_all_match(sides, DECIMAL) and any(_finite(side) for side in sides)):
        return reference, observed
    types = [pa.float64()]
    if _all_match(sides, WHOLE):
        types = [pa.int64(), pa.uint64()]
    elif any(pc.any(pc.match_substring_regex(side, TOO_LONG)).as_py() for side in sides):
        return reference, observed
    for number_type in types:
        try:
            numbers = [pc.cast(pc.ascii_ltrim(side, "+"), number_type) for side in sides]
        except pa.ArrowInvalid:
            continue
        if not _overflows(sides, numbers):
            return numbers[0], numbers[1]
    return reference, observed


def _without_missing(column: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.is_in(trimmed, pa.array(MISSING)), None, trimmed)


def _all_match(sides: list[pa.ChunkedArray], pattern: str) -> bool:
    return all(pc.all(pc.match_substring_regex(side, pattern)).as_py() in (True, None)
               for side in sides)  # fmt: skip


def _finite(side: pa.ChunkedArray) -> bool:
    """Whether there is at least one digit, so that a column of `nan` only stays text."""
    return bool(pc.any(pc.match_substring_regex(side, "[0-9]")).as_py())


def _overflows(texts: list[pa.ChunkedArray], numbers: list[pa.ChunkedArray]) -> bool:
    """Whether a number became infinite that is not written so."""
    return any(
        pa.types.is_floating(number.type)
        and pc.any(
            pc.and_(pc.is_inf(number), pc.invert(pc.match_substring_regex(text, INFINITE)))
        ).as_py()
        for text, number in zip(texts, numbers, strict=True)
    )


def _compare(reference: Table, observed: Table, wanted: Wanted) -> Finding:
    report = Report()
    names = [{n for n in table.types if not wanted.ignores(n)} for table in (reference, observed)]
    report.only_on_one_side("columns", *names)
    _compare_metadata(reference.metadata, observed.metadata, wanted, report)
    common = []
    for name in sorted(names[0] & names[1]):
        report.looked_at += 1
        types = reference.types[name], observed.types[name]
        if types[0].equals(types[1]):
            common.append(name)
        else:
            report.differ(f"{printable(name)}: type {types[0]} -> {types[1]}")
    try:
        if wanted.key:
            rows_match = _match_rows(reference, observed, wanted.key, report)
        else:
            rows_match = _same_length(reference, observed, report)
    except UnreadableError as exc:
        report.cannot(f"rows by their key: {exc}")
        rows_match = False
    for name in common if rows_match else ():
        rule = Rule(tolerance=wanted.tolerance_of(name), equal_nan=wanted.equal_nan)
        if name not in wanted.key:
            _compare_column(name, reference, observed, rule, report)
    return report.finding()


def _compare_metadata(
    reference: dict[str, str], observed: dict[str, str], wanted: Wanted, report: Report
) -> None:
    for key in sorted(reference.keys() | observed.keys()):
        own = any(fnmatchcase(key, pattern) for pattern in OWN_METADATA)
        if own or wanted.ignores_attribute("", key):
            continue
        left, right = reference.get(key), observed.get(key)
        if left != right:
            report.differ(f"@{printable(key)}: {shown(left)} -> {shown(right)}")


def _same_length(reference: Table, observed: Table, report: Report) -> bool:
    if reference.rows != observed.rows:
        report.differ(f"{reference.rows} rows -> {observed.rows} rows")
    return reference.rows == observed.rows


def _match_rows(reference: Table, observed: Table, key: tuple[str, ...], report: Report) -> bool:
    """Set both tables in the order of their keys; False, and noted, when they have other ones."""
    with reading("reference"):
        left = _keys(reference, key)
    with reading("observed"):
        right = _keys(observed, key)
    if left.schema.types != right.schema.types:
        raise UnreadableError("its types differ")
    try:
        missing = left.join(right, list(key), join_type="left anti").num_rows
        extra = right.join(left, list(key), join_type="left anti").num_rows
        orders = [
            pc.sort_indices(columns, sort_keys=[(name, "ascending") for name in key])
            for columns in (left, right)
        ]
    except pa.ArrowException as exc:
        raise UnreadableError(f"its type cannot be one ({printable(exc)})") from exc
    if missing or extra:
        report.differ(f"rows by their key: {missing} only in the reference, {extra} only observed")
        return False
    reference.order, observed.order = orders
    return True


def _keys(table: Table, key: tuple[str, ...]) -> pa.Table:
    """The key columns of a table, which identify its rows."""
    if absent := set(key) - set(table.types):
        raise UnreadableError(f"no column {listed(absent)}")
    columns = pa.table({name: table.read(name) for name in key})
    for name in key:
        if pc.any(pc.is_null(columns.column(name), nan_is_null=True)).as_py():
            raise UnreadableError(f"{printable(name)} is missing or NaN in a row")
    if columns.group_by(list(key)).aggregate([]).num_rows != table.rows:
        raise UnreadableError("several rows have the same")
    return columns


def _compare_column(
    name: str, reference: Table, observed: Table, rule: Rule, report: Report
) -> None:
    tallies: dict[str, Tally] = {}
    try:
        with reading("reference"):
            left = reference.column(name)
        with reading("observed"):
            right = observed.column(name)
        for start in range(0, len(left), ROWS):
            parts = [pa.concat_arrays(side.slice(start, ROWS).chunks) for side in (left, right)]
            _compare_arrays(tallies, name, parts[0], parts[1], rule, start)
    except pa.ArrowException as exc:
        report.cannot(f"{printable(name)}: {_why(reference.types[name], exc)}")
    except UnreadableError as exc:
        report.cannot(f"{printable(name)}: {exc}")
    report.add(tallies.values())


def _why(kind: object, exc: Exception) -> str:
    return f"values of the type {kind} are not compared ({printable(exc)})"


def _compare_arrays(
    tallies: dict[str, Tally],
    name: str,
    reference: pa.Array,
    observed: pa.Array,
    rule: Rule,
    start: int,
) -> None:
    """One part of a column; what is missing on one side only is a difference, whatever the type."""
    if pa.types.is_dictionary(reference.type):
        reference, observed = reference.dictionary_decode(), observed.dictionary_decode()
    nulls = [side.is_null().to_numpy(zero_copy_only=False) for side in (reference, observed)]
    one_side = nulls[0] != nulls[1]
    if one_side.any():
        tally = tallies.setdefault(name, Tally(name=name))
        tally.add_unequal(one_side, origin=start, example=_pair(reference, observed))
        if not pa.types.is_struct(reference.type):
            tally.total -= one_side.size  # they are counted below
        kept = pa.array(~one_side)
        reference, observed = (pc.if_else(kept, side, None) for side in (reference, observed))
    _compare_present(tallies, name, reference, observed, rule, start)


def _compare_present(
    tallies: dict[str, Tally],
    name: str,
    reference: pa.Array,
    observed: pa.Array,
    rule: Rule,
    start: int,
) -> None:
    kind = reference.type
    if pa.types.is_null(kind):
        return
    if (numbers := _numbers(reference, observed)) is not None:
        compare_array(tallies, name, *numbers, rule, origin=(start,))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = [pc.fill_null(pc.list_value_length(side), 0) for side in (reference, observed)]
        _add_unequal(tallies, name, lengths[0], lengths[1], start)
        if lengths[0].equals(lengths[1]):
            left, right = pc.list_flatten(reference), pc.list_flatten(observed)
            _compare_arrays(tallies, f"{name}[]", left, right, rule, 0)
    elif pa.types.is_struct(kind):
        for field, left, right in zip(kind, reference.flatten(), observed.flatten(), strict=True):
            _compare_arrays(tallies, f"{name}.{field.name}", left, right, rule, start)
    else:
        _add_unequal(tallies, name, reference, observed, start)


def _numbers(reference: pa.Array, observed: pa.Array) -> tuple[Array, Array] | None:
    """Both sides as NumPy arrays, with 0 where both are missing; None for other types."""
    kind = reference.type
    if pa.types.is_boolean(kind):
        sides = [pc.fill_null(side, False) for side in (reference, observed)]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        zero = pa.scalar(0, pa.float32()).cast(kind)
        sides = [pc.fill_null(side, zero) for side in (reference, observed)]
    else:
        return None
    left, right = (np.asarray(side.to_numpy(zero_copy_only=False)) for side in sides)
    return left, right


def _add_unequal(
    tallies: dict[str, Tally], name: str, reference: pa.Array, observed: pa.Array, start: int
) -> None:
    """Values that Arrow compares itself: text, bytes, times, exact decimals."""
    unequal = pc.fill_null(pc.not_equal(reference, observed), False)
    tallies.setdefault(name, Tally(name=name)).add_unequal(
        unequal.to_numpy(zero_copy_only=False), origin=start, example=_pair(reference, observed)
    )


def _pair(reference: pa.Array, observed: pa.Array) -> Callable[[int], str]:
    """The two values at a place, in words."""
    return lambda place: f"{shown(reference[place].as_py())} -> {shown(observed[place].as_py())}"
