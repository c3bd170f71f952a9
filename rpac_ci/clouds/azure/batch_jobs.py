"""
Jobs of Azure Batch, each with one task for every node: made, asked about, ended and deleted.

What the service calls a state is one of ours here. A job that is over keeps its tasks, and counts
against the account's quota until it is completed; deleted it is when its run is released.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpac_ci.clouds.azure import paces
from rpac_ci.clouds.azure.boards import NodeBoard
from rpac_ci.clouds.azure.clients import Azure
from rpac_ci.clouds.azure.errors import code_of, translated
from rpac_ci.clouds.azure.requests import ENDS_ITSELF, task_id
from rpac_ci.clouds.interface import Observation
from rpac_ci.errors import CloudError
from rpac_ci.jobs import JobState

if TYPE_CHECKING:
    from azure.batch.models import BatchJob, BatchTask

LOG_BYTES = 1 << 18  # of a node program's own words
PAGE = 100  # tasks of one request
RUNNING = ("preparing", "running")
OVER = ("completed", "terminating", "deleting")
_THERE = ("JobExists", "JobBeingDeleted")
_ENDED = ("JobNotFound", "JobCompleted", "JobBeingTerminated", "JobBeingDeleted")


class BatchJobs:
    """The jobs of one Batch account."""

    def __init__(self, azure: Azure, nodes: NodeBoard) -> None:
        """
        Args:
            azure: the account.
            nodes: of its pools, which all runs of this process look at; a job is named like its.
        """
        self._azure = azure
        self._nodes = nodes

    def get(self, name: str) -> BatchJob | None:
        """A job, also one that is being deleted; None when there is none."""
        try:
            with translated("looking at the job"):
                return self._azure.batch.get_job(name)
        except CloudError as exc:
            if code_of(exc) == "JobNotFound":
                return None
            raise

    def named(self, prefix: str) -> list[tuple[str, dict[str, str]]]:
        """Jobs whose names begin so, with their metadata."""
        with translated("listing jobs"):
            found = self._azure.batch.list_jobs(
                filter=f"startswith(id,'{prefix}')", select=["id", "state", "metadata"]
            )
            return [(job.id, {m.name: m.value for m in job.metadata or []}) for job in found]

    def ensure(self, name: str, body: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
        """
        Have the job with its tasks, which may be that of an earlier try: made first, then seen.

        Raises:
            QuotaError: the account has too many jobs that are not over.
            CloudError: Azure does not take it.
        """
        if not self._create(body):
            found = self.get(name)
            if found is None:
                raise CloudError(f"somebody has deleted the job {name}", transient=True)
            if found.state in OVER or found.all_tasks_complete_mode == "terminatejob":
                return  # it is complete
        for start in range(0, len(tasks), PAGE):
            self._add(name, tasks[start : start + PAGE])
        try:
            with translated("telling the job how to end"):
                self._azure.batch.update_job(name, dict(ENDS_ITSELF))  # type: ignore[arg-type]
        except CloudError as exc:
            if code_of(exc) not in _ENDED:
                raise

    def _create(self, body: dict[str, Any]) -> bool:
        """False when it is there: of another driver, or of a first try of the SDK's."""
        try:
            with translated("making the job"):
                self._azure.batch.create_job(body)  # type: ignore[arg-type]
        except CloudError as exc:
            if code_of(exc) not in _THERE:
                raise
            return False
        return True

    def _add(self, name: str, tasks: list[dict[str, Any]]) -> None:
        try:
            with translated("adding the tasks"):
                said = self._azure.batch.create_task_collection(name, {"value": tasks})  # type: ignore[arg-type]
        except CloudError as exc:
            if code_of(exc) in _ENDED:
                return
            raise
        for one in said.result_values or []:
            code = one.error.code if one.error else ""
            if one.status != "success" and code != "TaskExists":
                raise CloudError(f"adding the task {one.task_id}: Azure says {code or one.status}")

    def observe(self, name: str) -> Observation:
        """How the job is: at work when its nodes are, else from the states of its tasks."""
        if self._nodes.are_at_work(name):
            return Observation(state=JobState.RUNNING)
        try:
            with translated("looking at the tasks"):
                tasks = list(
                    self._azure.batch.list_tasks(name, select=["id", "state", "executionInfo"])
                )
        except CloudError as exc:
            if code_of(exc) != "JobNotFound":
                raise
            return Observation(state=JobState.UNKNOWN, detail="Azure Batch does not know the job")
        states = [task.state for task in tasks]
        ended = [task for task in tasks if task.state == "completed"]
        if tasks and len(ended) == len(tasks):
            return _ended(ended)
        if any(state in RUNNING for state in states):
            return Observation(state=JobState.RUNNING)
        # what is left waits, and may wait for a machine that will never come
        job = self.get(name)
        if job is None or job.state in OVER:
            why = job.execution_info.termination_reason if job and job.execution_info else ""
            return Observation(state=JobState.FAILED, detail=f"the job has ended: {why}")
        if _is_over(tasks):
            return Observation(state=JobState.FAILED, detail="a node was lost")
        return Observation(state=JobState.PENDING, waiting=not ended)

    def log(self, name: str, index: int) -> str:
        """The last words of a node's program; empty when they are not to be had (any more)."""
        # it speaks on the second one; what came to the first instead was never the program
        files = (self._file(name, task_id(index), file) for file in ("stderr.txt", "stdout.txt"))
        return next(filter(None, files), b"").decode("utf-8", "replace")

    def _file(self, job: str, task: str, file: str) -> bytes:
        kept = b""
        try:
            with translated("reading a node's log"):
                for chunk in self._azure.batch.download_task_file(job, task, file):
                    kept = (kept + chunk)[-LOG_BYTES:]
        except CloudError:  # it says little, and the run's own logs are in the store
            return b""
        return kept

    def terminate(self, name: str, why: str) -> None:
        """End it with all of its tasks; silent when it has ended."""
        try:
            with translated("terminating the job"):
                self._azure.send("POST", f"/jobs/{name}/terminate", {"terminateReason": why})
        except CloudError as exc:
            if code_of(exc) not in _ENDED:
                raise

    def until_over(self, name: str, limit_s: float) -> bool:
        """Whether no task of it runs, at the latest after the limit."""
        ended = (JobState.SUCCEEDED, JobState.FAILED, JobState.UNKNOWN)
        return any(self.observe(name).state in ended for _ in paces.until(limit_s))

    def delete(self, name: str) -> None:
        """Delete it with its tasks and their files; silent when that has been done already."""
        try:
            with translated("deleting the job"):
                self._azure.send("DELETE", f"/jobs/{name}")
        except CloudError as exc:
            if code_of(exc) not in ("JobNotFound", "JobBeingDeleted"):
                raise

    def is_gone(self, name: str, limit_s: float) -> bool:
        """Whether it is no longer there, at the latest after the limit."""
        return any(self.get(name) is None for _ in paces.until(limit_s))


def _ended(tasks: list[BatchTask]) -> Observation:
    """Of a job whose tasks are all over."""
    failed = [(task.id, why) for task in tasks if (why := _failure(task))]
    if not failed:
        return Observation(state=JobState.SUCCEEDED)
    return Observation(
        state=JobState.FAILED, detail="; ".join(f"{task}: {why}" for task, why in failed[:3])
    )


def _failure(task: BatchTask) -> str:
    """Why a task that is over has failed; empty when it has not."""
    info = task.execution_info
    if info is None or info.result == "success":
        return ""
    if info.exit_code is not None:
        return f"exit code {info.exit_code}"
    return str(info.failure_info.message or info.failure_info.code) if info.failure_info else "?"


def _is_over(tasks: list[BatchTask]) -> bool:
    """
    Of tasks none of which runs: whether there is nothing to wait for.

    Without main there is no run. Tasks that were there and are to run again, since their node was
    lost, would only find that they are strays.
    """
    main = any(task.id == task_id(0) and task.state == "completed" for task in tasks)
    return bool(tasks) and (main or all(map(_was_there, tasks)))


def _was_there(task: BatchTask) -> bool:
    requeued = task.execution_info.requeue_count if task.execution_info else 0
    return task.state == "completed" or bool(requeued)
