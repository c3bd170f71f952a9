"""What a job that may not be trusted hands over: believed as far as it can be."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rpac_ci import api
from rpac_ci.bot import handover
from rpac_ci.bot.handover import HandoverError
from rpac_ci.conclude import judged
from rpac_ci.driver import RunDriver, read_pipeline
from rpac_ci.events import Event, EventLog, Kind, timestamp
from rpac_ci.open_runs import start
from rpac_ci.pipeline import Pipeline, Target
from rpac_ci.placement import bought
from rpac_ci.records import OutputFile
from rpac_ci.run import Step
from rpac_ci.workspace import Workspace
from tests.conftest import QUICK, QUICK_MAIN, git

Change = Callable[[dict[str, Any]], object]


@dataclass
class Job:
    """A run that was taken to its release and handed over."""

    workspace: Workspace
    run: str
    began: datetime
    folder: Path

    @property
    def pipeline(self) -> Pipeline:
        return read_pipeline(self.workspace, self.run)

    def read(self, run: str | None = None, pipeline: Pipeline | None = None) -> list[Event]:
        told = handover.read(
            self.folder, run or self.run, pipeline or self.pipeline, since=self.began,
            until=datetime.now(UTC),
        )  # fmt: skip
        return list(told.events)

    @property
    def document(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / handover.FILE).read_bytes())
        return value

    def write(self, value: object) -> None:
        (self.folder / handover.FILE).write_text(json.dumps(value))

    def change(self, step: Step, change: Change) -> None:
        """Tamper with what a step is said to have given."""
        document = self.document
        for event in document["events"]:
            if event["kind"] == "done" and event["body"]["step"] == step.value:
                change(event["body"]["result"])
        self.write(document)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One real run for all tests."""
    root = tmp_path_factory.mktemp("handover") / "repository"
    folder = root / "experiments" / "quick"
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(QUICK.format(name="quick"))
    (folder / "main.py").write_text(QUICK_MAIN)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "start")
    workspace, began = Workspace.open(root), datetime.now(UTC)
    request: dict[str, Any] = {"via": "comment", "actor": 9, "words": "/reproduce quick"}
    planned = api.plan("quick", repository=root)
    run = start(workspace, planned, request=request, commit=False).run
    RunDriver(workspace, run).drive()
    handover.export(workspace, run, root.parent / "results")
    return Job(workspace, run, began, root.parent / "results")


@pytest.fixture
def job(honest: Job, tmp_path: Path) -> Job:
    """Its results, to be tampered with."""
    shutil.copytree(honest.folder, tmp_path / "results")
    return replace(honest, folder=tmp_path / "results")


def test_an_honest_job_gives_the_record_that_the_run_itself_has(job: Job) -> None:
    events = EventLog(job.workspace.storage, job.run).read()
    own = judged(job.run, job.pipeline, events)
    told = judged(job.run, job.pipeline, [events[0], *job.read()])
    assert told.verdict == own.verdict
    assert told.verdict is not None
    assert told.verdict.outcome == "reproduced: identical"
    assert told.outcome == own.outcome
    assert told.circumstances == own.circumstances


def test_outputs_and_logs_go_along(job: Job) -> None:
    record = judged(job.run, job.pipeline, EventLog(job.workspace.storage, job.run).read())
    metrics = record.outcome.outputs[0]
    assert json.loads((job.folder / "outputs" / metrics.sha256).read_bytes()) == {"level": 7}
    logs = {path.name: path.read_text() for path in (job.folder / "logs").iterdir()}
    assert any("level 7" in text for text in logs.values())


