"""
The functions on Azure from a detached run to its release, against the stand-in for Azure: nodes are
processes of this machine that run the real node program, and the events that Event Grid would send
of their objects are handed to the functions by Azure's own library.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rpac_ci import clouds
from rpac_ci.errors import CloudError, CommandError
from rpac_ci.events import EventLog, Kind
from rpac_ci.functions import azure_functions, going_on, notices
from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage
from rpac_ci.workspace import Workspace
from tests.conftest import QUICK_MAIN, ROOT, git
from tests.integration.azure_lab import FOREVER, Lab
from tests.integration.azure_lab import account_fixture as account_fixture
from tests.integration.azure_lab import lab_fixture as lab_fixture
from tests.integration.azure_lab import server_fixture as server_fixture
from tests.integration.conftest import Answer
from tests.standins.azure import AzureStandin
from tests.standins.azure.functions import created, tick, wake
from tests.standins.azure.rest import Call
from tests.standins.faults import end_all, start
from tests.standins.github import GitHubServer
from tests.standins.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ONCE = Counter(["stage", "provision", "submit", "watch", "collect", "release"])
BEFORE = Counter(["stage", "provision", "submit"])
SLOW_MAIN = "import time\ntime.sleep(60)\n"
DIFFERING_MAIN = QUICK_MAIN + (
    "import random\n"
    "table = pathlib.Path(sys.argv[2], 'table.csv')\n"
    "table.write_text(f'a,b\\n1,{1 + 1e-9 * random.random()}\\n')\n"
)


@dataclass
class Story:
    """Runs of a laboratory that nobody waits for, and the functions that do."""

    lab: Lab
    said: pytest.LogCaptureFixture

    @property
    def account(self) -> AzureStandin:
        return self.lab.account

    @property
    def storage(self) -> Storage:
        return self.lab.storage

    def submit(self, *words: str) -> str:
        """A run that is on its way when its driver leaves; its id."""
        done = self.lab.rpac(
            "reproduce", *(words or ("quick",)), "cloud=azure", "--detach", "--json"
        )
        assert done.code == 0, done.out + done.err
        assert done.json["detached"] is True
        return str(done.json["run"])

    def done(self, run: str) -> dict[str, Any]:
        """The event of the last object that a run's nodes write, once they have."""
        key = Keys(run).done
        until(lambda: self.storage.head(key), limit_s=60)
        return created(self.account.site, key)

    def ended(self, run: str) -> None:
        """Wait until Azure Batch knows it, too."""
        self.done(run)
        job = self.account.service.jobs[f"{self.account.site['name']}-{run}-1"]
        until(lambda: job.state == "completed", limit_s=60)

    def steps(self, run: str) -> Counter[str]:
        """How often each step was done."""
        events = EventLog(self.storage, run).read()
        return Counter(event.body["step"] for event in events if event.kind is Kind.DONE)

    def told(self) -> list[str]:
        """How far each run has come, as the functions have it in their log since last asked."""
        found = [one.getMessage() for one in self.said.records if one.name == "rpac"]
        self.said.clear()
        return found

    def concluded(self, run: str) -> Answer:
        """`rpac advance` on a machine with a checkout; nothing is left then."""
        answer = self.lab.rpac("advance", run)
        root = self.lab.rpac.root
        assert f"Rpac-Run: {run}" in git(root, "log", "-1", "--format=%B", "rpac/log")
        assert f"Rpac-Run: {run}" in git(root, "log", "-1", "--format=%B")
        return answer

    def nothing_left(self) -> None:
        place = Workspace.open(self.lab.rpac.root).on("azure")
        assert clouds.load("azure", place).leftovers() == []
        assert not self.account.service.pools
        assert not self.account.service.jobs
        assert self.lab.rpac("sweep").out.strip() == "nothing is left over"
        assert list(self.storage.names("open/")) == []
        assert [name for name in self.storage.names("notices/") if name != "clock"] == []
        assert [e.key for e in self.storage.list("runs/") if e.key.endswith("/secret")] == []


