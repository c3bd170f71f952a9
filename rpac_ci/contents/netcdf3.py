"""
NetCDF's classic formats (CDF-1, -2 and -5), read without a library.

The NetCDF library fills what is missing of a truncated file with zeros, without a word; here every
value must be in the file.

Source: the file format specification in the NetCDF user's guide.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rpac_ci.contents.datasets import Dataset, Variable
from rpac_ci.contents.findings import UnreadableError
from rpac_ci.contents.values import Array, Selection

TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8",
         7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}  # fmt: skip
DIMENSIONS, VARIABLES, ATTRIBUTES = 10, 11, 12
HDF5 = b"\x89HDF\r\n\x1a\n"
STREAMING = (2**32 - 1, 2**64 - 1)


def open_dataset(path: Path) -> AbstractContextManager[Dataset]:
    """
    Open a NetCDF or HDF5 file by what is in it.

    Raises:
        UnreadableError: it is neither.
    """
    with path.open("rb") as file:
        magic = file.read(8)
    if magic[:3] == b"CDF" and magic[3:4] in (b"\1", b"\2", b"\5"):
        return _open_classic(path)
    from rpac_ci.contents.hdf5 import open_hdf5

    if magic != HDF5 and not _is_hdf5(path):
        raise UnreadableError("it is neither NetCDF nor HDF5")
    return open_hdf5(path)


def _is_hdf5(path: Path) -> bool:
    import h5py

    return bool(h5py.is_hdf5(path))


@contextmanager
def _open_classic(path: Path) -> Iterator[Dataset]:
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # not closed here: arrays may still look into it; the last of them lets it go
    yield _Header(content).dataset()


@dataclass(frozen=True, slots=True)
class _Stored:
    """A variable as the header describes it."""

    name: str
    dims: tuple[int, ...]
    attributes: dict[str, object]
    dtype: np.dtype[np.generic]
    begin: int


class _Header:
    """Reads the header from front to back; integers are big-endian, all is padded to 4 bytes."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.version = content[3]
        self.at = 4

    def dataset(self) -> Dataset:
        """The whole file."""
        records = self._count()
        if records in STREAMING:
            raise UnreadableError("the number of its records is not written in it")
        lengths = [(self._name(), self._count()) for _ in range(self._items(DIMENSIONS))]
        attributes = self._attributes()
        stored = [self._variable() for _ in range(self._items(VARIABLES))]
        dataset = Dataset(groups={"": attributes})
        dataset.dimensions = {name: length or None for name, length in lengths}
        step = self._record_bytes(stored, lengths)
        for variable in stored:
            if variable.name in dataset.variables:
                raise UnreadableError("a name stands in it twice")
            dataset.variables[variable.name] = self._read(variable, lengths, records, step)
        return dataset

    def _take(self, size: int) -> bytes:
        if size > len(self.content) - self.at:
            raise UnreadableError("it ends within its header")
        raw = self.content[self.at : self.at + size]
        self.at += size + -size % 4
        return raw

    def _integer(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _count(self) -> int:
        return self._integer(8 if self.version == 5 else 4)

    def _name(self) -> str:
        return self._take(self._count()).decode("utf-8", "surrogateescape")

    def _items(self, tag: int) -> int:
        """The number of items in a list, which begins with its tag; 0 0 is an absent list."""
        found, count = self._integer(4), self._count()
        if found != tag and (found, count) != (0, 0):
            raise UnreadableError("its header is damaged")
        return count

    def _type(self) -> np.dtype[np.generic]:
        number = self._integer(4)
        if number not in TYPES:
            raise UnreadableError("its header is damaged")
        return np.dtype(TYPES[number])

    def _attributes(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for _ in range(self._items(ATTRIBUTES)):
            name, dtype, count = self._name(), self._type(), self._count()
            raw = self._take(count * dtype.itemsize)
            found[name] = raw if dtype.kind == "S" else np.frombuffer(raw, dtype)
        return found

    def _variable(self) -> _Stored:
        name = self._name()
        dims = tuple(self._count() for _ in range(self._count()))
        attributes, dtype = self._attributes(), self._type()
        self._count()  # the size, which the shape says better: it overflows
        begin = self._integer(4 if self.version == 1 else 8)
        return _Stored(name, dims, attributes, dtype, begin)

    @staticmethod
    def _record_bytes(stored: list[_Stored], lengths: list[tuple[str, int]]) -> int:
        """Bytes of one record of all variables; that of a single variable is not padded."""
        sizes = [
            math.prod(lengths[dim][1] for dim in variable.dims[1:]) * variable.dtype.itemsize
            for variable in stored
            if variable.dims and lengths[variable.dims[0]][1] == 0
        ]
        return sizes[0] if len(sizes) == 1 else sum(size + -size % 4 for size in sizes)

    def _read(
        self, stored: _Stored, lengths: list[tuple[str, int]], records: int, step: int
    ) -> Variable:
        is_record = bool(stored.dims) and lengths[stored.dims[0]][1] == 0
        inner = [lengths[dim][1] for dim in stored.dims[is_record:]]
        shape = (records, *inner) if is_record else tuple(inner)
        itemsize = stored.dtype.itemsize
        strides = [math.prod(inner[axis + 1 :]) * itemsize for axis in range(len(inner))]
        if is_record:
            strides.insert(0, step)
        try:
            array: Array = (
                np.ndarray(shape, stored.dtype, self.content, stored.begin, strides)
                if math.prod(shape)
                else np.zeros(shape, stored.dtype)
            )
        except (TypeError, ValueError) as exc:
            raise UnreadableError(f"it ends before the values of {stored.name}") from exc

        def read(part: Selection) -> Array:
            return array[part]

        return Variable(
            dims=tuple(lengths[dim][0] for dim in stored.dims), shape=shape,
            type=str(stored.dtype.newbyteorder("=")), itemsize=itemsize,
            numeric=stored.dtype.kind in "iuf", chunks=None, attributes=stored.attributes,
            read=read,
        )  # fmt: skip
