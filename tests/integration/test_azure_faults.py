"""
Faults of Azure, one at a time, against the stand-in: what is recorded is true, a run that can go on
does, and nothing is left over.

Tasks are processes of this machine, which run the real node program against Azurite.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline.policies import RetryPolicy

from rpac_ci import catalog, open_runs
from rpac_ci.catalog.machines import Price
from rpac_ci.clouds.azure import driver, pools
from rpac_ci.clouds.azure.clients import ENDPOINT
from rpac_ci.clouds.azure.driver import AzureCloud
from rpac_ci.errors import StorageError
from rpac_ci.experiment_model import Resources
from rpac_ci.jobs import JobSpec, JobState, Keys
from rpac_ci.site_clouds import AzureSite
from rpac_ci.storage import Storage
from rpac_ci.workspace import Workspace
from tests.conftest import QUICK, QUICK_MAIN, WriteExperiment, campaign, git
from tests.integration.conftest import Answer, Terminal
from tests.standins import azure
from tests.standins.aftermath import ended, records
from tests.standins.azure import AzureStandin
from tests.standins.azure.rest import Call, Fault
from tests.standins.azure.state import Settings, Task, image
from tests.standins.faults import end_all, start
from tests.standins.waiting import until
from tests.unit.clouds.contract import make_job, variables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

IMAGE = "registry.example.org/lab/quick@sha256:" + "5" * 64
FOREVER = 10**6
REPRODUCED, COULD_NOT_RUN = "reproduced: identical", "could not run"
# what a run asks; a log is asked for twice, once for each file
ASKED = (
    "GetAccount", "ListImages", "CreatePool", "ListPools", "CountNodes", "ListNodes", "CreateJob",
    "CreateTasks", "UpdateJob", "ListTasks", "GetFile", "DeleteJob", "DeletePool", "GetPool",
    "GetJob",
)  # fmt: skip
CHANGING = ("CreatePool", "CreateJob", "CreateTasks", "UpdateJob", "DeleteJob", "DeletePool")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureStandin]:
    """One server for all tests; each has a name and a store of its own."""
    with azure.serve(tmp_path_factory.mktemp("azure"), docker=False) as standin:
        yield standin


@pytest.fixture
def account(server: AzureStandin, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureStandin]:
    """An account in which nothing has happened yet; the SDK tries again without waiting."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(RetryPolicy, "get_backoff_time", lambda *_: 0.01)
    api, name = server.api, f"lab{secrets.token_hex(4)}"
    api.calls.clear()
    api.faults.clear()
    api.after = api.before = lambda _: None
    api.service.settings = Settings()
    api.service.exit_code = lambda _, code: code
    store = f"{server.site['store']}/{name}"
    api.site = {**server.site, "name": name, "store": store}
    yield replace(server, site=api.site)
    driver._shared.cache_clear()
    end_all()
    assert api.violations == []


@dataclass
class Lab:
    """A repository with the quick experiment, and the account that it uses."""

    rpac: Terminal
    account: AzureStandin
    write: WriteExperiment

    @property
    def settings(self) -> Settings:
        """How the account is and behaves."""
        return self.account.service.settings

    @property
    def storage(self) -> Storage:
        """The runs' store."""
        return Storage(self.account.site["store"])

    def experiment(self, main: str = QUICK_MAIN, *, engine: str = "process") -> None:
        """The quick experiment with another program."""
        yaml = QUICK.format(name="quick").replace("engine: process", f"engine: {engine}")
        self.write(yaml=yaml + f"environment: {{image: '{IMAGE}'}}\n", files={"main.py": main})

    def fails(self, action: str, times: int = 1, **how: Any) -> None:
        """What goes wrong from now on."""
        self.account.api.faults.append(Fault(action, times=times, **how))

    def mend(self) -> None:
        """All is well again."""
        self.account.api.faults.clear()

    def reproduce(self, *words: str) -> Answer:
        """A run from its start as far as it gets."""
        return self.rpac("reproduce", "quick", "cloud=azure", *words)

    def is_over(self, outcome: str) -> dict[str, Any]:
        """One run is in the log with this outcome, and nothing of it is left; its record."""
        [record] = records(self.rpac.root)
        assert record["verdict"]["outcome"] == outcome, record["outcome"]
        assert self.rpac("sweep", "--dry-run").out.strip() == "nothing is left over"
        assert self.rpac("advance", "--all").out == "no open runs\n"
        assert not self.account.service.pools
        assert not self.account.service.jobs
        return record

    def could_not_run(self, *words: str, because: str) -> dict[str, Any]:
        """A run that ends so, and says why; its record."""
        done = self.reproduce(*words)
        assert done.code == 5, done.out + done.err
        record = self.is_over(COULD_NOT_RUN)
        assert because in record["outcome"]["message"]
        return record


