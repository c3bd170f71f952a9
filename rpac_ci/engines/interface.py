"""
What every engine promises to the node program.

An engine is told the node it is on, never the cloud. Main starts `main_roles`, publishes what
`announce` returns, every node starts its `worker_roles`, and when `ready` holds, main runs the
experiment's command with `command_environment`. All methods return at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rpac_ci.jobs import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A process of the engine on one node."""

    name: str
    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """The node an engine is on."""

    spec: JobSpec
    index: int
    address: str
    interpreter: str  # `python` of the experiment's environment
    folder: Path  # the engine's own files, private to this node
    secret: Mapping[str, str]


class Engine(Protocol):
    """See the module's docstring for the order of calls."""

    multi_node: bool
    packages: tuple[str, ...]  # what the experiment's environment must hold

    def new_secret(self) -> dict[str, str]:
        """A secret for one run, made by the driver; empty when the engine needs none."""
        ...

    def main_roles(self, node: NodeContext) -> list[Role]:
        """Processes on main that the workers need first."""
        ...

    def announce(self, node: NodeContext) -> dict[str, Any] | None:
        """Where the workers connect to, once the main roles are up; None until then."""
        ...

    def worker_roles(self, node: NodeContext, announced: Mapping[str, Any]) -> list[Role]:
        """Processes on every node, main included."""
        ...

    def ready(self, node: NodeContext) -> bool:
        """On main: every worker that was asked for is there."""
        ...

    def workers(self, node: NodeContext) -> Mapping[str, Any]:
        """On main: `asked`, `seen`, `alive` and `lost` workers, by the engine's own account."""
        ...

    def command_environment(
        self, node: NodeContext, announced: Mapping[str, Any]
    ) -> dict[str, str]:
        """Variables for the experiment's command."""
        ...

    def facts(self, node: NodeContext) -> dict[str, Any]:
        """On main, at the end: versions and layout, for the record."""
        ...
