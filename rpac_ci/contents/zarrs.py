"""
Zarr, formats 2 and 3: a folder, or the ZIP archive of a folder as a run stores its outputs.

A chunk that is not there means the fill value, as the format has it.
"""

from __future__ import annotations

import base64
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore, ZipStore

from rpac_ci.contents.datasets import Dataset, Variable
from rpac_ci.contents.findings import UnreadableError, printable
from rpac_ci.contents.values import Array, Selection

MAX_EXPANDED = 1 << 40  # bytes that the members of an archive may say they have
METADATA = ("zarr.json", ".zgroup", ".zarray")
ROOT_ARRAY = "array"  # the name of a Zarr array that is in no group


@contextmanager
def open_zarr(path: Path) -> Iterator[Dataset]:
    """Open a Zarr group or array as a dataset; consolidated metadata is not used."""
    root = "" if path.is_dir() else _root(path)
    store = LocalStore(path, read_only=True) if path.is_dir() else ZipStore(path, mode="r")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            opened = zarr.open(store, path=root, mode="r", use_consolidated=False)
            dataset = _dataset(opened)
        for number, message in enumerate(w.message for w in said):
            if "not recognized" in str(message):  # neither group nor array
                dataset.unread[f"({number})"] = printable(message, limit=200)
        yield dataset
    finally:
        store.close()


def _root(path: Path) -> str:
    """The folder of an archive that is the Zarr group: its top, or the only folder there."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(set(names)) != len(names):
        raise UnreadableError("a name stands in it twice")
    if (expanded := sum(info.file_size for info in infos)) > MAX_EXPANDED:
        raise UnreadableError(f"its members would have {expanded >> 30} GiB")
    tops = {name.split("/")[0] for name in names}
    if tops & set(METADATA) or len(tops) != 1:
        return ""
    return tops.pop()


def _dataset(opened: Any) -> Dataset:
    dataset = Dataset()
    if isinstance(opened, zarr.Array):
        dataset.variables[ROOT_ARRAY] = _variable(opened)
        return dataset
    dataset.groups[""] = dict(opened.attrs)
    for name, item in sorted(opened.members(max_depth=None)):
        if isinstance(item, zarr.Array):
            dataset.variables[name] = _variable(item)
        else:
            dataset.groups[name] = dict(item.attrs)
    return dataset


def _variable(array: Any) -> Variable:
    shape = tuple(array.shape)
    attributes = dict(array.attrs)
    dims = _dimensions(array, attributes)
    dtype = np.dtype(array.dtype)

    def read(part: Selection) -> Array:
        values: Array = np.asarray(array[part])
        return values

    is_text = dtype.kind in ("O", "T")
    return Variable(
        dims=dims, shape=shape, type="text" if is_text else str(dtype.newbyteorder("=")),
        itemsize=dtype.itemsize, numeric=dtype.kind in "iufc", chunks=tuple(array.chunks),
        attributes=attributes, read=read,
    )  # fmt: skip


def _dimensions(array: Any, attributes: dict[str, object]) -> tuple[str, ...]:
    """Names of the dimensions; in the attributes, what each format keeps elsewhere is set right."""
    fill = attributes.get("_FillValue")
    if array.metadata.zarr_format == 3:
        names = array.metadata.dimension_names
        if isinstance(fill, str) and np.dtype(array.dtype).kind == "f":  # as xarray writes it
            attributes["_FillValue"] = np.frombuffer(base64.b64decode(fill, validate=True), "<f8")
    else:
        names = attributes.pop("_ARRAY_DIMENSIONS", None)
        fill = array.metadata.fill_value
        if fill is not None and np.asarray(fill).dtype.kind in "iufc":
            attributes["_FillValue"] = np.asarray(fill)
    if not isinstance(names, list | tuple) or len(names) != len(array.shape):
        return ("",) * len(array.shape)
    return tuple(str(name or "") for name in names)
