"""CSV, TSV and Parquet: pairs of tables with a known answer."""

from __future__ import annotations

import datetime
import decimal
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rpac_ci.contents import (
    DIFFERENT,
    NOT_COMPARED,
    SAME_CONTENT,
    WITHIN_TOLERANCE,
    Tolerance,
    Wanted,
    tables,
)
from tests.unit.contents.builders import EXACT, check, ignoring, within

NAN, INF = float("nan"), float("inf")
KEYED = Wanted(key=("id",))
STRICT_NAN = Wanted(equal_nan=False)
BIG = 2**53 + 1

# two texts, `|` between the lines
TEXTS = {
    "end of lines": ("a,b|1,2", "a,b\r|1,2\r", EXACT, SAME_CONTENT, ""),
    "quotes": ("a,b|1,x", '"a",b|1,"x"', EXACT, SAME_CONTENT, ""),
    "order of columns": ("a,b|1,x", "b,a|x,1", EXACT, SAME_CONTENT, ""),
    "order of rows": ("a|1|2", "a|2|1", EXACT, DIFFERENT, "a: 2 of 2 values differ"),
    "order of rows, key": ("id,v|1,x|2,y", "id,v|2,y|1,x", KEYED, SAME_CONTENT, ""),
    "value of a key": ("id,v|1,x|2,y", "id,v|2,z|1,x", KEYED, DIFFERENT, "v: 1 of 2"),
    "key of text": ("id,v|p,1|q,2", "id,v|q,2|p,1", KEYED, SAME_CONTENT, ""),
    "other keys": (
        "id,v|1,x|2,y", "id,v|1,x|3,y|4,y", KEYED, DIFFERENT,
        "rows by their key: 1 only in the reference, 2 only observed",
    ),
    "two columns of a key": (
        "id,k,v|1,a,1|1,b,2", "id,k,v|1,b,2|1,a,1.0", Wanted(key=("id", "k")), SAME_CONTENT, "",
    ),
    "key twice": (
        "id,v|1,x|1,y", "id,v|1,y|1,x", KEYED, NOT_COMPARED, "the reference: several rows",
    ),
    "no key": ("id,v|1,x|,y", "id,v|,y|1,x", KEYED, NOT_COMPARED, "missing or NaN"),
    "no column for the key": ("a|1|2", "a|2|1", KEYED, NOT_COMPARED, "no column id"),
    "whole and decimal": ("a|1|2", "a|1.0|2e0", EXACT, SAME_CONTENT, ""),
    "spaces and plus": ("a|1|2", "a| +1|2 ", EXACT, SAME_CONTENT, ""),
    "within": ("a|1|2", "a|1|2.01", within(0.1), WITHIN_TOLERANCE, "a: 1 of 2 values differ"),
    "beyond": ("a|1|2", "a|1|2.2", within(0.1), DIFFERENT, "at most 0.2 (0.1 relative)"),
    "whole numbers beyond a double": (f"a|{BIG}", f"a|{BIG - 1}", EXACT, DIFFERENT, "a: 1 of 1"),
    "beside decimals": (f"a|{BIG}|0.5", f"a|{BIG - 1}|0.5", within(9), DIFFERENT, "a: 1 of 2"),
    "beyond 64 bits": ("a|18446744073709551616", "a|18446744073709551617", EXACT, DIFFERENT, ""),
    "unsigned 64 bits": ("a|18446744073709551615", "a|18446744073709551614", EXACT, DIFFERENT, ""),
    "beyond a double": ("a|1e998", "a|1e999", EXACT, DIFFERENT, "'1e998' -> '1e999'"),
    "identifiers": ("a|007|1", "a|7|1", within(9), DIFFERENT, "'007' -> '7' at [0]"),
    "text and numbers": ("a|x|1", "a|x|1.0", EXACT, DIFFERENT, "'1' -> '1.0' at [1]"),
    "spaces in text": ("a|x", "a|x ", EXACT, DIFFERENT, ""),
    "missing": ("a,b|1,|2,3", "a,b|1.0,NA|2,3", EXACT, SAME_CONTENT, ""),
    "missing in text": ("a,b|1,|2,x", "a,b|1,NA|2,x", EXACT, DIFFERENT, "b: 1 of 2"),
    "missing and 0": ("a,b|1,|2,3", "a,b|1,0|2,3", within(9), DIFFERENT, "b: 1 of 2"),
    "missing and NaN": ("a,b|1,|2,3", "a,b|1,nan|2,3", within(9), DIFFERENT, "None -> nan"),
    "NaN": ("a|nan|1.5", "a|NaN|1.50", EXACT, SAME_CONTENT, ""),
    "NaN moved": ("a|nan|1", "a|1|nan", within(9), DIFFERENT, "a: 2 of 2"),
    "NaN forbidden": ("a|nan|1", "a|nan|1.0", STRICT_NAN, DIFFERENT, "a: 1 of 2"),
    "infinite": ("a|inf|1", "a|Infinity|1.0", EXACT, SAME_CONTENT, ""),
    "infinite of other sign": ("a|inf|1", "a|-inf|1", within(1e300, 9), DIFFERENT, "inf -> -inf"),
    "sign of zero": ("a|0.0|1", "a|-0|1", EXACT, SAME_CONTENT, ""),
    "dates are text": ("a|2026-01-01", "a|2026-01-01T00:00", within(9), DIFFERENT, ""),
    "truth is text": ("a|true", "a|True", EXACT, DIFFERENT, ""),
    "column gone": ("a,b|1,2", "a|1", EXACT, DIFFERENT, "columns only in the reference: b"),
    "column gone, ignored": ("a,b|1,2", "a|1", ignoring("b"), SAME_CONTENT, ""),
    "new column": ("a|1", "a,b|1,2", EXACT, DIFFERENT, "columns only in the observed: b"),
    "all ignored": ("a|1", "a|2", ignoring("a"), NOT_COMPARED, "nothing to compare"),
    "another row": ("a|1", "a|1|2", EXACT, DIFFERENT, "1 rows -> 2 rows"),
    "no rows": ("a,b", "b,a", EXACT, SAME_CONTENT, ""),
    "column twice": ("a,a|1,2", "a,a|1,3", EXACT, NOT_COMPARED, "stand in it twice: a"),
    "ragged": ("a,b|1,2", "a,b|1,2|3", EXACT, NOT_COMPARED, "the observed cannot be read"),
    "nothing at all": ("a|1", "", EXACT, NOT_COMPARED, "the observed"),
    "not UTF-8": ("a|x", "a|\udcff", EXACT, NOT_COMPARED, "the observed cannot be read"),
    "empty line in one column": ("a,b|1,2||3,4", "a,b|1,2|3,4", EXACT, SAME_CONTENT, ""),
    "empty cell of one column": ("a|1||2", "a|1|2", EXACT, DIFFERENT, "3 rows -> 2 rows"),
    "a tolerance of its own": (
        "a,b|1,1", "a,b|1.1,1.1", Wanted(variables={"b": Tolerance(abs_tol=0.2)}), DIFFERENT,
        "a: 1 of 1",
    ),
}  # fmt: skip


