"""
Census of ocean eddies on one day, and its agreement with a published catalogue of that day.

By hand, with two local processes:

    python census.py --field F.nc --anticyclonic A.nc --cyclonic C.nc --out results

On a cluster, DASK_SCHEDULER_ADDRESS names the scheduler and the rest of Dask's configuration comes
from the environment; this folder must be on the PYTHONPATH of the workers.
"""

import argparse
import csv
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from distributed import Client, LocalCluster, as_completed

from agreement import Catalogue, Matches, match, read_catalogue, scores
from field import Array, FieldError, load_grid, okubo_weiss_sigma
from figures import Verified, draw_agreement, draw_map
from tiles import CONTOUR, OKUBO_WEISS, Criteria, Eddy, Tile, tile_grid

SIGNS = {1: "anticyclonic", -1: "cyclonic"}


class Rules(NamedTuple):
    """When a detection and a catalogue eddy may be the same; ratios without unit."""

    max_distance_ratio: float
    max_radius_ratio: float


def main() -> int:
    """Run the census; 0 when it ended well, 2 with one line on stderr when an input is wrong."""
    args = parse_arguments()
    try:
        criteria = Criteria(*(getattr(args, name) for name in Criteria._fields))
        catalogues = {1: read_catalogue(args.anticyclonic), -1: read_catalogue(args.cyclonic)}
        grid = load_grid(args.field, criteria.cutoff_km)
        eddies = detect(args.field, criteria, tile_grid(args.tiles, grid.lat.size, grid.lon.size))
    except FieldError as exc:
        print(f"census.py: {exc}", file=sys.stderr)
        return 2
    rules = Rules(args.max_distance_ratio, args.max_radius_ratio)
    verified = [
        verify(eddies, catalogues[sign], method, sign, criteria.tropics_deg, rules)
        for method in (CONTOUR, OKUBO_WEISS)
        for sign in SIGNS
    ]
    metrics = summarize(verified)
    sigma = okubo_weiss_sigma(grid, criteria.tropics_deg)
    metrics["okubo_weiss_sigma"] = {"value": float(f"{sigma:.6e}"), "unit": "s-2"}
    out = Path(args.out)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    write_eddies(out / "eddies.csv", verified)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    draw_map(out / "figures" / "map.png", grid, verified, criteria.tropics_deg)
    draw_agreement(out / "figures" / "agreement.png", verified)
    for name in ("contour_f1", "okubo_weiss_f1"):
        print(f"agreement with the catalogue: {name} = {metrics[name]}", flush=True)
    return 0


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def parse_arguments() -> argparse.Namespace:
    """Read the command line; odd values end the program with status 2 and one line."""
    parser = Parser(description=str(__doc__).strip().splitlines()[0])
    for name, text in (
        ("field", "NetCDF-4: adt (m), ugos and vgos (m/s) on a global regular grid"),
        ("anticyclonic", "catalogue of anticyclonic eddies, NetCDF-4"),
        ("cyclonic", "catalogue of cyclonic eddies, NetCDF-4"),
        ("out", "folder for metrics.json, eddies.csv and figures/"),
    ):
        parser.add_argument(f"--{name}", required=True, help=text)
    for name, default, text in (
        ("ow-threshold", 0.2, "k in W < -k sigma"),
        ("cutoff-km", 700.0, "wavelength of the high-pass filter, km"),
        ("level-step-m", 0.002, "distance between contour levels, m"),
        ("min-amplitude-m", 0.004, "least amplitude of a closed contour, m"),
        ("max-shape-error-percent", 55.0, "largest shape error, percent"),
        ("min-pixels", 5, "least number of grid pixels"),
        ("max-pixels", 1000, "largest number of grid pixels"),
        ("tropics-deg", 5.0, "half width of the band left out around the equator, degrees"),
        ("max-distance-ratio", 0.5, "centre distance over the catalogue's effective radius"),
        ("max-radius-ratio", 2.0, "larger over smaller radius"),
        ("tiles", 16, "number of tiles; the result does not depend on it"),
    ):
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    args = parser.parse_args()
    for name in ("cutoff_km", "level_step_m", "min_amplitude_m", "min_pixels", "max_radius_ratio"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name.replace('_', '-')}: expected more than 0")
    if not 1 <= args.tiles <= 256:
        parser.error(f"--tiles: expected 1 to 256, got {args.tiles}")
    return args


