"""
Faults of AWS, one at a time, against the stand-in: what is recorded is true, a run that can go on
does, and nothing is left over or it is listed.

No container is started: jobs of the stand-in end at once. What their nodes would have written is
written into the store by `Nodes`, and what AWS says of a job is changed on its way where a test
wants it to.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.retries import standard
from obstore.store import S3Store

from rpac_ci import api, open_runs
from rpac_ci import driver as run_driver
from rpac_ci.clouds.aws import batch_jobs, driver
from rpac_ci.clouds.aws.board import JobBoard
from rpac_ci.clouds.aws.plan import AwsPlanner
from rpac_ci.clouds.aws.requests import NAME, RUN
from rpac_ci.driver import RunDriver
from rpac_ci.jobs import Keys, content_key
from rpac_ci.storage import Storage
from rpac_ci.workspace import Workspace
from tests.conftest import QUICK, WriteExperiment, campaign, git
from tests.integration.conftest import Answer, Terminal
from tests.standins import aws
from tests.standins.aftermath import ended, records
from tests.standins.aws import AwsStandin, Call, Fault
from tests.standins.aws_nodes import Nodes
from tests.standins.faults import Faults, end_all, start

pytestmark = pytest.mark.slow  # a second or two each, and there are many

IMAGE = "registry.example.org/lab/quick@sha256:" + "5" * 64
FOREVER = 10**6
REPRODUCED, COULD_NOT_RUN = "reproduced: identical", "could not run"

# what a first run asks AWS, by the right that it needs; a later run finds the shape there
SHAPE = ("DescribeComputeEnvironments", "CreateComputeEnvironment", "CreateJobQueue")
ASKED = (
    "DescribeJobQueues", *SHAPE, "ListJobs", "RegisterJobDefinition", "SubmitJob", "DescribeJobs",
    "DescribeJobDefinitions", "DeregisterJobDefinition",
)  # fmt: skip
CHANGING = (
    "CreateComputeEnvironment", "CreateJobQueue", "RegisterJobDefinition", "SubmitJob",
    "DeregisterJobDefinition",
)  # fmt: skip


def tagged(account: AwsStandin, name: str | None = None) -> set[str]:
    """What AWS has of runs by its tags, and asked past rpac: active definitions and open jobs."""
    batch = account.client("batch")
    queues = [one["jobQueueName"] for one in batch.describe_job_queues()["jobQueues"]]
    jobs = [
        job["jobId"]
        for queue in queues
        for status in batch_jobs.OPEN
        for job in batch.list_jobs(jobQueue=queue, jobStatus=status)["jobSummaryList"]
    ]
    described = batch.describe_jobs(jobs=jobs)["jobs"] if jobs else []
    definitions = batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]
    found = [
        *((f"job {job['jobId']}", job["tags"]) for job in described),
        *((f"job definition {one['jobDefinitionArn']}", one["tags"]) for one in definitions),
    ]
    return {what for what, tags in found if RUN in tags and name in (None, tags[NAME])}


def nightly(*values: Any) -> Any:
    """A row of a table whose neighbours say nearly the same."""
    return pytest.param(*values, marks=pytest.mark.nightly)


# --- the stand-in, and nodes that only write what nodes write -------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStandin]:
    """One server for all tests; each has a name and a store of its own."""
    with aws.serve(tmp_path_factory.mktemp("aws"), docker=False) as standin:
        yield standin
        assert tagged(standin) == set(), "of any run of all these tests"


@pytest.fixture
def account(server: AwsStandin, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsStandin]:
    """An account in which nothing has happened yet; SDKs try again without waiting."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda _, __: 0.01)
    gate, name = server.gate, f"lab{secrets.token_hex(4)}"
    gate.calls.clear()
    gate.faults.clear()
    gate.before = gate.after = lambda _: None
    gate.rewrite = lambda _, said: said
    yield replace(server, site={**server.site, "name": name, "store": f"s3://{aws.BUCKET}/{name}"})
    driver._shared.cache_clear()
    end_all()


@pytest.fixture
def nodes(account: AwsStandin) -> Nodes:
    """Nodes that reach the store whatever becomes of drivers."""
    store = S3Store.from_url(
        account.site["store"], region=aws.REGION, access_key_id="node", secret_access_key="secret",
        endpoint=f"http://127.0.0.1:{account.gate.backend}", client_options={"allow_http": True},
    )  # fmt: skip
    found = Nodes(Storage(account.site["store"], backend=store))
    account.gate.after = found.hear
    return found


