"""
AWS at work: N nodes as one job of AWS Batch on machines that come and go with it.

Prerequisites: the extra `aws`; `clouds.aws` in rpac.yaml, which `rpac setup aws` writes; and
credentials where the SDK looks for them. `AWS_ENDPOINT_URL` leads to another server that speaks the
same API, and is told to the nodes.

    rpac reproduce exp-42 cloud=aws nodes=2 spot=true

Everything of a run is named and tagged by it, so that a second driver finds what a first has made.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from rpac_ci.canonical import Json
from rpac_ci.clouds.aws import shape_removal
from rpac_ci.clouds.aws.batch_jobs import ENDED, OPEN, POLL_S, BatchJobs, is_waiting, state_of
from rpac_ci.clouds.aws.board import JobBoard
from rpac_ci.clouds.aws.clients import TRIES, Aws, clients
from rpac_ci.clouds.aws.costs import cost_usd
from rpac_ci.clouds.aws.errors import code_of, translated
from rpac_ci.clouds.aws.plan import CLOUD, job_of
from rpac_ci.clouds.aws.requests import MAX_VCPUS, Job, Shape, log_group
from rpac_ci.clouds.aws.shapes import Shapes
from rpac_ci.clouds.interface import Leftover, Observation, Provisioned
from rpac_ci.errors import CloudError, CommandError, ThrottledError
from rpac_ci.experiment_model import Mode, Resources
from rpac_ci.jobs import JobSpec, JobState, Keys, longest_s
from rpac_ci.pipeline import Target

if TYPE_CHECKING:
    from rpac_ci.site_clouds import AwsSite
    from rpac_ci.storage import Storage
    from rpac_ci.workspace import Place

LOG_EVENTS = 1000  # of a node program's own words
SETTLED_S = 60.0  # until then a job that was just submitted may be missing in what AWS says
# where a stand-in for AWS is, for the nodes: addresses, never credentials
PASSED_ON = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ALLOW_HTTP", "AWS_METADATA_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
_CONNECTING = threading.Lock()


class AwsCloud:
    """Nodes on AWS; see `clouds.interface.Cloud`."""

    def __init__(self, shared: Shared, account: AwsSite, storage: Storage) -> None:
        """
        Args:
            shared: by all runs of this process.
            account: what the repository uses of AWS.
            storage: the runs' store, where nodes are asked to stop.
        """
        self._aws = shared.aws
        self._board = shared.board
        self._batch = BatchJobs(shared.aws)
        self._ids = shared.ids
        self._account = account
        self._storage = storage
        self._shapes = Shapes(shared.aws.batch, self._batch, account)

    @property
    def image_repository(self) -> str | None:
        """Where nodes pull their image from."""
        return self._account.repository

    def room(self, resources: Resources, target: Target) -> int:
        """As many as one shape may have processors for."""
        return max(1, MAX_VCPUS // (resources.nodes * resources.cpus))

    def provision(self, spec: JobSpec) -> Provisioned:
        """The shape; machines come with the job."""
        queue = self._shapes.ensure(_shape(spec))
        facts: dict[str, Any] = {
            "region": self._aws.region, "machine": spec.machine, "mode": spec.mode, "queue": queue,
            "spot": spec.spot,
        }  # fmt: skip
        endpoint = self._aws.endpoint()
        if endpoint is None:
            return Provisioned(facts=facts)
        remark = f"not AWS itself: a server that speaks its API, at {endpoint}"
        return Provisioned(facts={**facts, "endpoint": endpoint}, remarks=(remark,))

    def submit(self, spec: JobSpec, environment: dict[str, str]) -> dict[str, Any]:
        """Definition and job of the run, those of an earlier try where there are any."""
        job = self._job(spec, environment)
        queue, name = _shape(spec).name(self._account), job.name(self._account)
        jobs = self._jobs(spec)
        if not jobs:
            self._register(job)
            jobs = [self._submit(job, _shape(spec))]
        self._ids[name] = jobs[0]
        for double in jobs[1:]:  # of a driver that did not see the first one's yet
            self._batch.terminate(double, "submitted twice")
        # when it was, by the store's clock: those of drivers may be off
        self._storage.put(_submitted(spec), b"")
        return {"job": jobs[0], "name": name, "queue": queue}

    def observe(self, spec: JobSpec, submitted: dict[str, Any]) -> Observation:
        """From the job, and of an array from the states of all its children."""
        if not submitted:
            return Observation(state=JobState.UNKNOWN)
        said = self._board.look(submitted["job"])
        if said is None:
            if self._age_s(spec) < SETTLED_S:
                return Observation(state=JobState.PENDING)
            return Observation(state=JobState.UNKNOWN, detail="AWS Batch does not know the job")
        reason = str(said.get("statusReason", ""))
        return Observation(state=state_of(said), detail=reason, waiting=is_waiting(said))

    def node_log(self, spec: JobSpec, index: int) -> str:
        """What CloudWatch Logs has of the node program's own words."""
        try:
            stream = self._stream(spec, index)
            if stream is None:
                return ""
            with translated("reading a node's log"):
                events = self._aws.logs.get_log_events(
                    logGroupName=log_group(self._account), logStreamName=stream, limit=LOG_EVENTS,
                    startFromHead=False,
                )["events"]  # fmt: skip
        except CloudError:
            return ""  # it says little, and the run's own logs are in the store
        return "".join(f"{event['message']}\n" for event in events)

    def stop(self, spec: JobSpec, *, grace_s: float) -> None:
        """The nodes are asked by way of the store; then the job is terminated."""
        jobs = self._jobs(spec)
        if not jobs:
            return
        asked: dict[str, Json] = {"why": "stopped by rpac", "stopped": True}
        self._storage.create_json(Keys(spec.run).cancel, asked)
        deadline = time.monotonic() + grace_s
        while True:
            going = [one for one in self._batch.describe(jobs) if state_of(one) not in ENDED]
            there = any(state_of(one) is not JobState.PENDING for one in going)
            if not there or time.monotonic() > deadline:
                break  # nobody is there to be asked, or they have been asked for long enough
            time.sleep(POLL_S)
        for one in going:
            self._batch.terminate(one["jobId"], "stopped by rpac")

    def release(self, spec: JobSpec) -> dict[str, Any]:
        """Job ended, definition gone: machines leave by themselves when nothing is left to do."""
        jobs = self._jobs(spec)
        said = self._batch.describe(jobs)
        going = [one["jobId"] for one in said if state_of(one) not in ENDED]
        for job in going:
            self._batch.terminate(job, "released by rpac")
        if going:
            said = self._batch.until_ended(jobs)
        for job in jobs:
            self._board.forget(job)
        self._ids.pop(self._name(spec), None)
        left = {"jobs": sum(state_of(one) not in ENDED for one in said)}
        for definition in self._definitions(self._name(spec)):
            self._deregister(definition)
        left["definitions"] = len(self._definitions(self._name(spec)))
        if any(left.values()):
            raise CloudError(f"{spec.run} still has {left} on AWS", transient=True)
        cost = cost_usd(spec, self._aws.region, said, self._batch.describe)
        return {"left": left, "cost_usd": cost}

    def leftovers(self) -> list[Leftover]:
        """Jobs that are not over, and definitions, of any run of this repository."""
        listed = {
            job["jobId"]: self._run_of(job["jobName"])
            for queue in self._shapes.names()
            for status in OPEN
            for job in self._batch.each(queue, jobStatus=status)
        }
        found = [
            Leftover(run=run, kind="job", name=said["jobId"])
            for said in self._batch.describe([job for job, run in listed.items() if run])
            if state_of(said) not in ENDED and (run := listed[said["jobId"]])
        ]
        for definition in self._definitions():
            run = self._run_of(definition["jobDefinitionName"])
            if run:
                name = definition["jobDefinitionArn"]
                found.append(Leftover(run=run, kind="job definition", name=name))
        return found

    def idle(self, needed: Iterable[Target]) -> list[Leftover]:
        """Shapes that were not used for a week."""
        shapes = {_shape(target).name(self._account) for target in needed}
        names = shape_removal.idle(self._aws.batch, self._batch, self._account.name, shapes)
        return [Leftover(run="", kind=shape_removal.SHAPE, name=name) for name in names]

    def discard(self, leftover: Leftover) -> None:
        """Terminate a job, deregister a definition, take a shape away."""
        if leftover.kind == shape_removal.SHAPE:
            shape_removal.take_away(self._aws.batch, self._batch, leftover.name)
        elif leftover.kind == "job":
            self._batch.terminate(leftover.name, "swept by rpac")
            self._batch.until_ended([leftover.name])
        else:
            self._deregister({"jobDefinitionArn": leftover.name})

    # --- names ----------------------------------------------------------------------------------

    def _name(self, spec: JobSpec) -> str:
        return f"{self._account.name}-{spec.run}-{spec.attempt}"

    def _run_of(self, name: str) -> str | None:
        """The run that a job or definition belongs to by its name; None for foreign ones."""
        prefix = f"{self._account.name}-"
        run, _, attempt = name.removeprefix(prefix).rpartition("-")
        return run if name.startswith(prefix) and run and attempt.isdigit() else None

    def _job(self, spec: JobSpec, environment: dict[str, str]) -> Job:
        variables = {
            **{name: os.environ[name] for name in PASSED_ON if os.environ.get(name)},
            **environment,
            "AWS_REGION": self._aws.region,
            "RPAC_STORE": self._account.store,
        }
        return job_of(
            _need(spec), _target(spec), run=spec.run, attempt=str(spec.attempt),
            image=spec.image or "", limit_s=int(longest_s(spec.time_limit_s, spec.waits)),
            environment=variables,
        )  # fmt: skip

    # --- definitions ----------------------------------------------------------------------------

    def _definitions(self, name: str | None = None) -> list[dict[str, Any]]:
        asked: dict[str, Any] = {"status": "ACTIVE"}
        if name is not None:
            asked["jobDefinitionName"] = name
        with translated("looking at job definitions"):
            found = self._aws.batch.get_paginator("describe_job_definitions").paginate(**asked)
            return [d for page in found for d in page["jobDefinitions"] if d["status"] == "ACTIVE"]

    def _register(self, job: Job) -> None:
        # a second definition of the same content does no harm: release takes all of the run's
        with translated("registering the job definition"):
            self._aws.batch.register_job_definition(**job.definition(self._account))

    def _deregister(self, definition: dict[str, Any]) -> None:
        with translated("deregistering the job definition"):
            self._aws.batch.deregister_job_definition(jobDefinition=definition["jobDefinitionArn"])

    # --- jobs -----------------------------------------------------------------------------------

    def _submit(self, job: Job, shape: Shape) -> str:
        """
        Submit it once: the SDK's own tries would start it again when an answer was lost.

        What is not known to have been refused is for another try of the step, which looks first.
        """
        queue, name = shape.name(self._account), job.name(self._account)
        body, tries, mended = job.submission(self._account, queue), 1, False
        while True:
            try:
                with translated("submitting the job"):
                    return str(self._aws.batch_once.submit_job(**body)["jobId"])
            except ThrottledError:
                if tries == TRIES:
                    raise
                time.sleep(random.uniform(0.5, 1) * 2 ** (tries - 1))  # noqa: S311
                tries += 1
            except CloudError as exc:
                if mended or code_of(exc) != "ClientException":
                    raise
                # somebody may have swept the definition or the shape away under us
                if not self._definitions(name):
                    self._register(job)
                elif not self._shapes.is_there(shape):
                    self._shapes.ensure(shape)
                else:
                    raise
                mended = True

    def _jobs(self, spec: JobSpec) -> list[str]:
        """
        The run's jobs, oldest first, as far as AWS remembers them (about a week behind their end).

        More than one when a driver's submit was not yet in the list that another has looked at.
        """
        queue, name = _shape(spec).name(self._account), self._name(spec)
        found = self._batch.named(queue, name)
        known = self._ids.get(name)
        if known and known not in found:  # the list may come behind
            found.append(known)
        return found

    def _known_job(self, spec: JobSpec) -> str | None:
        """The first of them, without asking where this process has it already."""
        name = self._name(spec)
        if name not in self._ids:
            for job in self._jobs(spec)[:1]:
                self._ids[name] = job
        return self._ids.get(name)

    def _age_s(self, spec: JobSpec) -> float:
        """How long ago the job was submitted, in seconds of the store's clock."""
        marker = self._storage.head(_submitted(spec))
        if marker is None:
            return float("inf")
        now = self._storage.now(f"{Keys(spec.run).control}clock")
        return (now - marker.modified).total_seconds()

    def _stream(self, spec: JobSpec, index: int) -> str | None:
        job = self._known_job(spec)
        if job is None:
            return None
        if spec.mode == Mode.MNP:
            job = f"{job}#{index}" if self._batch.describe([f"{job}#{index}"]) else job
        elif spec.nodes > 1:
            job = f"{job}:{index}"
        if job == self._known_job(spec):  # looked at for all runs together
            said = self._board.look(job) or {}
        else:
            [said] = self._batch.describe([job]) or [{}]
        stream = said.get("container", {}).get("logStreamName")
        return str(stream) if stream else None


