"""
Drivers that race, sleep through their lease or have a wrong clock; disks and stores that fail: one
record, a true verdict, nothing left.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest

from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage
from tests.conftest import QUICK, QUICK_MAIN, WriteExperiment, campaign, git
from tests.integration.conftest import Terminal
from tests.standins.aftermath import (
    LIMIT_S,
    ended,
    go_on,
    records,
    rpac_with,
    said,
    stopped,
    the_promise_holds,
)
from tests.standins.faults import Faults, end_all, start
from tests.standins.faulty_s3 import Fault
from tests.standins.unreliable_s3 import UnreliableS3
from tests.standins.waiting import until

pytestmark = pytest.mark.slow  # a minute and more

WELL = "reproduced: identical"
# leaves a line outside the run for each time it is executed; waits for a file where told to
COUNTS = """\
import os, time
with open("{folder}/executions", "a") as file:
    file.write("once\\n")
print("waiting", flush=True)
while os.path.exists("{folder}/wait") and not os.path.exists("{folder}/go"):
    time.sleep(0.02)
"""
Executions: TypeAlias = Callable[[], int]


@pytest.fixture(autouse=True)
def _no_driver_outlives_its_test() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def executions(write_experiment: WriteExperiment, tmp_path: Path) -> Executions:
    """Writes the quick experiment; says how often its command has been executed."""
    write_experiment(files={"main.py": COUNTS.format(folder=tmp_path) + QUICK_MAIN})
    return lambda: len((tmp_path / "executions").read_text().splitlines())


@pytest.fixture
def base(repository: Path, executions: Executions) -> str:
    """The branch's commit before any run."""
    return git(repository, "rev-parse", "HEAD")


def killed(rpac: Terminal, moment: str, *words: str, faults: Faults | None = None) -> None:
    """A driver that is killed at a moment."""
    answer = rpac_with(rpac, *words, faults=faults or Faults(at=moment))
    assert answer.returncode == -signal.SIGKILL, said(answer)


def paused(rpac: Terminal, moment: str, *words: str) -> subprocess.Popen[str]:
    """A driver that has stopped itself at a moment."""
    process = start(rpac.root, *words, faults=Faults(at=moment, do="stop"))
    stopped(process)
    return process


def the_run(rpac: Terminal) -> str:
    """The open run."""
    [run] = [path.name for path in (rpac.root / ".rpac" / "store" / "open").iterdir()]
    return run


def command_runs(rpac: Terminal) -> bool:
    """Whether the command waits for its file."""
    logs = rpac.root.glob(".rpac/store/runs/*/attempt/1/logs/00000/command/*.txt")
    return any("waiting" in path.read_text() for path in logs)


# --- drivers at once ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation",
    campaign([
        "event claim stage", "event claim submit", "event done watch", "event claim collect",
        "event claim release", "git update-ref",
        "git restore", "event committed", "delete open",
    ], every=3),
)  # fmt: skip
def test_three_drivers_come_to_the_same_point_at_once(
    rpac: Terminal, executions: Executions, base: str, operation: str
) -> None:
    killed(rpac, f"before {operation}", "reproduce", "quick")
    run = the_run(rpac)
    drivers = [
        start(rpac.root, "advance", run, faults=Faults(at=f"before {operation}", do="stop"))
        for _ in range(3)
    ]
    for driver in drivers:
        stopped(driver)
    for driver in drivers:
        go_on(driver)
    answers = [ended(driver) for driver in drivers]
    assert [answer.returncode for answer in answers] == [0] * 3, answers
    for answer in answers:
        assert answer.stdout.strip() in (f"{run}: {WELL}", *others_at_work(run)), said(answer)
    assert rpac("advance", run).code == 0
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


def test_three_drivers_record_at_once(rpac: Terminal, executions: Executions, base: str) -> None:
    killed(rpac, "after event done release", "reproduce", "quick")
    run = the_run(rpac)
    answers = [ended(driver) for driver in [start(rpac.root, "advance", run) for _ in range(3)]]
    assert [answer.returncode for answer in answers] == [0] * 3, answers
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


def others_at_work(run: str) -> list[str]:
    """What `advance` says when it leaves a run to another driver."""
    return [
        f"{run}: another driver is at {step}"
        for step in ("stage", "provision", "submit", "collect", "release")
    ]


def test_four_drivers_watch_the_same_command(
    rpac: Terminal, executions: Executions, base: str, tmp_path: Path
) -> None:
    (tmp_path / "wait").touch()
    first = start(rpac.root, "reproduce", "quick")
    until(lambda: command_runs(rpac), limit_s=LIMIT_S)
    run = the_run(rpac)
    store = rpac.root / ".rpac" / "store"
    others = [start(rpac.root, "advance", run) for _ in range(3)]
    clock = store / "control" / run / "clock"
    for other in others:  # each has looked at the job, and so at the store's clock
        until(lambda p=other: looks(p, clock), limit_s=LIMIT_S)  # type: ignore[misc]
    (tmp_path / "go").touch()
    answers = [ended(driver) for driver in (first, *others)]
    assert [answer.returncode for answer in answers] == [0] * 4, answers
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


