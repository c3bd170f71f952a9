"""Clouds by name; each is imported when it is first used."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from rpac_ci.errors import PipelineError

if TYPE_CHECKING:
    from rpac_ci.clouds.interface import Cloud, Planner
    from rpac_ci.workspace import Place

_NAMES = ("local", "aws", "azure")
PLANNERS = {name: f"rpac_ci.clouds.{name}.plan" for name in _NAMES}
DRIVERS = {name: f"rpac_ci.clouds.{name}.driver" for name in _NAMES}


def planner(name: str) -> Planner:
    """
    The pure half of a cloud.

    Raises:
        PipelineError: no cloud of this name in this version.
    """
    if name not in PLANNERS:
        near = difflib.get_close_matches(name, PLANNERS, n=1)
        raise PipelineError(
            f"there is no cloud {name!r} in this version",
            hint=f"did you mean cloud={near[0]}?" if near else f"clouds: {', '.join(PLANNERS)}",
        )
    found: Planner = importlib.import_module(PLANNERS[name]).PLANNER
    return found


def load(name: str, workspace: Place) -> Cloud:
    """The acting half of a cloud, for the runs of one place."""
    found: Cloud = importlib.import_module(DRIVERS[name]).connect(workspace)
    return found
