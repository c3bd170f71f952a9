"""
How much the bot asks of GitHub for one comment, and what becomes of a hundred that come at once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.bot.comments import run_marker
from tests.integration.lab import Lab
from tests.standins.github import GitHubServer
from tests.standins.runner import Workflow

MOST_REQUESTS = 10  # of one comment up to the dispatch, git's included
TELLING = 2  # the comment and the check of a run that is dispatched
WORKERS = 8
PULLS = 8
COMMENTS = 100
AGAIN = 20  # events that are delivered a second time


@pytest.fixture
def lab(hub: GitHubServer, tmp_path: Path) -> Lab:
    return Lab(hub, tmp_path)


# --- one comment ----------------------------------------------------------------------------------


def asked(lab: Lab, payload: dict[str, Any]) -> tuple[Workflow, list[str]]:
    """What the first job does about an event, and the requests that it makes."""
    environment = lab.runner.environment("issue_comment", payload, 900)
    checkout = lab.runner.checkout(environment)  # its requests are those of actions/checkout
    before = len(lab.hub.counted())
    done = lab.runner.rpac(checkout, environment, "bot")
    assert done.code == 0, done.err
    runs = json.loads(lab.runner._outputs(environment).get("runs") or "[]")
    return Workflow(number=900, decide=done, runs=runs), lab.hub.counted()[before:]


def told(requests: Sequence[str]) -> str:
    """The requests for an assertion's message."""
    return f"{len(requests)} requests:\n" + "\n".join(requests)


@pytest.mark.slow
# with one, git asks once more what both have: ledger and log have nothing of the checkout
@pytest.mark.parametrize("ledger", ["none yet", "one"])
@pytest.mark.parametrize("body", ["/reproduce quick", "/plan quick"])
def test_planning_and_dispatching_take_few_requests(lab: Lab, ledger: str, body: str) -> None:
    pull = lab.pull()
    if ledger == "one":
        lab.runner.handle("issue_comment", lab.runner.said(pull, lab.author, "/reproduce quick"))
    done, requests = asked(lab, lab.runner.said(pull, lab.author, body))
    assert len(done.runs) == (body == "/reproduce quick")
    pushed = max(n for n, request in enumerate(requests, 1) if "git-receive-pack" in request)
    assert pushed <= MOST_REQUESTS - 1, told(requests)  # with this the run is dispatched
    assert len(requests) - pushed <= TELLING, told(requests)


@pytest.mark.slow
@pytest.mark.parametrize("body", ["/help", "/status", "/history quick", "/nonsense"])
def test_no_other_command_takes_more(lab: Lab, body: str) -> None:
    pull = lab.pull()
    _, requests = asked(lab, lab.runner.said(pull, lab.author, body))
    assert len(lab.answers(pull)) == (body != "/nonsense"), lab.answers(pull)
    assert len(requests) <= MOST_REQUESTS, told(requests)


def test_a_person_who_may_not_costs_no_look_at_the_code(lab: Lab) -> None:
    pull = lab.pull()
    _, requests = asked(lab, lab.runner.said(pull, lab.reader, "/reproduce quick"))
    assert "role-too-low" in lab.answers(pull)[0]
    assert not [r for r in requests if "git-" in r or "info/refs" in r], told(requests)


@pytest.mark.parametrize(
    "body",
    ["Looks good to me.", "see /usr/share/doc", "> /reproduce quick", "```\n/reproduce quick\n```"],
    ids=["prose", "a path", "a quotation", "code"],
)
def test_a_comment_without_a_command_asks_nothing(lab: Lab, body: str) -> None:
    pull = lab.pull()
    done, requests = asked(lab, lab.runner.said(pull, lab.author, body))
    assert requests == [], told(requests)
    assert "no-command" in done.decide.out


# --- a hundred comments ---------------------------------------------------------------------------


def documents(lab: Lab, folder: str, ending: str) -> list[dict[str, Any]]:
    """Documents of the ledger of one kind."""
    found = lab.hub.files("rpac/ledger", folder).items()
    return [json.loads(raw) for path, raw in found if path.endswith(ending)]


def markers(lab: Lab, pulls: Sequence[Any]) -> Counter[str]:
    """How often the bot's comments begin with which line."""
    return Counter(body.splitlines()[0] for pull in pulls for body in lab.answers(pull))


def logged(lab: Lab) -> Counter[str]:
    """How often each run has a record in the log."""
    found = lab.hub.files("rpac/log", "reports/")
    return Counter(path.split("/")[3] for path in found if path.endswith("/record.json"))


@pytest.mark.nightly  # a few minutes
@pytest.mark.timeout(900)
def test_a_hundred_comments_at_once_are_each_answered_once(lab: Lab) -> None:
    pulls = [lab.pull(branch=f"topic-{number}") for number in range(PULLS)]
    events = [
        lab.runner.said(pulls[n % PULLS], lab.author, f"/reproduce quick args.level={n % 9}")
        for n in range(COMMENTS)
    ]
    # some are delivered twice, and one right after the other, so that two jobs race
    deliveries = [event for n, event in enumerate(events) for _ in range(1 + (n < AGAIN))]

    def deliver(item: tuple[int, dict[str, Any]]) -> Workflow:
        return lab.runner.handle("issue_comment", item[1], number=2000 + item[0])

    def conclude(one: dict[str, Any]) -> int:
        return lab.runner.commit_job(one, None, events[0], 3000, job="failure").code

    with ThreadPoolExecutor(WORKERS) as workers:
        handled = list(workers.map(deliver, enumerate(deliveries)))
        bad = [done.decide for done in handled if done.decide.code]
        assert bad == []
        sent = [one for done in handled for one in done.runs]
        runs = Counter(one["run"] for one in sent)
        assert len(runs) == COMMENTS
        late = [done.decide.out for done in handled if not done.runs]
        assert len(late) == AGAIN
        assert all("already-handled: " in out for out in late), late

        once = dict.fromkeys(runs, 1)
        assert Counter(found["run"] for found in documents(lab, "runs/", "dispatch.json")) == once
        comments = documents(lab, "comments/", ".json")
        assert {found["comment"]: len(found["runs"]) for found in comments} == {
            event["comment"]["id"]: 1 for event in events
        }
        assert markers(lab, pulls) == {run_marker(run): 1 for run in runs}

        assert set(workers.map(conclude, sent)) == {5}  # could not run

    environment = lab.runner.environment("issue_comment", events[0], 4000)
    collected = lab.runner.rpac(lab.runner.checkout(environment), environment, "collect")
    assert collected.code == 0, collected.err
    assert logged(lab) == once
    assert Counter(found["run"] for found in documents(lab, "runs/", "settled.json")) == once
    assert markers(lab, pulls) == {run_marker(run): 1 for run in runs}
    assert all("could not run" in body for pull in pulls for body in lab.answers(pull))
    waiting = lab.hub.main.bare.git("for-each-ref", "--format=%(refname)", "refs/rpac").decode()
    assert waiting == "", "nothing is left in the inbox, nothing was set aside"
    history = lab.hub.main.bare.git("log", "--format=", "--name-status", "rpac/ledger", "rpac/log")
    changed = {line[:1] for line in history.decode().splitlines() if line}
    assert changed == {"A"}, "files are only ever added"
