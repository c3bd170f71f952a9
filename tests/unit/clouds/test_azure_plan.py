"""Azure plans: the machine for a need, what Azure has not, requests in symbols."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.batch import models as data
from azure.mgmt.batch import models as managed

from rpac_ci.clouds import planner
from rpac_ci.clouds.azure import systems
from rpac_ci.clouds.azure.plan import gang_of
from rpac_ci.clouds.azure.requests import ENDS_ITSELF
from rpac_ci.commands import parse_overrides
from rpac_ci.errors import PipelineError, ProvisioningError
from rpac_ci.jobs import EngineName
from rpac_ci.pipeline import Pipeline, Target, compile_pipeline
from rpac_ci.site_clouds import AzureSite
from rpac_ci.site_config import SiteConfig
from tests.conftest import asset
from tests.standins.azure.roundtrip import problems
from tests.standins.azure.state import image
from tests.unit.builders import definition

SUBSCRIPTION = "01234567-89ab-cdef-0123-456789abcdef"
SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/lab/providers"
ACCOUNT = {
    "location": "westeurope", "name": "rpaclab", "subscription": SUBSCRIPTION,
    "resource_group": "lab", "account_url": "https://ourlab.westeurope.batch.azure.com",
    "store": "az://ourlabrpac/runs", "repository": "ourlab.azurecr.io/rpac",
    "identity": f"{SCOPE}/Microsoft.ManagedIdentity/userAssignedIdentities/rpac-node",
    "identity_client_id": "89abcdef-0123-4567-89ab-cdef01234567",
}  # fmt: skip
SUBNET = f"{SCOPE}/Microsoft.Network/virtualNetworks/lab/subnets/nodes"
IMAGE = "ourlab.azurecr.io/rpac/dask@sha256:" + "0" * 64
RUN = "20260102T030405Z-0a1b2c3d"


def site(*, own: bool = False, **keys: Any) -> SiteConfig:
    """Settings with an account; `own`: its machines are those of the own subscription."""
    more = {"pool_allocation_mode": "user_subscription"} if own else {}
    return SiteConfig.model_validate({"clouds": {"azure": {**ACCOUNT, **more}}, **keys})


def plan(*words: str, site: SiteConfig | None = None, **keys: Any) -> Pipeline:
    """A pipeline for Azure."""
    asked = {"engine": "dask", "environment": {"lock": "requirements.lock"}, **keys}
    overrides = parse_overrides(["cloud=azure", *words])
    return compile_pipeline(definition(**asked), overrides=overrides, site=site)


# --- what is settled ----------------------------------------------------------------------------


def test_the_smallest_machine_that_serves_is_taken_in_the_account_s_region() -> None:
    target = plan("nodes=2", "cpus=4", "memory=8GiB", site=site()).target
    assert (target.cloud, target.runtime, target.region) == ("azure", "docker", "westeurope")
    assert target.machine == "Standard_D4s_v5", "8 GiB do not fit into a machine of 8 GiB"
    assert target.mode is None, "there is one way only"
    assert not target.spot


@pytest.mark.parametrize(
    ("words", "keys", "settings", "said"),
    [
        (["spot=true"], {}, {}, "spot machines only where they are those of one's own"),
        (["nodes=101"], {}, {}, "101 nodes that talk to each other"),
        (["nodes=81"], {}, {"own": True}, "81 nodes that talk to each other"),
        ([], {"clouds": {"azure": {"mode": "mnp"}}}, {}, "cannot meet clouds.azure.mode: mnp"),
        (["runtime=process"], {}, {}, "cannot meet runtime=process"),
        (["region=eastus"], {}, {}, "region=eastus is not where this repository"),
        ([], {}, {"allow": {"regions": {"azure": ["eastus"]}}}, "westeurope is not allowed"),
        (
            ["machine=Standard_D4s_v5"], {}, {"allow": {"machines": {"azure": ["*_F*"]}}},
            "Standard_D4s_v5 of azure is not allowed",
        ),
        (["machine=Standard_D2s_v6"], {}, {}, "did you mean 'Standard_D2s_v5'"),
        (["machine=Standard_NC6s_v3", "gpus=1"], {}, {}, "is retired"),
        (["gpus=3"], {}, {}, "no machine of azure has"),
    ],
)  # fmt: skip
def test_what_azure_cannot_do_is_refused_before_it_costs_anything(
    words: list[str], keys: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(PipelineError, match=said) as caught:
        plan(*words, site=site(**settings), **keys)
    assert caught.value.hint


def test_spot_machines_are_those_of_one_s_own_subscription() -> None:
    made = plan("nodes=2", "spot=true", site=site(own=True))
    scale = made.requests[0]["create_pool"]["properties"]["scaleSettings"]["fixedScale"]
    assert (scale["targetDedicatedNodes"], scale["targetLowPriorityNodes"]) == (0, 2)
    with pytest.raises(PipelineError):
        plan("spot=true")  # nobody knows whose machines they would be


def test_a_plan_needs_no_account_and_says_nothing_of_one() -> None:
    without, within = plan("nodes=2").to_bytes(), plan("nodes=2", site=site()).to_bytes()
    assert within == without.replace(b"eastus", b"westeurope")
    for secret in ("rpaclab", "ourlab", SUBSCRIPTION, ACCOUNT["identity_client_id"]):
        assert secret.encode() not in within


def test_no_price_is_known() -> None:
    assert planner("azure").price(plan("nodes=2", site=site())) is None


# --- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", EngineName)
def test_requests_are_those_of_the_golden_file(engine: EngineName) -> None:
    nodes = 1 if engine is EngineName.PROCESS else 2
    made = plan(f"nodes={nodes}", "cpus=2", "memory=4GiB", engine=engine.value)
    shown = json.dumps(made.requests, indent=1, sort_keys=True) + "\n"
    assert shown == asset(f"azure/{engine.value}.json").read_text()


@pytest.mark.parametrize("spot", [False, True])
@pytest.mark.parametrize("subnet", [None, SUBNET])
def test_what_is_sent_is_what_the_sdk_s_models_know(spot: bool, subnet: str | None) -> None:
    account = AzureSite.model_validate({**ACCOUNT, "subnet": subnet})
    target = Target(cloud="azure", runtime="docker", machine="Standard_NC4as_T4_v3", spot=spot)
    need = definition(resources={"nodes": 3, "cpus": 4, "memory": "8 GiB", "gpus": 1}).resources
    gang = gang_of(
        need, target, run=RUN, attempt="1", image=IMAGE, limit_s=60, environment={"RPAC_RUN": RUN}
    )  # fmt: skip
    pool = gang.pool(account, systems.choose(supported(image("2404"))))
    assert problems(managed.Pool, pool, sent=True) == []
    assert problems(data.BatchJobCreateOptions, gang.job(account), sent=True) == []
    assert problems(data.BatchTaskCreateOptions, gang.task(account, 2), sent=True) == []
    assert problems(data.BatchJobUpdateOptions, ENDS_ITSELF, sent=True) == []
    assert len(gang.name(account)) <= 64
    assert ("networkConfiguration" in pool["properties"]) == bool(subnet)


def test_a_task_knows_its_place_and_no_secret() -> None:
    account = AzureSite.model_validate(ACCOUNT)
    target = Target(cloud="azure", runtime="docker", machine="Standard_D2s_v5")
    contract = {"RPAC_RUN": RUN, "RPAC_STORE": account.store}
    gang = gang_of(
        definition().resources, target, run=RUN, attempt="1", image=IMAGE, limit_s=60,
        environment=contract,
    )  # fmt: skip
    task = gang.task(account, 7)
    told = {one["name"]: one["value"] for one in task["environmentSettings"]}
    assert told == {
        **contract, "RPAC_NODE_INDEX": "7", "AZURE_CLIENT_ID": account.identity_client_id
    }  # fmt: skip
    assert task["id"] == "node-00007"


def test_only_a_registry_of_azure_is_read_with_the_nodes_identity() -> None:
    target = Target(cloud="azure", runtime="docker", machine="Standard_D2s_v5")

    def containers(repository: str) -> dict[str, Any]:
        account = AzureSite.model_validate({**ACCOUNT, "repository": repository})
        gang = gang_of(
            definition().resources, target, run=RUN, attempt="1", image=IMAGE, limit_s=60,
            environment={},
        )  # fmt: skip
        body = gang.pool(account, systems.choose(supported(image("2404"))))
        machine = body["properties"]["deploymentConfiguration"]["virtualMachineConfiguration"]
        found: dict[str, Any] = machine["containerConfiguration"]
        return found

    [registry] = containers("ourlab.azurecr.io/rpac")["containerRegistries"]
    assert registry == {
        "registryServer": "ourlab.azurecr.io",
        "identityReference": {"resourceId": ACCOUNT["identity"]},
    }
    assert "containerRegistries" not in containers("ghcr.io/our-lab/rpac")


# --- the system that nodes boot -------------------------------------------------------------------


def supported(*listed: dict[str, Any]) -> list[data.BatchSupportedImage]:
    """As the SDK reads what the service lists."""
    return [data.BatchSupportedImage(one) for one in listed]


def test_the_newest_system_that_runs_containers_is_taken() -> None:
    other = image("2604")
    other["imageReference"]["offer"] = "ubuntu-hpc-preview"
    found = systems.choose(
        supported(image("2204"), image("2404"), image("2604", containers=False), other)
    )
    assert (found.sku, found.agent, found.version) == ("2404", "batch.node.ubuntu 24.04", "latest")


def test_one_at_its_end_of_life_is_not_taken() -> None:
    now = datetime(2027, 6, 29, 12, tzinfo=UTC)
    listed = [
        image("2404", ends="2027-06-30T00:00:00Z"),
        image("2204", ends="2030-01-01T00:00:00Z"),
    ]
    assert systems.choose(supported(*listed), now).sku == "2204", "24.04 ends within a day"
    with pytest.raises(ProvisioningError, match=r"past their end of life: 2404 \(2027-06-30\)"):
        systems.choose(supported(listed[0]), now)
    with pytest.raises(ProvisioningError, match="supports no image") as caught:
        systems.choose(supported(image("2404", containers=False)))
    assert caught.value.hint
