"""
Faults in real processes of rpac: killed or stopped at a chosen operation, with another clock or
host, a short lease, files that may not grow, another store.

An *operation* is anything a driver or a node does to the world: a write to the store, a git command
that writes, a process started, a folder removed. Each has a readable name, for example
`event claim submit`, `git update-ref`, `start node 0`; a second one of the same name gets ` #2`.
What is done again and again while time passes (leases, heartbeats, the store's clock, the logs of
what runs) is no operation: how often it happens depends on the machine.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, tzinfo
from functools import wraps
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent.parent
_STARTED: list[subprocess.Popen[str]] = []
_VARIABLE = "RPAC_TEST_FAULTS"
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_IMPORTED_REF = re.compile(rb"^commit refs/(?:heads/)?(\S+)$", re.MULTILINE)
_TIMED = re.compile(r"/leases/|/clock$|/heartbeat\.json$|/beats/|/logs/\d+/(?!node/)")
# of git's commands, those that only look; one that is not known is taken for one that writes
_GIT_READS = {
    "cat-file", "check-attr", "check-ignore", "config", "diff", "diff-tree", "for-each-ref", "log",
    "ls-files", "ls-tree", "merge-base", "rev-list", "rev-parse", "show", "status", "symbolic-ref",
    "version",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong in one process."""

    at: str = ""  # "before <operation>" or "after <operation>"
    do: str = "kill"  # then: "kill" or "stop" (SIGSTOP) itself, "kill it" (what was started)
    journal: str = ""  # file that gets the name of every operation
    lease_s: float = 0.0  # of the driver's claims
    host: str = ""  # where the driver believes to be
    clock_s: float = 0.0  # how far its clock is ahead
    file_bytes: int = 0  # no file may become larger, from `at` on
    store: str = ""  # URL of the store, instead of the folder in the repository
    waits: Mapping[str, float] = field(default_factory=dict)  # of a run that it makes
    nodes: Mapping[int, Faults] = field(default_factory=dict)  # of a driver's nodes

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        nodes = {int(index): cls.from_json(node) for index, node in value["nodes"].items()}
        return cls(**{**value, "nodes": nodes})

    def environment(self) -> dict[str, str]:
        """What a process needs to get these faults, on top of its own variables."""
        path = os.pathsep.join([str(Path(__file__).parent / "injected"), str(ROOT)])
        return {_VARIABLE: json.dumps(asdict(self)), "PYTHONPATH": path}


