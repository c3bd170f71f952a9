"""
The narrow waist between clouds and engines: what a job is, how its nodes are named in the store,
what they report. Neither side needs to know more of the other than this module.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, NewType, Self

from rpac_ci.canonical import Json

PROTOCOL = 3  # of the node program: driver and nodes must agree

METRICS_FILE = "metrics.json"
# what a command may refer to
PLACEHOLDER = re.compile(r"\{(args|data)\.([A-Za-z0-9_]+)\}|\{(outputs|seed)\}")

# for so long a shared store keeps what no open run is known to need; see `garbage`
CONTENT_KEPT = timedelta(days=30)

RunId = NewType("RunId", str)


class EngineName(StrEnum):
    """Engines this version can start."""

    PROCESS = "process"
    DASK = "dask"
    SPARK = "spark"
    HOROVOD = "horovod"
    TORCHRUN = "torchrun"

    @property
    def collective(self) -> bool:
        """Whether the command runs as ranks on all nodes, none of which can be missed."""
        return self in (EngineName.HOROVOD, EngineName.TORCHRUN)


class JobState(StrEnum):
    """What a provider says about a job."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"


class Reason(StrEnum):
    """Why a job ended; decides whether that says anything about the experiment."""

    COMPLETED = "completed"
    COMMAND_FAILED = "command failed"
    TIME_LIMIT = "time limit"
    OUT_OF_MEMORY = "out of memory"
    WORKER_LOST = "worker lost"
    NODE_LOST = "node lost"
    CANCELLED = "cancelled"
    WORLD_INCOMPLETE = "world incomplete"
    ENGINE_FAILED = "engine failed"
    STAGING_FAILED = "staging failed"
    RUNNER_LOST = "runner lost"


class NodeExit:
    """Exit codes of the node program; the command's own code is in the result."""

    OK = 0
    PLAN = 64
    ENGINE = 70
    WORLD = 71
    WORKER_LOST = 72
    DEADLINE = 73
    STRAY = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Longest wait for each thing a node waits for, in seconds of the node's own clock."""

    join: float = 120.0  # all nodes registered
    prepare: float = 1800.0  # code and data on every node
    ready: float = 120.0  # the engine's workers connected
    heartbeat: float = 45.0  # a silent node is lost
    lonely: float = 60.0  # a cluster without any worker is lost
    stop: float = 10.0  # between asking a process to end and killing it
    logs: float = 60.0  # main waits for the other nodes' logs


