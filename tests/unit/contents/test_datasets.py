"""NetCDF, HDF5 and Zarr: pairs of datasets with a known answer, in every format."""

from __future__ import annotations

import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr

from rpac_ci.contents import (
    DIFFERENT,
    NOT_COMPARED,
    SAME_CONTENT,
    WITHIN_TOLERANCE,
    Tolerance,
    Wanted,
)
from rpac_ci.contents.packing import Packing
from tests.unit.contents.builders import EXACT, check, ignoring, within

Change: TypeAlias = Callable[[xr.Dataset], xr.Dataset]
NAN, INF = float("nan"), float("inf")


def base() -> xr.Dataset:
    """A small field in space and time, with a missing value, coordinates, text and attributes."""
    sst = np.linspace(280, 300, 24, dtype="f4").reshape(2, 3, 4)
    sst[0, 1, 2], sst[0, 0, 1] = NAN, 0
    return xr.Dataset(
        {
            "sst": (("time", "lat", "lon"), sst, {"units": "K", "long_name": "temperature"}),
            "count": (("time",), np.array([7, 9], "i4"), {"valid_min": np.int32(0)}),
            "station": (("lat",), np.array([b"a", b"b", b"c"], "S1")),
            "level": ((), np.float64(10)),
        },
        coords={"lat": [10.0, 20.0, 30.0], "lon": [0.0, 1.0, 2.0, 3.0], "time": [0.0, 6.0]},
        attrs={"title": "a field", "Conventions": "CF-1.8", "history": "written at noon"},
    )


