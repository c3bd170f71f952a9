"""When and where tasks ran, and what that says about overhead. Nothing here is ever compared."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple


class Span(NamedTuple):
    """One task on one worker, with the clock of its node in seconds."""

    round: int
    task: int
    worker: str
    start: float
    end: float


def summarize(
    engine: str, spans: Sequence[Span], ready: float, edges: Sequence[float]
) -> dict[str, Any]:
    """
    Turn spans into numbers, all times in seconds from the start of the first round.

    Args:
        engine: that ran them.
        spans: of all tasks.
        ready: how long it took until the engine could be asked, seconds.
        edges: when each round began, and when the last one ended, by the clock of main.

    Returns:
        JSON: `busy_s` is the sum of all spans, `busy_share` that sum over workers times wall time,
        `overhead_per_task_s` what else of the workers' time went by, for each task.
    """
    workers = lanes(spans)
    wall = edges[-1] - edges[0]
    busy = sum(span.end - span.start for span in spans)
    idle = len(workers) * wall - busy
    return {
        "engine": engine,
        "workers": workers,
        "ready_s": round(ready, 3),
        "wall_s": round(wall, 3),
        "busy_s": round(busy, 3),
        "busy_share": round(busy / (len(workers) * wall), 4),
        "overhead_per_task_s": round(idle / len(spans), 5),
        "rounds_s": [round(b - a, 3) for a, b in pairwise(edges)],
        "tasks": [
            {
                "round": span.round,
                "task": span.task,
                "worker": workers.index(span.worker),
                "start_s": round(span.start - edges[0], 4),
                "end_s": round(span.end - edges[0], 4),
            }
            for span in sorted(spans)
        ],
    }


def lanes(spans: Sequence[Span]) -> list[str]:
    """Workers in the order of their names, as they stand in the figure from above."""
    return sorted({span.worker for span in spans})


def running(spans: Sequence[Span]) -> list[tuple[float, int]]:
    """How many tasks ran at once: (time, number from then on), in order of time."""
    changes = sorted([(s.end, -1) for s in spans] + [(s.start, 1) for s in spans])
    steps, count = [], 0
    for moment, change in changes:
        count += change
        steps.append((moment, count))
    return steps
