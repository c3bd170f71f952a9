"""
The switches that make a command repeatable, and which of them the record shows.

They are the same on every node and every run. `engine: {deterministic: false}` leaves them out;
limits of threads stay, since they belong to the processors that a node has.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rpac_ci.engines.interface import Engine
from rpac_ci.jobs import JobSpec

ALWAYS: Mapping[str, str] = {
    "PYTHONHASHSEED": "0",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": "315532800",
}
THREAD_LIMITS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS",
)  # fmt: skip
# what rpac_ci/node/preload/sitecustomize.py sets in the command's interpreters
SWITCHES: Mapping[str, str] = {
    "torch.use_deterministic_algorithms": "warn",
    "torch.backends.cudnn.deterministic": "true",
    "torch.backends.cudnn.benchmark": "false",
    "torch.backends.cuda.matmul.allow_tf32": "false",
    "torch.backends.cudnn.allow_tf32": "false",
}
_PRELOAD = Path(__file__).with_name("preload")


def thread_limits(spec: JobSpec) -> dict[str, str]:
    """As many threads as a node has processors, shared by its ranks."""
    return dict.fromkeys(THREAD_LIMITS, str(max(1, spec.cpus // max(1, spec.ranks_per_node))))


def command_variables(spec: JobSpec, engine: Engine, work: Path | None = None) -> dict[str, str]:
    """
    Variables of the command's processes.

    Args:
        spec: the job.
        engine: which has switches of its own.
        work: the command's folder; without it, those of an engine's process, which may run parts
            of the command but takes care of its own random numbers.
    """
    variables = {**ALWAYS, **engine.determinism} if spec.deterministic else {}
    if work is None:
        return variables
    if spec.seed is not None:
        variables["RPAC_SEED"] = str(spec.seed)
    if spec.deterministic:
        variables["RPAC_DETERMINISTIC"] = "1"
        variables["PYTHONPATH"] = os.pathsep.join([str(_PRELOAD), str(work)])
    return variables


def recorded(spec: JobSpec, engine: Engine) -> dict[str, str]:
    """What of it is in the record, so that a difference between two runs is seen."""
    threads = {"threads": thread_limits(spec)[THREAD_LIMITS[0]]}
    if not spec.deterministic:
        return {**threads, "deterministic": "false"}
    seeds = {"seeds": f"{spec.seed} + rank"} if spec.seed is not None else {}
    torch = SWITCHES if "torch" in engine.packages else {}
    return {**ALWAYS, **engine.determinism, **torch, **threads, **seeds}
