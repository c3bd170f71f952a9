"""
Runs in containers, from the command to the commit: what may go wrong there ends as it should, and
leaves no container, network or folder.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rpac_ci.clouds.local.docker_engine import connect
from rpac_ci.clouds.local.docker_objects import DockerObjects, owner_of
from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage
from tests.conftest import WriteExperiment, git
from tests.docker_engine import need_image
from tests.integration.conftest import NOTHING, Terminal
from tests.standins.aftermath import ended, the_promise_holds
from tests.standins.faults import end_all, start
from tests.standins.waiting import until

pytestmark = pytest.mark.slow

LIMIT_S = 120.0
YAML = """\
id: held
title: A command that waits for a word
engine: process
command: [python, main.py, "{args.mode}", "{outputs}"]
args: {mode: wait}
resources: {cpus: 1, memory: 256 MiB}
outputs: [metrics.json]
verify:
  level: {expect: 7}
limits: {time: 3 min}
"""
MAIN = """\
import json, pathlib, sys, time
mode, out = sys.argv[1:]
print("begun", flush=True)
if mode == "greedy":
    held = [bytearray(1 << 24) for _ in range(200)]
while mode == "wait" and not (pathlib.Path.home() / "GO").exists():
    time.sleep(0.02)
pathlib.Path(out, "metrics.json").write_text(json.dumps({"level": 7}))
"""


CLUSTER = """\
id: squares
title: Squares on a cluster
engine: {name: dask, on_worker_loss: tolerate}
command: [python, main.py, "{outputs}"]
environment: {image: IMAGE}
resources: {nodes: 2, cpus: 1, memory: 512 MiB}
outputs: [metrics.json]
verify:
  total: {expect: 285}
limits: {time: 4 min}
"""
SQUARES = """\
import json, pathlib, sys, time
from distributed import Client

if __name__ == "__main__":
    client = Client(timeout=60)
    print("begun", flush=True)
    while not (pathlib.Path.home() / "GO").exists():
        time.sleep(0.02)
    total = sum(client.gather(client.map(lambda n: n * n, range(10))))
    pathlib.Path(sys.argv[1], "metrics.json").write_text(json.dumps({"total": total}))
"""


class Run:
    """A run in containers whose command waits for `go`, by a driver of its own."""

    def __init__(self, rpac: Terminal) -> None:
        self.rpac = rpac
        self.base = git(rpac.root, "rev-parse", "HEAD")
        self.storage = Storage.at(rpac.root / ".rpac" / "store")
        self.client: Any = connect()
        self.objects = DockerObjects(self.client, owner_of(self.storage.url))
        self.driver: subprocess.Popen[str]

    def start(self, experiment: str = "held") -> None:
        """Start it and wait until its command has begun."""
        self.driver = start(self.rpac.root, "reproduce", experiment, "runtime=docker")
        self.until(lambda: self._phase() == "command")
        self.until(lambda: self.storage.list(Keys(self.name).log(0, "command")))

    @property
    def name(self) -> str:
        """The run's id, once there is a run."""
        return next(iter(self.storage.names("open/")), "")

    def _phase(self) -> str:
        name = self.name
        phase = self.storage.get_json(Keys(name).phase) if name else None
        return str(phase["name"]) if phase else ""

    def container(self, index: int) -> str:
        """The container of a node."""
        return f"rpac-{self.name}-1-{index}"

    def go(self) -> None:
        """Let the command come to its end."""
        (self.rpac.root / ".rpac" / "local" / f"{self.name}-1" / "node-0" / "GO").touch()

    def until(self, what: Callable[[], Any]) -> None:
        """Wait for it; a driver that ends before has failed."""

        def look() -> Any:
            if self.driver.poll() not in (None, -signal.SIGKILL):
                out, err = self.driver.communicate()
                raise AssertionError(f"the driver ended early:\n{out}\n{err}")
            return what()

        until(look, limit_s=LIMIT_S)

    def left(self) -> list[str]:
        """Containers and networks of this repository's runs."""
        return [
            *(found["Names"][0] for found in self.objects.containers()),
            *(found["Name"] for found in self.objects.networks()),
        ]


@pytest.fixture(autouse=True)
def _image() -> None:
    need_image("process")


@pytest.fixture
def run(rpac: Terminal, write_experiment: WriteExperiment) -> Iterator[Run]:
    write_experiment("held", YAML, {"main.py": MAIN})
    run = Run(rpac)
    yield run
    end_all()
    left = run.left()
    for container in run.objects.containers():
        run.objects.remove_container(container["Id"])
    for network in run.objects.networks():
        run.objects.remove_network(network["Id"])
    assert left == []


# --- a run as it should be ------------------------------------------------------------------------


def test_a_container_reproduces_what_a_process_gave(run: Run) -> None:
    rpac = run.rpac
    first = rpac("reproduce", "held", "args.mode=go")
    assert first.code == 0, first.out + first.err
    before = rpac.last()
    again = rpac("reproduce", f"held@{before['run']}", "runtime=docker")
    assert again.code == 0, again.out + again.err
    record = rpac.last()
    assert record["verdict"]["outcome"] == "reproduced: identical"
    assert record["circumstances"]["runtime"] == "docker"
    assert rpac.left_over() == NOTHING


