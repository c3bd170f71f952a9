"""CALIOP files: the bits of the flags, times, labels, HDF4 and HDF5."""

from pathlib import Path

import numpy as np
import pytest
from netCDF4 import Dataset

from caliop_files import (
    CLEAR,
    CLOUDY,
    FROZEN,
    LIQUID,
    NO_PHASE,
    UNCERTAIN,
    Profiles,
    label,
    read_profiles,
    stored,
    write_profiles,
)
from flags import Flags, pack_flags, unpack_flags

DAY_S = 7790 * 86400.0  # 1 May 2014


def flags(kind: int, kind_qa: int, phase: int, phase_qa: int) -> int:
    return kind + (kind_qa << 3) + (phase << 5) + (phase_qa << 7)


def profiles(*words: list[int], tops: list[list[float]] | None = None) -> Profiles:
    table = np.zeros((len(words), 10), dtype=np.uint16)
    heights = np.full((len(words), 10), np.nan)
    for row, layers in enumerate(words):
        table[row, : len(layers)] = layers
        heights[row, : len(layers)] = tops[row] if tops else np.arange(len(layers), 0, -1)
    number = np.arange(len(words), dtype=float)
    found = np.array([len(layers) for layers in words])
    return Profiles(10 + number / 100, -20 - number / 100, DAY_S + number, found, heights, table)


def write_hdf5(path: Path, content: Profiles) -> None:
    with Dataset(path, "w") as file:
        for name, values in stored(content).items():
            for size in values.shape:
                if f"n{size}" not in file.dimensions:
                    file.createDimension(f"n{size}", size)
            sizes = tuple(f"n{size}" for size in values.shape)
            file.createVariable(name, values.dtype, sizes)[:] = values


def test_each_field_has_the_bits_of_the_product() -> None:
    # bits 1-3, 4-5, 6-7, 8-9 of the guide; what lies above belongs to other fields
    assert unpack_flags(np.array([0b111])) == Flags([7], [0], [0], [0])
    assert unpack_flags(np.array([0b11000])) == Flags([0], [3], [0], [0])
    assert unpack_flags(np.array([0b1100000])) == Flags([0], [0], [3], [0])
    assert unpack_flags(np.array([0b110000000])) == Flags([0], [0], [0], [3])
    assert unpack_flags(np.array([0b1111111000000000], dtype=np.uint16)) == Flags(
        [0], [0], [0], [0]
    )


def test_packing_and_unpacking_are_inverse_for_every_value() -> None:
    words = np.arange(512, dtype=np.uint16)
    np.testing.assert_array_equal(pack_flags(unpack_flags(words)), words)


@pytest.mark.parametrize(
    ("layers", "cloud", "phase"),
    [
        ([], CLEAR, NO_PHASE),
        ([flags(2, 3, 2, 3)], CLOUDY, LIQUID),
        ([flags(2, 3, 1, 3)], CLOUDY, FROZEN),
        ([flags(2, 2, 3, 2)], CLOUDY, FROZEN),  # horizontally oriented crystals
        ([flags(2, 3, 0, 0)], CLOUDY, NO_PHASE),
        ([flags(2, 3, 1, 1)], CLOUDY, NO_PHASE),  # the phase is not sure
        ([flags(2, 1, 1, 3)], UNCERTAIN, NO_PHASE),  # the cloud is not sure
        ([flags(3, 3, 0, 0)], CLEAR, NO_PHASE),  # aerosol is no cloud
        ([flags(4, 3, 0, 0), flags(2, 3, 2, 3)], CLOUDY, LIQUID),
        ([flags(2, 1, 1, 3), flags(2, 3, 2, 3)], CLOUDY, LIQUID),  # the sure layer counts
    ],
)
def test_labels(layers: list[int], cloud: int, phase: int) -> None:
    labels = label(profiles(layers), 2)
    assert (labels.cloud[0], labels.phase[0]) == (cloud, phase)


def test_the_phase_is_that_of_the_highest_layer_wherever_it_stands() -> None:
    content = profiles([flags(2, 3, 2, 3), flags(2, 3, 1, 3)], tops=[[2.0, 11.0]])
    labels = label(content, 2)
    assert (labels.phase[0], labels.top_km[0]) == (FROZEN, 11.0)


def test_what_stands_in_slots_beyond_the_number_found_is_not_read() -> None:
    content = profiles([flags(2, 3, 2, 3)])._replace(layers=np.array([0]))
    assert label(content, 2).cloud[0] == CLEAR


@pytest.mark.parametrize("kind", ["HDF4", "HDF5"])
def test_files_come_back_as_they_were_written(tmp_path: Path, kind: str) -> None:
    content = profiles([flags(2, 3, 2, 3)], [], [flags(2, 3, 1, 3), flags(2, 2, 2, 2)])
    path = tmp_path / "CAL_LID_L2_01kmCLay.hdf"
    if kind == "HDF4":
        write_profiles(path, content, "synthetic")
    else:
        write_hdf5(path, content)
    read = read_profiles(path)
    np.testing.assert_array_equal(read.words, content.words)
    np.testing.assert_array_equal(read.layers, content.layers)
    np.testing.assert_allclose(read.top_km, content.top_km, rtol=1e-6)
    np.testing.assert_allclose(read.latitude, content.latitude, rtol=1e-6)
    np.testing.assert_allclose(read.time_s, content.time_s, atol=0.01)


def test_the_date_is_that_of_the_product(tmp_path: Path) -> None:
    path = tmp_path / "file.hdf"
    write_profiles(path, profiles([]), "synthetic")
    content = stored(profiles([])._replace(time_s=np.array([DAY_S + 43200])))
    assert content["Profile_UTC_Time"][0, 0] == 140501.5
    assert read_profiles(path).time_s[0] == pytest.approx(DAY_S, abs=0.01)


def test_of_three_positions_a_profile_the_middle_one_is_taken(tmp_path: Path) -> None:
    content = profiles([], [])
    arrays = stored(content)
    path = tmp_path / "CAL_LID_L2_05kmMLay.h5"
    with Dataset(path, "w") as file:
        for name, size in (("n", 2), ("one", 1), ("three", 3), ("slots", 10)):
            file.createDimension(name, size)
        for name, values in arrays.items():
            columns = {1: "one", 10: "slots"}[values.shape[1]]
            if name in ("Latitude", "Longitude", "Profile_UTC_Time"):
                columns = "three"
                values = values + np.array([[-0.02, 0.0, 0.02]], dtype=values.dtype)
            file.createVariable(name, values.dtype, ("n", columns))[:] = values
    read = read_profiles(path)
    np.testing.assert_allclose(read.latitude, content.latitude, rtol=1e-6)
    np.testing.assert_allclose(read.time_s, content.time_s, atol=0.01)


@pytest.mark.parametrize("content", [b"", b"text", b"\x0e\x03\x13\x01 cut short"])
def test_what_is_no_such_file_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.hdf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.hdf: .*expected a CALIOP"):
        read_profiles(path)
