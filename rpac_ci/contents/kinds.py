"""Which format a file has, by its name, and which packages read it."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec

INSTALL = "pip install 'rpac-ci[compare]'"  # all readers, and what statistical rules need


class Kind(StrEnum):
    """A format whose content can be compared."""

    NPY = "npy"
    NPZ = "npz"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    DATASET = "dataset"
    ZARR = "zarr"


SUFFIXES = {
    ".npy": Kind.NPY, ".npz": Kind.NPZ,
    ".csv": Kind.CSV, ".csv.gz": Kind.CSV, ".tsv": Kind.TSV, ".tsv.gz": Kind.TSV,
    ".parquet": Kind.PARQUET,
    ".nc": Kind.DATASET, ".nc4": Kind.DATASET, ".netcdf": Kind.DATASET, ".cdf": Kind.DATASET,
    ".h5": Kind.DATASET, ".hdf5": Kind.DATASET, ".he5": Kind.DATASET,
    ".zarr": Kind.ZARR,
}  # fmt: skip
PACKAGES = {
    Kind.NPY: ("numpy",), Kind.NPZ: ("numpy",),
    Kind.CSV: ("numpy", "pyarrow"), Kind.TSV: ("numpy", "pyarrow"),
    Kind.PARQUET: ("numpy", "pyarrow"),
    Kind.DATASET: ("numpy", "h5py"), Kind.ZARR: ("numpy", "zarr"),
}  # fmt: skip


def kind_of(name: str) -> Kind | None:
    """The format that a file name promises; None when its content cannot be compared."""
    lower = name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if lower.endswith(suffix)), None)


def missing_packages(name: str) -> list[str]:
    """What must still be installed to read this kind of file."""
    kind = kind_of(name)
    wanted = PACKAGES[kind] if kind is not None else ()
    return [package for package in wanted if find_spec(package) is None]
