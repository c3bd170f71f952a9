"""
Shapes taken away, in the order that AWS insists on: a queue is disabled, deleted and gone before
its compute environment can be.

An account has room for 50 of each, so `rpac sweep` takes away what is idle: no open run needs it,
and no job of the last seven days was on it. AWS Batch remembers jobs for at least so long behind
their end; a younger shape is known by its tag. Another tag says that a shape is leaving, so
that whoever finds it half removed ends that first: the next sweep, or a run that wants the shape.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from rpac_ci.clouds.aws import stack as stacks
from rpac_ci.clouds.aws.batch_jobs import OPEN, BatchJobs
from rpac_ci.clouds.aws.clients import Client
from rpac_ci.clouds.aws.errors import translated
from rpac_ci.errors import CloudError

MADE, LEAVING = "rpac:made", "rpac:leaving"  # tags: a day, "yes" or "no"
SHAPE = "idle shape"  # kind of a leftover that is no run's
IDLE = timedelta(days=7)
_ANY_TIME = [{"name": "AFTER_CREATED_AT", "values": ["0"]}]  # else only running jobs are listed


def made_today() -> dict[str, str]:
    """The tag of a shape that is being made."""
    return {MADE: datetime.now(UTC).date().isoformat()}


def is_leaving(found: dict[str, Any] | None) -> bool:
    """Whether somebody has begun to take a queue or an environment away."""
    return found is not None and found.get("tags", {}).get(LEAVING) == "yes"


def idle(batch: Client, jobs: BatchJobs, site: str, needed: Collection[str]) -> list[str]:
    """
    Shapes that may be taken away.

    Args:
        batch: client.
        jobs: of the same region.
        site: that the shapes belong to, by its name.
        needed: shapes of open runs.

    Raises:
        CloudError: AWS cannot be asked.
    """
    named = re.compile(rf"{re.escape(site)}-[0-9a-f]{{12}}")
    with translated("looking at compute environments"):
        there = [
            one
            for page in batch.get_paginator("describe_compute_environments").paginate()
            for one in page["computeEnvironments"]
            if named.fullmatch(one["computeEnvironmentName"]) and one["status"] != "DELETED"
        ]
    since = datetime.now(UTC) - IDLE
    return [
        name
        for one in there
        if (name := one["computeEnvironmentName"]) not in needed
        and (is_leaving(one) or not (_is_young(one, since) or _is_used(jobs, name, since)))
    ]


def take_away(batch: Client, jobs: BatchJobs, name: str) -> None:
    """
    Remove an idle shape; may be called again after an interruption, and when it is gone.

    Raises:
        CloudError: it is used again, and stays; or AWS refuses.
    """
    queue, environment = find_queue(batch, name), find_environment(batch, name)
    _mark(batch, queue, environment, "yes")
    if queue is not None:
        _disable_queue(batch, name)  # from here on AWS refuses jobs; those before are seen now
        if any(job["status"] in OPEN for job in jobs.each(name, filters=_ANY_TIME)):
            with translated(f"enabling the job queue {name}"):
                batch.update_job_queue(jobQueue=name, state="ENABLED")
            _mark(batch, queue, environment, "no")
            raise CloudError(f"{name} is used again")
    remove_queue(batch, name)
    remove_environment(batch, name)


def find_queue(batch: Client, name: str) -> dict[str, Any] | None:
    """What AWS says of a queue; None when it is not there, or gone."""
    with translated("looking at the job queue"):
        found = batch.describe_job_queues(jobQueues=[name])["jobQueues"]
    return _there(found)


def find_environment(batch: Client, name: str) -> dict[str, Any] | None:
    """What AWS says of an environment; None when it is not there, or gone."""
    with translated("looking at the compute environment"):
        found = batch.describe_compute_environments(computeEnvironments=[name])
    return _there(found["computeEnvironments"])


def remove_queue(batch: Client, name: str) -> None:
    """
    Disable and delete a queue, and wait until it is gone; silent when it is.

    Raises:
        CloudError: AWS refuses, or it takes too long.
    """
    _disable_queue(batch, name)
    with translated(f"removing the job queue {name}"):
        if (now := find_queue(batch, name)) is not None and now["status"] != "DELETING":
            batch.delete_job_queue(jobQueue=name)
    stacks.wait(f"{name} is gone", lambda: find_queue(batch, name) is None)


def remove_environment(batch: Client, name: str) -> None:
    """
    Disable and delete an environment without a queue, and wait until it is gone; silent when it is.

    Raises:
        CloudError: AWS refuses, or it takes too long.
    """
    with translated(f"removing the compute environment {name}"):
        if (now := find_environment(batch, name)) is None:
            return
        if now.get("state") != "DISABLED" and now["status"] != "DELETING":
            batch.update_compute_environment(computeEnvironment=name, state="DISABLED")
        stacks.wait(f"{name} is disabled", lambda: _at_rest(find_environment(batch, name)))
        if (now := find_environment(batch, name)) is not None and now["status"] != "DELETING":
            batch.delete_compute_environment(computeEnvironment=name)
    stacks.wait(f"{name} is gone", lambda: find_environment(batch, name) is None)


def _disable_queue(batch: Client, name: str) -> None:
    with translated(f"disabling the job queue {name}"):
        now = find_queue(batch, name)
        if now and now.get("state") != "DISABLED" and now["status"] != "DELETING":
            batch.update_job_queue(jobQueue=name, state="DISABLED")
    stacks.wait(f"{name} is disabled", lambda: _at_rest(find_queue(batch, name)))


def _mark(
    batch: Client, queue: dict[str, Any] | None, environment: dict[str, Any] | None, leaving: str
) -> None:
    arns = (environment or {}).get("computeEnvironmentArn"), (queue or {}).get("jobQueueArn")
    with translated("tagging a shape"):
        for arn in filter(None, arns):
            batch.tag_resource(resourceArn=arn, tags={LEAVING: leaving})


def _there(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    return found[0] if found and found[0]["status"] != "DELETED" else None


def _at_rest(now: dict[str, Any] | None) -> bool:
    return now is None or now["status"] not in {"CREATING", "UPDATING"}


def _is_young(environment: dict[str, Any], since: datetime) -> bool:
    made = str(environment.get("tags", {}).get(MADE, ""))
    return made >= since.date().isoformat()  # days compare as words; no tag is older than any


def _is_used(jobs: BatchJobs, name: str, since: datetime) -> bool:
    """Whether a job is on it, or was."""
    known = jobs.each(name, filters=_ANY_TIME)
    return any(job["status"] in OPEN or _ended(job) > since for job in known)


def _ended(job: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp((job.get("stoppedAt") or job["createdAt"]) / 1000, UTC)
