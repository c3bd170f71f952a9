"""Rows of past runs from records of any age, and an index that is never needed and never wrong."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpac_ci import past_runs
from rpac_ci.errors import CommandError, HistoryError
from rpac_ci.filters import parse_filters
from rpac_ci.git import Git
from rpac_ci.history_index import INDEX_FILE, HistoryIndex
from rpac_ci.history_table import history_table
from rpac_ci.log_paths import LOG_REF, run_folder
from rpac_ci.past_runs import PastRun, find, understand
from rpac_ci.records import RunRecord
from rpac_ci.reproduction_log import Entry, ReproductionLog
from tests.conftest import ROOT, asset, git
from tests.standins.logs import make_record, write_log

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RECORD: dict[str, Any] = json.loads(asset("record.json").read_bytes())
ORIGIN = "refs/remotes/origin/rpac/log"


def query(root: Path, *words: str, **how: Any) -> list[PastRun]:
    return find(Git(root), None, parse_filters(words, NOW), **how)


def names(rows: list[PastRun]) -> list[str]:
    return [row.run for row in rows]


def expected(numbers: range, keep: Callable[[dict[str, Any]], bool] = lambda _: True) -> list[str]:
    """Ids of the runs of `write_log`, newest first."""
    records = [make_record(number) for number in reversed(numbers)]
    return [record["run"] for record in records if keep(record)]


def add(root: Path, run: str, content: bytes, experiment: str = "exp") -> None:
    entry = Entry(
        folder=run_folder(experiment, run), files={"record.json": content}, subject="s",
        trailers=[], source={},
    )  # fmt: skip
    ReproductionLog(Git(root)).add(entry)


@pytest.fixture(scope="module")
def sixty(started: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with sixty runs in its log, which no test changes."""
    root = shutil.copytree(started, tmp_path_factory.mktemp("sixty") / "repository")
    write_log(root, 60)
    return root


@pytest.fixture
def log(sixty: Path, tmp_path: Path) -> Path:
    """A repository with sixty runs in its log."""
    return shutil.copytree(sixty, tmp_path / "repository")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records were read from git, one number for each call."""
    counts: list[int] = []
    contents = ReproductionLog.contents

    def counted(self: ReproductionLog, paths: Any) -> Any:
        counts.append(len(paths))
        return contents(self, paths)

    monkeypatch.setattr(ReproductionLog, "contents", counted)
    return counts


# --- rows ---------------------------------------------------------------------------------------


def changed(path: str, value: Any) -> dict[str, Any]:
    """The asset's record with one thing changed."""
    record: dict[str, Any] = json.loads(json.dumps(RECORD))
    *parents, name = path.split(".")
    part = record
    for parent in parents:
        part = part[parent]
    part[name] = value
    return record


def row_of(record: object) -> PastRun:
    content = record if isinstance(record, bytes) else json.dumps(record).encode()
    return PastRun(run="r", experiment="e", **understand(content))


def test_a_record_of_today() -> None:
    row = row_of(RECORD)
    assert row.to_json() == {
        "run": "r", "experiment": "e", "refs": [], "origin": None, "problem": "",
        "schema": "rpac/record/1",
        "title": RECORD["title"], "outcome": "compared (variant)", "exit_code": 0,
        "status": "succeeded", "variant": True, "grade": None, "reason": "2 of 3 checks agree",
        "cloud": "local", "runtime": "process", "engine": "dask", "nodes": 2, "seed": 7,
        "started": "2026-01-02T03:04:05.000Z", "finished": "2026-01-02T03:05:35.500Z",
        "duration_s": 90.5, "cost_usd": 0.0, "via": "cli", "actor": 4711, "study": None,
        "commit": "c" * 40, "dirty": True, "pipeline": "sha256:" + "1" * 64,
        "science": "sha256:" + "3" * 64, "rules": "sha256:" + "2" * 64,
        "reproduces": "20251231T235959Z-99999999",
        "args": {"deep": False, "name": "forest", "rate": 0.5, "trees": 300, "workers": 4},
        "changes": {"args.trees": "300", "nodes": "3"},
        "data": {"field": RECORD["identity"]["data"]["field"]["sha256"]},
        "metrics": {
            "eddies": {"value": 3169, "unit": None},
            "f1": {"value": 0.8997, "unit": None},
            "radius": {"value": 42.25, "unit": "km"},
        },
    }  # fmt: skip


