"""
What every engine promises to the node program.

An engine is told the node it is on, never the cloud. Main starts `main_roles`, publishes what
`announce` returns, every node starts its `worker_roles`, and when `ready` holds, main starts its
`command_roles`. With a `collective` engine the other nodes start theirs too, and the command has
ended well only where all of them have. All methods return at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from rpac_ci.jobs import JobSpec

if TYPE_CHECKING:
    from rpac_ci.pipeline import Definition


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
    collective: bool  # the command is started on every node
    packages: tuple[str, ...]  # what the experiment's lock must hold
    from_source: tuple[str, ...]  # of these, what is published as source alone
    determinism: Mapping[str, str]  # variables of the command that make its results repeatable
    aftershocks: tuple[str, ...]  # what ranks say in the end that only miss a peer
    epilogue: str  # pattern of the line behind which a launcher repeats that a rank failed
    remark: str  # what people should know before they choose it; else empty

    def check(self, definition: Definition) -> None:
        """
        Refuse what the engine cannot serve, before anything is started.

        Raises:
            PipelineError: says what is asked for and what would do.
        """
        ...

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

    def command_roles(
        self, node: NodeContext, announced: Mapping[str, Any], argv: Sequence[str]
    ) -> list[Role]:
        """
        The processes of the experiment's command on this node.

        Args:
            node: main; with a collective engine every node.
            announced: what `announce` gave on main.
            argv: the command, its placeholders filled.
        """
        ...

    def facts(self, node: NodeContext) -> dict[str, Any]:
        """On main, at the end: versions and layout, for the record."""
        ...


class EngineDefaults:
    """What most engines have in common: nothing to start, and one command on main."""

    multi_node = True
    collective = False
    packages: tuple[str, ...] = ()
    from_source: tuple[str, ...] = ()
    determinism: Mapping[str, str] = MappingProxyType({})
    aftershocks: tuple[str, ...] = ()
    epilogue = ""
    remark = ""

    def check(self, definition: Definition) -> None:
        """Nothing more."""

    def new_secret(self) -> dict[str, str]:
        """None is needed."""
        return {}

    def main_roles(self, node: NodeContext) -> list[Role]:
        """None."""
        return []

    def announce(self, node: NodeContext) -> dict[str, Any] | None:
        """Ready at once."""
        return {}

    def worker_roles(self, node: NodeContext, announced: Mapping[str, Any]) -> list[Role]:
        """None."""
        return []

    def ready(self, node: NodeContext) -> bool:
        """At once."""
        return True

    def workers(self, node: NodeContext) -> Mapping[str, Any]:
        """There are none."""
        return {}

    def command_environment(
        self, node: NodeContext, announced: Mapping[str, Any]
    ) -> dict[str, str]:
        """Nothing beyond what every command gets."""
        return {}

    def command_roles(
        self, node: NodeContext, announced: Mapping[str, Any], argv: Sequence[str]
    ) -> list[Role]:
        """The command as it is, in the engine's `command_environment`."""
        variables = self.command_environment(node, announced)
        return [Role(name="command", argv=list(argv), environment=variables)]