def write(path: Path, lines: str) -> Path:
    raw = lines.replace("|", "\n").encode(errors="surrogateescape") + b"\n"
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", TEXTS)
def test_csv(tmp_path: Path, name: str) -> None:
    left, right, wanted, agreement, note = TEXTS[name]
    pair = write(tmp_path / "a.csv", left), write(tmp_path / "b.csv", right)
    check(*pair, wanted, agreement, note)


@pytest.mark.parametrize("name", ["within", "column gone", "quotes", "key twice"])
@pytest.mark.parametrize("suffix", ["tsv", "csv.gz", "tsv.gz"])
def test_other_text_files(tmp_path: Path, suffix: str, name: str) -> None:
    left, right, wanted, agreement, note = TEXTS[name]
    if "tsv" in suffix:
        left, right = left.replace(",", "\t"), right.replace(",", "\t")
    pair = write(tmp_path / f"a.{suffix}", left), write(tmp_path / f"b.{suffix}", right)
    check(*pair, wanted, agreement, note)


def test_the_time_in_a_compressed_file(tmp_path: Path) -> None:
    raw = b"a\n" + b"".join(b"%d\n" % number for number in range(1000))
    for name, time in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(raw, mtime=time))
    pair = tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"
    check(*pair, EXACT, SAME_CONTENT)
    pair[1].write_bytes(pair[1].read_bytes()[:-9])
    check(*pair, EXACT, NOT_COMPARED, "the observed cannot be read: EOFError")


