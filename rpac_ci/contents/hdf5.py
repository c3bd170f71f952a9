"""
HDF5 files, those of NetCDF-4 among them, read by h5py with every object in them.

NetCDF-4 keeps its dimensions as HDF5 dimension scales; the attributes and the place holders that it
needs for them are turned into names here and are not content.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rpac_ci.contents.datasets import Attributes, Dataset, Variable
from rpac_ci.contents.findings import UnreadableError, printable
from rpac_ci.contents.values import Array, Selection

MAX_OBJECTS = 100_000  # links can make a small file endless
INTERNAL = ("DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates",
            "_nc3_strict")  # fmt: skip
NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"
PREFIX = "_nc4_non_coord_"  # of a variable named like a dimension that is not its own


@contextmanager
def open_hdf5(path: Path) -> Iterator[Dataset]:
    """
    Open a file as a dataset.

    Links out of the file, virtual and external storage are never followed: they are `unread`.
    """
    with h5py.File(path, "r", rdcc_nbytes=64 << 20) as file:
        dataset = Dataset()
        if file.userblock_size:
            dataset.unread[""] = "it has a user block"
        dimids: dict[int, str] = {}
        datasets: dict[str, Any] = {}
        for count, (name, item) in enumerate(_walk(file, "", dataset)):
            if count > MAX_OBJECTS:
                raise UnreadableError(f"it has more than {MAX_OBJECTS} objects")
            datasets[name] = item
        for name, item in datasets.items():
            if item.is_scale and "_Netcdf4Dimid" in item.attrs:
                dimids[int(item.attrs["_Netcdf4Dimid"])] = _variable_name(name)
        for name, item in datasets.items():
            _add(dataset, name, item, dimids)
        yield dataset


def _walk(group: Any, path: str, dataset: Dataset) -> Iterator[tuple[str, Any]]:
    """Every HDF5 dataset below a group; all else is noted at once."""
    dataset.groups[path] = _attributes(group, path, dataset)
    for key in sorted(group):
        name = f"{path}/{key}" if path else key
        if len(dataset.groups) + len(dataset.others) > MAX_OBJECTS:
            raise UnreadableError(f"it has more than {MAX_OBJECTS} objects")
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.SoftLink):
            dataset.others[name] = f"link to {link.path}"
        elif isinstance(link, h5py.ExternalLink):
            dataset.unread[name] = "a link to another file"
        else:
            item = group[key]
            if isinstance(item, h5py.Group):
                yield from _walk(item, name, dataset)
            elif isinstance(item, h5py.Dataset):
                yield name, item
            else:
                _add_type(dataset, name, item)


def _add_type(dataset: Dataset, name: str, item: Any) -> None:
    try:
        dataset.others[name] = f"type {_type_in_words(item.dtype)}"
    except (UnreadableError, TypeError) as exc:
        dataset.unread[name] = printable(exc)


def _add(dataset: Dataset, name: str, item: Any, dimids: dict[int, str]) -> None:
    name = _variable_name(name)
    if item.is_scale:
        unlimited = not item.maxshape or item.maxshape[0] is None
        dataset.dimensions[name] = None if unlimited else item.shape[0]
        if bytes(np.bytes_(item.attrs.get("NAME", b""))).startswith(NO_VARIABLE):
            return
    try:
        dataset.variables[name] = _variable(name, item, dataset, dimids)
    except (UnreadableError, TypeError) as exc:  # TypeError: HDF5 types that NumPy does not have
        dataset.unread[name] = printable(exc)


def _variable(name: str, item: Any, dataset: Dataset, dimids: dict[int, str]) -> Variable:
    if item.is_virtual or item.external:
        raise UnreadableError("its values are in another file")
    words = _type_in_words(item.dtype)
    empty = item.shape is None
    shape = (0,) if empty else item.shape

    def read(part: Selection) -> Array:
        values: Array = np.asarray(item[part])
        return values

    return Variable(
        dims=_dimensions(name, item, dimids), shape=shape,
        type=f"nothing of {words}" if empty else words,
        itemsize=item.dtype.itemsize, chunks=item.chunks, read=read,
        numeric=item.dtype.kind in "iufc" and h5py.check_enum_dtype(item.dtype) is None,
        attributes=_attributes(item, name, dataset),
    )  # fmt: skip


def _dimensions(name: str, item: Any, dimids: dict[int, str]) -> tuple[str, ...]:
    """Names of the dimensions, from the scales attached to them or from NetCDF's own numbers."""
    if item.shape is None:
        return ()
    numbers = item.attrs.get("_Netcdf4Coordinates")
    if numbers is not None and all(int(number) in dimids for number in numbers):
        return tuple(dimids[int(number)] for number in numbers)
    if item.is_scale and len(item.shape) == 1:
        return (name,)
    return tuple(
        "+".join(sorted(_variable_name(scale.name.lstrip("/")) for scale in axis.values()))
        for axis in item.dims
    )


def _variable_name(path: str) -> str:
    group, slash, name = path.rpartition("/")
    return f"{group}{slash}{name.removeprefix(PREFIX)}"


def _attributes(item: Any, path: str, dataset: Dataset) -> Attributes:
    found: dict[str, object] = {}
    scale = isinstance(item, h5py.Dataset) and item.is_scale
    for name in sorted(item.attrs):
        if name in INTERNAL or (scale and name in ("CLASS", "NAME")):
            continue
        try:
            value = item.attrs[name]
        except (OSError, TypeError, ValueError, RuntimeError, KeyError) as exc:
            dataset.unread[f"{path}@{name}"] = printable(exc)
            continue
        found[name] = f"nothing of {value.dtype}" if isinstance(value, h5py.Empty) else value
    return found


def _type_in_words(dtype: np.dtype[Any]) -> str:
    """A type without byte order; text of any length is `text`, whatever its encoding."""
    if h5py.check_string_dtype(dtype) is not None:
        return "text" if dtype.kind == "O" else str(dtype)
    if (names := h5py.check_enum_dtype(dtype)) is not None:
        return f"enumeration {dtype.newbyteorder('=')} {sorted(names.items())}"
    if dtype.names is None and not dtype.hasobject:
        return str(dtype.newbyteorder("="))
    if dtype.hasobject:
        raise UnreadableError("references, or values of varying length")
    fields = [f"{name}: {_type_in_words(dtype[name])}" for name in dtype.names or ()]
    return f"{{{', '.join(fields)}}}"
