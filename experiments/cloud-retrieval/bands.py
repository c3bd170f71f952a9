"""The sixteen M bands of VIIRS, and Planck's law."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# W µm4 m-2 sr-1 and µm K, so that radiance is in W m-2 sr-1 µm-1
C1 = 1.191042972e8
C2 = 1.438776877e4


class Band(NamedTuple):
    """One band; a band of 3 µm and more is stored as radiance, a shorter one as reflectance."""

    name: str
    wavelength_um: float
    hottest_k: float = 0.0  # brightness temperature at which an emissive band saturates

    @property
    def emissive(self) -> bool:
        """True when the product has a brightness temperature for this band."""
        return self.wavelength_um > 3.0


BANDS = (
    Band("M01", 0.412),
    Band("M02", 0.445),
    Band("M03", 0.488),
    Band("M04", 0.555),
    Band("M05", 0.672),
    Band("M06", 0.746),
    Band("M07", 0.865),
    Band("M08", 1.240),
    Band("M09", 1.378),
    Band("M10", 1.610),
    Band("M11", 2.250),
    Band("M12", 3.700, 353.0),
    Band("M13", 4.050, 634.0),
    Band("M14", 8.550, 336.0),
    Band("M15", 10.763, 343.0),
    Band("M16", 12.013, 340.0),
)


def planck(temperature_k: Array | float, wavelength_um: float) -> Array:
    """Radiance of a black body, W m-2 sr-1 µm-1."""
    hot = np.expm1(C2 / (wavelength_um * np.asarray(temperature_k)))
    return np.asarray(C1 / (wavelength_um**5 * hot))


def brightness_temperature(radiance: Array, wavelength_um: float) -> Array:
    """Temperature (K) of the black body with this radiance (W m-2 sr-1 µm-1, more than 0)."""
    return np.asarray(C2 / (wavelength_um * np.log1p(C1 / (wavelength_um**5 * radiance))))
