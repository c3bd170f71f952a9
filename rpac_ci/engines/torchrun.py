"""
The torchrun engine: one `torchrun` agent on every node, static rendezvous at main's address.

The agents start the command's ranks, tell them who they are (`RANK`, `WORLD_SIZE`, `MASTER_ADDR`,
…) and end together: an exit of one rank ends all. Nothing is restarted, since training that goes
on from its middle is another training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rpac_ci.engines.installed import free_port, interface_of, versions
from rpac_ci.engines.interface import EngineDefaults, NodeContext, Role

# what cuBLAS needs to give equal results for equal calls
CUBLAS: Mapping[str, str] = MappingProxyType({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"})


class TorchrunEngine(EngineDefaults):
    """See `engines.interface.Engine`."""

    collective = True
    packages = ("torch",)
    determinism = CUBLAS
    # a traceback and a summary of 40 lines follow, and would hide what the rank has said itself
    epilogue = r"(?m)^E\d{4} .*failed \(exitcode: -?\d+\) local_rank: \d+ .*$"
    aftershocks = ("Connection closed by peer", "Connection reset by peer", "DistBackendError")

    def announce(self, node: NodeContext) -> dict[str, Any] | None:
        """Where the agent on main will listen."""
        return {"address": node.address, "port": free_port(node.address)}

    def command_roles(
        self, node: NodeContext, announced: Mapping[str, Any], argv: Sequence[str]
    ) -> list[Role]:
        """The agent; `--no-python` since the command names its own interpreter."""
        spec = node.spec
        agent = [
            node.interpreter, "-m", "torch.distributed.run",
            "--nnodes", str(spec.nodes), "--node-rank", str(node.index),
            "--nproc-per-node", str(spec.ranks_per_node),
            "--master-addr", announced["address"], "--master-port", str(announced["port"]),
            "--rdzv-conf", f"timeout={int(spec.waits.ready)}",
            "--max-restarts", "0", "--no-python",
        ]  # fmt: skip
        interface = interface_of(node.address)
        variables = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
        return [Role(name="command", argv=[*agent, *argv], environment=variables)]

    def facts(self, node: NodeContext) -> dict[str, Any]:
        """Versions, ranks, and what torch takes for their tensors unless the command says more."""
        spec = node.spec
        nccl = bool(spec.gpus) and not shares_gpus(spec.gpus, spec.ranks_per_node)
        return {
            "name": "torchrun", **torch_facts(node), "communication": "NCCL" if nccl else "Gloo"
        }  # fmt: skip


def shares_gpus(gpus: int, ranks: int) -> bool:
    """Whether ranks of a node have no GPU each, which NCCL refuses."""
    return 0 < gpus < ranks


def torch_facts(node: NodeContext) -> dict[str, Any]:
    """What engines of ranks have in common, for the record."""
    spec = node.spec
    return {
        "versions": versions(node.interpreter, ("torch", "horovod", "numpy")),
        "ranks": spec.ranks,
        "ranks_per_node": spec.ranks_per_node,
        "threads_per_rank": max(1, spec.cpus // max(1, spec.ranks_per_node)),
    }


ENGINE = TorchrunEngine()
