"""
One node's part in a run, from election to the last log line.

Main leads: it waits for the others, starts the engine, runs the command, stores outputs and result.
The others follow until `done`, or until main has been silent for too long. Every wait has a limit
and gives way to a request to stop.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NoReturn

from rpac_ci import engines
from rpac_ci.canonical import Json, canonical_json
from rpac_ci.engines.interface import NodeContext, Role
from rpac_ci.errors import RpacError, SourceError
from rpac_ci.jobs import JobSpec, Keys, NodeExit, Reason
from rpac_ci.node import facts, rendezvous
from rpac_ci.node.contract import Contract, own_address
from rpac_ci.node.folders import NodeFolders
from rpac_ci.node.processes import (
    Child,
    Flusher,
    LogWriter,
    become_subreaper,
    end_descendants,
    say,
)
from rpac_ci.sources import ContentCache
from rpac_ci.storage import Storage

SHORTEST_S, POLL_S, STORE_POLL_S, HEARTBEAT_S = 0.005, 0.05, 0.5, 5.0

_EXIT = {
    Reason.COMPLETED: NodeExit.OK,
    Reason.CANCELLED: NodeExit.OK,
    Reason.WORLD_INCOMPLETE: NodeExit.WORLD,
    Reason.ENGINE_FAILED: NodeExit.ENGINE,
    Reason.STAGING_FAILED: NodeExit.ENGINE,
    Reason.WORKER_LOST: NodeExit.WORKER_LOST,
    Reason.TIME_LIMIT: NodeExit.DEADLINE,
    Reason.COMMAND_FAILED: 1,
    Reason.RUNNER_LOST: NodeExit.WORKER_LOST,
}
# the same on every node and every run, so that results do not hang on them; part of the record
DETERMINISM = {"PYTHONHASHSEED": "0", "TZ": "UTC", "SOURCE_DATE_EPOCH": "315532800"}


class _End(Exception):
    """The node's part is over before its natural end."""

    def __init__(self, reason: Reason, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_code = exit_code


class _Done(Exception):
    """Main has finished; followers may go."""


def run(contract: Contract) -> int:
    """
    Take part in a run.

    Returns:
        The process's exit code (`jobs.NodeExit`).
    """
    storage = Storage(contract.store)
    keys = Keys(contract.run, contract.attempt)
    job = storage.get_json(keys.job)
    if job is None:
        say("there is no job in the store")
        return NodeExit.PLAN
    become_subreaper()
    node = _Node(contract, JobSpec.from_json(job), storage, keys)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop.set())
    return node.run()