@dataclass
class Lab:
    """A repository with the quick experiment, and the account that it uses."""

    rpac: Terminal
    account: AwsStandin
    nodes: Nodes
    base: str  # commit before any run

    def fails(
        self, action: str, times: int = 1, *, code: str = "ThrottlingException", **how: Any
    ) -> None:
        """What goes wrong from now on."""
        # paths of AWS Batch are in lower case
        named = action if action in ("GetLogEvents", "PUT") else action.lower()
        self.account.gate.faults.append(Fault(named, code=code, times=times, **how))

    def denies(self, action: str) -> None:
        """A right is missing, until `mend`."""
        user = "arn:aws:sts::123456789012:assumed-role/rpac-driver/ci"
        says = f"User: {user} is not authorized to perform: batch:{action}"
        self.fails(action, FOREVER, code="AccessDeniedException", status=403, message=says)

    def mend(self) -> None:
        """All is well again."""
        self.account.gate.faults.clear()
        self.account.gate.rewrite = lambda _, said: said

    def reproduce(self) -> Answer:
        """A run from its start as far as it gets."""
        return self.rpac("reproduce", "quick", "cloud=aws")

    def advance(self) -> Answer:
        """The next driver."""
        return self.rpac("advance", "--all")

    def asked(self, action: str) -> int:
        """How often."""
        return self.account.gate.count()[action.lower()]

    def sweep(self) -> str:
        """What is left over, by the account of a person's own command."""
        return self.rpac("sweep", "--dry-run").out.strip()

    def is_over(self, outcome: str) -> dict[str, Any]:
        """One run is in the log with this outcome, and nothing of it is left; its record."""
        [record] = records(self.rpac.root)
        assert record["verdict"]["outcome"] == outcome, record["outcome"]
        subjects = git(self.rpac.root, "log", "--format=%s", f"{self.base}..HEAD").splitlines()
        assert len(subjects) == 1, subjects
        assert self.sweep() == "nothing is left over"
        assert self.advance().out == "no open runs\n"
        self.account_is_empty()
        return record

    def account_is_empty(self) -> None:
        """AWS itself, asked past rpac."""
        assert tagged(self.account, self.account.site["name"]) == set()

    def all_is_listed(self) -> None:
        """Whatever the story was: sweep finds nothing, or exactly what is left."""
        self.mend()
        gate = self.account.gate
        gate.before, gate.after = (lambda _: None), self.nodes.hear
        swept = self.rpac("sweep", "--dry-run", "--json")
        assert swept.code == 0, swept.err
        listed = {item["what"] for item in swept.json}
        left = {what for what in listed if what.startswith("job")}
        assert left == tagged(self.account, self.account.site["name"])
        runs = {item["run"] for item in swept.json if item["run"]}
        assert set(open_runs.names(Workspace.open(self.rpac.root))) <= runs

    def stays_open(self, answer: Answer) -> str:
        """The command says that the run goes on later; returns the run."""
        [run] = open_runs.names(Workspace.open(self.rpac.root))
        assert answer.code == 5, answer.out + answer.err
        assert f"rpac advance {run}" in answer.err
        assert records(self.rpac.root) == []
        return run


@pytest.fixture
def lab(
    rpac: Terminal, account: AwsStandin, nodes: Nodes, write_experiment: WriteExperiment
) -> Iterator[Lab]:
    (rpac.root / "rpac.yaml").write_text(account.settings())
    git(rpac.root, "add", "rpac.yaml")
    write_experiment(yaml=QUICK.format(name="quick") + f"environment: {{image: '{IMAGE}'}}\n")
    git(rpac.root, "commit", "--quiet", "--allow-empty", "--message", "settings")
    made = Lab(rpac, account, nodes, git(rpac.root, "rev-parse", "HEAD"))
    yield made
    made.all_is_listed()


def test_without_a_fault(lab: Lab) -> None:
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    record = lab.is_over(REPRODUCED)
    assert len(record["circumstances"]["nodes"]) == 1
    assert len(lab.nodes.jobs) == 1
    assert [action for action in ASKED if not lab.asked(action)] == [], "the tables are complete"


# --- a call fails, and a later one does not -------------------------------------------------------