def _submitted(spec: JobSpec) -> str:
    """Key of an object that is as old as the job."""
    return f"{Keys(spec.run).control}submitted/{spec.attempt}"


def _shape(where: JobSpec | Target) -> Shape:
    if not where.machine or not where.mode:
        raise CloudError("the job names no machine of AWS")
    return Shape(machine=where.machine, mode=Mode(where.mode), spot=where.spot)


def _target(spec: JobSpec) -> Target:
    assert spec.mode
    return Target(
        cloud=CLOUD, runtime="docker", machine=spec.machine, mode=Mode(spec.mode), spot=spec.spot
    )


def _need(spec: JobSpec) -> Resources:
    return Resources(nodes=spec.nodes, cpus=spec.cpus, memory=spec.memory_mib, gpus=spec.gpus)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the runs of one process share: clients, descriptions of jobs, ids of jobs by name."""

    aws: Aws
    board: JobBoard
    ids: dict[str, str] = field(default_factory=dict)


@cache
def _shared(region: str, _endpoint: str | None) -> Shared:
    """Another endpoint is another cloud."""
    aws = clients(region)

    def describe(jobs: list[str]) -> list[dict[str, Any]]:
        with translated("looking at jobs"):
            found: list[dict[str, Any]] = aws.batch.describe_jobs(jobs=jobs)["jobs"]
            return found

    return Shared(aws, JobBoard(describe))


def connect(workspace: Place) -> AwsCloud:
    """
    AWS for the runs of a workspace.

    Raises:
        RpacError: the workspace's settings name no account, or the SDK is not installed.
    """
    account = workspace.config.clouds.aws
    if account is None:
        raise CommandError(
            "rpac.yaml names nothing on AWS (clouds.aws)",
            hint="rpac setup aws makes what is needed and writes it there",
        )
    with _CONNECTING:  # threads of a study come at once, and are to share one board
        shared = _shared(account.region, os.environ.get("AWS_ENDPOINT_URL"))
    return AwsCloud(shared, account, workspace.storage)
