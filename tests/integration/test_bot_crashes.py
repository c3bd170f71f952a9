"""
The machine of a job is lost (SIGKILL) before or after each thing that the bot changes on GitHub;
whoever comes next leaves one answer and one report, and nothing runs twice.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.bot.comments import run_marker
from tests.conftest import campaign
from tests.integration.lab import Lab
from tests.standins.github import GitHubServer
from tests.standins.runner import Runner, Step, Workflow

pytestmark = pytest.mark.slow  # a minute and more

LEDGER, LOG = "refs/heads/rpac/ledger", "refs/heads/rpac/log"
INBOX = "refs/rpac/inbox/"
DAY_S = 100_000  # by then, any run should have been over
HOME = "/repos/lab/experiments"
PUSH = "POST /lab/experiments/git-receive-pack"
LOST = "could not run"
FINE = "reproduced: identical"


@dataclass(frozen=True)
class Point:
    """A request that changes something."""

    name: str
    words: str  # method and path, N for numbers
    ref: str | None = None  # of a push; that of an inbox is completed with the run's id

    @property
    def method(self) -> str:
        return self.words.split()[0]

    @property
    def path(self) -> str:
        return self.words.split()[1].replace("N", "*")


# what the first job changes for `/reproduce quick`, in this order
DECIDE = [
    Point("reaction", f"POST {HOME}/issues/comments/N/reactions"),
    Point("ledger", PUSH, LEDGER),
    Point("comment", f"POST {HOME}/issues/N/comments"),
    Point("check", f"POST {HOME}/check-runs"),
]
# what the last job changes
CONCLUDE = [
    Point("inbox", PUSH, INBOX),
    Point("log", PUSH, LOG),
    Point("branch", PUSH, "refs/heads/topic"),
    Point("comment", f"PATCH {HOME}/issues/comments/N"),
    Point("check", f"PATCH {HOME}/check-runs/N"),
    Point("settlement", PUSH, LEDGER),
]
WHEN = ("before", "after")
# before a change the world is, but for a moment, as after the change before it
NIGHTLY_BEFORE = [pytest.param("before", marks=pytest.mark.nightly), "after"]
# from here on the ledger has the run, so it is not sent off again
SENT = {"after ledger", *(f"{when} {name}" for name in ("comment", "check") for when in WHEN)}


class Mortal(Runner):
    """A runner whose machines can be lost while they do a step."""

    group: int | None = None  # of the step's processes

    def _started(self, group: int) -> None:
        self.group = group

    def lose_the_machine(self) -> None:
        """End everything that the step has started, git's processes too."""
        assert self.group is not None
        os.killpg(self.group, signal.SIGKILL)

    def lost_at(self, when: str, point: Point, run: str = "") -> None:
        """The machine that makes a request is lost before, or after, GitHub has done it."""
        ref = f"{point.ref}{run}" if point.ref == INBOX else point.ref
        where = {"method": point.method, "path": f"*{point.path}", "ref": ref}
        self.hub.faults.add("moved", action=self.lose_the_machine, **where)  # type: ignore[arg-type]
        if when == "before":
            self.hub.faults.add("drop", **where)  # type: ignore[arg-type]


class Site(Lab):
    """A lab whose machines can be lost."""

    def __init__(self, hub: GitHubServer, root: Path) -> None:
        super().__init__(hub, root)
        self.runner: Mortal = Mortal(hub, root / "mortal")
        self.place = self.pull()
        self.head = self.place.head_sha
        self.payload = self.runner.said(self.place, self.author, "/reproduce quick")

    def changes(self) -> list[str]:
        """Requests so far that changed something."""
        words = [one.words for one in self.hub.requests if one.method != "GET"]
        return [one for one in words if not one.endswith("git-upload-pack")]

    def decide(self, attempt: int = 1) -> Workflow:
        """The event arrives."""
        return self.runner.handle("issue_comment", self.payload, attempt=attempt)

    def conclude(self, one: Mapping[str, Any], results: Path | None) -> Step:
        """The job after the run."""
        return self.runner.commit_job(one, results, self.payload, 1001)

    def timer(self) -> None:
        """Upkeep, when every run should have been over."""
        late = self.runner.handle("schedule", self.hub.schedule_event(), later_s=DAY_S)
        assert late.decide.code == 0, late.decide.err
        assert late.runs == []

    def ledger(self, ending: str) -> list[dict[str, Any]]:
        """Documents of the ledger of one kind."""
        found = self.hub.files("rpac/ledger").items()
        return [json.loads(raw) for path, raw in found if path.endswith(ending)]

    def dispatched(self) -> list[str]:
        """Ids of the runs that were sent off."""
        return [dispatch["run"] for dispatch in self.ledger("/dispatch.json")]

    def all_is_well(self, outcome: str) -> None:
        """There is one run, and everything says the same of it, once."""
        (run,) = self.dispatched()
        assert {path.split("/")[3] for path in self.reports("rpac/log")} == {run}
        (document,) = (
            raw for p, raw in self.hub.files("rpac/log").items() if p.endswith("record.json")
        )
        assert json.loads(document)["verdict"]["outcome"].startswith(outcome)
        assert self.reports("topic") == self.reports("rpac/log")
        (settled,) = self.ledger("/settled.json")
        assert settled["outcome"].startswith(outcome)
        (answer,) = self.answers(self.place)
        assert answer.startswith(run_marker(run))
        assert outcome in answer
        check = self.hub.checks(self.head)[-1]
        assert (check.name, check.external_id, check.status) == ("rpac: quick", run, "completed")
        assert check.conclusion == ("success" if outcome == FINE else "action_required")
        refs = self.hub.main.bare.git("for-each-ref", "--format=%(refname)", "refs/rpac").decode()
        assert refs == "", "the inbox is empty, and nothing had to be set aside"


