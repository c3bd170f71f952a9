"""
Cloud mask and thermodynamic phase from VIIRS by random forests that learn from CALIOP.

By hand, with two local processes, on made-up granules and on files of your own:

    python retrieve.py --out results
    python retrieve.py --out results --data folder

On a cluster, DASK_SCHEDULER_ADDRESS names the scheduler and the rest of Dask's configuration comes
from the environment; this folder must be on the PYTHONPATH of the workers.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from distributed import Client, Future, LocalCluster, as_completed

from dataset import Patch, Samples, Tally, find_granules
from forest import Forest, blocks, tree_seeds
from granule import MOST
from outcome import Prepared, Trained, write_outcome

TEST_EVERY = 4  # granules 3, 7, 11 … are for the test
FORESTS = {"mask": 1, "phase": 2}
# name, default, least value, what it is
OPTIONS: tuple[tuple[str, int | float, int, str], ...] = (
    ("trees", 150, 1, "trees of each forest"),
    ("depth", 15, 1, "largest depth of a tree"),
    ("granules", 60, TEST_EVERY, "granules that are made up"),
    ("scans", 48, 1, "scans of 16 lines in each of them"),
    ("pixels", 160, 1, "pixels a line in each of them"),
    ("max-km", 1.0, 0, "largest distance of pixel and profile, km"),
    ("max-minutes", 15.0, 0, "largest difference in time, minutes"),
    ("min-quality", 2, 0, "least quality of CALIOP's classification, 0 to 3"),
    ("seed", 1, 0, "of granules and trees"),
    ("blocks", 16, 1, "tasks per forest; the result does not depend on it"),
)


def main() -> int:
    """Run the retrieval; 0 when it ended well, 2 with one line on stderr when an input is wrong."""
    args = parse_arguments()
    try:
        sources = granule_sources(args)
        with cluster() as client:
            tasks = prepare(client, sources, args)
            trained = train(client, [task for n, task in enumerate(tasks) if not held_out(n)], args)
            prepared = [unpack(task.result()) for task in tasks]
        test = [number for number in range(len(prepared)) if held_out(number)]
        metrics = write_outcome(args.out, prepared, test, trained)
    except ValueError as exc:
        print(f"retrieve.py: {exc}", file=sys.stderr)
        return 2
    for name in ("mask_accuracy", "phase_accuracy"):
        print(f"{name} = {metrics[name]}", flush=True)
    return 0


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def parse_arguments() -> argparse.Namespace:
    """Read the command line; odd values end the program with status 2 and one line."""
    parser = Parser(description=str(__doc__).strip().splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--data", type=Path, help="folder of granules; without it they are made up")
    for name, default, _, text in OPTIONS:
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    args = parser.parse_args()
    for name, _, least, _ in OPTIONS:
        if getattr(args, name.replace("-", "_")) < least:
            parser.error(f"--{name}: expected {least} or more")
    if args.granules > MOST or args.pixels > 3200 or args.min_quality > 3:
        parser.error(f"expected at most {MOST} granules, 3200 pixels and a quality of 3")
    return args


def granule_sources(args: argparse.Namespace) -> list[tuple[Any, ...]]:
    """What each granule is made of, in plain values: files, or a number and a size."""
    if args.data is None:
        return [(args.seed, number, args.scans, args.pixels) for number in range(args.granules)]
    found = find_granules(args.data)
    if len(found) < TEST_EVERY:
        raise ValueError(f"{args.data}: got {len(found)} granules, expected {TEST_EVERY} or more")
    return [(str(f.imagery), str(f.geolocation), [str(p) for p in f.profiles]) for f in found]


@contextmanager
def cluster() -> Iterator[Client]:
    """The cluster of the environment, or two processes of this machine."""
    if os.environ.get("DASK_SCHEDULER_ADDRESS"):
        with Client() as client:
            yield client
        return
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local) as client,
    ):
        yield client


def held_out(number: int) -> bool:
    """Whole granules are for the test: neighbouring pixels are too alike to be split."""
    return number % TEST_EVERY == TEST_EVERY - 1


def prepare(
    client: Client, sources: list[tuple[Any, ...]], args: argparse.Namespace
) -> list[Future]:
    """One task per granule: make it if need be, read it, collocate."""
    rules = (args.max_km, args.max_minutes, args.min_quality)
    return [
        client.submit(
            prepare_task, source, rules, number == TEST_EVERY - 1, key=f"granule-{number:03d}"
        )
        for number, source in enumerate(sources)
    ]


def train(client: Client, tasks: list[Future], args: argparse.Namespace) -> Trained:
    """Fit both forests, a block of trees a task; the table of pixels stays on the cluster."""
    fitting: dict[str, list[Future]] = {}
    tables = {name: client.submit(table_task, tasks, name, key=f"table-{name}") for name in FORESTS}
    for name, number in FORESTS.items():
        parts = blocks(tree_seeds(args.seed, number, args.trees), args.blocks)
        fitting[name] = [
            client.submit(fit_task, tables[name], part, args.depth, key=f"trees-{name}-{index:03d}")
            for index, part in enumerate(parts)
        ]
    every = [*tasks, *(task for part in fitting.values() for task in part)]
    for done, _ in enumerate(as_completed(every), start=1):
        if done % max(1, len(every) // 8) == 0:
            print(f"tasks {done}/{len(every)}", flush=True)
    trees = {name: client.gather(part) for name, part in fitting.items()}
    forests = {
        name: Forest(tuple(t for part in parts for t in part)) for name, parts in trees.items()
    }
    pixels = {name: client.submit(len_task, table).result() for name, table in tables.items()}
    return Trained(forests, pixels)


def prepare_task(source: tuple[Any, ...], rules: tuple[Any, ...], scene: bool) -> tuple[Any, ...]:
    """
    Make a granule if need be and read it, on a worker; plain values in and out.

    Only the scene that will be retrieved comes with its pixels.

    The scheduler unpickles tasks too, and only workers are sure to have this folder on their path;
    so nothing here refers to its modules before the task runs.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from dataset import Rules, read_granule
    from granule import Files, Size, write_granule

    with TemporaryDirectory() as folder:
        if isinstance(source[0], str):
            lidar = tuple(Path(path) for path in source[2])
            files = Files(Path(source[0]), Path(source[1]), lidar)
        else:
            files = write_granule(Path(folder), source[0], source[1], Size(*source[2:]))
        parts = read_granule(files, Rules(*rules), patch=scene)
    return tuple(part and tuple(part) for part in parts)


def table_task(prepared: list[tuple[Any, ...]], name: str) -> tuple[Any, Any]:
    """Features and classes of all granules for one forest."""
    from dataset import Samples, join

    samples = join([Samples(*parts[0]) for parts in prepared])
    classes = getattr(samples, {"mask": "cloud", "phase": "phase"}[name])
    known = classes >= 0
    return samples.features[known], classes[known]


def fit_task(table: tuple[Any, Any], seeds: list[int], depth: int) -> Any:
    """Fit a block of trees on a worker."""
    from forest import fit_trees

    features, classes = table
    if len(set(classes.tolist())) < 2:
        raise ValueError("the training granules have only one class, expected both")
    return fit_trees(features, classes, seeds, depth)


def len_task(table: tuple[Any, Any]) -> int:
    """Number of pixels in a table."""
    return len(table[1])


def unpack(parts: tuple[Any, ...]) -> Prepared:
    """Plain values of `prepare_task` by their names again."""
    return Prepared(Samples(*parts[0]), Tally(*parts[1]), Patch(*parts[2]) if parts[2] else None)


if __name__ == "__main__":
    sys.exit(main())
