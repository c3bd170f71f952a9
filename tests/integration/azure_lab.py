"""
A repository whose runs go to the stand-in for Azure, and what goes wrong there.

Tasks are processes of this machine, which run the real node program against Azurite.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline.policies import RetryPolicy

from rpac_ci import open_runs
from rpac_ci.clouds.azure import driver
from rpac_ci.clouds.azure.clients import ENDPOINT
from rpac_ci.clouds.azure.driver import AzureCloud
from rpac_ci.jobs import JobSpec, Keys
from rpac_ci.site_clouds import AzureSite
from rpac_ci.storage import Storage
from rpac_ci.workspace import Workspace
from tests.conftest import QUICK, QUICK_MAIN, WriteExperiment, git
from tests.integration.conftest import Answer, Terminal
from tests.standins import azure
from tests.standins.aftermath import records
from tests.standins.azure import AzureStandin
from tests.standins.azure.rest import Fault
from tests.standins.azure.state import Settings
from tests.standins.azure.tasks import Processes
from tests.standins.faults import end_all
from tests.standins.waiting import until
from tests.unit.clouds.contract import make_job

IMAGE = "registry.example.org/lab/quick@sha256:" + "5" * 64
FOREVER = 10**6
REPRODUCED, COULD_NOT_RUN = "reproduced: identical", "could not run"
# what a run asks
ASKED = (
    "GetAccount", "ListImages", "CreatePool", "ListPools", "CountNodes", "ListNodes", "CreateJob",
    "CreateTasks", "UpdateJob", "ListTasks", "GetFile", "DeleteJob", "DeletePool", "GetPool",
    "GetJob",
)  # fmt: skip
CHANGING = ("CreatePool", "CreateJob", "CreateTasks", "UpdateJob", "DeleteJob", "DeletePool")


@pytest.fixture(scope="module", name="server")
def server_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureStandin]:
    """One server for all tests; each has a name and a store of its own."""
    with azure.serve(tmp_path_factory.mktemp("azure"), docker=False) as standin:
        yield standin


@pytest.fixture(name="account")
def account_fixture(
    server: AzureStandin, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureStandin]:
    """An account in which nothing has happened yet; the SDK tries again without waiting."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(RetryPolicy, "get_backoff_time", lambda *_: 0.01)
    api, name = server.api, f"lab{secrets.token_hex(4)}"
    api.calls.clear()
    api.faults.clear()
    api.after = api.before = lambda _: None
    api.service.settings = Settings()
    api.service.jobs.clear()
    api.service.pools.clear()
    api.service.exit_code = lambda _, code: code
    api.service.runner = Processes()
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

    def own_subscription(self) -> None:
        """The account's machines are those of one's own subscription from now on."""
        site = {**self.account.site, "pool_allocation_mode": "user_subscription"}
        settings = replace(self.account, site=site).settings()
        (self.rpac.root / "rpac.yaml").write_text(settings)

    def fails(self, action: str, times: int = 1, **how: Any) -> None:
        """What goes wrong from now on."""
        self.account.api.faults.append(Fault(action, times=times, **how))

    def denies(self, action: str) -> str:
        """A right that is missing from now on; what Azure says then."""
        says = f"no right to {action}"
        self.fails(action, FOREVER, status=403, code="AuthorizationFailed", message=says)
        return says

    def mend(self) -> None:
        """All is well again."""
        self.account.api.faults.clear()

    def reproduce(self, *words: str) -> Answer:
        """A run from its start as far as it gets."""
        return self.rpac("reproduce", "quick", "cloud=azure", *words)

    def records(self) -> list[dict[str, Any]]:
        """Records of all runs."""
        return records(self.rpac.root)

    def sweep(self) -> str:
        """What sweep finds."""
        return self.rpac("sweep", "--dry-run").out.strip()

    def stays_open(self, answer: Answer) -> str:
        """The command says that the run goes on later, and so does sweep; returns the run."""
        [run] = open_runs.names(Workspace.open(self.rpac.root))
        assert answer.code == 5, answer.out + answer.err
        assert f"rpac advance {run}" in answer.err
        assert self.records() == []
        return run

    def goes_on(self, outcome: str) -> dict[str, Any]:
        """All is well again: whoever comes next ends the run; its record."""
        self.mend()
        done = self.rpac("advance", "--all")
        assert done.code == 0, done.out + done.err
        return self.is_over(outcome)

    def is_over(self, outcome: str, *, beside: Sequence[str] = ()) -> dict[str, Any]:
        """One run is in the log with this outcome, and nothing of it is left; its record."""
        [record] = self.records()
        assert record["verdict"]["outcome"] == outcome, record["outcome"]
        assert self.sweep() == "nothing is left over"
        assert self.rpac("advance", "--all").out == "no open runs\n"
        assert not self.account.service.pools
        assert [*self.account.service.jobs] == [*beside]
        return record

    def could_not_run(
        self, *words: str, because: str, beside: Sequence[str] = ()
    ) -> dict[str, Any]:
        """A run that ends so, and says why; its record."""
        done = self.reproduce(*words)
        assert done.code == 5, done.out + done.err
        record = self.is_over(COULD_NOT_RUN, beside=beside)
        assert because in record["outcome"]["message"]
        return record


@pytest.fixture(name="lab")
def lab_fixture(rpac: Terminal, account: AzureStandin, write_experiment: WriteExperiment) -> Lab:
    """A repository whose settings name the account."""
    (rpac.root / "rpac.yaml").write_text(account.settings())
    git(rpac.root, "add", "rpac.yaml")
    found = Lab(rpac, account, write_experiment)
    found.experiment()
    return found


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


@pytest.fixture(name="cloud")
def cloud_fixture(account: AzureStandin) -> AzureCloud:
    """The adapter by itself, as a driver of this process comes to it."""
    site = AzureSite.model_validate(account.site)
    shared = driver._shared(site, os.environ[ENDPOINT])
    return AzureCloud(shared, site, Storage(account.site["store"]))


def job(account: AzureStandin, **more: Any) -> JobSpec:
    """A job for the adapter."""
    needs = {"runtime": "docker", "image": IMAGE, "machine": "Standard_D2s_v5", **more}
    return make_job(Storage(account.site["store"]), **needs)