def test_a_compressed_file_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_EXPANDED", 1000)
    pair = write(tmp_path / "a.csv.gz", "a|1"), write(tmp_path / "b.csv.gz", "a" + "|1" * 1000)
    check(*pair, EXACT, NOT_COMPARED, "the observed: it expands")


def column(*values: Any, type: Any = None) -> pa.Array:  # noqa: A002
    return pa.array(list(values), type)


def day(number: int) -> datetime.date:
    return datetime.date(2026, 1, number)


# two columns named `a`, or two tables
COLUMNS = {
    "same": (column(1.5, None), column(1.5, None), EXACT, SAME_CONTENT, ""),
    "within": (column(1.5, None), column(1.6, None), within(0.2), WITHIN_TOLERANCE, "a: 1 of 2"),
    "beyond": (column(1.5, 3.0), column(1.6, 3.0), within(0.05), DIFFERENT, "a: 1 of 2"),
    "null and 0": (column(0, 1), column(None, 1), within(9), DIFFERENT, "0 -> None at [0]"),
    "null and NaN": (column(NAN, 1.0), column(None, 1.0), within(9), DIFFERENT, "a: 1 of 2"),
    "null moved": (
        column(None, 1, 4), column(1, None, 5), within(9), DIFFERENT, "a: 3 of 3 values differ",
    ),
    "NaN": (column(NAN), column(NAN), EXACT, SAME_CONTENT, ""),
    "NaN forbidden": (column(NAN), column(NAN), STRICT_NAN, DIFFERENT, ""),
    "infinite": (column(INF), column(-INF), within(1e300, 9), DIFFERENT, "inf -> -inf"),
    "sign of zero": (column(0.0), column(-0.0), EXACT, SAME_CONTENT, ""),
    "width": (column(1.0), column(1.0, type=pa.float32()), within(9), DIFFERENT, "type double"),
    "whole and decimal": (column(1.0), column(1), within(9), DIFFERENT, "type double -> int64"),
    "beyond a double": (column(BIG), column(BIG - 1), EXACT, DIFFERENT, "a: 1 of 1"),
    "unsigned": (
        column(2**64 - 1, type=pa.uint64()), column(2**64 - 3, type=pa.uint64()), within(1),
        DIFFERENT, "at most 2",
    ),
    "truth": (column(True), column(False), within(9), DIFFERENT, "a: 1 of 1"),
    "text": (column("x", "y"), column("x", "z"), within(9), DIFFERENT, "'y' -> 'z' at [1]"),
    "bytes": (column(b"x"), column(b"y"), within(9), DIFFERENT, "'x' -> 'y'"),
    "dates": (column(day(1)), column(day(2)), within(9), DIFFERENT, "2026-01-01 -> 2026-01-02"),
    "decimals": (
        column(decimal.Decimal("1.1")), column(decimal.Decimal("1.2")), within(9), DIFFERENT, "",
    ),
    "categories": (
        column("x", "y").dictionary_encode(), column("x", "z").dictionary_encode(), EXACT,
        DIFFERENT, "'y' -> 'z'",
    ),
    "categories and text": (column("x").dictionary_encode(), column("x"), EXACT, DIFFERENT, "type"),
    "nothing": (column(None, None), column(None, None), EXACT, SAME_CONTENT, ""),
    "no rows": (column(type=pa.int8()), column(type=pa.int8()), EXACT, SAME_CONTENT, ""),
    "lists": (column([1.0], [2.0, 3.0]), column([1.0], [2.0, 3.1]), EXACT, DIFFERENT, "a[]: 1 of"),
    "lists within": (column([1.0, 2.0]), column([1.0, 2.1]), within(0.2), WITHIN_TOLERANCE, "a[]"),
    "lists of other length": (column([1, 2]), column([1]), within(9), DIFFERENT, "2 -> 1"),
    "no list and an empty one": (column(None, [1]), column([], [1]), EXACT, DIFFERENT, "a: 1 of 2"),
    "structures": (column({"x": 1, "y": 2}), column({"x": 1, "y": 3}), EXACT, DIFFERENT, "a.y: 1"),
    "maps": (
        column([("k", 1)], type=pa.map_(pa.string(), pa.int8())),
        column([("k", 2)], type=pa.map_(pa.string(), pa.int8())), EXACT, NOT_COMPARED, "map",
    ),
    "half precision": (
        pa.array(np.array([1.0], "f2")), pa.array(np.array([1.001], "f2")), within(0, 0.002),
        WITHIN_TOLERANCE, "",
    ),
}  # fmt: skip


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize("name", COLUMNS)
def test_parquet(tmp_path: Path, name: str) -> None:
    left, right, wanted, agreement, note = COLUMNS[name]
    reference = parquet(tmp_path / "a.parquet", {"a": left}, compression="none")
    observed = parquet(tmp_path / "b.parquet", {"a": right}, compression="zstd", version="1.0")
    check(reference, observed, wanted, agreement, note)


