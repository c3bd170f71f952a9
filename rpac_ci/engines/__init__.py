"""Engines by name; each is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rpac_ci.errors import PipelineError
from rpac_ci.jobs import EngineName

if TYPE_CHECKING:
    from rpac_ci.engines.interface import Engine
    from rpac_ci.pipeline import Definition

MODULES = {
    EngineName.PROCESS.value: "rpac_ci.engines.process",
    EngineName.DASK.value: "rpac_ci.engines.dask",
}


def load(name: str) -> Engine:
    """The engine of this name."""
    engine: Engine = importlib.import_module(MODULES[name]).ENGINE
    return engine


def check(definition: Definition) -> None:
    """
    Refuse what an engine cannot serve, before anything is started.

    Raises:
        PipelineError: several nodes for an engine that runs on one, or no lock for one that
            brings its own programs.
    """
    engine = load(definition.engine.name.value)
    if definition.resources.nodes > 1 and not engine.multi_node:
        raise PipelineError(
            f"engine {definition.engine.name.value} runs on one node, "
            f"{definition.resources.nodes} are asked for",
            hint="nodes=1, or an engine that spans nodes such as dask",
        )
    if engine.packages and definition.environment.lock is None:
        raise PipelineError(
            f"engine {definition.engine.name.value} needs {', '.join(engine.packages)} "
            "in the experiment's environment, and no lock is declared",
            hint="add to the experiment: environment: {lock: requirements.lock}",
        )
