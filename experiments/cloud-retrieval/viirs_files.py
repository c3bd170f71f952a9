"""
VNP02MOD and VNP03MOD granules: written in the products' layout, read from made-up or real ones.

The part of the layout that is written and read here:

    VNP02MOD  observation_data/M01 … M16                 uint16, (number_of_lines, number_of_pixels)
              observation_data/M12_brightness_temperature_lut … M16_…       float32, (65536,), K
    VNP03MOD  geolocation_data/latitude, longitude       float32, degrees
              geolocation_data/solar_zenith, …           int16, scale 0.01, degrees
              scan_line_attributes/scan_start_time       float64, (number_of_scans,), TAI93 seconds
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from netCDF4 import Dataset, Group
from numpy.typing import NDArray

from bands import BANDS, Array, Band, brightness_temperature, planck
from swath import DETECTORS, Angles

FILL, MISSING, BOWTIE, FAILED = 65535, 65532, 65533, 65534
VALID_MAX = 65527
REFLECTANCE_SCALE = 1.9991758e-05
ANGLE_FILL = -32768
PLACE_FILL = -999.9
ANGLES = ("sensor_zenith", "sensor_azimuth", "solar_zenith", "solar_azimuth")
SYNTHETIC = "synthetic"


class Imagery(NamedTuple):
    """
    A VNP02MOD file.

    Attributes:
        counts: (16, lines, pixels) as stored, with the codes for what is missing.
        tables: of each band count -> physical value, (65536,); NaN where the count is no value.
        synthetic: True when the file says that it was made up.
    """

    counts: NDArray[np.uint16]
    tables: Array
    synthetic: bool


class Geolocation(NamedTuple):
    """A VNP03MOD file, (lines, pixels); NaN where filled. `time_s`: TAI93, NaN where not given."""

    latitude: Array
    longitude: Array
    angles: Angles
    time_s: Array


def encode(values: Array, band: Band) -> NDArray[np.uint16]:
    """Counts of reflectances or radiances; what the band cannot hold is cut to its range."""
    counts = np.rint(values / _scale(band))
    return np.clip(counts, 0, VALID_MAX).astype(np.uint16)


def write_imagery(path: Path, counts: NDArray[np.uint16], title: str) -> None:
    """Write counts (16, lines, pixels) as a VNP02MOD file that calls itself synthetic."""
    with Dataset(path, "w") as file:
        file.setncatts({"title": title, "source": SYNTHETIC, "platform": "Suomi-NPP"})
        group = file.createGroup("observation_data")
        _dimensions(file, counts.shape[1:])
        file.createDimension("number_of_LUT_values", 65536)
        for band, layer in zip(BANDS, counts, strict=True):
            variable = _variable(group, band.name, "u2", FILL)
            variable.setncatts(
                {
                    "long_name": f"{band.name} earth view",
                    "valid_min": np.uint16(0),
                    "valid_max": np.uint16(VALID_MAX),
                    "scale_factor": np.float32(_scale(band)),
                    "add_offset": np.float32(0),
                    "flag_values": np.array([MISSING, BOWTIE, FAILED], dtype=np.uint16),
                    "flag_meanings": "Missing_EV Bowtie_Deleted Cal_Fail",
                }
            )
            variable[:] = layer
            if band.emissive:
                variable.units = "Watts/meter^2/steradian/micrometer"
                _write_table(group, band)


def write_geolocation(path: Path, place: Geolocation, title: str) -> None:
    """Write positions, angles and the start of each scan as a VNP03MOD file."""
    with Dataset(path, "w") as file:
        file.setncatts({"title": title, "source": SYNTHETIC, "platform": "Suomi-NPP"})
        _dimensions(file, place.latitude.shape)
        group = file.createGroup("geolocation_data")
        for name, values in (("latitude", place.latitude), ("longitude", place.longitude)):
            variable = _variable(group, name, "f4", PLACE_FILL)
            variable.units = "degrees_north" if name == "latitude" else "degrees_east"
            variable[:] = np.where(np.isnan(values), PLACE_FILL, values)
        for name in ANGLES:
            variable = _variable(group, name, "i2", ANGLE_FILL)
            variable.setncatts({"scale_factor": np.float32(0.01), "add_offset": np.float32(0)})
            variable.units = "degrees"
            angle = getattr(place.angles, name)
            variable[:] = np.where(np.isnan(angle), ANGLE_FILL, np.rint(angle * 100))
        scans = file.createGroup("scan_line_attributes")
        start = scans.createVariable("scan_start_time", "f8", ("number_of_scans",))
        start.setncatts({"long_name": "Scan start time (TAI93)", "units": "seconds"})
        start[:] = place.time_s[::DETECTORS, 0]


def read_imagery(path: Path) -> Imagery:
    """
    Read a VNP02MOD file.

    Raises:
        ValueError: a band is missing, or stored in another type than the product's.
    """
    with Dataset(path) as file:
        file.set_auto_maskandscale(False)
        try:
            group = file["observation_data"]
            counts = np.stack([np.asarray(group[band.name][:]) for band in BANDS])
            tables = np.stack([_table(group, band) for band in BANDS])
        except (IndexError, KeyError) as exc:
            raise ValueError(f"{path.name}: {exc}, expected the bands M01 to M16") from None
        if counts.dtype != np.uint16:
            raise ValueError(f"{path.name}: got {counts.dtype} bands, expected uint16")
        return Imagery(counts, tables, getattr(file, "source", "") == SYNTHETIC)


def read_geolocation(path: Path) -> Geolocation:
    """
    Read a VNP03MOD file.

    Raises:
        ValueError: a position or an angle is missing.
    """
    with Dataset(path) as file:
        file.set_auto_maskandscale(False)
        try:
            group = file["geolocation_data"]
            latitude, longitude = (_floats(group[name]) for name in ("latitude", "longitude"))
            angles = Angles(*(_floats(group[name]) for name in ANGLES))
        except (IndexError, KeyError) as exc:
            raise ValueError(f"{path.name}: {exc}, expected the geolocation_data") from None
        time_s: Array = np.full(latitude.shape, np.nan)
        scans = file.groups.get("scan_line_attributes")
        if scans is not None and "scan_start_time" in scans.variables:
            start = np.asarray(scans["scan_start_time"][:], dtype=np.float64)
            start = np.where(start > 0, start, np.nan)
            time_s.T[:] = np.repeat(start, DETECTORS)[: len(latitude)]
    return Geolocation(latitude, longitude, angles, time_s)


def complete(counts: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Where all bands have a value: neither fill nor one of the codes above the valid range."""
    return np.asarray((counts <= VALID_MAX).all(axis=0))


