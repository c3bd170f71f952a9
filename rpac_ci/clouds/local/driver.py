"""
The local cloud at work: a folder, an address and a process group for each node.

Prerequisites: Linux (macOS as far as it goes: one address for all nodes, no subreaper).
Processes are found again by `RPAC_RUN` and `RPAC_STORE` in their environment, so a crash between
starting a node and writing that down loses nothing, and neither does a child that left its group.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from rpac_ci import processes
from rpac_ci.clouds.interface import Leftover, Observation, Provisioned
from rpac_ci.errors import CapacityError, CloudError, ProvisioningError
from rpac_ci.jobs import JobSpec, JobState

if TYPE_CHECKING:
    from rpac_ci.experiment_model import Resources
    from rpac_ci.workspace import Workspace

# what a node inherits: enough to find programs and trust certificates, no credentials
INHERITED = (
    "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "JAVA_HOME", "PYTHONDONTWRITEBYTECODE",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT",
    "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG",
)  # fmt: skip
THREAD_LIMITS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS",
)  # fmt: skip
_MEMORY = "memory_mib"  # file in a run's folder
_NODE_MODULE = "rpac_ci.node"
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}  # nodes that this very process started


class LocalCloud:
    """Process groups on this machine; see `clouds.interface.Cloud`."""

    def __init__(self, scratch: Path, store_url: str) -> None:
        """
        Args:
            scratch: folder for the nodes' own folders.
            store_url: the store whose runs are ours; tells apart the processes of two stores.
        """
        self._scratch = scratch.resolve()
        self._store_url = store_url

    def room(self, resources: Resources) -> int:
        """As many as there are processors and free memory for."""
        free = psutil.virtual_memory().available >> 20
        cores = _cores() // (resources.nodes * resources.cpus)
        return max(1, min(cores, free // (resources.nodes * resources.memory)))

    def provision(self, spec: JobSpec) -> Provisioned:
        """Make the folders; memory is never promised twice, processors may be shared."""
        wanted = spec.nodes * spec.memory_mib
        available = (psutil.virtual_memory().available >> 20) - self._promised(spec)
        if wanted > available:
            raise CapacityError(
                f"{spec.nodes} × {spec.memory_mib} MiB of memory are asked for and "
                f"{max(0, available)} MiB are free and not promised to other runs",
                hint="ask for less, for example memory=1GiB; rpac sweep names what is left over",
            )
        cores = _cores()
        remarks = []
        if spec.nodes * spec.cpus > cores:
            remarks.append(
                f"{spec.nodes * spec.cpus} cpus are asked for and this machine has {cores}: "
                "timings say nothing about another machine"
            )
        try:
            for index in range(spec.nodes):
                self._folder(spec, index).mkdir(parents=True, exist_ok=True)
            (self._folder(spec, 0).parent / _MEMORY).write_text(str(wanted))
        except OSError as exc:
            raise ProvisioningError(f"no folder for the nodes: {exc.strerror}") from exc
        return Provisioned(facts={"cores": cores}, remarks=tuple(remarks))

    def submit(self, spec: JobSpec, environment: dict[str, str]) -> dict[str, Any]:
        """Start the nodes that are not there yet."""
        running = {
            int(env["RPAC_NODE_INDEX"]): process
            for process, env in self._processes(spec)
            if _is_node(process) and env.get("RPAC_NODE_INDEX", "").isdigit()
        }
        nodes = []
        for index in range(spec.nodes):
            process = running.get(index) or self._start(spec, index, environment)
            began = processes.started(process.pid)
            nodes.append({"index": index, "pid": process.pid, "started": began})
        return {"nodes": nodes}

    def observe(self, spec: JobSpec, submitted: dict[str, Any]) -> Observation:
        """Whether the node programs are alive; how the job ended is in its result."""
        # main is node 0 and the last to leave; without it the others have nothing to do
        if any(node["index"] == 0 and _alive(node) for node in submitted.get("nodes", [])):
            return Observation(state=JobState.RUNNING)
        return Observation(state=JobState.UNKNOWN, detail="the main node is gone")

    def node_log(self, spec: JobSpec, index: int) -> str:
        """The node program's own output."""
        try:
            return (self._folder(spec, index) / "node.log").read_text("utf-8", "replace")
        except OSError:
            return ""

    def stop(self, spec: JobSpec, *, grace_s: float) -> None:
        """Ask the node programs to end, then kill whatever carries the run's mark."""
        nodes = [process for process, _ in self._processes(spec) if _is_node(process)]
        for process in nodes:
            _signal(process, signal.SIGTERM)
        psutil.wait_procs(nodes, timeout=grace_s if nodes else 0)
        deadline = time.monotonic() + 10
        while found := [process for process, _ in self._processes(spec)]:
            for process in found:
                _signal(process, signal.SIGKILL)
            psutil.wait_procs(found, timeout=1)
            if time.monotonic() > deadline:
                break

    def release(self, spec: JobSpec) -> dict[str, Any]:
        """Kill what is left, remove the folders, count what remains."""
        self.stop(spec, grace_s=0)
        folder = self._folder(spec, 0).parent
        _remove(folder)
        for pid in [pid for pid, child in _CHILDREN.items() if child.poll() is not None]:
            del _CHILDREN[pid]
        left = {
            "processes": sum(1 for _ in self._processes(spec)),
            "folders": int(folder.exists()),
        }
        if any(left.values()):
            raise CloudError(f"{spec.run} still has {left} on this machine")
        return {"left": left, "cost_usd": 0.0}

    def leftovers(self) -> list[Leftover]:
        """Processes and folders of any run of this store."""
        found = [
            Leftover(run=where.rpartition("-")[0], kind="process", name=str(process.pid))
            for process, _, where in self._ours()
        ]
        if self._scratch.is_dir():
            for folder in sorted(self._scratch.iterdir()):
                run = folder.name.rpartition("-")[0]
                found.append(Leftover(run=run, kind="folder", name=folder.name))
        return found

    def _promised(self, spec: JobSpec) -> int:
        """Memory (MiB) that other runs were given and do not use yet: what they use is not free."""
        promised: dict[str, int] = {}
        for path in self._scratch.glob(f"*/{_MEMORY}"):
            if path.parent != self._folder(spec, 0).parent:
                with contextlib.suppress(OSError, ValueError):
                    promised[path.parent.name] = int(path.read_text())
        for process, _, where in self._ours() if promised else ():
            if where in promised:
                with contextlib.suppress(psutil.Error):
                    promised[where] -= process.memory_info().rss >> 20
        return sum(max(0, rest) for rest in promised.values())

    def discard(self, leftover: Leftover) -> None:
        """Kill the process, or remove the folder."""
        if leftover.kind == "folder":
            _remove(self._scratch / Path(leftover.name).name)
            return
        for process, _, where in self._ours():
            if str(process.pid) == leftover.name and where.rpartition("-")[0] == leftover.run:
                _signal(process, signal.SIGKILL)
                deadline = time.monotonic() + 5
                while processes.started(process.pid) is not None and time.monotonic() < deadline:
                    time.sleep(0.02)

    def _folder(self, spec: JobSpec, index: int) -> Path:
        return self._scratch / f"{spec.run}-{spec.attempt}" / f"node-{index}"

    def _start(self, spec: JobSpec, index: int, contract: dict[str, str]) -> psutil.Process:
        folder = self._folder(spec, index)
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= dict.fromkeys(THREAD_LIMITS, str(spec.cpus))
        environment |= contract
        environment |= {
            "RPAC_NODE_INDEX": str(index),
            "RPAC_NODE_ADDRESS": _address(index),
            "RPAC_SCRATCH": str(folder),
            "HOME": str(folder),
            "TMPDIR": str(folder),
        }
        with (folder / "node.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", _NODE_MODULE],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        _CHILDREN[started.pid] = started
        return psutil.Process(started.pid)

    def _processes(self, spec: JobSpec) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
        folder = self._folder(spec, 0).parent.name
        for process, environment, where in self._ours():
            if where == folder:
                yield process, environment

    def _ours(self) -> Iterator[tuple[psutil.Process, dict[str, str], str]]:
        """
        Live processes of runs of this store: process, environment, folder of run and attempt.

        They carry the run's mark, or, where somebody has cleared the environment, still stand in
        one of its folders.
        """
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                environment = _environment(process)
                if environment.get("RPAC_RUN") and environment.get("RPAC_STORE") == self._store_url:
                    attempt = environment.get("RPAC_ATTEMPT", "1")
                    yield process, environment, f"{environment['RPAC_RUN']}-{attempt}"
                elif (folder := Path(process.cwd())).is_relative_to(self._scratch):
                    parts = folder.relative_to(self._scratch).parts
                    if parts and _is_abandoned(process):
                        yield process, environment, parts[0]
            except (psutil.Error, OSError):
                continue


