"""
Train a network that tells patches of the sea with an eddy from those without, on many ranks.

    python train.py --field F.nc --cyclonic C.nc --anticyclonic A.nc --out results
    torchrun --standalone --nproc-per-node 2 train.py …
    horovodrun -np 2 --gloo python train.py …

With `--chips FOLDER` it learns from labelled images instead (chips.py says how they are laid out).
Every rank reads the data and rank 0 writes the results.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import chips
import patches
from figures import Row, draw_confusion, draw_examples, draw_training
from network import EddyNet, parameters
from pictures import Picture, of_chip, of_patch
from ranks import Ranks, connect
from samples import Dataset, SampleError, Samples
from scores import Metric, confusion, score
from sea_level import SeaLevelError, load_eddies, load_field
from training import Settings, Trained, deterministic, train
from training_record import TrainingRecord

EXAMPLES = 6  # pictures in a row


def main() -> int:
    """Train and write; 0 when it ended well, 2 with one line on stderr when an input is wrong."""
    args = parse_arguments()
    deterministic(args.threads)
    ranks = connect()
    try:
        dataset, picture = load(args)
        settings = Settings(*(getattr(args, name) for name in Settings._fields))
        trained = train(dataset, settings, ranks)
    except (SampleError, SeaLevelError) as exc:
        print(f"train.py: {exc}", file=sys.stderr)
        return 2
    finally:
        ranks.close()
    if ranks.rank == 0:
        write(Path(args.out), args, ranks, dataset, trained, picture)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--field", help="NetCDF-4 of the sea level")
    parser.add_argument("--cyclonic", help="NetCDF-4 of the published cyclones")
    parser.add_argument("--anticyclonic", help="NetCDF-4 of the published anticyclones")
    parser.add_argument("--chips", type=Path, help="folder of labelled images, instead")
    parser.add_argument("--positive", default="eddy", help="class of the chips that is an eddy")
    parser.add_argument("--patch", type=positive(4), default=8, help="side of an image, pixels")
    parser.add_argument(
        "--patches", type=positive(0), default=0, help="most training patches; 0 for all"
    )
    parser.add_argument("--width", type=positive(1), default=16, help="feature maps, first block")
    parser.add_argument("--epochs", type=positive(1), default=25)
    parser.add_argument("--batch", type=positive(1), default=64, help="images, all ranks together")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--threads", type=positive(1), default=1, help="of each rank")
    parser.add_argument("--seed", type=positive(0), default=1)
    parser.add_argument("--out", required=True, help="folder for the results")
    args = parser.parse_args()
    if not args.chips and not (args.field and args.cyclonic and args.anticyclonic):
        parser.error("expected --field, --cyclonic and --anticyclonic, or --chips")
    return args


def positive(least: int) -> Callable[[str], int]:
    """Make a reader of whole numbers that are not too small."""

    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, got {value}")
        return value

    return number


def load(args: argparse.Namespace) -> tuple[Dataset, Callable[[int], Picture]]:
    """The data, and how to draw a test image by its number."""
    if args.chips:
        dataset = chips.make_dataset(args.chips, args.patch, args.positive, args.seed)
        names = dataset.test.about["file"]
        return dataset, lambda k: of_chip(dataset.test.images[k], Path(str(names[k])).stem[:12])
    field = load_field(args.field)
    eddies = load_eddies(args.cyclonic, args.anticyclonic)
    dataset = patches.make_dataset(field, eddies, args.patch, args.patches, args.seed)
    lon, lat = (dataset.test.about[name].astype(float) for name in ("longitude", "latitude"))
    return dataset, lambda k: of_patch(field, eddies, lon[k], lat[k], args.patch)


def write(
    out: Path,
    args: argparse.Namespace,
    ranks: Ranks,
    dataset: Dataset,
    trained: Trained,
    picture: Callable[[int], Picture],
) -> None:
    """Write every output."""
    (out / "figures").mkdir(parents=True, exist_ok=True)
    metrics = summarize(dataset, trained)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    write_predictions(out / "predictions.csv", dataset.test, trained.probability)
    save_model(out / "model.pt", trained.model)
    write_record(out, args, ranks, dataset, trained)
    labels, probability = dataset.test.labels, trained.probability
    counts = confusion(labels, probability)
    title = f"Test, {dataset.sort}"
    draw_confusion(out / "figures" / "confusion.png", counts, title)
    draw_training(out / "figures" / "training.png", trained.curve, f"Training, {dataset.sort}")
    unit = "standard deviations" if args.chips else "cm above the mean of the patch"
    rows = examples(labels, probability, picture)
    title = f"Test images and the network's probability of an eddy: {dataset.sort}"
    draw_examples(out / "figures" / "examples.png", rows, title, unit)


def summarize(dataset: Dataset, trained: Trained) -> dict[str, Metric]:
    """Scores in the test and the sizes of what they rest on."""
    images = {"train_images": dataset.train.labels.size, "test_images": dataset.test.labels.size}
    return {
        **score(dataset.test.labels, trained.probability),
        "train_loss": round(trained.curve[-1].train_loss, 6),
        "test_loss": round(trained.curve[-1].test_loss, 6),
        **{name: {"value": count, "unit": "images"} for name, count in images.items()},
        "parameters": parameters(trained.model),
    }


def write_predictions(path: Path, part: Samples, probability: NDArray[np.float64]) -> None:
    """Write one row per test image."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*part.about, "label", "probability"])
        rows = zip(*part.about.values(), part.labels, probability, strict=True)
        writer.writerows([*row[:-1], f"{row[-1]:.6f}"] for row in rows)


def save_model(path: Path, model: EddyNet) -> None:
    """Save the weights; equal weights give equal bytes."""
    torch.save({name: value.cpu() for name, value in model.state_dict().items()}, path)


def write_record(
    out: Path, args: argparse.Namespace, ranks: Ranks, dataset: Dataset, trained: Trained
) -> None:
    """Write training.json."""
    record = TrainingRecord(all=args.seed)
    names = ("epochs", "batch", "learning_rate", "weight_decay", "width", "patch", "threads")
    record.hyper_parameters(**{name: getattr(args, name) for name in names})
    record.hyper_parameters(optimizer="AdamW", ranks=ranks.size, joined_by=ranks.name)
    record.split("train", dataset.train.contents())
    record.split("test", dataset.test.contents())
    for epoch, point in enumerate(trained.curve, start=1):
        record.point("loss", epoch, train=point.train_loss, test=point.test_loss)
        record.point("accuracy", epoch, test=point.test_accuracy)
    record.model(out / "model.pt", parameters(trained.model))
    record.write(out / "training.json")


def examples(
    labels: NDArray[np.int64],
    probability: NDArray[np.float64],
    picture: Callable[[int], Picture],
) -> list[Row]:
    """The first right answers in the random order of the test, and the most certain wrong ones."""
    said, certain = probability >= 0.5, np.abs(probability - 0.5)
    rows = []
    for title, kind, right in (
        ("eddy, found", 1, True),
        ("none, right", 0, True),
        ("eddy, missed", 1, False),
        ("false alarm", 0, False),
    ):
        found = np.flatnonzero((labels == kind) & ((said == (labels == 1)) == right))
        if not right:
            found = found[np.argsort(-certain[found], kind="stable")]
        shown = found[:EXAMPLES].tolist()
        rows.append(Row(title, right, [(picture(k), float(probability[k])) for k in shown]))
    return [row for row in rows if row.pictures]


if __name__ == "__main__":
    sys.exit(main())
