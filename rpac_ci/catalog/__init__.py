"""
The machines of the clouds: what each offers, what it costs, and which one serves a need.

`aws.yaml` and `azure.yaml` are curated lists with their sources and dates (`files.py` reads and
writes them, `refresh.py` brings them up to date). `choosing.py` finds the machine for an
experiment's resources; `machines.py` has the values and says how alike two machines are. A price
that is not in a file is not known, and never guessed.
"""

from __future__ import annotations

from rpac_ci.catalog.choosing import Choice, choose
from rpac_ci.catalog.files import CLOUDS, load
from rpac_ci.catalog.machines import (
    USABLE_MEMORY,
    Catalog,
    Grade,
    Machine,
    Price,
    TrafficPrices,
    fidelity,
    price,
    usd,
)

__all__ = [
    "CLOUDS",
    "USABLE_MEMORY",
    "Catalog",
    "Choice",
    "Grade",
    "Machine",
    "Price",
    "TrafficPrices",
    "choose",
    "fidelity",
    "load",
    "price",
    "usd",
]
