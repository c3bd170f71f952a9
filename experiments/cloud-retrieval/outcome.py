"""Test the forests on the granules that were held out, and write everything there is to see."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset import Patch, Samples, Tally, join
from figures import draw_scene, draw_scores
from forest import Forest
from product import place, write_predictions, write_scene
from scores import Result, score

# what of the scores is written, by the name of a person in the field
SCORES = {
    "mask": {"recall_0": "clear_recall", "recall_1": "cloud_recall"},
    "phase": {"recall_0": "liquid_recall", "recall_1": "ice_recall"},
}


class Prepared(NamedTuple):
    """What came of one granule; the patch of the one scene that is retrieved."""

    samples: Samples
    tally: Tally
    patch: Patch | None


class Trained(NamedTuple):
    """The two forests, `mask` and `phase`, and how many pixels each learned from."""

    forests: dict[str, Forest]
    pixels: dict[str, int]


def write_outcome(
    out: Path, prepared: list[Prepared], test: list[int], trained: Trained
) -> dict[str, float | dict[str, float | str]]:
    """
    Write metrics.json, predictions.csv, retrieval.nc and figures/ into a folder.

    Args:
        out: made where it is not.
        prepared: all granules.
        test: numbers of those that were held out; the first is the scene that is retrieved.
        trained: the forests.

    Returns:
        The metrics.

    Raises:
        ValueError: the test pixels are all of one class.
    """
    synthetic = any(granule.tally.synthetic for granule in prepared)
    data = "synthetic granules" if synthetic else "VIIRS and CALIOP"
    parts = [(number, prepared[number].samples) for number in test]
    samples = join([part for _, part in parts])
    cloud, ice = (trained.forests[name].probability(samples.features) for name in SCORES)
    known = samples.phase >= 0
    results = {
        "mask": Result(samples.cloud, cloud),
        "phase": Result(samples.phase[known], ice[known]),
    }
    metrics = _metrics(results, trained, [granule.tally for granule in prepared])
    (out / "figures").mkdir(parents=True, exist_ok=True)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    write_predictions(out / "predictions.csv", parts, cloud, ice)
    patch = prepared[test[0]].patch
    assert patch is not None
    scene = [trained.forests[name].probability(patch.features) for name in SCORES]
    retrieval = place(patch, scene[0], scene[1])
    write_scene(out / "retrieval.nc", patch, retrieval, data)
    importance = {name: forest.importance() for name, forest in trained.forests.items()}
    draw_scores(out / "figures" / "scores.png", results, importance, data)
    draw_scene(out / "figures" / "scene.png", retrieval.classes, retrieval.cloud, data)
    return metrics


def _metrics(
    results: dict[str, Result], trained: Trained, tallies: list[Tally]
) -> dict[str, float | dict[str, float | str]]:
    """Scores per retrieval and what became of pixels and profiles, flat."""
    metrics: dict[str, float | dict[str, float | str]] = {}
    for name, result in results.items():
        if np.unique(result.truth).size < 2:
            raise ValueError(f"the test granules have only one class for the {name}")
        for key, value in score(result).items():
            metrics[f"{name}_{SCORES[name].get(key, key)}"] = value
        metrics[f"{name}_training_pixels"] = trained.pixels[name]
        metrics[f"{name}_test_pixels"] = int(result.truth.size)
    for key in ("pixels", "masked_pixels", "profiles", "collocated", "uncertain"):
        metrics[f"granules_{key}"] = sum(getattr(tally, key) for tally in tallies)
    distance = np.concatenate([tally.distance_km for tally in tallies])
    metrics["collocation_median_distance"] = {
        "value": round(float(np.median(distance)), 4),
        "unit": "km",
    }
    return metrics