def test_parquet_rows_in_groups_and_columns_in_any_order(tmp_path: Path) -> None:
    columns = {"a": list(range(1000)), "b": [str(number) for number in range(1000)]}
    reference = parquet(tmp_path / "a.parquet", columns)
    observed = parquet(
        tmp_path / "b.parquet", dict(reversed(columns.items())), row_group_size=7
    )  # fmt: skip
    check(reference, observed, EXACT, SAME_CONTENT)


def test_parquet_rows_by_their_key(tmp_path: Path) -> None:
    rows = [(number % 7, f"{number:03}", number / 3) for number in range(100)]
    names = ("id", "text", "v")

    def write_rows(name: str, rows: list[Any]) -> Path:
        return parquet(tmp_path / name, dict(zip(names, zip(*rows, strict=True), strict=True)))

    reference = write_rows("a.parquet", [list(row) for row in rows])
    observed = write_rows("b.parquet", rows[::-1])
    keyed = Wanted(key=("id", "text"))
    check(reference, observed, keyed, SAME_CONTENT)
    check(reference, observed, EXACT, DIFFERENT)
    check(reference, observed, KEYED, NOT_COMPARED, "several rows have the same")
    rows[50] = (1, "050", 17.0)
    check(reference, write_rows("c.parquet", rows[::-1]), keyed, DIFFERENT, "v: 1 of 100")


def test_parquet_metadata(tmp_path: Path) -> None:
    """What a writer notes about itself does not count; what a person notes does."""
    paths = []
    for name, crs, version in (("a", "4326", "1"), ("b", "4326", "2"), ("c", "3857", "2")):
        table = pa.table({"x": [1]}).replace_schema_metadata({"crs": crs, "pandas": version})
        paths.append(tmp_path / f"{name}.parquet")
        pq.write_table(table, paths[-1])
    check(paths[0], paths[1], EXACT, SAME_CONTENT)
    check(paths[0], paths[2], EXACT, DIFFERENT, "@crs: '4326' -> '3857'")
    check(paths[0], paths[2], ignoring("@crs"), SAME_CONTENT)


def test_a_dot_in_a_column_name(tmp_path: Path) -> None:
    columns = {"a": [{"b": 1}], "a.b": [2], "a*": [3]}
    reference = parquet(tmp_path / "a.parquet", columns)
    observed = parquet(tmp_path / "b.parquet", columns, compression="zstd")
    finding = check(reference, observed, ignoring("a", "a.b"), SAME_CONTENT)
    assert finding.total == 1
    check(reference, observed, EXACT, NOT_COMPARED, "cannot be read alone")


def test_truncated_parquet(tmp_path: Path) -> None:
    reference = parquet(tmp_path / "a.parquet", {"a": list(range(1000))})
    whole = parquet(tmp_path / "b.parquet", {"a": list(range(1000))}, compression="zstd")
    raw = whole.read_bytes()
    for length in [*range(0, len(raw), len(raw) // 30), len(raw) - 1]:
        whole.write_bytes(raw[:length])
        check(reference, whole, within(1e9), NOT_COMPARED, "the observed cannot be read")
