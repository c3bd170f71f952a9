"""
Conversations about runs on Azure: what is Azure's own in them. The rest is in `test_bot_clouds`.

Azure is a stand-in on a real socket (`standins.azure`). Jobs enter it with tokens of their own that
its Entra exchanges for those of an identity, when issuer, audience and subject are the right ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import Engine
from tests.docker_engine import docker_fixture as docker_fixture
from tests.integration.cloud_lab import SLEEPS, CloudLab, accounts, files
from tests.standins import waiting
from tests.standins.azure import AzureStandin
from tests.standins.azure.rest import Fault
from tests.standins.github import GitHubServer
from tests.standins.oidc import Issuer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def account(
    tmp_path: Path, docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureStandin]:
    docker("process")
    with accounts(tmp_path, monkeypatch, "azure") as found:
        assert isinstance(found["azure"], AzureStandin)
        yield found["azure"]


@pytest.fixture
def lab(hub: GitHubServer, tmp_path: Path, account: AzureStandin, issuer: Issuer) -> CloudLab:
    return CloudLab(hub, tmp_path, issuer, {"azure": account}, "azure, local")


def test_a_run_that_is_cancelled_is_stopped_and_its_machines_are_gone(
    lab: CloudLab, account: AzureStandin
) -> None:
    pull = lab.pull(files("process", main=SLEEPS))
    run = lab.submitted(lab.says(lab.author, pull, "/reproduce quick"))
    assert "is being reproduced" in lab.answers(pull)[-1]
    assert account.service.pools

    cancelled = lab.says(lab.author, pull, f"/cancel {run[-8:]}")

    assert cancelled.runs[0]["run"] == run
    assert cancelled.concluded[0].code in (0, 5), cancelled.concluded[0].err
    assert any("inconclusive (cancelled)" in answer for answer in lab.answers(pull))
    assert lab.record()["outcome"]["reason"] == "cancelled"
    assert not account.service.pools
    lab.nothing_is_left()


def test_machines_that_may_not_be_given_back_alarm_until_they_are(
    lab: CloudLab, account: AzureStandin
) -> None:
    pull = lab.pull(files("process"))
    denied = Fault("DeletePool", 403, "AuthorizationFailed", "no right to delete", times=1000)
    account.api.faults.append(denied)
    lab.submitted(lab.says(lab.author, pull, "/reproduce quick"))

    alarm = lab.until(lambda _: "WARNING" in lab.answers(pull)[-1])

    assert alarm.clouds.code == 5
    told = lab.answers(pull)[-1]
    assert "its machines may still be there and cost money" in told
    assert "AuthorizationFailed" in told
    account.api.faults.remove(denied)
    assert "reproduced: identical" in lab.last_words(pull)
    lab.nothing_is_left()


def test_without_an_identity_the_comment_says_so_and_the_run_stays_open(
    lab: CloudLab, account: AzureStandin
) -> None:
    identity = lab.runner.cloud.pop("RPAC_AZURE_CLIENT_ID")
    pull = lab.pull(files("process"))

    done = lab.says(lab.author, pull, "/reproduce quick")

    assert lab.runner.submitted is not None
    assert lab.runner.submitted.code == 4
    assert "gh variable set RPAC_AZURE_CLIENT_ID" in lab.runner.submitted.err
    assert "left no results; the timer looks again" in lab.answers(pull)[-1]
    lab.runner.cloud["RPAC_AZURE_CLIENT_ID"] = identity

    lab.issuer.subject = "repo:lab/experiments:environment:another"
    again = lab.runner.upkeep()
    assert again.clouds.code != 0
    assert "No matching federated identity record found" in again.clouds.err
    assert "environment:another" in again.clouds.err, "what to put into the credential"
    assert account.api.entra.calls == []
    assert account.api.count() == {}, "nobody was let in"

    lab.issuer.subject = account.api.entra.subject
    lab.runner.later_s = 2 * 3600
    assert "reproduced: identical" in lab.last_words(pull)
    assert done.run in lab.answers(pull)[-1]
    assert set(lab.issuer.asked) == {"api://AzureADTokenExchange"}
    lab.nothing_is_left()


def test_a_function_in_the_cloud_wakes_the_workflow(lab: CloudLab) -> None:
    pull = lab.pull(files("process"))
    run = lab.submitted(lab.says(lab.author, pull, "/reproduce quick"))
    told = {"run": run, "cloud": "azure", "status": "released"}
    event = lab.hub.dispatch_event(
        sender=lab.maintainer, payload=told, event_type="rpac-run-released"
    )

    def woken() -> bool:
        assert lab.runner.upkeep("repository_dispatch", event).look.clouds == ["azure"]
        return lab.over(pull)

    waiting.until(woken, limit_s=300)
    assert "reproduced: identical" in lab.answers(pull)[-1]
