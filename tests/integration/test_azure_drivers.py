"""Drivers of runs on Azure: killed ones, several at once, and those with other clocks."""

from __future__ import annotations

import os
import threading

import pytest

from rpac_ci import api, open_runs
from rpac_ci.clouds.azure import driver
from rpac_ci.clouds.azure.driver import AzureCloud
from rpac_ci.driver import RunDriver
from rpac_ci.jobs import Keys
from rpac_ci.site_clouds import AzureSite
from rpac_ci.storage import Storage
from rpac_ci.workspace import Workspace
from tests.conftest import campaign
from tests.integration.azure_lab import CHANGING, REPRODUCED, Lab, job
from tests.integration.azure_lab import account_fixture as account_fixture
from tests.integration.azure_lab import lab_fixture as lab_fixture
from tests.integration.azure_lab import server_fixture as server_fixture
from tests.standins.aftermath import ended
from tests.standins.azure import AzureStandin
from tests.standins.azure.rest import Call
from tests.standins.faults import Faults, start
from tests.unit.clouds.contract import variables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def killed(lab: Lab, when: str, action: str, *, faults: Faults | None = None) -> str:
    """A driver that is killed before Azure hears of a request or has answered it; its run."""
    azure = lab.account.api
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure", faults=faults)

    def strike(call: Call) -> None:
        if call.action == action:
            os.kill(going.pid, 9)
            going.wait()

    setattr(azure, when, strike)
    assert ended(going).returncode == -9
    azure.before = azure.after = lambda _: None
    [run] = open_runs.names(Workspace.open(lab.rpac.root))
    return run


@pytest.mark.parametrize(
    ("when", "action"),
    campaign([(when, action) for action in CHANGING for when in ("after", "before")], every=4),
)
def test_a_driver_that_is_killed_is_followed_by_another(lab: Lab, when: str, action: str) -> None:
    killed(lab, when, action)
    lab.goes_on(REPRODUCED)
    assert lab.account.api.count()["CreateTasks"] <= 2


def test_two_drivers_at_once_make_one_pool_and_one_job(lab: Lab) -> None:
    workspace = Workspace.open(lab.rpac.root)
    planned = api.plan("quick", ["cloud=azure"], repository=lab.rpac.root)
    run = open_runs.start(workspace, planned, request={"via": "cli"}).run
    drivers = [RunDriver(workspace.on("azure"), run) for _ in range(2)]
    threads = [threading.Thread(target=one.drive) for one in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    lab.goes_on(REPRODUCED)
    asked = lab.account.api.count()
    assert (asked["CreatePool"], asked["CreateJob"], asked["CreateTasks"]) == (1, 1, 1)


def test_two_drivers_of_which_neither_knows_the_other_make_one_pool_and_one_job(
    account: AzureStandin,
) -> None:
    """As when a driver goes on behind the end of its lease."""
    site, storage = AzureSite.model_validate(account.site), Storage(account.site["store"])
    clouds = [AzureCloud(driver._shared.__wrapped__(site, None), site, storage) for _ in range(2)]
    spec = job(account, nodes=2)

    def both(cloud: AzureCloud) -> None:
        cloud.provision(spec)
        cloud.submit(spec, variables(storage, spec))

    threads = [threading.Thread(target=both, args=[cloud]) for cloud in clouds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    [pool], [made] = account.service.pools.values(), account.service.jobs.values()
    assert (len(pool.nodes), len(made.tasks)) == (2, 2)
    for cloud in clouds:
        cloud.release(spec)
        assert cloud.leftovers() == []


@pytest.mark.parametrize("ahead_s", [-600.0, 600.0])
def test_a_driver_whose_clock_is_ten_minutes_off(lab: Lab, ahead_s: float) -> None:
    killed(lab, "after", "CreateTasks", faults=Faults(clock_s=ahead_s))
    record = lab.goes_on(REPRODUCED)
    assert min(phase["duration_s"] for phase in record["circumstances"]["phases"]) >= 0
    assert lab.account.api.count()["CreatePool"] == 1


def test_a_driver_that_never_comes_back_leaves_what_is_listed_and_then_swept(lab: Lab) -> None:
    """Killed behind its submit; then somebody empties the store, and with it the run's marker."""
    run = killed(lab, "after", "UpdateJob")
    name = f"{lab.account.site['name']}-{run}-1"
    kept = f"kept: the run is open, rpac advance {run} ends it"
    assert lab.sweep().splitlines() == [f"{run}: job {name}: {kept}", f"{run}: pool {name}: {kept}"]
    lab.storage.delete(Keys(run).open)
    swept = lab.rpac("sweep")
    assert swept.code == 0, swept.err
    assert [line.rpartition(": ")[2] for line in swept.out.splitlines()] == ["removed", "removed"]
    assert lab.sweep() == "nothing is left over"
    assert not lab.account.service.pools
    assert not lab.account.service.jobs