PASSING: dict[str, dict[str, Any]] = {
    "throttled once": {},
    "throttled three times": {"times": 3},
    "an error of the server": {"code": "ServerException", "status": 500},
    "the connection is cut": {"hang_s": 0.01},
}
LOST: dict[str, dict[str, Any]] = {
    "done, answered with an error": {"code": "ServerException", "status": 502, "after": True},
    "done, and the connection is cut": {"hang_s": 0.01, "after": True},
}


@pytest.mark.parametrize("how", PASSING)
def test_calls_that_fail_for_a_moment_change_nothing(lab: Lab, how: str) -> None:
    """Each of them, in one run."""
    for action in (*ASKED, "GetLogEvents"):
        lab.fails(action, **PASSING[how])
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    lab.is_over(REPRODUCED)
    assert len(lab.nodes.jobs) == 1
    assert lab.account.gate.faults == [], "all were asked"


@pytest.mark.parametrize("how", LOST)
def test_what_was_done_before_the_answer_got_lost_is_not_done_again(lab: Lab, how: str) -> None:
    for action in CHANGING:
        lab.fails(action, **LOST[how])
    done = lab.reproduce()
    assert done.code == 0, done.out + done.err
    lab.is_over(REPRODUCED)
    assert len(lab.nodes.jobs) == 1, "one job"
    assert lab.account.gate.faults == []


@pytest.mark.nightly
@pytest.mark.parametrize("how", [*PASSING, *LOST])
@pytest.mark.parametrize("action", [*ASKED, "GetLogEvents"])
def test_each_call_that_fails_by_itself(lab: Lab, action: str, how: str) -> None:
    lab.fails(action, **{**PASSING, **LOST}[how])
    assert lab.reproduce().code == 0
    lab.is_over(REPRODUCED)
    assert len(lab.nodes.jobs) == 1
    assert lab.account.gate.faults == []


def test_a_cloud_that_throttles_for_long_leaves_the_run_open(lab: Lab) -> None:
    lab.fails("DescribeJobs", FOREVER)
    answer = lab.reproduce()
    lab.stays_open(answer)
    assert "ThrottlingException" in answer.err
    lab.mend()
    assert lab.advance().code == 0
    lab.is_over(REPRODUCED)


# --- credentials and rights -----------------------------------------------------------------------


@pytest.mark.parametrize("calls", [4, 8, 10, *map(nightly, (0, 1, 2, 3, 5, 6, 7, 9, 11))])
def test_credentials_that_expire_half_way_leave_the_run_to_whoever_signs_in(
    lab: Lab, calls: int
) -> None:
    lab.fails("*", FOREVER, code="ExpiredTokenException", status=403, skip=calls)
    answer = lab.reproduce()
    if answer.code == 0:
        pytest.skip(f"a run has no more than {calls} calls")
    lab.stays_open(answer)
    assert "aws sso login" in answer.err
    assert answer.err.count("rpac: ") == 1, "one clear error"
    lab.mend()
    again = lab.advance()
    assert again.code == 0, again.out + again.err
    lab.is_over(REPRODUCED)
    assert len(lab.nodes.jobs) == 1


@pytest.mark.parametrize("requests", [30, *map(nightly, (6, 12, 18, 24, 36))])
def test_credentials_that_expire_for_the_store_too(lab: Lab, requests: int) -> None:
    lab.fails("**", FOREVER, code="ExpiredToken", status=400, skip=requests)
    answer = ended(start(lab.rpac.root, "reproduce", "quick", "cloud=aws"))
    assert answer.returncode == 5, answer.stdout + answer.stderr
    assert "ExpiredToken" in answer.stderr
    lab.mend()
    again = lab.advance()
    assert again.code == 0, again.out + again.err
    lab.is_over(REPRODUCED)
    assert len(lab.nodes.jobs) == 1


