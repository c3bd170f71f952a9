"""
What Docker is asked for, as pure values in the JSON of its HTTP API.

A plan shows the requests with `${…}` for what a machine or a run decides; `docker_nodes` sends the
same ones with everything filled in. A node's container has

- a network of its run alone: nodes reach each other and nothing else;
- the processors and the memory that were asked for, and no swap;
- no capabilities, a root that is read-only, and no user of the host but the one who runs rpac;
- of the host's files its own scratch folder, what its run keeps in the store, and, to read, the
  code and the inputs of its run. Nothing else of the store, and nothing that drivers write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rpac_ci.jobs import Keys, content_key

SCRATCH, STORE, CACHE = "/scratch", "/store", "/cache"
RUN, ATTEMPT, NODE, OWNER = "rpac.run", "rpac.attempt", "rpac.node", "rpac.store"  # labels
PROTOCOL_LABEL = "rpac.protocol"  # of an image
MAX_PROCESSES = 4096  # threads count
LOG_FILE_MIB = 4  # a node program says little; what it starts has logs of its own
# a documentation address, so that no name is looked up outside, not even by way of the engine's
# own resolver (CVE-2024-29018)
NO_RESOLVER = "192.0.2.53"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a machine and a run decide; every value may be a symbol `${…}`."""

    run: str
    attempt: str
    owner: str  # stands for the store
    image: str
    user: str  # uid:gid
    scratch: str  # folder of the run
    store: str  # folder of the store
    cache: str  # folder of the cache
    source: str  # hash of the source archive
    inputs: Sequence[str]  # hashes of the inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of a run."""

    index: str
    cpus: float
    memory_mib: int
    gpus: Sequence[str] = ()  # their ids
    environment: Mapping[str, str] = field(default_factory=dict)


def run_name(run: str, attempt: str) -> str:
    """Name of the run's network, and beginning of its containers' names."""
    return f"rpac-{run}-{attempt}"


def container_name(run: str, attempt: str, index: str) -> str:
    """Name of a node's container: two drivers cannot both make it."""
    return f"{run_name(run, attempt)}-{index}"


def labels(run: str, attempt: str, owner: str) -> dict[str, str]:
    """What tells an engine's objects of one attempt of a run from all others."""
    return {RUN: run, ATTEMPT: attempt, OWNER: owner}


def network(run: str, attempt: str, owner: str) -> dict[str, Any]:
    """The request for a run's network; without an address of the host in it."""
    return {
        "name": run_name(run, attempt),
        "driver": "bridge",
        "internal": True,
        "check_duplicate": True,
        "options": {"com.docker.network.bridge.inhibit_ipv4": "true"},
        "labels": labels(run, attempt, owner),
    }


def container(site: Site, node: Node) -> dict[str, Any]:
    """The request for a node's container; it runs the image's own entry point."""
    variables = {
        **node.environment,
        "HOME": SCRATCH,
        "TMPDIR": "/tmp",  # noqa: S108 - in the container, and a folder of the node's own
        "RPAC_NODE_INDEX": node.index,
        "RPAC_SCRATCH": SCRATCH,
        "RPAC_STORE": f"file://{STORE}",
        "RPAC_CACHE": CACHE,
    }
    return {
        "Image": site.image,
        "Hostname": f"node-{node.index}",
        "User": site.user,
        "WorkingDir": SCRATCH,
        "Env": [f"{name}={value}" for name, value in sorted(variables.items())],
        "Labels": {**labels(site.run, site.attempt, site.owner), NODE: node.index},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {**_limits(node), **_isolation(site), "Mounts": _mounts(site, node)},
    }


def _limits(node: Node) -> dict[str, Any]:
    memory = node.memory_mib << 20
    limits = {
        "NanoCpus": int(node.cpus * 1e9),
        "Memory": memory,
        "MemorySwap": memory,  # memory and swap together
        "ShmSize": memory // 2,  # counts as memory; 64 MiB would be too little for PyTorch
        "PidsLimit": MAX_PROCESSES,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": f"{LOG_FILE_MIB}m", "max-file": "2"},
        },
    }
    if node.gpus:
        devices = {"Driver": "", "DeviceIDs": list(node.gpus), "Capabilities": [["gpu"]]}
        limits["DeviceRequests"] = [devices]
    return limits


def _isolation(site: Site) -> dict[str, Any]:
    return {
        "NetworkMode": run_name(site.run, site.attempt),
        "Dns": [NO_RESOLVER],
        "DnsOptions": ["timeout:1", "attempts:1"],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Init": True,  # hears a request to stop before the node program can
        "IpcMode": "private",
        "RestartPolicy": {"Name": "no"},
    }


def _mounts(site: Site, node: Node) -> list[dict[str, Any]]:
    kept = Keys(site.run).run_folder.rstrip("/")
    folder = f"{site.scratch}/node-{node.index}"
    return [
        _mount(folder, SCRATCH, writable=True),
        _mount(f"{folder}/tmp", "/tmp", writable=True),  # noqa: S108 - see above
        _mount(f"{site.store}/{kept}", f"{STORE}/{kept}", writable=True),
        _mount(f"{site.scratch}/passwd", "/etc/passwd"),
        *(
            _mount(f"{outside}/{content_key(sha256)}", f"{inside}/{content_key(sha256)}")
            for outside, inside, hashes in (
                (site.store, STORE, [site.source]),
                (site.cache, CACHE, site.inputs),
            )
            for sha256 in hashes
        ),
    ]


def _mount(outside: str, inside: str, *, writable: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": outside, "Target": inside, "ReadOnly": not writable}
