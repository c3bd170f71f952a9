"""
Jobs of AWS Batch as they are asked about: found by name, described, ended. What AWS calls a state
is one of ours here, for an array from the states of all its children.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rpac_ci.clouds.aws.board import pages
from rpac_ci.clouds.aws.clients import Aws
from rpac_ci.clouds.aws.errors import translated
from rpac_ci.jobs import JobState

POLL_S = 2.0
OPEN = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
_STATES = {
    "SUBMITTED": JobState.PENDING, "PENDING": JobState.PENDING, "RUNNABLE": JobState.PENDING,
    "STARTING": JobState.PENDING, "RUNNING": JobState.RUNNING, "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
}  # fmt: skip
ENDED = (JobState.SUCCEEDED, JobState.FAILED)


class BatchJobs:
    """The jobs of one region."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def named(self, queue: str, name: str) -> list[str]:
        """Ids of the jobs of a name, oldest first, as far as AWS remembers (about a week)."""
        filters = [{"name": "JOB_NAME", "values": [name]}]
        listed = [job for job in self.each(queue, filters=filters) if job["jobName"] == name]
        return [job["jobId"] for job in sorted(listed, key=lambda job: job["createdAt"])]

    def each(self, queue: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """Jobs of a queue, without the parts of arrays and of multi-node jobs."""
        with translated("listing jobs"):
            try:
                for page in self._aws.batch.get_paginator("list_jobs").paginate(
                    jobQueue=queue, **asked
                ):
                    for job in page["jobSummaryList"]:
                        if not set(":#") & set(job["jobId"]):  # those are parts of another job
                            yield job
            except self._aws.batch.exceptions.ClientException as exc:
                if "does not exist" not in str(exc):
                    raise

    def describe(self, jobs: list[str]) -> list[dict[str, Any]]:
        """What AWS says about jobs, a hundred in one call; silent about those it does not know."""
        with translated("looking at jobs"):
            return [
                job
                for page in pages(jobs)
                for job in self._aws.batch.describe_jobs(jobs=page)["jobs"]
            ]

    def terminate(self, job: str, why: str) -> None:
        """End a job, whatever it is at."""
        # never CancelJob, which does nothing once a job is starting
        with translated("terminating the job"):
            self._aws.batch.terminate_job(jobId=job, reason=why)

    def until_ended(self, jobs: list[str], limit_s: float = 120.0) -> list[dict[str, Any]]:
        """The jobs once all of them have ended, or as they are after the limit."""
        deadline = time.monotonic() + limit_s
        while True:
            said = self.describe(jobs)
            ended = all(state_of(one) in ENDED for one in said)
            if ended or time.monotonic() > deadline:
                return said
            time.sleep(POLL_S)


def state_of(said: dict[str, Any]) -> JobState:
    """Of a job, also of an array, whose own status says little until all its children are over."""
    summary = said.get("arrayProperties", {}).get("statusSummary")
    if not summary:
        return _STATES.get(said["status"], JobState.UNKNOWN)
    size = said["arrayProperties"].get("size", sum(summary.values()))
    if summary.get("SUCCEEDED", 0) + summary.get("FAILED", 0) >= size:
        return JobState.FAILED if summary.get("FAILED") else JobState.SUCCEEDED
    started = summary.get("RUNNING", 0) + summary.get("SUCCEEDED", 0) + summary.get("FAILED", 0)
    return JobState.RUNNING if started else JobState.PENDING


def is_waiting(said: dict[str, Any]) -> bool:
    """Whether no machine has been there for the job, or for any child of an array, so far."""
    summary = said.get("arrayProperties", {}).get("statusSummary")
    states = [state for state, number in summary.items() if number] if summary else []
    return set(states or [said["status"]]) <= {"SUBMITTED", "PENDING", "RUNNABLE"}
