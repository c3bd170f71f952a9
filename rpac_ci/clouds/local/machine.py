"""What this machine has: processors, free memory, GPUs."""

from __future__ import annotations

import os

import psutil

from rpac_ci import processes

_NVIDIA_SMI = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_mib() -> int:
    """Memory that programs could still get, in MiB."""
    return psutil.virtual_memory().available >> 20


def used_mib(pid: int) -> int:
    """Memory of a process and all its descendants, in MiB; 0 when it is gone or not ours to see."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(map(_resident, family)) >> 20


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def gpus() -> list[str]:
    """
    Ids of the GPUs, in the order of `nvidia-smi`; none where there is no such program.

    They are ids and not numbers, since CUDA may count in another order than the driver.
    """
    try:
        done = processes.run(_NVIDIA_SMI, timeout_s=30)
    except (OSError, TimeoutError):
        return []
    return [] if done.code else [line.strip() for line in done.out.splitlines() if line.strip()]