def test_every_schema_that_records_have_today_is_readable() -> None:
    annotation = RunRecord.model_fields["schema_"].annotation
    assert set(get_args(annotation)) <= set(past_runs.READABLE)


def test_an_older_record_lacks_what_it_lacks() -> None:
    old = {
        "schema": "rpac/record/1",
        "identity": {"args": {"trees": 5}, "source": {}},
        "outcome": {"status": "failed", "metrics": {"f1": 0.5}},
    }
    row = row_of(old)
    assert (row.problem, row.outcome, row.exit_code) == ("", "failed", None)
    assert (row.args, row.metrics) == ({"trees": 5}, {"f1": {"value": 0.5, "unit": None}})
    assert (row.commit, row.dirty, row.duration_s, row.nodes) == (None, None, None, None)


def test_a_newer_record_is_understood_as_far_as_possible() -> None:
    new = changed("schema", "rpac/record/2") | {"verdict": ["another", "form"]}
    new["circumstances"]["nodes"] = {"count": 4}
    row = row_of(new)
    assert row.problem == "written by another version of rpac (rpac/record/2)"
    assert (row.schema, row.cloud, row.outcome) == ("rpac/record/2", "local", "succeeded")
    assert (row.nodes, row.exit_code, row.args["trees"]) == (None, None, 300)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the record is not JSON"),
        (b"<html>", "the record is not JSON"),
        (b'{"schema": "rpac/record/1"', "the record is not JSON"),
        (b'{"x": NaN}', "NaN is not JSON"),
        (b"\xff\xfe", "the record is not JSON"),
        (b"[" * 100_000, "the record is not JSON"),
        (b"7" * 10_000, "the record is not JSON"),
        (b"[]", "the record is not a JSON object"),
        (b"null", "the record is not a JSON object"),
        (b"{}", "the record names no schema"),
        (b'{"schema": 1}', "the record names no schema"),
        (b'{"schema": "rpac/record/1"}', "does not say how the run ended"),
    ],
)
def test_a_broken_record_is_a_row_with_its_problem(content: bytes, problem: str) -> None:
    row = row_of(content)
    assert problem in row.problem
    assert len(row.problem) < 200


@pytest.mark.parametrize(
    ("metric", "row"),
    [
        ({"value": 1, "unit": "km"}, {"value": 1, "unit": "km"}),
        (0.5, {"value": 0.5, "unit": None}),
        (
            {"values": [1, 2, 6], "seeds": [7, 8, 9], "unit": "K"},
            {"value": 3.0, "unit": "K", "values": [1, 2, 6], "seeds": [7, 8, 9]},
        ),
        (
            {"values": [1.5], "seeds": "?"},
            {"value": 1.5, "unit": None, "values": [1.5], "seeds": None},
        ),
        ({"value": "high"}, None),
        ({"value": True}, None),
        ({"values": []}, None),
        ({"values": [1, None]}, None),
        ([1], None),
        (None, None),
    ],
)
def test_forms_of_a_metric(metric: object, row: dict[str, Any] | None) -> None:
    assert row_of(changed("outcome.metrics", {"m": metric})).metrics == ({"m": row} if row else {})


def test_samples_stand_beside_the_metrics_of_their_names() -> None:
    record = changed("outcome.samples", {"f1": {"values": [0.5, 1.5], "seeds": [1, 2]}})
    assert row_of(record).metrics["f1"] == {
        "value": 1.0, "unit": None, "values": [0.5, 1.5], "seeds": [1, 2],
    }  # fmt: skip


