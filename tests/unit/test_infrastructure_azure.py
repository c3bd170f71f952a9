"""
The template of `rpac setup azure`: least rights, this repository alone, nothing open.

No emulator of Azure evaluates templates: these tests work out its expressions by an evaluator of
their own, and look at what comes out. What Azure itself would say is not known from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.clouds import site_setup
from rpac_ci.clouds.azure import deployment as deployments
from rpac_ci.clouds.azure import removal, template
from rpac_ci.clouds.azure import setup as setups
from rpac_ci.errors import CloudError, CommandError
from rpac_ci.functions.azure_functions import SECRET
from rpac_ci.functions.packaging import AZURE
from rpac_ci.functions.serving import REPOSITORY as REPOSITORY_SETTING
from rpac_ci.github.oidc import AZURE_AUDIENCE, Subjects
from tests.standins.azure.arm_expressions import Evaluator, ExpressionError
from tests.standins.azure.functions import FUNCTIONS
from tests.unit.test_doctor import REPOSITORY

TEMPLATE = template.parse(template.text())
RESOURCES: dict[str, Any] = TEMPLATE["resources"]
SUBSCRIPTION = "/subscriptions/01234567-89ab-cdef-0123-456789abcdef"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rpac-lab"
CLIENT = "89abcdef-0123-4567-89ab-cdef01234567"
CALLER = {"oid": "00000000-0000-0000-0000-00000000000a", "idtyp": "user"}
# what Azure makes known of resources when they are there
MADE = {
    "batch": {"accountEndpoint": "lab.eastus.batch.azure.com"},
    **{who: {"clientId": CLIENT, "principalId": f"principal-of-{who}"}
       for who in ("nodes", "jobs", "actor")},
    "host": {"primaryEndpoints": {"blob": "https://host.blob.core.windows.net/"}},
    "insights": {"ConnectionString": "InstrumentationKey=0"},
    "topic": {"identity": {"principalId": "principal-of-topic"}},
}  # fmt: skip
# versions of Azure's API for these kinds, as Microsoft's reference of templates lists them
KNOWN = {
    "Microsoft.Authorization/roleAssignments": "2022-04-01",
    "Microsoft.Authorization/roleDefinitions": "2022-04-01",
    "Microsoft.Batch/batchAccounts": "2025-06-01",
    "Microsoft.Consumption/budgets": "2023-11-01",
    "Microsoft.EventGrid/systemTopics": "2025-02-15",
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": "2025-02-15",
    "Microsoft.Insights/actionGroups": "2023-01-01",
    "Microsoft.Insights/components": "2020-02-02",
    "Microsoft.Insights/metricAlerts": "2018-03-01",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "2023-01-31",
    "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials": "2023-01-31",
    "Microsoft.OperationalInsights/workspaces": "2023-09-01",
    "Microsoft.Storage/storageAccounts": "2023-05-01",
    "Microsoft.Storage/storageAccounts/blobServices": "2023-05-01",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "2023-05-01",
    "Microsoft.Storage/storageAccounts/managementPolicies": "2023-05-01",
    "Microsoft.Web/serverfarms": "2024-04-01",
    "Microsoft.Web/sites": "2024-04-01",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "2024-04-01",
}
# Azure's rules for names of resources
NAMES = {
    "Microsoft.Batch/batchAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.EventGrid/systemTopics": r"[A-Za-z0-9-]{3,128}",
    "Microsoft.Insights/actionGroups": r"[^:<>+/&%\\?|]{1,259}",
    "Microsoft.Insights/components": r"[^%&\\?/]{1,259}",
    "Microsoft.Insights/metricAlerts": r"[^:<>+/#&%\\?|*{}]{1,259}",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    "Microsoft.Web/sites": r"[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]",
}
ALL = {
    "name": "lab", "location": "eastus", "repository": "Lab/exp", "ownerId": "7",
    "repositoryId": "42", "images": "ghcr.io/lab/exp", "operator": CALLER["oid"],
    "budget": "50", "budgetStart": "2026-11-01T00:00:00Z", "email": "lab@example.org",
    "function": "0" * 64, "events": True,
    "githubSecret": "https://lab.vault.azure.net/secrets/github-token",
}  # fmt: skip
LEAST = {"name": "lab", "location": "eastus", "repository": "Lab/exp", "images": "ghcr.io/lab/exp"}


def evaluator(values: Mapping[str, Any]) -> Evaluator:
    return Evaluator(
        TEMPLATE, values,
        subscription={"id": SUBSCRIPTION, "subscriptionId": SUBSCRIPTION[15:], "tenantId": CLIENT},
        group={"id": GROUP, "name": "rpac-lab", "location": "eastus"},
        reference=lambda name, _: MADE[name],
    )  # fmt: skip


def worked_out(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The resources that are deployed for these values."""
    found = evaluator(values)
    return {
        name: found.value({key: part for key, part in one.items() if key != "comments"})
        for name, one in RESOURCES.items()
        if found.value(one.get("condition", True))
    }


