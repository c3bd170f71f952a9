"""What AWS says about jobs is asked once for all who watch, and a failed question is no answer."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from rpac_ci.clouds.aws.board import PAGE, JobBoard, pages
from rpac_ci.errors import ThrottledError


class Batch:
    """Answers DescribeJobs for the jobs it knows."""

    def __init__(self, *known: str, takes_s: float = 0.0) -> None:
        self.known = set(known)
        self.asked: list[list[str]] = []
        self.takes_s = takes_s
        self.fails = 0

    def __call__(self, jobs: list[str]) -> list[dict[str, Any]]:
        self.asked.append(jobs)
        time.sleep(self.takes_s)
        if self.fails:
            self.fails -= 1
            raise ThrottledError("looking at jobs: AWS says ThrottlingException")
        return [{"jobId": job, "number": len(self.asked)} for job in jobs if job in self.known]


def test_a_fresh_answer_is_given_again() -> None:
    batch = Batch("a", "b")
    board = JobBoard(batch, fresh_s=60)
    assert board.look("a") == board.look("a") == {"jobId": "a", "number": 1}
    assert board.look("b") == {"jobId": "b", "number": 2}, "nobody has asked about b"
    assert board.look("a") == {"jobId": "a", "number": 2}, "a came with it"
    assert batch.asked == [["a"], ["a", "b"]]


def test_an_old_answer_is_asked_for_again() -> None:
    batch = Batch("a")
    board = JobBoard(batch, fresh_s=-1)
    board.look("a")
    assert board.look("a") == {"jobId": "a", "number": 2}


def test_a_job_that_aws_does_not_know_is_none_and_not_asked_about_all_the_time() -> None:
    batch = Batch()
    board = JobBoard(batch, fresh_s=60)
    assert board.look("a") is None
    assert board.look("a") is None
    assert batch.asked == [["a"]]


def test_more_than_a_page_of_jobs_takes_one_call_for_each_hundred() -> None:
    jobs = [f"job-{n}" for n in range(2 * PAGE + 1)]
    batch = Batch(*jobs)
    board = JobBoard(batch, fresh_s=60)
    for job in jobs:
        board.look(job)
    batch.asked.clear()
    board._asked = float("-inf")  # some time later

    found = [board.look(job) for job in jobs]

    assert [said and said["jobId"] for said in found] == jobs
    assert [len(page) for page in batch.asked] == [PAGE, PAGE, 1]


def test_pages_hold_every_job_once() -> None:
    jobs = [str(n) for n in range(250)]
    assert [job for page in pages(jobs) for job in page] == jobs
    assert list(pages([])) == []


def test_a_forgotten_job_is_not_asked_about() -> None:
    batch = Batch("a", "b")
    board = JobBoard(batch, fresh_s=-1)
    board.look("a")
    board.look("b")
    board.forget("a")
    board.forget("a")
    board.look("b")
    assert batch.asked[-1] == ["b"]
    assert board.look("a"), "unless somebody comes back to it"


def test_a_job_that_nobody_looks_at_any_more_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, now = Batch("a", "b"), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    board = JobBoard(batch)
    board.look("a")
    now += 1000
    board.look("b")
    assert batch.asked[-1] == ["b"]


def test_a_question_that_failed_is_asked_again_whatever_is_fresh() -> None:
    """Else a job whose first look was throttled would be taken for one that AWS does not know."""
    batch = Batch("a", "b")
    board = JobBoard(batch, fresh_s=60)
    board.look("a")
    batch.fails = 1
    with pytest.raises(ThrottledError):
        board.look("b")
    assert board.look("b") == {"jobId": "b", "number": 3}
    assert board.look("a"), "what was known stays known"


def test_threads_that_watch_thirty_runs_share_one_call_for_each_poll() -> None:
    jobs = [f"job-{n}" for n in range(30)]
    batch = Batch(*jobs, takes_s=0.002)
    board = JobBoard(batch, fresh_s=0.1)
    stop, wrong = time.monotonic() + 1.0, []

    def watch(job: str) -> None:
        while time.monotonic() < stop:
            said = board.look(job)
            if said is None or said["jobId"] != job:
                wrong.append((job, said))
            time.sleep(0.01)

    threads = [threading.Thread(target=watch, args=[job]) for job in jobs]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began

    assert wrong == []
    first_looks = len(jobs)
    assert len(batch.asked) <= first_looks + took / 0.1 + 1, "not one for each run and poll"
