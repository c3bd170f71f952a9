"""
Words of a comment -> a plan of one commit and its ticket. Reads git, writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rpac_ci import clouds, open_runs
from rpac_ci.bot.checkouts import tree_without_reports
from rpac_ci.bot.tickets import Ticket
from rpac_ci.canonical import Json
from rpac_ci.errors import CommandError, PolicyError
from rpac_ci.events import timestamp
from rpac_ci.pipeline import Pipeline
from rpac_ci.planning import Plan, make_plan
from rpac_ci.study_words import axes
from rpac_ci.workspace import Workspace

AROUND_MIN = 45  # staging, provisioning, collecting and releasing, beside the time limit
RUNNER_MIN = 350  # a job on GitHub's machines may take six hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asked, where, and for which commit."""

    via: str  # `comment`, `workflow_dispatch`, `repository_dispatch`, `schedule`
    repository: int
    pull: int | None
    comment: int | None
    actor: int
    head: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan and its ticket, which is not signed yet."""

    plan: Plan
    ticket: Ticket
    words: str


def make(
    workspace: Workspace,
    asked: Asked,
    target: str,
    words: Sequence[str],
    *,
    study: str | None = None,
) -> Planned:
    """
    Plan one run.

    Args:
        workspace: on the commit.
        asked: who, where, which commit.
        target: `<experiment>` or `<experiment>@<run>`.
        words: `key=value`; `sha=` is the caller's to check.
        study: that the run is a part of.

    Raises:
        RpacError: what was asked cannot be done, and why.
    """
    kept = [word for word in words if not word.startswith("sha=")]
    if axes(kept) is not None:
        raise CommandError(f"a list of values is a study: {' '.join(kept)}")
    plan = make_plan(workspace, target, [word.replace("\\,", ",") for word in kept])
    said = " ".join(["/reproduce", str(plan.target), *kept])
    request: dict[str, Json] = {"via": asked.via, "actor": asked.actor, "words": said}
    if study:
        request["study"] = study
    created = open_runs.first_event(plan, plan.source.archive(), request=request, commit=False)
    pipeline = plan.pipeline
    price = clouds.planner(pipeline.target.cloud).price(pipeline)
    low, high = price if price is not None else (0.0, None)
    ticket = Ticket(
        repository=asked.repository,
        pull=asked.pull,
        comment=asked.comment,
        requester=asked.actor,
        words=said,
        experiment=pipeline.id,
        target=str(plan.target),
        head=asked.head,
        base=None,
        tree=tree_without_reports(workspace.git, asked.head),
        pipeline=pipeline.digest,
        science=plan.science,
        cloud=pipeline.target.cloud,
        region=pipeline.target.region,
        machine=pipeline.target.machine,
        image=pipeline.environment.image,
        nodes=pipeline.resources.nodes,
        cost_low=low,
        cost_high=high,
        cost_limit=pipeline.limits.cost,
        minutes=_minutes(pipeline),
        made_at=timestamp(asked.at),
        created=created,
    )
    return Planned(plan=plan, ticket=ticket, words=said)


def _minutes(pipeline: Pipeline) -> int:
    """
    Raises:
        PolicyError: no job of GitHub's takes so long.
    """
    queue_s = clouds.planner(pipeline.target.cloud).capabilities.queue_s
    minutes = math.ceil((pipeline.limits.time + queue_s) / 60) + AROUND_MIN
    if pipeline.target.cloud == "local" and minutes > RUNNER_MIN:
        raise PolicyError(
            f"the time limit of {pipeline.limits.time // 60} min is more than a job here may take",
            hint=f"at most time={RUNNER_MIN - AROUND_MIN}min",
        )
    return minutes
