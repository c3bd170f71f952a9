"""
`python -m tests.benchmarks.compiling`: one pipeline compiled for every cloud.

The first time is that of a new process after its imports, catalogs read; the others follow in the
same process. Nothing is asserted: a table is for reading. What is asked for: under 100 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable

from tests.benchmarks.__main__ import timed

PROCESSES = 7


def main() -> None:
    """Print one line for the first time and one for the others."""
    first = sorted(
        float(subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.compiling", "once"],
            check=True, capture_output=True, text=True, timeout=120,
        ).stdout)
        for _ in range(PROCESSES)
    )  # fmt: skip
    action, names = compiling()
    again = sorted(timed(action, 50))
    what = f"a pipeline for {', '.join(names)}"
    for when, seconds in (("first time", first), ("again", again)):
        middle = statistics.median(seconds) * 1000
        spread = f"[{seconds[0] * 1000:.1f}, {seconds[-1] * 1000:.1f}]"
        print(f"compiling {what}, {when:<11} {middle:>8.1f} ms {spread}")


def compiling() -> tuple[Callable[[], None], list[str]]:
    """What is measured, everything imported, and the clouds it is for."""
    from rpac_ci import catalog, clouds, engines, overriding, placing  # noqa: F401
    from rpac_ci.commands import parse_overrides
    from rpac_ci.pipeline import compile_pipeline
    from tests.unit.builders import definition

    defined = definition(
        engine="dask", environment={"lock": "requirements.lock"}, resources={"nodes": 2}
    )
    words = {name: parse_overrides([f"cloud={name}"]) for name in clouds.PLANNERS}
    for name in clouds.PLANNERS:
        clouds.planner(name)

    def action() -> None:
        for overrides in words.values():
            compile_pipeline(defined, overrides=overrides)

    return action, list(clouds.PLANNERS)


def once() -> None:
    """Print how many seconds the first time takes."""
    import time

    action, _ = compiling()
    began = time.perf_counter()
    action()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    once() if sys.argv[1:] == ["once"] else main()
