"""
Main leads: it waits for the others, starts the engine, runs the command, stores outputs and result.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rpac_ci.canonical import Json, canonical_json
from rpac_ci.errors import RpacError, SourceError
from rpac_ci.jobs import Reason
from rpac_ci.node import rendezvous
from rpac_ci.node.determinism import recorded
from rpac_ci.node.exits import EXIT
from rpac_ci.node.member import POLL_S, STORE_POLL_S, End, Member
from rpac_ci.node.rank_ends import RankEnds
from rpac_ci.node.roll_call import RollCall


class Main(Member):
    """The node that leads."""

    _roll_call: RollCall | None = None  # since all nodes are there
    _rank_ends: RankEnds
    _own_ranks_ended = False
    _looked_for_ends = 0.0
    _phase_name = ""
    _lost: frozenset[int] = frozenset()
    _last_worker = 0.0

    def run(self) -> int:
        """Take part; returns the node program's exit code."""
        self._born = time.monotonic()
        self._phases: list[dict[str, Any]] = []
        self.beat(self.keys.heartbeat)
        end = End(Reason.COMPLETED, "", 0)
        found: dict[str, Any] = {"workers": {}, "engine": {}, "outputs": [], "extra": []}
        try:
            try:
                self._until_command_ends()
            except End as exc:
                end = exc
            found |= {"workers": self._workers(), "engine": self.engine.facts(self.node)}
            found["data_sizes"] = self.folders.sizes
            self.end_children()  # before the outputs are read: nobody may still write them
            if self.commands:
                with self._phase("upload"):
                    outputs, extra = self.folders.upload(self.keys)
                    found |= {"outputs": outputs, "extra": extra[:100]}
        except SourceError as exc:
            end = End(Reason.COMMAND_FAILED, f"the outputs cannot be kept: {exc.message}")
        except RpacError as exc:
            end = End(Reason.ENGINE_FAILED, "; ".join(filter(None, (exc.message, exc.hint))))
            self.end_children()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the run must hear of it
            traceback.print_exc()
            end = End(Reason.ENGINE_FAILED, f"{type(exc).__name__}: {exc}")
            self.end_children()
        self._publish(end, found)
        self.close_logs()
        self._wait_for_logs()
        return EXIT[end.reason]

    def _publish(self, end: End, found: dict[str, Any]) -> None:
        result: dict[str, Json] = {
            "reason": end.reason.value,
            "message": str(end),
            "exit_code": end.exit_code,
            "log": end.log,
            "phases": self._phases,
            "determinism": recorded(self.spec, self.engine),
            **found,
        }
        self.storage.create_json(self.keys.result, result)
        self.storage.put(self.keys.done, b"")

    # --- from the first node to the command's end -----------------------------------------------

    def _until_command_ends(self) -> None:
        """Everything up to the command's end; other ends are raised."""
        spec, waits = self.spec, self.spec.waits
        with self._phase("join"):
            world = self.wait(
                lambda: rendezvous.registered(self.storage, self.keys, spec.nodes),
                waits.join, Reason.WORLD_INCOMPLETE, self._who_is_missing, every=STORE_POLL_S,
            )  # fmt: skip
            self.storage.put(self.keys.world, canonical_json({"nodes": world}))
            self._roll_call = RollCall(self.storage, self.keys, spec.nodes, limit_s=waits.heartbeat)
        with self._phase("prepare"):
            self.prepare()
            self.wait(
                self._all_prepared, waits.prepare, Reason.STAGING_FAILED,
                "not every node has code and data", every=STORE_POLL_S / 5,
            )  # fmt: skip
        with self._phase("engine"):
            announced = self._start_engine()
        with self._phase("command"):
            self._run_command(announced)

    def _who_is_missing(self) -> str:
        nodes = range(self.spec.nodes)
        missing = [str(n) for n in nodes if self.storage.head(self.keys.node(n)) is None]
        few = f"{', '.join(missing[:8])}{', …' if len(missing) > 8 else ''}"
        return (
            f"not all of {self.spec.nodes} nodes came within {self.spec.waits.join:.0f} s: "
            f"missing {few}"
        )

    def _all_prepared(self) -> bool | None:
        words = [self.storage.get_json(self.keys.prepared(n)) for n in range(self.spec.nodes)]
        for index, word in enumerate(words):
            if word and word["error"]:
                raise End(Reason.STAGING_FAILED, f"node {index}: {word['error']}")
        return True if all(words) else None

    def _start_engine(self) -> dict[str, Any]:
        node, spec = self.node, self.spec
        self.start_engine(self.engine.main_roles(node))
        announced: dict[str, Any] = self.wait(
            lambda: self.engine.announce(node), spec.waits.ready, Reason.ENGINE_FAILED,
            f"{spec.engine} did not come up on main within {spec.waits.ready:.0f} s",
        )  # fmt: skip
        self.storage.create_json(self.keys.engine, announced)
        self.start_engine(self.engine.worker_roles(node, announced))
        self.wait(
            lambda: self.engine.ready(node) or None, spec.waits.ready, Reason.ENGINE_FAILED,
            f"not all of {spec.nodes} workers came within {spec.waits.ready:.0f} s",
        )  # fmt: skip
        return announced

    def _run_command(self, announced: dict[str, Any]) -> None:
        self._last_worker = time.monotonic()
        self.start_command(announced)
        if self.engine.collective:
            assert self._roll_call
            self._rank_ends = RankEnds(
                self.storage, self.keys, self.spec.nodes, self._roll_call,
                aftershocks=self.engine.aftershocks,
            )  # fmt: skip
        limit = self.spec.time_limit_s
        end = self.wait(
            self._command_end, limit, Reason.TIME_LIMIT,
            f"the command was still running after {limit:.0f} s",
        )  # fmt: skip
        self._check_workers()  # a loss in the very last moment counts too
        if end.get("lost"):
            raise self._node_lost(end["lost"])
        if end["code"]:
            raise _failure(end, self.spec.memory_mib)

    def _command_end(self) -> dict[str, Any] | None:
        self._check_workers()
        end = self.command_end()
        if not self.engine.collective:
            return end
        if end is not None and not self._own_ranks_ended:
            self.storage.create_json(self.keys.ended(self.index), end)
            self._own_ranks_ended = True
        now = time.monotonic()
        if now - self._looked_for_ends < STORE_POLL_S / 2:
            return None
        self._looked_for_ends = now
        return self._rank_ends.look()

    # --- what may go wrong meanwhile ------------------------------------------------------------

    def look_into_store(self) -> None:
        """Whether somebody cancelled the run, and whether the other nodes live."""
        if self.storage.head(self.keys.cancel) is not None:
            raise End(Reason.CANCELLED, "the run was cancelled")
        if self._roll_call is None:
            return
        self._roll_call.look()
        lost = self._roll_call.lost()
        if lost and (self.engine.collective or not self.commands):
            raise self._node_lost(lost)
        self._lost |= frozenset(lost)

    def _node_lost(self, lost: list[int]) -> End:
        which = ", ".join(f"node {index}" for index in lost[:8])
        silent = f"silent for more than {self.spec.waits.heartbeat:.0f} s"
        return End(Reason.NODE_LOST, f"{which} was lost in the phase {self._phase_name}: {silent}")

    def _workers(self) -> dict[str, Any]:
        """The engine's account of its workers, and nodes that were lost meanwhile."""
        lost = {"nodes_lost": sorted(self._lost)} if self._lost else {}
        return {**self.engine.workers(self.node), **lost}

    def _check_workers(self) -> None:
        fatal = self.spec.on_worker_loss == "fail"
        if self._lost and fatal:
            raise self._node_lost(sorted(self._lost))
        workers = self.engine.workers(self.node)
        if not workers:
            return
        if workers["lost"] and fatal:
            raise End(Reason.WORKER_LOST, "a worker was lost and the experiment says fail")
        now = time.monotonic()
        if workers["alive"]:
            self._last_worker = now
        elif now - self._last_worker > self.spec.waits.lonely:
            raise End(
                Reason.WORKER_LOST,
                f"no worker was left, and none came back for {self.spec.waits.lonely:.0f} s",
            )

    # --- the end --------------------------------------------------------------------------------

    def _wait_for_logs(self) -> None:
        deadline = time.monotonic() + self.spec.waits.logs
        missing = set(range(self.spec.nodes)) - {self.index} - self._silent()
        while missing and time.monotonic() < deadline and not self.stop.is_set():
            missing = {n for n in missing if self.storage.head(self.keys.final(n)) is None}
            time.sleep(POLL_S)

    def _silent(self) -> set[int]:
        """Nodes of which no last word is to be expected."""
        if self._roll_call:
            return set(self._roll_call.lost())
        nodes = range(self.spec.nodes)
        return {n for n in nodes if self.storage.head(self.keys.node(n)) is None}

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Notes how long a block took, by the node's own clock, also when it fails."""
        start = time.monotonic()
        self._phase_name = name
        self.storage.put(self.keys.phase, canonical_json({"name": name}))
        try:
            yield
        finally:
            duration = round(time.monotonic() - start, 3)
            begun = round(start - self._born, 3)
            self._phases.append({"name": name, "start_s": begun, "duration_s": duration})


def _failure(end: dict[str, Any], memory_mib: int) -> End:
    """What the end of the command's process says."""
    code, log = end["code"], end.get("log", "")
    if end.get("out_of_memory"):
        return End(
            Reason.OUT_OF_MEMORY,
            f"the command ran out of memory: a node has {memory_mib} MiB (exit code {code})",
            code, log=log,
        )  # fmt: skip
    if code == 137:
        text = "the command was killed (signal 9), which often means out of memory"
        return End(Reason.COMMAND_FAILED, text, code, log=log)
    where, _, role = log.partition("/")
    of = f" in {role} on node {where}" if role not in ("", "command") or where != "0" else ""
    text = f"the command ended with exit code {code}{of if log else ''}"
    return End(Reason.COMMAND_FAILED, text, code, log=log)
