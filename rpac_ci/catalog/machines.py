"""
Machines and prices as values, and how alike two machines are. Pure.

Grades of fidelity, from one machine to another, also of another cloud:

    A  same processors, memory and GPUs
    B  same processors and GPUs, other memory
    C  as many GPUs of the same class
    D  anything else

With C and D timings cannot be compared, and metrics agree within a tolerance at best. GPUs are the
same when kind and memory are, and of one class when they calculate with the same kinds of numbers:

    fp16    V100, T4, A10, A10G      tensor cores for half precision, 16 to 32 GB
    fp8     L4, L40S                 the Ada generation, with 8-bit floating point
    A100    A100                     40 or 80 GB, TF32 and fast memory
    H100    H100, H100 NVL, H200     the Hopper generation
    K80     K80                      no tensor cores

A kind that is not listed is a class of its own. Processors are vCPUs: a hyper-thread on both AWS
and Azure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# of a machine's memory, what a container may have: the kernel and the cloud's agent take the rest
# (the agent of ECS registers a machine with about 95 %), and asking for all of it never fits
USABLE_MEMORY = 0.92
_MIN_BILLED_S = 60
INTERNET, REGIONS = "internet", "regions"  # where bytes may go that leave a region
_CLASSES: Mapping[str, str] = {
    "V100": "fp16",
    "T4": "fp16",
    "A10": "fp16",
    "A10G": "fp16",
    "L4": "fp8",
    "L40S": "fp8",
    "A100": "A100",
    "H100": "H100",
    "H100 NVL": "H100",
    "H200": "H100",
    "K80": "K80",
}


class Grade(StrEnum):
    """How alike two machines are, the most first; see the module."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One size of machine under its cloud's name."""

    cloud: str
    name: str
    cpus: int  # vCPUs
    memory_mib: int  # nominal
    arch: str  # x86_64 or arm64
    gpus: int = 0
    gpu_kind: str | None = None
    gpu_memory_mib: int = 0  # of each
    spot: bool = False  # whether it can be had for less, to be taken away at any time
    burstable: bool = False  # full speed only while credits last: timings say little
    retired: bool = False
    replaced_by: str | None = None  # of a retired one; None when nothing takes its place

    @property
    def usable_mib(self) -> int:
        """What jobs may ask for."""
        return math.floor(USABLE_MEMORY * self.memory_mib)

    def __str__(self) -> str:
        shown = f"{self.name} ({self.cpus} cpus, {self.memory_mib / 1024:g} GiB"
        return f"{shown}, {self.gpus} × {self.gpu_kind})" if self.gpus else f"{shown})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a machine costs in one region, who says so and of which day that is."""

    usd_per_hour: float
    region: str
    spot: bool
    source: str
    date: str  # ISO 8601


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPrices:
    """What bytes cost that leave a region, who says so and of which day that is."""

    usd_per_gb: Mapping[str, float]  # to `internet`, `regions` (all others) or one by its name
    source: str
    date: str  # ISO 8601

    def to(self, region: str | None) -> float | None:
        """USD per GB (2^30 bytes) to another region, or out of the cloud with None."""
        if region is None:
            return self.usd_per_gb.get(INTERNET)
        return self.usd_per_gb.get(region, self.usd_per_gb.get(REGIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The machines of one cloud, by name, with the prices that are known of each."""

    cloud: str
    source: str  # of the machines
    date: str  # of the machines, ISO 8601
    machines: Mapping[str, Machine]
    prices: Mapping[str, tuple[Price, ...]]
    traffic: Mapping[str, TrafficPrices] = field(default_factory=dict)  # by the region that is left

    def price(self, name: str, region: str | None, *, spot: bool = False) -> Price | None:
        """What is known of a price; None where nothing is, or no region is said."""
        known = (p for p in self.prices.get(name, ()) if p.region == region and p.spot == spot)
        return next(known, None)

    @property
    def regions(self) -> list[str]:
        """Of which prices are known."""
        return sorted({price.region for prices in self.prices.values() for price in prices})


def fidelity(a: Machine, b: Machine) -> Grade:
    """How alike two machines are; the order does not matter."""
    if _all_but_memory(a) == _all_but_memory(b):
        return Grade.A if a.memory_mib == b.memory_mib else Grade.B
    if a.gpus and a.gpus == b.gpus and _class(a) == _class(b):
        return Grade.C
    return Grade.D


def _all_but_memory(machine: Machine) -> tuple[object, ...]:
    gpus = (machine.gpus, machine.gpu_kind, machine.gpu_memory_mib)
    return machine.cpus, machine.arch, *gpus


def _class(machine: Machine) -> str | None:
    return _CLASSES.get(machine.gpu_kind or "", machine.gpu_kind)


def price(machine: Machine, region: str, spot: bool = False) -> Price | None:
    """What the catalog knows of a machine's price; None when it is not known."""
    from rpac_ci.catalog.files import load

    return load(machine.cloud).price(machine.name, region, spot=spot)


def usd(price: Price, seconds: float, nodes: int = 1) -> float:
    """
    What nodes cost (USD) for a time, each billed by the second and for a minute at least.

    Storage, addresses and traffic are not in it. Source: how EC2 bills Linux on demand.
    """
    billed = max(math.ceil(seconds), _MIN_BILLED_S)
    return price.usd_per_hour * billed * nodes / 3600