@pytest.fixture
def lab(rpac: Terminal, account: AzureStandin, write_experiment: WriteExperiment) -> Lab:
    (rpac.root / "rpac.yaml").write_text(account.settings())
    git(rpac.root, "add", "rpac.yaml")
    found = Lab(rpac, account, write_experiment)
    found.experiment()
    return found


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


def test_what_was_done_before_the_answer_got_lost_is_not_done_again(lab: Lab) -> None:
    for action in CHANGING:
        lab.fails(action, status=500, code="InternalError", after=True)
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    lab.is_over(REPRODUCED)


@pytest.mark.parametrize("action", ["CreatePool", "CreateJob", "CreateTasks", "ListImages"])
def test_a_right_that_is_missing_ends_the_run_and_is_named(lab: Lab, action: str) -> None:
    says = f"no right to {action}"
    lab.fails(action, FOREVER, status=403, code="AuthorizationFailed", message=says)
    lab.could_not_run(because=says)


def test_quotas_that_may_not_be_read_are_done_without(lab: Lab) -> None:
    lab.fails("GetAccount", FOREVER, status=403, code="AuthorizationFailed")
    assert lab.reproduce().code == 0
    lab.is_over(REPRODUCED)


@pytest.mark.parametrize("requests", campaign((4, 1, 9, 7), every=2))
def test_a_sign_in_that_expires_leaves_the_run_to_whoever_signs_in(lab: Lab, requests: int) -> None:
    expired = {"status": 401, "code": "ExpiredAuthenticationToken"}
    lab.fails("*", FOREVER, skip=requests, **expired)
    answer = lab.reproduce()
    assert answer.code == 5
    [run] = open_runs.names(Workspace.open(lab.rpac.root))
    assert f"rpac advance {run}" in answer.err
    assert "az login" in answer.err
    lab.mend()
    assert lab.rpac("advance", "--all").code == 0
    lab.is_over(REPRODUCED)


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


def test_a_quota_that_a_resize_meets_is_told(lab: Lab) -> None:
    lab.settings.families = {"standardDSv5Family": 0}
    record = lab.could_not_run(because="0 of 1 machines came (AccountCoreQuotaReached")
    assert "quotas" in record["outcome"]["hint"]


@pytest.mark.parametrize(
    ("quota", "code"), [("pools", "PoolQuotaReached"), ("jobs", "ActiveJobAndScheduleQuotaReached")]
)
def test_an_account_full_of_pools_or_jobs(lab: Lab, quota: str, code: str) -> None:
    setattr(lab.settings, quota, 0)
    lab.could_not_run(because=code)


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


# --- tasks ----------------------------------------------------------------------------------------


def waiting_for(path: Path) -> str:
    """The quick experiment's program, which ends once there is a file."""
    wait = f"while not pathlib.Path({str(path)!r}).exists(): time.sleep(0.02)\n"
    return f"import pathlib, time\n{wait}{QUICK_MAIN}"


def started(lab: Lab) -> str:
    """Wait for a run's command; returns the run."""

    def run() -> str | None:
        return next(iter(open_runs.names(Workspace.open(lab.rpac.root))), None)

    found = until(run)
    assert found
    until(lambda: lab.storage.head(Keys(found).engine), limit_s=60)
    return found


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


# --- drivers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", campaign(CHANGING, every=2))
def test_a_driver_that_is_killed_is_followed_by_another(lab: Lab, action: str) -> None:
    killed: list[int] = []

    def kill(call: Call) -> None:
        if call.action == action and not killed:
            killed.append(going.pid)
            os.kill(going.pid, 9)

    lab.account.api.after = kill
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure")
    assert ended(going).returncode == -9
    done = lab.rpac("advance", "--all")
    assert done.code == 0, done.out + done.err
    lab.is_over(REPRODUCED)
    assert lab.account.api.count()["CreateTasks"] <= 2


# --- the adapter by itself ------------------------------------------------------------------------