# --- drivers that are late ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment",
    campaign([
        *[
            f"after event claim {step}"
            for step in ("stage", "provision", "submit", "collect", "release")
        ],
        "before start node 0", "after start node 0", "before event done submit",
        "before remove the folders", "before event done release",
    ], every=3),
)  # fmt: skip
def test_a_driver_that_slept_through_its_lease_does_no_harm(
    rpac: Terminal, executions: Executions, base: str, moment: str
) -> None:
    sleeper = start(
        rpac.root, "reproduce", "quick", faults=Faults(at=moment, do="stop", lease_s=0.3)
    )
    stopped(sleeper)
    run = the_run(rpac)
    until(lambda: "another driver" not in rpac("advance", run).out, limit_s=LIMIT_S)
    commits = git(rpac.root, "for-each-ref")
    go_on(sleeper)
    answer = ended(sleeper)
    assert (answer.returncode, WELL in answer.stdout) == (0, True), said(answer)
    assert git(rpac.root, "for-each-ref") == commits
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


@pytest.mark.parametrize("moment", ["before git fast-import rpac/log", "before git update-ref"])
def test_a_driver_that_slept_while_it_recorded_does_no_harm(
    rpac: Terminal, executions: Executions, base: str, moment: str
) -> None:
    """The second one overtakes it, or waits for it where only one may write."""
    sleeper = paused(rpac, moment, "reproduce", "quick")
    second = start(rpac.root, "advance", "--all")
    until(lambda: second.poll() is not None or waits_for_the_log(second), limit_s=LIMIT_S)
    go_on(sleeper)
    overtaken = ended(second)
    assert (overtaken.returncode, WELL in overtaken.stdout) == (0, True), said(overtaken)
    answer = ended(sleeper)
    assert (answer.returncode, WELL in answer.stdout) == (0, True), said(answer)
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


def waits_for_the_log(process: subprocess.Popen[str]) -> bool:
    """Whether a driver has the file open that lets one at a time write to the log."""
    with contextlib.suppress(psutil.Error):
        files = psutil.Process(process.pid).open_files()
        return any(Path(file.path).name == "rpac-writer" for file in files)
    return False


def test_a_driver_of_another_host_is_believed_until_its_lease_is_over(
    rpac: Terminal, executions: Executions, base: str
) -> None:
    moment = "after event claim submit"
    killed(
        rpac, moment, "reproduce", "quick",
        faults=Faults(at=moment, host="elsewhere", lease_s=4.0),
    )  # fmt: skip
    run = the_run(rpac)
    assert rpac("advance", run).out == f"{run}: another driver is at submit\n"
    until(lambda: "another driver" not in rpac("advance", run).out, limit_s=LIMIT_S)
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


def test_a_request_to_cancel_that_comes_after_the_release_is_too_late(
    rpac: Terminal, executions: Executions, base: str, tmp_path: Path
) -> None:
    """Else the record would be another one than the one in the log."""
    driver = paused(rpac, "before event committed", "reproduce", "quick", "memory=4000GiB")
    run = the_run(rpac)
    store = Storage.at(rpac.root / ".rpac" / "store")
    store.create_json(Keys(run).cancel, {"why": "too late"})
    assert rpac("advance", run).code == 5
    go_on(driver)
    assert ended(driver).returncode == 5
    the_promise_holds(rpac, "could not run", base=base)


# --- clocks ---------------------------------------------------------------------------------------

DAY_S = 86400.0


@pytest.mark.parametrize("ahead_s", [30 * DAY_S, -30 * DAY_S], ids=["ahead", "behind"])
def test_a_driver_with_a_wrong_clock_goes_on_with_a_run(
    rpac: Terminal, executions: Executions, base: str, tmp_path: Path, ahead_s: float
) -> None:
    """It does not take the nodes for overdue, and turns no duration round."""
    (tmp_path / "wait").touch()
    killed(rpac, "after event done submit", "reproduce", "quick")
    until(lambda: command_runs(rpac), limit_s=LIMIT_S)
    clock = rpac.root / ".rpac" / "store" / "control" / the_run(rpac) / "clock"
    other = start(rpac.root, "advance", "--all", faults=Faults(clock_s=ahead_s))
    until(lambda: looks(other, clock), limit_s=LIMIT_S)
    (tmp_path / "go").touch()
    answer = ended(other)
    assert answer.returncode == 0, said(answer)
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


def looks(driver: subprocess.Popen[str], clock: Path) -> bool:
    """Whether a driver has come to look at the nodes, or has ended."""
    return driver.poll() is not None or clock.exists()