def start(root: Path, *words: str, faults: Faults | None = None) -> subprocess.Popen[str]:
    """Start `rpac …` with faults in a repository, as a process group of its own."""
    environment = {**os.environ, **(faults.environment() if faults else {})}
    if faults and faults.file_bytes:  # what measures coverage writes files, too
        environment = {k: v for k, v in environment.items() if not k.startswith("COVERAGE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "rpac_ci", *words],
        cwd=root, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    _STARTED.append(process)
    return process


def end_all() -> None:
    """End what `start` has started and a test has not seen to its end."""
    while _STARTED:
        with _STARTED.pop() as process:  # closes its pipes and waits
            process.kill()


def install_from_environment() -> None:
    """In a process that was started with faults: make them happen."""
    faults = Faults.from_json(json.loads(os.environ[_VARIABLE]))
    if sys.orig_argv[2] == "rpac_ci.node":
        _Saboteur(faults.nodes.get(int(os.environ["RPAC_NODE_INDEX"]), Faults())).watch_node()
    else:
        _Saboteur(faults).watch_driver()


class _Saboteur:
    """Puts itself between rpac and the world."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._seen: Counter[str] = Counter()

    def watch_driver(self) -> None:
        from rpac_ci.clouds.local import folders, process_nodes
        from rpac_ci.git import Git

        self._watch_storage()
        self._wrap(Git, "run", lambda _, *argv, **given: _git_name(argv, **given))
        nodes = process_nodes.ProcessNodes
        self._wrap(nodes, "_start", lambda _, __, index, ___: f"start node {index}")
        self._wrap(folders, "remove", lambda folder: "remove the folders" * folder.exists())
        # nodes are told what goes wrong in them, and how to reach a store on a server
        extra = ("PYTHONPATH", _VARIABLE, *(name for name in os.environ if name[:4] == "AWS_"))
        _replace(process_nodes, "INHERITED", (*process_nodes.INHERITED, *extra))
        self._change_surroundings()

    def watch_node(self) -> None:
        from rpac_ci.node import member

        self._watch_storage()
        self._wrap(member.Member, "start", lambda _, role: f"start {role.name}")
        if ahead := self._faults.clock_s:
            real = time.time
            _replace(time, "time", lambda: real() + ahead)

    def _watch_storage(self) -> None:
        from rpac_ci.storage import Storage

        for method in ("put", "put_file", "create", "delete"):
            self._wrap(Storage, method, _storage_name(method))

    def _change_surroundings(self) -> None:
        from rpac_ci import driver, events, processes, run
        from rpac_ci.api import runs
        from rpac_ci.jobs import Waits
        from rpac_ci.storage import Storage
        from rpac_ci.workspace import Workspace

        faults = self._faults
        if faults.waits:
            defaults = {**(runs.reproduce.__kwdefaults__ or {}), "waits": Waits(**faults.waits)}
            _replace(runs.reproduce, "__kwdefaults__", defaults)
        if faults.lease_s:
            _replace(driver, "LEASE_S", faults.lease_s)
        if faults.host:
            _replace(processes, "host", lambda: faults.host)
        if faults.clock_s:
            for module in (driver, events, run):
                if hasattr(module, "datetime"):
                    _replace(module, "datetime", _shifted_clock(faults.clock_s))
        if faults.store:
            _replace(Workspace, "storage", property(lambda _: Storage(faults.store)))

    def _wrap(self, owner: Any, name: str, describe: Callable[..., str]) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            operation = describe(*args, **kwargs)
            if not operation:
                return original(*args, **kwargs)
            self._seen[operation] += 1
            if self._seen[operation] > 1:
                operation += f" #{self._seen[operation]}"
            self._note(operation)
            self._strike(f"before {operation}", None)
            answer = original(*args, **kwargs)
            self._strike(f"after {operation}", answer)
            return answer

        _replace(owner, name, watched)

    def _note(self, operation: str) -> None:
        if self._faults.journal:
            with Path(self._faults.journal).open("a") as file:
                file.write(f"{operation}\n")

    def _strike(self, moment: str, answer: Any) -> None:
        if moment != self._faults.at:
            return
        if self._faults.file_bytes:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._faults.file_bytes, hard))
        elif self._faults.do == "kill it":
            os.kill(answer.pid, signal.SIGKILL)
        else:
            number = signal.SIGSTOP if self._faults.do == "stop" else signal.SIGKILL
            os.kill(os.getpid(), number)


def _replace(owner: Any, name: str, value: object) -> None:
    setattr(owner, name, value)


def _git_name(argv: tuple[str, ...], stdin: bytes | None = None, **_: object) -> str:
    if argv[0] in _GIT_READS:
        return ""
    # by the ref and not by number: who goes on with a run may have only the later of them to do
    into = _IMPORTED_REF.search(stdin or b"") if argv[0] == "fast-import" else None
    return f"git {argv[0]} {into[1].decode()}" if into else f"git {argv[0]}"


def _storage_name(method: str) -> Callable[..., str]:
    def describe(_: object, key: str, *rest: object) -> str:
        data = rest[0] if rest else b""
        if _TIMED.search(key):
            return ""
        short = _RUN.sub("", key).replace("attempt/1/", "")
        short = re.sub(r"^(control|runs)//", "", short).rstrip("/")
        short = re.sub(r"[0-9a-f]{64}", "<sha256>", short)
        if short.startswith("events/") and isinstance(data, bytes):
            event = json.loads(data)
            return f"event {event['kind']} {event['body'].get('step', '')}".rstrip()
        if short == "phase.json" and isinstance(data, bytes):
            return f"phase {json.loads(data)['name']}"
        return f"{method.removesuffix('_file')} {short}"

    return describe


def _shifted_clock(ahead_s: float) -> type[datetime]:
    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=ahead_s)

    return Shifted