def zipped(folder: Path, path: Path) -> Path:
    """A folder as a run stores it."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def write_zarr(data: xr.Dataset, path: Path, version: int, **options: Any) -> Path:
    folder = path.with_suffix(".folder")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # types that are not in the specification of Zarr 3
        data.to_zarr(folder, zarr_format=version, consolidated=False, **options)
    return zipped(folder, path)


def write_netcdf(data: xr.Dataset, path: Path, **options: Any) -> Path:
    data.to_netcdf(path, **options)
    return path


FORMATS: dict[str, tuple[str, Callable[[xr.Dataset, Path], Path]]] = {
    "NetCDF-4": ("nc", lambda data, path: write_netcdf(data, path, engine="netcdf4")),
    "NetCDF-4 by h5netcdf": ("h5", lambda data, path: write_netcdf(data, path, engine="h5netcdf")),
    "NetCDF-3": (
        "nc", lambda d, p: write_netcdf(d, p, engine="netcdf4", format="NETCDF3_CLASSIC"),
    ),
    "NetCDF-3, 64 bits": (
        "cdf", lambda d, p: write_netcdf(d, p, engine="scipy", format="NETCDF3_64BIT"),
    ),
    "Zarr 2": ("zarr", lambda data, path: write_zarr(data, path, 2)),
    "Zarr 3": ("zarr", lambda data, path: write_zarr(data, path, 3)),
}  # fmt: skip


def value(name: str, place: tuple[int, ...], new: float) -> Change:
    def change(data: xr.Dataset) -> xr.Dataset:
        data[name].values[place] = new
        return data

    return change


def plus(name: str, place: tuple[int, ...], more: float) -> Change:
    def change(data: xr.Dataset) -> xr.Dataset:
        data[name].values[place] += more
        return data

    return change


def attribute(name: str, new: object, variable: str | None = None) -> Change:
    def change(data: xr.Dataset) -> xr.Dataset:
        attributes = data.attrs if variable is None else data[variable].attrs
        if new is None:
            del attributes[name]
        else:
            attributes[name] = new
        return data

    return change


def unchanged(data: xr.Dataset) -> xr.Dataset:
    return data


def in_reverse(data: xr.Dataset) -> xr.Dataset:
    """Variables and attributes in another order."""
    data.attrs = dict(reversed(data.attrs.items()))
    return data[list(reversed(list(data.data_vars)))]


def nan_moved(data: xr.Dataset) -> xr.Dataset:
    return value("sst", (0, 0, 0), NAN)(value("sst", (0, 1, 2), 280)(data))


CASES: dict[str, tuple[Change, Wanted, str, str]] = {
    "other time of writing": (attribute("history", "at one"), EXACT, SAME_CONTENT, ""),
    "no time of writing": (attribute("history", None), EXACT, SAME_CONTENT, ""),
    "tracking id": (attribute("tracking_id", "hdl:21"), EXACT, SAME_CONTENT, ""),
    "production time": (attribute("ProductionDateTime", "2026"), EXACT, SAME_CONTENT, ""),
    "order of names": (in_reverse, EXACT, SAME_CONTENT, ""),
    "title": (attribute("title", "b"), EXACT, DIFFERENT, "@title: 'a field' -> 'b'"),
    "title, ignored": (attribute("title", "b"), ignoring("@title"), SAME_CONTENT, ""),
    "title and tolerance": (attribute("title", "b"), within(9), DIFFERENT, "@title"),
    "no title": (attribute("title", None), EXACT, DIFFERENT, "@title: only in the reference"),
    "new attribute": (attribute("new", "b"), EXACT, DIFFERENT, "@new: only in the observed"),
    "units": (attribute("units", "degC", "sst"), EXACT, DIFFERENT, "sst@units: 'K' -> 'degC'"),
    "units, ignored": (attribute("units", "C", "sst"), ignoring("s*@units"), SAME_CONTENT, ""),
    "units of another": (attribute("units", "C", "sst"), ignoring("x@units"), DIFFERENT, "@units"),
    "number in an attribute": (
        attribute("valid_min", np.int32(1), "count"), within(9), DIFFERENT,
        "count@valid_min: 0 -> 1",
    ),
    "dimension renamed": (lambda d: d.rename(lat="y"), EXACT, DIFFERENT, "lat"),
    "dimension only renamed": (
        lambda d: d.drop_vars("lat").rename_dims(lat="y"), EXACT, DIFFERENT,
        "sst: dimensions (time, lat, lon) -> (time, y, lon)",
    ),
    "transposed": (lambda d: d.transpose(), EXACT, DIFFERENT, "shape (2, 3, 4) -> (4, 3, 2)"),
    "type": (
        lambda d: d.assign(sst=d.sst.astype("f8")), within(9), DIFFERENT,
        "sst: type float32 -> float64",
    ),
    "value within": (plus("sst", (1, 2, 3), 1e-3), within(0.01), WITHIN_TOLERANCE, "[1, 2, 3]"),
    "value within, relative": (plus("sst", (1, 2, 3), 1e-3), within(0, 1e-5), WITHIN_TOLERANCE, ""),
    "value beyond": (plus("sst", (1, 2, 3), 0.1), within(0.01), DIFFERENT, "1 of 24 values differ"),
    "value, exact": (plus("sst", (1, 2, 3), 1e-3), EXACT, DIFFERENT, "at [1, 2, 3]"),
    "scalar": (plus("level", (), 1), EXACT, DIFFERENT, "level: 1 of 1 values differ"),
    "integer within": (plus("count", (1,), 1), within(1), WITHIN_TOLERANCE, "count"),
    "integer beyond": (plus("count", (1,), 2), within(1), DIFFERENT, "count: 1 of 2"),
    "coordinate": (
        lambda d: d.assign_coords(lat=[10, 20, 30.5]), EXACT, DIFFERENT, "lat: 1 of 3",
    ),
    "text": (value("station", (1,), b"x"), within(9), DIFFERENT, "'b' -> 'x' at [1"),  # type: ignore[arg-type]
    "NaN moved": (nan_moved, within(500), DIFFERENT, "sst: 2 of 24 values differ"),
    "NaN forbidden": (unchanged, Wanted(equal_nan=False), DIFFERENT, "sst: 1 of 24"),
    "infinite": (value("sst", (0, 0, 0), INF), within(1e30, 1e3), DIFFERENT, "280.0 -> inf"),
    "sign of zero": (value("sst", (0, 0, 1), -0.0), EXACT, SAME_CONTENT, ""),
    "variable gone": (
        lambda d: d.drop_vars("count"), EXACT, DIFFERENT, "variables only in the reference: count",
    ),
    "variable gone, ignored": (
        lambda d: d.drop_vars("count"), ignoring("count"), SAME_CONTENT, "",
    ),
    "new variable": (
        lambda d: d.assign(new=d.level), EXACT, DIFFERENT, "variables only in the observed: new",
    ),
    "everything ignored": (plus("level", (), 1), ignoring("*"), NOT_COMPARED, "nothing"),
    "length": (lambda d: d.isel(lon=slice(3)), EXACT, DIFFERENT, "shape (2, 3, 4) -> (2, 3, 3)"),
    "tolerance of one variable": (
        lambda d: plus("sst", (0, 0, 0), 1e-3)(plus("level", (), 1e-3)(d)),
        Wanted(variables={"s*": Tolerance(abs_tol=0.01)}), DIFFERENT, "level: 1 of 1",
    ),
}  # fmt: skip


THOROUGH = ("NetCDF-4", "NetCDF-3", "Zarr 3")  # the others say the same by the same reader
BRIEFLY = (
    "other time of writing",
    "units",
    "dimension only renamed",
    "value within",
    "value beyond",
)


@pytest.mark.parametrize(
    ("format_name", "name"),
    [(f, name) for f in FORMATS for name in (CASES if f in THOROUGH else BRIEFLY)],
)
def test_pair(tmp_path: Path, format_name: str, name: str) -> None:
    change, wanted, agreement, note = CASES[name]
    suffix, write = FORMATS[format_name]
    reference = write(base(), tmp_path / f"a.{suffix}")
    other = base().assign_attrs(history="written later")
    observed = write(change(other), tmp_path / f"b.{suffix}")
    check(reference, observed, wanted, agreement, note)


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_empty_variable(tmp_path: Path, format_name: str) -> None:
    suffix, write = FORMATS[format_name]
    empty = xr.Dataset({"x": (("n",), np.zeros(0))})
    reference = write(empty, tmp_path / f"a.{suffix}")
    observed = write(empty.assign_attrs(history="later"), tmp_path / f"b.{suffix}")
    check(reference, observed, EXACT, SAME_CONTENT)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_truncated_file_never_agrees(tmp_path: Path, format_name: str) -> None:
    suffix, write = FORMATS[format_name]
    reference = write(base(), tmp_path / f"a.{suffix}")
    whole = write(base().assign_attrs(history="later"), tmp_path / f"b.{suffix}").read_bytes()
    cut = tmp_path / f"c.{suffix}"
    for length in [*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        check(reference, cut, within(1e9, 1), NOT_COMPARED, "observed")


@pytest.mark.parametrize("suffix", ["nc", "h5", "zarr"])
def test_not_that_format(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.{suffix}").write_text(f"this is text {name}")
    pair = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    check(*pair, EXACT, NOT_COMPARED, "the reference")


def test_packing_of_netcdf_formats_in_one(tmp_path: Path) -> None:
    """Chunks, compression, byte order, unlimited dimensions and the library do not count."""
    plain = write_netcdf(base(), tmp_path / "a.nc", engine="netcdf4")
    squeezed = write_netcdf(
        base(), tmp_path / "b.nc", engine="h5netcdf", unlimited_dims=["time"],
        encoding={"sst": {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": (1, 3, 2)}},
    )  # fmt: skip
    swapped = write_netcdf(
        base(), tmp_path / "c.nc", engine="h5netcdf", encoding={"sst": {"dtype": ">f4"}}
    )
    classic = write_netcdf(base(), tmp_path / "d.nc", engine="netcdf4", format="NETCDF3_CLASSIC")
    assert h5py.File(swapped)["sst"].dtype == ">f4"
    for other in (squeezed, swapped, classic):
        check(plain, other, EXACT, SAME_CONTENT)


def test_chunks_and_compression_of_zarr(tmp_path: Path) -> None:
    first = write_zarr(base(), tmp_path / "a.zarr", 3)
    encoding = {"sst": {"chunks": (1, 3, 2), "compressors": None}}
    second = write_zarr(base(), tmp_path / "b.zarr", 3, encoding=encoding)
    check(first, second, EXACT, SAME_CONTENT)


def test_zarr_as_folders(tmp_path: Path) -> None:
    for name, history in (("a.zarr", "now"), ("b.zarr", "later")):
        data = base().drop_vars("station").assign_attrs(history=history)
        data.to_zarr(tmp_path / name, zarr_format=3, consolidated=False)
    check(tmp_path / "a.zarr", tmp_path / "b.zarr", EXACT, SAME_CONTENT)


def test_a_zarr_array_without_a_group(tmp_path: Path) -> None:
    for name, last in (("a", 1.0), ("b", 2.0)):
        array = zarr.create_array(tmp_path / f"{name}.zarr", shape=(3,), chunks=(2,), dtype="f8")
        array[:] = [0.0, 0.0, last]
    pair = tmp_path / "a.zarr", tmp_path / "b.zarr"
    check(*pair, EXACT, DIFFERENT, "array: 1 of 3 values differ, at most 1 (1 relative)")
    check(*pair, within(1), WITHIN_TOLERANCE)


def test_text_of_any_length(tmp_path: Path) -> None:
    for suffix, write in (FORMATS["NetCDF-4"], FORMATS["Zarr 2"]):
        paths = []
        for name, last in (("a", "zwei"), ("b", "zwei"), ("c", "drei")):
            data = xr.Dataset({"x": (("n",), np.array(["eins", last], object))})
            paths.append(write(data.assign_attrs(history=name), tmp_path / f"{name}.{suffix}"))
        check(paths[0], paths[1], EXACT, SAME_CONTENT)
        check(paths[0], paths[2], within(9), DIFFERENT, "'zwei' -> 'drei' at [1]")


def group(path: Path, history: str, values: dict[str, list[int]]) -> Path:
    with netCDF4.Dataset(path, "w") as file:
        file.history = history
        for name, numbers in values.items():
            folder = file.createGroup(name)
            folder.createDimension("n", len(numbers))
            folder.createVariable("x", "i8", ("n",))[:] = numbers
    return path


def test_groups(tmp_path: Path) -> None:
    reference = group(tmp_path / "a.nc", "a", {"one/deep": [1, 2], "two": [2**53 + 1]})
    same = group(tmp_path / "b.nc", "b", {"two": [2**53 + 1], "one/deep": [1, 2]})
    other = group(tmp_path / "c.nc", "b", {"one/deep": [1, 3], "two": [2**53]})
    fewer = group(tmp_path / "d.nc", "b", {"two": [2**53 + 1]})
    check(reference, same, EXACT, SAME_CONTENT)
    check(reference, other, EXACT, DIFFERENT, "one/deep/x: 1 of 2 values differ, at most 1 (0.5")
    check(reference, other, ignoring("one"), DIFFERENT, "two/x: 1 of 1 values differ")
    check(reference, other, ignoring("one", "*/x"), NOT_COMPARED, "nothing to compare")
    check(reference, fewer, EXACT, DIFFERENT, "groups only in the reference: one, one/deep")
    check(reference, fewer, ignoring("one"), SAME_CONTENT)


def test_a_variable_named_like_a_dimension_that_is_not_its_own(tmp_path: Path) -> None:
    for name, last in (("a", 5.0), ("b", 6.0)):
        with netCDF4.Dataset(tmp_path / f"{name}.nc", "w") as file:
            for dimension, length in (("t", 2), ("x", 3)):
                file.createDimension(dimension, length)
            file.createVariable("x", "f8", ("t", "x"))[:] = np.full((2, 3), last)
            file.createVariable("y", "f8", ("x",))[:] = 0
    pair = tmp_path / "a.nc", tmp_path / "b.nc"
    check(*pair, EXACT, DIFFERENT, "x: 6 of 6 values differ")
    check(*pair, ignoring("x"), SAME_CONTENT)


def test_records_of_a_classic_file(tmp_path: Path) -> None:
    """Records of several variables are interleaved; those of a single one are not padded."""
    for count in (1, 2, 3):
        paths = []
        for name, last in (("a", 4), ("b", 5)):
            path = tmp_path / f"{name}{count}.nc"
            with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_DATA") as file:
                file.createDimension("t", None)
                file.createDimension("n", 3)
                for index in range(count):
                    variable = file.createVariable(f"v{index}", "i2", ("t", "n"))
                    variable[:] = np.arange(6).reshape(2, 3) + index
                file.variables[f"v{count - 1}"][1, 2] = last
            paths.append(path)
        note = f"v{count - 1}: 1 of 6 values differ, at most 1 (0.25 relative)"
        check(paths[0], paths[1], EXACT, DIFFERENT, f"{note}, such as 4 -> 5 at [1, 2]")


def packed(path: Path, scale: float, numbers: list[float], fill: int = -1) -> Path:
    encoding = {"dtype": "i2", "scale_factor": scale, "_FillValue": fill}
    data = xr.Dataset({"x": (("n",), np.array(numbers))})
    return write_netcdf(data, path, engine="netcdf4", encoding={"x": encoding})


def test_packed_values_are_compared_in_their_unit(tmp_path: Path) -> None:
    reference = packed(tmp_path / "a.nc", 0.01, [1.0, NAN, 2.0])
    repacked = packed(tmp_path / "b.nc", 0.02, [1.0, NAN, 2.0], fill=-9)
    moved = packed(tmp_path / "c.nc", 0.01, [1.0, NAN, 2.05])
    no_hole = packed(tmp_path / "d.nc", 0.01, [1.0, 1.0, 2.0])
    check(reference, repacked, EXACT, DIFFERENT, "x@_FillValue: -1 -> -9")
    check(reference, repacked, within(1e-9), WITHIN_TOLERANCE, "x: packed differently")
    check(reference, moved, within(0.04), DIFFERENT, "at most 0.05 (0.025 relative)")
    check(reference, moved, within(0.06), WITHIN_TOLERANCE)
    check(reference, no_hole, within(1e9), DIFFERENT, "x: 1 of 3 values differ")


def test_other_packing_may_hide_another_value(tmp_path: Path) -> None:
    """Equal stored values under another scale are other values."""
    reference = packed(tmp_path / "a.nc", 0.01, [1.0, 2.0])
    doubled = packed(tmp_path / "b.nc", 0.02, [2.0, 4.0])
    check(reference, doubled, within(0.5), DIFFERENT, "x: 2 of 2 values differ, at most 2 (1 rel")


def test_values_are_decoded_as_xarray_does(tmp_path: Path) -> None:
    numbers = np.array([0, 1, 77, 200, 255], "u1")
    for attributes in (
        {"scale_factor": 0.5, "add_offset": -3.0, "_FillValue": np.uint8(77)},
        {"missing_value": np.uint8(200), "scale_factor": np.float32(0.1)},
        {"add_offset": 4.0},
        {"_FillValue": np.uint8(255)},
    ):
        with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
            file.set_auto_maskandscale(False)
            file.createDimension("n", 5)
            fill: Any = attributes.get("_FillValue")
            variable = file.createVariable("x", "u1", ("n",), fill_value=fill)
            variable.set_auto_maskandscale(False)
            variable.setncatts({k: v for k, v in attributes.items() if k != "_FillValue"})
            variable[:] = numbers
        values, missing = Packing.of(attributes).decode(numbers)
        ours = np.where(False if missing is None else missing, NAN, values)
        with xr.open_dataset(tmp_path / "a.nc", engine="netcdf4") as theirs:
            np.testing.assert_allclose(ours, theirs.x.values, rtol=1e-6)


def test_unsigned_integers_in_signed_ones() -> None:
    packing = Packing.of({"_Unsigned": "true", "_FillValue": np.int8(-1)})
    values, missing = packing.decode(np.array([-2, -1, 5], "i1"))
    assert values.tolist() == [254, 255, 5]
    assert missing is not None
    assert missing.tolist() == [False, True, False]


def hdf5(path: Path, fill: Callable[[Any], object], seed: int) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
        file.attrs["history"] = seed
    return path


def references(file: Any) -> None:
    file["x"] = np.arange(3)
    file.create_dataset("r", (1,), h5py.ref_dtype)[0] = file["x"].ref


def ragged(file: Any) -> None:
    file.create_dataset("r", (1,), h5py.vlen_dtype("i4"))[0] = [1, 2]


def attribute_of_references(file: Any) -> None:
    file["x"] = np.arange(3)
    file["x"].attrs["r"] = file["x"].ref


def outward_link(file: Any) -> None:
    file["x"] = np.arange(3)
    file["r"] = h5py.ExternalLink("elsewhere.h5", "/x")


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (3,))
    file.create_virtual_dataset("r", layout)


def outward_storage(file: Any) -> None:
    file.create_dataset("r", (3,), "f8", external=[("elsewhere.bin", 0, 24)])


@pytest.mark.parametrize(
    "fill",
    [references, ragged, attribute_of_references, outward_link, virtual, outward_storage],
)
def test_what_cannot_be_looked_at_is_never_the_same(tmp_path: Path, fill: Any) -> None:
    pair = hdf5(tmp_path / "1.h5", fill, 1), hdf5(tmp_path / "2.h5", fill, 2)
    check(*pair, EXACT, NOT_COMPARED, "r")
    if fill is not attribute_of_references:
        wanted = Wanted(ignore=("r",))
        expected = SAME_CONTENT if fill in (references, outward_link) else NOT_COMPARED
        check(*pair, wanted, expected)


def colours(red: int, last: int) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        kind = h5py.enum_dtype({"red": red, "blue": 5}, basetype="u1")
        file.create_dataset("e", data=np.array([red, last], "u1"), dtype=kind)

    return fill


def compound(last: float) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        file["c"] = np.array([(1, 2.0), (3, last)], [("n", "i4"), ("x", "f8")])

    return fill


def links(target: str) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        file["a/x"], file["b/x"] = np.arange(3), np.arange(3)
        file["l"] = h5py.SoftLink(target)

    return fill


@pytest.mark.parametrize(
    ("left", "right", "agreement", "note"),
    [
        (colours(1, 5), colours(1, 5), SAME_CONTENT, ""),
        (colours(1, 5), colours(1, 1), DIFFERENT, "e: 1 of 2"),
        (colours(1, 5), colours(2, 5), DIFFERENT, "e: type enumeration"),
        (compound(4), compound(4), SAME_CONTENT, ""),
        (compound(4), compound(5), DIFFERENT, "c.x: 1 of 2 values differ, at most 1"),
        (links("/a/x"), links("/a/x"), SAME_CONTENT, ""),
        (links("/a/x"), links("/b/x"), DIFFERENT, "l: link to /a/x -> link to /b/x"),
    ],
)
def test_types_and_links_of_hdf5(
    tmp_path: Path, left: Any, right: Any, agreement: str, note: str
) -> None:
    pair = hdf5(tmp_path / "a.h5", left, 1), hdf5(tmp_path / "b.h5", right, 2)
    check(*pair, within(9), agreement, note)


def test_a_group_that_is_in_itself(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file.create_group("g")["g"] = file["/"]

    pair = hdf5(tmp_path / "1.h5", fill, 1), hdf5(tmp_path / "2.h5", fill, 2)
    check(*pair, EXACT, NOT_COMPARED, "the reference")


def test_a_long_list_of_differences(tmp_path: Path) -> None:
    """The first few in the order of their names, then how many there are more."""
    names = [f"v{index}\n" for index in range(8)]
    for name, number in (("a", 1), ("b", 2)):
        data = {key: np.array(number) for key in reversed(names)}
        np.savez(tmp_path / f"{name}.npz", allow_pickle=False, **data)
    finding = check(tmp_path / "a.npz", tmp_path / "b.npz", EXACT, DIFFERENT, "; and 3 more")
    assert [part.split(":")[0] for part in finding.note.split("; ")][:5] == [
        "v0", "v1", "v2", "v3", "v4",
    ]  # fmt: skip
