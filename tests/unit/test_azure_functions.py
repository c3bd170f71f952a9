"""The functions on Azure: which runs an event means, what they are bound to, what they import."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import azure.functions as func
import pytest

from rpac_ci.clouds.azure.clients import ENDPOINT
from rpac_ci.errors import CommandError, CredentialsError
from rpac_ci.functions import azure_functions, packaging
from rpac_ci.functions.azure_functions import runs_meant, site_of
from rpac_ci.functions.serving import AZURE_LIMIT_S
from rpac_ci.run import new_run_id
from rpac_ci.site_clouds import AzureSite
from tests.standins.azure import CLIENT_ID, GROUP, IDENTITY, SUBSCRIPTION
from tests.standins.azure.functions import FUNCTIONS, TIMER, created, decoded, wake
from tests.unit.test_aws_lambda import ABSENT

RUN = "20260102T030405Z-0a1b2c3d"
DONE = f"runs/{RUN}/attempt/1/done"
SITE = {
    "location": "eastus", "name": "lab", "subscription": SUBSCRIPTION, "resource_group": GROUP,
    "account_url": "https://labbatch.eastus.batch.azure.com", "store": "az://labrpac/runs/here",
    "repository": "ghcr.io/lab/rpac", "identity": IDENTITY, "identity_client_id": CLIENT_ID,
}  # fmt: skip


def site(**changes: str) -> AzureSite:
    return AzureSite.model_validate({**SITE, **changes})


def event(**changes: Any) -> object:
    return decoded("eventGridTrigger", created(SITE, DONE, **changes))


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [DONE, f"runs/{RUN}/attempt/12/done", f"runs/{RUN}/cancel.json", f"runs/{RUN}/notices/s.json"],
)
@pytest.mark.parametrize("store", ["az://labrpac/runs", "az://labrpac/runs/some/prefix"])
def test_news_of_a_run_names_it(key: str, store: str) -> None:
    sent = created({**SITE, "store": store}, key)
    assert runs_meant(decoded("eventGridTrigger", sent), site(store=store)) == {RUN}
    upper = sent["topic"].upper()  # Azure is not of one mind about the case of names
    shouted = decoded("eventGridTrigger", {**sent, "topic": upper})
    assert runs_meant(shouted, site(store=store)) == {RUN}


def test_ids_that_are_made_are_ids_that_are_known() -> None:
    run = new_run_id()
    sent = decoded("eventGridTrigger", created(SITE, f"runs/{run}/cancel.json"))
    assert runs_meant(sent, site()) == {run}


BLOBS = "/blobServices/default/containers/runs/blobs/here"
NO_NEWS: dict[str, dict[str, Any]] = {
    "deleted": {"eventType": "Microsoft.Storage.BlobDeleted"},
    "of another service": {"eventType": "Microsoft.KeyVault.SecretNewVersionCreated"},
    "no type": {"eventType": None},
    "another account": {"topic": "/subscriptions/x/storageAccounts/somebodyelse"},
    "no topic": {"topic": None},
    "a topic of another kind": {"topic": 7},
    "no subject": {"subject": None},
    "a subject of another kind": {"subject": {"blob": DONE}},
    "another container": {"subject": f"/blobServices/default/containers/other/blobs/here/{DONE}"},
    "a container that begins alike": {
        "subject": f"/blobServices/default/containers/runs2/blobs/here/{DONE}"
    },
    "no prefix": {"subject": f"/blobServices/default/containers/runs/blobs/{DONE}"},
    "another prefix": {"subject": f"{BLOBS}after/{DONE}"},
    "a prefix more": {"subject": f"{BLOBS}/there/{DONE}"},
    "the result, before done": {"subject": f"{BLOBS}/runs/{RUN}/attempt/1/result.json"},
    "what drivers write": {"subject": f"{BLOBS}/control/{RUN}/events/00000001.json"},
    "a notice that was given": {"subject": f"{BLOBS}/notices/{RUN}.json"},
    "content": {"subject": f"{BLOBS}/content/sha256/{'0' * 64}"},
    "an output of that name": {"subject": f"{BLOBS}/runs/{RUN}/attempt/1/outputs/attempt/1/done"},
    "no run": {"subject": f"{BLOBS}/runs/../attempt/1/done"},
    "two lines": {"subject": f"{BLOBS}/runs/{RUN}\n/cancel.json"},
    "one more line": {"subject": f"{BLOBS}/runs/{RUN}/cancel.json\n"},
    "empty": {"subject": "", "topic": "", "data": {}},
    "long": {"subject": f"{BLOBS}/{'runs/' * 200_000}cancel.json"},
    "in another language": {"subject": f"{BLOBS}/runs/{RUN}/attempt/٣/done"},
}


@pytest.mark.parametrize("what", NO_NEWS)
def test_what_is_no_news_of_a_run_is_done_with_at_once(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # nobody listens: a request would fail
    monkeypatch.setenv("RPAC_SITE", json.dumps(SITE))
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "https://127.0.0.1:1/labrpac")
    monkeypatch.setenv(ENDPOINT, "https://127.0.0.1:1")
    assert runs_meant(event(**NO_NEWS[what]), site()) == set()
    wake(created(SITE, DONE, **NO_NEWS[what]))


def test_the_size_of_the_object_and_more_that_an_event_says_is_nothing_to_us() -> None:
    data = {"contentLength": 2**50, "url": "https://evil.example/", "api": "CopyBlob"}
    assert runs_meant(event(data=data), site()) == {RUN}
    assert runs_meant(event(data=None, id=None, eventTime=None, other=[]), site()) == {RUN}


def test_events_of_the_other_schema_are_done_with_at_once() -> None:
    sent = {"specversion": "1.0", "id": "1", "source": "x", "type": "Microsoft.Storage.BlobCreated",
            "subject": f"{BLOBS}/{DONE}"}  # fmt: skip
    assert runs_meant(decoded("eventGridTrigger", sent), site()) == set()


# --- what the functions are -----------------------------------------------------------------------


def test_what_azure_is_told_of_the_functions() -> None:
    bindings = {name: json.loads(one.get_function_json()) for name, one in FUNCTIONS.items()}
    assert bindings == {
        "stored": {
            "scriptFile": "function_app.py",
            "bindings": [{"direction": "IN", "type": "eventGridTrigger", "name": "event"}],
        },
        "timer": {
            "scriptFile": "function_app.py",
            "bindings": [
                {"direction": "IN", "type": "timerTrigger", "name": "timer",
                 "schedule": "0 */10 * * * *"}
            ],
        },
    }  # fmt: skip
    assert isinstance(decoded("timerTrigger", TIMER), func.TimerRequest)
    assert isinstance(event(), func.EventGridEvent)


def test_the_host_is_told_of_the_time_that_the_functions_count_on() -> None:
    told = json.loads(packaging.AZURE.files["host.json"])
    hours, minutes, seconds = map(int, told["functionTimeout"].split(":"))
    assert 3600 * hours + 60 * minutes + seconds == AZURE_LIMIT_S
    assert told["version"] == "2.0"
    assert told["extensionBundle"]["id"] == "Microsoft.Azure.Functions.ExtensionBundle"


@pytest.mark.parametrize("value", [None, "", "{}", "[]", '{"location": "eastus"}'])
def test_a_site_that_is_not_told_is_an_error(value: str | None) -> None:
    with pytest.raises(CommandError, match=r"RPAC_SITE is not clouds.azure") as caught:
        site_of({} if value is None else {"RPAC_SITE": value})
    assert "rpac setup azure" in caught.value.hint


def test_a_token_that_azure_could_not_read_is_an_error_and_not_a_token() -> None:
    told = {"RPAC_GITHUB_REPOSITORY": "lab/experiments"}
    assert azure_functions._sender(told) is None
    assert azure_functions._sender({"RPAC_GITHUB_SECRET": "ghs_x"}) is None
    sender = azure_functions._sender({**told, "RPAC_GITHUB_SECRET": " ghs_x\n"})
    assert sender is not None
    assert (sender.repository, sender.token) == ("lab/experiments", "ghs_x")
    assert "ghs_x" not in repr(sender)
    reference = "@Microsoft.KeyVault(SecretUri=https://lab.vault.azure.net/secrets/github-token)"
    with pytest.raises(CredentialsError, match="could not read the secret"):
        azure_functions._sender({**told, "RPAC_GITHUB_SECRET": reference})


def test_the_functions_need_nothing_that_their_package_does_not_have() -> None:
    there = ("cryptography", "requests", "urllib3")  # of Azure's SDK
    absent = (*(name for name in ABSENT if name not in there), "boto3", "botocore")
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ImportError(name + " is not in the package")
sys.meta_path.insert(0, Absent())
from rpac_ci import engines
from rpac_ci.functions import azure_functions
from rpac_ci.jobs import EngineName
for name in EngineName:
    engines.load(name.value)
from rpac_ci import clouds, output_comparisons, training
import rpac_ci.clouds.azure.driver
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_nothing_but_the_function_imports_its_library() -> None:
    code = "import sys\nfrom rpac_ci.functions import packaging, serving\n" + (
        "import rpac_ci.cli.setup\nassert 'azure.functions' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