@pytest.mark.parametrize("ahead_s", [30 * DAY_S, -30 * DAY_S], ids=["ahead", "behind"])
@pytest.mark.parametrize("moment", ["after event claim stage", "before event done release"])
def test_a_driver_with_a_wrong_clock_is_followed_by_one_with_a_right_one(
    rpac: Terminal, executions: Executions, base: str, ahead_s: float, moment: str
) -> None:
    killed(
        rpac, moment, "reproduce", "quick",
        faults=Faults(at=moment, clock_s=ahead_s, lease_s=1.0, host="elsewhere"),
    )  # fmt: skip
    run = the_run(rpac)
    until(lambda: "another driver" not in rpac("advance", run).out, limit_s=LIMIT_S)
    record = the_promise_holds(rpac, WELL, base=base)
    names = [phase["name"] for phase in record["circumstances"]["phases"]]
    assert names[:3] == ["stage", "provision", "submit"]
    assert executions() == 1


# --- disks ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def cramped(small_disk: Path, tmp_path: Path) -> Iterator[Terminal]:
    """A repository on a small disk: code, git, store and the nodes' folders."""
    root = small_disk / "repository"
    folder = root / "experiments" / "quick"
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(QUICK.format(name="quick"))
    (folder / "main.py").write_text(COUNTS.format(folder=tmp_path) + QUICK_MAIN)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "add quick")
    terminal = Terminal(root)
    yield terminal
    for process in terminal.marked():
        process.kill()


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk to the last byte; free it again at the end."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


# by the system, and by git
DISK_FULL = re.compile("No space left on device|Out of diskspace")


def test_a_full_disk_before_there_is_a_run(cramped: Terminal, small_disk: Path) -> None:
    base = git(cramped.root, "rev-parse", "HEAD")
    with full(small_disk):
        answer = rpac_with(cramped, "reproduce", "quick")
    assert (answer.returncode, bool(DISK_FULL.search(answer.stderr))) == (5, True), said(answer)
    assert "Traceback" not in answer.stderr
    assert rpac_with(cramped, "reproduce", "quick").returncode == 0
    the_promise_holds(cramped, WELL, base=base)


@pytest.mark.parametrize(
    ("moment", "code"),
    campaign(
        [
            ("before event claim stage", 5),
            ("after event claim stage", 5),
            ("after event claim collect", 5),
            ("before event done release", 5),
            ("before git fast-import rpac/log", 6),
            ("before git fast-import rpac/unborn", 6),
            ("before git restore", 6),
            ("before event committed", 5),
        ],
        every=3,
    ),
)
def test_a_disk_becomes_full_and_is_freed(
    cramped: Terminal, small_disk: Path, moment: str, code: int
) -> None:
    base = git(cramped.root, "rev-parse", "HEAD")
    driver = paused(cramped, moment, "reproduce", "quick")
    run = the_run(cramped)
    with full(small_disk):
        go_on(driver)
        answer = ended(driver)
    assert answer.returncode == code, said(answer)
    assert DISK_FULL.search(answer.stderr), said(answer)
    assert f"rpac advance {run}" in answer.stderr
    assert "Traceback" not in answer.stderr
    advanced = rpac_with(cramped, "advance", run)
    assert advanced.returncode == 0, said(advanced)
    the_promise_holds(cramped, WELL, base=base)


def test_a_disk_that_becomes_full_under_the_nodes_says_nothing_of_the_result(
    cramped: Terminal, small_disk: Path, tmp_path: Path
) -> None:
    base = git(cramped.root, "rev-parse", "HEAD")
    (tmp_path / "wait").touch()
    driver = start(cramped.root, "reproduce", "quick")
    until(lambda: command_runs(cramped), limit_s=LIMIT_S)
    run = the_run(cramped)
    with full(small_disk):
        (tmp_path / "go").touch()
        answer = ended(driver)
    assert answer.returncode == 5, said(answer)
    assert DISK_FULL.search(answer.stderr), said(answer)
    advanced = rpac_with(cramped, "advance", run)
    assert advanced.returncode == 5, said(advanced)
    the_promise_holds(cramped, "could not run", base=base)


@pytest.mark.parametrize(
    ("moment", "code"), [("before event claim stage", 5), ("before git fast-import rpac/log", 6)]
)
def test_files_that_may_not_grow(
    rpac: Terminal, executions: Executions, base: str, moment: str, code: int
) -> None:
    """The same without a disk of our own: a quota answers much like a full disk."""
    faults = Faults(at=moment, file_bytes=100)
    answer = rpac_with(rpac, "reproduce", "quick", faults=faults)
    assert answer.returncode == code, said(answer)
    run = the_run(rpac)
    assert f"rpac advance {run}" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert rpac_with(rpac, "advance", run).returncode == 0
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


