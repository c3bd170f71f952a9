"""What a node is: hardware and system, without names of hosts or users."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil


def collect() -> dict[str, Any]:
    """Processor, memory (MiB), kernel and system of this machine."""
    return {
        "cpu": _processor(),
        "cpus_online": os.cpu_count() or 0,
        "memory_total_mib": psutil.virtual_memory().total >> 20,
        "machine": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": _system(),
        "gpus": [],
    }


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
