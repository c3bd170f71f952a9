"""
Where the tasks run: a Dask cluster, a Spark cluster, or processes of this machine.

A runner takes a function and a list, and gives the results in the order of the list; that order is
all a result can depend on.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

Runner = Callable[[Callable[[Any], Any], list[Any]], list[Any]]


def detect(environment: Mapping[str, str]) -> str:
    """Which cluster the environment names: `dask`, `spark`, or `process` when it names none."""
    if environment.get("DASK_SCHEDULER_ADDRESS"):
        return "dask"
    return "spark" if environment.get("SPARK_CONF_DIR") else "process"


@contextmanager
def runner(engine: str) -> Iterator[Runner]:
    """Connect to the cluster of the environment, or start a small one where it names none."""
    with {"dask": _dask, "spark": _spark, "process": _process}[engine]() as run:
        yield run


@contextmanager
def _dask() -> Iterator[Runner]:
    from distributed import Client, LocalCluster

    def run(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return list(client.gather(client.map(function, items, pure=False)))

    if os.environ.get("DASK_SCHEDULER_ADDRESS"):
        with Client() as client:
            yield run
    else:
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield run


@contextmanager
def _spark() -> Iterator[Runner]:
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    session = SparkSession.builder.appName("scaling").getOrCreate()

    def run(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        # one item in each slice, so that every item is a task of its own
        return list(session.sparkContext.parallelize(items, len(items)).map(function).collect())

    try:
        yield run
    finally:
        session.stop()


@contextmanager
def _process() -> Iterator[Runner]:
    # as many processes as the environment allows threads; that is the node's share of processors
    processes = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    with ProcessPoolExecutor(processes) as pool:

        def run(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
            return list(pool.map(function, items))

        yield run
