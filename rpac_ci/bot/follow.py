"""
The comment about a run, kept up to date by what GitHub itself says about the steps of its job: that
job has no right to speak, and what it says about itself would not be believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from rpac_ci.bot import Context, comments
from rpac_ci.bot import jobs as bot_jobs
from rpac_ci.github.answers import Job

QUICK_S, SLOW_S = 120.0, 1800.0  # until the looks become rarer
STALE_S = 300.0  # "last update" may be so old


def follow(
    context: Context,
    run: str,
    comment: int,
    job: str,
    *,
    every_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """
    Edit a comment whenever a job goes on to another step, and now and then in between.

    Args:
        context: of the job that follows.
        run: that is followed.
        comment: to edit.
        job: name of the run's job, or its end.
        every_s: between two looks.
        sleep: how to wait.
        clock: the time.

    Raises:
        RpacError: GitHub does not answer for long, or the comment is gone.
    """
    context.ledger.fetch()
    order = bot_jobs.read_order(context.ledger.view(), run)
    said, since = "", clock()
    began = since
    while True:
        found = _find(context.github.jobs(context.host.run_id), job)
        if found is not None and found.status == "completed":
            return
        now, phase = clock(), phase_of(found)
        if phase != said or (now - since).total_seconds() >= STALE_S:
            body = comments.started(order.dispatch, order.ticket, context.links(), phase, now)
            context.github.edit_comment(comment, body, comments.run_marker(run))
            said, since = phase, now
        # a hundred runs share a thousand requests an hour
        waited = (now - began).total_seconds()
        sleep(every_s if waited < QUICK_S else 6 * every_s if waited < SLOW_S else 15 * every_s)


def _find(jobs: Sequence[Job], name: str) -> Job | None:
    """The job by its name; one of a reusable workflow has its caller's name before its own."""
    return next((job for job in jobs if job.name == name or job.name.endswith(f"/ {name}")), None)


def phase_of(job: Job | None) -> str:
    """What a job is at, in a few words."""
    if job is None or job.status != "in_progress":
        return "waiting for a machine"
    step = next((step for step in job.steps if step.status == "in_progress"), None)
    return step.name.lower() if step else "starting"
