"""The local cloud: processes and folders of this machine, found again by their mark."""

from __future__ import annotations

import ctypes
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from rpac_ci.clouds.local.driver import LocalCloud, connect
from rpac_ci.errors import CapacityError
from rpac_ci.jobs import JobSpec
from rpac_ci.storage import Storage
from rpac_ci.workspace import Workspace
from tests.standins.waiting import until
from tests.unit.clouds.contract import SLEEP, CloudContract, Started, make_job


@dataclass(frozen=True)
class LocalBench:
    """The local cloud over a folder."""

    storage: Storage
    scratch: Path

    def connect(self) -> LocalCloud:
        return LocalCloud(self.scratch, self.storage.url)

    def too_large(self, spec: JobSpec) -> JobSpec:
        return replace(spec, memory_mib=10**9)

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Live processes of this test, those with this word in their command line."""
        found = []
        for process in psutil.process_iter():
            try:
                here = Path(process.cwd()).is_relative_to(self.scratch.resolve())
                mine = here or process.environ().get("RPAC_STORE") == self.storage.url
                dead = process.status() == psutil.STATUS_ZOMBIE
                if mine and not dead and word in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LocalBench]:
    bench = LocalBench(Storage.at(tmp_path / "store"), tmp_path / "scratch")
    yield bench
    for process in bench.processes():
        process.kill()


class TestLocalCloud(CloudContract):
    """The promises of every cloud, kept by this one."""

    @pytest.fixture
    def bench(self, bench: LocalBench) -> LocalBench:
        return bench


def test_a_node_without_a_job_goes_at_once(bench: LocalBench) -> None:
    job = Started(bench, make_job(bench.storage))
    bench.storage.delete(f"runs/{job.spec.run}/job.json")
    bench.connect().provision(job.spec)
    job.names = job.submit()
    until(lambda: not job.goes_on)
    assert bench.connect().node_log(job.spec, 0) == "rpac node: there is no job in the store\n"


@pytest.mark.slow
def test_a_node_that_does_not_listen_is_killed(bench: LocalBench) -> None:
    job = Started.on(bench)
    until(lambda: bench.processes("sleep 600"))
    (node,) = bench.processes("rpac_ci.node")
    node.send_signal(signal.SIGSTOP)  # so that it never hears of SIGTERM
    bench.connect().stop(job.spec, grace_s=0.2)
    assert bench.processes() == []
    assert not job.goes_on


@pytest.fixture
def reaper() -> Iterator[None]:
    """Orphans come to this process and not to process 1, as under a desktop's `systemd --user`."""
    prctl, set_child_subreaper = ctypes.CDLL(None).prctl, 36
    prctl(set_child_subreaper, 1, 0, 0, 0)
    yield
    prctl(set_child_subreaper, 0, 0, 0, 0)


@pytest.mark.usefixtures("reaper")
@pytest.mark.parametrize(
    "script",
    [
        "sleep 600 & setsid sleep 600 & (setsid sh -c 'sleep 600 & sleep 600') & wait",
        "trap '' TERM; while true; do sleep 600; done",
        "env -i sleep 600; exit",
    ],
    ids=["children that left the group", "deaf to SIGTERM", "without the run's mark"],
)
def test_a_release_finds_what_a_killed_node_left(bench: LocalBench, script: str) -> None:
    job = Started.on(bench, ["sh", "-c", script])
    until(lambda: len(bench.processes("sleep 600")) > script.count("sleep 600"))
    (node,) = bench.processes("rpac_ci.node")
    node.kill()
    until(lambda: node.status() == psutil.STATUS_ZOMBIE)  # its parent may be another driver
    assert bench.processes("sleep 600")

    bench.connect().release(job.spec)

    assert bench.processes() == []
    assert list(bench.scratch.iterdir()) == []


def test_processes_of_another_store_are_not_touched(bench: LocalBench, tmp_path: Path) -> None:
    job = Started.on(bench)
    theirs = {"RPAC_RUN": job.spec.run, "RPAC_STORE": "s3://another", "PATH": os.environ["PATH"]}
    stranger = subprocess.Popen(SLEEP, env=theirs, cwd=tmp_path)
    try:
        assert str(stranger.pid) not in {left.name for left in bench.connect().leftovers()}
        bench.connect().release(job.spec)
        assert bench.processes() == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_person_who_looks_around_in_a_nodes_folder_is_not_a_leftover(bench: LocalBench) -> None:
    job = Started(bench, make_job(bench.storage))
    bench.connect().provision(job.spec)
    psutil.Process().terminal()  # psutil keeps the list of terminals from its first look at it
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["setsid", "--ctty", *SLEEP], stdin=theirs, cwd=bench.scratch / f"{job.spec.run}-1"
    )
    try:
        stat = Path(f"/proc/{shell.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[4] != "0")  # has its terminal
        assert [left.kind for left in job.left] == ["folder"]
        bench.connect().release(job.spec)
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)


def test_a_node_gets_a_home_of_its_own_and_no_credentials(
    bench: LocalBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PYTHONPATH", "RPAC_SOMETHING"):
        monkeypatch.setenv(name, "x")
    job = Started.on(bench, nodes=2)
    until(lambda: len(bench.processes("rpac_ci.node")) == 2)
    environments = [node.environ() for node in bench.processes("rpac_ci.node")]
    for environment in environments:
        folder = bench.scratch / f"{job.spec.run}-1" / f"node-{environment['RPAC_NODE_INDEX']}"
        assert environment["HOME"] == environment["TMPDIR"] == str(folder)
        assert "x" not in environment.values()
    assert len({environment["RPAC_NODE_ADDRESS"] for environment in environments}) == 2
    bench.connect().release(job.spec)


def test_more_processors_than_there_are_is_told(bench: LocalBench) -> None:
    spec = make_job(bench.storage)
    assert bench.connect().provision(spec).remarks == ()
    remarks = bench.connect().provision(replace(spec, cpus=1000)).remarks
    assert len(remarks) == 1
    assert remarks[0].startswith("1000 cpus are asked for and this machine has ")


def test_memory_is_not_promised_twice(bench: LocalBench) -> None:
    available = psutil.virtual_memory().available >> 20
    first, second = (
        replace(make_job(bench.storage), memory_mib=int(0.6 * available)) for _ in range(2)
    )
    bench.connect().provision(first)
    bench.connect().provision(first)
    with pytest.raises(CapacityError):
        bench.connect().provision(second)
    bench.connect().release(first)
    bench.connect().provision(second)


def test_a_workspace_has_its_own(workspace: Workspace) -> None:
    cloud = connect(workspace)
    spec = make_job(workspace.storage)
    cloud.provision(spec)
    assert [path.name for path in workspace.scratch.iterdir()] == [f"{spec.run}-1"]
    assert [(left.run, left.kind) for left in cloud.leftovers()] == [(spec.run, "folder")]
