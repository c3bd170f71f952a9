"""Interrupts, kills and strays: one record, a truthful verdict, nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from rpac_ci.workspace import Workspace
from tests.conftest import QUICK, QUICK_MAIN, WriteExperiment
from tests.integration.conftest import NOTHING, Terminal, until

pytestmark = pytest.mark.slow

SLEEPS = "import time\nprint('asleep', flush=True)\ntime.sleep(300)\n"
# runs until a file appears in the repository, then ends as usual
WAITS = """\
import pathlib, time
print("waiting", flush=True)
while not pathlib.Path("{signal}").exists():
    time.sleep(0.02)
"""


def run_with(rpac: Terminal, text: str) -> str:
    """The open run, once its command has printed this."""
    logs = rpac.root / ".rpac" / "store" / "runs"

    def said() -> str | None:
        for path in logs.glob("*/attempt/*/logs/*/command/*.txt"):
            if text in path.read_text():
                return path.relative_to(logs).parts[0]
        return None

    return str(until(said))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_releases_and_records(
    rpac: Terminal, write_experiment: WriteExperiment, number: signal.Signals
) -> None:
    write_experiment(files={"main.py": SLEEPS})
    driver = rpac.start("reproduce", "quick")
    run = run_with(rpac, "asleep")
    driver.send_signal(number)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert "inconclusive (cancelled)" in out
    assert rpac.left_over() == NOTHING
    record = rpac.last()
    assert (record["run"], record["outcome"]["status"]) == (run, "cancelled")


def test_an_interrupt_while_staging(rpac: Terminal, write_experiment: WriteExperiment) -> None:
    # an environment takes a moment to build, so the interrupt meets the stage step
    yaml = QUICK.format(name="quick") + "environment: {lock: requirements.lock}\n"
    lock = f"# {os.urandom(8).hex()}\n"
    write_experiment(yaml=yaml, files={"main.py": QUICK_MAIN, "requirements.lock": lock})
    driver = rpac.start("reproduce", "quick")
    assert driver.stderr is not None
    until(lambda: "environment" in driver.stderr.readline())  # type: ignore[union-attr]
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert rpac.last()["outcome"]["status"] == "cancelled"
    assert rpac.left_over() == NOTHING


def test_a_command_that_ignores_sigterm_is_killed(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    ignores = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPS
    write_experiment(
        yaml=QUICK.format(name="quick").replace("1 min", "1 s"), files={"main.py": ignores}
    )
    answer = rpac("reproduce", "quick")
    assert answer.code == 3
    assert rpac.left_over() == NOTHING


def test_the_driver_is_killed_and_another_goes_on(
    rpac: Terminal, tmp_path: Path, write_experiment: WriteExperiment
) -> None:
    go = tmp_path / "go"
    write_experiment(files={"main.py": WAITS.format(signal=go) + QUICK_MAIN})
    driver = rpac.start("reproduce", "quick")
    run = run_with(rpac, "waiting")
    driver.kill()
    driver.communicate()
    assert rpac.runs() == []
    assert "open" in rpac("sweep").out, "sweep names the run and leaves it alone"
    assert len(rpac.marked()) >= 2, "the nodes work on without a driver"

    go.touch()
    answer = rpac("advance", "--all")

    assert answer.out == f"{run}: reproduced: identical\n"
    assert rpac.runs() == [run]
    assert rpac.left_over() == NOTHING
    assert rpac("advance", "--all").out == "no open runs\n"
    assert rpac("advance", run).out == f"{run}: over already: reproduced: identical\n"
    assert rpac("sweep").out == "nothing is left over\n"


# whoever ends the older of two processes makes the younger one start a third
GUARDED = """\
import os, subprocess, sys, time
older = os.getpid()
if os.fork():
    time.sleep(300)
print("guarded", flush=True)
while os.getppid() == older:
    time.sleep(0.001)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
