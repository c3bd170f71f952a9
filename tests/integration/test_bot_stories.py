"""
Conversations on pull requests: a comment comes in, a commit goes out.

GitHub is a stand-in on a real socket with a real git repository; the jobs of the workflows are
child processes with real event files; runs really run, on the local cloud.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import QUICK, QUICK_MAIN, ROOT, git
from tests.integration.lab import QUICK_FILES, Lab
from tests.standins.github import GitHubServer


@pytest.fixture
def lab(hub: GitHubServer, tmp_path: Path) -> Lab:
    return Lab(hub, tmp_path)


@pytest.mark.slow
def test_a_comment_reproduces_an_experiment_and_commits_the_report(lab: Lab) -> None:
    pull = lab.pull()
    opened = lab.runner.handle("pull_request", lab.hub.pull_event(pull, "opened", lab.author))
    assert opened.decide.code == 0, opened.decide.err
    (check,) = lab.hub.checks(pull.head_sha)
    assert check.conclusion == "success"
    assert "Time limit" in check.output["summary"]
    assert "/reproduce quick" in check.output["summary"]
    head = pull.head_sha

    done = lab.says(lab.author, pull, "Looks good.\n\n/reproduce quick\n")

    assert done.decide.code == 0, done.decide.err
    run = done.run
    assert [r.content for r in lab.hub.comments(pull)[0].reactions] == ["eyes"]
    (answer,) = lab.answers(pull)
    assert "reproduced: identical" in answer
    assert "| level |" in answer
    assert f"/reproduce quick@{run}" in answer
    on_log = lab.reports("rpac/log")
    assert {path.rsplit("/", 1)[1] for path in on_log} >= {"report.md", "pipeline.yaml"}
    assert lab.reports("topic") == on_log
    assert f"{lab.hub.url}/lab/experiments/blob/" in answer
    checks = {c.name: c for c in lab.hub.checks(head)}
    assert checks["rpac: quick"].conclusion == "success"
    assert checks["rpac: quick"].external_id == run

    lab.hub.merge(pull, squash=True)
    lab.hub.delete_branch("topic")
    rpac = lab.clone()
    assert run in rpac("history", "quick").out
    again = rpac("reproduce", f"quick@{run}")
    assert again.code == 0, again.err
    assert "reproduced: identical" in again.out
    assert rpac("fsck").code == 0


@pytest.mark.slow
def test_a_second_push_by_the_bot_does_not_move_what_was_tested(lab: Lab) -> None:
    pull = lab.pull()
    first = lab.says(lab.author, pull, "/reproduce quick")
    second = lab.says(lab.author, pull, "/reproduce quick args.level=8")
    assert {first.run, second.run} == {
        path.split("/")[3] for path in lab.reports("topic") if path.endswith("record.json")
    }
    assert "compared (variant)" in lab.answers(pull)[1]


@pytest.mark.slow
def test_required_checks_keep_the_report_on_the_log_and_the_comment_says_why(lab: Lab) -> None:
    lab.hub.required_checks("main", ["tests"])
    pull = lab.pull()
    lab.says(lab.author, pull, "/reproduce quick")
    assert lab.reports("rpac/log")
    assert lab.reports("topic") == set()
    (answer,) = lab.answers(pull)
    assert "on `rpac/log` only" in answer
    assert "requires checks" in answer
    assert "tests" in answer


@pytest.mark.slow
def test_with_an_apps_token_the_report_goes_to_the_branch_all_the_same(lab: Lab) -> None:
    lab.hub.required_checks("main", ["tests"])
    lab.runner.app = {"contents": "write", "metadata": "read"}
    pull = lab.pull()
    lab.says(lab.author, pull, "/reproduce quick")
    assert lab.reports("topic") == lab.reports("rpac/log") != set()


@pytest.mark.slow
def test_a_fork_gets_a_plan_and_somebody_approves_it(lab: Lab) -> None:
    outsider = lab.hub.user("contributor", role=None)
    fork = lab.hub.fork(outsider)
    lab.hub.push("idea", dict(QUICK_FILES), "Add an experiment", repository=fork)
    pull = lab.hub.open_pull("idea", by=outsider, fork=fork)

    opened = lab.runner.handle("pull_request", lab.hub.pull_event(pull, "opened", outsider))
    assert opened.decide.code == 0
    assert lab.hub.checks(pull.head_sha) == []  # a fork's token may not write
    assert "Time limit" in opened.summary

    asked = lab.says(lab.author, pull, "/reproduce quick")
    assert asked.runs == []
    (plan,) = lab.answers(pull)
    name = plan.split("/approve ")[1].split()[0]

    refused = lab.says(outsider, pull, f"/approve {name}")
    assert refused.runs == []
    assert "role-too-low" in lab.answers(pull)[1]

    done = lab.says(lab.maintainer, pull, f"/approve {name}")
    assert "reproduced: identical" in lab.answers(pull)[2]
    assert "in a fork" in lab.answers(pull)[2]
    assert any(done.run in path for path in lab.reports("rpac/log"))

    again = lab.says(lab.maintainer, pull, f"/approve {name}")
    assert again.runs == []
    assert "plan-used" in lab.answers(pull)[3]


@pytest.mark.slow
def test_a_job_that_dies_is_told_and_never_held_against_the_result(lab: Lab) -> None:
    pull = lab.pull()
    head = pull.head_sha
    payload = lab.runner.said(pull, lab.author, "/reproduce quick")
    sent = lab.runner.handle("issue_comment", payload)
    (waiting,) = lab.answers(pull)
    assert "is being reproduced" in waiting
    ended = lab.runner.commit_job(sent.runs[0], None, payload, sent.number, job="failure")
    assert ended.code == 5
    (answer,) = lab.answers(pull)
    assert "could not run" in answer
    assert "runner lost" in answer
    assert any(sent.run in path for path in lab.reports("rpac/log"))
    (check,) = lab.hub.checks(head)
    assert check.conclusion == "action_required"


@pytest.mark.slow
def test_a_job_that_never_came_is_found_by_the_timer(lab: Lab) -> None:
    pull = lab.pull()
    sent = lab.runner.handle("issue_comment", lab.runner.said(pull, lab.author, "/reproduce quick"))
    early = lab.runner.handle("schedule", lab.hub.schedule_event())
    assert early.decide.code == 0, early.decide.err
    assert "is being reproduced" in lab.answers(pull)[0]
    late = lab.runner.handle("schedule", lab.hub.schedule_event(), later_s=100_000)
    assert late.decide.code == 0, late.decide.err
    assert "could not run" in lab.answers(pull)[0]
    assert any(sent.run in path for path in lab.reports("rpac/log"))


@pytest.mark.slow
def test_a_run_that_fails_says_what_failed_and_how_its_log_ends(lab: Lab) -> None:
    failing = "import sys\nprint('about to divide')\nsys.exit(3)\n"
    pull = lab.pull({**QUICK_FILES, "experiments/quick/main.py": failing})
    lab.says(lab.author, pull, "/reproduce quick")
    (answer,) = lab.answers(pull)
    assert "inconclusive (run failed)" in answer
    assert "about to divide" in answer
    assert "**Exit code of the command:** 3" in answer
    assert "**What to do:**" in answer


@pytest.mark.slow
def test_a_cancelled_run_is_released_recorded_and_told(lab: Lab) -> None:
    slow = "import time\nprint('started', flush=True)\ntime.sleep(600)\n"
    pull = lab.pull({**QUICK_FILES, "experiments/quick/main.py": slow})
    payload = lab.runner.said(pull, lab.author, "/reproduce quick")
    sent = lab.runner.handle("issue_comment", payload)
    told = lab.says(lab.author, pull, f"/cancel {sent.run}")
    assert told.decide.code == 0, told.decide.err
    assert lab.hub.cancelled == [sent.number]
    results = lab.runner.run_job(sent.run, payload, sent.number, interrupt_after="submit")
    lab.runner.commit_job(sent.runs[0], results, payload, sent.number, job="cancelled")
    first, second = lab.answers(pull)
    assert "inconclusive (cancelled)" in first
    assert "is told to stop" in second


@pytest.mark.slow
def test_an_accepted_run_is_what_later_ones_are_compared_with(lab: Lab) -> None:
    without = QUICK.format(name="quick").replace("verify:\n  level: {expect: 7}\n", "")
    pull = lab.pull({**QUICK_FILES, "experiments/quick/experiment.yaml": without})
    first = lab.says(lab.author, pull, "/reproduce quick")
    assert "baseline" in lab.answers(pull)[0]
    refused = lab.says(lab.author, pull, f"/accept {first.run}")
    assert "role-too-low" in lab.answers(pull)[1], refused
    lab.says(lab.maintainer, pull, f"/accept {first.run}")
    assert "is a reference from now on" in lab.answers(pull)[2]
    path = f"reports/quick/accepted/{first.run}.json"
    assert path in lab.reports("rpac/log")
    assert path in lab.reports("topic")
    lab.says(lab.author, pull, "/reproduce quick")
    assert "reproduced: identical" in lab.answers(pull)[3]


@pytest.mark.slow
def test_history_status_compare_and_help_answer_as_a_terminal_does(lab: Lab) -> None:
    pull = lab.pull()
    first = lab.says(lab.author, pull, "/reproduce quick")
    second = lab.says(lab.author, pull, "/reproduce quick args.level=8")
    lab.says(lab.reader, pull, "/history quick verdict=reproduced")
    lab.says(lab.reader, pull, "/status")
    lab.says(lab.reader, pull, f"/compare {first.run} {second.run}")
    lab.says(lab.reader, pull, "/help reproduce")
    history, status, compare, help_ = lab.answers(pull)[2:]
    assert first.run in history
    assert second.run not in history
    assert first.run in status
    assert second.run in status
    assert "args.level" in compare
    assert "/reproduce" in help_


@pytest.mark.slow
def test_outside_a_pull_request_the_default_branch_is_run(lab: Lab) -> None:
    lab.hub.push("main", dict(QUICK_FILES), "Add an experiment")
    issue = lab.hub.open_issue("Does it still come out?", by=lab.author)
    done = lab.says(lab.author, issue, "/reproduce quick")
    assert "reproduced: identical" in lab.answers(issue)[0]
    assert any(done.run in path for path in lab.reports("rpac/log"))
    assert lab.reports("main") == set()


@pytest.mark.slow
def test_a_dispatched_command_runs_without_a_comment(lab: Lab) -> None:
    lab.hub.push("main", dict(QUICK_FILES), "Add an experiment")
    event = lab.hub.dispatch_event("reproduce quick", sender=lab.author)
    done = lab.runner.workflow("workflow_dispatch", event)
    assert done.decide.code == 0, done.decide.err
    assert any(done.run in path for path in lab.reports("rpac/log"))
    assert "reproduced: identical" in done.concluded[0].out


@pytest.mark.slow
def test_a_schedule_reproduces_accepted_experiments_and_reports_a_changed_verdict(
    lab: Lab,
) -> None:
    settings = "rerun:\n  - {experiments: ['*'], every: 30 d}\n"
    lab.hub.push("main", {**QUICK_FILES, "rpac.yaml": settings}, "Add an experiment")
    assert lab.runner.workflow("schedule", lab.hub.schedule_event()).runs == []  # none is accepted
    lab.accepted_long_ago("quick")
    drifted = QUICK_MAIN.replace("int(sys.argv[1])", "int(sys.argv[1]) + 1")
    lab.hub.push("main", {"experiments/quick/main.py": drifted}, "A small improvement")

    due = lab.runner.workflow("schedule", lab.hub.schedule_event())

    assert len(due.runs) == 1, due.decide
    (opened,) = lab.hub.issues()
    assert opened.title == "quick: not reproduced, was reproduced: identical"
    assert "| level |" in opened.body
    assert lab.runner.workflow("schedule", lab.hub.schedule_event()).runs == []  # not due again


@pytest.mark.slow
def test_a_real_experiment_on_two_nodes(lab: Lab) -> None:
    source = ROOT / "experiments" / "eddy-census"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "."], cwd=source, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    files: dict[str, str | bytes | None] = {
        f"experiments/eddy-census/{name}": (source / name).read_bytes() for name in tracked if name
    }
    pull = lab.pull(files)
    done = lab.says(lab.author, pull, "/reproduce eddy-census nodes=2")
    (answer,) = lab.answers(pull)
    assert "reproduced" in answer.splitlines()[1], answer
    assert ".png" in answer
    record = json.loads(
        next(
            content
            for path, content in lab.hub.files("rpac/log", "reports/").items()
            if path.endswith(f"{done.run}/record.json")
        )
    )
    assert len(record["circumstances"]["nodes"]) == 2
    assert record["circumstances"]["requested"] == {
        "via": "comment", "actor": lab.author.id, "study": None,
        "words": "/reproduce eddy-census nodes=2 cloud=local",
    }  # fmt: skip
    assert any(path.endswith(".png") for path in lab.reports("topic"))


@pytest.mark.slow
def test_a_new_repository_is_ready_after_init_and_a_push(lab: Lab) -> None:
    rpac = lab.clone("new")
    source = "git+https://example.org/lab/rpac@" + "1" * 40
    shown = rpac("init", "--source", source)
    assert shown.code == 4  # nobody could be asked, so the changes are only shown
    assert "+schema: rpac/site/1" in shown.out
    done = rpac("init", "--source", source, "--yes")
    assert done.code == 0, done.err
    git(rpac.root, "add", "--all")
    git(rpac.root, "commit", "--quiet", "--message", "Reproduce experiments from comments")
    environment = lab.runner.environment("schedule", lab.hub.schedule_event(), 1)
    git(rpac.root, "config", "http.extraheader", lab.hub.basic(environment["GITHUB_TOKEN"]))
    git(rpac.root, "push", "--quiet", "origin", "HEAD:main")
    assert rpac("init", "--source", source, "--dry-run").code == 0

    issue = lab.hub.open_issue("Does it work?", by=lab.author)
    lab.says(lab.author, issue, "/reproduce estimate-pi")
    (answer,) = lab.answers(issue)
    assert "`estimate-pi`: reproduced" in answer


@pytest.mark.slow
def test_a_list_of_values_is_a_study_with_one_comment_and_a_page(lab: Lab) -> None:
    pull = lab.pull()
    done = lab.says(lab.author, pull, "/reproduce quick args.level=7,8 repeat=2")
    assert len(done.runs) == 4, done.decide
    (answer,) = lab.answers(pull)
    assert "study: " in answer
    for one in done.runs:
        assert one["run"] in answer
    (page,) = [path for path in lab.reports("rpac/log") if path.endswith("study.md")]
    assert page in lab.reports("topic")
    assert page.removesuffix("/study.md") in answer
    rpac = lab.clone()
    study = page.split("/")[3]
    assert "args.level" in rpac("show", study).out
    assert len(rpac("history", f"study={study}", "--json").json) == 4
    again = lab.runner.handle("schedule", lab.hub.schedule_event())
    assert again.decide.code == 0, again.decide.err
    assert "page over" not in again.decide.out


@pytest.mark.slow
def test_a_study_is_planned_refused_or_run_as_a_whole(lab: Lab) -> None:
    pull = lab.pull()
    planned = lab.runner.handle(
        "issue_comment", lab.runner.said(pull, lab.author, "/plan quick args.level=7,8")
    )
    assert planned.runs == []
    assert lab.answers(pull)[0].count("/approve ") == 2
    many = lab.runner.handle(
        "issue_comment", lab.runner.said(pull, lab.author, "/reproduce quick repeat=40")
    )
    assert many.runs == []
    assert "16 are the most in a comment" in lab.answers(pull)[1]
    outsider = lab.hub.user("contributor", role=None)
    fork = lab.hub.fork(outsider)
    lab.hub.push("idea", dict(QUICK_FILES), "Add an experiment", repository=fork)
    other = lab.hub.open_pull("idea", by=outsider, fork=fork)
    asked = lab.runner.handle(
        "issue_comment", lab.runner.said(other, lab.author, "/reproduce quick args.level=7,8")
    )
    assert asked.runs == []
    assert lab.answers(other)[0].count("study-asks") == 2


def test_a_plan_of_several_clouds_is_shown_side_by_side(lab: Lab) -> None:
    pull = lab.pull()
    asked = lab.says(lab.author, pull, "/plan quick cloud=local,mars")
    assert asked.runs == []
    (answer,) = lab.answers(pull)
    assert "### Side by side: local, mars" in answer
    assert "| possible | yes | no |" in answer
    assert "mars: not available: there is no cloud" in answer
    assert answer.count("/approve ") == 1
