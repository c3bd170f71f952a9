"""The store of runs on Azure refuses, or is left half-way; Blob Storage is in memory."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rpac_ci.jobs import content_key
from rpac_ci.storage import Storage
from tests.conftest import QUICK, WriteExperiment, campaign, git
from tests.integration.azure_lab import IMAGE, REPRODUCED, Lab
from tests.integration.azure_lab import account_fixture as account_fixture
from tests.integration.conftest import Terminal
from tests.standins import azure
from tests.standins.aftermath import ended
from tests.standins.azure import AzureStandin
from tests.standins.azure.blobs import Asked, Blobs
from tests.standins.azure.memory_blob import MemoryBlob
from tests.standins.azure_nodes import NoNodes
from tests.standins.faults import start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def gate() -> Blobs:
    return Blobs(MemoryBlob())


@pytest.fixture(scope="module", name="server")
def server_fixture(tmp_path_factory: pytest.TempPathFactory, gate: Blobs) -> Iterator[AzureStandin]:
    """One server for all tests, its blobs behind a gate."""
    with azure.serve(tmp_path_factory.mktemp("azure"), docker=False, blobs=gate) as standin:
        yield standin


@pytest.fixture
def blobs(gate: Blobs) -> Iterator[Blobs]:
    """An empty container."""
    gate.memory = MemoryBlob()
    gate.calls.clear()
    yield gate
    gate.before = lambda _: 0


@pytest.fixture
def lab(
    rpac: Terminal, account: AzureStandin, blobs: Blobs, write_experiment: WriteExperiment
) -> Lab:
    """A repository whose nodes are none: they write into the memory itself."""
    assert blobs.memory
    store = f"az://{account.site['store'].split('/')[2]}/{azure.CONTAINER}"
    account = replace(account, site={**account.site, "store": store})
    account.service.runner = NoNodes(Storage("memory:///", backend=blobs.memory.objects))
    (rpac.root / "rpac.yaml").write_text(account.settings())
    git(rpac.root, "add", "rpac.yaml")
    found = Lab(rpac, account, write_experiment)
    found.experiment()
    return found


def refuse(blobs: Blobs, *methods: str, skip: int = 0) -> None:
    """The store refuses from now on, once so many requests have gone well."""
    numbers = itertools.count()

    def before(asked: Asked) -> int:
        return 403 if asked.method in methods and next(numbers) >= skip else 0

    blobs.before = before


@pytest.mark.parametrize("requests", campaign((20, 8, 14, 26), every=4))
def test_a_sign_in_that_expires_for_the_store_leaves_the_run_to_whoever_signs_in(
    lab: Lab, blobs: Blobs, requests: int
) -> None:
    refuse(blobs, "GET", "PUT", "HEAD", "DELETE", "POST", skip=requests)
    answer = ended(start(lab.rpac.root, "reproduce", "quick", "cloud=azure"))
    assert answer.returncode == 5, answer.stdout + answer.stderr
    assert "az login" in answer.stderr
    blobs.before = lambda _: 0
    lab.goes_on(REPRODUCED)


def test_a_container_that_may_not_be_written_to_starts_nothing(lab: Lab, blobs: Blobs) -> None:
    refuse(blobs, "PUT")
    answer = lab.reproduce()
    assert answer.code == 5, answer.out + answer.err
    assert "Storage Blob Data Contributor" in answer.err
    assert lab.account.api.count() == {}, "Azure Batch was not asked for anything"
    assert lab.records() == []


def test_a_large_input_that_was_half_sent_is_sent_again(
    lab: Lab, blobs: Blobs, tmp_path: Path
) -> None:
    """What is half there is no blob; Azure forgets its blocks after a week."""
    content = bytes(range(256)) * (17 * 2**12)  # 17 MiB, sent in two blocks
    (tmp_path / "levels.bin").write_bytes(content)
    pinned = hashlib.sha256(content).hexdigest()
    yaml = QUICK.format(name="quick") + (
        f"environment: {{image: '{IMAGE}'}}\n"
        f"data: {{levels: {{uri: 'file://{tmp_path}/levels.bin', sha256: {pinned}}}}}\n"
    )
    lab.write(yaml=yaml)
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure")

    def kill(asked: Asked) -> int:
        if "comp=blocklist" in asked.path:
            os.kill(going.pid, 9)
            going.wait()
            return 500
        return 0

    blobs.before = kill
    assert ended(going).returncode == -9
    blobs.before = lambda _: 0
    assert lab.storage.head(content_key(pinned)) is None
    lab.goes_on(REPRODUCED)
    assert lab.storage.get(content_key(pinned)) == content
