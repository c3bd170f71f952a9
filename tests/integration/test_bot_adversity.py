"""What a review of the bot found, and what else goes wrong between its jobs: never again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUICK, QUICK_MAIN, campaign, git
from tests.integration.lab import QUICK_FILES, Lab
from tests.standins.github import GitHubServer
from tests.standins.runner import Workflow

pytestmark = pytest.mark.slow

LIVE = "@octocat [click](https://evil.example) <img src=https://evil.example/a.png>"
PNG = hashlib.sha256(b"png").hexdigest()


@pytest.fixture
def lab(hub: GitHubServer, tmp_path: Path) -> Lab:
    return Lab(hub, tmp_path)


class Story:
    """A run that was asked for and made, its results not yet concluded."""

    def __init__(self, lab: Lab, files: dict[str, str | bytes | None] | None = None) -> None:
        self.lab, self.pull = lab, lab.pull(files)
        self.payload = lab.runner.said(self.pull, lab.author, "/reproduce quick")
        self.sent: Workflow = lab.runner.handle("issue_comment", self.payload)
        self.results = lab.runner.run_job(self.sent.run, self.payload, self.sent.number)

    def tamper(self, step: str, change: Callable[[dict[str, Any]], object]) -> None:
        assert self.results is not None
        path = self.results / "handover.json"
        document = json.loads(path.read_bytes())
        for event in document["events"]:
            if event["kind"] == "done" and event["body"]["step"] == step:
                change(event["body"]["result"])
        path.write_text(json.dumps(document))

    def conclude(self) -> str:
        """The job that commits; what it printed."""
        done = self.lab.runner.commit_job(
            self.sent.runs[0], self.results, self.payload, self.sent.number
        )
        assert "Traceback" not in done.err, done.err
        return done.out + done.err

    @property
    def answer(self) -> str:
        return self.lab.answers(self.pull)[0]


USELESS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "a name that not every system can hold": (
        "collect", lambda r: r["outputs"].append({"path": ".../x.png", "size": 3, "sha256": PNG})),
    "git's own folder": (
        "collect", lambda r: r["outputs"].append({"path": ".git/x.png", "size": 3, "sha256": PNG})),
    "more than the log takes": (
        "collect", lambda r: r.update(extra=[f"d/{n:060d}" for n in range(10_000)])),
    "a size without end": ("collect", lambda r: r["outputs"][0].update(size=10**400)),
    "a negative size": ("collect", lambda r: r["outputs"][0].update(size=-1)),
    "memory that is a text": (
        "collect", lambda r: r["nodes"][0].update(memory_total_mib="x")),
    "versions that are a text": ("collect", lambda r: r["engine"].update(versions="x")),
    "a hash that is Markdown": ("collect", lambda r: r["outputs"][0].update(sha256=f"a`{LIVE}`|")),
}  # fmt: skip


@pytest.mark.parametrize("name", campaign(USELESS, every=3))
def test_results_that_no_log_takes_are_told_and_the_run_is_recorded(lab: Lab, name: str) -> None:
    story = Story(lab)
    assert story.results is not None
    (story.results / "outputs" / PNG).write_bytes(b"png")
    story.tamper(*USELESS[name])
    story.conclude()
    assert "could not run" in story.answer
    assert "reproduced:" not in story.answer
    assert any(story.sent.run in path for path in lab.reports("rpac/log"))


def test_a_plan_is_used_once_also_within_one_comment(lab: Lab) -> None:
    pull = lab.pull()
    lab.says(lab.author, pull, "/plan quick")
    name = lab.answers(pull)[0].split("/approve ")[1].split()[0]
    thrice = "\n\n".join([f"/approve {name}"] * 3)
    done = lab.runner.handle("issue_comment", lab.runner.said(pull, lab.maintainer, thrice))
    assert len(done.runs) == 1
    assert lab.answers(pull)[-1].count("plan-used") == 2


def test_what_was_sent_off_is_run_also_when_the_answer_fails(lab: Lab) -> None:
    pull = lab.pull()
    lab.hub.faults.add("403", method="POST", path="*/issues/*/comments", skip=1)
    body = "/reproduce quick\n\n/help\n"
    done = lab.runner.handle("issue_comment", lab.runner.said(pull, lab.author, body))
    assert done.decide.code != 0
    assert len(done.runs) == 1
    assert "These runs go on" in lab.answers(pull)[-1]


def test_a_job_that_is_run_again_runs_nothing_again(lab: Lab) -> None:
    story = Story(lab)
    story.conclude()
    again = lab.runner.run_job(story.sent.run, story.payload, story.sent.number)
    assert again is None


def test_a_verdict_that_could_not_be_told_is_told_later(lab: Lab) -> None:
    story = Story(lab)
    lab.hub.faults.add("403", method="PATCH", path="*/issues/comments/*", times=1)
    lab.hub.faults.add("403", method="POST", path="*/issues/*/comments", times=1)
    story.conclude()
    assert "is being reproduced" in story.answer
    lab.runner.handle("schedule", lab.hub.schedule_event(), later_s=100_000)
    assert "reproduced: identical" in story.answer


def test_what_waits_in_the_inbox_is_not_lost(lab: Lab) -> None:
    story = Story(lab)
    lab.hub.faults.add("push-rejected", ref="refs/heads/rpac/log", times=40)
    lab.hub.faults.add("push-rejected", ref="refs/heads/rpac/ledger", times=40)
    story.conclude()
    assert lab.reports("rpac/log") == set()
    lab.hub.faults.clear()
    late = lab.runner.handle("schedule", lab.hub.schedule_event(), later_s=100_000)
    assert late.decide.code == 0, late.decide.err
    assert "reproduced: identical" in story.answer
    assert any(story.sent.run in path for path in lab.reports("rpac/log"))


def test_a_report_that_was_put_there_beforehand_is_not_taken_for_ours(lab: Lab) -> None:
    pull = lab.pull()
    payload = lab.runner.said(pull, lab.author, "/reproduce quick")
    sent = lab.runner.handle("issue_comment", payload)
    run = sent.run
    folder = f"reports/quick/{run[:4]}-{run[4:6]}/{run}"
    lab.hub.push("topic", {f"{folder}/record.json": "{}", f"{folder}/report.md": "# fine\n"}, "x")
    results = lab.runner.run_job(run, payload, sent.number)
    lab.runner.commit_job(sent.runs[0], results, payload, sent.number)
    assert "the branch has other content" in lab.answers(pull)[0]


def test_words_of_an_experiment_are_only_words_in_a_comment(lab: Lab) -> None:
    command = 'command: [python, main.py, "{args.level}", "{outputs}"]'
    yaml = QUICK.format(name="quick")
    assert command in yaml
    odd = yaml.replace(command, f"{command[:-1]}, 'x`{LIVE}`']")
    files = {
        "experiments/quick/experiment.yaml": odd,
        "experiments/quick/main.py": "import sys; sys.exit(3)",
    }
    pull = lab.pull(dict(files))
    lab.says(lab.author, pull, "/reproduce quick")
    # the end of the log is in a fence, which is longer than any in it
    (line,) = [
        line for line in lab.answers(pull)[0].splitlines() if line.startswith("**What was tried")
    ]
    assert f"x'{LIVE}'" in line  # inside one code span, whose end it cannot make
    assert line.count("`") == 2, line


def test_names_of_outputs_are_only_words_in_a_comment(lab: Lab) -> None:
    yaml = QUICK.format(name="quick").replace(
        "outputs: [metrics.json]", "outputs: [metrics.json, '*.txt']"
    )
    main = (
        QUICK_MAIN
        + "pathlib.Path(sys.argv[2], '@octocat www.evil.example #1.txt')"
        + (".write_text('x')\n")
    )
    files = {"experiments/quick/experiment.yaml": yaml, "experiments/quick/main.py": main}
    pull = lab.pull(dict(files))
    lab.says(lab.author, pull, "/reproduce quick")
    for text in lab.answers(pull):
        assert "@octocat" not in text
        assert "www.evil" not in text


def test_a_jobs_words_are_no_orders_for_the_next_jobs_runner(lab: Lab) -> None:
    story = Story(lab)
    orders = "x\n::error file=a.py,line=1::forged\n::set-output name=runs::[]"
    story.tamper("watch", lambda r: r.update(reason="engine failed", message=orders))
    said = story.conclude()
    assert not [line for line in said.splitlines() if line.startswith(("::", "##["))]


@pytest.mark.parametrize(
    "files",
    [
        {"reports/a\nb.md": "x"},
        {"reports/quick/2026-01/20260102T030405Z-0000000a/report.md": "# reproduced\n"},
        {"experiments/x`@octocat`.yaml": "id: 'a`@octocat`'\nfoo: 1\n"},
    ],
    ids=["a name with a line break", "a forged report", "a name with Markdown"],
)
def test_what_a_pull_request_must_not_hold_fails_its_check(
    lab: Lab, files: dict[str, str | bytes | None]
) -> None:
    pull = lab.pull({**QUICK_FILES, **files})
    opened = lab.runner.handle("pull_request", lab.hub.pull_event(pull, "opened", lab.author))
    assert opened.decide.code == 2, opened.decide.err
    (check,) = lab.hub.checks(pull.head_sha)
    assert check.conclusion == "failure"
    assert "`@octocat`" not in check.output["summary"]


def test_a_report_that_is_moved_away_fails_the_check(lab: Lab) -> None:
    pull = lab.pull()
    lab.says(lab.author, pull, "/reproduce quick")
    lab.hub.merge(pull, squash=True)
    path = next(path for path in lab.reports("main") if path.endswith("record.json"))
    content = lab.hub.files("main", "reports/")[path]
    lab.hub.push("evil", {path: None, "docs/moved.json": content}, "Tidy up")
    other = lab.hub.open_pull("evil", by=lab.author)
    opened = lab.runner.handle("pull_request", lab.hub.pull_event(other, "opened", lab.author))
    assert opened.decide.code == 2
    assert "a report of the log is removed" in opened.summary


def test_a_job_that_is_over_cannot_be_cancelled(lab: Lab) -> None:
    pull = lab.pull()
    payload = lab.runner.said(pull, lab.author, "/reproduce quick")
    sent = lab.runner.handle("issue_comment", payload)
    lab.hub.faults.add("404", method="POST", path="*/cancel")
    lab.says(lab.author, pull, f"/cancel {sent.run}")
    assert "is over already" in lab.answers(pull)[1]


def test_many_names_of_one_large_file_are_not_read(lab: Lab) -> None:
    large = b"0" * (4 * 2**20)
    names = {f"experiments/quick/part-{n}": large for n in range(12)}
    pull = lab.pull({**QUICK_FILES, **names})
    lab.says(lab.author, pull, "/plan quick")
    assert "declare large files as data" in lab.answers(pull)[0]


def test_the_terminal_reads_what_the_bot_wrote(lab: Lab) -> None:
    pull = lab.pull()
    done = lab.says(lab.author, pull, "/reproduce quick")
    rpac = lab.clone()
    (row,) = rpac("history", "quick", "origin=bot", "--json").json
    assert row["run"] == done.run
    assert rpac("history", "quick", "origin=unverified", "--json").json == []
    assert git(rpac.root, "log", "-1", "--format=%an", "origin/rpac/log") == "github-actions[bot]"


def test_a_job_that_is_started_again_breaks_the_silence_once(lab: Lab) -> None:
    pull = lab.pull()
    payload = lab.runner.said(pull, lab.author, "/plan quick")  # its first job died at once
    for attempt in (2, 3):
        again = lab.runner.handle("issue_comment", payload, attempt=attempt)
        assert "repeated-attempt" in again.decide.out
    (answer,) = lab.answers(pull)
    assert "Comment again" in answer