@pytest.fixture
def cloud(account: AzureStandin) -> AzureCloud:
    site = AzureSite.model_validate(account.site)
    shared = driver._shared(site, os.environ[ENDPOINT])
    return AzureCloud(shared, site, Storage(account.site["store"]))


def job(account: AzureStandin, **more: Any) -> JobSpec:
    needs = {"runtime": "docker", "image": IMAGE, "machine": "Standard_D2s_v5", **more}
    return make_job(Storage(account.site["store"]), **needs)


def test_a_pool_of_the_same_name_that_is_being_deleted_is_waited_for(
    cloud: AzureCloud, account: AzureStandin
) -> None:
    spec = job(account)
    name = cloud.provision(spec).facts["pool"]
    account.service.settings.deletion_s = 0.5
    with account.service.lock:
        account.service.delete_pool(name)
    assert cloud.provision(spec).facts["pool"] == name
    assert account.api.count()["CreatePool"] == 2
    cloud.release(spec)
    assert cloud.leftovers() == []


def test_lists_of_many_pages_are_read_to_their_end(
    cloud: AzureCloud, account: AzureStandin
) -> None:
    account.service.settings.page = 1
    spec = job(account, nodes=3)
    cloud.provision(spec)
    names = cloud.submit(spec, variables(Storage(account.site["store"]), spec))
    assert len(account.service.jobs[names["job"]].tasks) == 3
    until(lambda: cloud.observe(spec, names).state is JobState.RUNNING)
    assert {left.kind for left in cloud.leftovers()} == {"job", "pool"}
    cloud.release(spec)
    assert cloud.leftovers() == []


def test_what_is_not_of_this_repository_is_no_leftover(
    cloud: AzureCloud, account: AzureStandin
) -> None:
    cloud.provision(job(account))
    [pool] = account.service.pools.values()
    [name] = [one for one in pool.asked["properties"]["metadata"] if one["name"] == "rpac-name"]
    name["value"] = "another"
    assert cloud.leftovers() == []
    account.service.delete_pool(pool.id)


def test_time_of_machines_is_kept_for_whoever_comes_after_the_pool(
    cloud: AzureCloud, account: AzureStandin
) -> None:
    spec = job(account, nodes=2)
    cloud.provision(spec)
    cloud.release(spec)
    kept = Storage(account.site["store"]).get_json(f"{Keys(spec.run).control}used/1")
    assert kept["seconds"] >= 0
    assert cloud.release(spec) == {"left": {"jobs": 0, "pools": 0}, "cost_usd": None}


def test_what_machines_have_cost_is_their_time_at_the_catalog_s_price(
    cloud: AzureCloud, account: AzureStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    price = Price(usd_per_hour=3.6, region="eastus", spot=False, source="test", date="2026-01-02")
    known = replace(catalog.load("azure"), prices={"Standard_D2s_v5": (price,)})
    monkeypatch.setattr(catalog, "load", lambda _: known)
    spec = job(account, nodes=2)
    cloud.provision(spec)
    storage, used = Storage(account.site["store"]), f"{Keys(spec.run).control}used/1"
    storage.create_json(used, {"seconds": 200.0})  # by a driver that has died since
    for _ in range(2):
        assert cloud.release(spec)["cost_usd"] == pytest.approx(0.2)


def test_quotas_say_how_many_runs_there_is_room_for(
    cloud: AzureCloud, account: AzureStandin
) -> None:
    account.service.settings.pools = 3
    assert cloud.room(Resources(nodes=2, cpus=2)) == 3
    assert cloud.room(Resources(nodes=100, cpus=4)) == 1
    assert account.api.count()["GetAccount"] == 1, "known for a while"


def test_nobody_who_is_signed_in_is_told_in_a_line(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no az, whose user it may be otherwise
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    answer = lab.reproduce()
    assert answer.code == 5
    assert "sign in (az login)" in answer.err
    assert answer.err.count("\n") <= 3, answer.err
    assert "Attempted credentials" not in capfd.readouterr().err


def test_a_signature_of_the_store_that_has_expired_is_told(
    account: AzureStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "sv=2022-11-02&sr=c&sp=rwdl&se=2020-01-01T00%3A00%3A00Z&sig=c2ln"
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", old)
    with pytest.raises(StorageError, match="reading x in az://labrpac/"):
        Storage(account.site["store"]).get("x")
