"""Engines by name; each is imported when it is first used."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

from rpac_ci.errors import PipelineError
from rpac_ci.jobs import EngineName
from rpac_ci.quantities import count

if TYPE_CHECKING:
    from rpac_ci.engines.interface import Engine
    from rpac_ci.pipeline import Definition

MODULES = {name.value: f"rpac_ci.engines.{name.value}" for name in EngineName}


def load(name: str) -> Engine:
    """The engine of this name."""
    engine: Engine = importlib.import_module(MODULES[name]).ENGINE
    return engine


def published_as_source(lock: bytes) -> tuple[str, ...]:
    """
    Packages of a lock that have no wheels and may be built: those that some engine names.

    Whichever engine runs the experiment: one lock may serve several.
    """
    known = {name for engine in MODULES for name in load(engine).from_source}
    text = lock.decode("utf-8", "replace").lower()
    lines = (re.compile(rf"^{re.escape(name)}\s*(\[|=|@)", re.MULTILINE) for name in sorted(known))
    return tuple(name for name, line in zip(sorted(known), lines, strict=True) if line.search(text))


def remarks(definition: Definition) -> list[str]:
    """What people should know about the engine before they use it."""
    return list(filter(None, (load(definition.engine.name.value).remark, _sharing(definition))))


def _sharing(definition: Definition) -> str:
    from rpac_ci.engines.torchrun import shares_gpus
    from rpac_ci.pipeline import total_ranks

    need = definition.resources
    ranks = (total_ranks(definition) or 0) // need.nodes
    if definition.engine.name is not EngineName.TORCHRUN or not shares_gpus(need.gpus, ranks):
        return ""
    return (
        f"{ranks} ranks share {count(need.gpus, 'GPU')} of a node: NCCL refuses that, Gloo may do"
    )


def check(definition: Definition) -> None:
    """
    Refuse what an engine cannot serve, before anything is started.

    Raises:
        PipelineError: several nodes for an engine that runs on one, no lock or image for one that
            brings its own programs, or ranks that do not spread evenly over the nodes.
    """
    name = definition.engine.name
    engine = load(name.value)
    nodes, environment = definition.resources.nodes, definition.environment
    if nodes > 1 and not engine.multi_node:
        raise PipelineError(
            f"engine {name} runs on one node, {nodes} are asked for",
            hint="nodes=1, or an engine that spans nodes such as dask",
        )
    if engine.packages and environment.lock is None and environment.image is None:
        raise PipelineError(
            f"engine {name} needs {', '.join(engine.packages)} "
            "in the experiment's environment, and no lock is declared",
            hint="add to the experiment: environment: {lock: requirements.lock}",
        )
    _check_ranks(definition)
    engine.check(definition)


def _check_ranks(definition: Definition) -> None:
    from rpac_ci.pipeline import total_ranks

    ranks, nodes = total_ranks(definition), definition.resources.nodes
    if ranks is None and definition.engine.ranks is not None:
        raise PipelineError(
            f"engine {definition.engine.name} has no ranks",
            hint="leave out engine.ranks, or take an engine that has them: horovod, torchrun",
        )
    if ranks is not None and ranks % nodes:
        fitting = [str(n) for n in range(1, min(ranks, 64) + 1) if ranks % n == 0]
        raise PipelineError(
            f"{ranks} ranks do not spread evenly over {nodes} nodes",
            hint=f"nodes={', '.join(fitting)}; more ranks are another experiment",
        )
