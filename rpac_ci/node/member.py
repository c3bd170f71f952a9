"""
What every node of a run does, main or not: code and data in place, the engine's processes and the
command's, waits that end, and logs that are complete.

Every wait has a limit and gives way to a request to stop.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

from rpac_ci import engines
from rpac_ci.canonical import canonical_json
from rpac_ci.engines.interface import NodeContext, Role
from rpac_ci.errors import RpacError
from rpac_ci.jobs import JobSpec, Keys, Reason
from rpac_ci.node import facts
from rpac_ci.node.contract import Contract, own_address
from rpac_ci.node.determinism import command_variables, thread_limits
from rpac_ci.node.folders import NodeFolders
from rpac_ci.node.processes import Child, Flusher, LogWriter, end_descendants, say
from rpac_ci.sources import ContentCache
from rpac_ci.storage import Storage

SHORTEST_S, POLL_S, STORE_POLL_S, HEARTBEAT_S = 0.005, 0.05, 0.5, 5.0
# what the node is told, and its children need not know
_OWN = ("RPAC_SCRATCH", "RPAC_CACHE", "RPAC_NODE_ADDRESS")


class End(Exception):
    """The node's part is over before its natural end."""

    def __init__(
        self, reason: Reason, message: str, exit_code: int | None = None, *, log: str = ""
    ) -> None:
        """
        Args:
            reason: why the job ended.
            message: what happened.
            exit_code: the command's.
            log: `<node>/<role>` of the log that tells more.
        """
        super().__init__(message)
        self.reason = reason
        self.exit_code = exit_code
        self.log = log


class Member(ABC):
    """One node of a run; `Main` and `Follower` say what it does."""

    def __init__(
        self, contract: Contract, spec: JobSpec, storage: Storage, *, stop: threading.Event
    ) -> None:
        """
        Args:
            contract: what the cloud has told this node, its place among the nodes included.
            spec: the job.
            storage: the run's store.
            stop: set when somebody wants the node to end.
        """
        self.contract, self.spec, self.storage, self.stop = contract, spec, storage, stop
        self.keys = Keys(contract.run, contract.attempt)
        self.index = contract.index or 0
        self.flusher = Flusher()
        self.children: list[Child] = []
        self.commands: list[Child] = []  # those of the children that are the experiment's command
        self.folders = NodeFolders(contract.scratch, spec, storage)
        self.engine = engines.load(spec.engine)
        self._oom_kills = facts.oom_kills()
        self._last_store_poll = 0.0

    # --- waiting --------------------------------------------------------------------------------

    def wait(
        self,
        probe: Callable[[], Any],
        limit_s: float,
        reason: Reason,
        message: str | Callable[[], str],
        *,
        every: float = POLL_S,
    ) -> Any:
        """The probe's first answer that is not None; ends the node when the limit is passed."""
        deadline = time.monotonic() + limit_s
        pause = SHORTEST_S
        while True:
            answer = probe()
            if answer is not None:
                return answer
            self.check()
            if time.monotonic() > deadline:
                raise End(reason, message if isinstance(message, str) else message())
            self.stop.wait(pause)
            pause = min(every, 1.2 * pause)  # most waits are short; long ones need no haste

    def check(self) -> None:
        """What can end any wait: a request to stop, a dead role, news in the store."""
        if self.stop.is_set():
            raise End(Reason.CANCELLED, "the node was asked to stop")
        now = time.monotonic()
        if now - self._last_store_poll > STORE_POLL_S:
            self._last_store_poll = now
            self.look_into_store()
        for child in self.children:
            code = child.poll()
            if code is None or child in self.commands:
                continue
            if child.name == "worker" and self.commands:
                continue  # the engine counts its workers
            raise End(
                Reason.ENGINE_FAILED, f"the {child.name} ended with exit code {code}",
                log=f"{self.index}/{child.name}",
            )  # fmt: skip

    @abstractmethod
    def look_into_store(self) -> None:
        """Raise `End` or the like at news that end a wait; called now and then."""

    def beat(self, key: str) -> None:
        """Tell now and then, in a thread, that this node lives."""

        def work() -> None:
            count = 0
            while True:
                try:
                    self.storage.put(key, canonical_json({"count": count}))
                except RpacError as exc:
                    say(str(exc))
                if self.stop.wait(min(HEARTBEAT_S, self.spec.waits.heartbeat / 5)):
                    return
                count += 1

        threading.Thread(target=work, daemon=True, name="heartbeat").start()

    # --- code, data and processes ---------------------------------------------------------------

    def prepare(self) -> None:
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
            self.wait(
                lambda: errors or None, self.spec.waits.prepare, Reason.STAGING_FAILED,
                "code and data did not come in time",
            )  # fmt: skip
        finally:
            given_up.set()
        self.storage.put(self.keys.prepared(self.index), canonical_json({"error": errors[0]}))
        if errors[0]:
            raise End(Reason.STAGING_FAILED, errors[0])

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

    def start(self, role: Role) -> Child:
        """Start a process of the engine or of the command."""
        programs = os.path.dirname(self.node.interpreter)  # noqa: PTH120 - not resolved on purpose
        environment = {
            **{name: value for name, value in os.environ.items() if name not in _OWN},
            **thread_limits(self.spec),
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

    def start_engine(self, roles: list[Role]) -> None:
        """Start processes of the engine, which run user code too and so need the same switches."""
        for role in roles:
            variables = {**command_variables(self.spec, self.engine), **role.environment}
            self.start(Role(name=role.name, argv=role.argv, environment=variables))

    def start_command(self, announced: dict[str, Any]) -> None:
        """Start what of the command belongs on this node."""
        argv = self.folders.command()
        say("$ " + " ".join(argv))
        variables = command_variables(self.spec, self.engine, self.folders.work)
        try:
            for role in self.engine.command_roles(self.node, announced, argv):
                environment = {**variables, **role.environment}
                role = Role(name=role.name, argv=role.argv, environment=environment)
                self.commands.append(self.start(role))
        except OSError as exc:
            raise End(
                Reason.COMMAND_FAILED, f"{argv[0]!r} cannot be started: {exc.strerror}", 127
            ) from exc

    def command_end(self) -> dict[str, Any] | None:
        """How the command's processes on this node ended; None while they run, and none failed."""
        codes = {child.name: child.poll() for child in self.commands}
        failed = next((name for name, code in codes.items() if code), None)
        if failed is None and None in codes.values():
            return None
        return {
            "code": codes[failed] if failed else 0,
            "log": f"{self.index}/{failed}" if failed else "",
            "out_of_memory": bool(failed) and facts.oom_kills() > self._oom_kills,
        }

    # --- the end --------------------------------------------------------------------------------

    def end_children(self) -> None:
        """End everything that this node has started."""
        for child in reversed(self.children):
            child.stop(self.spec.waits.stop)
        end_descendants()

    def close_logs(self) -> None:
        """Store the rest of every log and say that this was all."""
        for child in self.children:
            child.close_log()
        self.flusher.close()
        self.storage.put(self.keys.final(self.index), canonical_json({"index": self.index}))
