"""The task that runs on a worker: all eddies one tile owns."""

from contours import closed_contours
from cores import vortex_cores
from field import load_grid
from tiles import Criteria, Eddy, Tile


def detect_tile(path: str, tile: Tile, criteria: Criteria) -> list[Eddy]:
    """
    Find the eddies a tile owns, by both methods and of both signs.

    Args:
        path: the field, read here, once per process.
        tile: the core.
        criteria: thresholds.

    Returns:
        Eddies in no particular order, centres poleward of `criteria.tropics_deg`.
    """
    grid = load_grid(path, criteria.cutoff_km)
    found = [eddy for sign in (1, -1) for eddy in closed_contours(grid, tile, sign, criteria)]
    found += vortex_cores(grid, tile, criteria)
    return [eddy for eddy in found if abs(eddy.lat) >= criteria.tropics_deg]
