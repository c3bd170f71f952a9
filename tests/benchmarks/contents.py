"""
`python -m tests.benchmarks.contents`: comparing content against hashing the same files.

Each line is the median of a few repetitions and its ratio to sha256 of both files, measured side by
side. Nothing is asserted: a table is for reading.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from rpac_ci.contents import Tolerance, Wanted, compare_apart, compare_files
from rpac_ci.contents.values import Array
from tests.benchmarks.__main__ import timed

SHAPE = (20, 721, 1440)  # 83 MB in single precision
LOOSE = Wanted(tolerance=Tolerance(rel_tol=1e-5))


def main() -> None:
    """Print one table for `.npy`, plain and compressed NetCDF."""
    values: Array = np.random.default_rng(1).normal(280, 10, SHAPE).astype("f4")
    noisy: Array = values * np.float32(1 + 1e-6)
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (
            ("x.npy", write_npy),
            ("plain.nc", write_netcdf),
            (
                "zlib.nc",
                lambda path, array: write_netcdf(path, np.asarray(np.round(array)), zlib=True),
            ),
        ):
            files = [Path(folder, f"{side}-{name}") for side in ("reference", "same", "noisy")]
            for path, array in zip(files, (values, values, noisy), strict=True):
                write(path, array)
            measure(name, files)


def write_npy(path: Path, array: Array) -> None:
    version = (2, 0) if path.name.startswith("same") else (1, 0)  # other bytes, same content
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version)


def write_netcdf(path: Path, array: Array, **options: Any) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.history = path.name
        for name, length in zip("tyx", SHAPE, strict=True):
            file.createDimension(name, length)
        chunks = (1, *SHAPE[1:]) if options else None
        file.createVariable("v", "f4", tuple("tyx"), chunksizes=chunks, **options)[:] = array


def measure(name: str, files: list[Path]) -> None:
    """One format: sha256 as the unit, NumPy alone, and the three comparisons."""
    reference, same, noisy = files

    def compare(observed: Path, wanted: Wanted) -> Callable[[], object]:
        return lambda: compare_files(reference, observed, wanted, name=name)

    def allclose() -> object:
        return np.allclose(read(noisy), read(reference), rtol=1e-5, atol=0, equal_nan=True)

    rows: dict[str, Callable[[], object]] = {
        "sha256 of both": lambda: [hash_of(path) for path in (reference, noisy)],
        "read both, np.allclose": allclose,
        "same content": compare(same, Wanted()),
        "within tolerance": compare(noisy, LOOSE),
        "different": compare(noisy, Wanted()),
        "within tolerance, apart": lambda: compare_apart(
            [(name, reference, noisy, LOOSE)], limit_s=600
        ),
    }
    sizes = f"{reference.stat().st_size / 1e6:.0f} MB"
    medians = {row: statistics.median(timed(action, 5)) for row, action in rows.items()}
    unit = medians["sha256 of both"]
    for row, seconds in medians.items():
        print(f"{name:9} {sizes:>7}  {row:24} {seconds * 1000:7.0f} ms  {seconds / unit:5.2f}")


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> Array:
    if path.suffix == ".nc":
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            return np.asarray(file["v"][:])
    array: Array = np.load(path)
    return array


if __name__ == "__main__":
    main()
