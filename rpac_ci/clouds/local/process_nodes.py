"""
Nodes as processes: an address and a process group for each.

They are found again by `RPAC_RUN` and `RPAC_STORE` in their environment, so a crash between
starting a node and writing that down loses nothing, and neither does a child that left its group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from rpac_ci import processes
from rpac_ci.clouds.interface import Leftover, Observation
from rpac_ci.clouds.local.folders import RunFolders
from rpac_ci.jobs import JobSpec, JobState

# what a node inherits: enough to find programs and trust certificates, no credentials
INHERITED = (
    "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "JAVA_HOME", "PYTHONDONTWRITEBYTECODE",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT",
    "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG",
)  # fmt: skip
_NODE_MODULE = "rpac_ci.node"
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}  # nodes that this very process started


class ProcessNodes:
    """See `nodes.Nodes`."""

    kinds: tuple[str, ...] = ("process",)

    def __init__(self, folders: RunFolders, store_url: str) -> None:
        """
        Args:
            folders: of the runs.
            store_url: the store whose runs are ours.
        """
        self._folders = folders
        self._store_url = store_url

    def prepare(self, spec: JobSpec) -> dict[str, Any]:
        """Processes need nothing that is not there."""
        return {}

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
            return (self._folders.node(spec, index) / "node.log").read_text("utf-8", "replace")
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

    def remove(self, spec: JobSpec) -> dict[str, int]:
        """Kill what is left and count what remains."""
        self.stop(spec, grace_s=0)
        for pid in [pid for pid, child in _CHILDREN.items() if child.poll() is not None]:
            del _CHILDREN[pid]
        return {"processes": sum(1 for _ in self._processes(spec))}

    def used_mib(self) -> dict[str, int]:
        """What the processes of each run hold now."""
        used: dict[str, int] = {}
        for process, _, where in self._ours():
            with contextlib.suppress(psutil.Error):
                used[where] = used.get(where, 0) + (process.memory_info().rss >> 20)
        return used

    def leftovers(self) -> list[Leftover]:
        """Processes of any run of this store."""
        return [
            Leftover(run=where.rpartition("-")[0], kind="process", name=str(process.pid))
            for process, _, where in self._ours()
        ]

    def discard(self, leftover: Leftover) -> None:
        """Kill the process."""
        for process, _, where in self._ours():
            if str(process.pid) == leftover.name and where.rpartition("-")[0] == leftover.run:
                _signal(process, signal.SIGKILL)
                deadline = time.monotonic() + 5
                while processes.started(process.pid) is not None and time.monotonic() < deadline:
                    time.sleep(0.02)

    def _start(self, spec: JobSpec, index: int, contract: dict[str, str]) -> psutil.Process:
        folder = self._folders.node(spec, index)
        promise = self._folders.promise(folder.parent.name)
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= contract
        environment |= {
            "RPAC_NODE_INDEX": str(index),
            "RPAC_NODE_ADDRESS": _address(index),
            "RPAC_SCRATCH": str(folder),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            # empty hides those that were not asked for
            "CUDA_VISIBLE_DEVICES": ",".join(promise.gpus_of(spec, index) if promise else ()),
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
        folder = self._folders.run(spec).name
        for process, environment, where in self._ours():
            if where == folder:
                yield process, environment

    def _ours(self) -> Iterator[tuple[psutil.Process, dict[str, str], str]]:
        """
        Live processes of runs of this store: process, environment, folder of run and attempt.

        They carry the run's mark, or, where somebody has cleared the environment, still stand in
        one of its folders.
        """
        scratch = self._folders.scratch
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                environment = _environment(process)
                if environment.get("RPAC_RUN") and environment.get("RPAC_STORE") == self._store_url:
                    attempt = environment.get("RPAC_ATTEMPT", "1")
                    yield process, environment, f"{environment['RPAC_RUN']}-{attempt}"
                elif (folder := Path(process.cwd())).is_relative_to(scratch):
                    parts = folder.relative_to(scratch).parts
                    if parts and _is_abandoned(process):
                        yield process, environment, parts[0]
            except (psutil.Error, OSError):
                continue


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


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
