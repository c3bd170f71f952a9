"""
A study on Azure that is far away (`dispatch`): the stand-in for Azure Batch holds its answers, and
Blob Storage is in memory. Machines are there at once.

Of Azure Batch itself no rate is documented. Pools are made by way of Azure Resource Manager, which
takes 200 writes at once and 10 in each second from then on, and as much of 250 and 25 reads
("Understand how Azure Resource Manager throttles requests", per subscription and principal).
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rpac_ci.storage import Storage
from tests.benchmarks.dispatch import RUNS, Calls, Far, measure
from tests.standins import azure
from tests.standins.azure.blobs import Blobs
from tests.standins.azure.memory_blob import MemoryBlob
from tests.standins.azure.state import Settings
from tests.standins.azure_nodes import NoNodes

AT_ONCE, RATE = 200, 10  # writes


def main(repository: Path) -> None:
    """Measure it."""
    memory = MemoryBlob()
    blobs = Blobs(memory)
    with (
        tempfile.TemporaryDirectory() as folder,
        azure.serve(Path(folder), docker=False, blobs=blobs) as account,
    ):
        api = account.api
        account.service.runner = NoNodes(Storage("memory:///", backend=memory.objects))
        account.service.settings = Settings(
            machines=RUNS, cores=10**6, pools=10**6, jobs=10**6, allocation_s=0, resize_s=60
        )
        # nodes write into the memory itself, where a store has no prefix
        container = account.site["store"].rpartition("/")[0]
        account = replace(account, site={**account.site, "store": container})

        def slow_down(seconds: float) -> None:
            api.before = lambda _: time.sleep(seconds)
            blobs.latency_s = seconds

        def begin() -> None:
            api.calls.clear()
            blobs.calls.clear()

        def control() -> Calls:
            return [(call.action, call.at) for call in api.calls]

        def allowed(calls: Calls) -> str:
            pools = sum(action == "CreatePool" for action, _ in calls)
            return f"{max(0, pools - AT_ONCE) / RATE:.1f} s for {pools} writes of Resource Manager"

        far = Far(
            name="Azure", settings=account.settings(), environment=account.environment,
            slow_down=slow_down, begin=begin, control=control, stored=lambda: len(blobs.calls),
            submits="UpdateJob", allowed_s=allowed,
        )  # fmt: skip
        measure(repository, far)