@pytest.mark.parametrize(
    "action", campaign(["DescribeJobQueues", *SHAPE, "RegisterJobDefinition", "SubmitJob"], every=2)
)
def test_a_right_that_is_missing_before_the_job_ends_the_run(lab: Lab, action: str) -> None:
    lab.denies(action)
    answer = lab.reproduce()
    assert answer.code == 5, answer.out + answer.err
    lab.mend()  # sweep needs some of these rights, too
    record = lab.is_over(COULD_NOT_RUN)
    assert f"batch:{action}" in record["outcome"]["message"]
    assert "rpac doctor aws" in record["outcome"]["hint"]
    assert f"batch:{action}" in answer.out + answer.err
    assert lab.nodes.jobs == []


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ("ListJobs", COULD_NOT_RUN),
        ("DescribeJobs", REPRODUCED),
        ("DescribeJobDefinitions", REPRODUCED),
        ("DeregisterJobDefinition", REPRODUCED),
    ],
)
def test_a_right_that_is_missing_for_the_release_is_told_and_the_run_stays_open(
    lab: Lab, action: str, outcome: str
) -> None:
    lab.denies(action)
    answer = lab.reproduce()
    run = lab.stays_open(answer)
    assert f"batch:{action}" in answer.err
    assert "rpac doctor aws" in answer.err
    if action == "DeregisterJobDefinition":
        left = f"rpac advance {run} ends it"
        assert left in lab.sweep()
        assert "job definition" in lab.sweep()
    lab.mend()
    if action != "ListJobs":
        assert run in lab.sweep(), "it is on the list"
    assert lab.advance().code == 0
    lab.is_over(outcome)


def test_logs_that_may_not_be_read_are_no_reason_to_lose_a_run(lab: Lab) -> None:
    lab.denies("GetLogEvents")
    assert lab.reproduce().code == 0
    lab.is_over(REPRODUCED)


def test_a_bucket_that_denies_writes_starts_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.fails("PUT", FOREVER, code="AccessDenied", status=403, path="/control/")
    answer = lab.reproduce()
    assert answer.code == 5
    assert "control/" in answer.err
    assert "rpac doctor aws" in answer.err
    assert lab.account.gate.count() == {}, "AWS Batch was not asked for anything"
    [run] = open_runs.names(Workspace.open(lab.rpac.root))
    assert run in lab.sweep()
    lab.mend()
    monkeypatch.setattr(open_runs, "LEASE_S", 0)
    assert "never started, forgotten" in lab.advance().out
    assert lab.sweep() == "nothing is left over"


# --- AWS and the nodes do not agree, or AWS does not know -----------------------------------------


def says(lab: Lab, **about: Any) -> None:
    """What AWS says of every job from now on."""

    def rewrite(call: Call, answer: Any) -> Any:
        if call.action == "describejobs":
            answer["jobs"] = [{**job, **about} for job in answer["jobs"]]
        return answer

    lab.account.gate.rewrite = rewrite


@pytest.mark.parametrize(
    "reason",
    [
        "Host EC2 (instance i-0123456789abcdef0) terminated.",
        "Canceled by JobStateTimeLimit action due to reason: "
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    ],
    ids=["spot reclaim", "the queue gives up"],
)
def test_a_job_that_fails_without_a_result_could_not_run(lab: Lab, reason: str) -> None:
    lab.nodes.work = False
    says(lab, status="FAILED", statusReason=reason)
    answer = lab.reproduce()
    assert answer.code == 5
    record = lab.is_over(COULD_NOT_RUN)
    assert reason in record["outcome"]["message"]
    assert reason in answer.out + answer.err


def test_a_result_is_kept_when_aws_calls_the_job_failed(lab: Lab) -> None:
    reason = "Host EC2 (instance i-0123456789abcdef0) terminated."
    says(lab, status="FAILED", statusReason=reason)
    assert lab.reproduce().code == 0
    record = lab.is_over(REPRODUCED)
    [_, remark] = record["circumstances"]["remarks"]
    assert remark == f"the cloud calls the job failed ({reason}), though its result is complete"
    assert "though its result is complete" in lab.rpac("show", record["run"]).out


def test_a_job_that_succeeds_without_a_result_could_not_run(lab: Lab) -> None:
    lab.nodes.work = False
    assert lab.reproduce().code == 5
    record = lab.is_over(COULD_NOT_RUN)
    assert "ended without a result" in record["outcome"]["message"]


def forgets(lab: Lab, looks: int) -> None:
    """AWS does not know any job in so many answers."""
    left = iter(range(looks))

    def rewrite(call: Call, answer: Any) -> Any:
        if call.action == "describejobs" and next(left, None) is not None:
            answer["jobs"] = []
        return answer

    lab.account.gate.rewrite = rewrite


