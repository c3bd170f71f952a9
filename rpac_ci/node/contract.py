"""The variables that a cloud gives to every node, and nothing else it may rely on."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rpac_ci.jobs import PROTOCOL, NodeExit


class ContractError(Exception):
    """The environment does not hold a valid contract."""

    exit_code = NodeExit.PLAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Who this node is and where its run lives."""

    run: str
    attempt: int
    nodes: int
    store: str
    scratch: Path
    index: int | None = None  # hint of the provider; none when it has none
    address: str | None = None
    environment: Path | None = None  # virtual environment, in the process runtime
    cache: Path

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """
        Read `RPAC_…` variables.

        Raises:
            ContractError: one is missing or wrong, or driver and node speak other protocols.
        """
        try:
            protocol = int(variables["RPAC_PROTOCOL"])
            if protocol != PROTOCOL:
                raise ContractError(
                    f"this node speaks protocol {PROTOCOL}, the driver {protocol}: "
                    "rebuild the image with the driver's version of rpac_ci"
                )
            scratch = Path(variables.get("RPAC_SCRATCH") or Path.cwd())
            environment = variables.get("RPAC_ENVIRONMENT")
            # a cloud's own variable, by its name: its value differs from node to node
            named = variables.get("RPAC_NODE_INDEX_FROM", "")
            index = variables.get("RPAC_NODE_INDEX") or variables.get(named)
            return cls(
                run=variables["RPAC_RUN"],
                attempt=int(variables["RPAC_ATTEMPT"]),
                nodes=int(variables["RPAC_NODES"]),
                store=variables["RPAC_STORE"],
                scratch=scratch,
                index=int(index) if index else None,
                address=variables.get("RPAC_NODE_ADDRESS"),
                environment=Path(environment) if environment else None,
                cache=Path(variables.get("RPAC_CACHE") or scratch / "cache"),
            )
        except KeyError as exc:
            raise ContractError(f"{exc.args[0]} is not set") from exc
        except ValueError as exc:
            raise ContractError(f"a variable of the contract is not a number: {exc}") from exc


def own_address() -> str:
    """The address other nodes can reach: the one used towards the outside, else the host's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address: nothing is sent
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostbyname(socket.gethostname())
