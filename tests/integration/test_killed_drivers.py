"""
A driver is killed (SIGKILL) before or after each thing it does; `rpac advance` takes the run to its
end, as if nothing had happened.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.conftest import QUICK_MAIN, WriteExperiment, git
from tests.integration.conftest import Terminal, until
from tests.standins.aftermath import (
    ended,
    go_on,
    nothing_is_left,
    records,
    rpac_with,
    stopped,
    the_promise_holds,
)
from tests.standins.faults import Faults, end_all, start

pytestmark = pytest.mark.slow  # a minute and more

# what a driver does for the quick experiment, in this order
UNTIL_THERE_IS_A_RUN = [
    "put open",
    "put content/sha256/<sha256>",
    "put pipeline.yaml",
    "event created",
]
OPERATIONS = [
    "event claim stage",
    "event done stage",
    "event claim provision",
    "event done provision",
    "event claim submit",
    "create job.json",
    "start node 0",
    "event done submit",
    "event done watch",
    "event claim collect",
    "put logs/00000/node/000000.txt",
    "event done collect",
    "event claim release",
    "remove the folders",
    "delete secret",
    "event done release",
    "git fast-import rpac/log",
    "git gc",
    "git fast-import rpac/unborn",
    "git update-ref",
    "git restore",
    "event committed",
    "delete open",
]
MOMENTS = [f"{when} {name}" for name in OPERATIONS for when in ("before", "after")]
# leaves a line outside the run for each time it is executed
COUNTS = """\
with open("{executions}", "a") as file:
    file.write("once\\n")
"""
Experiment: TypeAlias = Callable[[], int]


def nightly_before(moment: str) -> Any:
    """The world before an operation is, but for a moment, the one after the operation before it."""
    often = moment[:6] != "before" and "unborn" not in moment
    return moment if often else pytest.param(moment, marks=pytest.mark.nightly)


@pytest.fixture(autouse=True)
def _no_driver_outlives_its_test() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def executions(write_experiment: WriteExperiment, tmp_path: Path) -> Experiment:
    """Writes the quick experiment; says how often its command has been executed."""
    path = tmp_path / "executions"
    write_experiment(files={"main.py": COUNTS.format(executions=path) + QUICK_MAIN})
    return lambda: len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def base(repository: Path, executions: Experiment) -> str:
    """The branch's commit before any run."""
    return git(repository, "rev-parse", "HEAD")


def kill(rpac: Terminal, moment: str, *words: str) -> None:
    """Start a driver that is killed at a moment, and wait until it is."""
    killed = rpac_with(rpac, *words, faults=Faults(at=moment))
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr


def test_the_list_of_operations_is_complete(
    rpac: Terminal, executions: Experiment, base: str, tmp_path: Path
) -> None:
    """Who adds an operation to the product must add it here, and so test a kill around it."""
    journal = tmp_path / "journal"
    rpac_with(rpac, "reproduce", "quick", faults=Faults(journal=str(journal)))
    assert journal.read_text().splitlines() == [*UNTIL_THERE_IS_A_RUN, *OPERATIONS]
    the_promise_holds(rpac, "reproduced: identical", base=base)
    assert executions() == 1


@pytest.mark.parametrize("moment", ["after event created", *map(nightly_before, MOMENTS)])
def test_a_killed_driver_is_followed_by_another(
    rpac: Terminal, executions: Experiment, base: str, moment: str
) -> None:
    kill(rpac, moment, "reproduce", "quick")
    advanced = rpac_with(rpac, "advance", "--all")
    assert advanced.returncode == 0, advanced.stdout + advanced.stderr
    the_promise_holds(rpac, "reproduced: identical", base=base)
    assert executions() == 1


@pytest.mark.parametrize(
    "moment",
    [f"{when} {name}" for name in UNTIL_THERE_IS_A_RUN for when in ("before", "after")][:-1],
)
def test_a_driver_that_is_killed_before_there_is_a_run_leaves_none(
    rpac: Terminal, executions: Experiment, base: str, moment: str
) -> None:
    kill(rpac, moment, "reproduce", "quick")
    for marker in (rpac.root / ".rpac" / "store" / "open").glob("*"):
        assert "just being started" in rpac_with(rpac, "advance", "--all").stdout
        os.utime(marker, (0, 0))
        assert "never started, forgotten" in rpac_with(rpac, "advance", "--all").stdout
    assert records(rpac.root) == []
    assert git(rpac.root, "rev-parse", "HEAD") == base
    assert executions() == 0
    nothing_is_left(rpac)


@pytest.mark.nightly
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_second_driver_is_killed_too(
    rpac: Terminal, executions: Experiment, base: str, operation: str
) -> None:
    kill(rpac, f"before {operation}", "reproduce", "quick")
    kill(rpac, f"after {operation}", "advance", "--all")
    advanced = rpac_with(rpac, "advance", "--all")
    assert advanced.returncode == 0, advanced.stdout + advanced.stderr
    the_promise_holds(rpac, "reproduced: identical", base=base)
    assert executions() == 1


def store_time_asked(rpac: Terminal) -> int:
    """When a driver last asked the store for its time, in nanoseconds; 0 when none has."""
    clocks = (rpac.root / ".rpac" / "store" / "control").glob("*/clock")
    return max((clock.stat().st_mtime_ns for clock in clocks), default=0)


@pytest.mark.parametrize("step", ["stage", "provision", "submit", "collect", "release"])
def test_a_driver_is_killed_while_another_waits_for_it(
    rpac: Terminal, executions: Experiment, base: str, step: str
) -> None:
    waiting = start(
        rpac.root, "reproduce", "quick", faults=Faults(at=f"before event claim {step}", do="stop")
    )
    stopped(waiting)
    claiming = start(
        rpac.root, "advance", "--all", faults=Faults(at=f"after event claim {step}", do="stop")
    )
    stopped(claiming)
    asked = store_time_asked(rpac)
    go_on(waiting)
    # whoever finds another's claim asks the store for the time
    until(lambda: store_time_asked(rpac) > asked)
    assert waiting.poll() is None
    claiming.kill()
    claiming.communicate()
    answer = ended(waiting)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    the_promise_holds(rpac, "reproduced: identical", base=base)
    assert executions() == 1
