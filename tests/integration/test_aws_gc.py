"""
`rpac gc aws`: what the bucket of a stand-in may forget while others use it.

Nothing sleeps for a month: the gate tells older times of what is in the bucket.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpac_ci import garbage, open_runs
from rpac_ci.cli import upkeep
from rpac_ci.jobs import Keys
from rpac_ci.workspace import Workspace
from tests.conftest import QUICK, QUICK_MAIN, WriteExperiment, git
from tests.integration import test_aws_faults
from tests.integration.conftest import Answer, Terminal
from tests.integration.test_aws_faults import IMAGE, Lab
from tests.standins.aftermath import ended
from tests.standins.aws import AwsStandin, Call, Fault
from tests.standins.aws_nodes import Nodes
from tests.standins.faults import start

pytestmark = pytest.mark.slow

server, account, nodes = (
    test_aws_faults.server, test_aws_faults.account, test_aws_faults.nodes,
)  # fmt: skip
LONG, SHORT = 40, 20  # days
DATA = b"sea level, 1993 to 2024\n" * 1000


@pytest.fixture
def lab(
    rpac: Terminal, account: AwsStandin, nodes: Nodes,
    write_experiment: WriteExperiment,
) -> Iterator[Lab]:  # fmt: skip
    """A repository whose experiment has an input beside it."""
    (rpac.root / "rpac.yaml").write_text(account.settings())
    git(rpac.root, "add", "rpac.yaml")
    pinned = hashlib.sha256(DATA).hexdigest()
    yaml = (
        QUICK.format(name="quick") + f"environment: {{image: '{IMAGE}'}}\n"
        f"data: {{levels: {{uri: 'file:levels.csv', sha256: {pinned}}}}}\n"
    )
    write_experiment("quick", yaml, {"main.py": QUICK_MAIN, "levels.csv": DATA.decode()})
    made = Lab(rpac, account, nodes, git(rpac.root, "rev-parse", "HEAD"))
    yield made
    account.gate.old.clear()
    made.all_is_listed()


def gc(lab: Lab, *words: str) -> Answer:
    return lab.rpac("gc", "aws", *words)


def removed(answer: Answer) -> set[str]:
    """Keys that the command names."""
    return {item["key"] for item in answer.json["removed"]}


def keys(lab: Lab, prefix: str = "") -> set[str]:
    """What is in the store, but for what tells the time."""
    return {entry.key for entry in lab.nodes.storage.list(prefix)} - {garbage.CLOCK}


def submitted(lab: Lab) -> str:
    """A run whose nodes are at work."""
    lab.nodes.work = False
    done = lab.rpac("reproduce", "quick", "cloud=aws", "--detach", "--json")
    assert done.code == 0, done.out + done.err
    lab.nodes.work = True
    return str(done.json["run"])


def test_leftovers_of_a_concluded_run_go_when_they_are_old(lab: Lab) -> None:
    assert lab.reproduce().code == 0
    run = lab.rpac.last()["run"]
    there = keys(lab)
    lab.account.age(SHORT)
    young = gc(lab, "--yes", "--json")
    assert (young.code, removed(young)) == (0, set())
    assert keys(lab) == there

    lab.account.age(LONG)
    told = gc(lab, "--dry-run")
    assert told.code == 0, told.err
    assert "2 objects" in told.out, told.out
    assert "code or input that no open run needs" in told.out
    assert told.out.strip().endswith("could be freed")
    assert keys(lab) == there, "only told"

    gone = gc(lab, "--yes")
    assert gone.code == 0, gone.err
    assert gone.out.strip().endswith("removed")
    kept = {key.partition(Keys(run).attempt_folder)[2].split("/")[0] for key in keys(lab)}
    assert kept <= {"outputs", "logs"}, keys(lab)
    assert "outputs" in kept
    assert lab.rpac("fetch", run, str(lab.rpac.root.parent / "there")).code == 0
    assert removed(gc(lab, "--yes", "--json")) == set(), "nothing is left to do"
    again = lab.rpac("reproduce", f"quick@{run}")
    assert again.code == 0, again.out + again.err


def test_nobody_asked_means_no(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.reproduce().code == 0
    lab.account.age(LONG)
    there = keys(lab)
    for words in ((), ("--json",)):
        answer = gc(lab, *words)
        assert answer.code == 4
        assert "rpac gc aws --yes" in answer.err
        assert keys(lab) == there
    agreed: list[bool] = [False, True]
    monkeypatch.setattr(upkeep, "agreed", lambda *_, **__: agreed.pop(0))
    monkeypatch.setattr(upkeep, "at_a_terminal", lambda: True)
    assert gc(lab).code == 0
    assert keys(lab) == there
    assert gc(lab).code == 0
    assert keys(lab) < there


def test_inputs_of_open_runs_of_anybody_stay(lab: Lab, tmp_path: Path) -> None:
    """Two clones with a run each; neither's log has the other's, and all of it is old."""
    mine = submitted(lab)
    other = Terminal(tmp_path / "other")
    shutil.copytree(lab.rpac.root, other.root, ignore=shutil.ignore_patterns(".rpac"))
    (other.root / "experiments/quick/main.py").write_text(QUICK_MAIN + "# of somebody else\n")
    git(other.root, "commit", "--quiet", "--all", "--message", "other code")
    theirs = submitted(Lab(other, lab.account, lab.nodes, lab.base))
    lab.account.age(LONG)
    there = keys(lab)
    assert len(keys(lab, "content/")) == 3, "two trees of code and one input"
    assert removed(gc(lab, "--yes", "--json")) == set()
    assert keys(lab) == there

    for run in (mine, theirs):
        lab.nodes.end(run)
    assert other("advance", theirs).code == 0
    lab.account.age(LONG)
    assert len(removed(gc(lab, "--yes", "--json"))) == 1, "the other's code; the input is mine, too"
    assert lab.rpac("advance", mine).code == 0
    lab.account.age(LONG)
    answer = gc(lab, "--yes", "--json")
    assert keys(lab, "content/") == set()
    assert [kept["run"] for kept in answer.json["kept"]] == [theirs], "it is not in this log"


def test_a_run_that_starts_while_the_list_is_made_loses_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds an old input just before that would go, and needs it."""
    assert lab.reproduce().code == 0
    lab.account.age(LONG)
    started: list[str] = []

    def agreed(*_: object, **__: object) -> bool:
        started.append(submitted(lab))
        return True

    monkeypatch.setattr(upkeep, "agreed", agreed)
    assert gc(lab).code == 0
    [run] = started
    assert len(keys(lab, "content/")) == 2
    assert lab.nodes.storage.get(Keys(run).job) is not None
    lab.nodes.end(run)
    assert lab.advance().code == 0
    assert lab.rpac.last()["verdict"]["outcome"] == test_aws_faults.REPRODUCED