class _Node:
    def __init__(self, contract: Contract, spec: JobSpec, storage: Storage, keys: Keys) -> None:
        self.contract, self.spec, self.storage, self.keys = contract, spec, storage, keys
        self.stop = threading.Event()
        self.flusher = Flusher()
        self.children: list[Child] = []
        self.phases: list[dict[str, Any]] = []
        self.folders = NodeFolders(contract.scratch, spec, storage)
        self.engine = engines.load(spec.engine)
        self.index = contract.index or 0
        self.is_main = False
        self._born = time.monotonic()
        self._last_store_poll = 0.0
        self._heartbeat: tuple[Any, float] = (None, self._born)
        self._command: Child | None = None
        self._last_worker = self._born
        self._joined = False

    def run(self) -> int:
        nonce = secrets.token_hex(8)
        try:
            self.is_main = rendezvous.elect(
                self.storage, self.keys, nonce=nonce, index=self.contract.index
            )
            self.index = rendezvous.register(
                self.storage, self.keys, nonce=nonce, nodes=self.spec.nodes,
                index=0 if self.is_main else self.contract.index,
                facts={**facts.collect(), "address": self.contract.address or own_address()},
            )  # fmt: skip
        except rendezvous.StrayNodeError as exc:
            say(str(exc))
            return NodeExit.STRAY
        return self._lead() if self.is_main else self._follow()

    # --- main -----------------------------------------------------------------------------------

    def _lead(self) -> int:
        beating = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        beating.start()
        end = _End(Reason.COMPLETED, "", 0)
        workers: dict[str, Any] = {}
        engine: dict[str, Any] = {}
        outputs: list[dict[str, Any]] = []
        extra: list[str] = []
        try:
            try:
                self._lead_to_command()
            except _End as exc:
                end = exc
            workers = dict(self.engine.workers(self.node))
            engine = self.engine.facts(self.node)
            self._end_children()  # before the outputs are read: nobody may still write them
            if self._command:
                with self._phase("upload"):
                    outputs, extra = self.folders.upload(self.keys)
        except SourceError as exc:
            end = _End(Reason.COMMAND_FAILED, f"the outputs cannot be kept: {exc.message}")
        except Exception as exc:  # noqa: BLE001 - whatever it is, the run must hear of it
            traceback.print_exc()
            end = _End(Reason.ENGINE_FAILED, f"{type(exc).__name__}: {exc}")
            self._end_children()
        result: dict[str, Json] = {
            "reason": end.reason.value,
            "message": str(end),
            "exit_code": end.exit_code,
            "phases": self.phases,
            "outputs": outputs,
            "extra": list(extra[:100]),
            "workers": workers,
            "engine": engine,
            "determinism": DETERMINISM,
        }
        self.storage.create_json(self.keys.result, result)
        self.storage.put(self.keys.done, b"")
        self._close_logs()
        self._wait_for_logs()
        return _EXIT[end.reason]

    def _lead_to_command(self) -> None:
        """Everything up to the command's end; other ends are raised."""
        spec, waits = self.spec, self.spec.waits
        with self._phase("join"):
            world = self._wait(
                lambda: rendezvous.registered(self.storage, self.keys, spec.nodes),
                waits.join, Reason.WORLD_INCOMPLETE,
                f"not all of {spec.nodes} nodes came", every=STORE_POLL_S,
            )  # fmt: skip
            self.storage.put(self.keys.world, canonical_json({"nodes": world}))
        with self._phase("prepare"):
            self._prepare()
            self._wait(
                self._all_prepared, waits.prepare, Reason.STAGING_FAILED,
                "not every node has code and data", every=STORE_POLL_S,
            )  # fmt: skip
        with self._phase("engine"):
            node = self.node
            for role in self.engine.main_roles(node):
                self._start(role)
            announced = self._wait(
                lambda: self.engine.announce(node), waits.ready, Reason.ENGINE_FAILED,
                f"the {spec.engine} scheduler did not come up",
            )  # fmt: skip
            self.storage.create_json(self.keys.engine, announced)
            for role in self.engine.worker_roles(node, announced):
                self._start(role)
            self._wait(
                lambda: self.engine.ready(node) or None, waits.ready, Reason.ENGINE_FAILED,
                f"not all of {spec.nodes} workers came",
            )  # fmt: skip
        with self._phase("command"):
            self._run_command(announced)

    def _run_command(self, announced: dict[str, Any]) -> None:
        argv = self.folders.command()
        role = Role(
            name="command", argv=argv,
            environment=self.engine.command_environment(self.node, announced),
        )  # fmt: skip
        say("$ " + " ".join(argv))
        self._last_worker = time.monotonic()
        try:
            self._command = self._start(role)
        except OSError as exc:
            raise _End(
                Reason.COMMAND_FAILED, f"{argv[0]!r} cannot be started: {exc.strerror}", 127
            ) from exc
        command = self._command
        code: int = self._wait(
            command.poll, self.spec.time_limit_s, Reason.TIME_LIMIT,
            f"the command was still running after {self.spec.time_limit_s:.0f} s",
            also=self._check_workers,
        )  # fmt: skip
        self._check_workers()  # a loss in the very last moment counts too
        if code == 128 + signal.SIGKILL:
            raise _End(
                Reason.COMMAND_FAILED,
                "the command was killed (signal 9), which often means out of memory", code,
            )  # fmt: skip
        if code:
            raise _End(Reason.COMMAND_FAILED, f"the command ended with exit code {code}", code)

    def _check_workers(self) -> None:
        workers = self.engine.workers(self.node)
        if not workers:
            return
        if workers["lost"] and self.spec.on_worker_loss == "fail":
            raise _End(Reason.WORKER_LOST, "a worker was lost and the experiment says fail")
        now = time.monotonic()
        if workers["alive"]:
            self._last_worker = now
        elif now - self._last_worker > self.spec.waits.ready:
            raise _End(Reason.WORKER_LOST, "no worker was left and none came back")

    def _all_prepared(self) -> bool | None:
        words = [self.storage.get_json(self.keys.prepared(n)) for n in range(self.spec.nodes)]
        for index, word in enumerate(words):
            if word and word["error"]:
                raise _End(Reason.STAGING_FAILED, f"node {index}: {word['error']}")
        return True if all(words) else None

    def _beat(self) -> None:
        count = 0
        while not self.stop.wait(min(HEARTBEAT_S, self.spec.waits.heartbeat / 5)):
            count += 1
            try:
                self.storage.put(self.keys.heartbeat, canonical_json({"count": count}))
            except RpacError as exc:
                say(str(exc))

    def _wait_for_logs(self) -> None:
        deadline = time.monotonic() + self.spec.waits.logs
        missing = set(range(self.spec.nodes)) - {self.index}
        while missing and time.monotonic() < deadline and not self.stop.is_set():
            missing = {n for n in missing if self.storage.head(self.keys.final(n)) is None}
            time.sleep(POLL_S)

    # --- the others -----------------------------------------------------------------------------

    def _follow(self) -> int:
        code: int = NodeExit.OK
        try:
            self._follow_until_done()
        except _Done:
            pass
        except _End as exc:
            say(f"{exc.reason}: {exc}")
            code = _EXIT[exc.reason]
        except RpacError as exc:
            say(exc.message)
            code = NodeExit.ENGINE
        self._end_children()
        self._close_logs()
        return code

    def _follow_until_done(self) -> NoReturn:
        waits = self.spec.waits
        self._wait(
            lambda: self.storage.get_json(self.keys.world), waits.join, Reason.WORLD_INCOMPLETE,
            "main published no world", every=STORE_POLL_S,
        )  # fmt: skip
        self._joined = True
        self._heartbeat = (None, time.monotonic())
        self._prepare()
        announced = self._wait(
            lambda: self.storage.get_json(self.keys.engine), waits.prepare + waits.ready,
            Reason.ENGINE_FAILED, "main published no engine", every=STORE_POLL_S,
        )  # fmt: skip
        for role in self.engine.worker_roles(self.node, announced):
            self._start(role)
        forever = float("inf")  # bounded by main's heartbeat
        self._wait(lambda: None, forever, Reason.RUNNER_LOST, "", every=STORE_POLL_S)
        raise AssertionError("an endless wait ended")

    def _check_main(self) -> None:
        if self.storage.head(self.keys.done) is not None:
            raise _Done
        if not self._joined:
            return  # main may be still on its way
        beat = self.storage.get_json(self.keys.heartbeat)
        if beat != self._heartbeat[0]:
            self._heartbeat = (beat, time.monotonic())
        elif time.monotonic() - self._heartbeat[1] > self.spec.waits.heartbeat:
            raise _End(Reason.RUNNER_LOST, "main has been silent for too long")

    # --- every node -----------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Code and data in place, in a thread: a request to stop must be heard meanwhile."""
        errors: list[str] = []
        given_up = threading.Event()

        def work() -> None:
            try:
                self.folders.prepare(ContentCache(self.contract.cache), given_up)
                errors.append("")
            except (RpacError, OSError) as exc:
                errors.append(str(exc) or type(exc).__name__)

        threading.Thread(target=work, daemon=True, name="prepare").start()
        try:
            self._wait(
                lambda: errors or None, self.spec.waits.prepare, Reason.STAGING_FAILED,
                "code and data did not come in time",
            )  # fmt: skip
        finally:
            given_up.set()
        self.storage.put(self.keys.prepared(self.index), canonical_json({"error": errors[0]}))
        if errors[0]:
            raise _End(Reason.STAGING_FAILED, errors[0])

    @cached_property
    def node(self) -> NodeContext:
        """This node as the engine sees it; known once it is registered."""
        environment = self.contract.environment
        return NodeContext(
            spec=self.spec,
            index=self.index,
            address=self.contract.address or own_address(),
            interpreter=str(environment / "bin" / "python") if environment else sys.executable,
            folder=self.folders.engine,
            secret=self.storage.get_json(self.keys.secret) or {},
        )

    def _start(self, role: Role) -> Child:
        interpreter = self.node.interpreter
        programs = os.path.dirname(interpreter)  # noqa: PTH120 - not resolved on purpose
        inherited = {k: v for k, v in os.environ.items() if k not in ("RPAC_SCRATCH", "RPAC_CACHE")}
        environment = {
            **inherited,
            **DETERMINISM,
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": str(self.folders.work),
            "PYTHONUNBUFFERED": "1",
            **role.environment,
        }
        child = Child(
            role.name, role.argv, cwd=self.folders.work, environment=environment,
            log=self.flusher.add(LogWriter(self.storage, self.keys.log(self.index, role.name))),
        )  # fmt: skip
        self.children.append(child)
        return child

    def _wait(
        self,
        probe: Callable[[], Any],
        limit_s: float,
        reason: Reason,
        message: str,
        *,
        every: float = POLL_S,
        also: Callable[[], None] | None = None,
    ) -> Any:
        """The probe's first answer that is not None; ends the node when the limit is passed."""
        deadline = time.monotonic() + limit_s
        pause = SHORTEST_S
        while True:
            answer = probe()
            if answer is not None:
                return answer
            self._check()
            if also:
                also()
            if time.monotonic() > deadline:
                raise _End(reason, message)
            self.stop.wait(pause)
            pause = min(every, 1.2 * pause)  # most waits are short; long ones need no haste

    def _check(self) -> None:
        """What can end any wait: a request to stop, a dead role, news in the store."""
        if self.stop.is_set():
            raise _End(Reason.CANCELLED, "the node was asked to stop")
        now = time.monotonic()
        if now - self._last_store_poll > STORE_POLL_S:
            self._last_store_poll = now
            if self.is_main and self.storage.head(self.keys.cancel) is not None:
                raise _End(Reason.CANCELLED, "the run was cancelled")
            if not self.is_main:
                self._check_main()
        for child in self.children:
            code = child.poll()
            if code is None or child is self._command:
                continue
            if child.name == "worker" and self._command:
                continue  # the engine counts its workers
            raise _End(Reason.ENGINE_FAILED, f"the {child.name} ended with exit code {code}")

    def _end_children(self) -> None:
        for child in reversed(self.children):
            child.stop(self.spec.waits.stop)
        end_descendants()

    def _close_logs(self) -> None:
        """Store the rest of every log and say that this was all."""
        for child in self.children:
            child.close_log()
        self.flusher.close()
        self.storage.put(self.keys.final(self.index), canonical_json({"index": self.index}))

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Notes how long a block took, by the node's own clock, also when it fails."""
        start = time.monotonic()
        self.storage.put(self.keys.phase, canonical_json({"name": name}))
        try:
            yield
        finally:
            self.phases.append(
                {
                    "name": name,
                    "start_s": round(start - self._born, 3),
                    "duration_s": round(time.monotonic() - start, 3),
                }
            )
