"""What a node is: hardware, limits and system, without names of hosts or users."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # version 1 writes a number that no machine has


def collect() -> dict[str, Any]:
    """Processor, memory (MiB), limits of a container, kernel, system and GPUs of this node."""
    limit = _memory_limit()
    return {
        "cpu": _processor(),
        "cpus_online": os.cpu_count() or 0,
        "memory_total_mib": psutil.virtual_memory().total >> 20,
        **({"memory_limit_mib": limit >> 20} if limit else {}),
        **({"cpus_limit": cpus} if (cpus := _cpu_limit()) else {}),
        "machine": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": _system(),
        "gpus": gpus(),
    }


def gpus() -> list[dict[str, Any]]:
    """
    Name, memory (MiB) and driver of each GPU that this node may use; empty without any.

    Those that `nvidia-smi` shows, less the ones that `CUDA_VISIBLE_DEVICES` hides: nodes on one
    machine see all of its GPUs, and are given some.
    """
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total,driver_version"]
    try:
        done = subprocess.run(
            [*query, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines()]
    return [
        {"name": row[2], "memory_mib": int(row[3]) if row[3].isdigit() else None, "driver": row[4]}
        for row in rows
        if len(row) == 5 and _is_visible(index=row[0], uuid=row[1])
    ]


def _is_visible(*, index: str, uuid: str) -> bool:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None or "MIG-" in shown:  # a part of a GPU does not tell of which
        return True
    words = [word.strip() for word in shown.split(",")]
    return any(
        word == index or (word.startswith("GPU-") and uuid.startswith(word)) for word in words
    )


def oom_kills() -> int:
    """How often the kernel has killed a process of this container for want of memory."""
    if not _memory_limit():
        return 0  # no container: what the kernel counts may be anybody's
    for name in ("memory.events", "memory/memory.oom_control"):
        counts = dict(line.split()[:2] for line in _read(name).splitlines() if " " in line)
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return 0


def _memory_limit() -> int:
    """Of this container in bytes; 0 where there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(name).strip()
        if text.isdigit() and int(text) < _UNLIMITED:
            return int(text)
    return 0


def _cpu_limit() -> float:
    """Processors that this container may use; 0 where there is no limit."""
    quota, _, period = _read("cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (_read(f"cpu/cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return 0.0
    return round(int(quota) / int(period), 2)


def _read(name: str) -> str:
    try:
        return (_CGROUP / name).read_text()
    except OSError:
        return ""


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