@pytest.mark.parametrize(("days", "again"), [(0, False), (10, False), (SHORT, True)])
def test_an_input_is_put_there_again_before_it_may_go(lab: Lab, days: int, again: bool) -> None:
    assert lab.reproduce().code == 0
    lab.account.age(days)
    [data] = [key for key in keys(lab, "content/") if lab.nodes.storage.get(key) == DATA]
    lab.account.gate.calls.clear()
    assert lab.reproduce().code == 0
    written = [call for call in lab.account.gate.calls if call.action == "PUT"]
    assert any(call.path.endswith(data) for call in written) is again


def test_a_run_that_is_just_being_made_is_left_alone(lab: Lab) -> None:
    """Marker and code are there, and no event."""
    workspace = Workspace.open(lab.rpac.root)
    place, run = workspace.on("aws"), "20260101T000000Z-00000000"
    place.storage.put(Keys(run).open, b"")
    place.storage.put(Keys(run).pipeline, b"{}")
    place.storage.put("content/sha256/" + "a" * 64, b"code")
    there = keys(lab)
    assert removed(gc(lab, "--yes", "--json")) == set()
    lab.account.age(LONG)
    assert removed(gc(lab, "--yes", "--json")) == {"content/sha256/" + "a" * 64}
    assert keys(lab) < there, "and after a month nobody is making it"
    assert open_runs.names(workspace) == [run], "which rpac advance forgets"


def test_a_killed_gc_is_followed_by_another(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.reproduce().code == 0
    open_run = submitted(lab)
    lab.account.age(LONG)
    expected = keys(lab) - removed(gc(lab, "--dry-run", "--json"))
    process = start(lab.rpac.root, "gc", "aws", "--yes")

    def strike(call: Call) -> None:
        if call.action == "POST":
            process.send_signal(signal.SIGKILL)
            process.wait()

    monkeypatch.setattr(lab.account.gate, "before", strike)
    assert ended(process).returncode == -signal.SIGKILL
    lab.account.gate.before = lambda _: None
    assert gc(lab, "--yes").code == 0
    assert keys(lab) == expected
    lab.nodes.end(open_run)
    assert lab.advance().code == 0


@pytest.mark.parametrize("action", ["GET", "POST"])
def test_a_right_that_is_missing_is_one_line(lab: Lab, action: str) -> None:
    assert lab.reproduce().code == 0
    lab.account.age(LONG)
    there = keys(lab)
    lab.account.gate.faults.append(
        Fault(action, 403, "AccessDenied", "Access Denied", times=10**6)
    )  # fmt: skip
    answer = gc(lab, "--yes")
    assert answer.code == 5
    said = answer.err.splitlines()
    assert [line.startswith("rpac: ") for line in said] == [True, False], answer.err
    assert "rpac doctor aws" in said[1]
    lab.mend()
    assert keys(lab) == there


def test_many_objects_go_with_few_requests(lab: Lab) -> None:
    place = Workspace.open(lab.rpac.root).on("aws")
    run = "20260101T000000Z-00000000"
    for number in range(1200):
        lab.nodes.storage.put(f"control/{run}/leases/{number}", b"")
    lab.account.age(LONG)
    lab.account.gate.calls.clear()
    answer = gc(lab, "--yes", "--json")
    assert len(removed(answer)) == 1200, json.dumps(answer.json)[:300]
    asked = lab.account.gate.count("s3")
    assert asked["POST"] == 3
    assert sum(asked.values()) < 20, asked
    assert place.storage.list("control/") == []


def test_without_a_bucket_there_is_nothing_to_forget(rpac: Terminal) -> None:
    answer = rpac("gc", "aws")
    assert answer.code == 2
    assert "rpac setup aws" in answer.err