def test_the_plan_needs_no_engine_and_shows_what_will_be_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    answer = run.rpac("plan", "held", "runtime=docker", "--json")
    assert answer.code == 0, answer.err
    assert '"ReadonlyRootfs"' in answer.out
    assert str(run.rpac.root) not in answer.out


def test_an_image_of_its_own_is_started_by_digest_and_another_one_is_not(run: Run) -> None:
    image = need_image("process")
    name = image.name.rpartition(":")[0]
    answer = run.rpac("reproduce", "held", "args.mode=go", f"image={name}@{image.id}")
    assert answer.code == 0, answer.out + answer.err
    assert run.rpac.last()["circumstances"]["runtime"] == "docker"

    wrong = run.rpac("reproduce", "held", "args.mode=go", f"image={name}@sha256:{'0' * 64}")
    assert wrong.code == 5
    assert "could not run" in wrong.out
    assert run.rpac.left_over() == NOTHING


# --- things that happen ---------------------------------------------------------------------------


def test_too_little_memory_is_named(run: Run) -> None:
    answer = run.rpac("reproduce", "held", "runtime=docker", "args.mode=greedy")
    assert answer.code == 3, answer.out + answer.err
    record = the_promise_holds(run.rpac, "inconclusive (run failed)", base=run.base)
    assert record["outcome"]["reason"] == "out of memory"


def test_a_killed_main_container_is_a_lost_runner(run: Run) -> None:
    run.start()
    run.client.kill(run.container(0), signal.SIGKILL)
    answer = ended(run.driver)
    assert answer.returncode == 5, answer.stdout + answer.stderr
    record = the_promise_holds(run.rpac, "could not run", base=run.base)
    assert record["outcome"]["reason"] == "runner lost"
    assert run.left() == []


def test_an_interrupt_stops_the_containers_and_records_the_run(run: Run) -> None:
    run.start()
    run.driver.send_signal(signal.SIGINT)
    answer = ended(run.driver)
    assert answer.returncode == 130, answer.stdout + answer.stderr
    the_promise_holds(run.rpac, "inconclusive (cancelled)", base=run.base)


def test_a_killed_driver_leaves_a_run_that_goes_on(run: Run) -> None:
    run.start()
    run.driver.kill()
    run.driver.communicate()
    swept = run.rpac("sweep")
    assert f"container {run.container(0)}" in swept.out
    assert "kept: the run is open" in swept.out
    run.go()
    answer = run.rpac("advance", run.name)
    assert answer.code == 0, answer.out + answer.err
    the_promise_holds(run.rpac, "reproduced: identical", base=run.base)


def test_what_a_run_has_left_that_is_over_is_swept(run: Run) -> None:
    run.start()
    name = run.name
    run.driver.kill()
    run.driver.communicate()
    run.storage.delete(Keys(name).open)
    found = run.rpac("sweep", "--dry-run")
    for what in (
        f"container rpac-{name}-1-0",
        f"network rpac-{name}-1",
        f"folder {name}-1",
    ):
        assert what in found.out
    assert len(run.left()) == 2
    swept = run.rpac("sweep")
    assert "could not be removed" not in swept.out
    assert run.left() == []
    assert run.rpac("sweep").out == "nothing is left over\n"


def test_without_an_engine_it_could_not_run_and_the_reason_is_given(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setenv("DOCKER_HOST", "unix:///no/such/socket")
        answer = run.rpac("reproduce", "held", "runtime=docker")
    assert answer.code == 5, answer.out + answer.err
    the_promise_holds(run.rpac, "could not run", base=run.base)


# --- two nodes ------------------------------------------------------------------------------------


@pytest.fixture
def cluster(run: Run, write_experiment: WriteExperiment) -> Run:
    """A Dask cluster of two containers whose command has begun."""
    image = need_image("dask")
    named = f"{image.name.rpartition(':')[0]}@{image.id}"
    write_experiment("squares", CLUSTER.replace("IMAGE", named), {"main.py": SQUARES})
    run.base = git(run.rpac.root, "rev-parse", "HEAD")
    run.start("squares")
    return run


def test_both_nodes_of_a_cluster_are_proved(cluster: Run) -> None:
    cluster.go()
    answer = ended(cluster.driver)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    around = the_promise_holds(cluster.rpac, "reproduced: identical", base=cluster.base)[
        "circumstances"
    ]
    assert len(around["nodes"]) == 2
    assert around["workers"] == {"asked": 2, "seen": 2, "alive": 2, "lost": 0}


def test_a_node_that_is_cut_off_is_a_lost_worker_and_the_result_stands(cluster: Run) -> None:
    [network] = cluster.objects.networks()
    cluster.client.disconnect_container_from_network(cluster.container(1), network["Id"])
    cluster.go()
    answer = ended(cluster.driver)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    record = the_promise_holds(cluster.rpac, "reproduced: identical", base=cluster.base)
    assert record["circumstances"]["workers"]["lost"] == 1