MOST, FEWEST = worked_out(ALL), worked_out(LEAST)


def of(who: str, made: Mapping[str, Any] = RESOURCES) -> list[template.Grant]:
    return [grant for grant in template.grants(made) if grant.who == who]


def test_every_kind_of_resource_has_a_version_that_there_is() -> None:
    assert template.versions(TEMPLATE) == {kind.lower(): version for kind, version in KNOWN.items()}


def test_what_is_asked_for_is_what_is_deployed() -> None:
    assert set(MOST) == set(RESOURCES)
    for values in (ALL, LEAST, {**ALL, "events": False}, {**ALL, "email": ""},
                   {**LEAST, "operator": "x"}, {**LEAST, "ownerId": "7"}):  # fmt: skip
        whole = evaluator(values).values
        assert set(template.parts(TEMPLATE, whole)) == set(worked_out(values))
    named = {one["type"] for one in FEWEST.values()}
    assert not {kind for kind in named if kind.startswith(("Microsoft.Web", "Microsoft.Event"))}


@pytest.mark.parametrize("made", [MOST, FEWEST])
def test_a_resource_waits_for_those_that_it_names(made: Mapping[str, Any]) -> None:
    for name, one in made.items():
        text = json.dumps(RESOURCES[name])
        waits = set(one.get("dependsOn", []))
        assert waits <= set(RESOURCES), name
        # a reference works only when the other one is there, and Azure is told so
        assert set(re.findall(r"reference\('(\w+)'", text)) <= waits, name
        assert name not in waits
    seen: set[str] = set()
    left = {name: set(one.get("dependsOn", [])) & set(made) for name, one in made.items()}
    while ready := {name for name, waits in left.items() if waits <= seen} - seen:
        seen |= ready
    assert seen == set(made)  # no circle


@pytest.mark.parametrize("name", ["ab", "lab", "a" * 24])
def test_names_are_within_what_azure_takes(name: str) -> None:
    made = worked_out({**ALL, "name": name})
    for one in made.values():
        if form := NAMES.get(one["type"]):
            assert re.fullmatch(form, one["name"]), one["name"]
        else:  # as many parts as its kind has, below the provider
            assert one["name"].count("/") == one["type"].count("/") - 1
    assert len({(one["type"], one["name"], one.get("scope")) for one in made.values()}) == len(made)
    # the site's account is told from the function's by their names
    accounts = {key: {"name": made[key]["name"], "type": made[key]["type"]}
                for key in ("store", "host")}  # fmt: skip
    assert removal._is_store(accounts["store"], name)
    assert not removal._is_store(accounts["host"], name)


def test_whatever_has_tags_has_the_sites() -> None:
    for name, one in MOST.items():
        top = one["type"].count("/") == 1
        if top and not one["type"].startswith(("Microsoft.Authorization", "Microsoft.Consumption")):
            assert one["tags"] == {deployments.TAG: "lab"}, name


def test_no_secret_is_in_it_or_comes_out() -> None:
    whole = template.text()
    for word in ("listKeys", "listAccountSas", "listServiceSas", "SharedAccessKey", "secureString"):
        assert word.lower() not in whole.lower()
    out = evaluator(ALL).value({key: one["value"] for key, one in TEMPLATE["outputs"].items()})
    assert set(out) == {"site", "jobsClientId", "tenant", "app"}
    assert "github-token" not in json.dumps(out)
    settings = {one["name"]: one["value"]
                for one in MOST["app"]["properties"]["siteConfig"]["appSettings"]}  # fmt: skip
    assert settings["RPAC_GITHUB_SECRET"].startswith("@Microsoft.KeyVault(SecretUri=https://lab.")
    assert not {name for name in settings if "KEY" in name.upper().replace("KEYVAULT", "")}
    assert "AzureWebJobsStorage" not in settings  # which would be a connection string with a key


