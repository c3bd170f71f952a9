"""
One experiment across clouds: recorded on one, reproduced from its record on another and back. AWS
is moto, Azure the stand-in beside Azurite, both starting real containers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.clouds.aws import driver as aws_driver
from rpac_ci.clouds.azure import driver as azure_driver
from tests.conftest import QUICK, ROOT, WriteExperiment, git
from tests.docker_engine import Engine
from tests.docker_engine import docker_fixture as docker_fixture
from tests.integration.conftest import Terminal
from tests.standins import aws, azure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def clouds(
    tmp_path: Path, docker: Engine, rpac: Terminal, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Two accounts, and a repository whose settings name both."""
    (tmp_path / "aws").mkdir()
    (tmp_path / "azure").mkdir()
    with (
        aws.registry(tmp_path) as address,
        aws.serve(tmp_path / "aws", docker=True, repository=f"{address}/rpac") as one,
        azure.serve(tmp_path / "azure", docker=True, repository=f"{address}/rpac") as other,
    ):
        for name, value in {**one.environment, **other.environment}.items():
            monkeypatch.setenv(name, value)
        block = json.dumps({"aws": dict(one.site), "azure": dict(other.site)})
        (rpac.root / "rpac.yaml").write_text(
            f"schema: rpac/site/1\nallow: {{clouds: [local, aws, azure]}}\nclouds: {block}\n"
        )
        git(rpac.root, "add", "rpac.yaml")
        git(rpac.root, "commit", "--quiet", "--message", "settings")
        yield
        aws_driver._shared.cache_clear()
        azure_driver._shared.cache_clear()


def test_a_run_on_aws_is_reproduced_on_azure_and_back(
    rpac: Terminal, write_experiment: WriteExperiment, clouds: None, docker: Engine
) -> None:
    docker("dask")
    yaml = QUICK.format(name="quick").replace("engine: process", "engine: dask")
    main = (
        "import json, pathlib, sys\n"
        "from distributed import Client\n"
        "with Client() as client:\n"
        "    total = client.submit(sum, range(int(sys.argv[1]) + 1)).result()\n"
        "pathlib.Path(sys.argv[2], 'metrics.json').write_text(json.dumps({'level': total}))\n"
    )
    files = {
        "main.py": main,
        "requirements.lock": (ROOT / "images/dask/requirements.lock").read_text(),
    }
    yaml = yaml.replace("{expect: 7}", "{expect: 28}")
    write_experiment("quick", f"{yaml}environment: {{lock: requirements.lock}}\n", files)

    records: list[dict[str, Any]] = []
    for words in (
        ["quick", "cloud=aws", "nodes=2", "memory=2GiB"],
        ["quick@{run}", "cloud=azure"],
        ["quick@{run}", "cloud=aws"],
        ["quick@{run}", "cloud=azure"],
        ["quick@{run}", "cloud=local", "runtime=docker"],
    ):
        run = records[-1]["run"] if records else ""
        done = rpac("reproduce", *(word.format(run=run) for word in words))
        assert done.code == 0, done.out + done.err
        records.append(rpac.last())

    assert [record["circumstances"]["cloud"] for record in records] == [
        "aws", "azure", "aws", "azure", "local"
    ]  # fmt: skip
    assert len({record["identity"]["science"] for record in records}) == 1
    for before, record in pairwise(records):
        assert record["identity"]["reproduces"] == before["run"]
        assert record["verdict"]["outcome"] == "reproduced: identical"
        assert len(record["circumstances"]["nodes"]) == 2
    there = rpac.root / "reports" / "quick" / records[1]["run"][:4]
    [pipeline] = there.parent.glob(f"*/{records[1]['run']}/pipeline.yaml")
    assert "Standard_D2s_v5" in pipeline.read_text()
    assert rpac("sweep").out.strip() == "nothing is left over"