@dataclass(frozen=True, slots=True, kw_only=True)
class DataItem:
    """An input with the bytes that this run uses."""

    name: str
    uri: str
    file_name: str
    sha256: str
    size: int | None  # bytes, where they are known before they are read


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Everything the nodes of a run need to know; one JSON object in the store."""

    run: RunId
    attempt: int
    experiment: str
    engine: str
    on_worker_loss: str
    command: list[str]
    args: Mapping[str, Any]
    data: list[DataItem]
    source: str  # key of the source archive
    outputs: list[str]
    seed: int | None
    nodes: int
    cpus: int
    memory_mib: int
    time_limit_s: float
    runtime: str = "process"
    image: str | None = None  # id of the image that the nodes' containers are made from
    gpus: int = 0  # of each node
    ranks: int = 0  # of all nodes together, for engines that have ranks
    deterministic: bool = True
    machine: str | None = None  # the cloud's name of each node's machine
    mode: str | None = None  # how the cloud starts the nodes, where it has several ways
    spot: bool = False
    waits: Waits = field(default_factory=Waits)

    @property
    def ranks_per_node(self) -> int:
        """Ranks are spread evenly."""
        return self.ranks // self.nodes

    def to_json(self) -> dict[str, Json]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            **{
                **value,
                "data": [DataItem(**item) for item in value["data"]],
                "waits": Waits(**value["waits"]),
            }
        )


def longest_s(time_limit_s: float, waits: Waits) -> float:
    """After how many seconds from their start nodes are surely hung: all their waits together."""
    return (
        time_limit_s + waits.join + waits.prepare + 2 * waits.ready + waits.logs
        + 10 * waits.stop + 600
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Keys:
    """Where a run's objects are in the store. Nodes write below `run_folder`, drivers anywhere."""

    run: str
    attempt: int = 1

    @property
    def control(self) -> str:
        """Folder that only drivers write."""
        return f"control/{self.run}/"

    @property
    def run_folder(self) -> str:
        """Folder that nodes may write."""
        return f"runs/{self.run}/"

    @property
    def open(self) -> str:
        """Marker that exists from the start of a run until it is committed."""
        return f"open/{self.run}"

    @property
    def notice(self) -> str:
        """What a function in a cloud leaves when it can do no more: made once, gone at the end."""
        return f"notices/{self.run}.json"

    @property
    def pipeline(self) -> str:
        """The pipeline's canonical bytes."""
        return f"{self.control}pipeline.yaml"

    @property
    def diff(self) -> str:
        """Difference to the commit, for a run from a dirty tree."""
        return f"{self.control}dirty.diff"

    @property
    def job(self) -> str:
        """The `JobSpec`."""
        return f"{self.run_folder}job.json"

    @property
    def secret(self) -> str:
        """The run's own secret, deleted at release."""
        return f"{self.run_folder}secret"

    @property
    def cancel(self) -> str:
        """Present when somebody wants the run to stop."""
        return f"{self.run_folder}cancel.json"

    @property
    def attempt_folder(self) -> str:
        """Everything one attempt's nodes write."""
        return f"{self.run_folder}attempt/{self.attempt}/"

    @property
    def main(self) -> str:
        """Who is main: created once."""
        return f"{self.attempt_folder}main.json"

    def node(self, index: int) -> str:
        """One node's registration: created once."""
        return f"{self.attempt_folder}nodes/{index:05d}.json"

    def prepared(self, index: int) -> str:
        """One node has code and data in place."""
        return f"{self.attempt_folder}prepared/{index:05d}.json"

    def final(self, index: int) -> str:
        """One node's last word: its logs are complete."""
        return f"{self.attempt_folder}final/{index:05d}.json"

    @property
    def world(self) -> str:
        """All nodes with their ranks, written by main."""
        return f"{self.attempt_folder}world.json"

    @property
    def engine(self) -> str:
        """The engine's address, written by main."""
        return f"{self.attempt_folder}engine.json"

    @property
    def phase(self) -> str:
        """What main is at, for people who watch."""
        return f"{self.attempt_folder}phase.json"

    @property
    def heartbeat(self) -> str:
        """Rewritten by main while it lives."""
        return f"{self.attempt_folder}heartbeat.json"

    def beat(self, index: int) -> str:
        """Rewritten by a node other than main while it lives."""
        return f"{self.attempt_folder}beats/{index:05d}.json"

    def ended(self, index: int) -> str:
        """How one node's ranks of the command ended: created once."""
        return f"{self.attempt_folder}ended/{index:05d}.json"

    @property
    def result(self) -> str:
        """How the job ended: created once."""
        return f"{self.attempt_folder}result.json"

    @property
    def done(self) -> str:
        """Tells the other nodes that they may go."""
        return f"{self.attempt_folder}done"

    @property
    def outputs(self) -> str:
        """Folder of the output files."""
        return f"{self.attempt_folder}outputs/"

    def log(self, index: int, role: str) -> str:
        """Folder of one log, in numbered parts."""
        return f"{self.attempt_folder}logs/{index:05d}/{role}/"


CONTENT = "content/sha256/"  # where content-addressed bytes are


def content_key(sha256: str) -> str:
    """Key of content-addressed bytes; accepts `sha256:<hex>` and plain hex."""
    return f"{CONTENT}{sha256.removeprefix('sha256:')}"


def is_pattern(name: str) -> bool:
    """Whether an output's name stands for several files."""
    return any(sign in name for sign in "*?[")


def matches(path: str, pattern: str) -> bool:
    """Whether an output's path is named by a pattern; `*` does not cross a `/`."""
    names, wanted = path.split("/"), pattern.split("/")
    return len(names) == len(wanted) and all(map(fnmatchcase, names, wanted))