def test_study_and_grade() -> None:
    record = changed("circumstances.requested.study", "20260101T000000Z-5")
    record["verdict"]["grade"] = "B"
    row = row_of(record)
    assert (row.study, row.grade) == ("20260101T000000Z-5", "B")


def test_text_of_a_record_cannot_command_a_terminal() -> None:
    row = row_of(changed("verdict.outcome", "\x1b[2J\ud800ok\n") | {"title": "größer 大"})
    assert row.outcome == "\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}ok" + (
        "\N{REPLACEMENT CHARACTER}"
    )
    assert row.title == "größer 大"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
PATHS = [
    "schema", "title", "identity", "circumstances", "outcome", "verdict", "identity.args",
    "identity.args.trees", "identity.source", "identity.data", "identity.seed", "outcome.metrics",
    "outcome.metrics.f1", "outcome.cost_usd", "circumstances.started", "circumstances.requested",
    "circumstances.nodes", "verdict.outcome", "verdict.exit_code", "outcome.samples",
]  # fmt: skip


@given(st.sampled_from(PATHS), JSON_VALUES)
def test_whatever_stands_in_a_record_there_is_a_row_and_it_can_be_kept(
    path: str, value: Any
) -> None:
    row = row_of(changed(path, value))
    facts = understand(json.dumps(changed(path, value)).encode())
    assert PastRun(run="r", experiment="e", **json.loads(json.dumps(facts))) == row
    history_table([row], parse_filters(["metric.f1>0", "args.trees=1", "since=1d"], NOW))
    json.dumps(row.to_json(), ensure_ascii=False).encode()
    for word in ("metric.f1>0", "args.trees=1", "since=9999d", "cost<1", "seed=1", "verdict=x"):
        assert parse_filters([word], NOW)[0].matches(row) in (True, False)


# --- questions ----------------------------------------------------------------------------------


def test_no_log_has_no_runs(repository: Path) -> None:
    assert query(repository) == []
    assert query(repository, "cloud=aws", last=3) == []


def test_rows_come_newest_first_with_what_the_records_say(log: Path) -> None:
    rows = query(log)
    assert names(rows) == expected(range(60))
    for row, number in zip(rows, reversed(range(60)), strict=True):
        record = make_record(number)
        assert row.experiment == record["experiment"]
        assert row.outcome == record["verdict"]["outcome"]
        assert row.metrics == {
            name: metric | {"unit": metric["unit"]}
            for name, metric in record["outcome"]["metrics"].items()
        }
        assert row.refs == (LOG_REF,)


@pytest.mark.parametrize("last", [1, 7, 60, 99, 500])
def test_at_most_so_many(log: Path, last: int) -> None:
    assert names(query(log, last=last)) == expected(range(60))[:last]


def test_the_last_runs_are_all_that_is_read(log: Path, reads: list[int]) -> None:
    assert len(query(log, last=7)) == 7
    assert reads == [7]
    assert not (log / ".rpac").exists()


def test_an_experiment_is_all_that_is_read(log: Path, reads: list[int]) -> None:
    experiment = make_record(3)["experiment"]
    own = expected(range(60), lambda record: record["experiment"] == experiment)
    assert names(find(Git(log), experiment)) == own
    assert names(find(Git(log), experiment, parse_filters(["nodes=2"], NOW))) == own
    assert sum(reads) == len(own)