def connect(workspace: Workspace) -> LocalCloud:
    """The local cloud for the runs of a workspace."""
    return LocalCloud(workspace.scratch, workspace.storage.url)


def _cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _address(index: int) -> str:
    """Loopback is a whole network on Linux, so nodes can have addresses of their own."""
    return f"127.0.0.{2 + index}" if sys.platform == "linux" else "127.0.0.1"


def _environment(process: psutil.Process) -> dict[str, str]:
    """A process's variables; one that is just being started shows none for a moment."""
    for _ in range(5):
        variables = process.environ()
        if variables or time.time() - process.create_time() > 2:
            return variables
        time.sleep(0.01)
    return {}


def _is_abandoned(process: psutil.Process) -> bool:
    """
    Whether nobody's session holds a process: its leader is gone, or it is a leader that no terminal
    belongs to. A person who looks around in a folder has a session that lives.
    """
    session = os.getsid(process.pid)
    if session == process.pid:
        return not processes.has_terminal(process.pid)
    return processes.started(session) is None  # gone, or ended and not yet waited for


def _is_node(process: psutil.Process) -> bool:
    try:
        # a node leads its session; its children look just like it until they have become
        # another program
        leads = os.getsid(process.pid) == process.pid
        return leads and process.cmdline()[1:3] == ["-m", _NODE_MODULE]
    except (psutil.Error, OSError):
        return False


def _alive(node: dict[str, Any]) -> bool:
    if child := _CHILDREN.get(node["pid"]):
        return child.poll() is None  # ours to reap
    began = processes.started(node["pid"])
    return began is not None and began == node["started"]


def _remove(folder: Path) -> None:
    """Remove a folder, also where a command has left folders that nobody may write."""

    def open_up(function: Callable[[str], object], path: str, _: object) -> None:
        for locked in (Path(path).parent, Path(path)):
            with contextlib.suppress(OSError):
                locked.chmod(0o700)
        with contextlib.suppress(OSError):
            function(path)

    if folder.exists():
        try:
            shutil.rmtree(folder, onerror=open_up)
            shutil.rmtree(folder, ignore_errors=True)
        except RecursionError:  # of folders in folders; rm goes to any depth
            subprocess.run(["rm", "-rf", "--", str(folder)], check=False, capture_output=True)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
