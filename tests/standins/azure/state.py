"""Things of a Batch account with their states, and how the account behaves."""

from __future__ import annotations

import re
import secrets
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import isodate

from tests.standins.azure.tasks import Execution

Json: TypeAlias = dict[str, Any]
ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
SIZES = {"Standard_D2s_v5": ("standardDSv5Family", 2), "Standard_D4s_v5": ("standardDSv5Family", 4),
         "Standard_NC4as_T4_v3": ("standardNCASv3_T4Family", 4)}  # fmt: skip


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def image(sku: str, *, ends: str | None = None, containers: bool = True) -> Json:
    """A supported image of virtual machines: Microsoft's `ubuntu-hpc`."""
    agent = f"batch.node.ubuntu {sku[:2]}.{sku[2:4]}"
    found: Json = {
        "nodeAgentSKUId": agent, "osType": "linux", "verificationType": "verified",
        "imageReference": {
            "publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": sku, "version": "latest",
        },
        "capabilities": ["DockerCompatible", "NvidiaTeslaDriverInstalled"] if containers else [],
    }  # fmt: skip
    return {**found, "batchSupportEndOfLife": ends} if ends else found


@dataclass
class Settings:
    """How the account is and behaves; tests change it."""

    machines: int = 8  # that there are in the location, for all pools
    allocation_s: float = 0.1  # of a resize
    resize_s: float = 0.4  # after which a resize gives up, whatever its timeout says
    start_s: float = 0.05  # of a node
    deletion_s: float = 0.1  # of a pool or a job
    cores: int = 350
    per_family: bool = False  # which quota of cores is enforced
    families: dict[str, int] = field(default_factory=lambda: {"standardDSv5Family": 350})
    pools: int = 100
    jobs: int = 300
    mode: str = "BatchService"
    page: int = 1000  # items of an answer
    unusable: int = 0  # so many of the next nodes
    stuck: int = 0  # so many of the next nodes never get past starting
    images: list[Json] = field(
        default_factory=lambda: [
            image("2004", ends="2025-04-23T00:00:00Z"), image("2404"),
            image("2204", ends="2099-06-30T00:00:00Z"),
        ]
    )  # fmt: skip


@dataclass
class Stateful:
    """Something with a state since a moment."""

    state: str
    since: float = field(default_factory=time.monotonic)
    at: str = ""
    created: str = ""
    etag: str = ""

    def __post_init__(self) -> None:
        self.at = self.created = now()
        self.etag = f"0x{secrets.token_hex(8).upper()}"

    def become(self, state: str) -> None:
        """Another state."""
        if state != self.state:
            self.state, self.since, self.at = state, time.monotonic(), now()
            self.etag = f"0x{secrets.token_hex(8).upper()}"

    @property
    def age_s(self) -> float:
        """In this state."""
        return time.monotonic() - self.since


@dataclass
class Node(Stateful):
    """A machine of a pool."""

    state: str = "creating"
    id: str = field(default_factory=lambda: f"tvmps_{secrets.token_hex(16)}_d")
    stuck: bool = False
    unusable: bool = False
    error: str = ""
    image: Future[None] | None = None
    task: Task | None = None


@dataclass
class Pool(Stateful):
    """A pool, as the management plane was told."""

    state: str = "active"
    id: str = ""
    asked: Json = field(default_factory=dict)
    allocation: Stateful = field(default_factory=lambda: Stateful("resizing"))
    errors: list[Json] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    @property
    def machine(self) -> Json:
        """Configuration of its virtual machines."""
        found: Json = self.asked["properties"]["deploymentConfiguration"][
            "virtualMachineConfiguration"
        ]
        return found

    @property
    def targets(self) -> tuple[int, int]:
        """Nodes that are wanted: dedicated and spot."""
        scale = self.asked["properties"]["scaleSettings"]["fixedScale"]
        return scale.get("targetDedicatedNodes", 0), scale.get("targetLowPriorityNodes", 0)


@dataclass
class Task(Stateful):
    """A task of a job."""

    state: str = "active"
    asked: Json = field(default_factory=dict)
    info: Json = field(default_factory=lambda: {"retryCount": 0, "requeueCount": 0})
    node: Node | None = None
    running: Execution | None = None

    @property
    def id(self) -> str:
        """Its name in the job."""
        return str(self.asked["id"])


@dataclass
class Job(Stateful):
    """A job."""

    state: str = "active"
    asked: Json = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    reason: str = ""
    ended: str = ""
    born: float = field(default_factory=time.monotonic)

    @property
    def pool(self) -> str:
        """Id of the pool it runs on."""
        return str(self.asked["poolInfo"]["poolId"])


def invalid(message: str) -> RefusedError:
    """A value that the service does not take."""
    return RefusedError(400, "InvalidPropertyValue", message)


def check_id(name: str) -> str:
    """An id of a pool, job or task."""
    if not ID.match(name):
        raise invalid(f"the id {name!r} is not valid")
    return name


def now() -> str:
    """As the service writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(duration: str) -> float:
    """Of a duration such as PT15M."""
    return float(isodate.parse_duration(duration).total_seconds())
