"""
Azure against a stand-in: Azure Batch over TLS on a real socket, its tasks started as real
containers, and Azurite (see `standins.azure` for where that is not Azure). What every cloud
promises, and stories from the command line to the report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rpac_ci import images
from rpac_ci.clouds.azure import driver
from rpac_ci.clouds.azure.clients import ENDPOINT
from rpac_ci.clouds.azure.driver import AzureCloud
from rpac_ci.jobs import JobSpec
from rpac_ci.site_clouds import AzureSite
from rpac_ci.storage import Storage
from tests.conftest import QUICK, QUICK_MAIN, ROOT, WriteExperiment, git
from tests.docker_engine import Engine
from tests.docker_engine import docker_fixture as docker_fixture
from tests.integration.conftest import Terminal
from tests.standins import aws, azure
from tests.standins.azure import AzureStandin
from tests.unit.clouds.contract import CloudContract, Needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, docker: Engine) -> Iterator[str]:
    """A registry, where there is a Docker engine to push to it."""
    with aws.registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def account(
    tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureStandin]:
    """An account, and this process's environment such that SDKs find it."""
    folder = tmp_path / "azure"
    folder.mkdir()
    with azure.serve(folder, docker=True, repository=f"{registry}/rpac") as standin:
        for name, value in standin.environment.items():
            monkeypatch.setenv(name, value)
        yield standin
        driver._shared.cache_clear()  # its server is gone


@dataclass(frozen=True)
class AzureBench:
    """The cloud over a container of Azurite."""

    standin: AzureStandin
    storage: Storage

    def connect(self) -> AzureCloud:
        site = AzureSite.model_validate(self.standin.site)
        shared = driver._shared(site, os.environ[ENDPOINT])
        return AzureCloud(shared, site, self.storage)

    def too_large(self, spec: JobSpec) -> JobSpec:
        return replace(spec, nodes=self.standin.service.settings.machines + 1)


class TestContract(CloudContract):
    """What every cloud promises."""

    @pytest.fixture
    def bench(self, account: AzureStandin) -> Iterator[AzureBench]:
        bench = AzureBench(account, Storage(account.site["store"]))
        yield bench
        for left in bench.connect().leftovers():
            bench.connect().discard(left)

    @pytest.fixture
    def needs(self, docker: Engine, registry: str) -> Needs:
        image = images.publish(docker("process").id, f"{registry}/rpac")
        return {
            "runtime": "docker", "image": image, "memory_mib": 512, "machine": "Standard_D2s_v5"
        }  # fmt: skip


# --- stories --------------------------------------------------------------------------------------


def lab(rpac: Terminal, account: AzureStandin) -> None:
    """A repository whose settings name the account."""
    (rpac.root / "rpac.yaml").write_text(account.settings())
    git(rpac.root, "add", "rpac.yaml")
    git(rpac.root, "commit", "--quiet", "--message", "settings")


def quick(write: WriteExperiment, engine: str, lock: str | None) -> None:
    yaml = QUICK.format(name="quick").replace("engine: process", f"engine: {engine}")
    files = {"main.py": QUICK_MAIN}
    if engine in ("torchrun", "horovod"):  # of which another number is another experiment
        yaml += "resources: {nodes: 2}\n"
    if lock:
        yaml += "environment: {lock: requirements.lock}\n"
        files["requirements.lock"] = (ROOT / lock / "requirements.lock").read_text()
    write("quick", yaml, files)


@pytest.mark.parametrize(
    ("engine", "lock"),
    [
        ("dask", "images/dask"),
        ("spark", "images/spark"),
        pytest.param("torchrun", "images/torchrun", marks=pytest.mark.nightly),
        pytest.param("horovod", "images/horovod", marks=pytest.mark.nightly),
    ],
)
def test_two_nodes_on_azure_from_the_command_to_the_report(
    rpac: Terminal, write_experiment: WriteExperiment, account: AzureStandin, docker: Engine,
    engine: str, lock: str,
) -> None:  # fmt: skip
    docker(engine)
    lab(rpac, account)
    quick(write_experiment, engine, lock)

    done = rpac("reproduce", "quick", "cloud=azure", "nodes=2", "memory=2GiB")

    assert done.code == 0, done.out + done.err
    record = rpac.last()
    around = record["circumstances"]
    assert around["cloud"] == "azure"
    assert len(around["nodes"]) == 2, "both have proved themselves"
    assert record["verdict"]["outcome"] == "reproduced: identical"
    assert record["outcome"]["cost_usd"] > 0
    report = rpac("show", record["run"]).out
    assert "not Azure itself: a server that speaks its API" in report
    assert rpac("sweep").out.strip() == "nothing is left over"
    assert not account.service.pools
    assert not account.service.jobs
    fetched = rpac("fetch", record["run"], str(rpac.root.parent / "fetched"))
    assert fetched.code == 0, fetched.err
    assert (rpac.root.parent / "fetched" / "metrics.json").exists()

    again = rpac("reproduce", f"quick@{record['run']}")
    assert again.code == 0, again.out + again.err
    assert rpac.last()["identity"]["reproduces"] == record["run"]