def test_what_comes_out_is_the_block_and_the_functions_settings() -> None:
    out = evaluator(ALL).value(TEMPLATE["outputs"]["site"]["value"])
    made = setups.site({"site": out})
    assert made.account_url == "https://lab.eastus.batch.azure.com"
    assert made.store.endswith("/rpac")
    assert made.identity.endswith("/rpac-lab-nodes")
    assert made.subnet is None
    settings = {one["name"]: one["value"]
                for one in MOST["app"]["properties"]["siteConfig"]["appSettings"]}  # fmt: skip
    assert json.loads(settings["RPAC_SITE"]) == out
    assert settings["RPAC_GITHUB_REPOSITORY"] == "Lab/exp"
    assert settings["AZURE_CLIENT_ID"] == CLIENT
    assert "RPAC_GITHUB_SECRET" not in json.dumps(worked_out({**ALL, "githubSecret": ""}))
    with pytest.raises(CloudError, match="account_url"):
        setups.site({"site": {**out, "account_url": "http://x"}})
    subnet = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets/nodes"
    out = evaluator({**LEAST, "subnet": subnet}).value(TEMPLATE["outputs"]["site"]["value"])
    assert setups.site({"site": out}).subnet == subnet


def test_only_one_environment_of_one_repository_enters() -> None:
    both = [one for one in MOST.values() if one["type"] == template.CREDENTIAL]
    given = Subjects.of(REPOSITORY, None, server_url="https://github.com", environment="rpac-cloud")
    values = {"repository": REPOSITORY.full_name, "ownerId": str(REPOSITORY.owner_id),
              "repositoryId": str(REPOSITORY.id)}  # fmt: skip
    made = worked_out({**ALL, **values})
    written = {one["properties"]["subject"] for one in made.values()
               if one["type"] == template.CREDENTIAL}  # fmt: skip
    assert written == {given.classic, given.immutable}
    shown = template.subjects(RESOURCES, {**values, "environment": "rpac-cloud"})
    assert set(shown) == written
    for one in both:
        assert one["properties"]["audiences"] == [AZURE_AUDIENCE]
        assert one["properties"]["issuer"] == f"https://{given.issuer}"
        assert "*" not in one["properties"]["subject"]
        assert one["name"].startswith("rpac-lab-jobs/")  # and no other identity
    (alone,) = [one for one in FEWEST.values() if one["type"] == template.CREDENTIAL]
    assert alone["properties"]["subject"] == "repo:Lab/exp:environment:rpac-cloud"


def test_nobody_may_do_everything() -> None:
    for grant in template.grants(RESOURCES):
        for action in (*grant.actions, *grant.data_actions):
            assert "*" not in action, grant
            assert not action.startswith("Microsoft.Authorization"), grant
    for one in MOST.values():
        if one["type"] == template.ROLE:
            assert one["properties"]["assignableScopes"] == [GROUP]
        if one["type"] == template.ASSIGNMENT:
            assert one["scope"].startswith(f"{GROUP}/providers/Microsoft."), one


def test_drivers_have_the_same_rights_and_no_others() -> None:
    rights = {who: [(grant.role, grant.on) for grant in of(who)]
              for who in ("jobs", "operator", "actor")}  # fmt: skip
    assert rights["jobs"] == rights["operator"] == [
        ("drivers of runs, Batch", "batchAccounts batch"),
        ("drivers of runs, store", "containers container"),
        ("drivers of runs, nodes", "userAssignedIdentities nodes"),
    ]  # fmt: skip
    assert rights["actor"][:3] == rights["jobs"]
    # the function's own account, and its log: nothing of a run
    assert rights["actor"][3:] == [
        ("Storage Blob Data Owner", "storageAccounts host"),
        ("Monitoring Metrics Publisher", "components log"),
    ]
    named = {"blobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
             "blobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
             "monitoringMetricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb"}  # fmt: skip
    assert {key: TEMPLATE["variables"][key] for key in template.BUILT_IN} == named


def test_nodes_write_their_runs_and_nothing_else() -> None:
    (grant,) = of("nodes")
    assert grant.on == "containers container"
    assert grant.actions == ()
    assert not [one for one in grant.data_actions if one.endswith("delete")]
    assert template.said_conditions(grant.condition) == [
        "write and add/action below runs/*", "read below runs/* or content/*",
        "list below runs/* or content/*",
    ]  # fmt: skip
    may = _Condition(grant.condition)
    for path, reads, writes in (
        ("runs/r/attempt/1/done", True, True), ("content/sha256/0", True, False),
        ("control/r/events/1", False, False), ("open/r", False, False),
        ("control/runs/r", False, False), ("Runs/r", False, False), ("run", False, False),
    ):  # fmt: skip
        assert may("read", path) is reads, path
        assert may("read", path, listing=True) is reads, path
        assert may("write", path) is writes, path
        assert may("add/action", path) is writes, path
        assert not may("write", path, container="other")
    # Azure compares by letters, and takes no more than this
    assert len(grant.condition) < 8 * 1024
    (role,) = [one for one in MOST.values() if one["type"] == template.ASSIGNMENT
               and one["properties"]["principalId"] == "principal-of-nodes"]  # fmt: skip
    assert role["properties"]["conditionVersion"] == "2.0"
    assert TEMPLATE["variables"]["container"] == "rpac"