def test_it_is_data_about_this_run_alone(job: Job) -> None:
    with pytest.raises(HandoverError, match="another run"):
        job.read(run="20260102T030405Z-0000000a")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "do not fit the schema"),
        ("{}", "do not fit the schema"),
        ('{"schema": "rpac/handover/2"}', "do not fit the schema"),
        ("[" * 100_000, "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ("\udcff", "not JSON"),
        (" " * (handover.MAX_BYTES + 1), "MiB"),
    ],
    ids=["empty", "cut", "list", "nothing", "version", "deep", "nan", "bytes", "large"],
)
def test_no_results(job: Job, content: str, says: str) -> None:
    (job.folder / handover.FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(HandoverError, match=says):
        job.read()


def test_nothing_at_all(job: Job) -> None:
    (job.folder / handover.FILE).unlink()
    with pytest.raises(HandoverError, match="left no results"):
        job.read()


def test_a_link_is_not_followed(job: Job, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    (job.folder / handover.FILE).rename(elsewhere)
    (job.folder / handover.FILE).symlink_to(elsewhere)
    with pytest.raises(HandoverError, match="left no results"):
        job.read()


FORGED: dict[str, tuple[Step, Change]] = {
    "an unknown key": (Step.COLLECT, lambda r: r.update(verdict="reproduced: identical")),
    "a metric that is a text": (Step.COLLECT, lambda r: r["metrics"].update(level="7")),
    "a metric that is infinite": (
        Step.COLLECT, lambda r: r["metrics"]["level"].update(value=1e999)),
    "an output above the folder": (
        Step.COLLECT, lambda r: r["outputs"][0].update(path="../../.github/workflows/x.yml")),
    "an absolute output": (Step.COLLECT, lambda r: r["outputs"][0].update(path="/etc/passwd")),
    "an output with a line break": (Step.COLLECT, lambda r: r["outputs"][0].update(path="a\nb")),
    "an output twice": (Step.COLLECT, lambda r: r["outputs"].append(r["outputs"][0])),
    "a log without end": (Step.COLLECT, lambda r: r.update(log_tail="x" * 100_000)),
    "a message without end": (Step.WATCH, lambda r: r.update(message="x" * 100_000)),
    "a reason of its own": (Step.WATCH, lambda r: r.update(reason="excellent")),
    "data that nobody declared": (
        Step.STAGE, lambda r: r["data"].update(x={"sha256": "0" * 64, "size": 1})),
    "data of a size that cannot be": (Step.COLLECT, lambda r: r.update(data_sizes={"x": -1})),
    "a thousand outputs": (
        Step.COLLECT,
        lambda r: r["outputs"].extend([{**r["outputs"][0], "path": str(n)} for n in range(1000)])),
    "a negative price": (Step.RELEASE, lambda r: r.update(cost_usd=-5.0)),
    "a phase before the beginning": (
        Step.COLLECT,
        lambda r: r["phases"].append({"name": "x", "start_s": -1.0, "duration_s": 1.0})),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_what_does_not_fit_is_refused(job: Job, name: str) -> None:
    step, change = FORGED[name]
    job.change(step, change)
    with pytest.raises(HandoverError):
        job.read()


def test_a_job_does_not_say_what_it_costs(job: Job) -> None:
    price = {"per_hour": 9.0, "region": "x", "spot": False, "date": "2026-01-01", "source": "x"}
    spec = {"cpus": 64, "memory_mib": 1024, "arch": "x86_64"}
    told = {"cost_usd": 1e6, "price": price, "spec": spec}
    job.change(Step.RELEASE, lambda result: result.update(told))
    result = job.read()[-1].body["result"]
    assert (result["cost_usd"], result["price"], result["spec"]) == (0.0, None, None)


def test_a_job_that_entered_a_cloud_hands_over_what_machines_are_and_cost(job: Job) -> None:
    target = Target(cloud="azure", region="eastus", machine="Standard_D2s_v5")
    there = Pipeline.model_validate({**job.pipeline.to_json(), "target": target.to_json()})
    told = bought(target)
    assert set(told) == {"spec", "price"}
    job.change(Step.RELEASE, lambda result: result.update(told))
    result = job.read(pipeline=there)[-1].body["result"]
    assert {name: result[name] for name in told} == told


@pytest.mark.parametrize("kind", ["created", "committed", "accepted"])
def test_a_job_does_not_say_who_asked_or_that_it_is_committed(job: Job, kind: str) -> None:
    document = job.document
    document["events"].append({"kind": kind, "at": timestamp(), "body": {}})
    job.write(document)
    with pytest.raises(HandoverError):
        job.read()


@pytest.mark.parametrize("shift", [timedelta(days=-30), timedelta(days=30)])
def test_times_are_those_of_the_job(job: Job, shift: timedelta) -> None:
    document = job.document
    document["events"][-1]["at"] = timestamp(datetime.now(UTC) + shift)
    job.write(document)
    with pytest.raises(HandoverError, match="a time that cannot be"):
        job.read()


def test_data_that_was_pinned_is_the_data_that_was_read(job: Job) -> None:
    data = {
        "uri": "https://example.org/x", "sha256": "1" * 64, "level": "content",
        "pinned_by": "author",
    }  # fmt: skip
    other = Pipeline.model_validate({**job.pipeline.to_json(), "data": {"x": data}})
    job.change(Step.STAGE, lambda r: r["data"].update(x={"sha256": "2" * 64, "size": 1}))
    with pytest.raises(HandoverError, match="other data"):
        job.read(pipeline=other)
    for size in (1, None):  # nobody has asked yet how large it is
        job.change(Step.STAGE, lambda r: r["data"].update(x={"sha256": "1" * 64, "size": size}))  # noqa: B023
        assert job.read(pipeline=other)


def test_a_lost_job_is_no_evidence_against_the_result(job: Job) -> None:
    created = EventLog(job.workspace.storage, job.run).read()[0]
    events = [created, *handover.lost("runner lost: nothing came", timestamp())]
    record = judged(job.run, job.pipeline, events)
    assert record.verdict is not None
    assert record.verdict.outcome == "could not run"
    assert record.outcome.reason == "runner lost"
    assert record.outcome.cost_usd is None
    assert [event.kind for event in events[1:]] == [Kind.DONE, Kind.DONE]


def output_of(folder: Path, name: str, content: bytes) -> OutputFile:
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / "outputs").mkdir(parents=True, exist_ok=True)
    (folder / "outputs" / sha256).write_bytes(content)
    return OutputFile(path=name, size=len(content), sha256=sha256)


def test_a_figure_is_what_its_hash_says(tmp_path: Path) -> None:
    found = output_of(tmp_path, "figures/a.png", b"png")
    assert handover.output(tmp_path, found) == b"png"
    (tmp_path / "outputs" / found.sha256).write_bytes(b"other")
    assert handover.output(tmp_path, found) is None


def test_large_files_and_links_do_not_go_to_git(tmp_path: Path) -> None:
    large = output_of(tmp_path, "figures/a.png", b"x" * (handover.MAX_FIGURE_BYTES + 1))
    assert handover.output(tmp_path, large) is None
    small = output_of(tmp_path, "figures/b.png", b"png")
    path = tmp_path / "outputs" / small.sha256
    path.rename(tmp_path / "aside")
    path.symlink_to(tmp_path / "aside")
    assert handover.output(tmp_path, small) is None


def test_a_drawing_that_runs_something_does_not_go_to_git(tmp_path: Path) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    assert handover.output(tmp_path, output_of(tmp_path, "figures/a.svg", svg)) is None
    still = b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>'
    assert handover.output(tmp_path, output_of(tmp_path, "figures/b.SVG", still)) == still
