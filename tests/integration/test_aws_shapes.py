"""
Shapes that nobody uses any more, against the stand-in: found and taken away by `rpac sweep`, never
under a run.

AWS forgets jobs about a week behind their end, and moto never does: the gate leaves them out.
"""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rpac_ci import open_runs
from rpac_ci.clouds.aws import stack as stacks
from rpac_ci.clouds.aws.shape_removal import MADE
from rpac_ci.workspace import Workspace
from tests.integration import test_aws_faults
from tests.integration.test_aws_faults import REPRODUCED, Lab, nightly
from tests.standins.aftermath import ended
from tests.standins.aws import Call
from tests.standins.faults import start

pytestmark = pytest.mark.slow

server, account, nodes, lab = (
    test_aws_faults.server, test_aws_faults.account, test_aws_faults.nodes, test_aws_faults.lab,
)  # fmt: skip
ORDER = ["UpdateJobQueue", "DeleteJobQueue", "UpdateComputeEnvironment", "DeleteComputeEnvironment"]
NOTHING = "nothing is left over"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "POLL_S", 0.01)


def shapes(lab: Lab) -> tuple[list[str], list[str]]:
    """Environments and queues of the lab, as AWS has them."""
    batch, prefix = lab.account.client("batch"), f"{lab.account.site['name']}-"
    environments = batch.describe_compute_environments()["computeEnvironments"]
    queues = batch.describe_job_queues()["jobQueues"]
    return (
        [e["computeEnvironmentName"] for e in environments
         if e["computeEnvironmentName"].startswith(prefix)],
        [q["jobQueueName"] for q in queues if q["jobQueueName"].startswith(prefix)],
    )  # fmt: skip


def made(lab: Lab, days_ago: int) -> None:
    """The lab's only shape is so old."""
    batch = lab.account.client("batch")
    [environment] = [
        one
        for one in batch.describe_compute_environments()["computeEnvironments"]
        if one["computeEnvironmentName"] in shapes(lab)[0]
    ]
    day = (datetime.now(UTC) - timedelta(days=days_ago)).date().isoformat()
    assert MADE in environment["tags"]
    batch.tag_resource(resourceArn=environment["computeEnvironmentArn"], tags={MADE: day})


def jobs(lab: Lab, *known: dict[str, Any]) -> None:
    """What AWS remembers of all jobs from now on."""

    def rewrite(call: Call, answer: Any) -> Any:
        if call.action == "listjobs" and b"AFTER_CREATED_AT" in call.body:
            answer["jobSummaryList"] = list(known)
        return answer

    lab.account.gate.rewrite = rewrite


def job(status: str, days_ago: float) -> dict[str, Any]:
    """A job of somebody's as a list tells it."""
    then = int((time.time() - days_ago * 86400) * 1000)
    about = {"jobId": "j-1", "jobName": "other", "status": status, "createdAt": then - 1000}
    return {**about, "stoppedAt": then} if status in ("SUCCEEDED", "FAILED") else about


@pytest.fixture
def idle(lab: Lab) -> str:
    """A shape that was used long ago; its name."""
    assert lab.reproduce().code == 0
    made(lab, 30)
    jobs(lab)
    [name], [queue] = shapes(lab)
    assert name == queue
    return name


def test_a_shape_that_nobody_uses_is_told_taken_away_and_made_again(lab: Lab, idle: str) -> None:
    assert lab.sweep() == f"idle shape {idle}: found"
    assert shapes(lab) == ([idle], [idle]), "only told"
    lab.account.gate.calls.clear()
    swept = lab.rpac("sweep", "--json")
    assert swept.json == [{"run": "", "what": f"idle shape {idle}", "action": "removed"}]
    assert shapes(lab) == ([], [])
    asked = [call.action for call in lab.account.gate.calls]
    assert [a for a in asked if a in map(str.lower, ORDER)] == [action.lower() for action in ORDER]
    assert lab.sweep() == NOTHING
    assert lab.reproduce().code == 0
    assert shapes(lab) == ([idle], [idle])


@pytest.mark.parametrize(
    ("days_ago", "known", "stays"),
    [
        nightly(0, [], True),
        (6, [], True),
        (8, [], False),
        (30, [job("SUCCEEDED", 6)], True),
        (30, [job("FAILED", 8)], False),
        nightly(30, [job("RUNNING", 20)], True),
        (30, [job("RUNNABLE", 20)], True),
    ],
    ids=[
        "made today", "made 6 days ago", "never used", "used 6 days ago", "used 8 days ago",
        "at work", "waiting",
    ],
)  # fmt: skip
def test_what_was_made_or_used_in_a_week_stays(
    lab: Lab, days_ago: int, known: list[dict[str, Any]], stays: bool
) -> None:
    assert lab.reproduce().code == 0
    made(lab, days_ago)
    jobs(lab, *known)
    assert (lab.sweep() == NOTHING) is stays


