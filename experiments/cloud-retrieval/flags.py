"""Feature_Classification_Flags of the CALIOP level-2 layer products, bit by bit."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CLOUD = 2  # feature type
ICE, WATER, ORIENTED_ICE = 1, 2, 3  # ice-water phase


class Flags(NamedTuple):
    """Four fields of Feature_Classification_Flags, as unsigned numbers."""

    feature_type: NDArray[np.uint16]
    feature_type_qa: NDArray[np.uint16]
    phase: NDArray[np.uint16]
    phase_qa: NDArray[np.uint16]


# lowest bit counted from 0, and width; the product's guide counts bits from 1
_FIELDS = {"feature_type": (0, 3), "feature_type_qa": (3, 2), "phase": (5, 2), "phase_qa": (7, 2)}


def pack_flags(flags: Flags) -> NDArray[np.uint16]:
    """Put the fields into the product's 16-bit words: bits 1-3, 4-5, 6-7 and 8-9."""
    word = np.zeros(np.shape(flags.feature_type), dtype=np.uint16)
    for name, (lowest, width) in _FIELDS.items():
        value = np.asarray(getattr(flags, name), dtype=np.uint16)
        word |= (value & ((1 << width) - 1)) << lowest
    return word


def unpack_flags(words: NDArray[np.uint16]) -> Flags:
    """Take the fields out of the product's 16-bit words."""
    words = np.asarray(words, dtype=np.uint16)
    parts = {
        name: np.asarray((words >> lowest) & ((1 << width) - 1), dtype=np.uint16)
        for name, (lowest, width) in _FIELDS.items()
    }
    return Flags(**parts)
