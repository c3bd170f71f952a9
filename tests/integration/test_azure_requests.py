"""The adapter of Azure by itself, and how much its runs ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rpac_ci import catalog
from rpac_ci.catalog.machines import Price
from rpac_ci.clouds.azure import boards
from rpac_ci.clouds.azure.driver import AzureCloud
from rpac_ci.clouds.board import fresh_for
from rpac_ci.errors import StorageError
from rpac_ci.experiment_model import Resources
from rpac_ci.jobs import JobState, Keys
from rpac_ci.pipeline import Target
from rpac_ci.storage import Storage
from tests.integration.azure_lab import FOREVER, REPRODUCED, Lab, job
from tests.integration.azure_lab import account_fixture as account_fixture
from tests.integration.azure_lab import cloud_fixture as cloud_fixture
from tests.integration.azure_lab import lab_fixture as lab_fixture
from tests.integration.azure_lab import server_fixture as server_fixture
from tests.standins.azure import AzureStandin
from tests.standins.azure_nodes import NoNodes
from tests.standins.waiting import until
from tests.unit.clouds.contract import variables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

POLLS = ("ListPools", "CountNodes", "ListTasks")


def test_a_run_needs_few_requests(lab: Lab) -> None:
    lab.account.service.runner = NoNodes(lab.storage)
    assert lab.reproduce().code == 0
    asked = lab.account.api.count()
    looks = {poll: asked.pop(poll) for poll in POLLS}
    # a look at a task that has not begun yet asks for its job, too; so does the end, once
    asked["GetJob"] -= min(asked["GetJob"], looks["ListTasks"]) - 1
    assert sum(asked.values()) <= 15, asked
    assert sum(asked.values()) == 13, asked  # told here, so that one more is a decision


def test_the_runs_of_a_study_are_looked_at_together(lab: Lab) -> None:
    runs, api = 10, lab.account.api
    lab.account.service.runner = NoNodes(lab.storage)
    lab.settings.machines = runs
    done = lab.rpac("reproduce", "quick", "cloud=azure", f"repeat={runs}")
    assert done.code == 0, done.out + done.err
    asked = api.count()
    looks = {poll: asked.pop(poll) for poll in POLLS}
    assert sum(asked.values()) <= runs * 15, asked
    assert looks["ListTasks"] <= 2 * runs, looks
    # first looks come when they come; those that follow are shared
    seconds = api.calls[-1].at - api.calls[0].at
    shared = runs * 2 + seconds / fresh_for(runs)
    assert max(looks["ListPools"], looks["CountNodes"]) <= shared, looks
    assert len({r["run"] for r in lab.records()}) == runs
    assert lab.rpac("sweep", "--dry-run").out.strip() == "nothing is left over"


def test_who_may_not_count_nodes_looks_at_each_pool(lab: Lab) -> None:
    lab.fails("CountNodes", FOREVER, status=403, code="AuthorizationFailed")
    assert lab.reproduce().code == 0
    lab.mend()
    lab.is_over(REPRODUCED)


def test_counts_of_nodes_are_not_believed_for_long(
    cloud: AzureCloud, account: AzureStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microsoft says that they may come behind: that a run is over is seen all the same."""
    spec = job(account)
    cloud.provision(spec)
    names = cloud.submit(spec, variables(Storage(account.site["store"]), spec))
    until(lambda: cloud.observe(spec, names).state is JobState.RUNNING)
    before = account.api.count()["ListTasks"]
    assert cloud.observe(spec, names).state is JobState.RUNNING
    assert account.api.count()["ListTasks"] == before
    monkeypatch.setattr(boards, "TRUST_S", 0.0)
    assert cloud.observe(spec, names).state is JobState.RUNNING
    assert account.api.count()["ListTasks"] == before + 1
    cloud.release(spec)


def test_a_pool_of_the_same_name_that_is_being_deleted_is_waited_for(
    cloud: AzureCloud, account: AzureStandin
) -> None:
    spec = job(account)
    name = cloud.provision(spec).facts["pool"]
    account.service.settings.deletion_s = 0.5
    with account.service.lock:
        account.service.delete_pool(name)
    assert cloud.provision(spec).facts["pool"] == name
    assert account.api.count()["CreatePool"] == 3, "made, refused, made"
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
    again = cloud.release(spec)
    assert again["left"] == {"jobs": 0, "pools": 0}
    assert again["cost_usd"] > 0


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
    small = Target(cloud="azure", runtime="docker", machine="Standard_D2s_v5")
    large = small.model_copy(update={"machine": "Standard_D4s_v5"})
    assert cloud.room(Resources(nodes=2, cpus=2), small) == 3, "so many pools"
    assert cloud.room(Resources(nodes=60, cpus=2), small) == 2, "of 350 cores"
    assert cloud.room(Resources(nodes=60, cpus=2), large) == 1, "whose cores all count"
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


def test_no_token_is_sent_without_tls(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_RESOURCE_MANAGER_ENDPOINT", "http://127.0.0.1:9")
    lab.could_not_run(because="=http://127.0.0.1:9: no token is sent without TLS")
    assert lab.account.api.count()["CreatePool"] == 0
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:9/labrpac")
    answer = lab.reproduce()
    assert answer.code != 0
    assert "no token is sent without TLS" in answer.err


def test_a_signature_of_the_store_that_has_expired_starts_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "sv=2022-11-02&sr=c&sp=rwdl&se=2020-01-01T00%3A00%3A00Z&sig=c2ln"
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", old)
    answer = lab.reproduce()
    assert answer.code != 0
    assert "az://labrpac/" in answer.err
    assert "sign in (az login)" in answer.err
    assert answer.err.count("rpac: ") == 1, "one clear error"
    assert lab.account.api.count() == {}, "Azure Batch was not asked for anything"


def test_a_signature_of_the_store_that_has_expired_is_told(
    account: AzureStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "sv=2022-11-02&sr=c&sp=rwdl&se=2020-01-01T00%3A00%3A00Z&sig=c2ln"
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", old)
    with pytest.raises(StorageError, match="reading x in az://labrpac/"):
        Storage(account.site["store"]).get("x")
