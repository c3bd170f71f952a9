"""VIIRS files: scaled values, look-up tables, fill values; the geometry of the swath."""

from pathlib import Path

import numpy as np
import pytest
from netCDF4 import Dataset

import swath
import viirs_files
from bands import BANDS, brightness_temperature, planck
from granule import Files


def test_files_have_the_layout_of_the_products(files: Files) -> None:
    with Dataset(files.imagery) as file:
        file.set_auto_maskandscale(False)
        group = file["observation_data"]
        for band in BANDS:
            variable = group[band.name]
            assert variable.dtype == np.uint16
            assert variable.dimensions == ("number_of_lines", "number_of_pixels")
            assert variable.getncattr("_FillValue") == 65535
            assert variable.valid_max == 65527
            assert (f"{band.name}_brightness_temperature_lut" in group.variables) is band.emissive
    with Dataset(files.geolocation) as file:
        file.set_auto_maskandscale(False)
        for name in viirs_files.ANGLES:
            variable = file["geolocation_data"][name]
            assert variable.dtype == np.int16
            assert variable.scale_factor == pytest.approx(0.01)
    assert "synthetic" in files.imagery.name


@pytest.mark.parametrize("number", range(16), ids=lambda number: BANDS[number].name)
def test_a_value_survives_being_stored(files: Files, number: int) -> None:
    band = BANDS[number]
    table = viirs_files.read_imagery(files.imagery).tables[number]
    if band.emissive:
        temperature = np.array([250.0, 280.0, 300.0])
        counts = viirs_files.encode(planck(temperature, band.wavelength_um), band)
        # M13 reaches to 634 K, so that a count is worth more where it is cold
        np.testing.assert_allclose(table[counts], temperature, atol=1.5 if number == 12 else 0.1)
    else:
        reflectance = np.array([0.0, 0.02, 0.5, 1.2])
        counts = viirs_files.encode(reflectance, band)
        np.testing.assert_allclose(table[counts], reflectance, atol=2e-5)


def test_planck_and_its_inverse() -> None:
    assert float(planck(300.0, 10.763)) == pytest.approx(9.68, rel=0.01)  # W m-2 sr-1 µm-1
    assert brightness_temperature(planck(231.5, 3.7), 3.7) == pytest.approx(231.5)


@pytest.mark.parametrize("code", [65535, 65532, 65533, 65534, 65528])
def test_no_code_above_the_valid_range_is_ever_a_value(files: Files, code: int) -> None:
    imagery = viirs_files.read_imagery(files.imagery)
    assert np.isnan(imagery.tables[:, code]).all()
    counts = np.zeros((16, 2, 2), dtype=np.uint16)
    counts[5, 1, 0] = code
    expected = [[True, True], [False, True]]
    np.testing.assert_array_equal(viirs_files.complete(counts), expected)


def test_the_made_up_granules_have_fill_values_of_every_kind(folder: Path) -> None:
    counts = [viirs_files.read_imagery(path).counts for path in folder.glob("VNP02MOD*")]
    found = {int(code) for part in counts for code in np.unique(part[part > 65527])}
    assert found == {viirs_files.MISSING, viirs_files.BOWTIE, viirs_files.FAILED}


def test_filled_angles_and_places_are_not_numbers(files: Files, tmp_path: Path) -> None:
    place = viirs_files.read_geolocation(files.geolocation)
    place.latitude[0, 0] = np.nan
    place.angles.solar_zenith[1, 1] = np.nan
    viirs_files.write_geolocation(tmp_path / "VNP03MOD.nc", place, "synthetic")
    again = viirs_files.read_geolocation(tmp_path / "VNP03MOD.nc")
    assert np.isnan(again.latitude[0, 0])
    assert np.isnan(again.angles.solar_zenith[1, 1])
    assert np.isfinite(again.latitude).sum() == again.latitude.size - 1
    np.testing.assert_allclose(again.time_s, place.time_s)


def test_a_missing_band_is_named(tmp_path: Path) -> None:
    with Dataset(tmp_path / "VNP02MOD.nc", "w") as file:
        file.createGroup("observation_data")
    with pytest.raises(ValueError, match=r"VNP02MOD\.nc: M01 .*expected the bands M01 to M16"):
        viirs_files.read_imagery(tmp_path / "VNP02MOD.nc")


def test_the_line_is_that_of_the_m_bands() -> None:
    angles = swath.scan_angles()
    assert angles.size == 3200
    assert angles[0] == pytest.approx(-56.28, abs=0.02)
    np.testing.assert_allclose(angles, -angles[::-1], atol=1e-9)
    assert angles[639] < -44.85 < angles[640]  # where two samples begin to make a pixel
    assert angles[1007] < -31.7 < angles[1008]  # and where three
    assert swath.sensor_zenith(angles[-1:])[0] == pytest.approx(70.0, abs=0.5)


def test_bowtie_deletion_takes_four_two_and_no_lines_of_a_scan() -> None:
    deleted = swath.bowtie_deleted(np.array([0, 639, 640, 1007, 1008, 1600, 3199]))
    assert deleted.sum(axis=0).tolist() == [4, 4, 2, 2, 0, 0, 4]
    assert deleted[[0, 1, 14, 15], 0].all()


def test_scans_touch_at_nadir_and_overlap_at_the_edge() -> None:
    along, across = swath.ground_positions(2, np.array([0, 1600]))
    gap = along[16] - along[15]
    assert gap[1] == pytest.approx(0.75, abs=0.01)
    assert gap[0] < -8
    assert across[0, 0] == pytest.approx(-1528, abs=10)  # half of the swath, km


def test_angles_are_those_of_the_sphere() -> None:
    frame = swath.frame_at(0.0, 0.0, 0.0)  # northwards over the equator
    columns = np.array([100, 3099])
    along, _ = swath.ground_positions(1, columns)
    sun = swath.unit_vectors(0.0, 40.0)
    angles = swath.view_angles(frame, along, columns, sun)
    # left of the track is west: from there the satellite is in the east, as the Sun is
    assert angles.sensor_azimuth[8, 0] == pytest.approx(90, abs=1)
    assert angles.sensor_azimuth[8, 1] == pytest.approx(-90, abs=1)
    np.testing.assert_allclose(angles.solar_azimuth[8], 90, atol=1)
    assert angles.solar_zenith[8, 0] > 40 > angles.solar_zenith[8, 1]
    np.testing.assert_allclose(angles.sensor_zenith[8, 0], angles.sensor_zenith[8, 1])
