"""Every node but main: works for main until it is done, or has been silent for too long."""

from __future__ import annotations

import time
from typing import Any, NoReturn

from rpac_ci.errors import RpacError
from rpac_ci.jobs import NodeExit, Reason
from rpac_ci.node.exits import EXIT
from rpac_ci.node.member import STORE_POLL_S, End, Member
from rpac_ci.node.processes import say


class _Done(Exception):
    """Main has finished."""


class Follower(Member):
    """A node that follows."""

    _joined = False
    _last_beat: tuple[Any, float] = (None, 0.0)

    def run(self) -> int:
        """Take part; returns the node program's exit code."""
        code: int = NodeExit.OK
        self.beat(self.keys.beat(self.index))
        try:
            self._until_done()
        except _Done:
            pass
        except End as exc:
            say(f"{exc.reason}: {exc}")
            code = EXIT[exc.reason]
        except RpacError as exc:
            say(exc.message)
            code = NodeExit.ENGINE
        self.end_children()
        self.close_logs()
        return code

    def _until_done(self) -> NoReturn:
        waits = self.spec.waits
        self.wait(
            lambda: self.storage.get_json(self.keys.world), waits.join, Reason.WORLD_INCOMPLETE,
            "main published no world", every=STORE_POLL_S,
        )  # fmt: skip
        self._joined = True
        self._last_beat = (None, time.monotonic())
        self.prepare()
        announced = self.wait(
            lambda: self.storage.get_json(self.keys.engine), waits.prepare + waits.ready,
            Reason.ENGINE_FAILED, "main published no engine", every=STORE_POLL_S / 5,
        )  # fmt: skip
        self.start_engine(self.engine.worker_roles(self.node, announced))
        if self.engine.collective:
            self._run_ranks(announced)
        # bounded by main's heartbeat
        self.wait(lambda: None, float("inf"), Reason.RUNNER_LOST, "", every=STORE_POLL_S)
        raise AssertionError("an endless wait ended")

    def _run_ranks(self, announced: dict[str, Any]) -> None:
        """This node's ranks of the command; main hears how they ended, and decides."""
        try:
            self.start_command(announced)
            end = self.wait(self.command_end, float("inf"), Reason.RUNNER_LOST, "")
        except End as exc:
            if exc.reason is not Reason.COMMAND_FAILED:
                raise
            say(str(exc))
            end = {"code": exc.exit_code, "log": "", "out_of_memory": False}
        self.storage.create_json(self.keys.ended(self.index), end)

    def look_into_store(self) -> None:
        """Whether main is done, or lost."""
        if self.storage.head(self.keys.done) is not None:
            raise _Done
        if not self._joined:
            return  # main may be still on its way
        beat = self.storage.get_json(self.keys.heartbeat)
        if beat != self._last_beat[0]:
            self._last_beat = (beat, time.monotonic())
        elif time.monotonic() - self._last_beat[1] > self.spec.waits.heartbeat:
            raise End(Reason.RUNNER_LOST, "main has been silent for too long")
