"""Two files → one finding: bytes first, then the reader of their format."""

from __future__ import annotations

import filecmp
from pathlib import Path

from rpac_ci.contents.findings import (
    IDENTICAL,
    Finding,
    UnreadableError,
    Wanted,
    not_compared,
)
from rpac_ci.contents.kinds import Kind, kind_of, missing_packages


def compare_files(reference: Path, observed: Path, wanted: Wanted, *, name: str) -> Finding:
    """
    Compare the content of two files.

    Args:
        reference: the file to agree with.
        observed: the file in question.
        wanted: tolerances and what may differ.
        name: the output's name, whose suffix says the format; the paths' own names do not count.

    Returns:
        `identical` when the bytes are the same, whatever the format (where NaN is equal to nothing,
        the content is read all the same); what cannot be read in full, by this library or at all,
        is `not compared` with the reason.
    """
    try:
        if wanted.equal_nan and _same_bytes(reference, observed):
            return Finding(agreement=IDENTICAL)
        kind = kind_of(name)
        if kind is None:
            return not_compared(f"the bytes differ and nothing here reads {Path(name).name}")
        if missing := missing_packages(name):
            return not_compared(f"the bytes differ and {', '.join(missing)} is not installed")
        return _compare(kind, reference, observed, wanted, compressed=name.lower().endswith(".gz"))
    except UnreadableError as exc:
        return not_compared(str(exc))
    except OSError as exc:
        return not_compared(f"a file cannot be read: {exc.strerror or exc}")
    except MemoryError:
        return not_compared("the files need more memory than is allowed")


def _same_bytes(reference: Path, observed: Path) -> bool:
    if reference.is_dir() or observed.is_dir():
        return False
    filecmp.clear_cache()  # it goes by size and time
    return filecmp.cmp(reference, observed, shallow=False)


def _compare(
    kind: Kind, reference: Path, observed: Path, wanted: Wanted, *, compressed: bool
) -> Finding:
    match kind:
        case Kind.NPY | Kind.NPZ:
            from rpac_ci.contents.arrays import compare_npy, compare_npz

            return (compare_npy if kind is Kind.NPY else compare_npz)(reference, observed, wanted)
        case Kind.CSV | Kind.TSV:
            from rpac_ci.contents.tables import compare_text

            delimiter = "," if kind is Kind.CSV else "\t"
            return compare_text(
                reference, observed, wanted, delimiter=delimiter, compressed=compressed
            )
        case Kind.PARQUET:
            from rpac_ci.contents.tables import compare_parquet

            return compare_parquet(reference, observed, wanted)
        case Kind.DATASET | Kind.ZARR:
            from rpac_ci.contents.datasets import compare_datasets
            from rpac_ci.contents.netcdf3 import open_dataset
            from rpac_ci.contents.zarrs import open_zarr

            opened = open_dataset if kind is Kind.DATASET else open_zarr
            return compare_datasets(opened, reference, observed, wanted)
