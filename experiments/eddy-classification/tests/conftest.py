"""A small made-up ocean with eddies, in the layout of the real files."""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

from sea_level import Eddies, Field, load_eddies, load_field
from training import deterministic

STEP = 1.5  # degrees, so that the globe is 120 x 240 pixels
FILL = -2147483647


class Files(NamedTuple):
    """The three input files."""

    field: Path
    cyclonic: Path
    anticyclonic: Path


def write_field(path: Path, lat: np.ndarray, lon: np.ndarray, height: np.ndarray) -> None:
    """Write a field; its currents are differences of the height, not to scale."""
    with h5py.File(path, "w") as file:
        file["latitude"], file["longitude"] = lat.astype("f4"), lon.astype("f4")
        north, east = np.gradient(height)
        for name, values in (("adt", height), ("ugos", -north), ("vgos", east)):
            packed = np.where(np.isfinite(values), np.rint(np.nan_to_num(values) * 1e4), FILL)
            file[name] = packed[None].astype("i4")
            file[name].attrs["_FillValue"] = np.array([FILL], dtype="i4")
            file[name].attrs["scale_factor"] = np.array([1e-4])


def write_eddies(path: Path, lon: np.ndarray, lat: np.ndarray, radius_m: np.ndarray) -> None:
    """Write a catalogue of one sign."""
    with h5py.File(path, "w") as file:
        file["longitude"], file["latitude"] = lon.astype("f4"), lat.astype("f4")
        file["effective_radius"] = np.rint(radius_m / 50.0).astype("u2")
        file["effective_radius"].attrs["scale_factor"] = np.array([50.0])


@pytest.fixture(scope="session", autouse=True)
def _like_the_command() -> None:
    """Algorithms that repeat themselves, one thread."""
    deterministic(1)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Five hundred Gaussian eddies in an ocean with a continent and an island."""
    folder = tmp_path_factory.mktemp("ocean")
    rng = np.random.default_rng(4)
    lat, lon = np.arange(-90 + STEP / 2, 90, STEP), np.arange(STEP / 2, 360, STEP)
    height = 0.4 * np.sin(np.radians(2 * lat))[:, None] + np.zeros(lon.size)
    columns: dict[int, list[tuple[float, float, float]]] = {-1: [], 1: []}
    for number in range(500):
        at_lon, at_lat = rng.uniform(0, 360), rng.uniform(-60, 60)
        radius, sign = rng.uniform(150e3, 260e3), 1 if number % 2 else -1
        y = 111.2e3 * (lat - at_lat)[:, None]
        x = 111.2e3 * ((lon - at_lon + 180) % 360 - 180) * np.cos(np.radians(at_lat))
        height += sign * 0.3 * np.exp(-(x**2 + y**2) / (2 * (radius / 1.5) ** 2))
        columns[sign].append((at_lon, at_lat, radius))
    height[40:80, 70:90] = np.nan
    height[30:33, 200:204] = np.nan
    made = Files(folder / "field.nc", folder / "cyclonic.nc", folder / "anticyclonic.nc")
    write_field(made.field, lat, lon, height)
    write_eddies(made.cyclonic, *np.array(columns[-1]).T)
    write_eddies(made.anticyclonic, *np.array(columns[1]).T)
    return made


@pytest.fixture(scope="session")
def field(files: Files) -> Field:
    """The field, read back."""
    return load_field(files.field)


@pytest.fixture(scope="session")
def eddies(files: Files) -> Eddies:
    """The catalogue, read back."""
    return load_eddies(files.cyclonic, files.anticyclonic)