time.sleep(300)
"""


def test_a_sweep_removes_what_began_while_it_swept(rpac: Terminal) -> None:
    store = Workspace.open(rpac.root).storage.url
    mark = {"RPAC_RUN": "20260102T030405Z-0a1b2c3d", "RPAC_STORE": store}
    with subprocess.Popen(
        [sys.executable, "-c", GUARDED], env={**os.environ, **mark}, stdout=subprocess.PIPE
    ) as older:
        assert older.stdout
        until(older.stdout.readline)
        swept = rpac("sweep", "--json").json
    assert {one["action"] for one in swept} == {"removed"}
    assert rpac.left_over() == NOTHING


def test_two_drivers_at_once_make_one_record(
    rpac: Terminal, tmp_path: Path, write_experiment: WriteExperiment
) -> None:
    go = tmp_path / "go"
    write_experiment(files={"main.py": WAITS.format(signal=go) + QUICK_MAIN})
    first = rpac.start("reproduce", "quick")
    run = run_with(rpac, "waiting")
    second = rpac.start("advance", run)
    go.touch()
    assert [first.wait(60), second.wait(60)] == [0, 0]
    first.communicate()
    second.communicate()
    assert rpac.runs() == [run]
    assert rpac.left_over() == NOTHING


def test_a_driver_that_died_before_its_first_event_is_forgotten(
    rpac: Terminal, repository: Path
) -> None:
    marker = repository / ".rpac" / "store" / "open" / "20260101T000000Z-00000000"
    marker.parent.mkdir(parents=True)
    marker.touch()
    assert "just being started" in rpac("advance", "--all").out
    os.utime(marker, (0, 0))
    assert "forgotten" in rpac("advance", "--all").out
    assert not marker.exists()


@pytest.mark.parametrize("victim", ["node", "command"])
def test_a_killed_node_is_no_evidence_and_a_killed_command_is_a_failure(
    rpac: Terminal, write_experiment: WriteExperiment, victim: str
) -> None:
    write_experiment(files={"main.py": SLEEPS})
    driver = rpac.start("reproduce", "quick")
    run_with(rpac, "asleep")
    word = "rpac_ci.node" if victim == "node" else "main.py"
    target = next(p for p in rpac.marked() if word in p.cmdline())
    target.kill()
    out, err = driver.communicate(timeout=60)
    expected = (5, "could not run") if victim == "node" else (3, "inconclusive (run failed)")
    assert (driver.returncode, rpac.last()["verdict"]["outcome"]) == expected, out + err
    assert rpac.left_over() == NOTHING


FORKS = """\
import os, subprocess, sys
environment = {} if sys.argv[1] == "8" else None
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "stray-{mark}"],
                 env=environment, start_new_session=True, stdin=subprocess.DEVNULL,
                 stdout=subprocess.DEVNULL if sys.argv[1] == "7" else None)
"""


@pytest.mark.parametrize("level", [7, 8])
def test_children_that_left_the_group_are_found(
    rpac: Terminal, write_experiment: WriteExperiment, level: int
) -> None:
    """Level 8 also clears the stray's environment and holds the command's output open."""
    mark = os.urandom(8).hex()
    write_experiment(files={"main.py": FORKS.replace("{mark}", mark) + QUICK_MAIN})
    assert rpac("reproduce", "quick", f"args.level={level}").code == 0
    assert rpac.left_over() == NOTHING
    assert [p for p in psutil.process_iter(["cmdline"]) if f"stray-{mark}" in _line(p)] == []


def _line(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])


def test_sweep_removes_what_a_finished_run_left(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    rpac("reproduce", "quick")
    run = rpac.last()["run"]
    store = (repository / ".rpac" / "store").resolve().as_uri()
    environment = {**os.environ, "RPAC_RUN": run, "RPAC_STORE": store}
    stray = subprocess.Popen(["sleep", "300"], env=environment)
    folder = repository / ".rpac" / "local" / f"{run}-1"
    folder.mkdir(parents=True)
    told = rpac("sweep", "--dry-run", "--json").json
    assert {item["action"] for item in told} == {"found"}
    assert stray.poll() is None
    assert len(rpac("sweep", "--json").json) == 2
    assert stray.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_many_terminals_at_once(rpac: Terminal, write_experiment: WriteExperiment) -> None:
    write_experiment()
    terminals = [rpac.start("reproduce", "quick", "--json") for _ in range(4)]
    answers: list[Any] = [terminal.communicate(timeout=120) for terminal in terminals]
    assert [terminal.returncode for terminal in terminals] == [0] * 4, answers
    assert len(set(rpac.runs())) == 4
    assert rpac.left_over() == NOTHING
