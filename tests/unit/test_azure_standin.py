"""The stand-in for Azure Batch takes what the service takes, and tells a test of anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.batch import models as data
from azure.mgmt.batch import models as managed

from tests.standins.azure import SUBSCRIPTION, rest
from tests.standins.azure.rest import Api
from tests.standins.azure.roundtrip import problems
from tests.standins.azure.service import Service
from tests.standins.azure.tasks import Processes, UnknownOptionError, options

JSON = "application/json; odata=minimalmetadata"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    service = Service("labbatch", "https://x/labbatch", Processes(), tmp_path, {})
    site = {"subscription": SUBSCRIPTION, "resource_group": "lab", "location": "eastus"}
    yield Api(service, site)
    service.close()


def ask(
    api: Api, method: str, path: str, body: Any = None, *, resource: str = rest.BATCH,
    version: str = rest.VERSION,
) -> tuple[int, str]:  # fmt: skip
    """Status and code of an answer."""
    headers = {"x-identity-header": rest.SECRET}
    token = json.loads(api.token(f"/msi/token?resource={resource}", headers)[2])["access_token"]
    separator = "&" if "?" in path else "?"
    status, _, said = api.answer(
        method, f"/labbatch{path}{separator}api-version={version}",
        {"authorization": f"Bearer {token}", "content-type": JSON},
        json.dumps(body).encode() if body is not None else b"",
    )  # fmt: skip
    shown = json.loads(said) if said else {}
    return status, shown.get("code", "") if isinstance(shown, dict) else ""


def test_what_the_service_knows_is_answered(api: Api) -> None:
    assert ask(api, "GET", "/supportedimages") == (200, "")
    assert ask(api, "GET", "/pools/none") == (404, "PoolNotFound")
    assert ask(api, "POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}}) == (201, "")
    assert ask(api, "POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}}) == (409, "JobExists")
    assert ask(api, "POST", "/jobs/j/terminate", {"terminateReason": "x"}) == (202, "")
    again = ask(api, "POST", "/jobs/j/terminate", {"terminateReason": "x"})
    assert again[0] == 409
    assert ask(api, "DELETE", "/jobs/J") == (202, ""), "ids are alike in either case"
    assert ask(api, "DELETE", "/jobs/j") == (409, "JobBeingDeleted")
    assert api.violations == []


def test_an_empty_job_that_ends_with_its_tasks_ends_at_once(api: Api) -> None:
    from tests.standins.waiting import until

    body = {"id": "j", "poolInfo": {"poolId": "p"}, "onAllTasksComplete": "terminatejob"}
    ask(api, "POST", "/jobs", body)
    until(lambda: api.service.jobs["j"].state == "completed")
    added = ask(api, "POST", "/jobs/j/addtaskcollection", {"value": []})
    assert added == (409, "JobCompleted")


@pytest.mark.parametrize(
    ("method", "path", "body", "violation"),
    [
        ("GET", "/jobschedules", None, "no request that is known"),
        ("GET", "/pools?$expand=stats", None, "parameters"),
        ("GET", "/pools?$filter=state%20eq%20'active'", None, "filter"),
        ("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}, "pool": 1}, "pool is unknown"),
        ("POST", "/jobs", {"id": "j"}, "poolInfo is missing"),
        ("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "p"}, "constraints":
         {"maxWallClockTime": 60}}, "maxWallClockTime is no timedelta: 60"),
    ],
)  # fmt: skip
def test_what_it_does_not_know_fails_the_test(
    api: Api, method: str, path: str, body: Any, violation: str
) -> None:
    status, _ = ask(api, method, path, body)
    assert status >= 400 or "expand" in path
    assert violation in "; ".join(api.violations)


def test_another_version_of_the_api_is_refused(api: Api) -> None:
    asked = ask(api, "GET", "/pools", version="2024-07-01")
    assert asked == (400, "UnsupportedRequestVersion")
    assert api.violations


def test_only_a_token_for_the_service_is_taken(api: Api) -> None:
    assert ask(api, "GET", "/pools", resource=rest.STORAGE) == (401, "AuthenticationFailed")
    assert api.answer("GET", f"/labbatch/pools?api-version={rest.VERSION}", {}, b"")[0] == 401
    assert api.token("/msi/token?resource=x", {})[0] == 401


def test_both_planes_have_names_of_their_own() -> None:
    """Of the same thing: what one of them knows is a mistake in the other."""
    machine = {
        "imageReference": {"publisher": "p", "offer": "o", "sku": "s", "version": "v"},
        "nodeAgentSkuId": "agent",
    }
    pool = {"properties": {"deploymentConfiguration": {"virtualMachineConfiguration": machine}}}
    assert problems(managed.Pool, pool, sent=True) == []
    found = problems(data.VirtualMachineConfiguration, machine, sent=True)
    assert "VirtualMachineConfiguration.nodeAgentSkuId is unknown" in found


def test_options_of_containers_are_known_or_refused() -> None:
    known = "--entrypoint /bin/x --network host --init --shm-size=64m"
    assert options(known) == {
        "--entrypoint": "/bin/x", "--network": "host", "--init": "", "--shm-size": "64m"
    }  # fmt: skip
    with pytest.raises(UnknownOptionError, match="--privileged"):
        options("--init --privileged")