def test_a_job_that_aws_does_not_know_yet_is_awaited(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "JobBoard", partial(JobBoard, fresh_s=0.0))
    forgets(lab, 3)
    assert lab.reproduce().code == 0
    lab.is_over(REPRODUCED)


@pytest.mark.parametrize("work", [True, False])
def test_a_job_that_aws_has_forgotten_is_judged_by_its_result(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, work: bool
) -> None:
    monkeypatch.setattr(driver, "SETTLED_S", 0.0)
    lab.nodes.work = work
    forgets(lab, FOREVER)
    assert lab.reproduce().code == (0 if work else 5)
    record = lab.is_over(REPRODUCED if work else COULD_NOT_RUN)
    if not work:
        assert "AWS Batch does not know the job" in record["outcome"]["message"]


def test_a_definition_that_is_swept_away_under_a_submit_is_made_again(lab: Lab) -> None:
    """The refusal comes from the gate: moto starts jobs of definitions that are gone, too."""
    lab.fails("SubmitJob", code="ClientException", message="JobDefinition does not exist")
    batch, done = lab.account.client("batch"), list[Call]()

    def before(call: Call) -> None:
        if call.action == "submitjob" and not done:
            done.append(call)
            name = json.loads(call.body)["jobDefinition"]
            batch.deregister_job_definition(jobDefinition=f"{name}:1")

    lab.account.gate.before = before
    answer = lab.reproduce()
    assert answer.code == 0, answer.out + answer.err
    assert lab.asked("RegisterJobDefinition") == 2
    assert lab.asked("SubmitJob") == 2
    assert len(lab.nodes.jobs) == 1
    lab.is_over(REPRODUCED)


# --- no machines ----------------------------------------------------------------------------------