def killed(step: Step) -> None:
    """The step ended as it does when its machine is lost."""
    assert step.code == -signal.SIGKILL, step.out + step.err


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with GitHubServer(tmp_path / "github") as hub:
        yield Site(hub, tmp_path)
        assert not hub.faults.left, "the moment came"
        assert not hub.violations, "\n".join(map(str, hub.violations))


def test_the_lists_of_changes_are_complete(site: Site) -> None:
    """Who adds a request that changes something must add it here, and so test a loss around it."""
    sent = site.decide()
    assert site.changes() == [point.words for point in DECIDE]
    results = site.runner.run_job(sent.run, site.payload, sent.number)
    assert site.conclude(sent.runs[0], results).code == 0
    assert site.changes()[len(DECIDE) :] == [point.words for point in CONCLUDE]
    site.all_is_well(FINE)


@pytest.mark.parametrize("when", NIGHTLY_BEFORE)
@pytest.mark.parametrize("point", DECIDE, ids=lambda point: point.name)
def test_a_job_that_decides_is_lost_and_the_event_comes_again(
    site: Site, when: str, point: Point
) -> None:
    site.runner.lost_at(when, point)
    killed(site.decide().decide)

    again = site.decide()

    assert again.decide.code == 0, again.decide.err
    if f"{when} {point.name}" in SENT:
        assert again.runs == []
        site.timer()
        site.all_is_well(LOST)
    else:
        results = site.runner.run_job(again.run, site.payload, again.number)
        assert site.conclude(again.runs[0], results).code == 0
        site.all_is_well(FINE)


@pytest.mark.nightly
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", DECIDE, ids=lambda point: point.name)
def test_a_job_that_decides_is_lost_and_only_the_timer_comes(
    site: Site, when: str, point: Point
) -> None:
    site.runner.lost_at(when, point)
    killed(site.decide().decide)
    rerun = site.decide(attempt=2)
    assert (rerun.decide.code, rerun.runs) == (0, [])
    site.timer()
    if f"{when} {point.name}" in SENT:
        site.all_is_well(LOST)
    else:
        assert site.dispatched() == []
        (answer,) = site.answers(site.place)
        assert "Comment again" in answer


# each point has both, and one of them each day, in turns
FOLLOWERS = ("the job again", "the timer")
FOLLOWED = [
    (point, next_one)
    for number, point in enumerate(CONCLUDE)
    for next_one in (FOLLOWERS[::-1] if number % 2 else FOLLOWERS)
]


@pytest.mark.parametrize("when", NIGHTLY_BEFORE)
@pytest.mark.parametrize(
    ("point", "next_one"),
    campaign(FOLLOWED, every=2),
    ids=[f"{point.name}-{next_one}" for point, next_one in FOLLOWED],
)
def test_a_job_that_concludes_is_lost(site: Site, when: str, point: Point, next_one: str) -> None:
    sent = site.decide()
    results = site.runner.run_job(sent.run, site.payload, sent.number)
    assert results is not None
    site.runner.lost_at(when, point, sent.run)
    killed(site.conclude(sent.runs[0], results))

    if next_one == "the job again":
        assert site.conclude(sent.runs[0], results).code == 0
    site.timer()

    nothing_kept = f"{when} {point.name}" == "before inbox" and next_one == "the timer"
    site.all_is_well(LOST if nothing_kept else FINE)
    written = site.changes()
    site.timer()
    assert site.changes() == written, "there is nothing left to do"