@pytest.fixture
def story(lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Story:
    monkeypatch.setenv("RPAC_SITE", json.dumps(dict(lab.account.site)))
    monkeypatch.setattr(going_on, "LOOK_S", 0.05)
    caplog.set_level(logging.INFO, "rpac")
    return Story(lab, caplog)


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubServer]:
    """GitHub, and a token for it as a setting that Azure has read from Key Vault."""
    root = tmp_path / "github"
    root.mkdir()
    with GitHubServer(root) as hub:
        monkeypatch.setenv("RPAC_GITHUB_SECRET", hub.token({"contents": "write"}))
        monkeypatch.setenv("RPAC_GITHUB_REPOSITORY", "lab/experiments")
        monkeypatch.setenv("GITHUB_API_URL", hub.api_url)
        yield hub
        assert hub.violations == []


def dispatched(hub: GitHubServer) -> list[Any]:
    return [(one.target, one.payload) for one in hub.main.dispatches]


def runs_told_of(hub: GitHubServer) -> list[str]:
    return sorted(payload["run"] for _, payload in dispatched(hub))


# --- as it should be ------------------------------------------------------------------------------


def test_a_laptop_is_closed_and_the_event_brings_the_run_to_its_release(
    story: Story, github: GitHubServer
) -> None:
    run = story.submit()
    event = story.done(run)

    wake(event)

    assert story.told()[-1] == f"{run}: released"
    assert story.steps(run) == ONCE
    assert not story.account.service.pools, "no machine waits for the record"
    payload = {"run": run, "cloud": "azure", "status": "completed"}
    assert dispatched(github) == [("rpac-run-released", payload)]
    assert "to be recorded" in story.lab.rpac("status").out
    assert story.concluded(run).code == 0
    assert story.lab.rpac.record(run)["verdict"]["outcome"] == "reproduced: identical"
    assert "not Azure itself" in story.lab.rpac("show", run).out
    story.nothing_left()
    tick()
    assert story.told() == []


