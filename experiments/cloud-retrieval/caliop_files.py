"""
CALIOP level-2 layer files: written as HDF4, like the real ones, and read from HDF4 or HDF5.

Names and shapes are those of the layer products: one row a profile, one column a layer. Where a
product gives three positions and times a profile (5 km), the middle one is taken.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from netCDF4 import Dataset
from numpy.typing import NDArray
from pyhdf.error import HDF4Error
from pyhdf.SD import SD, SDC

from bands import Array
from flags import CLOUD, ICE, ORIENTED_ICE, WATER, unpack_flags

EPOCH = datetime(1993, 1, 1, tzinfo=UTC)
NO_PHASE, LIQUID, FROZEN = -1, 0, 1
UNCERTAIN, CLEAR, CLOUDY = -1, 0, 1
_NAMES = ("Latitude", "Longitude", "Profile_UTC_Time", "Feature_Classification_Flags")
_TOP = "Layer_Top_Altitude"
_COUNT = "Number_Layers_Found"
_HDF4_MAGIC = b"\x0e\x03\x13\x01"
_TYPES = {"float32": SDC.FLOAT32, "float64": SDC.FLOAT64, "uint16": SDC.UINT16, "int8": SDC.INT8}


class Profiles(NamedTuple):
    """
    Profiles of one file.

    Attributes:
        latitude: degrees, (profiles,).
        longitude: degrees, (profiles,).
        time_s: seconds since 1993 in UTC, (profiles,).
        layers: number of layers found, (profiles,).
        top_km: (profiles, slots), NaN where the slot is empty.
        words: Feature_Classification_Flags, (profiles, slots).
    """

    latitude: Array
    longitude: Array
    time_s: Array
    layers: NDArray[np.int64]
    top_km: Array
    words: NDArray[np.uint16]


class Labels(NamedTuple):
    """
    Per profile: cloud CLEAR, CLOUDY or UNCERTAIN; phase LIQUID, FROZEN or NO_PHASE.

    `top_km` is the height of the layer that the labels are about, 0 where there is none.
    """

    cloud: NDArray[np.int8]
    phase: NDArray[np.int8]
    top_km: Array


def label(profiles: Profiles, min_quality: int) -> Labels:
    """
    Turn layers into labels.

    A profile without a layer of cloud is clear. With one it is cloudy, unless the feature type of
    none is of `min_quality` (0 none to 3 high). The phase is that of the topmost such layer, if
    its own quality suffices; horizontally oriented crystals are ice.
    """
    flags = unpack_flags(profiles.words)
    slots = np.arange(profiles.words.shape[1])[None, :] < profiles.layers[:, None]
    cloud = slots & (flags.feature_type == CLOUD)
    sure = cloud & (flags.feature_type_qa >= min_quality)
    uncertain = cloud.any(axis=1) & ~sure.any(axis=1)
    labels = np.where(uncertain, UNCERTAIN, np.where(sure.any(axis=1), CLOUDY, CLEAR))
    height = np.where(sure, np.nan_to_num(profiles.top_km, nan=-np.inf), -np.inf)
    rows, top = np.arange(labels.size), height.argmax(axis=1)
    known = (labels == CLOUDY) & (flags.phase_qa[rows, top] >= min_quality)
    phase = flags.phase[rows, top]
    frozen = np.isin(phase, (ICE, ORIENTED_ICE))
    phases = np.where(known & frozen, FROZEN, np.where(known & (phase == WATER), LIQUID, NO_PHASE))
    tops = np.where(np.isfinite(height[rows, top]), height[rows, top], 0.0)
    return Labels(labels.astype(np.int8), phases.astype(np.int8), tops)


def write_profiles(path: Path, profiles: Profiles, title: str) -> None:
    """Write an HDF4 file with the names and types of the 1 km layer product."""
    file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
    file.attr("title").set(SDC.CHAR, title)
    for name, values in stored(profiles).items():
        kind = values.dtype.name
        data = file.create(name, _TYPES[kind], values.shape)
        if kind == "float32":
            data.attr("fillvalue").set(SDC.FLOAT32, -9999.0)
        data[:] = values
        data.endaccess()
    file.end()


def stored(profiles: Profiles) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file by their names in the product."""
    return {
        "Latitude": profiles.latitude[:, None].astype(np.float32),
        "Longitude": profiles.longitude[:, None].astype(np.float32),
        "Profile_UTC_Time": _to_product_time(profiles.time_s)[:, None],
        _COUNT: profiles.layers[:, None].astype(np.int8),
        _TOP: np.nan_to_num(profiles.top_km, nan=-9999.0).astype(np.float32),
        "Feature_Classification_Flags": profiles.words.astype(np.uint16),
    }


def read_profiles(path: Path) -> Profiles:
    """
    Read an HDF4 or HDF5 file of a layer product; its first bytes say which.

    Raises:
        ValueError: neither of the two, or something in it is missing.
    """
    with path.open("rb") as opened:
        start = opened.read(4)
    wanted = (*_NAMES, _COUNT, _TOP)
    try:
        content = _read_hdf4(path, wanted) if start == _HDF4_MAGIC else _read_hdf5(path, wanted)
    except (HDF4Error, OSError, IndexError, KeyError) as exc:
        raise ValueError(f"{path.name}: {exc}, expected a CALIOP level-2 layer file") from None
    latitude, longitude, time = (_middle(content[name]) for name in _NAMES[:3])
    top = content[_TOP].astype(np.float64)
    return Profiles(
        latitude.astype(np.float64),
        longitude.astype(np.float64),
        _from_product_time(time),
        _middle(content[_COUNT]).astype(np.int64),
        np.where(top < -9000, np.nan, top),
        content["Feature_Classification_Flags"].astype(np.uint16),
    )


def _read_hdf4(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    file = SD(str(path), SDC.READ)
    try:
        return {name: np.asarray(file.select(name)[:]) for name in names}
    finally:
        file.end()


def _read_hdf5(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    with Dataset(path) as file:
        file.set_auto_maskandscale(False)
        return {name: np.asarray(file[name][:]) for name in names}


def _middle(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """The middle column: of one or of three."""
    return values.reshape(values.shape[0], -1)[:, (values[0].size - 1) // 2]


def _to_product_time(time_s: Array) -> Array:
    """Seconds since 1993 -> yymmdd.fraction of the day."""
    days = np.floor(time_s / 86400)
    dates = {day: EPOCH + timedelta(days=float(day)) for day in np.unique(days)}
    date = np.array([float(dates[day].strftime("%y%m%d")) for day in days])
    return date + (time_s / 86400 - days)


def _from_product_time(time: NDArray[np.generic]) -> Array:
    """yymmdd.fraction of the day -> seconds since 1993; NaN where it is not a date."""
    number = np.asarray(time, dtype=np.float64)
    days = np.floor(number)
    starts = {day: _seconds(int(day)) for day in np.unique(days)}
    return np.array([starts[day] for day in days]) + (number - days) * 86400


def _seconds(yymmdd: int) -> float:
    try:
        date = datetime.strptime(f"20{yymmdd:06d}", "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return float("nan")
    return (date - EPOCH).total_seconds()