class _Condition:
    """A condition of a role's assignment, worked out as Azure's reference says."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(
        self, action: str, path: str, *, listing: bool = False, container: str = "rpac"
    ) -> bool:
        blobs = "Microsoft.Storage/storageAccounts/blobServices/containers"

        def compared(found: re.Match[str]) -> str:
            asked, of_request = found[2], found[1] == "Request"
            value = {"containers:name": container,
                     "blobs:path": "" if listing else path,
                     "blobs:prefix": path if listing and of_request else ""}[asked]  # fmt: skip
            same = (
                value.startswith(found[4]) if found[3] == "StringStartsWith" else value == found[4]
            )
            return str(same)

        text = re.sub(
            r"@(Resource|Request)\[[\w./]*/((?:containers|blobs):\w+)\] (\w+) '([^']*)'",
            compared, self._text,
        )  # fmt: skip
        text = re.sub(
            r"ActionMatches\{'([^']*)'\}",
            lambda one: str(one[1] == f"{blobs}/blobs/{action}"),
            text,
        )
        text = re.sub(r"SubOperationMatches\{'Blob.List'\}", str(listing), text)
        text = re.sub(r"!\(", " not (", text)
        for word in ("AND", "OR", "NOT"):
            text = re.sub(rf"\b{word}\b", word.lower(), text)
        assert re.fullmatch(r"(True|False|and|or|not|[() ])+", text), text
        return bool(eval(text))


def test_results_are_closed_versioned_and_can_be_had_back() -> None:
    for key in ("store", "host"):
        properties = MOST[key]["properties"]
        assert properties["allowBlobPublicAccess"] is False
        assert properties["allowSharedKeyAccess"] is False  # keys know no conditions
        assert properties["minimumTlsVersion"] == "TLS1_2"
        assert properties["supportsHttpsTrafficOnly"] is True
    blobs = MOST["blobs"]["properties"]
    assert blobs["isVersioningEnabled"] is True
    assert blobs["deleteRetentionPolicy"]["days"] == 30
    assert {one["properties"]["publicAccess"] for one in MOST.values()
            if one["type"].endswith("/containers")} == {"None"}  # fmt: skip
    (rule,) = MOST["lifecycle"]["properties"]["policy"]["rules"]
    assert set(rule["definition"]["actions"]) == {"version"}  # never what is current
    assert MOST["batch"]["properties"]["allowedAuthenticationModes"] == ["AAD"]
    assert MOST["insights"]["properties"]["DisableLocalAuth"] is True
    for key in ("noFtpPassword", "noScmPassword"):
        assert MOST[key]["properties"] == {"allow": False}


def test_machines_of_ones_own_need_a_key_vault() -> None:
    assert MOST["batch"]["properties"]["poolAllocationMode"] == "BatchService"
    assert MOST["batch"]["properties"]["keyVaultReference"] is None
    vault = f"{GROUP}/providers/Microsoft.KeyVault/vaults/labvault"
    made = worked_out({**LEAST, "poolAllocationMode": "user_subscription", "keyVault": vault})
    assert made["batch"]["properties"]["keyVaultReference"] == {
        "id": vault, "url": "https://labvault.vault.azure.net/",
    }  # fmt: skip
    assert made["batch"]["properties"]["poolAllocationMode"] == "UserSubscription"


def test_the_function_hears_of_ends_cancellations_and_notices() -> None:
    heard = [MOST[key]["properties"] for key in ("endings", "notices")]
    for one in heard:
        assert one["filter"]["includedEventTypes"] == ["Microsoft.Storage.BlobCreated"]
        assert one["filter"]["subjectBeginsWith"] == (
            "/blobServices/default/containers/rpac/blobs/runs/"
        )
        assert one["destination"]["properties"]["resourceId"].endswith(
            f"/Microsoft.Web/sites/{MOST['app']['name']}/functions/stored"
        )
        letters = one["deadLetterWithResourceIdentity"]["deadLetterDestination"]["properties"]
        assert letters["blobContainerName"] == MOST["deadLetters"]["name"].rpartition("/")[2]
        assert letters["resourceId"].endswith(MOST["host"]["name"])
    filters = [one["filter"]["advancedFilters"] for one in heard]
    assert [(one[0]["operatorType"], one[0]["values"]) for one in filters] == [
        ("StringEndsWith", ["/done", "/cancel.json"]), ("StringContains", ["/notices/"]),
    ]  # fmt: skip
    config = MOST["app"]["properties"]["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": AZURE.python}
    settings = {one["name"] for one in MOST["app"]["properties"]["siteConfig"]["appSettings"]}
    assert {"RPAC_SITE", "AZURE_CLIENT_ID", REPOSITORY_SETTING, SECRET} <= settings
    named = FUNCTIONS.keys()
    called = {one["destination"]["properties"]["resourceId"].rpartition("/")[2] for one in heard}
    assert called <= named
    assert config["deployment"]["storage"]["value"] == (
        "https://host.blob.core.windows.net/packages"
    )
    assert config["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity"


def test_wishes_become_values_and_old_ones_are_kept() -> None:
    wishes = setups.Wishes(
        name="lab", repository="Lab/Exp", location="eastus", owner_id=7, repository_id=42
    )
    first = setups.parameters(wishes, TEMPLATE, None, CALLER)
    assert (first["images"], first["operator"], first["operatorType"]) == (
        "ghcr.io/lab/exp", CALLER["oid"], "User",
    )  # fmt: skip
    assert (first["ownerId"], first["repositoryId"]) == ("7", "42")
    assert set(first) == set(TEMPLATE["parameters"])
    later = setups.parameters(
        setups.Wishes(name="lab", repository="lab/exp", budget=20.0, email="a@b.example"),
        TEMPLATE, first, {"oid": "another"}, now=datetime(2026, 11, 28, tzinfo=UTC),
    )  # fmt: skip
    assert (later["budget"], later["budgetStart"]) == ("20", "2026-11-01T00:00:00Z")
    assert (later["operator"], later["ownerId"]) == (CALLER["oid"], "7")
    again = setups.parameters(
        setups.Wishes(name="lab", repository="lab/exp"), TEMPLATE, later, {},
        now=datetime(2027, 1, 5, tzinfo=UTC),
    )  # fmt: skip
    assert again == {**later, "repository": "lab/exp"}  # the budget's first month stays
    program = setups.parameters(wishes, TEMPLATE, None, {**CALLER, "idtyp": "app"})
    assert program["operatorType"] == "ServicePrincipal"
    assert setups.parameters(wishes, TEMPLATE, None, {})["operator"] == ""
    with pytest.raises(CommandError, match="belongs to Lab/Exp"):
        setups.parameters(
            setups.Wishes(name="lab", repository="Lab/other"), TEMPLATE, first, CALLER
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"environment": "a:b"}, {"name": "lab-2"}, {"repository": "lab/*"}, {"budget": 5.0},
        {"operator": "me@lab.example"}, {"key_vault": "labvault"},
        {"github_secret": "https://elsewhere.example/secrets/x"},
    ],
)  # fmt: skip
def test_wishes_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        setups.Wishes(**{"name": "lab", "repository": "Lab/exp", **wrong})


def test_a_function_is_a_zip_file(tmp_path: Path) -> None:
    file = tmp_path / "function.zip"
    with pytest.raises(CommandError, match="cannot be read"):
        setups.code_of_function(file)
    file.write_bytes(b"text")
    with pytest.raises(CommandError, match="no ZIP file"):
        setups.code_of_function(file)
    file.write_bytes(b"PK\x03\x04")
    assert len(setups.code_of_function(file)[1]) == 64


def test_what_is_printed_is_what_is_given() -> None:
    text = template.review(template.parts(TEMPLATE, ALL), {**ALL, "environment": "rpac-cloud"})
    for grant in template.grants(RESOURCES):
        for word in (grant.role, grant.on, *grant.actions, *grant.data_actions):
            assert word in text
    assert CALLER["oid"] in text
    assert "repo:Lab@7/exp@42:environment:rpac-cloud" in text
    assert "only write and add/action below runs/*" in text
    few = template.review(template.parts(TEMPLATE, LEAST), {**LEAST, "environment": "rpac-cloud"})
    assert "the function" not in few
    assert "terminal" not in few


def test_the_pattern_of_names_is_that_of_every_cloud() -> None:
    declared = TEMPLATE["parameters"]["name"]
    assert (declared["minLength"], declared["maxLength"]) == (2, 24)
    site_setup.check_name("a" * declared["maxLength"])
    assert json.loads(template.text()) == TEMPLATE


def test_an_expression_that_means_nothing_is_a_mistake() -> None:
    for wrong in ("[variables('no')]", "[reference('no')]", "[foo()]", "[parameters('name')x]"):
        with pytest.raises(ExpressionError):
            evaluator(LEAST).value(wrong)
