"""What an environment holds and where a node can listen, without starting anything."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

import psutil

# below the range from which systems take ports for outgoing connections, so that none of those is
# in the way between the choice of a port and its use
_PORTS = range(20000, 32000)


def site_packages(interpreter: str) -> Path | None:
    """Where the packages of a virtual environment are; None when it is no such environment."""
    found = sorted(Path(interpreter).parent.parent.glob("lib/python3*/site-packages"))
    return found[0] if found else None


def versions(interpreter: str, names: Iterable[str]) -> dict[str, str]:
    """Of these packages the versions that are installed for an interpreter."""
    folder = site_packages(interpreter)
    if folder is None:
        return {}
    known = {d.metadata["Name"].lower(): d.version for d in distributions(path=[str(folder)])}
    return {name: known[name.lower()] for name in names if name.lower() in known}


def free_port(address: str) -> int:
    """
    A port of this machine on which nothing listens.

    Raises:
        OSError: none of 200 was free.
    """
    for port in random.SystemRandom().sample(_PORTS, 200):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port on {address}")


def interface_of(address: str) -> str:
    """The network interface that has an address, as Gloo and NCCL want to be told."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in addresses):
            return name
    return "lo" if address.startswith("127.") else ""
