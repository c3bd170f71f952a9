"""
The function on AWS from a detached run to its release, against a stand-in for AWS without
containers: moto's jobs end at once and do nothing, and what nodes would do is done by the node
program itself, as a process of this machine with exactly the job's variables.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rpac_ci import clouds
from rpac_ci.clouds.aws import driver
from rpac_ci.errors import CloudError
from rpac_ci.functions import aws_lambda, notices
from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage
from rpac_ci.workspace import Workspace
from tests.conftest import QUICK, QUICK_MAIN, WriteExperiment, git
from tests.integration.conftest import Answer, Terminal
from tests.standins import aws
from tests.standins.aws import AwsStandin, Fault
from tests.standins.github import GitHubServer
from tests.standins.pythons import another, run_apart
from tests.standins.waiting import until
from tests.unit.test_aws_lambda import batch, stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TIMER = {"source": "rpac.timer"}
IMAGE = "registry.example/lab/process@sha256:" + "0" * 64
TOKEN_NAME = "/rpac/rpaclab/github-token"


class Context:
    """A call of the function with time to go on."""

    def __init__(self, left_s: float = 600) -> None:
        self._end = time.monotonic() + left_s

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * (self._end - time.monotonic()))


def wake(event: object = TIMER, left_s: float = 600) -> dict[str, str]:
    return aws_lambda.handler(event, Context(left_s))


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsStandin]:
    with aws.serve(tmp_path, docker=False, repository="registry.example/lab") as standin:
        for name, value in standin.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RPAC_SITE", json.dumps(dict(standin.site)))
        yield standin
        driver._shared.cache_clear()  # its server is gone


@pytest.fixture
def lab(rpac: Terminal, account: AwsStandin, write_experiment: WriteExperiment) -> Terminal:
    """A repository whose settings name the account, with an experiment."""
    (rpac.root / "rpac.yaml").write_text(account.settings())
    git(rpac.root, "add", "rpac.yaml")
    git(rpac.root, "commit", "--quiet", "--message", "settings")
    text = QUICK.format(name="quick") + f"environment: {{image: '{IMAGE}'}}\n"
    write_experiment("quick", text, {"main.py": QUICK_MAIN})
    return rpac


@pytest.fixture
def github(
    tmp_path: Path, account: AwsStandin, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GitHubServer]:
    """GitHub, and a token for it where the function looks."""
    root = tmp_path / "github"
    root.mkdir()
    with GitHubServer(root) as hub:
        token = hub.token({"contents": "write"})
        account.client("ssm").put_parameter(Name=TOKEN_NAME, Value=token, Type="SecureString")
        monkeypatch.setenv("RPAC_GITHUB_TOKEN_PARAMETER", TOKEN_NAME)
        monkeypatch.setenv("RPAC_GITHUB_REPOSITORY", "lab/experiments")
        monkeypatch.setenv("GITHUB_API_URL", hub.api_url)
        yield hub


def submit(lab: Terminal, *words: str) -> str:
    done = lab("reproduce", "quick", "cloud=aws", *words, "--detach", "--json")
    assert done.code == 0, done.out + done.err
    assert done.json["detached"] is True
    return str(done.json["run"])


def act_as_nodes(account: AwsStandin, run: str, folder: Path) -> None:
    """The node program to its end, with the variables of the run's job."""
    [made] = account.client("batch").describe_job_definitions(
        jobDefinitionName=f"rpaclab-{run}-1", status="ACTIVE"
    )["jobDefinitions"]
    folder.mkdir()
    given = {one["name"]: one["value"] for one in made["containerProperties"]["environment"]}
    done = subprocess.run(
        [sys.executable, "-m", "rpac_ci.node"],
        env={"PATH": os.environ["PATH"], **account.environment, **given,
             "RPAC_SCRATCH": str(folder), "RPAC_CACHE": str(folder / "cache")},
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def store(account: AwsStandin) -> Storage:
    return Storage(account.site["store"], region=aws.REGION)


def steps(account: AwsStandin, run: str) -> Counter[str]:
    """How often each step was done."""
    from rpac_ci.events import EventLog, Kind

    events = EventLog(store(account), run).read()
    return Counter(event.body["step"] for event in events if event.kind is Kind.DONE)


ONCE = Counter(["stage", "provision", "submit", "watch", "collect", "release"])


def nothing_left(lab: Terminal) -> None:
    place = Workspace.open(lab.root).on("aws")
    assert clouds.load("aws", place).leftovers() == []
    assert lab("sweep").out.strip() == "nothing is left over"
    assert list(place.storage.names("open/")) == []
    assert [name for name in place.storage.names("notices/") if name != "clock"] == []
    assert [e.key for e in place.storage.list("runs/") if e.key.endswith("/secret")] == []


def concluded(lab: Terminal, run: str) -> Answer:
    """`rpac advance` on a machine with a checkout."""
    done = lab("advance", run)
    assert f"Rpac-Run: {run}" in git(lab.root, "log", "-1", "--format=%B", "rpac/log")
    assert f"Rpac-Run: {run}" in git(lab.root, "log", "-1", "--format=%B")
    return done


def dispatched(hub: GitHubServer) -> list[Any]:
    return [(one.target, one.payload) for one in hub.main.dispatches]


def test_a_detached_run_is_released_by_the_function_and_concluded_elsewhere(
    lab: Terminal, account: AwsStandin, github: GitHubServer, tmp_path: Path
) -> None:
    run = submit(lab)
    assert "watch" in lab("status").out
    act_as_nodes(account, run, tmp_path / "node")

    assert wake(stored(f"runs/{run}/attempt/1/done")) == {run: "released"}

    assert steps(account, run) == ONCE
    payload = {"run": run, "cloud": "aws", "status": "completed"}
    assert dispatched(github) == [("rpac-run-released", payload)]
    assert "to be recorded" in lab("status").out
    assert concluded(lab, run).code == 0
    record = lab.record(run)
    assert record["verdict"]["outcome"] == "reproduced: identical"
    assert "not AWS itself" in lab("show", run).out
    nothing_left(lab)
    assert wake() == {}


def test_what_was_said_when_it_was_left(lab: Terminal) -> None:
    done = lab("reproduce", "quick", "cloud=aws", "--detach")
    assert done.code == 0, done.err
    run = done.out.split()[0]
    assert f"rpac advance {run}" in done.out
    refused = lab("reproduce", "quick", "cloud=aws", "repeat=2", "--detach")
    assert refused.code == 2
    assert "leave out --detach" in refused.err


def test_events_repeated_out_of_order_and_about_nothing(
    lab: Terminal, account: AwsStandin, github: GitHubServer, tmp_path: Path
) -> None:
    first, second = submit(lab), submit(lab)
    act_as_nodes(account, first, tmp_path / "node")
    events = [
        batch(f"rpaclab-{first}-1"), stored(f"runs/{first}/attempt/1/done"),
        batch("rpaclab-20200102T030405Z-0a1b2c3d-1"), stored(f"runs/{first}/notices/x.json"),
    ]  # fmt: skip
    answers = [wake(event) for event in [*events[:1] * 10, *reversed(events), *events]]
    assert {status for answer in answers for status in answer.values()} == {"released"}
    assert steps(account, first) == ONCE
    assert steps(account, second) == Counter(["stage", "provision", "submit"]), "not meant"

    # the second's events are lost: the timer heals it, and its job has left no result
    for _ in range(3):
        assert wake() == {first: "released", second: "released"}
    assert steps(account, second) == ONCE
    assert sorted(payload["run"] for _, payload in dispatched(github)) == sorted([first, second])
    assert concluded(lab, first).code == 0
    assert concluded(lab, second).code == 5
    assert lab.record(second)["verdict"]["outcome"] == "could not run"
    nothing_left(lab)


def test_two_at_once(
    lab: Terminal, account: AwsStandin, github: GitHubServer, tmp_path: Path
) -> None:
    run = submit(lab)
    act_as_nodes(account, run, tmp_path / "node")
    answers: list[dict[str, str]] = []
    threads = [threading.Thread(target=lambda: answers.append(wake())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert any(answer == {run: "released"} for answer in answers)
    assert steps(account, run) == ONCE
    assert len(dispatched(github)) == 1
    assert concluded(lab, run).code == 0
    nothing_left(lab)


def test_a_job_that_goes_on_is_left_alone_until_somebody_cancels_it(
    lab: Terminal, account: AwsStandin
) -> None:
    lab_run = submit(lab)
    account.gate.holding = True
    assert wake(batch(f"rpaclab-{lab_run}-1", "Batch Job Queue Blocked")) == {lab_run: "running"}
    assert wake() == {lab_run: "running"}
    assert wake(left_s=20) == {lab_run: "no time left"}
    assert account.gate.count()["terminatejob"] == 0

    # a request to cancel: the nodes keep silent, so the job is terminated
    assert lab("cancel", lab_run).code == 0

    def released() -> bool:
        answer = wake(stored(f"runs/{lab_run}/cancel.json"))
        assert answer in ({lab_run: "running"}, {lab_run: "released"})
        return answer == {lab_run: "released"}

    until(released, limit_s=100)
    assert account.gate.count()["terminatejob"] == 1
    assert concluded(lab, lab_run).code == 130
    nothing_left(lab)


def test_a_run_before_its_submit_is_left_alone(lab: Terminal, account: AwsStandin) -> None:
    account.gate.faults.append(Fault("submitjob", status=403, hang_s=20))
    started = lab.start("reproduce", "quick", "cloud=aws", "--detach")
    try:
        until(lambda: account.gate.count()["submitjob"], limit_s=60)
    finally:
        started.kill()
        started.communicate()
    [run] = store(account).names("open/")
    before = account.gate.count()
    answer = wake()
    assert answer in (
        {run: "another driver is at submit"},
        {run: "submit is left to a driver with a checkout"},
    )
    assert account.gate.count() == before
    assert concluded(lab, run).code == 5
    nothing_left(lab)


def test_a_run_that_is_just_being_made_is_left_alone(account: AwsStandin) -> None:
    store(account).put("open/20260102T030405Z-0a1b2c3d", b"")
    told = wake()
    assert told == {"20260102T030405Z-0a1b2c3d": "just being started, or never was"}


def test_a_release_that_is_denied_alarms_and_stays_open_until_the_timer_heals_it(
    lab: Terminal, account: AwsStandin, github: GitHubServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = submit(lab)
    denied = Fault(
        "deregisterjobdefinition", status=403, code="AccessDeniedException", message="no", times=9
    )
    account.gate.faults.append(denied)
    for _ in range(4):
        with pytest.raises(CloudError, match=f"could not go on: {run}"):
            wake()
    errors = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 4
    assert "release failed" in errors[0].getMessage()
    assert "AccessDeniedException" in errors[0].getMessage()
    assert run in lab("sweep", "--dry-run").out
    assert dispatched(github) == []

    account.gate.faults.clear()
    assert wake() == {run: "released"}
    assert len(dispatched(github)) == 1
    assert concluded(lab, run).code == 5
    nothing_left(lab)


def test_a_notice_that_cannot_be_sent_holds_up_nothing_and_is_sent_later(
    lab: Terminal, account: AwsStandin, github: GitHubServer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    run = submit(lab)
    right = os.environ["GITHUB_API_URL"]
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1/api")
    assert wake() == {run: "released"}
    assert "the timer tries again" in caplog.text
    monkeypatch.setenv("GITHUB_API_URL", "http://github.example/api")
    monkeypatch.setattr(notices, "LEASE_S", -1.0)  # whoever comes by may send
    assert wake() == {run: "released"}
    assert "without TLS" in caplog.text
    monkeypatch.setenv("GITHUB_API_URL", right)
    assert wake() == {run: "released"}
    assert wake() == {run: "released"}
    assert [payload["run"] for _, payload in dispatched(github)] == [run]
    assert github.violations == []
    token = account.client("ssm").get_parameter(Name=TOKEN_NAME, WithDecryption=True)
    assert token["Parameter"]["Value"] not in caplog.text
    assert concluded(lab, run).code == 5
    nothing_left(lab)


def test_without_a_token_nobody_is_told_and_all_else_is_done(
    lab: Terminal, account: AwsStandin, github: GitHubServer
) -> None:
    account.client("ssm").delete_parameter(Name=TOKEN_NAME)
    run = submit(lab)
    assert wake() == {run: "released"}
    assert store(account).get_json(Keys(run).notice)["status"] == "runner lost"
    assert dispatched(github) == []
    assert concluded(lab, run).code == 5
    nothing_left(lab)


KILLED = """
import os, sys
from rpac_ci import driver
from rpac_ci.storage import Storage
from rpac_ci.functions.aws_lambda import handler
driver.LEASE_S = 1.0
left = [int(sys.argv[2])]
def deadly(name):
    real = getattr(Storage, name)
    def write(self, *arguments):
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)
        return real(self, *arguments)
    setattr(Storage, name, write)
for name in ("put", "create", "delete"):
    deadly(name)
class Context:
    def get_remaining_time_in_millis(self):
        return 600_000
handler({"source": "aws.batch", "detail": {"jobName": "rpaclab-" + sys.argv[1] + "-1"}}, Context())
"""


@pytest.mark.nightly
def test_killed_at_each_write_and_healed_by_the_timer(
    lab: Terminal, account: AwsStandin, github: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # just before a write means also: after all that was done since the last one
    runs: list[str] = []
    code = 9
    while code == 9:
        runs.append(submit(lab))
        done = subprocess.run(
            [sys.executable, "-c", KILLED, runs[-1], str(len(runs))],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        code = done.returncode
        assert code in (0, 9), done.stderr
    assert len(runs) > 8, "it writes about so often"
    monkeypatch.setattr(notices, "LEASE_S", -1.0)  # whoever comes by may send
    until(lambda: wake() == dict.fromkeys(runs, "released"))  # once the claims' leases are over
    assert wake() == dict.fromkeys(runs, "released")
    for run in runs:
        assert steps(account, run) == ONCE
    told = Counter(payload["run"] for _, payload in dispatched(github))
    assert set(told) == set(runs)
    assert max(told.values()) <= 2, "sent again only where it was not written down"
    ended = lab("advance", "--all", "--json")
    assert {one["run"]: one["status"] for one in ended.json} == dict.fromkeys(runs, "could not run")
    nothing_left(lab)


def test_what_a_function_cannot_compare_is_left_to_a_checkout(
    lab: Terminal, account: AwsStandin, github: GitHubServer, write_experiment: WriteExperiment,
    tmp_path: Path,
) -> None:  # fmt: skip
    main = (
        QUICK_MAIN
        + "import random\n"
        + (
            "table = pathlib.Path(sys.argv[2], 'table.csv')\n"
            "table.write_text(f'a,b\\n1,{1 + 1e-9 * random.random()}\\n')\n"
        )
    )
    text = QUICK.format(name="quick").replace(
        "[metrics.json]", "[metrics.json, table.csv]"
    ) + f"environment: {{image: '{IMAGE}'}}\n"  # fmt: skip
    write_experiment("quick", text, {"main.py": main})
    first = submit(lab)
    act_as_nodes(account, first, tmp_path / "first")
    assert wake() == {first: "released"}
    concluded(lab, first)
    done = lab("reproduce", f"quick@{first}", "--detach", "--json")
    second = str(done.json["run"])
    act_as_nodes(account, second, tmp_path / "second")
    waiting = {second: "collect is left to a driver with a checkout"}
    account.gate.faults.append(Fault("deregisterjobdefinition", 403, "AccessDeniedException"))
    with pytest.raises(CloudError, match="could not go on"):
        wake()
    assert wake() == waiting
    # the verdict waits, and nothing else: machines and secrets are given back
    assert steps(account, second) == ONCE - Counter(["collect"])
    assert clouds.load("aws", Workspace.open(lab.root).on("aws")).leftovers() == []
    assert store(account).get(Keys(second).secret) is None
    before = account.gate.count()
    assert wake() == waiting
    assert account.gate.count() == before, "AWS Batch is not asked again"
    assert "collect" in lab("status", second).out
    assert dispatched(github)[1:] == [
        ("rpac-run-released", {"run": second, "cloud": "aws", "status": "to be collected"})
    ]
    concluded(lab, second)
    assert steps(account, second) == ONCE
    assert lab.last()["outcome"]["cost_usd"] is not None
    nothing_left(lab)


def test_a_detached_run_of_this_machine_is_concluded_by_advance(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    done = rpac("reproduce", "quick", "--detach", "--json")
    assert done.code == 0, done.err
    ended = rpac("advance", done.json["run"], "--wait")
    assert ended.code == 0, ended.err
    assert rpac.last()["verdict"]["outcome"].startswith("reproduced")
    assert rpac.left_over() == {"processes": [], "folders": [], "secrets": []}


def test_the_functions_package_is_whole_and_the_same_each_time(
    rpac: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # wheels of another Python than this one may be on another index of this machine
    monkeypatch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    made = rpac("setup", "aws", "--build-function", str(first), "--json")
    assert made.code == 0, made.err
    assert rpac("setup", "aws", "--build-function", str(second)).code == 0
    assert first.read_bytes() == second.read_bytes()
    assert made.json["size"] == first.stat().st_size < 50 * 2**20
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        pure = {one.partition("/")[0] for one in names}
    assert {"rpac_ci", "obstore", "psutil", "pydantic", "pydantic_core", "ruamel"} <= pure
    assert {"boto3", "click", "docker", "github", "uv"} & pure == set()
    assert "rpac_ci/functions/aws_lambda.py" in names
    assert "rpac_ci/infrastructure/aws.yaml" in names
    assert [one for one in names if "__pycache__" in one or one.endswith(".pyc")] == []
    assert any(one.startswith("pydantic_core/") and "cpython-312-x86_64" in one for one in names)

    # in the function's own Python, where this machine has it, and with nothing else
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(first) as archive:
        archive.extractall(unpacked)
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r})\n" + (
        "from rpac_ci import clouds, driver, output_comparisons\n"
        "import obstore, psutil, rpac_ci.clouds.aws.driver\n"
        "from rpac_ci.functions import aws_lambda\n"
        "print(aws_lambda.runs_meant({}))"
    )
    done = run_apart(another("3.12"), code)
    assert (done.stdout, done.returncode) == ("None\n", 0), done.stderr