# --- stores ---------------------------------------------------------------------------------------


def test_a_file_where_the_store_should_be_is_an_error(
    rpac: Terminal, executions: Executions
) -> None:
    (rpac.root / ".rpac").mkdir()
    (rpac.root / ".rpac" / "store").write_text("in the way")
    for words in (["reproduce", "quick"], ["advance", "--all"], ["sweep"]):
        answer = rpac_with(rpac, *words)
        assert answer.returncode == 5, said(answer)
        assert answer.stderr.startswith("rpac: no store can be made in "), said(answer)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_store_that_cannot_be_read_is_an_error_and_harms_nothing(
    rpac: Terminal, executions: Executions, base: str
) -> None:
    killed(rpac, "after event done submit", "reproduce", "quick")
    run = the_run(rpac)
    control = rpac.root / ".rpac" / "store" / "control" / run
    control.chmod(0)
    answer = rpac_with(rpac, "advance", "--all")
    control.chmod(0o700)
    assert (answer.returncode, "Traceback" in answer.stderr) == (5, False), said(answer)
    assert rpac_with(rpac, "advance", run).returncode == 0
    the_promise_holds(rpac, WELL, base=base)
    assert executions() == 1


@pytest.fixture(scope="module")
def s3() -> Iterator[UnreliableS3]:
    with UnreliableS3() as server:
        yield server


class Remote:
    """A repository whose runs are kept in a bucket; so are those of its nodes."""

    def __init__(self, rpac: Terminal, s3: UnreliableS3) -> None:
        s3.behave()
        self.rpac = rpac
        self.storage = s3.storage()

    def __call__(self, *words: str, at: str = "") -> subprocess.CompletedProcess[str]:
        return rpac_with(self.rpac, *words, faults=Faults(at=at, store=self.storage.url))

    def the_promise_holds(self, *, base: str) -> None:
        """One record, one commit, nothing left in the bucket and on this machine."""
        root = self.rpac.root
        [record] = records(root)
        assert record["verdict"]["outcome"] == WELL, record["outcome"]
        for revisions in ("rpac/log", f"{base}..HEAD"):
            assert git(root, "rev-list", "--count", revisions) == "1"
        assert list((root / ".rpac" / "local").iterdir()) == []
        assert self.storage.list("open/") == []
        assert [e.key for e in self.storage.list("runs/") if e.key.endswith("secret")] == []
        assert self("advance", "--all").stdout == "no open runs\n"
        assert self("sweep").stdout == "nothing is left over\n"  # so there is no process either


@pytest.fixture
def remote(rpac: Terminal, s3: UnreliableS3, monkeypatch: pytest.MonkeyPatch) -> Remote:
    for name, value in {
        "ENDPOINT_URL": s3.endpoint, "ALLOW_HTTP": "true", "REGION": "us-east-1",
        "ACCESS_KEY_ID": "nobody", "SECRET_ACCESS_KEY": "nothing",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    return Remote(rpac, s3)


def now_and_then(fault: Fault) -> list[Fault | None]:
    """Two writes of five fail, in an order with which no two writers can keep step."""
    return [fault, None, None, fault, None, fault, fault, None, None, None]


@pytest.mark.parametrize(
    "at",
    [
        "",
        pytest.param("after event claim submit", marks=pytest.mark.nightly),
        pytest.param("after event done watch", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.parametrize(
    "weather",
    [
        {"writes": now_and_then(Fault.STORE_THEN_500)},
        {"writes": now_and_then(Fault.STORE_THEN_DROP)},
        {"writes": now_and_then(Fault.ERROR_500)},
        {"away": range(20, 45)},
        {"delay_s": 0.05},
    ],
    ids=["stores, then says 500", "stores, then hangs up", "500", "away for a while", "slow"],
)
def test_a_store_on_a_server_that_fails(
    remote: Remote, s3: UnreliableS3, executions: Executions, base: str,
    weather: dict[str, Any], at: str,
) -> None:  # fmt: skip
    """With a driver that lives, or is killed besides."""
    s3.behave(**weather)
    answer = remote("reproduce", "quick", at=at)
    assert answer.returncode == (-signal.SIGKILL if at else 0), said(answer)
    if at:
        answer = remote("advance", "--all")
        assert answer.returncode == 0, said(answer)
    assert s3.spoiled or "delay_s" in weather
    s3.behave()
    remote.the_promise_holds(base=base)
    assert executions() == 1


def test_a_store_is_waited_for_by_the_time_not_by_the_tries(
    remote: Remote, s3: UnreliableS3
) -> None:
    """Ten tries, which is what obstore makes unless told, are over in two seconds."""
    remote.storage.put("key", b"value")
    s3.behave(away=range(12))
    assert Storage(remote.storage.url).get("key") == b"value"
    assert s3.spoiled == 12