@pytest.mark.slow
def test_no_more_git_processes_for_more_runs(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    call = Git.run

    def counted(self: Git, *argv: str, **how: Any) -> bytes:
        calls.append(argv)
        return call(self, *argv, **how)

    monkeypatch.setattr(Git, "run", counted)
    query(log)
    few = len(calls)
    write_log(log, 300, first=60)
    del calls[:]
    query(log)
    assert len(calls) == few
    assert not [argv for argv in calls if "-r" in argv], "the runs' own files are not walked"


def test_filters(log: Path) -> None:
    def wanted(record: dict[str, Any]) -> bool:
        good: bool = record["outcome"]["metrics"]["f1"]["value"] > 0.5
        return good and bool(record["circumstances"]["cloud"] == "aws")

    matching = expected(range(60), wanted)
    assert 0 < len(matching) < 60
    assert names(query(log, "cloud=aws", "metric.f1>0.5")) == matching
    assert names(query(log, "cloud=aws", "metric.f1>0.5", last=2)) == matching[:2]


def test_an_experiment_nobody_knows_is_told(log: Path) -> None:
    with pytest.raises(CommandError, match="there is no experiment 'nothing'"):
        find(Git(log), "nothing")
    for name, hint in {
        "cost": "need quotes",
        "exp-0000": "did you mean 'exp-",
        "zzz": ", …",
    }.items():
        with pytest.raises(CommandError) as caught:
            find(Git(log), name)
        assert hint in caught.value.hint
    folder = log / "experiments" / "fresh"
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text("id: fresh\n")
    assert find(Git(log), "fresh") == []


def test_a_broken_record_spoils_nothing(log: Path) -> None:
    add(log, "20990101T000000Z-00000001", b"<html>")
    add(log, "20990101T000000Z-00000002", json.dumps({"schema": "rpac/record/9"}).encode())
    for _ in range(2):
        rows = query(log, last=1000)
        assert names(rows)[2:] == expected(range(60))
        assert rows[0].problem == "written by another version of rpac (rpac/record/9)"
        assert rows[1].problem.startswith("the record is not JSON")
    assert names(query(log, "cloud!=x")) == expected(range(60))


def test_a_folder_without_a_record_is_no_run(log: Path) -> None:
    folder = run_folder("exp", "20990101T000000Z-00000001")
    files = {"plan.json": b"{}"}
    ReproductionLog(Git(log)).add(
        Entry(folder=folder, files=files, subject="s", trailers=[], source={})
    )
    for _ in range(2):
        assert names(query(log)) == expected(range(60))
        assert names(query(log, last=1)) == expected(range(60))[:1]


# --- several logs -------------------------------------------------------------------------------


def test_a_run_of_two_logs_is_one_row_and_the_local_log_is_preferred(log: Path) -> None:
    git(log, "update-ref", ORIGIN, LOG_REF)
    write_log(log, 5, first=60)
    write_log(log, 3, first=65, ref=ORIGIN)
    run = expected(range(1))[0]
    theirs = json.dumps(make_record(0) | {"title": "amended there"}).encode()
    stream = (
        f"commit {ORIGIN}\ncommitter t <t@x> 0 +0000\ndata 1\ns\nfrom {ORIGIN}^0\n"
        f"M 100644 inline {run_folder(make_record(0)['experiment'], run)}/record.json\n"
        f"data {len(theirs)}\n{theirs.decode()}\n"
    )
    git_input(log, stream)
    for _ in range(2):
        rows = query(log)
        assert names(rows) == expected(range(68))
        assert [row.refs for row in rows[:8]] == [(ORIGIN,)] * 3 + [(LOG_REF,)] * 5
        assert rows[-1].refs == (LOG_REF, ORIGIN)
        assert rows[-1].title == RECORD["title"]
        assert rows[-2].refs == (LOG_REF, ORIGIN)
        [amended] = [row for row in query(log, refs=[ORIGIN]) if row.run == run]
        assert amended.title == "amended there"


def git_input(root: Path, stream: str) -> None:
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input=stream.encode(), check=True)


def test_a_record_that_only_another_log_has_is_found_there(log: Path) -> None:
    git(log, "update-ref", ORIGIN, LOG_REF)
    git(log, "update-ref", "-d", LOG_REF)
    run, experiment = expected(range(60))[0], make_record(59)["experiment"]
    folder = run_folder(experiment, run)
    git_input(
        log,
        f"commit {LOG_REF}\ncommitter t <t@x> 0 +0000\ndata 1\ns\n"
        f"M 100644 inline {folder}/amendments/1.json\ndata 2\n{{}}\n",
    )
    assert names(query(log)) == expected(range(60))
    assert ReproductionLog(Git(log)).find(run).ref == ORIGIN


