"""Judge a trained detector on the test part, and write everything there is to see."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detection import find, in_frame
from examples import Examples
from figures import Drawn, draw_curves, draw_images, draw_region, draw_training
from network import Detector
from scores import Curve, Found, at_score, average_precision, curve, match
from sea_level import Field
from tiles import anomaly
from training_record import TrainingRecord

OVERLAP = 0.5  # the "@0.5" of mAP
REGION = (21.0, 57.0, -45.0, -24.0)  # Agulhas Current and its return: west, east, south, north
IMAGES = 6


class Trained(NamedTuple):
    """
    What came of the training.

    Attributes:
        network: the detector.
        device: where it is.
        record: what was noted down.
        losses: (train, test) per epoch.
    """

    network: Detector
    device: torch.device
    record: TrainingRecord
    losses: list[tuple[float, float]]


def write_outcome(
    out: Path,
    trained: Trained,
    parts: tuple[Examples, Examples],
    least_score: float,
    yardstick: Found | None = None,
) -> Found:
    """
    Write metrics.json, detections.csv, model.pt, training.json and two of the figures.

    Args:
        out: made where it is not.
        trained: the network and how it came about.
        parts: what it learned from and what it is judged by.
        least_score: from which on a box counts as found.
        yardstick: boxes that were made without learning, to be judged alike.

    Returns:
        The detections in the test part.
    """
    (out / "figures").mkdir(parents=True, exist_ok=True)
    train, test = parts
    found = find(trained.network, test, trained.device)
    matched = match(found, test.truth, OVERLAP)
    curves = class_curves(found, matched, test)
    metrics = measure(curves, least_score) | {
        "train_images": len(train.images),
        "test_images": len(test.images),
        "train_objects": len(train.truth.kind),
        "test_objects": len(test.truth.kind),
    }
    if yardstick is not None:
        plain = class_curves(yardstick, match(yardstick, test.truth, OVERLAP), test)
        metrics["extrema_map50"] = measure(plain, least_score)["map50"]
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    write_detections(out / "detections.csv", test, found, matched)
    write_model(out, trained, train, test)
    precisions = {name: metrics[f"ap50_{name}"] for name in curves}
    draw_curves(out / "figures" / "precision_recall.png", curves, precisions, least_score)
    draw_training(out / "figures" / "training.png", trained.losses)
    for name in ("map50", "precision", "recall"):
        print(f"{name} = {metrics[name]}", flush=True)
    return found


def class_curves(found: Found, matched: Tensor, test: Examples) -> dict[str, Curve]:
    """Precision and recall of each class, by its name."""
    return {name: curve(found, matched, test.truth, kind) for kind, name in enumerate(test.names)}


def measure(curves: dict[str, Curve], least_score: float) -> dict[str, float]:
    """
    Scores of each class and of all.

    `map50` is the mean over the classes that occur; precision, recall and F1 are those of all
    classes together when boxes of at least `least_score` are taken.
    """
    metrics: dict[str, float] = {}
    right, taken, truths = 0.0, 0, 0
    present = []
    for name, of in curves.items():
        precision, recall = at_score(of, least_score)
        number = int((of.scores >= least_score).sum())
        value = average_precision(of)
        if of.truths:
            present.append(value)
            metrics[f"ap50_{name}"] = round(value, 6)
        metrics[f"precision_{name}"] = round(precision, 6)
        metrics[f"recall_{name}"] = round(recall, 6)
        metrics[f"found_{name}"] = number
        right, taken, truths = right + precision * number, taken + number, truths + of.truths
    overall = {
        "map50": sum(present) / len(present),
        "precision": right / taken if taken else 0.0,
        "recall": right / truths,
        "f1": 2.0 * right / (taken + truths),
    }
    return {name: round(value, 6) for name, value in overall.items()} | metrics


def write_detections(path: Path, test: Examples, found: Found, matched: Tensor) -> None:
    """
    Write one row per detection, by image and falling score.

    Corners are in degrees east and north, or shares of the image. `object` counts the true boxes of
    the test part from 0; empty where none was found.
    """
    corners = in_frame(test, found).tolist()
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "class", "score", "x0", "y0", "x1", "y1", "object"])
        for number, (image, kind, score, true) in enumerate(
            zip(
                found.image.tolist(), found.kind.tolist(), found.scores.tolist(), matched.tolist(),
                strict=True,
            )
        ):  # fmt: skip
            place = [f"{value:.4f}" for value in corners[number]]
            true = true if true >= 0 else ""
            rows.writerow([test.origins[image], test.names[kind], f"{score:.4f}", *place, true])


def write_model(out: Path, trained: Trained, train: Examples, test: Examples) -> None:
    """Write the weights and complete the record of the training with hashes."""
    weights = {name: value.cpu() for name, value in trained.network.state_dict().items()}
    torch.save(weights, out / "model.pt")
    trained.record.split("train", train.contents())
    trained.record.split("test", test.contents())
    count = sum(weight.numel() for weight in weights.values())
    trained.record.model(out / "model.pt", parameters=count)
    trained.record.write(out / "training.json")


def draw_field(path: Path, field: Field, test: Examples, found: Found, least_score: float) -> None:
    """Draw a region of the test basin with its boxes."""
    height = np.where(field.ocean, anomaly(field, field.ocean), np.nan)
    drawn = _drawn(test, test.truth), _drawn(test, sure(found, least_score))
    title = (
        "Eddies in a part of the test basin, 23 February 2019: "
        f"catalogue, and found (score {least_score:g} or more)"
    )
    draw_region(path, (field.lon, field.lat, height), REGION, *drawn, title)


def draw_folder(path: Path, test: Examples, found: Found, least_score: float) -> None:
    """Draw the first images of the test part with their boxes."""
    chosen = range(min(IMAGES, len(test.images)))
    good = sure(found, least_score)
    truth, boxes = (
        [
            _drawn(test, Found(*(column[part.image == number] for column in part)))
            for number in chosen
        ]
        for part in (test.truth, good)
    )
    draw_images(path, [test.images[n, 0].numpy() for n in chosen], truth, boxes, test.names)


def sure(found: Found, least_score: float) -> Found:
    """The detections with at least this score."""
    return Found(*(column[found.scores >= least_score] for column in found))


def _drawn(test: Examples, boxes: Found) -> Drawn:
    return Drawn(in_frame(test, boxes).numpy(), boxes.kind.numpy())
