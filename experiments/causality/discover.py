"""
Causal graphs of two series by a two-phase ensemble on Spark: partitions vote, then methods.

By hand, with Spark on the cores of this machine:

    python discover.py --nino12 elnino.csv --nino34 oni.csv --soi soi_data.csv \
        --rain wtc_test_data_nino_even.csv --out results

On a cluster, SPARK_CONF_DIR holds the spark-defaults.conf that names the master; this folder must
be on the PYTHONPATH of the workers.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pyspark.sql import SparkSession

import climate
import synthetic
from ensemble import METHODS, cut
from outcome import Found, Series, write_outcome
from synthetic import Array, Links

# name, default, least value, what it is
OPTIONS: tuple[tuple[str, int | float, int, str], ...] = (
    ("partitions", 3, 1, "stretches each series is cut into; each has one vote per method"),
    ("max-lag", 3, 1, "largest lag of a link, steps"),
    ("alpha", 0.05, 0, "significance level of the methods that test, below 1"),
    ("length", 1500, 1, "steps of the synthetic series"),
    ("seed", 1, 0, "of the synthetic series"),
    ("slices", 9, 1, "Spark tasks; the result does not depend on it"),
)
FILES = {
    "nino12": "sea surface temperature of El Niño region 1+2, CSV",
    "nino34": "sea surface temperature of El Niño region 3.4, CSV",
    "soi": "Southern Oscillation Index, CSV",
    "rain": "rainfall of India, CSV",
}
LEAST_ROOM = 5  # months or steps of a partition for each term of the largest regression


class Task(NamedTuple):
    """One method on one partition of one series."""

    series: str
    method: str
    values: Array


def main() -> int:
    """Run the discovery; 0 when it ended well, 2 with one line on stderr when an input is wrong."""
    args = parse_arguments()
    try:
        series = read_series(args)
        tasks = make_tasks(series, args.partitions, args.max_lag)
    except ValueError as exc:
        print(f"discover.py: {exc}", file=sys.stderr)
        return 2
    graphs = run_tasks(tasks, args.max_lag, args.alpha, args.slices)
    found: Found = {name: {method: [] for method in METHODS} for name in series}
    for task, links in zip(tasks, graphs, strict=True):
        found[task.series][task.method].append(links)
    metrics = write_outcome(args.out, series, found)
    for name in ("synthetic_f1", "climate_links"):
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
    for name, text in FILES.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    for name, default, _, text in OPTIONS:
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    args = parser.parse_args()
    for name, _, least, _ in OPTIONS:
        if not getattr(args, name.replace("-", "_")) >= least:
            parser.error(f"--{name}: expected {least} or more")
    if not 0 < args.alpha < 1:
        parser.error(f"--alpha: expected more than 0 and less than 1, got {args.alpha}")
    return args


def read_series(args: argparse.Namespace) -> dict[str, Series]:
    """The series with a known graph, and the one without."""
    real = climate.read_climate(climate.Files(*(getattr(args, name) for name in FILES)))
    made = synthetic.make_series(args.seed, args.length)
    truth = synthetic.true_links(args.max_lag)
    return {
        "synthetic": Series(synthetic.NAMES, made, truth, 0),
        "climate": Series(climate.NAMES, real.values, None, real.first_year),
    }


def make_tasks(series: dict[str, Series], partitions: int, max_lag: int) -> list[Task]:
    """
    Every method on every partition of every series.

    Raises:
        ValueError: the partitions are too short for the lags.
    """
    tasks = []
    for name, one in series.items():
        parts = cut(one.values, partitions)
        needed = LEAST_ROOM * (max_lag * len(one.variables) + 1)
        if len(parts[-1]) < needed:
            raise ValueError(
                f"{name}: partitions of {len(parts[-1])} steps, expected {needed} or more;"
                " ask for fewer partitions or a smaller --max-lag"
            )
        tasks += [Task(name, method, part) for part in parts for method in METHODS]
    return tasks


def run_tasks(tasks: list[Task], max_lag: int, alpha: float, slices: int) -> list[Links]:
    """
    Run the tasks on Spark.

    Returns:
        The links that each task found, in the order of the tasks, whatever ran where.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.appName("causality").getOrCreate()
    try:
        rows = [(task.method, task.values, max_lag, alpha) for task in tasks]
        table = spark.sparkContext.parallelize(rows, min(slices, len(rows)))
        return list(table.map(run_task).collect())
    finally:
        spark.stop()


def run_task(row: tuple[str, Any, int, float]) -> Any:
    """Run one method on a worker; only there are the libraries of the methods loaded."""
    from methods import FINDERS

    method, values, max_lag, alpha = row
    return FINDERS[method](values, max_lag, alpha)


if __name__ == "__main__":
    sys.exit(main())