@pytest.mark.parametrize(
    ("ref", "numbers"),
    [
        ("rpac/log", range(60)),
        (LOG_REF, range(60)),
        ("origin/rpac/log", range(20)),
        (ORIGIN, range(20)),
        ("topic", range(10)),
    ],
)
def test_one_ref(log: Path, ref: str, numbers: range) -> None:
    tip = git(log, "rev-parse", LOG_REF)
    git(log, "update-ref", ORIGIN, f"{tip}~40")
    git(log, "update-ref", "refs/heads/topic", f"{tip}~50")
    assert names(query(log, refs=[ref])) == expected(numbers)
    assert len(query(log, refs=["topic", ref])) == max(10, len(numbers))


def test_refs_that_are_not_there_are_all_told(log: Path) -> None:
    git(log, "update-ref", ORIGIN, LOG_REF)
    with pytest.raises(CommandError) as caught:
        query(log, refs=["rpac/log", "nowhere", "rpac", "main~1", "-x", "refs/heads/*"])
    assert caught.value.message.splitlines() == [
        f"there is no branch {name!r}"
        for name in ("nowhere", "rpac", "main~1", "-x", "refs/heads/*")
    ]
    assert caught.value.hint == "logs here: rpac/log, origin/rpac/log"


# --- the index ----------------------------------------------------------------------------------


def test_a_record_is_understood_once(log: Path, reads: list[int]) -> None:
    first = query(log, "cloud=aws")
    assert sum(reads) == 60
    assert query(log, "cloud=aws") == first
    assert sum(reads) == 60
    write_log(log, 3, first=60)
    assert names(query(log)) == expected(range(63))
    assert sum(reads) == 63


def test_the_folder_of_the_index_ignores_itself(log: Path) -> None:
    query(log, "cloud=aws")
    assert git(log, "status", "--porcelain") == ""
    assert (log / ".rpac").stat().st_mode & 0o077 == 0


def test_a_replaced_log(log: Path, reads: list[int]) -> None:
    query(log)
    git(log, "update-ref", "-d", LOG_REF)
    write_log(log, 10, first=55)
    assert names(query(log)) == expected(range(55, 65))
    assert sum(reads) == 65, "five are the same as before"


def index(root: Path) -> Path:
    return root / ".rpac" / INDEX_FILE


def kept(root: Path) -> int:
    """How many runs of the log the index knows."""
    trees = [path.tree for path in ReproductionLog(Git(root)).newest_first()]
    with HistoryIndex(root, version=past_runs._VERSION) as known:
        return len(known.get(trees))


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def flipped(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(b ^ 1 for b in content[4096:]))


