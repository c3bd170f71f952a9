"""The made-up Earth behaves like the real one where it matters for mask and phase."""

import numpy as np
import pytest

from bands import BANDS, Array, brightness_temperature
from fields import Grid, power_law
from flags import ICE, WATER, unpack_flags
from lidar import observe
from radiation import measure, two_stream
from scene import Column, Layer, Scene
from swath import Angles

NAMES = [band.name for band in BANDS]
ANGLES = Angles(*(np.array([value]) for value in (20.0, 30.0, 35.0, 160.0)))
EMPTY = np.zeros((2, 2))


def scene_with(top_km: float) -> Scene:
    layers = tuple(Layer(EMPTY, top, EMPTY, 1.0) for top in (1.5, 5.0, top_km))
    return Scene(
        Grid(0, 0, (2, 2)), EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, 290.0, 2.0, 14.0, (0.0, 0.0), layers
    )


def column(
    depths: tuple[float, float, float] = (0, 0, 0),
    ice: tuple[float, float, float] = (0, 0, 1),
    land: float = 0.0,
    snow: float = 0.0,
    surface_k: float = 290.0,
) -> Column:
    one = np.ones(1)
    return Column(
        land * one, snow * one, 0.3 * one, 0.05 * one, surface_k * one,
        tuple(depth * one for depth in depths), tuple(share * one for share in ice),
    )  # fmt: skip


def seen(what: Column, top_km: float = 11.0) -> dict[str, float]:
    """Reflectance over the cosine of the Sun's zenith angle, and brightness temperature."""
    values = measure(scene_with(top_km), what, ANGLES)[:, 0]
    cosine = np.cos(np.radians(ANGLES.solar_zenith[0]))
    return {
        band.name: float(
            brightness_temperature(value, band.wavelength_um) if band.emissive else value / cosine
        )
        for band, value in zip(BANDS, values, strict=True)
    }


def test_clouds_are_bright_and_cold_over_the_sea() -> None:
    clear, cloud = seen(column()), seen(column((10, 0, 0)))
    assert clear["M07"] < 0.06 < 0.3 < cloud["M07"] < 1
    assert cloud["M15"] < clear["M15"] - 3


def test_snow_is_bright_in_the_visible_and_dark_at_1_6_um_and_water_cloud_is_not() -> None:
    snow = seen(column(land=1, snow=1, surface_k=262))
    cloud = seen(column((15, 0, 0)))
    assert snow["M05"] > 0.8 > 0.3 > snow["M10"]
    assert cloud["M10"] > 0.4


@pytest.mark.parametrize("name", ["M10", "M11", "M12"])
def test_ice_absorbs_more_than_water_in_the_shortwave_infrared(name: str) -> None:
    water, ice = seen(column((0, 20, 0))), seen(column((0, 20, 0), (0, 1, 1)))
    assert ice[name] < 0.9 * water[name] if name != "M12" else ice[name] < water[name] - 5
    assert ice["M05"] == pytest.approx(water["M05"], abs=0.15)


def test_only_high_cloud_shows_at_1_38_um() -> None:
    clear, low, cirrus = (seen(column(depth)) for depth in ((0, 0, 0), (20, 0, 0), (0, 0, 0.5)))
    assert max(clear["M09"], low["M09"]) < 0.01 < 0.02 < cirrus["M09"]


def test_thin_cirrus_has_a_split_window_difference_and_thick_ice_has_none() -> None:
    clear, thin, thick = (seen(column(depth)) for depth in ((0, 0, 0), (0, 0, 1), (0, 0, 40)))
    split = [what["M15"] - what["M16"] for what in (clear, thin, thick)]
    assert split[1] > split[0] + 1
    assert abs(split[2]) < 0.5


def test_ice_is_warmer_at_8_6_than_at_11_um_and_water_is_not() -> None:
    ice, water = seen(column((0, 0, 1.5))), seen(column((1.5, 0, 0)))
    assert ice["M14"] - ice["M15"] > water["M14"] - water["M15"] + 2


def test_an_opaque_cloud_has_the_temperature_of_its_top() -> None:
    scene = scene_with(11.0)
    assert seen(column((0, 0, 60)))["M15"] == pytest.approx(scene.temperature(11.0), abs=0.5)


@pytest.mark.parametrize("coalbedo", [1e-7, 0.01, 0.3])
def test_a_layer_neither_makes_nor_loses_light(coalbedo: float) -> None:
    depth = np.array([0.0, 0.1, 1.0, 10.0, 100.0])
    r, t = two_stream(depth, np.full(5, coalbedo), np.full(5, 0.85))
    assert (np.diff(r) > 0).all()
    assert (np.diff(t) < 0).all()
    lost = 1 - r - t
    if coalbedo < 1e-6:
        np.testing.assert_allclose(lost, 0, atol=2e-4)
    else:
        assert lost[0] == pytest.approx(0, abs=1e-9)
        assert (lost[1:] > 0).all()


def lidar(*depths: Array, ice: tuple[float, float, float] = (0, 0, 1)) -> tuple[Array, Array]:
    size = depths[0].size
    what = Column(
        *(np.zeros(size) for _ in range(5)), depths, tuple(np.full(size, share) for share in ice)
    )
    layers = observe(np.random.default_rng(1), scene_with(11.0), what)
    return (layers.top_km > -9000).sum(axis=1), unpack_flags(layers.flags).phase[:, 0]


def test_the_lidar_sees_from_above_until_it_is_spent() -> None:
    zero, thick = np.zeros(200), np.full(200, 10.0)
    found, phase = lidar(thick, zero, np.full(200, 1.0))
    assert (found == 2).all()
    assert (phase != WATER).all()
    found, phase = lidar(thick, zero, thick)
    assert (found == 1).all()
    found, phase = lidar(thick, zero, zero)
    assert (phase == WATER).all()


def test_the_lidar_misses_the_thinnest_layers() -> None:
    zero = np.zeros(2000)
    found, _ = lidar(zero, zero, np.full(2000, 0.06))
    assert found.mean() == pytest.approx(0.5, abs=0.05)
    assert lidar(zero, zero, np.full(2000, 0.001))[0].sum() == 0
    assert (lidar(zero, zero, np.full(2000, 1.0))[1] == ICE).mean() > 0.95


def test_fields_have_the_asked_moments_and_smoothness() -> None:
    rough = power_law(np.random.default_rng(1), (200, 150), 1.0)
    smooth = power_law(np.random.default_rng(1), (200, 150), 3.0)
    for field in (rough, smooth):
        assert field.shape == (200, 150)
        assert (field.mean(), field.std()) == pytest.approx((0, 1), abs=1e-9)
    assert np.diff(smooth, axis=0).std() < 0.5 * np.diff(rough, axis=0).std()


def test_sampling_is_bilinear_in_kilometres() -> None:
    field = np.array([[0.0, 1.0], [2.0, 3.0]])
    value = Grid(-5.0, 10.0, (2, 2)).sample(field, np.array([-4.5]), np.array([10.25]))
    assert value[0] == pytest.approx(1.25)
