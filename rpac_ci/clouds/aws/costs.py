"""What a run on AWS has cost, as far as the catalog knows the price of its machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rpac_ci import catalog
from rpac_ci.clouds.aws.plan import CLOUD
from rpac_ci.experiment_model import Mode
from rpac_ci.jobs import JobSpec


def cost_usd(
    spec: JobSpec,
    region: str,
    jobs: list[dict[str, Any]],
    describe: Callable[[list[str]], list[dict[str, Any]]],
) -> float | None:
    """
    Time of the containers at the price of their machines.

    Args:
        spec: of the run.
        region: where it was.
        jobs: what AWS says of its jobs, once they are over.
        describe: asks AWS of more jobs; an array has no times, its children have.

    Returns:
        In USD; None where there is no price.
    """
    price = catalog.load(CLOUD).price(spec.machine or "", region, spot=spec.spot)
    if price is None:
        return None
    if spec.mode == Mode.GANG and spec.nodes > 1:
        arrays = [one["jobId"] for one in jobs]
        jobs = describe([f"{job}:{n}" for job in arrays for n in range(spec.nodes)])
    times = [
        (one["stoppedAt"] - one["startedAt"]) / 1000
        for one in jobs
        if one.get("startedAt") and one.get("stoppedAt")
    ]
    nodes = spec.nodes if spec.mode == Mode.MNP else 1
    return sum(catalog.usd(price, seconds, nodes) for seconds in times)
