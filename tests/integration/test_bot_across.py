"""
One conversation across clouds: recorded on AWS, reproduced on Azure by one word of a comment, then
back on AWS and on the runner from Azure's record. Both clouds are stand-ins with real containers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import Engine
from tests.docker_engine import docker_fixture as docker_fixture
from tests.integration.cloud_lab import CloudLab, accounts, files
from tests.standins.github import GitHubServer
from tests.standins.oidc import Issuer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def lab(
    hub: GitHubServer, tmp_path: Path, issuer: Issuer, docker: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CloudLab]:  # fmt: skip
    with accounts(tmp_path, monkeypatch, "aws", "azure") as both:
        yield CloudLab(hub, tmp_path, issuer, both, "aws, azure, local")


@pytest.mark.parametrize(
    "engine",
    [
        "dask",
        *(pytest.param(e, marks=pytest.mark.nightly) for e in ("spark", "torchrun", "horovod")),
    ],
)
def test_a_comment_takes_a_run_from_aws_to_azure_and_back(
    lab: CloudLab, docker: Engine, engine: str
) -> None:
    docker(engine)
    pull = lab.pull(files(engine))

    first = lab.submitted(
        lab.says(lab.author, pull, "/reproduce quick cloud=aws nodes=2 memory=2GiB")
    )
    assert "reproduced: identical" in lab.last_words(pull)

    asked = lab.says(lab.author, pull, f"/reproduce quick@{first} cloud=azure")
    shown = lab.answers(pull)[-1]
    for line in ("| target.cloud | aws | azure |", "| target.region | us-east-1 | eastus |"):
        assert line in shown, "what is asked for stands there before it costs"
    assert "USD" in shown
    there = lab.submitted(lab.approved(pull, asked))
    assert lab.issuer.asked[-1] == "api://AzureADTokenExchange"
    told = lab.last_words(pull)
    assert "reproduced: identical" in told
    report = lab.of_the_log("report.md", there).decode()
    assert re.search(
        r"^## On azure \S+ in eastus, after aws \S+ in us-east-1$", report, re.MULTILINE
    )
    assert "**The same science.**" in report
    assert "Fidelity of the machines: grade" in report
    for row in ("| command |", "| whole run |", "| cost of the run |", "| price of a node-hour |"):
        assert row in report
    assert "not Azure itself: a server that speaks its API" in report

    back = lab.submitted(lab.says(lab.author, pull, f"/reproduce quick@{there} cloud=aws"))
    assert "reproduced: identical" in lab.last_words(pull)

    here = lab.says(lab.author, pull, f"/reproduce quick@{there} cloud=local runtime=docker")
    if not here.runs:
        here = lab.approved(pull, here)
    assert here.concluded[0].code == 0, here.concluded[0].err
    assert "reproduced: identical" in lab.answers(pull)[-1]

    records = [lab.record(run) for run in (first, there, back, here.run)]
    assert [one["circumstances"]["cloud"] for one in records] == ["aws", "azure", "aws", "local"]
    assert [one["identity"]["reproduces"] for one in records[1:]] == [first, there, there]
    assert len({one["identity"]["science"] for one in records}) == 1
    assert {len(one["circumstances"]["nodes"]) for one in records} == {2}
    assert lab.reports("topic") == lab.reports("rpac/log")
    lab.nothing_is_left()