def test_what_an_open_run_needs_stays(lab: Lab, idle: str) -> None:
    """A run before its submit, of which AWS knows nothing."""
    lab.fails("RegisterJobDefinition", 10**6, code="ExpiredTokenException", status=403)
    assert lab.reproduce().code == 5
    [run] = open_runs.names(Workspace.open(lab.rpac.root))
    assert "idle shape" not in lab.sweep()
    assert run in lab.rpac("sweep").out
    assert shapes(lab) == ([idle], [idle])
    lab.mend()
    assert lab.advance().code == 0


@pytest.mark.parametrize(
    ("action", "then"),
    [
        ("UpdateJobQueue", "a run"),
        ("UpdateComputeEnvironment", "a run"),
        ("DeleteJobQueue", "sweep"),
        *(nightly(action, then) for then in ("sweep", "a run") for action in ORDER),
    ],
)
def test_a_killed_sweep_is_ended_by_another_or_by_a_run(
    lab: Lab, idle: str, action: str, then: str
) -> None:
    gate, process = lab.account.gate, start(lab.rpac.root, "sweep")

    def strike(call: Call) -> None:
        if call.action == action.lower():
            process.send_signal(signal.SIGKILL)
            process.wait()

    gate.after = strike
    assert ended(process).returncode == -signal.SIGKILL
    gate.after = lab.nodes.hear
    if then == "sweep":
        assert lab.rpac("sweep").code == 0
        assert shapes(lab) == ([], [])
        assert lab.sweep() == NOTHING
    else:
        done = lab.reproduce()
        assert done.code == 0, done.out + done.err
        assert shapes(lab) == ([idle], [idle])


def test_a_job_that_comes_just_before_keeps_its_shape(lab: Lab, idle: str) -> None:
    """Listed once the queue takes no more."""
    gate = lab.account.gate

    def before(call: Call) -> None:
        if call.action == "updatejobqueue":
            jobs(lab, job("RUNNABLE", 0))

    gate.before = before
    swept = lab.rpac("sweep")
    assert swept.out.strip() == f"idle shape {idle}: could not be removed: {idle} is used again"
    gate.before = lambda _: None
    assert shapes(lab) == ([idle], [idle])
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    assert lab.asked("CreateJobQueue") == 1, "only at first"


def test_a_shape_that_is_swept_away_under_a_submit_is_made_again(lab: Lab, idle: str) -> None:
    gate, done = lab.account.gate, list[Call]()
    batch = lab.account.client("batch")

    def before(call: Call) -> None:
        if call.action == "submitjob" and not done:
            done.append(call)
            queue = json.loads(call.body)["jobQueue"]
            batch.update_job_queue(jobQueue=queue, state="DISABLED")
            batch.delete_job_queue(jobQueue=queue)
            batch.update_compute_environment(computeEnvironment=queue, state="DISABLED")
            batch.delete_compute_environment(computeEnvironment=queue)

    gate.before = before
    answer = lab.reproduce()
    assert answer.code == 0, answer.out + answer.err
    assert lab.rpac.last()["verdict"]["outcome"] == REPRODUCED
    assert shapes(lab) == ([idle], [idle])


@pytest.mark.parametrize("action", [ORDER[0], *map(nightly, ORDER[1:])])
def test_a_right_that_is_missing_is_told_and_the_shape_stays_on_the_list(
    lab: Lab, idle: str, action: str
) -> None:
    lab.denies(action)
    swept = lab.rpac("sweep")
    [line] = swept.out.splitlines()
    assert line.startswith(f"idle shape {idle}: could not be removed: ")
    assert f"batch:{action}" in line
    lab.account.gate.faults.clear()
    assert lab.sweep() == f"idle shape {idle}: found"
    assert lab.rpac("sweep").code == 0
    assert shapes(lab) == ([], [])


def test_shapes_that_cannot_be_looked_for_do_not_hide_the_rest(lab: Lab, idle: str) -> None:
    lab.fails("ListJobs", 10**6, code="AccessDeniedException", status=403, skip=5)
    assert lab.sweep().startswith("unused capacity: not looked for: listing jobs: AWS says")
    lab.account.gate.faults.clear()
    assert idle in lab.sweep()
