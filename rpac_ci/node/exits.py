"""With which code the node program ends for each reason; the command's own is in the result."""

from __future__ import annotations

from collections.abc import Mapping

from rpac_ci.jobs import NodeExit, Reason

EXIT: Mapping[Reason, int] = {
    Reason.COMPLETED: NodeExit.OK,
    Reason.CANCELLED: NodeExit.OK,
    Reason.WORLD_INCOMPLETE: NodeExit.WORLD,
    Reason.ENGINE_FAILED: NodeExit.ENGINE,
    Reason.STAGING_FAILED: NodeExit.ENGINE,
    Reason.WORKER_LOST: NodeExit.WORKER_LOST,
    Reason.NODE_LOST: NodeExit.WORKER_LOST,
    Reason.TIME_LIMIT: NodeExit.DEADLINE,
    Reason.COMMAND_FAILED: 1,
    Reason.OUT_OF_MEMORY: 1,
    Reason.RUNNER_LOST: NodeExit.WORKER_LOST,
}
