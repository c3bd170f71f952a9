"""`rpac setup azure` and `rpac doctor azure` from end to end, against a stand-in for Azure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.cli import group as cli_group
from rpac_ci.cli import setup_parts
from rpac_ci.clouds.azure import paces
from rpac_ci.site_clouds import AzureSite
from rpac_ci.site_config import load_site
from rpac_ci.storage import Storage
from tests.conftest import git
from tests.integration.conftest import Terminal
from tests.standins import azure
from tests.standins.azure import AzureStandin
from tests.standins.azure.deploying import Subscription
from tests.standins.azure.state import Settings

pytestmark = pytest.mark.slow

SETTINGS = """\
# settings of the lab
schema: rpac/site/1
roles: {reproduce: write,   # everybody
        approve: maintain}

# who pays
budgets: {month: 5 USD}  # little
"""
SOMEBODY = "00000000-0000-0000-0000-00000000000a"
SET_UP = (
    "setup", "azure", "--subscription", azure.SUBSCRIPTION, "--location", "eastus",
    "--name", "lab",
)  # fmt: skip
RUN = "20260102T030405Z-0a1b2c3d"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureStandin]:
    with azure.serve(tmp_path_factory.mktemp("azure"), docker=False) as made:
        yield made


@pytest.fixture
def standin(server: AzureStandin, monkeypatch: pytest.MonkeyPatch) -> AzureStandin:
    server.management.forget()
    server.service.settings = Settings()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL",
                     "AZURE_SUBSCRIPTION_ID"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(paces, "FIRST_S", 0.001)
    monkeypatch.setattr(paces, "LONGEST_S", 0.01)
    return server


@pytest.fixture
def there(standin: AzureStandin) -> Subscription:
    """What the subscription has."""
    return standin.management.subscription


@pytest.fixture
def rpac(repository: Path, standin: AzureStandin) -> Terminal:
    git(repository, "remote", "add", "origin", "https://github.com/Lab/experiments.git")
    (repository / "rpac.yaml").write_text(SETTINGS)
    return Terminal(repository)


@pytest.fixture
def function(tmp_path: Path) -> Path:
    file = tmp_path / "function.zip"
    file.write_bytes(b"PK\x05\x06" + bytes(18))  # an empty one
    return file


def made(rpac: Terminal) -> AzureSite:
    found = load_site(rpac.root).clouds.azure
    assert found is not None
    return found


def kinds(there: Subscription) -> set[str]:
    return {one["type"] for one in there.resources.values()}


def resource(there: Subscription, pattern: str) -> Any:
    (found,) = [one for key, one in there.resources.items() if re.search(pattern, key)]
    return found


def findings(rpac: Terminal, severity: str) -> dict[str, str]:
    found = rpac("doctor", "azure", "--json").json["findings"]
    return {one["topic"]: one["what"] for one in found if one["severity"] == severity}


def test_what_would_change_is_shown_and_nothing_is_done_unasked(
    there: Subscription, rpac: Terminal
) -> None:
    told = ""
    for words, code in ((("--dry-run",), 0), ((), 4), (("--json",), 4)):
        answer = rpac(*SET_UP, *words)
        assert answer.code == code, answer.err
        assert there.groups == {}  # the group that was made for the look is gone again
        assert there.registered == {"microsoft.storage"}
        assert (rpac.root / "rpac.yaml").read_text() == SETTINGS
        if "--json" in words:
            assert answer.json["applied"] is False
            assert "Microsoft.Batch" in answer.json["registers"]
            added = {one["type"] for one in answer.json["changes"] if one["action"] == "add"}
            assert "Microsoft.Batch/batchAccounts" in added
            assert answer.json["subjects"] == ["repo:Lab/experiments:environment:rpac-cloud"]
        else:
            assert "resource group rpac-lab, which is made" in answer.out
            assert "add     rpac-lab-nodes (Microsoft.ManagedIdentity/" in answer.out
            for kind in ("roleDefinitions", "roleAssignments"):
                role = r"add +rpac lab nodes of runs \(\w+\) \(Microsoft.Authorization/"
                assert re.search(role + kind, answer.out), "not by its number"
            assert "register Microsoft.Batch" in answer.out
            assert "repo:Lab/experiments:environment:rpac-cloud" in answer.out
            assert "only write and add/action below runs/*" in answer.out
        told += answer.err
    assert "hint: to do it: rpac setup azure --yes" in told


@pytest.mark.parametrize(("answer", "applied"), [(True, True), (False, False)])
def test_a_person_is_asked_after_the_changes_were_shown(
    there: Subscription, rpac: Terminal, monkeypatch: pytest.MonkeyPatch, answer: bool,
    applied: bool,
) -> None:  # fmt: skip
    asked: list[bool] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(bool(there.resources))
        return answer

    for module in (cli_group, setup_parts):
        monkeypatch.setattr(module, "at_a_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    assert rpac(*SET_UP).code == 0
    assert asked == [False]
    assert bool(there.resources) is applied
    assert bool(there.groups) is applied


def test_it_is_made_once_and_written_into_the_settings(
    standin: AzureStandin, there: Subscription, rpac: Terminal
) -> None:
    answer = rpac(*SET_UP, "--yes", "--registry", "ghcr.io/lab/images", "--operator", SOMEBODY)
    assert answer.code == 0, answer.err
    site = made(rpac)
    assert (site.location, site.name, site.repository) == ("eastus", "lab", "ghcr.io/lab/images")
    assert site.account_url == standin.site["account_url"]
    assert site.resource_group == "rpac-lab"
    text = (rpac.root / "rpac.yaml").read_text()
    assert text.startswith(SETTINGS)
    # what is named is there
    nodes = there.shown(there.resources[site.identity.lower()])
    jobs = there.shown(there.resources[site.identity.lower().replace("-nodes", "-jobs")])
    assert nodes["properties"]["clientId"] == site.identity_client_id
    client, tenant = jobs["properties"]["clientId"], there.tenant
    assert f"gh variable set RPAC_AZURE_CLIENT_ID -R Lab/experiments --body {client}" in answer.out
    assert f"gh variable set RPAC_AZURE_TENANT_ID -R Lab/experiments --body {tenant}" in answer.out
    assert "Succeeded rpac-lab-nodes" in answer.err
    assert "microsoft.batch" in {one.lower() for one in there.registered}
    Storage(site.store).put("runs/a/result.json", b"{}")  # the store takes it

    again = rpac("setup", "azure", "--yes")  # name and place are those of rpac.yaml
    assert again.code == 0, again.err
    assert "nothing to change" in again.out
    assert (rpac.root / "rpac.yaml").read_text() == text
    told = rpac("setup", "azure", "--json").json
    assert told["changes"] == []
    assert told["clouds"]["azure"]["store"] == site.store
    assert told["parameters"]["operator"] == SOMEBODY


def test_a_lost_block_is_written_again(rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    site = made(rpac)
    (rpac.root / "rpac.yaml").write_text(SETTINGS)
    assert rpac(*SET_UP).code == 4
    assert rpac(*SET_UP, "--yes").code == 0
    assert made(rpac) == site


def test_the_only_subscription_need_not_be_named(rpac: Terminal) -> None:
    assert rpac("setup", "azure", "--location", "eastus", "--yes").code == 0
    assert made(rpac).subscription == azure.SUBSCRIPTION
    assert made(rpac).name == "experiments"
    other = "11111111-1111-1111-1111-111111111111"
    answer = rpac("setup", "azure", "--subscription", other, "--yes")
    assert answer.code == 2
    assert f"there is no subscription {other}" in answer.err


def test_a_name_serves_one_repository(there: Subscription, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    answer = rpac(*SET_UP, "--yes", "--repository", "Other/work")
    assert answer.code == 2
    assert "belongs to Lab/experiments" in answer.err
    # another site of the same subscription has a group of its own
    other = tuple(word if word != "lab" else "labtwo" for word in SET_UP)
    assert rpac(*other, "--yes").code == 0
    assert set(there.groups) == {"rpac-lab", "rpac-labtwo"}


def test_somebody_elses_group_is_used_only_when_it_is_named(
    there: Subscription, rpac: Terminal
) -> None:
    place = f"/subscriptions/{there.number}/resourceGroups/rpac-lab"
    there.groups["rpac-lab"] = {
        "id": place, "name": "rpac-lab", "location": "eastus", "tags": {"cost": "42"},
        "properties": {},
    }  # fmt: skip
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 2
    assert "there already, and not of rpac" in answer.err
    there.groups["shared"] = {**there.groups.pop("rpac-lab"), "name": "shared",
                              "id": place.replace("rpac-lab", "shared")}  # fmt: skip
    assert rpac(*SET_UP, "--resource-group", "shared", "--yes").code == 0
    assert made(rpac).resource_group == "shared"
    there.resources[f"{place.replace('rpac-lab', 'shared')}/providers/x/y/theirs".lower()] = {
        "id": "theirs", "name": "theirs", "type": "Microsoft.Storage/storageAccounts",
    }  # fmt: skip
    gone = rpac("setup", "azure", "--delete", "--delete-results", "--yes")
    assert gone.code == 0, gone.err
    assert [one["name"] for one in there.resources.values()] == ["theirs"]
    assert set(there.groups) == {"shared"}


def test_a_refused_look_leaves_nothing(
    standin: AzureStandin, there: Subscription, rpac: Terminal
) -> None:
    standin.management.refused["POST .*/whatIf"] = (403, "AuthorizationFailed")
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 5
    assert "asking what would change: Azure says AuthorizationFailed" in answer.err
    assert there.groups == {}
    assert (rpac.root / "rpac.yaml").read_text() == SETTINGS


def test_what_azure_refuses_before_it_begins_is_told(
    standin: AzureStandin, there: Subscription, rpac: Terminal
) -> None:
    standin.management.given_up["/whatIf"] = ("RequestDisallowedByPolicy", "no storage here")
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 5
    assert "asking what would change: RequestDisallowedByPolicy: no storage here" in answer.err
    assert there.groups == {}


def test_what_azure_cannot_say_is_told_and_no_change(there: Subscription, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    there.uncertain["jobsOnStore"] = "its name needs reference()"
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 0, answer.err
    assert "nothing to change" in answer.out
    assert "(Microsoft.Authorization/roleAssignments): its name needs reference()" in answer.out


def test_what_differs_is_named_and_put_right(there: Subscription, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    account = resource(there, r"/storageaccounts/[^/]+$")
    account["properties"]["allowSharedKeyAccess"] = True
    shown = rpac(*SET_UP, "--dry-run")
    assert f"modify  {account['name']} " in shown.out
    assert "properties.allowSharedKeyAccess" in shown.out
    assert rpac(*SET_UP, "--yes").code == 0
    assert (
        resource(there, r"/storageaccounts/[^/]+$")["properties"]["allowSharedKeyAccess"] is False
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "lab"), "no location of Azure is set"),
        ((*SET_UP[2:], "--resource-group", "a/b"), "cannot be a resource group's name"),
        ((*SET_UP[2:], "--function", "nothing.zip"), "cannot be read"),
        ((*SET_UP[2:], "--budget", "5"), "a budget needs somebody to tell"),
        ((*SET_UP[2:], "--delete-results"), "--delete-results goes with --delete"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    there: Subscription, rpac: Terminal, words: tuple[str, ...], said: str
) -> None:
    answer = rpac("setup", "azure", *words, "--yes")
    assert answer.code == 2
    assert said in answer.err
    assert there.groups == {}


def test_a_right_that_is_missing_in_the_middle_is_named_and_the_next_call_goes_on(
    there: Subscription, rpac: Terminal
) -> None:
    there.refused["jobsOnStore"] = ("AuthorizationFailed", "may not write roleAssignments")
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 5
    assert "the deployment rpac-lab is at Failed" in answer.err
    assert "AuthorizationFailed: may not write roleAssignments" in answer.err
    assert "give the same command again" in answer.err
    assert (rpac.root / "rpac.yaml").read_text() == SETTINGS
    before = len(there.resources)
    assert before > 0
    there.refused.clear()
    assert rpac(*SET_UP, "--yes").code == 0
    assert len(there.resources) > before
    assert made(rpac).name == "lab"


def test_an_interrupted_setup_is_taken_up_again(
    standin: AzureStandin, there: Subscription, rpac: Terminal
) -> None:
    def interrupt(call: str) -> None:
        if call.startswith("GET") and call.endswith("/deployments/rpac-lab/operations"):
            interrupted.append(call)

    interrupted: list[str] = []
    there.stuck = True
    standin.management.interrupt = interrupt
    with pytest.MonkeyPatch.context() as patch:

        def pause(_: float) -> None:
            if interrupted:
                raise KeyboardInterrupt

        patch.setattr("time.sleep", pause)
        answer = rpac(*SET_UP, "--yes")
    assert answer.code == 130
    assert "the same command again" in answer.err
    there.stuck = False
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 0, answer.err
    assert "waiting" in answer.err
    assert "nothing to change" in answer.out
    assert made(rpac).name == "lab"


def test_a_function_is_made_published_and_told_of_events(
    there: Subscription, rpac: Terminal, function: Path
) -> None:
    words = (*SET_UP, "--yes", "--budget", "50", "--email", "lab@example.org",
             "--function", str(function))  # fmt: skip
    answer = rpac(*words)
    assert answer.code == 0, answer.err
    assert list(there.published.values()) == [function.read_bytes()]
    assert {"Microsoft.EventGrid/systemTopics/eventSubscriptions", "Microsoft.Consumption/budgets",
            "Microsoft.Insights/metricAlerts"} <= kinds(there)  # fmt: skip
    app = resource(there, r"/sites/[^/]+$")
    settings = {one["name"]: one["value"]
                for one in app["properties"]["siteConfig"]["appSettings"]}  # fmt: skip
    assert AzureSite.model_validate_json(settings["RPAC_SITE"]) == made(rpac)

    there.published.clear()
    there.published[app["id"].lower()] = b"as before"
    again = rpac(*words)
    assert again.code == 0, again.err
    assert "nothing to change" in again.out
    assert "publishing" not in again.err
    assert rpac("setup", "azure", "--yes").code == 0  # what is not named is kept
    assert "Microsoft.EventGrid/systemTopics/eventSubscriptions" in kinds(there)

    function.write_bytes(function.read_bytes() + b"new")
    answer = rpac(*words)
    assert answer.code == 0, answer.err
    assert list(there.published.values()) == [function.read_bytes()]


def test_a_function_that_could_not_be_published_is_published_by_the_next_call(
    standin: AzureStandin, there: Subscription, rpac: Terminal, function: Path
) -> None:
    standin.management.refused["POST /api/publish"] = (403, "Forbidden")
    words = (*SET_UP, "--yes", "--function", str(function))
    answer = rpac(*words)
    assert answer.code == 5
    assert "publishing the function" in answer.err
    assert "Microsoft.EventGrid/systemTopics/eventSubscriptions" not in kinds(there)
    standin.management.refused.clear()
    answer = rpac(*words)
    assert answer.code == 0, answer.err
    assert list(there.published.values()) == [function.read_bytes()]
    assert "Microsoft.EventGrid/systemTopics/eventSubscriptions" in kinds(there)


def test_delete_takes_all_but_results(there: Subscription, rpac: Terminal, function: Path) -> None:
    words = (*SET_UP, "--yes", "--function", str(function), "--budget", "5", "--email", "a@b.c")
    assert rpac(*words).code == 0
    site = made(rpac)
    store = Storage(site.store)
    store.put(f"open/{RUN}", b"")
    refused = rpac("setup", "azure", "--delete", "--yes")
    assert refused.code == 4
    assert f"runs are open: {RUN}" in refused.err
    assert "Microsoft.Batch/batchAccounts" in kinds(there)

    store.delete(f"open/{RUN}")
    store.put("runs/a/result.json", b"{}")
    assert rpac("setup", "azure", "--delete").code == 4
    shown = rpac("setup", "azure", "--delete", "--dry-run")
    assert shown.code == 0
    assert "remove  rpac-lab-nodes (Microsoft.ManagedIdentity/userAssignedIdentities)" in shown.out
    account = site.store.removeprefix("az://").partition("/")[0]
    assert f"keep    storage account {account}" in shown.out
    assert "Microsoft.Batch/batchAccounts" in kinds(there)

    done = rpac("setup", "azure", "--delete", "--yes")
    assert done.code == 0, done.err
    left = {one["name"] for one in there.resources.values()
            if one["type"].count("/") == 1}  # fmt: skip
    assert left == {account}
    assert "Microsoft.Authorization/roleDefinitions" not in kinds(there)
    assert (rpac.root / "rpac.yaml").read_text() == SETTINGS
    assert store.get("runs/a/result.json") == b"{}"
    # set up again, the same results are there
    assert rpac(*SET_UP, "--yes").code == 0
    assert made(rpac).store == site.store
    # and they go when they are named
    assert rpac("setup", "azure", "--delete-results", "--yes").code == 2
    gone = rpac("setup", "azure", "--delete", "--delete-results", "--yes")
    assert gone.code == 0, gone.err
    assert there.resources == {}
    assert there.groups == {}
    again = rpac(*SET_UP, "--delete", "--delete-results", "--yes")
    assert again.code == 0
    assert "nothing of 'lab'" in again.out


def test_open_runs_are_seen_where_nothing_says_where_they_are(
    standin: AzureStandin, there: Subscription, rpac: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    Storage(made(rpac).store).put(f"open/{RUN}", b"")
    (rpac.root / "rpac.yaml").write_text(SETTINGS)
    there.deployments.clear()
    assert f"runs are open: {RUN}" in rpac(*SET_UP, "--delete", "--yes").err
    # who may not look is not believed where runs can be
    assert rpac(*SET_UP, "--yes").code == 0
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sv=2023-11-03&sig=nobodys")
    refused = rpac("setup", "azure", "--delete", "--yes")
    assert refused.code == 4
    assert "it is not known whether runs are open" in refused.err
    assert "--operator" in refused.err


def test_an_interrupted_removal_is_taken_up_again(
    standin: AzureStandin, there: Subscription, rpac: Terminal
) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    standin.management.refused["DELETE .*/roleDefinitions/"] = (403, "AuthorizationFailed")
    answer = rpac("setup", "azure", "--delete", "--yes")
    assert answer.code == 5
    assert "removing the role: Azure says AuthorizationFailed" in answer.err
    standin.management.refused.clear()
    standin.management.given_up["DELETE .*/batchAccounts/"] = ("ScopeLocked", "somebody's lock")
    answer = rpac("setup", "azure", "--delete", "--yes")
    assert answer.code == 5
    assert "ScopeLocked: somebody's lock" in answer.err
    assert load_site(rpac.root).clouds.azure is not None  # so that the next call finds it
    standin.management.given_up.clear()
    assert rpac("setup", "azure", "--delete", "--delete-results", "--yes").code == 0
    assert there.resources == {}
    assert load_site(rpac.root).clouds.azure is None


def test_the_doctor_looks_at_what_was_made(there: Subscription, rpac: Terminal) -> None:
    assert rpac("doctor", "azure").code == 2  # no place is named
    assert rpac(*SET_UP, "--yes").code == 0
    found = rpac("doctor", "azure", "--json")
    assert found.code == 0, found.out
    assert {one["severity"] for one in found.json["findings"]} == {"ok"}
    topics = {one["topic"] for one in found.json["findings"]}
    assert topics == {
        "azure credentials", "azure providers", "azure deployment", "azure rights",
        "azure quotas", "azure store", "azure nodes", "azure jobs",
    }  # fmt: skip
    assert any(one["topic"] == "azure store" for one in rpac("doctor", "--json").json["findings"])


def test_the_doctor_names_each_thing_that_is_missing(
    standin: AzureStandin, there: Subscription, rpac: Terminal
) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    site, management = made(rpac), standin.management
    account = resource(there, r"/storageaccounts/[^/]+$")["properties"]
    account.update(allowBlobPublicAccess=True, allowSharedKeyAccess=True)
    resource(there, r"/blobservices/default$")["properties"]["isVersioningEnabled"] = False
    there.registered.discard("microsoft.batch")
    standin.service.settings.cores = 0
    standin.service.settings.families = {}
    management.rights[:] = [
        {"actions": ["*/read", "Microsoft.Batch/*"], "notActions": ["*/pools/delete"],
         "dataActions": [], "notDataActions": []}
    ]  # fmt: skip
    path = rpac.root / "rpac.yaml"
    path.write_text(path.read_text().replace("ghcr.io/lab/experiments", "ghcr.io/lab/other"))
    found = rpac("doctor", "azure")
    assert found.code == 2
    for words in (
        "could be made public", "can be entered with a key", "keeps no old versions",
        "Microsoft.Batch is not registered", "az provider register --namespace Microsoft.Batch",
        "0 dedicated cores", "no family of machines has any core", "differ in repository",
        "Microsoft.Batch/batchAccounts/pools/delete", "containers/blobs/write",
        "userAssignedIdentities/assign/action", "rpac setup azure --operator",
    ):  # fmt: skip
        assert words in found.out, words
    assert "batchAccounts/pools/write" not in found.out
    assert site.name == "lab"


def test_the_doctor_tells_of_rights_that_rpac_did_not_give(
    there: Subscription, rpac: Terminal
) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    (limited,) = [one for one in there.resources.values()
                  if "condition" in one.get("properties", {})]  # fmt: skip
    condition = limited["properties"].pop("condition")
    assert "they may write more than their runs" in findings(rpac, "error")["azure nodes"]
    limited["properties"]["condition"] = condition
    credential = resource(there, "/federatedidentitycredentials/github-name")
    credential["properties"]["subject"] = "repo:Lab/experiments:pull_request"
    assert "pull_request" in findings(rpac, "error")["azure jobs"]
    for key in [key for key in there.resources if "/roleassignments/" in key]:
        del there.resources[key]
    for key in [key for key in there.resources if "/federatedidentitycredentials/" in key]:
        del there.resources[key]
    assert findings(rpac, "error")["azure nodes"] == "nodes have no right to the store"
    assert findings(rpac, "warning")["azure jobs"] == "no job on GitHub can enter"
    there.remove(made(rpac).identity)
    assert "there is no rpac-lab-nodes" in findings(rpac, "error")["azure nodes"]


def test_the_doctor_tells_how_far_a_deployment_is(there: Subscription, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    (deployment,) = there.deployments.values()
    there.stuck = True
    deployment.state = "Running"
    assert "rpac-lab is at Running" in findings(rpac, "warning")["azure deployment"]
    deployment.state = "Failed"
    deployment.error = {"code": "Conflict", "message": "the name is taken"}
    assert "Conflict: the name is taken" in findings(rpac, "error")["azure deployment"]
    there.deployments.clear()
    assert "there is no deployment rpac-lab" in findings(rpac, "note")["azure deployment"]


def test_a_look_that_is_not_allowed_is_a_finding(standin: AzureStandin, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    standin.management.refused["GET .*/storageAccounts/"] = (403, "AuthorizationFailed")
    found = rpac("doctor", "azure", "--json")
    (one,) = [one for one in found.json["findings"] if one["topic"] == "azure store"]
    assert one["what"].startswith("not checked: ")
    assert one["fix"] == "look with the right Reader of the resource group"


def test_who_is_not_signed_in_is_told_so(rpac: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    found = rpac("doctor", "azure")
    assert found.code == 2
    assert "az login" in found.out
    assert rpac(*SET_UP, "--yes").code == 5


def test_answers_that_are_none_of_azures_are_told(standin: AzureStandin, rpac: Terminal) -> None:
    standin.management.refused["GET /subscriptions/[^/]+$"] = (500, "InternalServerError")
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 5
    assert "looking at the subscription: Azure says InternalServerError" in answer.err
