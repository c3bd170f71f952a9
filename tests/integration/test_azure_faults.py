"""
Faults of Azure, one at a time, against the stand-in: what is recorded is true, a run that can go on
does, and nothing is left over.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from rpac_ci import open_runs
from rpac_ci.clouds.azure import pools
from rpac_ci.jobs import Keys
from rpac_ci.workspace import Workspace
from tests.conftest import campaign
from tests.integration.azure_lab import (
    ASKED,
    CHANGING,
    COULD_NOT_RUN,
    FOREVER,
    REPRODUCED,
    Lab,
    started,
    waiting_for,
)
from tests.integration.azure_lab import account_fixture as account_fixture
from tests.integration.azure_lab import lab_fixture as lab_fixture
from tests.integration.azure_lab import server_fixture as server_fixture
from tests.standins.aftermath import ended
from tests.standins.azure.rest import Call
from tests.standins.azure.state import Task, image
from tests.standins.faults import start
from tests.standins.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_without_a_fault(lab: Lab) -> None:
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    record = lab.is_over(REPRODUCED)
    assert len(record["circumstances"]["nodes"]) == 1
    system = "the nodes have booted microsoft-dsvm:ubuntu-hpc:2404:24.04.2026100101"
    assert system in record["circumstances"]["remarks"]
    asked = lab.account.api.count()
    assert [action for action in ASKED if not asked[action]] == [], "the table is complete"
    assert all(asked[action] == 1 for action in (*CHANGING, "GetAccount", "ListImages")), asked


# --- requests -------------------------------------------------------------------------------------

PASSING: dict[str, dict[str, Any]] = {
    "busy once": {},
    "throttled three times": {"times": 3, "status": 429, "code": "TooManyRequests"},
    "cut off": {"cut": True},
    "an error of the server": {"status": 500, "code": "InternalError"},
}


@pytest.mark.parametrize("how", PASSING)
def test_requests_that_fail_for_a_moment_change_nothing(lab: Lab, how: str) -> None:
    """Each of them, in one run."""
    for action in ASKED:
        lab.fails(action, **PASSING[how])
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    lab.is_over(REPRODUCED)
    assert lab.account.api.faults == [], "all were asked"


LOST: dict[str, dict[str, Any]] = {
    "answered with an error": {"status": 500, "code": "InternalError", "after": True},
    "and the connection is cut": {"cut": True, "after": True},
}


@pytest.mark.parametrize("how", LOST)
def test_what_was_done_before_the_answer_got_lost_is_not_done_again(lab: Lab, how: str) -> None:
    for action in CHANGING:
        lab.fails(action, **LOST[how])
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    lab.is_over(REPRODUCED)
    assert lab.account.api.faults == [], "all were asked"


@pytest.mark.nightly
@pytest.mark.parametrize("how", [*PASSING, *LOST])
@pytest.mark.parametrize("action", ASKED)
def test_each_request_that_fails_by_itself(lab: Lab, action: str, how: str) -> None:
    lab.fails(action, **{**PASSING, **LOST}[how])
    assert lab.reproduce().code == 0
    lab.is_over(REPRODUCED)
    assert lab.account.api.faults == []


def test_a_service_that_is_busy_for_long_leaves_the_run_open(lab: Lab) -> None:
    lab.fails("ListTasks", FOREVER, status=429, code="TooManyRequests")
    answer = lab.reproduce()
    lab.stays_open(answer)
    assert "TooManyRequests" in answer.err
    assert "try again later" in answer.err
    lab.goes_on(REPRODUCED)


@pytest.mark.parametrize("action", ["CreatePool", "CreateJob", "CreateTasks", "ListImages"])
def test_a_right_that_is_missing_ends_the_run_and_is_named(lab: Lab, action: str) -> None:
    lab.could_not_run(because=lab.denies(action))


def test_logs_that_may_not_be_read_are_no_reason_to_lose_a_run(lab: Lab) -> None:
    lab.denies("GetFile")
    assert lab.reproduce().code == 0
    lab.is_over(REPRODUCED)


@pytest.mark.parametrize(
    ("action", "outcome"),
    campaign(
        [
            ("DeletePool", REPRODUCED), ("ListNodes", COULD_NOT_RUN), ("DeleteJob", REPRODUCED),
            ("GetJob", REPRODUCED), ("ListTasks", REPRODUCED), ("ListPools", COULD_NOT_RUN),
        ],
        every=2,
    ),
)  # fmt: skip
def test_a_right_that_is_missing_for_the_release_is_told_and_the_run_stays_on_the_list(
    lab: Lab, action: str, outcome: str
) -> None:
    says = lab.denies(action)
    answer = lab.reproduce()
    run = lab.stays_open(answer)
    assert says in answer.err
    assert "which right is missing: rpac doctor azure" in answer.err
    lab.mend()
    left = lab.sweep()
    assert f"rpac advance {run}" in left
    for kind, things in (("pool", lab.account.service.pools), ("job", lab.account.service.jobs)):
        assert [name in left for name in things] == [True] * len(things), kind
    lab.goes_on(outcome)


def test_quotas_that_may_not_be_read_are_done_without(lab: Lab) -> None:
    lab.denies("GetAccount")
    assert lab.reproduce().code == 0
    lab.is_over(REPRODUCED)


@pytest.mark.parametrize("requests", campaign((4, 1, 9, 7), every=2))
def test_a_sign_in_that_expires_leaves_the_run_to_whoever_signs_in(lab: Lab, requests: int) -> None:
    lab.fails("*", FOREVER, skip=requests, status=401, code="ExpiredAuthenticationToken")
    answer = lab.reproduce()
    lab.stays_open(answer)
    assert "az login" in answer.err
    lab.goes_on(REPRODUCED)


# --- machines -------------------------------------------------------------------------------------


def test_a_resize_that_ends_with_one_of_two_nodes_leaves_nothing(lab: Lab) -> None:
    lab.experiment(engine="dask")
    lab.settings.machines = 1
    record = lab.could_not_run("nodes=2", because="1 of 2 machines came (AllocationTimedout")
    assert "another machine, region or time" in record["outcome"]["hint"]
    assert lab.account.api.count()["CreateJob"] == 0, "no task was made"


def test_a_quota_that_is_known_is_told_before_a_pool_is_made(lab: Lab) -> None:
    lab.settings.cores = 1
    lab.could_not_run(because="2 cores are more than the 1 of the Batch account")
    assert lab.account.api.count()["CreatePool"] == 0


def test_a_quota_of_a_family_of_machines_is_told_before_a_pool_is_made(lab: Lab) -> None:
    lab.settings.per_family, lab.settings.families = True, {"standardDSv5Family": 0}
    why = "2 cores are more than the 0 of standardDSv5Family of the Batch account"
    record = lab.could_not_run(because=why)
    assert "ask there for at least 2 cores of standardDSv5Family" in record["outcome"]["hint"]
    assert lab.account.api.count()["CreatePool"] == 0


@pytest.mark.parametrize("what", ["pools", "jobs"])
def test_an_account_that_may_have_none_at_all_is_told_before_a_pool_is_made(
    lab: Lab, what: str
) -> None:
    setattr(lab.settings, what, 0)
    lab.could_not_run(because=f"may have no {'pool' if what == 'pools' else 'active job'} at all")
    assert lab.account.api.count()["CreatePool"] == 0


def test_a_quota_that_a_resize_meets_is_told(lab: Lab) -> None:
    """Where it could not be known before."""
    lab.settings.per_family, lab.settings.families = True, {"standardDSv5Family": 0}
    lab.denies("ListSizes")
    record = lab.could_not_run(because="0 of 1 machines came (AccountVMSeriesCoreQuotaReached")
    assert "quotas" in record["outcome"]["hint"]


def test_an_account_full_of_pools(lab: Lab) -> None:
    lab.fails("CreatePool", FOREVER, status=409, code="PoolQuotaReached")
    lab.could_not_run(because="PoolQuotaReached")


def test_an_account_full_of_jobs_that_nobody_has_ended(lab: Lab) -> None:
    """Jobs whose tasks are all over count until somebody ends them."""
    lab.settings.jobs = 1
    lab.account.service.create_job({"id": "another", "poolInfo": {"poolId": "another"}})
    record = lab.could_not_run(because="ActiveJobAndScheduleQuotaReached", beside=["another"])
    assert "quotas" in record["outcome"]["hint"]


def test_a_node_that_is_unusable(lab: Lab) -> None:
    lab.settings.unusable = 1
    lab.could_not_run(because="a node is unusable (NodeUnusable: The machine did not come up)")


def test_a_node_that_starts_for_ever(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "START_S", 0.3)
    lab.settings.stuck = 1
    lab.could_not_run(because="not all of 1 nodes have started")


@pytest.mark.parametrize(
    ("images", "because"),
    [
        ([image("2404", ends="2026-01-01T00:00:00Z")], "past their end of life: 2404 (2026-01-01)"),
        ([image("2404", containers=False)], "supports no image microsoft-dsvm:ubuntu-hpc"),
    ],
    ids=["past its end of life", "without containers"],
)
def test_no_image_of_machines_will_do(lab: Lab, images: list[Any], because: str) -> None:
    lab.settings.images = images
    lab.could_not_run(because=because)
    assert lab.account.api.count()["CreatePool"] == 0


@pytest.mark.parametrize("by", ["rpac cancel", "Ctrl-C"])
def test_a_run_that_is_cancelled_while_machines_are_awaited(lab: Lab, by: str) -> None:
    lab.settings.allocation_s = FOREVER
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure")
    until(lambda: lab.account.api.count()["ListPools"] > 2)
    [run] = open_runs.names(Workspace.open(lab.rpac.root))
    if by == "Ctrl-C":
        going.send_signal(signal.SIGINT)
    else:
        assert lab.rpac("cancel", run).code == 0
    assert ended(going).returncode == 130
    lab.is_over("inconclusive (cancelled)")


def test_a_spot_machine_that_azure_takes_back(lab: Lab, tmp_path: Path) -> None:
    lab.experiment(waiting_for(tmp_path / "never"))
    lab.settings.mode = "UserSubscription"
    lab.own_subscription()
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure", "spot=true")
    run = started(lab)
    lab.account.service.preempt(f"{lab.account.site['name']}-{run}-1")
    done = ended(going)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "a node was lost" in lab.is_over(COULD_NOT_RUN)["outcome"]["message"]


# --- tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [True, False], ids=["after it", "beside it"])
def test_a_task_that_the_service_starts_again_is_a_stray(
    lab: Lab, tmp_path: Path, alone: bool
) -> None:
    lab.experiment(waiting_for(tmp_path / "go"))
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure")
    run = started(lab)
    main = lab.storage.get_json(Keys(run).main)
    lab.account.service.rerun(f"{lab.account.site['name']}-{run}-1", "node-00000", alone=alone)
    done = ended(going)
    assert done.returncode == 5, done.stdout + done.stderr
    record = lab.is_over(COULD_NOT_RUN)
    assert "without a result" in record["outcome"]["message"]
    assert lab.storage.get_json(Keys(run).main) == main, "there was one main"
    (tmp_path / "go").touch()
    for stray in lab.account.service.strays:
        until(lambda stray=stray: stray.poll() is not None)  # type: ignore[misc]


def test_a_result_that_is_there_though_the_service_says_failed(lab: Lab) -> None:
    lab.account.service.exit_code = lambda *_: 137
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    record = lab.is_over(REPRODUCED)
    report = lab.rpac("show", record["run"]).out
    assert "the cloud calls the job failed (node-00000: exit code 137)" in report


def test_no_result_though_the_service_says_done(lab: Lab) -> None:
    def end_early(task: Task, code: int) -> int:
        return 0

    def kill(call: Call) -> None:
        if call.action in ("CountNodes", "ListTasks"):
            for task in lab.account.service.live():
                assert task.running
                task.running.kill()

    lab.account.service.exit_code = end_early
    lab.account.api.before = kill
    lab.could_not_run(because="the nodes ended without a result")


def test_a_job_that_runs_into_its_wall_clock(lab: Lab, tmp_path: Path) -> None:
    lab.experiment(waiting_for(tmp_path / "never"))
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure")
    run = started(lab)
    lab.account.service.jobs[f"{lab.account.site['name']}-{run}-1"].born -= FOREVER
    done = ended(going)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "Task Was Ended" in lab.is_over(COULD_NOT_RUN)["outcome"]["message"]


def test_a_pool_that_somebody_deletes(lab: Lab, tmp_path: Path) -> None:
    lab.experiment(waiting_for(tmp_path / "never"))
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure")
    run = started(lab)
    with lab.account.service.lock:
        lab.account.service.delete_pool(f"{lab.account.site['name']}-{run}-1")
    done = ended(going)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "a node was lost" in lab.is_over(COULD_NOT_RUN)["outcome"]["message"]
