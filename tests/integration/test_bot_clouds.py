"""
Conversations about runs on AWS: a comment comes in, nodes run elsewhere, a commit goes out.

GitHub is a stand-in on a real socket, and so is AWS (moto, see `standins.aws`). Jobs on GitHub are
child processes; those that enter the cloud do so with a token of their own and a role, as there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.storage import Storage
from tests.conftest import ROOT
from tests.docker_engine import Engine
from tests.docker_engine import docker_fixture as docker_fixture
from tests.integration.lab import QUICK_FILES, Lab
from tests.standins import aws, oidc, waiting
from tests.standins.aws import AwsStandin, Fault
from tests.standins.github import GitHubServer
from tests.standins.oidc import Issuer
from tests.standins.runner import Upkeep, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROLE = "arn:aws:iam::123456789012:role/rpaclab-driver"
BUDGETS = "\nbudgets: {run: 5 USD, month: 50 USD}\nauto_approve_below: 2 USD\n"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHubServer]:
    with GitHubServer(tmp_path / "github") as server:
        yield server
        assert not server.violations, "\n".join(map(str, server.violations))


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with oidc.serve() as found:
        yield found


@pytest.fixture
def account(
    tmp_path: Path, docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AwsStandin]:
    (tmp_path / "registry").mkdir()
    with (
        aws.registry(tmp_path / "registry") as registry,
        aws.serve(tmp_path, docker=True, repository=f"{registry}/rpac") as standin,
    ):
        for name, value in standin.environment.items():
            monkeypatch.setenv(name, value)
        yield standin


class CloudLab(Lab):
    """A lab whose repository has an account on AWS and the role to enter it."""

    def __init__(
        self,
        hub: GitHubServer,
        root: Path,
        account: AwsStandin,
        issuer: Issuer,
        clouds: str = "local, aws",
    ) -> None:
        super().__init__(hub, root)
        self.account, self.issuer = account, issuer
        keys = set(aws.KEYS)  # nothing but the token lets these jobs in
        bare = {name: v for name, v in account.environment.items() if name not in keys}
        self.runner.cloud = {**bare, **issuer.environment, "RPAC_AWS_ROLE": ROLE}
        settings = account.settings().replace("[local, aws]", f"[{clouds}]")
        hub.push("main", {"rpac.yaml": settings + BUDGETS}, "Runs may go to AWS")
        self.store = Storage(account.site["store"], region=aws.REGION)

    def until(self, done: Callable[[Upkeep], bool]) -> Upkeep:
        """The timer, again and again; here it does not wait for an hour."""

        def look() -> Upkeep | None:
            found = self.runner.upkeep()
            return found if done(found) else None

        found = waiting.until(look, limit_s=300)
        assert found is not None
        return found

    def last_words(self, place: Any) -> str:
        """What the bot says of the only run of a place once it is over."""
        self.until(lambda _: self.over(place))
        return self.answers(place)[-1]

    def of_the_log(self, name: str) -> bytes:
        """A document of the only run in the log."""
        (path,) = [p for p in self.reports("rpac/log") if p.endswith(f"/{name}")]
        return self.hub.files("rpac/log")[path]

    def over(self, place: Any) -> bool:
        """Whether the last comment is about a run that goes on no longer."""
        return "is being reproduced" not in self.answers(place)[-1]


@pytest.fixture
def lab(hub: GitHubServer, tmp_path: Path, account: AwsStandin, issuer: Issuer) -> CloudLab:
    return CloudLab(hub, tmp_path, account, issuer)


def submitted(lab: CloudLab, done: Workflow) -> str:
    """A run that its job has left on its way."""
    assert done.decide.code == 0, done.decide.err
    assert lab.runner.submitted is not None, lab.runner.submitted
    assert lab.runner.submitted.code == 0, lab.runner.submitted.err
    assert done.concluded[0].code == 0, done.concluded[0].err
    return done.run


def approved(lab: CloudLab, pull: Any, asked: Workflow) -> Workflow:
    """Another cloud than the repository's own waits for somebody's word."""
    assert asked.runs == [], asked.decide.out
    name = lab.answers(pull)[-1].split("/approve ")[1].split()[0]
    return lab.says(lab.maintainer, pull, f"/approve {name}")


def files(engine: str, *, more: str = "", main: str | None = None) -> dict[str, str | bytes | None]:
    """An experiment for an engine."""
    path = "experiments/quick"
    yaml = QUICK_FILES[f"{path}/experiment.yaml"].replace("engine: process", f"engine: {engine}")
    found: dict[str, str | bytes | None] = {**QUICK_FILES}
    if engine != "process":
        yaml += "environment: {lock: requirements.lock}\n"
        lock = ROOT / "images" / engine / "requirements.lock"
        found[f"{path}/requirements.lock"] = lock.read_text()
    if main is not None:
        found[f"{path}/main.py"] = main
    return {**found, f"{path}/experiment.yaml": yaml + more}


@pytest.mark.parametrize("engine", ["dask", "spark"])
def test_a_comment_runs_an_engine_on_two_nodes_of_aws(
    lab: CloudLab, docker: Engine, engine: str
) -> None:
    docker(engine)
    pull = lab.pull(files(engine))
    head = pull.head_sha

    asked = lab.says(lab.author, pull, "/reproduce quick cloud=aws nodes=2 spot=true memory=2GiB")
    done = approved(lab, pull, asked)

    run = submitted(lab, done)
    told = lab.answers(pull)[-1]
    assert "is being reproduced" in told
    assert "aws us-east-1, 2 nodes" in told
    assert f"/cancel {run}" in told
    assert lab.issuer.asked == ["sts.amazonaws.com"]
    assert lab.account.gate.count("sts")["AssumeRoleWithWebIdentity"] >= 1
    assert lab.reports("rpac/log") == set()

    answer = lab.last_words(pull)

    assert "reproduced: identical" in answer
    assert "| level |" in answer
    on_log = lab.reports("rpac/log")
    assert {path.rsplit("/", 1)[1] for path in on_log} >= {"report.md", "pipeline.yaml"}
    assert lab.reports("topic") == on_log
    record = json.loads(lab.of_the_log("record.json"))
    around = record["circumstances"]
    assert (around["cloud"], len(around["nodes"])) == ("aws", 2)
    assert record["outcome"]["cost_usd"] is None  # no spot price is known
    [request] = [c for c in lab.account.gate.calls if c.action == "createcomputeenvironment"]
    assert b'"type": "SPOT"' in request.body  # and so a gang: an array of jobs of one node each
    assert b"not AWS itself: a server that speaks its API" in lab.of_the_log("report.md")
    (check,) = [c for c in lab.hub.checks(head) if c.name == "rpac: quick"]
    assert check.conclusion == "success"
    after = lab.runner.upkeep()  # the store learns that the run is in the log
    assert after.clouds is not None
    assert "no runs are under way, and nothing is left over" in after.clouds.out
    assert list(lab.store.names("open/")) == []


def test_spot_with_multi_node_parallel_is_refused_with_the_reason(lab: CloudLab) -> None:
    pull = lab.pull(files("dask", more="clouds: {aws: {mode: mnp}}\n"))
    done = lab.says(lab.author, pull, "/reproduce quick cloud=aws nodes=2 spot=true")
    assert done.runs == []
    (answer,) = lab.answers(pull)
    assert "spot" in answer
    assert "mnp" in answer
    assert lab.account.gate.count() == {}


SLEEPS = """\
import json, os, pathlib, time
time.sleep(300)
"""


class TestTheRepositorysOwnCloud:
    """Where `rpac.yaml` names AWS first, a comment needs no second word."""

    @pytest.fixture
    def lab(self, hub: GitHubServer, tmp_path: Path, account: AwsStandin, issuer: Issuer,
            docker: Engine) -> CloudLab:  # fmt: skip
        docker("process")
        return CloudLab(hub, tmp_path, account, issuer, clouds="aws, local")

    def test_a_run_that_is_cancelled_is_stopped_and_released(self, lab: CloudLab) -> None:
        pull = lab.pull(files("process", main=SLEEPS))
        run = submitted(lab, lab.says(lab.author, pull, "/reproduce quick"))
        assert "is being reproduced" in lab.answers(pull)[-1]

        cancelled = lab.says(lab.author, pull, f"/cancel {run[-8:]}")

        assert cancelled.runs[0]["run"] == run
        assert cancelled.concluded[0].code in (0, 5), cancelled.concluded[0].err
        assert any("inconclusive (cancelled)" in a for a in lab.answers(pull))
        assert json.loads(lab.of_the_log("record.json"))["outcome"]["reason"] == "cancelled"

    def test_a_release_that_is_denied_alarms_until_it_succeeds(self, lab: CloudLab) -> None:
        pull = lab.pull(files("process"))
        denied = Fault("deregisterjobdefinition", 403, "AccessDeniedException", "no", times=1000)
        lab.account.gate.faults.append(denied)
        submitted(lab, lab.says(lab.author, pull, "/reproduce quick"))

        alarm = lab.until(lambda _: "WARNING" in lab.answers(pull)[-1])

        assert alarm.clouds is not None
        assert alarm.clouds.code == 5
        told = lab.answers(pull)[-1]
        assert "its machines may still be there and cost money" in told
        lab.account.gate.faults.remove(denied)
        assert "reproduced: identical" in lab.last_words(pull)

    def test_a_job_that_died_before_the_submit_is_made_up_for(self, lab: CloudLab) -> None:
        pull = lab.pull(files("process"))
        asked = lab.runner.handle(
            "issue_comment", lab.runner.said(pull, lab.author, "/reproduce quick")
        )
        (one,) = asked.runs  # and nobody comes to take it
        young = lab.runner.upkeep()
        assert young.clouds is not None
        assert f"{one['run']}: is being submitted" in young.clouds.out
        assert lab.account.gate.count()["submitjob"] == 0
        lab.runner.later_s = 2 * 3600
        assert "reproduced: identical" in lab.last_words(pull)

    def test_without_a_way_in_the_comment_says_so_and_the_run_stays_open(
        self, lab: CloudLab
    ) -> None:
        role = lab.runner.cloud.pop("RPAC_AWS_ROLE")
        pull = lab.pull(files("process"))
        done = lab.says(lab.author, pull, "/reproduce quick")
        assert lab.runner.submitted is not None
        assert lab.runner.submitted.code == 4
        assert "gh variable set RPAC_AWS_ROLE" in lab.runner.submitted.err
        told = lab.answers(pull)[-1]
        assert "left no results; the timer looks again" in told
        assert lab.account.gate.count() == {}
        lab.runner.cloud["RPAC_AWS_ROLE"] = role
        lab.issuer.status = 500
        again = lab.runner.upkeep()
        assert again.clouds is not None
        assert "GitHub gives this job no token for sts.amazonaws.com: 500" in again.clouds.err
        lab.issuer.status = 200
        lab.runner.later_s = 2 * 3600
        assert "reproduced: identical" in lab.last_words(pull)
        assert done.run in lab.answers(pull)[-1]

    def test_a_closed_pull_request_stops_its_run(self, lab: CloudLab) -> None:
        pull = lab.pull(files("process", main=SLEEPS))
        submitted(lab, lab.says(lab.author, pull, "/reproduce quick"))
        lab.hub.close(pull)
        found = lab.runner.upkeep()
        assert "told to stop, its pull request is closed" in found.look.decide.out
        assert "inconclusive (cancelled)" in lab.last_words(pull)

    def test_a_function_in_the_cloud_wakes_the_workflow(self, lab: CloudLab) -> None:
        pull = lab.pull(files("process"))
        run = submitted(lab, lab.says(lab.author, pull, "/reproduce quick"))
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