def lies(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("""UPDATE rows SET facts = CAST('{"cloud": "aws"}' AS BLOB)""")
    db.close()


def odd_types(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE rows SET facts = 7, checksum = 'x'")
    db.close()


def another_version(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
        db.execute("DROP TABLE rows")
        db.execute("CREATE TABLE rows (something TEXT)")
    db.close()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage", [garbage, empty, cut, flipped, lies, odd_types, another_version, a_folder]
)
def test_a_damaged_index_is_not_believed(log: Path, damage: Callable[[Path], None]) -> None:
    before = query(log, "cloud=aws")
    damage(index(log))
    for _ in range(3):
        assert query(log, "cloud=aws") == before


@pytest.mark.parametrize("damage", [garbage, empty, lies, another_version])
def test_a_damaged_index_is_made_anew(
    log: Path, reads: list[int], damage: Callable[[Path], None]
) -> None:
    query(log, "cloud=aws")
    damage(index(log))
    query(log, "cloud=aws")
    query(log, "cloud=aws")
    del reads[:]
    query(log, "cloud=aws")
    assert reads == []


def test_where_nothing_can_be_written_there_is_no_index(log: Path) -> None:
    (log / ".rpac").write_text("a file where the folder should be")
    assert names(query(log)) == expected(range(60))
    assert (log / ".rpac").read_text() == "a file where the folder should be"


def test_an_index_that_cannot_be_written_is_read(
    log: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    query(log)
    write_log(log, 2, first=60)
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **how: connect(f"file:{path}?mode=ro", uri=True, **how)
    )
    for _ in range(2):
        del reads[:]
        assert names(query(log)) == expected(range(62))
        assert sum(reads) == 2


def test_a_full_disk(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query(log, last=500)
    write_log(log, 40, first=60)
    connect = sqlite3.connect

    def small(*given: Any, **how: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*given, **how)
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
        return db

    monkeypatch.setattr(sqlite3, "connect", small)
    for _ in range(2):
        assert names(query(log)) == expected(range(100))
    assert kept(log) < 100


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_an_index_that_somebody_holds(
    log: Path, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpac_ci.history_index.BUSY_S", 0.05)
    query(log)
    write_log(log, 2, first=60)
    holder = sqlite3.connect(index(log), isolation_level=None)
    holder.execute(lock)
    try:
        assert names(query(log)) == expected(range(62))
    finally:
        holder.close()


PROCESS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from rpac_ci.filters import parse_filters
from rpac_ci.git import Git
from rpac_ci.past_runs import find

sys.stdin.read()
for _ in range(3):
    filters = parse_filters(["cloud=aws"], datetime.now(UTC))
    print(*[row.run for row in find(Git(Path()), None, filters)])
"""


@pytest.mark.slow
def test_eight_processes_at_once_agree(log: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS], cwd=log, stdin=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(8)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin
        process.stdin.close()
    answer = " ".join(expected(range(60), lambda record: record["circumstances"]["cloud"] == "aws"))
    for process in processes:
        assert process.stdout
        with process.stdout as out:
            assert out.read().splitlines() == [answer] * 3
        assert process.wait() == 0
    assert kept(log) == 60


WORDS = st.sampled_from(
    [
        "cloud=aws", "cloud!=local", "verdict=reproduced", "verdict~repro", "status=failed",
        "metric.f1>0.5", "metric.f1<=0.3", "metric.absent=1", "args.trees=150", "args.trees>=200",
        "seed<5", "since=2025-01-02", "until=2025-01-02", "duration>2min", "nodes=2",
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shared")
    git(root, "init", "--quiet")
    write_log(root, 60, experiments=5)
    return root


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(WORDS, max_size=3),
    st.none() | st.integers(1, 200),
    st.none() | st.integers(0, 4),
    st.booleans(),
)
def test_with_and_without_an_index_the_answers_are_equal(
    shared: Path, words: list[str], last: int | None, number: int | None, cold: bool
) -> None:
    experiment = None if number is None else f"exp-{number:03d}"
    folder = shared / ".rpac"
    if cold:
        shutil.rmtree(folder, ignore_errors=True)
    asked = parse_filters(words, NOW)
    answer = find(Git(shared), experiment, asked, last=last)
    every = [make_record(n, experiments=5) for n in reversed(range(60))]
    rows = [
        PastRun(
            run=record["run"], experiment=record["experiment"], refs=(LOG_REF,),
            **understand(json.dumps(record).encode()),
        )
        for record in every
        if experiment in (None, record["experiment"])
    ]  # fmt: skip
    assert answer == [row for row in rows if all(f.matches(row) for f in asked)][:last]


def test_a_log_with_missing_objects_is_an_error(log: Path) -> None:
    tree = git(log, "rev-parse", f"{LOG_REF}:reports/{make_record(59)['experiment']}")
    unpack(log)
    (log / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(HistoryError, match="is missing"):
        query(log)


def unpack(root: Path) -> None:
    """Make every object of a repository a file of its own."""
    for pack in (root / ".git" / "objects" / "pack").glob("*.pack"):
        away = root / pack.name
        pack.rename(away)
        pack.with_suffix(".idx").unlink()
        with away.open("rb") as stream:
            subprocess.run(["git", "unpack-objects", "-q"], cwd=root, stdin=stream, check=True)


# --- the command --------------------------------------------------------------------------------


def rpac(root: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rpac_ci", "history", *words], cwd=root, capture_output=True,
        text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT), **env}, timeout=60,
    )  # fmt: skip


def test_the_table_has_a_column_for_what_was_filtered_by(log: Path) -> None:
    add(log, "20990101T000000Z-00000001", b"<html>")
    done = rpac(log, "metric.f1>0.5", "metric.f1<0.9", "args.trees>=150", "since=2025-01-01")
    header, *lines = done.stdout.splitlines()
    titles = [
        "run",
        "experiment",
        "cloud",
        "nodes",
        "metric.f1",
        "args.trees",
        "started",
        "verdict",
    ]
    assert header.split() == titles
    assert lines
    assert len({line.index(line.split()[7]) for line in lines}) == 1, "columns stand in line"
    assert "\x1b" not in done.stdout
    broken = rpac(log, "-n", "1").stdout.splitlines()[1]
    assert broken.split()[:4] == ["20990101T000000Z-00000001", "exp", "–", "–"]
    assert "the record is not JSON" in broken


def test_json_has_whole_rows(log: Path) -> None:
    experiment = make_record(3)["experiment"]
    rows = json.loads(rpac(log, experiment, "nodes=2", "--json").stdout)
    assert rows == [row.to_json() for row in find(Git(log), experiment)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["clout=aws", "nodes=x"], "did you mean 'cloud'?\nnodes=: got 'x'"),
        (["metric.f1"], "got 'metric.f1', expected key=value"),
        (["nothing"], "there is no experiment 'nothing'"),
        (["--ref", "nowhere"], "there is no branch 'nowhere'"),
    ],
)
def test_mistakes_in_the_command(log: Path, words: list[str], says: str) -> None:
    done = rpac(log, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "hint: " in done.stderr


def test_nothing_to_show_is_said(log: Path, tmp_path: Path) -> None:
    assert rpac(log, "cloud=nowhere").stdout == "no run matches\n"
    assert rpac(log, "cloud=nowhere", "--json").stdout == "[]\n"
    git(tmp_path, "init", "--quiet", "fresh")
    assert rpac(tmp_path / "fresh").stdout == "no runs yet: rpac reproduce <experiment>\n"


def test_the_list_imports_nothing_heavy(log: Path) -> None:
    code = "import sys; from rpac_ci.cli import run; run(['history']); print(*sys.modules)"
    # what measures coverage imports for itself
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=log, capture_output=True, text=True, check=True,
        env={**inherited, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    modules = set(done.stdout.splitlines()[-1].split())
    assert "rpac_ci.past_runs" in modules
    assert modules & {"pydantic", "ruamel", "rich", "obstore", "sqlite3", "yaml"} == set()


def table(*rows: PastRun, words: Mapping[str, str] | None = None) -> str:
    return history_table(rows, parse_filters([f"{k}{v}" for k, v in (words or {}).items()], NOW))


def test_cells_for_people() -> None:
    row = PastRun(
        run="r", experiment="e", outcome="not reproduced", duration_s=75.0, cost_usd=1.5,
        commit="c" * 40, args={"on": True, "name": "大"},
        metrics={"m": {"value": 1 / 3, "unit": "km", "values": [0.0, 1.0]}},
    )  # fmt: skip
    words = {
        "duration": ">1", "cost": ">1", "commit": "=cccc", "args.on": "=true", "args.name": "~x",
        "metric.m": ">0", "seed": "=1",
    }  # fmt: skip
    text = table(row, PastRun(run="rr", experiment="e"), words=words)
    for shown in ("1 min 15 s", "1.50 USD", "c" * 12, "true", "0.3333333333 km (mean of 2)"):
        assert f"  {shown}  " in text
    assert "\x1b[31mnot reproduced" in text
    _, line, absent = text.splitlines()
    dashes = [at for at, letter in enumerate(absent) if letter == "–"]
    assert line.index("true") == dashes[5]
    assert line.index("0.3333333333") == dashes[7] - 1, "one letter was two columns wide"
