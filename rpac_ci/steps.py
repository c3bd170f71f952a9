"""
The steps of a run, each an idempotent function: a pipeline and what earlier steps gave -> JSON.

Nothing here decides what comes next (`run.next_step`) or writes events (`driver`). What a step
raises is an `RpacError`; one that a later try may mend is `transient`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rpac_ci import clouds, engines
from rpac_ci.clouds.interface import Capabilities, Observation
from rpac_ci.errors import CloudError, StorageError
from rpac_ci.jobs import (
    METRICS_FILE,
    PROTOCOL,
    DataItem,
    JobSpec,
    JobState,
    Keys,
    Reason,
    RunId,
    Waits,
)
from rpac_ci.locators import file_name, parse_locator
from rpac_ci.metrics import parse_metrics
from rpac_ci.pipeline import Pipeline, total_ranks
from rpac_ci.placement import bought
from rpac_ci.quantities import count
from rpac_ci.records import Reference
from rpac_ci.run import RunState, Step
from rpac_ci.sources import ContentCache
from rpac_ci.staging import DOCKER, Staging, Tell
from rpac_ci.training import MAX_BYTES as TRAINING_BYTES
from rpac_ci.training import TRAINING_FILE, parse_training
from rpac_ci.workspace import Place

if TYPE_CHECKING:
    from rpac_ci.output_comparisons import Pair

TAIL_LINES, TAIL_BYTES = 40, 4096
_LOG = re.compile(r"([0-9]{1,5})/([a-z]+(?:-[0-9]+)?)")


class Steps:
    """The steps of one run."""

    def __init__(
        self, workspace: Place, run: str, pipeline: Pipeline, state: RunState, tell: Tell
    ) -> None:
        """
        Args:
            workspace: where the run is kept.
            run: its id.
            pipeline: what it does.
            state: fold of its events, for the results of earlier steps.
            tell: called now and then: with a "note" to keep, or with what is "moving" just now.
        """
        self._workspace = workspace
        self._storage = workspace.storage
        self._pipeline = pipeline
        self._state = state
        self._tell = tell
        self._keys = Keys(run)
        self._run = RunId(run)
        self.observed: Observation | None = None  # by the last `watch`
        self._engine = engines.load(pipeline.engine.name.value)
        self._cloud = clouds.load(pipeline.target.cloud, workspace)
        self._staging = Staging(
            workspace, pipeline, state.created, tell,
            clock=f"{self._keys.control}clock", images=self._cloud.image_repository,
        )  # fmt: skip

    @property
    def capabilities(self) -> Capabilities:
        """Of the run's cloud."""
        return clouds.planner(self._pipeline.target.cloud).capabilities

    def take(self, step: Step) -> dict[str, Any]:
        """Take one step; its result goes into the event log."""
        match step:
            case Step.STAGE:
                return self._staging.all()
            case Step.PROVISION:
                provisioned = self._cloud.provision(self.spec())
                return {"facts": provisioned.facts, "remarks": list(provisioned.remarks)}
            case Step.SUBMIT:
                return self._submit()
            case Step.COLLECT:
                return self._collect()
            case Step.RELEASE:
                return self._release()
            case Step.WATCH:
                raise AssertionError("watching is not claimed: call watch()")

    # --- submit and watch -----------------------------------------------------------------------

    def spec(self) -> JobSpec:
        """The job as the nodes see it; needs the result of `stage`."""
        pipeline, staged = self._pipeline, self._state.results.get(Step.STAGE, {})
        data = staged.get("data", {})
        return JobSpec(
            run=self._run,
            attempt=self._keys.attempt,
            experiment=pipeline.id,
            engine=pipeline.engine.name.value,
            on_worker_loss=pipeline.engine.on_worker_loss.value,
            command=pipeline.command,
            args={name: arg.value for name, arg in pipeline.args.items()},
            data=[
                DataItem(
                    name=name,
                    uri=ref.uri,
                    file_name=file_name(parse_locator(ref.uri)),
                    **data[name],
                )
                for name, ref in pipeline.data.items()
                if name in data
            ],
            source=self._staging.source_key,
            outputs=pipeline.outputs,
            seed=pipeline.seed,
            nodes=pipeline.resources.nodes,
            cpus=pipeline.resources.cpus,
            memory_mib=pipeline.resources.memory,
            gpus=pipeline.resources.gpus,
            ranks=total_ranks(pipeline) or 0,
            deterministic=pipeline.engine.deterministic,
            time_limit_s=pipeline.limits.time,
            runtime=pipeline.target.runtime,
            image=(staged.get("environment") or {}).get("image"),
            machine=pipeline.target.machine,
            mode=pipeline.target.mode.value if pipeline.target.mode else None,
            spot=pipeline.target.spot,
            waits=Waits(**self._state.created.get("waits", {})),
        )

    def _submit(self) -> dict[str, Any]:
        spec = self.spec()
        secret = self._engine.new_secret()
        if secret:
            # a second driver keeps the first one's secret: nodes may have read it
            self._storage.create_json(self._keys.secret, secret)
        self._storage.create_json(self._keys.job, spec.to_json())
        contract = {
            "RPAC_RUN": spec.run,
            "RPAC_ATTEMPT": str(spec.attempt),
            "RPAC_NODES": str(spec.nodes),
            "RPAC_STORE": self._storage.url,
            "RPAC_PROTOCOL": str(PROTOCOL),
        }
        if self._cloud.image_repository is None:  # nodes of this machine share its cache
            contract["RPAC_CACHE"] = str(self._workspace.cache)
        if spec.runtime != DOCKER and (info := self._staging.environment()):
            contract["RPAC_ENVIRONMENT"] = str(info.path)
        return self._cloud.submit(spec, contract)

    def stop(self) -> None:
        """Ask the nodes to end, then end them."""
        spec = self.spec()
        self._cloud.stop(spec, grace_s=2 * spec.waits.stop)

    def watch(self) -> dict[str, Any] | None:
        """How the job ended, or None while it goes on; looks once."""
        submitted = self._state.results[Step.SUBMIT]
        observed = self.observed = self._cloud.observe(self.spec(), submitted)
        result = self._storage.get_fixed_json(self._keys.result)
        if observed.state in (JobState.RUNNING, JobState.PENDING):
            phase = self._storage.get_json(self._keys.phase)
            self._tell("moving", phase["name"] if phase else _before_the_nodes(observed))
            return None
        if result is None:
            said = self._cloud.node_log(self.spec(), 0).strip().splitlines()
            last = f"; the main node's last words: {said[-1]}" if said else ""
            why = f": {observed.detail}" if observed.detail else ""
            message = f"the nodes ended without a result{why}{last}"
            return {"reason": Reason.RUNNER_LOST.value, "message": message}
        reason = Reason(result["reason"])
        if reason is Reason.CANCELLED and not self._state.cancelled:
            return {
                "reason": Reason.RUNNER_LOST.value,
                "message": "something else stopped the nodes",
            }
        ended = {"reason": reason.value, "message": result["message"]}
        if reason is Reason.COMPLETED and observed.state is JobState.FAILED:
            # late, for instance when a machine went before its node program had ended
            why = f" ({observed.detail})" if observed.detail else ""
            ended["remark"] = f"the cloud calls the job failed{why}, though its result is complete"
        return ended

    # --- collect and release --------------------------------------------------------------------

    def _collect(self) -> dict[str, Any]:
        result = self._storage.get_fixed_json(self._keys.result) or {}
        outputs = result.get("outputs", [])
        metrics = parse_metrics(self._checked(outputs))
        nodes = []
        for index in range(self._pipeline.resources.nodes):
            facts = self._storage.get_json(self._keys.node(index))
            if facts:
                nodes.append({k: v for k, v in facts.items() if k not in ("address", "nonce")})
        return {
            "exit_code": result.get("exit_code"),
            "phases": result.get("phases", []),
            "outputs": outputs,
            "extra": result.get("extra", []),
            "workers": result.get("workers", {}),
            "engine": result.get("engine", {}),
            "determinism": result.get("determinism", {}),
            "data_sizes": result.get("data_sizes", {}),
            "metrics": {name: asdict(metric) for name, metric in metrics.values.items()},
            "metrics_problem": metrics.problem,
            "samples": {name: asdict(sample) for name, sample in metrics.samples.items()},
            **self._training(outputs),
            "comparisons": self._comparisons(outputs),
            "nodes": nodes,
            "log_tail": self._last_words(result.get("log", "")),
        }

    def _checked(self, outputs: list[dict[str, Any]]) -> bytes | None:
        """The metrics' bytes, after a look whether the store has every output as reported."""
        folder, found = self._keys.outputs, None
        stored: dict[str, int] = {}
        for output in outputs:
            key = f"{folder}{output['sha256']}"
            if output["path"] == METRICS_FILE and not output.get("folder"):
                found = self._storage.get(key)
                size = None if found is None else len(found)
                if size == output["size"] and _sha256(found) != output["sha256"]:
                    raise CloudError("metrics.json in the store is not what the node reported")
            else:
                stored = stored or {e.key: e.size for e in self._storage.list(folder)}
                size = stored.get(key)
            if size != output["size"]:
                raise CloudError(f"the output {output['path']} is not in the store as reported")
        return found

    def _training(self, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        """What the command has told of a training, if it has."""
        told = next(
            (o for o in outputs if o["path"] == TRAINING_FILE and not o.get("folder")), None
        )
        if told is None:
            return {}
        if told["size"] > TRAINING_BYTES:
            return {"training_problem": f"{TRAINING_FILE} is too large to be read"}
        content = self._storage.get(f"{self._keys.outputs}{told['sha256']}") or b""
        training, problem = parse_training(content)
        return {"training": training.to_json() if training else None, "training_problem": problem}

    def compares(self) -> bool:
        """Whether collecting looks into files, with what the extra `compare` brings."""
        result = self._storage.get_fixed_json(self._keys.result) or {}
        return bool(self._pairs(result.get("outputs", [])))

    def _pairs(self, outputs: list[dict[str, Any]]) -> list[Pair]:
        from rpac_ci import output_comparisons

        reference = Reference.model_validate(self._state.created["reference"])
        staged = self._state.results.get(Step.STAGE, {}).get("data", {})
        data = {name: item["sha256"] for name, item in staged.items()}
        return list(output_comparisons.pairs(self._pipeline.verify, reference, outputs, data))

    def _comparisons(self, outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from rpac_ci import output_comparisons

        found = self._pairs(outputs)
        if not found:
            return []
        self._tell("moving", f"comparing the contents of {count(len(found), 'file')}")
        # where release and sweep look
        folder = self._workspace.scratch / f"{self._run}-{self._keys.attempt}"
        try:
            return output_comparisons.compare(
                found,
                run=self._run,
                storage=self._storage,
                cache=ContentCache(self._workspace.cache),
                folder=folder,
            )
        finally:
            with contextlib.suppress(OSError):  # that of nodes of this machine is not empty
                folder.rmdir()

    def _last_words(self, telling: str) -> str:
        try:
            kept = self._keep_node_logs()
            if self._state.results[Step.WATCH]["reason"] == Reason.COMPLETED:
                return ""  # a record shows them of what went wrong
            return self._tail(kept, telling)
        except StorageError as exc:  # a log is worth less than the result
            return f"the log cannot be read: {exc.message}"

    def _keep_node_logs(self) -> list[str]:
        """The node programs' own words, kept beside the logs of what they started."""
        texts = []
        for index in range(self._pipeline.resources.nodes):
            text = self._cloud.node_log(self.spec(), index)
            texts.append(text)
            if text:
                kept = text.encode()[-TAIL_BYTES * 16 :]
                self._storage.put(f"{self._keys.log(index, 'node')}000000.txt", kept)
        return texts

    def _tail(self, node_logs: list[str], telling: str) -> str:
        """
        The end of the log that tells most: the one named by main (`<node>/<role>`), the command's,
        an engine's, or what the nodes said when nothing was started.
        """
        match = _LOG.fullmatch(telling)
        named = [(int(match[1]), match[2])] if match else []
        places = [*named, (0, "command"), (0, "scheduler"), (0, "master"), (0, "rendezvous")]
        own = (read_log(self._workspace, self._run, index, role) for index, role in places)
        text = next(filter(None, [*own, *node_logs]), "")
        if self._engine.epilogue and (last := re.search(self._engine.epilogue, text)):
            text = text[: last.end()]
        return "\n".join(_shown(text[-TAIL_BYTES:]).splitlines()[-TAIL_LINES:])

    def _release(self) -> dict[str, Any]:
        released = self._cloud.release(self.spec())
        self._storage.delete(self._keys.secret)
        return {**released, **bought(self._pipeline.target)}


def _before_the_nodes(observed: Observation) -> str:
    if not observed.waiting:
        return "nodes are starting"
    return "waiting for machines" + (f": {observed.detail}" if observed.detail else "")


_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-_])")


def _shown(text: str) -> str:
    """Text of a command as a terminal and a report may show it: no colours, no control."""
    plain = _ESCAPES.sub("", text)
    return "".join(c for c in plain if c.isprintable() or c in "\n\r\t")


def read_log(workspace: Place, run: str, index: int, role: str, *, start: int = 0) -> str:
    """The text of one log from part `start` on."""
    prefix = Keys(run).log(index, role)
    parts = [e.key for e in workspace.storage.list(prefix)][start:]
    data = b"".join(workspace.storage.get(key) or b"" for key in parts)
    return data.decode("utf-8", "replace")


def archive_digest(archive: bytes) -> str:
    """Hash under which a source archive is stored."""
    return _sha256(archive)


def _sha256(data: bytes | None) -> str:
    return hashlib.sha256(data or b"").hexdigest()
