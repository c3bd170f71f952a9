"""
Loaded by the Dask scheduler (`--preload`): notes every worker that comes and goes.

Runs in the experiment's environment, so it imports nothing of rpac_ci. One JSON object a line in
the file that RPAC_DASK_EVENTS names.
"""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import dask
import distributed
from distributed.diagnostics.plugin import SchedulerPlugin


class Journal(SchedulerPlugin):  # type: ignore[misc,unused-ignore]
    """Appends one line for each change of the set of workers."""

    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, **event: Any) -> None:
        """Append one event."""
        with open(self._path, "a") as file:  # noqa: PTH123 - one write, one line
            file.write(json.dumps(event, sort_keys=True) + "\n")

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """A worker has connected."""
        state = scheduler.workers[worker]
        self.write(event="add", address=worker, name=str(state.name), nthreads=state.nthreads)

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """A worker has gone, on purpose or not."""
        self.write(event="remove", address=worker)


async def dask_setup(scheduler: Any) -> None:
    """Called by Dask when the scheduler starts."""
    journal = Journal(os.environ["RPAC_DASK_EVENTS"])
    versions = {
        "dask": dask.__version__,
        "distributed": distributed.__version__,
        "python": platform.python_version(),
    }
    journal.write(event="start", versions=versions)
    scheduler.add_plugin(journal)
