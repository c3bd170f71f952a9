"""
What CALIOP would report of a `Column`: cloud layers from the top down, until the beam is spent.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bands import Array
from flags import CLOUD, ICE, ORIENTED_ICE, WATER, Flags, pack_flags
from scene import Column, Scene

DETECTABLE = 0.06  # optical depth of a layer that is found in half of all cases by day at 1 km
SPENT = 3.0  # optical depth after which nothing below is seen
SLOTS = 10  # layers a profile of the 1 km product has room for


class Layers(NamedTuple):
    """Layers of all profiles, topmost first, (profiles, slots); altitude -9999 where empty."""

    top_km: Array
    flags: NDArray[np.uint16]


def observe(rng: np.random.Generator, scene: Scene, column: Column) -> Layers:
    """
    Layers and their classification in every profile.

    Thin layers are found or missed by chance; a layer of droplets and crystals gets the phase of
    the majority, with a quality that falls as the two come near each other.
    """
    profiles = column.surface_k.size
    top = np.full((profiles, SLOTS), -9999.0)
    words = np.zeros((profiles, SLOTS), dtype=np.uint16)
    found = np.zeros(profiles, dtype=np.int64)
    above = np.zeros(profiles)
    for number in range(len(scene.layers) - 1, -1, -1):
        depth = column.optical_depth[number]
        needed = DETECTABLE * np.exp(0.5 * rng.standard_normal(profiles))
        seen = (depth > needed) & (above < SPENT)
        ice = np.clip(column.ice_fraction[number] + rng.normal(0, 0.06, profiles), 0, 1)
        flags = _classify(rng, ice, depth / needed)
        at = (np.flatnonzero(seen), found[seen])
        words[at] = pack_flags(flags)[seen]
        top[at] = scene.layers[number].top_km + rng.normal(0, 0.06, at[0].size)
        found += seen
        above = above + depth
    return Layers(top, words)


def _classify(rng: np.random.Generator, ice: Array, strength: Array) -> Flags:
    """Flags of cloud layers from their share of ice and their depth over the detectable one."""
    shape = ice.shape
    phase = np.where(ice > 0.5, ICE, WATER)
    oriented = (ice > 0.9) & (rng.random(shape) < 0.02)
    sure = np.digitize(np.abs(ice - 0.5), [0.15, 0.3]) + 1
    known = np.digitize(strength, [1.3, 2.5]) + 1
    return Flags(
        np.full(shape, CLOUD, dtype=np.uint16),
        known.astype(np.uint16),
        np.where(oriented, ORIENTED_ICE, phase).astype(np.uint16),
        np.minimum(sure, known).astype(np.uint16),
    )