def test_azure_that_learns_a_moment_later_that_nodes_have_ended_is_waited_for(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = threading.Event()
    story.account.service.exit_code = lambda _, code: code if known.is_set() else None
    run = story.submit()
    event = story.done(run)
    asked = len(story.account.api.calls)

    waiting = threading.Thread(target=wake, args=(event,))
    waiting.start()
    until(lambda: len(story.account.api.calls) >= asked + 3)
    assert waiting.is_alive()
    known.set()
    waiting.join(60)
    assert story.told()[-1] == f"{run}: released"

    # not for ever: then the timer will see to it
    known.clear()
    second = story.submit()
    monkeypatch.setattr(azure_functions, "PATIENCE_S", 0.2)
    wake(story.done(second))
    assert story.told() == [f"{second}: running"]
    known.set()
    story.ended(second)
    tick()
    assert f"{second}: released" in story.told()
    for one in (run, second):
        assert story.concluded(one).code == 0
    story.nothing_left()


# --- events ---------------------------------------------------------------------------------------


def test_events_repeated_out_of_order_and_lost(story: Story, github: GitHubServer) -> None:
    first, second = story.submit(), story.submit()
    event = story.done(first)
    story.ended(second)
    others = [
        created(story.account.site, f"runs/{first}/notices/x.json"),
        created(story.account.site, Keys("20200102T030405Z-0a1b2c3d").done),
        created(story.account.site, Keys(second).done, eventType="Microsoft.Storage.BlobDeleted"),
    ]  # fmt: skip
    for one in [*[event] * 5, *others, event, *reversed(others), event]:
        wake(one)
    assert set(story.told()) >= {f"{first}: released"}
    assert story.steps(first) == ONCE
    assert story.steps(second) == BEFORE, "not meant"
    assert runs_told_of(github) == [first]

    # the second's event is lost: the timer heals it
    for _ in range(3):
        tick()
    assert story.steps(second) == ONCE
    assert runs_told_of(github) == sorted([first, second])
    for run in (first, second):
        assert story.concluded(run).code == 0
    story.nothing_left()


def test_two_at_once(story: Story, github: GitHubServer) -> None:
    run = story.submit()
    event = story.done(run)
    # as threads: the worker runs calls side by side, and Event Grid sends again after half a minute
    threads = [threading.Thread(target=wake, args=(event,)) for _ in range(3)]
    threads.append(threading.Thread(target=tick))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert f"{run}: released" in story.told()
    assert story.steps(run) == ONCE
    assert runs_told_of(github) == [run]
    assert story.concluded(run).code == 0
    story.nothing_left()


def test_a_job_that_goes_on_is_left_alone_until_somebody_cancels_it(
    story: Story, github: GitHubServer
) -> None:
    story.lab.experiment(SLOW_MAIN)
    run = story.submit()
    wake(created(story.account.site, f"runs/{run}/notices/spot.json"))
    tick()
    assert story.told() == [f"{run}: running"] * 2
    assert story.account.api.count()["TerminateJob"] == 0

    assert story.lab.rpac("cancel", run).code == 0
    wake(created(story.account.site, Keys(run).cancel))
    assert story.told()[-1] == f"{run}: released"
    [(_, payload)] = dispatched(github)
    assert payload["status"] == "cancelled"
    assert story.concluded(run).code == 130
    story.nothing_left()


# --- what it cannot do ----------------------------------------------------------------------------


def test_a_run_before_its_submit_is_left_alone(story: Story) -> None:
    asked = threading.Event()

    def before(call: Call) -> None:
        if call.action == "CreateJob":
            asked.set()

    story.account.api.before = before
    story.lab.fails("CreateJob", FOREVER)
    started = start(story.lab.rpac.root, "reproduce", "quick", "cloud=azure", "--detach")
    assert asked.wait(60)
    end_all()
    assert started.returncode
    story.lab.mend()
    [run] = story.storage.names("open/")
    before_that = story.account.api.count()
    tick()
    [said] = story.told()
    assert said in (
        f"{run}: another driver is at submit",
        f"{run}: submit is left to a driver with a checkout",
    )
    assert story.account.api.count() == before_that
    assert story.concluded(run).code in (0, 5)
    story.nothing_left()


def test_a_run_that_is_just_being_made_is_left_alone(story: Story) -> None:
    run = "20260102T030405Z-0a1b2c3d"
    story.storage.put(f"open/{run}", b"")
    tick()
    assert story.told() == [f"{run}: just being started, or never was"]


def test_a_run_that_it_cannot_collect_is_released_by_it(story: Story, github: GitHubServer) -> None:
    story.lab.experiment(DIFFERING_MAIN)
    experiment = story.lab.rpac.root / "experiments" / "quick" / "experiment.yaml"
    text = experiment.read_text().replace("[metrics.json]", "[metrics.json, table.csv]")
    story.lab.write(yaml=text, files={"main.py": DIFFERING_MAIN})
    first = story.submit()
    wake(story.done(first))
    story.concluded(first)

    second = story.submit(f"quick@{first}")
    story.told()
    wake(story.done(second))
    waiting = f"{second}: collect is left to a driver with a checkout"
    assert story.told()[-1] == waiting
    # the verdict waits, and nothing else: machines and secrets are given back
    assert story.steps(second) == ONCE - Counter(["collect"])
    assert not story.account.service.pools
    assert story.storage.get(Keys(second).secret) is None
    before = story.account.api.count()
    tick()
    assert story.told() == [waiting]
    assert story.account.api.count() == before, "Azure Batch is not asked again"
    assert dispatched(github)[1:] == [
        ("rpac-run-released", {"run": second, "cloud": "azure", "status": "to be collected"})
    ]
    story.concluded(second)
    assert story.steps(second) == ONCE
    story.nothing_left()


def test_a_release_that_is_denied_alarms_and_stays_open_until_the_timer_heals_it(
    story: Story, github: GitHubServer
) -> None:
    run = story.submit()
    event = story.done(run)
    denied = {"status": 403, "code": "AuthorizationFailed", "message": "no right"}
    story.lab.fails("DeletePool", FOREVER, **denied)
    for _ in range(2):
        with pytest.raises(CloudError, match=f"could not go on: {run}"):
            wake(event)
    with pytest.raises(CloudError, match=f"could not go on: {run}"):
        tick()
    errors = [one for one in story.said.records if one.levelno == logging.ERROR]
    assert len(errors) == 3
    assert "release failed: " in errors[0].getMessage()
    assert "AuthorizationFailed" in errors[0].getMessage()
    assert run in story.lab.rpac("sweep", "--dry-run").out
    assert dispatched(github) == []

    story.lab.mend()
    tick()
    assert story.told()[-1] == f"{run}: released"
    assert runs_told_of(github) == [run]
    assert story.concluded(run).code == 0
    story.nothing_left()


def test_a_notice_that_cannot_be_sent_holds_up_nothing_and_is_sent_later(
    story: Story, github: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = story.submit()
    event = story.done(run)
    token, right = os.environ["RPAC_GITHUB_SECRET"], os.environ["GITHUB_API_URL"]
    monkeypatch.setattr(notices, "LEASE_S", -1.0)  # whoever comes by may send
    monkeypatch.setenv("RPAC_GITHUB_SECRET", "@Microsoft.KeyVault(SecretUri=https://lab…)")
    wake(event)
    monkeypatch.setenv("RPAC_GITHUB_SECRET", token)
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1/api")
    tick()
    monkeypatch.setenv("GITHUB_API_URL", "http://github.example/api")
    tick()
    said = story.told()
    assert said.count(f"{run}: released") == 3
    warned = [one for one in said if "the timer tries again" in one]
    assert "could not read the secret" in warned[0]
    assert "without TLS" in warned[2]
    monkeypatch.setenv("GITHUB_API_URL", right)
    tick()
    tick()
    assert runs_told_of(github) == [run]
    assert token not in "\n".join([*said, *story.told()])
    assert story.concluded(run).code == 0
    story.nothing_left()


def test_without_a_token_nobody_is_told_and_all_else_is_done(
    story: Story, github: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RPAC_GITHUB_SECRET")
    run = story.submit()
    wake(story.done(run))
    assert story.told()[-1] == f"{run}: released"
    assert story.storage.get_json(Keys(run).notice)["status"] == "completed"
    assert dispatched(github) == []
    assert story.concluded(run).code == 0
    story.nothing_left()


def test_a_setting_that_is_missing_fails_the_call(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RPAC_SITE")
    with pytest.raises(CommandError, match="RPAC_SITE"):
        tick()


# --- killed half-way ------------------------------------------------------------------------------

KILLED = """
import json, os, sys
from rpac_ci import driver
from rpac_ci.storage import Storage
from tests.standins.azure.functions import wake
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
wake(json.loads(sys.argv[1]))
"""


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_killed_at_each_write_and_healed_by_the_timer(
    story: Story, github: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # just before a write means also: after all that was done since the last one
    story.lab.settings.machines = 100  # the pools of killed runs stay until the timer comes
    runs: list[str] = []
    code = 9
    while code == 9:
        runs.append(story.submit())
        event = story.done(runs[-1])
        done = subprocess.run(
            [sys.executable, "-c", KILLED, json.dumps(event), str(len(runs))],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        code = done.returncode
        assert code in (0, 9), done.stderr
    assert len(runs) > 8, "it writes about so often"
    monkeypatch.setattr(notices, "LEASE_S", -1.0)  # whoever comes by may send

    def all_released() -> bool:
        tick()
        return {f"{run}: released" for run in runs} <= set(story.told())

    until(all_released, limit_s=60)  # once the claims' leases are over
    for run in runs:
        assert story.steps(run) == ONCE
    told = Counter(runs_told_of(github))
    assert set(told) == set(runs)
    assert max(told.values()) <= 2, "sent again only where it was not written down"
    ended = story.lab.rpac("advance", "--all", "--json")
    assert {one["run"] for one in ended.json} == set(runs)
    story.nothing_left()
