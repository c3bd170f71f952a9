"""
The Horovod engine: ranks that find each other by Gloo's rendezvous, without ssh and without MPI.

Main runs Horovod's own rendezvous server (`inside/horovod_rendezvous.py`); every node starts its
ranks of the command, each told by `HOROVOD_…` variables who it is. That is what `horovodrun --gloo`
does over ssh. Horovod's last release, 0.28.1, is of June 2023 and exists as source alone: rpac
builds it for the torch of the experiment's lock (`horovod_build.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rpac_ci.engines.installed import interface_of
from rpac_ci.engines.interface import EngineDefaults, NodeContext, Role
from rpac_ci.engines.torchrun import CUBLAS, torch_facts

# in a folder of its own: Python puts it first on the path, and here is a horovod.py
_RENDEZVOUS = Path(__file__).parent / "inside" / "horovod_rendezvous.py"
# Tensors are summed one by one: which of them would be fused into one buffer hangs on timing, and
# with it, from three ranks on, the order of summation. Tuning changes that while it runs.
_ONE_BY_ONE = {"HOROVOD_FUSION_THRESHOLD": "0", "HOROVOD_AUTOTUNE": "0"}


class HorovodEngine(EngineDefaults):
    """See `engines.interface.Engine`."""

    collective = True
    packages = ("torch", "cloudpickle", "psutil", "pyyaml", "packaging")
    determinism = MappingProxyType({**CUBLAS, **_ONE_BY_ONE})
    aftershocks = ("HorovodInternalError",)
    remark = "Horovod has had no release since June 2023; engine=torchrun is what is kept up"

    def main_roles(self, node: NodeContext) -> list[Role]:
        """The rendezvous server."""
        hosts = ",".join(f"{_host(i)}:{node.spec.ranks_per_node}" for i in range(node.spec.nodes))
        argv = [node.interpreter, str(_RENDEZVOUS), hosts, str(node.spec.ranks)]
        argv.append(str(_port_file(node)))
        return [Role(name="rendezvous", argv=argv)]

    def announce(self, node: NodeContext) -> dict[str, Any] | None:
        """Main's address, once the server has said on which port it listens."""
        try:
            port = json.loads(_port_file(node).read_text())["port"]
        except (OSError, ValueError):
            return None
        return {"address": node.address, "port": port}

    def command_roles(
        self, node: NodeContext, announced: Mapping[str, Any], argv: Sequence[str]
    ) -> list[Role]:
        """As many ranks of the command as each node has."""
        return [
            Role(
                name=f"rank-{rank}" if rank else "command",
                argv=list(argv),
                environment=_variables(node, announced, rank),
            )
            for rank in _ranks(node)
        ]

    def facts(self, node: NodeContext) -> dict[str, Any]:
        """Versions, ranks, and whether tensors were fused."""
        facts = {"name": "horovod", **torch_facts(node), "communication": "Gloo"}
        return {**facts, "tensor_fusion": not node.spec.deterministic}


def _host(index: int) -> str:
    """A name for a node: Gloo compares names, and never looks them up."""
    return f"node-{index:05d}"


def _ranks(node: NodeContext) -> range:
    count = node.spec.ranks_per_node
    return range(node.index * count, (node.index + 1) * count)


def _variables(node: NodeContext, announced: Mapping[str, Any], rank: int) -> dict[str, str]:
    """What a rank is told; ranks are numbered node by node, as Horovod's assignments do it."""
    spec, interface = node.spec, interface_of(node.address)
    values = {
        "HOROVOD_HOSTNAME": _host(node.index),
        "HOROVOD_RANK": rank,
        "HOROVOD_SIZE": spec.ranks,
        "HOROVOD_LOCAL_RANK": rank % spec.ranks_per_node,
        "HOROVOD_LOCAL_SIZE": spec.ranks_per_node,
        "HOROVOD_CROSS_RANK": node.index,
        "HOROVOD_CROSS_SIZE": spec.nodes,
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": announced["address"],
        "HOROVOD_GLOO_RENDEZVOUS_PORT": announced["port"],
        "HOROVOD_GLOO_TIMEOUT_SECONDS": int(spec.waits.ready),
        "HOROVOD_GLOO_IFACE": interface,
        "NCCL_SOCKET_IFNAME": interface,
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }
    return {name: str(value) for name, value in values.items()}


def _port_file(node: NodeContext) -> Path:
    return node.folder / "rendezvous.json"


ENGINE = HorovodEngine()