def detect(path: str, criteria: Criteria, tiles: list[Tile]) -> list[Eddy]:
    """
    Detect eddies, one task per tile, on the cluster of the environment or on two processes.

    Returns:
        All eddies, sorted, so that neither the tiles nor the order of completion show.
    """
    local = None
    if not os.environ.get("DASK_SCHEDULER_ADDRESS"):
        local = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    eddies: list[Eddy] = []
    with Client(local) if local else Client() as client:
        futures = [
            client.submit(run_tile, path, tuple(tile), tuple(criteria), key=f"tile-{number:03d}")
            for number, tile in enumerate(tiles)
        ]
        for done, (_, found) in enumerate(as_completed(futures, with_results=True), start=1):
            eddies += [Eddy(*values) for values in found]
            if done == len(tiles) or done % max(1, len(tiles) // 8) == 0:
                print(f"tiles {done}/{len(tiles)}, eddies {len(eddies)}", flush=True)
    if local:
        local.close()
    return sorted(eddies)


def run_tile(path: str, tile: tuple[Any, ...], criteria: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """
    Run `detect_tile` on a worker, with plain tuples in and out.

    The scheduler unpickles tasks too, and only workers are sure to have this folder on their path;
    so nothing here refers to its modules before the task runs.
    """
    from detection import detect_tile
    from tiles import Criteria, Tile

    return [tuple(eddy) for eddy in detect_tile(path, Tile(*tile), Criteria(*criteria))]


def verify(
    eddies: list[Eddy],
    catalogue: Catalogue,
    method: str,
    sign: int,
    tropics_deg: float,
    rules: Rules,
) -> Verified:
    """
    Match the eddies of one method and sign with the catalogue, under the same mask.

    The radius of a closed contour is compared with the effective radius, that of an Okubo-Weiss
    region with the speed radius.
    """
    chosen = [eddy for eddy in eddies if (eddy.method, eddy.sign) == (method, sign)]
    values = np.array([eddy[2:] for eddy in chosen], dtype=np.float64).reshape(-1, 4)
    detected = (values[:, 0], values[:, 1], values[:, 2])
    entries = np.flatnonzero(np.abs(catalogue.lat) >= tropics_deg)
    radius = catalogue.effective_radius if method == CONTOUR else catalogue.speed_radius
    published = (catalogue.lat[entries], catalogue.lon[entries], radius[entries])
    reach = rules.max_distance_ratio * catalogue.effective_radius[entries]
    pairs = match(detected, published, reach, rules.max_radius_ratio)
    return Verified(method, sign, chosen, detected, published, entries, pairs)


def summarize(verified: list[Verified]) -> dict[str, float | dict[str, float | str]]:
    """Metrics per method, flat, as written to metrics.json; all about agreement, not truth."""
    metrics: dict[str, float | dict[str, float | str]] = {}
    for method in (CONTOUR, OKUBO_WEISS):
        parts = [part for part in verified if part.method == method]
        matched = sum(part.pairs.detected.size for part in parts)
        n_detected = sum(part.detected[0].size for part in parts)
        n_published = sum(part.published[0].size for part in parts)
        for name, value in zip(
            ("precision", "recall", "f1"), scores(matched, n_detected, n_published), strict=True
        ):
            metrics[f"{method}_{name}"] = round(value, 6)
        error = np.concatenate([radius_difference(p.detected, p.published, p.pairs) for p in parts])
        distance = np.concatenate([part.pairs.distance_km for part in parts])
        for name, lengths in (
            ("median_radius_error", np.abs(error)),
            ("median_radius_bias", error),
            ("median_centre_distance", distance),
        ):
            length = round(float(np.median(lengths)), 4) if lengths.size else 0.0
            metrics[f"{method}_{name}"] = {"value": length, "unit": "km"}
        for part in parts:
            metrics[f"{method}_count_{SIGNS[part.sign]}"] = int(part.detected[0].size)
            metrics[f"catalogue_count_{SIGNS[part.sign]}"] = int(part.published[0].size)
    return metrics


def radius_difference(
    detected: tuple[Array, Array, Array], published: tuple[Array, Array, Array], pairs: Matches
) -> Array:
    """Radius of the detection less that of the catalogue, km, for each matched pair."""
    return np.asarray(detected[2][pairs.detected] - published[2][pairs.published])


def write_eddies(path: Path, verified: list[Verified]) -> None:
    """
    Write one row per eddy, ordered by method, sign, latitude and longitude.

    `catalogue_index` counts from 0 in the catalogue file of the row's sign; empty if not matched.
    """
    rows = []
    for part in verified:
        partner = dict(zip(part.pairs.detected, part.entries[part.pairs.published], strict=True))
        for number, eddy in enumerate(part.eddies):
            place = (f"{eddy.lat:.4f}", f"{eddy.lon:.4f}")
            size = (f"{eddy.radius_km:.3f}", f"{eddy.amplitude_m:.4f}")
            rows.append((eddy.method, SIGNS[eddy.sign], *place, *size, partner.get(number, "")))
    header = ["method", "sign", "lat", "lon", "radius_km", "amplitude_m", "catalogue_index"]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    sys.exit(main())
