"""
Boxes around ocean eddies in the sea-level field, by a small detector after YOLO.

By hand, on the field and on a folder with images and labels of your own:

    python detect_eddies.py --field F.nc --cyclonic C.nc --anticyclonic A.nc --out results
    python detect_eddies.py --yolo folder --out results
    torchrun --standalone --nproc-per-node 2 detect_eddies.py …

Under torchrun and Horovod the ranks share each batch; only rank 0 writes.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from examples import ExampleError, Examples
from extrema import extrema
from outcome import Trained, draw_field, draw_folder, write_outcome
from ranks import Ranks, connect
from sea_level import Field, SeaLevelError, load_eddies, load_field
from tiles import eddy_boxes, make_examples
from training import Plan, deterministic, fit, make_network
from training_record import TrainingRecord
from yolo_folder import read_folder

# name, default, least value, what it is
OPTIONS: tuple[tuple[str, int | float, float, str], ...] = (
    ("tile", 64, 16, "side of a tile in cells of the field, or of an image in pixels; even"),
    ("epochs", 20, 1, "times that the training part is gone through"),
    ("batch", 16, 1, "images per step, of all ranks together"),
    ("learning-rate", 0.006, 0, "the highest"),
    ("weight-decay", 0.01, 0, "of AdamW"),
    ("width", 12, 4, "channels of the first layer, a multiple of 4"),
    ("least-score", 0.4, 0, "score from which on a box counts as found"),
    ("threads", 1, 1, "of each rank; another number rounds otherwise"),
    ("seed", 1, 0, "of weights, order and variations"),
)


def main() -> int:
    """Train and judge; 0 when it ended well, 2 with one line on stderr when an input is wrong."""
    args = parse_arguments()
    deterministic(args.threads)
    try:
        field, train, test = load(args)
        ranks = connect()
        run(args, ranks, field, train, test)
        ranks.close()
    except (ExampleError, SeaLevelError) as exc:
        print(f"detect_eddies.py: {exc}", file=sys.stderr)
        return 2
    return 0


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; odd values end the program with status 2 and one line."""
    parser = Parser(description=str(__doc__).strip().splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    for name, text in (
        ("field", "NetCDF-4: adt (m), ugos and vgos (m/s) on a global regular grid"),
        ("cyclonic", "catalogue of cyclonic eddies, NetCDF-4"),
        ("anticyclonic", "catalogue of anticyclonic eddies, NetCDF-4"),
        ("yolo", "folder with images/{train,test} and labels/{train,test}, instead of the field"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=text)
    for name, default, _, text in OPTIONS:
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    args = parser.parse_args(words)
    for name, _, least, _ in OPTIONS:
        if not getattr(args, name.replace("-", "_")) >= least:
            parser.error(f"--{name}: expected {least} or more")
    if args.tile % 2 or args.width % 4:
        parser.error("expected an even --tile and a --width that is a multiple of 4")
    files = (args.field, args.cyclonic, args.anticyclonic)
    if (args.yolo is None) == (None in files) or (args.yolo and any(files)):
        parser.error("expected --field, --cyclonic and --anticyclonic, or --yolo")
    return args


def load(args: argparse.Namespace) -> tuple[Field | None, Examples, Examples]:
    """Read the field and cut it into tiles, or read the folder; training and test part."""
    if args.yolo is not None:
        return None, *read_folder(args.yolo, args.tile)
    field = load_field(args.field)
    eddies = load_eddies(args.cyclonic, args.anticyclonic)
    places = eddy_boxes(field, eddies, args.cyclonic, args.anticyclonic)
    train, test = (make_examples(field, places, part, args.tile) for part in ("train", "test"))
    return field, train, test


def run(
    args: argparse.Namespace, ranks: Ranks, field: Field | None, train: Examples, test: Examples
) -> None:
    """Train with all ranks; rank 0 judges the network and writes everything."""
    plan = Plan(
        args.epochs, args.batch, args.learning_rate, args.weight_decay, args.width, args.seed,
        exchange=field is not None,
    )  # fmt: skip
    network = make_network(train, plan).to(ranks.device)
    record = TrainingRecord(torch=args.seed)
    record.hyper_parameters(**plan._asdict(), tile=args.tile, ranks=ranks.size)
    losses: list[tuple[float, float]] = []

    def note(epoch: int, train_loss: float, loss: float) -> None:
        losses.append((train_loss, loss))
        record.point("loss", epoch, train=round(train_loss, 6), test=round(loss, 6))
        if ranks.rank == 0:
            print(
                f"epoch {epoch}/{args.epochs}, loss {train_loss:.4f}, test {loss:.4f}", flush=True
            )

    fit(network, (train, test), plan, ranks, note)
    if ranks.rank:
        return
    trained = Trained(network, ranks.device, record, losses)
    yardstick = None if field is None else extrema(train, test)
    found = write_outcome(args.out, trained, (train, test), args.least_score, yardstick)
    path = args.out / "figures" / "boxes.png"
    if field is None:
        draw_folder(path, test, found, args.least_score)
    else:
        draw_field(path, field, test, found, args.least_score)


if __name__ == "__main__":
    sys.exit(main())