def _scale(band: Band) -> float:
    """What one count is worth; the product's own number is a float32."""
    scale = REFLECTANCE_SCALE
    if band.emissive:
        scale = float(planck(band.hottest_k, band.wavelength_um)) / VALID_MAX
    return float(np.float32(scale))


def _dimensions(file: Dataset, shape: tuple[int, ...]) -> None:
    file.createDimension("number_of_scans", shape[0] // DETECTORS)
    file.createDimension("number_of_lines", shape[0])
    file.createDimension("number_of_pixels", shape[1])


def _variable(group: Group, name: str, kind: str, fill: float) -> "Dataset.Variable":  # type: ignore[name-defined]
    size = ("number_of_lines", "number_of_pixels")
    variable = group.createVariable(name, kind, size, zlib=True, complevel=1, fill_value=fill)
    variable.set_auto_maskandscale(False)
    return variable


def _write_table(group: Group, band: Band) -> None:
    name = f"{band.name}_brightness_temperature_lut"
    table = group.createVariable(
        name, "f4", ("number_of_LUT_values",), zlib=True, complevel=1, fill_value=PLACE_FILL
    )
    radiance = np.maximum(np.arange(VALID_MAX + 1), 0.5) * _scale(band)
    table.units = "Kelvin"
    table[:] = np.full(65536, PLACE_FILL)
    table[: VALID_MAX + 1] = brightness_temperature(radiance, band.wavelength_um)


def _table(group: Group, band: Band) -> Array:
    """Physical value of every count a band can have."""
    table: Array
    if band.emissive:
        variable = group[f"{band.name}_brightness_temperature_lut"]
        table = np.asarray(variable[:], dtype=np.float64)
        table[table == np.float64(np.float32(variable.getncattr("_FillValue")))] = np.nan
    else:
        variable = group[band.name]
        scale, offset = (float(variable.getncattr(key)) for key in ("scale_factor", "add_offset"))
        table = np.asarray(np.arange(65536) * scale + offset, dtype=np.float64)
    table[VALID_MAX + 1 :] = np.nan
    return table


def _floats(variable: "Dataset.Variable") -> Array:  # type: ignore[name-defined]
    """Unscaled values with NaN for fill."""
    stored = np.asarray(variable[:])
    attributes = variable.__dict__
    values = stored * float(attributes.get("scale_factor", 1.0))
    values = values + float(attributes.get("add_offset", 0.0))
    return np.where(stored == attributes.get("_FillValue"), np.nan, values)
