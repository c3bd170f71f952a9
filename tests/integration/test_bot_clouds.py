"""
Conversations about runs on AWS: a comment comes in, nodes run elsewhere, a commit goes out.

GitHub is a stand-in on a real socket, and so is AWS (moto, see `standins.aws`). Jobs on GitHub are
child processes; those that enter the cloud do so with a token of their own and a role, as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.docker_engine import Engine
from tests.docker_engine import docker_fixture as docker_fixture
from tests.integration.cloud_lab import SLEEPS, CloudLab, accounts, files
from tests.standins import oidc, waiting
from tests.standins.aws import AwsStandin, Fault
from tests.standins.github import GitHubServer
from tests.standins.oidc import Issuer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def account(
    tmp_path: Path, docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AwsStandin]:
    with accounts(tmp_path, monkeypatch, "aws") as found:
        assert isinstance(found["aws"], AwsStandin)
        yield found["aws"]


@pytest.fixture
def lab(hub: GitHubServer, tmp_path: Path, account: AwsStandin, issuer: Issuer) -> CloudLab:
    return CloudLab(hub, tmp_path, issuer, {"aws": account}, "local, aws")


@pytest.mark.parametrize("engine", ["dask", pytest.param("spark", marks=pytest.mark.nightly)])
def test_a_comment_runs_an_engine_on_two_nodes_of_aws(
    lab: CloudLab, account: AwsStandin, docker: Engine, engine: str
) -> None:
    docker(engine)
    pull = lab.pull(files(engine))
    head = pull.head_sha

    asked = lab.says(lab.author, pull, "/reproduce quick cloud=aws nodes=2 spot=true memory=2GiB")
    done = lab.approved(pull, asked)

    run = lab.submitted(done)
    told = lab.answers(pull)[-1]
    assert "is being reproduced" in told
    assert "aws us-east-1, 2 nodes" in told
    assert f"/cancel {run}" in told
    assert set(lab.issuer.asked) == {"sts.amazonaws.com"}
    taken = [c for c in account.gate.calls if c.action == "AssumeRoleWithWebIdentity"]
    tokens = {parse_qs(call.body.decode())["WebIdentityToken"][0] for call in taken}
    assert tokens <= lab.issuer.given
    assert {oidc.claims(token)["sub"] for token in tokens} == {oidc.SUBJECT}
    assert lab.reports("rpac/log") == set()

    answer = lab.last_words(pull)

    assert "reproduced: identical" in answer
    assert "| level |" in answer
    on_log = lab.reports("rpac/log")
    assert {path.rsplit("/", 1)[1] for path in on_log} >= {"report.md", "pipeline.yaml"}
    assert lab.reports("topic") == on_log
    record = lab.record()
    around = record["circumstances"]
    assert (around["cloud"], len(around["nodes"])) == ("aws", 2)
    assert record["outcome"]["cost_usd"] is None  # no spot price is known
    [request] = [c for c in account.gate.calls if c.action == "createcomputeenvironment"]
    assert b'"type": "SPOT"' in request.body  # and so a gang: an array of jobs of one node each
    assert b"not AWS itself: a server that speaks its API" in lab.of_the_log("report.md")
    (check,) = [c for c in lab.hub.checks(head) if c.name == "rpac: quick"]
    assert check.conclusion == "success"
    lab.nothing_is_left()


def test_spot_with_multi_node_parallel_is_refused_with_the_reason(
    lab: CloudLab, account: AwsStandin
) -> None:
    pull = lab.pull(files("dask", more="clouds: {aws: {mode: mnp}}\n"))
    done = lab.says(lab.author, pull, "/reproduce quick cloud=aws nodes=2 spot=true")
    assert done.runs == []
    (answer,) = lab.answers(pull)
    assert "spot" in answer
    assert "mnp" in answer
    assert account.gate.count() == {}


class TestTheRepositorysOwnCloud:
    """Where `rpac.yaml` names AWS first, a comment needs no second word."""

    @pytest.fixture
    def lab(self, hub: GitHubServer, tmp_path: Path, account: AwsStandin, issuer: Issuer,
            docker: Engine) -> CloudLab:  # fmt: skip
        docker("process")
        return CloudLab(hub, tmp_path, issuer, {"aws": account}, "aws, local")

    def test_a_run_that_is_cancelled_is_stopped_and_released(self, lab: CloudLab) -> None:
        pull = lab.pull(files("process", main=SLEEPS))
        run = lab.submitted(lab.says(lab.author, pull, "/reproduce quick"))
        assert "is being reproduced" in lab.answers(pull)[-1]

        cancelled = lab.says(lab.author, pull, f"/cancel {run[-8:]}")

        assert cancelled.runs[0]["run"] == run
        assert cancelled.concluded[0].code in (0, 5), cancelled.concluded[0].err
        assert any("inconclusive (cancelled)" in a for a in lab.answers(pull))
        assert lab.record()["outcome"]["reason"] == "cancelled"
        lab.nothing_is_left()

    def test_a_release_that_is_denied_alarms_until_it_succeeds(
        self, lab: CloudLab, account: AwsStandin
    ) -> None:
        pull = lab.pull(files("process"))
        denied = Fault("deregisterjobdefinition", 403, "AccessDeniedException", "no", times=1000)
        account.gate.faults.append(denied)
        lab.submitted(lab.says(lab.author, pull, "/reproduce quick"))

        alarm = lab.until(lambda _: "WARNING" in lab.answers(pull)[-1])

        assert alarm.clouds.code == 5
        told = lab.answers(pull)[-1]
        assert "its machines may still be there and cost money" in told
        account.gate.faults.remove(denied)
        assert "reproduced: identical" in lab.last_words(pull)
        lab.nothing_is_left()

    def test_a_job_that_died_before_the_submit_is_made_up_for(
        self, lab: CloudLab, account: AwsStandin
    ) -> None:
        pull = lab.pull(files("process"))
        asked = lab.runner.handle(
            "issue_comment", lab.runner.said(pull, lab.author, "/reproduce quick")
        )
        (one,) = asked.runs  # and nobody comes to take it
        young = lab.runner.upkeep()
        assert f"{one['run']}: is being submitted" in young.clouds.out
        assert account.gate.count()["submitjob"] == 0
        lab.runner.later_s = 2 * 3600
        assert "reproduced: identical" in lab.last_words(pull)

    def test_without_a_way_in_the_comment_says_so_and_the_run_stays_open(
        self, lab: CloudLab, account: AwsStandin
    ) -> None:
        role = lab.runner.cloud.pop("RPAC_AWS_ROLE")
        pull = lab.pull(files("process"))
        done = lab.says(lab.author, pull, "/reproduce quick")
        assert lab.runner.submitted is not None
        assert lab.runner.submitted.code == 4
        assert "gh variable set RPAC_AWS_ROLE" in lab.runner.submitted.err
        told = lab.answers(pull)[-1]
        assert "left no results; the timer looks again" in told
        assert account.gate.count() == {}
        lab.runner.cloud["RPAC_AWS_ROLE"] = role
        lab.issuer.status = 500
        again = lab.runner.upkeep()
        assert "GitHub gives this job no token for sts.amazonaws.com: 500" in again.clouds.err
        lab.issuer.status = 200
        lab.runner.later_s = 2 * 3600
        assert "reproduced: identical" in lab.last_words(pull)
        assert done.run in lab.answers(pull)[-1]

    def test_a_closed_pull_request_stops_its_run(self, lab: CloudLab) -> None:
        pull = lab.pull(files("process", main=SLEEPS))
        lab.submitted(lab.says(lab.author, pull, "/reproduce quick"))
        lab.hub.close(pull)
        found = lab.runner.upkeep()
        assert "told to stop, its pull request is closed" in found.look.decide.out
        assert "inconclusive (cancelled)" in lab.last_words(pull)

    def test_a_function_in_the_cloud_wakes_the_workflow(self, lab: CloudLab) -> None:
        pull = lab.pull(files("process"))
        run = lab.submitted(lab.says(lab.author, pull, "/reproduce quick"))
        told = {"run": run, "cloud": "aws", "status": "released"}
        event = lab.hub.dispatch_event(
            sender=lab.maintainer, payload=told, event_type="rpac-run-released"
        )

        def woken() -> bool:
            assert lab.runner.upkeep("repository_dispatch", event).look.clouds == ["aws"]
            return lab.over(pull)

        waiting.until(woken, limit_s=300)
        assert "reproduced: identical" in lab.answers(pull)[-1]

    def test_a_file_of_the_jobs_own_machine_is_no_input(self, lab: CloudLab) -> None:
        more = "data: {secret: {uri: file:///proc/self/environ}}\n"
        pull = lab.pull(files("process", more=more))
        done = lab.says(lab.author, pull, "/reproduce quick")
        assert done.runs == []
        assert "would be a file of the job's own machine" in lab.answers(pull)[-1]