class Waiting:
    """Jobs stay RUNNABLE until they are terminated."""

    def __init__(self, lab: Lab) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.ended: set[str] = set()
        lab.account.gate.rewrite = self.rewrite
        lab.nodes.work = False

    def rewrite(self, call: Call, answer: Any) -> Any:
        asked = json.loads(call.body or b"{}")
        if call.action == "submitjob":
            self.jobs[answer["jobId"]] = {**answer, "createdAt": int(time.time() * 1000)}
        elif call.action == "terminatejob":
            self.ended.add(asked["jobId"])
        elif call.action == "describejobs":
            answer["jobs"] = [{**job, **self._state(job["jobId"])} for job in answer["jobs"]]
        elif call.action == "listjobs" and asked.get("jobStatus") == "RUNNABLE":
            waiting = [job for name, job in self.jobs.items() if name not in self.ended]
            answer["jobSummaryList"] = waiting
        return answer

    def _state(self, job: str) -> dict[str, str]:
        if job in self.ended:
            return {"status": "FAILED", "statusReason": "ended by a person"}
        return {"status": "RUNNABLE", "statusReason": "MISCONFIGURATION: undetermined"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for machines, and a short look at the clock."""
    quick = replace(AwsPlanner.capabilities, queue_s=0.5, poll_s=0.05)
    monkeypatch.setattr(AwsPlanner, "capabilities", quick)
    monkeypatch.setattr(run_driver, "CLOCK_S", 0.1)


@pytest.mark.usefixtures("impatient")
def test_machines_that_never_come_are_not_awaited_for_ever(lab: Lab) -> None:
    waiting = Waiting(lab)
    assert lab.reproduce().code == 5
    record = lab.is_over(COULD_NOT_RUN)
    message = record["outcome"]["message"]
    assert message.startswith("no machines came within")
    assert message.endswith("MISCONFIGURATION: undetermined")
    assert set(waiting.jobs) == waiting.ended


@pytest.mark.usefixtures("impatient")
def test_a_job_that_may_not_be_terminated_keeps_the_run_open_and_on_the_list(lab: Lab) -> None:
    waiting = Waiting(lab)
    lab.denies("TerminateJob")
    answer = lab.reproduce()
    run = lab.stays_open(answer)
    assert "batch:TerminateJob" in answer.err
    assert "rpac doctor aws" in answer.err
    [job] = waiting.jobs
    assert f"job {job}" in lab.sweep()
    assert f"rpac advance {run}" in lab.sweep()
    lab.account.gate.faults.clear()
    assert lab.advance().code == 0
    lab.is_over(COULD_NOT_RUN)
    assert waiting.ended == {job}


# --- several drivers, dead drivers, drivers with other clocks -------------------------------------


def test_two_drivers_at_once_make_one_job(lab: Lab) -> None:
    workspace = Workspace.open(lab.rpac.root)
    planned = api.plan("quick", ["cloud=aws"], repository=lab.rpac.root)
    run = open_runs.start(workspace, planned, request={"via": "cli"}).run
    drivers = [RunDriver(workspace.on("aws"), run) for _ in range(2)]
    threads = [threading.Thread(target=one.drive) for one in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert lab.asked("SubmitJob") == 1
    assert lab.advance().code == 0
    lab.is_over(REPRODUCED)


def killed(
    lab: Lab, when: str, action: str, *, path: str = "", faults: Faults | None = None
) -> None:
    """A driver that is killed (SIGKILL) before AWS hears of a call, or before it hears AWS."""
    gate, process = lab.account.gate, start(lab.rpac.root, "reproduce", "quick", "cloud=aws",
                                            faults=faults)  # fmt: skip

    def strike(call: Call) -> None:
        if call.action.lower() == action.lower() and path in call.path:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def after(call: Call) -> None:
        lab.nodes.hear(call)
        if when == "after":
            strike(call)

    gate.before, gate.after = (strike if when == "before" else lambda _: None), after
    answer = ended(process)
    assert answer.returncode == -signal.SIGKILL, answer.stdout + answer.stderr
    gate.before, gate.after = lambda _: None, lab.nodes.hear


@pytest.mark.parametrize(
    ("when", "action"),
    [
        ("after", "CreateJobQueue"),
        ("after", "RegisterJobDefinition"),
        ("after", "SubmitJob"),
        ("after", "DeregisterJobDefinition"),
        ("before", "SubmitJob"),
        *(nightly("after", action) for action in ASKED),
        *(nightly("before", action) for action in CHANGING),
    ],
)
def test_a_killed_driver_is_followed_by_another(lab: Lab, when: str, action: str) -> None:
    killed(lab, when, action)
    again = lab.advance()
    assert again.code == 0, again.out + again.err
    lab.is_over(REPRODUCED)
    assert len(lab.nodes.jobs) == 1


def test_a_large_input_that_was_half_sent_is_sent_again(
    lab: Lab, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    """What is half there is no object; the bucket's own rule forgets it after a week."""
    content = bytes(range(256)) * (17 * 2**12)  # 17 MiB, sent in two parts
    (tmp_path / "levels.bin").write_bytes(content)
    pinned = hashlib.sha256(content).hexdigest()
    yaml = (
        QUICK.format(name="quick") + f"environment: {{image: '{IMAGE}'}}\n"
        f"data: {{levels: {{uri: 'file://{tmp_path}/levels.bin', sha256: {pinned}}}}}\n"
    )
    write_experiment(yaml=yaml)
    lab.base = git(lab.rpac.root, "rev-parse", "HEAD")
    killed(lab, "before", "PUT", path="partNumber=2")
    s3, key = lab.account.client("s3"), lab.nodes.storage.url.rpartition("/")[2]
    [half] = s3.list_multipart_uploads(Bucket=aws.BUCKET, Prefix=f"{key}/")["Uploads"]
    assert pinned in half["Key"]

    again = lab.advance()

    assert again.code == 0, again.out + again.err
    lab.is_over(REPRODUCED)
    assert lab.nodes.storage.get(content_key(pinned)) == content
    s3.abort_multipart_upload(Bucket=aws.BUCKET, Key=half["Key"], UploadId=half["UploadId"])


@pytest.mark.parametrize("ahead_s", [-600.0, 600.0])
def test_a_driver_whose_clock_is_ten_minutes_off(
    lab: Lab, ahead_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "JobBoard", partial(JobBoard, fresh_s=0.0))
    killed(lab, "after", "SubmitJob", faults=Faults(clock_s=ahead_s))
    forgets(lab, 3)  # taken for lost by who believes that the job is ten minutes old
    again = lab.advance()
    assert again.code == 0, again.out + again.err
    record = lab.is_over(REPRODUCED)
    assert min(phase["duration_s"] for phase in record["circumstances"]["phases"]) >= 0
    assert len(lab.nodes.jobs) == 1


def test_a_list_that_comes_behind_makes_a_second_job_that_is_ended(lab: Lab) -> None:
    """The second driver does not see the first one's job, which AWS lists a moment later."""
    killed(lab, "after", "SubmitJob")
    left = iter(range(1))

    def rewrite(call: Call, answer: Any) -> Any:
        if call.action == "listjobs" and next(left, None) is not None:
            answer["jobSummaryList"] = []
        return answer

    lab.account.gate.rewrite = rewrite
    assert lab.advance().code == 0
    lab.is_over(REPRODUCED)
    assert len(lab.nodes.jobs) == 2, "but one node got to do something"


# --- what is left --------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_driver_that_never_comes_back_leaves_what_is_listed_and_then_swept(lab: Lab) -> None:
    """Killed behind its submit, its definition there and its job waiting; then its run is lost."""
    waiting = Waiting(lab)
    killed(lab, "after", "SubmitJob")
    [run] = open_runs.names(Workspace.open(lab.rpac.root))
    [definition] = tagged(lab.account, lab.account.site["name"])
    assert lab.sweep().splitlines() == [
        f"{run}: job {job}: kept: the run is open, rpac advance {run} ends it"
        for job in waiting.jobs
    ] + [f"{run}: {definition}: kept: the run is open, rpac advance {run} ends it"]
    lab.nodes.storage.delete(Keys(run).open)  # somebody has emptied the bucket
    swept = lab.rpac("sweep")
    assert swept.code == 0, swept.err
    assert [line.rpartition(": ")[2] for line in swept.out.splitlines()] == ["removed", "removed"]
    assert lab.sweep() == "nothing is left over"
    lab.account_is_empty()


# --- requests -------------------------------------------------------------------------------------


def test_a_run_on_a_known_shape_needs_few_requests(lab: Lab) -> None:
    assert lab.reproduce().code == 0
    before = lab.account.gate.count()
    assert lab.reproduce().code == 0
    asked = lab.account.gate.count() - before
    asked.pop("describejobs")
    assert sum(asked.values()) <= 15, asked
    assert sum(asked.values()) == 9, asked  # told here, so that one more is a decision


def test_a_run_needs_few_requests_to_its_store(lab: Lab) -> None:
    """Each costs money and waits for its answer; listings cost as much as writing does."""
    assert lab.reproduce().code == 0
    lab.account.gate.calls.clear()
    assert lab.reproduce().code == 0
    asked = [call for call in lab.account.gate.calls if call.service == "s3"]
    listings = [call.path for call in asked if "list-type" in call.path]
    assert len(listings) <= 2, listings
    assert len(asked) <= 36, [f"{call.action} {call.path}" for call in asked]


def test_the_runs_of_a_study_are_looked_at_together(lab: Lab) -> None:
    assert lab.reproduce().code == 0
    before = lab.account.gate.count()
    done = lab.rpac("reproduce", "quick", "cloud=aws", "repeat=10")
    assert done.code == 0, done.out + done.err
    asked = lab.account.gate.count() - before
    looks = asked.pop("describejobs")
    assert sum(asked.values()) <= 10 * 15, asked
    assert looks <= 10 * 4, "a first look, the release and the log of each"
    assert lab.sweep() == "nothing is left over"


def test_the_runs_of_a_study_wait_for_aws_side_by_side(lab: Lab) -> None:
    """No request of these kinds is answered before those of all the others are there."""
    assert lab.reproduce().code == 0
    runs = 8
    meetings = {
        "made": threading.Barrier(runs - 1),  # the first alone, since it brings the code
        "submitted": threading.Barrier(runs),
        "committed": threading.Barrier(runs),
    }
    made = itertools.count()

    def meet(call: Call) -> None:
        first = "/open/" in call.path and call.action == "PUT"
        if first and next(made):
            meetings["made"].wait(60)
        if call.action == "submitjob":
            meetings["submitted"].wait(60)
        if call.action == "PUT" and b'"kind":"committed"' in call.body:
            meetings["committed"].wait(60)

    lab.account.gate.calls.clear()
    lab.account.gate.before = meet
    done = lab.rpac("reproduce", "quick", "cloud=aws", f"repeat={runs}")
    assert done.code == 0, done.out + done.err
    assert [name for name, meeting in meetings.items() if meeting.broken] == []
    sent = [c for c in lab.account.gate.calls if c.action == "PUT" and "/content/" in c.path]
    assert sent == [], "the first run has brought the code"
    assert len(records(lab.rpac.root)) == 1 + runs
