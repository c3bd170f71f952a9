"""Reading the field and the catalogue; basins, masks and windows on the sphere."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from sea_level import (
    BASINS,
    Eddies,
    Field,
    SeaLevelError,
    basin,
    eddy_mask,
    load_eddies,
    load_field,
    window_sum,
)


def test_what_is_missing_is_no_ocean(field: Field) -> None:
    assert field.height.shape == (field.lat.size, field.lon.size) == (120, 240)
    assert np.isnan(field.height[50, 75])
    assert not field.ocean[50, 75]
    assert field.ocean[50, 120]
    assert 0.85 < field.ocean.mean() < 0.98
    assert np.nanmax(np.abs(field.height)) < 3  # a fill taken for a value would be -214748


def test_the_catalogue_has_both_signs_in_order(eddies: Eddies) -> None:
    assert eddies.sign.tolist() == [-1] * 250 + [1] * 250
    assert ((eddies.radius_m >= 149e3) & (eddies.radius_m <= 261e3)).all()
    assert ((eddies.lon >= 0) & (eddies.lon < 360)).all()


@pytest.mark.parametrize(
    ("lon", "lat", "name"),
    [
        (330, 30, "atlantic"), (5, -30, "atlantic"), (-40, 50, "atlantic"), (275, 25, "atlantic"),
        (75, 0, "indian"), (100, -40, "indian"), (25, -38, "indian"), (65, 20, "indian"),
        (200, 0, "pacific"), (-150, 40, "pacific"), (160, -50, "pacific"), (266, 10, "pacific"),
        (15, 38, ""), (113, 12, ""), (0, -75, ""), (180, 80, ""),
    ],
)  # fmt: skip
def test_places_are_in_the_basin_of_the_map(lon: float, lat: float, name: str) -> None:
    assert basin(lon, lat) == name


def test_no_place_is_in_two_basins() -> None:
    lon, lat = np.meshgrid(np.arange(0.125, 360, 0.5), np.arange(-89.875, 90, 0.5))
    counts = np.zeros(lon.shape, dtype=int)
    for boxes in BASINS.values():
        inside = np.zeros(lon.shape, dtype=bool)
        for west, east, south, north in boxes:
            inside |= ((lon - west) % 360 < east - west) & (lat >= south) & (lat < north)
        counts += inside
    assert counts.max() == 1
    assert ((basin(lon, lat) != "") == (counts == 1)).all()


def test_windows_count_across_the_seam() -> None:
    mask = np.random.default_rng(0).random((9, 12)) < 0.4
    counts = window_sum(mask, 4)
    assert counts.shape == (6, 12)
    for row, col in np.ndindex(counts.shape):
        rows, cols = np.arange(row, row + 4), np.arange(col, col + 4) % 12
        assert counts[row, col] == mask[np.ix_(rows, cols)].sum()


def test_an_eddy_is_a_disc_on_the_sphere_and_crosses_the_seam(field: Field) -> None:
    one = Eddies(*(np.array([value]) for value in (0.0, 60.0, 500e3, -1)))
    mask = eddy_mask(field, one)
    rows, cols = np.nonzero(mask)
    assert set(mask[rows, cols]) == {-1}
    east = (field.lon[cols] + 180) % 360 - 180
    assert east.min() == pytest.approx(-east.max())
    assert np.ptp(east) == pytest.approx(2 * np.ptp(field.lat[rows]), rel=0.25)  # cos 60° = 1/2
    area = (1.5 * 111.2e3) ** 2 * 0.5 * rows.size
    assert area == pytest.approx(np.pi * 500e3**2, rel=0.15)


def test_an_eddy_smaller_than_a_pixel_still_marks_one(field: Field) -> None:
    one = Eddies(*(np.array([value]) for value in (180.1, 0.3, 1e3, 1)))
    assert eddy_mask(field, one).sum() == 1


def test_files_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SeaLevelError, match="no such file"):
        load_field(tmp_path / "none.nc")
    text = tmp_path / "text.nc"
    text.write_text("lat, lon")
    with pytest.raises(SeaLevelError, match="not a readable NetCDF-4"):
        load_field(text)
    half = tmp_path / "half.nc"
    with h5py.File(half, "w") as file:
        file["longitude"], file["latitude"] = np.arange(0.0, 180.0), np.arange(-80.0, 81.0)
    with pytest.raises(SeaLevelError, match="no variable effective_radius; it has latitude, lon"):
        load_eddies(half, half)
    with h5py.File(half, "a") as file:
        for name in ("adt", "ugos", "vgos"):
            file[name] = np.zeros((161, 180))
    with pytest.raises(SeaLevelError, match="does not cover the whole circle"):
        load_field(half)
