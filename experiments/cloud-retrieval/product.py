"""The retrieved scene as a NetCDF file, and the test pixels as a table."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from netCDF4 import Dataset
from numpy.typing import NDArray

from bands import Array
from dataset import Patch, Samples

MASKED, CLEAR, LIQUID, ICE = -1, 0, 1, 2
MOST_ROWS = 8000


class Retrieval(NamedTuple):
    """Probabilities on the patch, (lines, pixels); NaN where masked, and of ice where clear."""

    cloud: Array
    ice: Array

    @property
    def classes(self) -> NDArray[np.int8]:
        """MASKED, CLEAR, LIQUID or ICE."""
        phase = np.where(self.ice >= 0.5, ICE, LIQUID)
        found = np.where(self.cloud >= 0.5, phase, CLEAR)
        return np.where(np.isnan(self.cloud), MASKED, found).astype(np.int8)


def place(patch: Patch, cloud: Array, ice: Array) -> Retrieval:
    """Put the probabilities of the usable pixels back to where they are."""
    whole = np.full((2, *patch.usable.shape), np.nan)
    whole[0][patch.usable] = cloud
    whole[1][patch.usable] = np.where(cloud >= 0.5, ice, np.nan)
    return Retrieval(whole[0], whole[1])


def write_scene(path: Path, patch: Patch, retrieval: Retrieval, data: str) -> None:
    """Write mask, phase and probabilities with the CF attributes of a swath."""
    with Dataset(path, "w") as file:
        file.setncatts(
            {
                "Conventions": "CF-1.11",
                "title": f"Cloud mask and phase by random forest from VIIRS M bands, {data}",
                "source": data,
            }
        )
        for name, size in zip(("line", "pixel"), patch.usable.shape, strict=True):
            file.createDimension(name, size)
        _write_places(file, patch)
        classes = retrieval.classes
        mask = np.where(classes == MASKED, MASKED, np.minimum(classes, 1))
        _write_classes(file, "cloud_mask", mask, "clear cloudy", (0, 1))
        phase = np.where(classes >= LIQUID, classes, MASKED)
        _write_classes(file, "cloud_phase", phase, "liquid ice", (LIQUID, ICE))
        for name, values in (("cloud", retrieval.cloud), ("ice", retrieval.ice)):
            variable = file.createVariable(
                f"{name}_probability", "f4", ("line", "pixel"), zlib=True, fill_value=np.nan
            )
            variable.setncatts({"long_name": f"probability of {name}", "units": "1"})
            variable.coordinates = "latitude longitude"
            variable[:] = values


def write_predictions(
    path: Path, parts: list[tuple[int, Samples]], cloud: Array, ice: Array
) -> None:
    """
    Write the test pixels: granule, lidar profile, labels and probabilities.

    Columns `ice` and `ice_probability` are empty where the lidar gives no sure phase. Of more than
    8000 pixels every second, third … is written.
    """
    rows, start = [], 0
    for number, samples in parts:
        for row in range(samples.cloud.size):
            phase = int(samples.phase[row])
            frozen = ("", "") if phase < 0 else (phase, f"{ice[start + row]:.3f}")
            sky = (int(samples.cloud[row]), f"{cloud[start + row]:.3f}")
            rows.append((number, int(samples.profile[row]), *sky, *frozen))
        start += samples.cloud.size
    step = -(-len(rows) // MOST_ROWS) or 1
    header = ["granule", "profile", "cloud", "cloud_probability", "ice", "ice_probability"]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows[::step]])


def _write_places(file: Dataset, patch: Patch) -> None:
    for name, values, unit in (
        ("latitude", patch.latitude, "degrees_north"),
        ("longitude", patch.longitude, "degrees_east"),
    ):
        variable = file.createVariable(name, "f4", ("line", "pixel"), zlib=True)
        variable.setncatts({"standard_name": name, "units": unit})
        variable[:] = values


def _write_classes(
    file: Dataset, name: str, values: NDArray[np.generic], meanings: str, numbers: tuple[int, ...]
) -> None:
    variable = file.createVariable(name, "i1", ("line", "pixel"), zlib=True, fill_value=MASKED)
    variable.setncatts(
        {
            "long_name": name.replace("_", " "),
            "flag_values": np.array(numbers, dtype=np.int8),
            "flag_meanings": meanings,
            "coordinates": "latitude longitude",
        }
    )
    variable[:] = values
