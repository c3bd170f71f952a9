"""Command in, commit out: what a person does in a terminal and finds in git afterwards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest

import rpac_ci
from rpac_ci import experiment_checks, schemas
from tests.conftest import QUICK, QUICK_MAIN, WriteExperiment, git
from tests.integration.conftest import NOTHING, Terminal


def quick(**replace: str) -> str:
    """The quick experiment's YAML with some words replaced."""
    text = QUICK.format(name="quick")
    for old, new in replace.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_one_command_runs_judges_and_commits(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    before = git(repository, "rev-parse", "HEAD")

    answer = rpac("reproduce", "quick")

    assert answer.code == 0, answer.err
    assert "reproduced: identical" in answer.out
    record = rpac.last()
    folder = (
        repository
        / "reports"
        / "quick"
        / f"{record['run'][:4]}-{record['run'][4:6]}"
        / record["run"]
    )
    assert f"report  {folder.relative_to(repository)}/report.md" in answer.out
    message = git(repository, "log", "-1", "--format=%B")
    assert message.splitlines()[0] == "quick: reproduced: identical (local, 1 node)"
    assert f"Rpac-Run: {record['run']}" in message
    assert "Rpac-Verdict: reproduced: identical" in message
    assert git(repository, "rev-parse", "HEAD^") == before
    assert git(repository, "status", "--porcelain") == ""
    assert rpac.left_over() == NOTHING
    # the pipeline's digest needs no code of ours
    pipeline = (folder / "pipeline.yaml").read_bytes()
    assert record["identity"]["pipeline"] == "sha256:" + hashlib.sha256(pipeline).hexdigest()
    # the log holds the same bytes, and the code
    inside = f"rpac/log:{folder.relative_to(repository)}"
    for name in ("pipeline.yaml", "record.json", "report.md", "figures/timeline.svg"):
        stored = git(repository, "rev-parse", f"{inside}/{name}")
        assert stored == git(repository, "hash-object", str(folder / name))
    assert git(repository, "show", f"{inside}/source/main.py") == QUICK_MAIN.strip()
    assert not (folder / "source").exists()


@pytest.mark.slow
def test_the_documents_fit_their_schemas_and_name_no_machine(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    answer = rpac("reproduce", "quick", "--json")
    folder = repository / Path(answer.json["report"]).parent
    record = (folder / "record.json").read_text()
    jsonschema.validate(json.loads(record), schemas.generate()["record.schema.json"])
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert str(repository).encode() not in text, path
            assert str(Path.home()).encode() + b"/" not in text, path


@pytest.mark.slow
def test_a_run_is_reproduced_exactly_after_everything_has_changed(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    folder = write_experiment()
    rpac("reproduce", "quick")
    first = rpac.last()

    (folder / "main.py").write_text("raise SystemExit('this is not the code of then')\n")
    git(repository, "commit", "--quiet", "--all", "--message", "break it")
    changed = rpac("reproduce", f"quick@{first['run']}")
    assert (changed.code, rpac.last()["identity"]["reproduces"]) == (0, first["run"])
    assert rpac.last()["identity"]["science"] == first["identity"]["science"]

    git(repository, "switch", "--quiet", "--orphan", "elsewhere")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "nothing here")
    assert not (repository / "experiments" / "quick" / "main.py").exists()
    gone = rpac("reproduce", f"quick@{first['run'][-8:]}")
    assert gone.code == 0, gone.err
    assert "reproduced: identical" in gone.out


@pytest.mark.slow
def test_a_scientific_change_makes_a_variant_and_an_operational_one_does_not(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment(
        yaml=quick(**{"  level: 7\n": "  level: 7\n  hint: {value: 1, role: operational}\n"})
    )
    same = rpac("reproduce", "quick", "args.hint=2")
    assert "reproduced: identical" in same.out
    variant = rpac("reproduce", "quick", "args.level=8")
    assert variant.code == 0
    assert "compared (variant)" in variant.out
    record = rpac.last()
    assert record["verdict"]["variant"] is True
    assert record["verdict"]["checks"][0]["agreement"] == "different"
    assert record["reference"]["changed"] == {"args.level.value": [7, 8]}


@pytest.mark.slow
def test_changes_on_top_of_a_past_run(rpac: Terminal, write_experiment: WriteExperiment) -> None:
    write_experiment()
    rpac("reproduce", "quick", "args.level=8")
    past = rpac.last()["run"]
    answer = rpac("reproduce", f"quick@{past}", "time=30s")
    assert "reproduced: identical" in answer.out
    assert rpac.last()["reference"]["changed"] == {"limits.time": [60, 30]}


@pytest.mark.parametrize(
    ("change", "code", "outcome"),
    [
        ({"expect: 7": "expect: 8"}, 1, "not reproduced"),
        ({"expect: 7": "expect: 7.5, abs_tol: 0.5"}, 0, "reproduced: within tolerance"),
        ({"outputs: [metrics.json]": "outputs: [metrics.json, map.png]"}, 1, "not reproduced"),
        ({"  level: {expect: 7}": "  depth: {expect: 7}"}, 1, "not reproduced"),
        ({"verify:\n  level: {expect: 7}\n": ""}, 0, "baseline"),
        ({"main.py": "gone.py"}, 3, "inconclusive (run failed)"),
        ({"command: [python": "command: [no-such-program"}, 3, "inconclusive (run failed)"),
    ],
)
def test_verdict_and_exit_code(
    rpac: Terminal,
    write_experiment: WriteExperiment,
    change: dict[str, str],
    code: int,
    outcome: str,
) -> None:
    write_experiment(yaml=quick(**change))
    answer = rpac("reproduce", "quick")
    assert (answer.code, rpac.last()["verdict"]["outcome"]) == (code, outcome), answer.out
    assert rpac.left_over() == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize(
    ("main", "code", "reason"),
    [
        ("import sys; print('so it goes'); sys.exit(3)", 3, "the command ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", 3, "signal 9"),
        ("print('no metrics')", 1, "metrics.json"),
        (
            "import sys; open(sys.argv[2] + '/metrics.json', 'w').write('{\"level\": NaN}')",
            1,
            "level",
        ),
        ("import sys; open(sys.argv[2] + '/metrics.json', 'w').write('[')", 1, "level"),
        ("print('x' * 100_000_000)", 1, "metrics.json"),
    ],
)
def test_bad_commands_are_told_and_recorded(
    rpac: Terminal, write_experiment: WriteExperiment, main: str, code: int, reason: str
) -> None:
    write_experiment(files={"main.py": main})
    answer = rpac("reproduce", "quick")
    assert answer.code == code, answer.out
    assert reason in rpac.last()["verdict"]["reason"]
    assert rpac.left_over() == NOTHING
    if "so it goes" in main:
        assert "so it goes" in answer.out


@pytest.mark.slow
def test_the_time_limit_ends_the_command(rpac: Terminal, write_experiment: WriteExperiment) -> None:
    write_experiment(
        yaml=quick(**{"time: 1 min": "time: 1 s"}),
        files={"main.py": "import time; time.sleep(600)"},
    )
    answer = rpac("reproduce", "quick")
    assert answer.code == 3
    assert rpac.last()["outcome"]["reason"] == "time limit"
    assert rpac.left_over() == NOTHING


@pytest.mark.slow
def test_uncommitted_changes_are_refused_or_kept_with_the_run(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    folder = write_experiment()
    (folder / "main.py").write_text(QUICK_MAIN + "# a thought\n")
    (folder / "new.py").write_text("extra = 1\n")

    refused = rpac("reproduce", "quick")
    assert refused.code == 4
    assert "main.py" in refused.err
    assert "new.py" in refused.err
    assert rpac.runs() == []

    allowed = rpac("reproduce", "quick", "--allow-dirty", "--json")
    assert allowed.code == 0, allowed.err
    kept = repository / Path(allowed.json["report"]).parent / "dirty.diff"
    assert "+# a thought" in kept.read_text()
    assert "new.py" in kept.read_text()
    again = rpac("reproduce", f"quick@{allowed.json['run']}")
    assert "reproduced: identical" in again.out
    assert (folder / "new.py").exists()


@pytest.mark.slow
def test_the_branch_is_left_alone_where_it_must_be(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    head = git(repository, "rev-parse", "HEAD")
    asked = rpac("reproduce", "quick", "--no-commit")
    assert asked.code == 0
    git(repository, "checkout", "--quiet", "--detach")
    detached = rpac("reproduce", "quick")
    assert "detached" in detached.out
    assert git(repository, "rev-parse", "HEAD") == head
    assert len(rpac.runs()) == 2
    assert git(repository, "status", "--porcelain") == ""


def test_what_a_person_has_staged_and_edited_stays_as_it_is(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    (repository / "notes.md").write_text("staged\n")
    git(repository, "add", "notes.md")
    (repository / "notes.md").write_text("edited since\n")
    before = git(repository, "status", "--porcelain")
    assert rpac("reproduce", "quick").code == 0
    assert git(repository, "status", "--porcelain") == before == "AM notes.md"
    assert "notes.md" not in git(repository, "show", "--stat", "HEAD")


@pytest.mark.slow
def test_accepted_runs_become_the_reference(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment(yaml=quick(**{"level: {expect: 7}": "level: {abs_tol: 0.5}"}))
    assert "baseline" in rpac("reproduce", "quick").out
    first = rpac.last()["run"]
    assert "baseline" in rpac("reproduce", "quick").out, "never silently the last run"
    assert rpac("accept", first).code == 0
    answer = rpac("reproduce", "quick")
    assert "reproduced: identical" in answer.out
    assert rpac.last()["verdict"]["reference"] == f"accepted run {first}"
    refused = rpac("accept", "20000101T000000Z-00000000")
    assert refused.code == 6


DATA = """\
id: quick
title: Counts letters
engine: process
command: [python, main.py, "{data.text}", "{outputs}"]
data:
  text: {uri: "file:letters.txt"PIN}
verify:
  letters: {expect: 5}
"""
DATA_MAIN = """\
import json, pathlib, sys
metrics = {"letters": len(pathlib.Path(sys.argv[1]).read_text())}
pathlib.Path(sys.argv[2], "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.mark.slow
def test_data_that_nobody_pinned_is_pinned_by_the_run(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    files = {"main.py": DATA_MAIN, "letters.txt": "abcde"}
    folder = write_experiment(yaml=DATA.replace("PIN", ""), files=files)
    weak = rpac("reproduce", "quick")
    assert weak.code == 7, weak.out
    first = rpac.last()
    seen = hashlib.sha256(b"abcde").hexdigest()
    assert first["identity"]["data"]["text"]["sha256"] == seen
    assert seen in first["verdict"]["reason"], "the answer says what to write into the file"

    (folder / "letters.txt").write_text("something else")
    git(repository, "commit", "--quiet", "--all", "--message", "other data")
    assert rpac("reproduce", "quick").code == 7
    exact = rpac("reproduce", f"quick@{first['run']}")
    assert "reproduced: identical" in exact.out, exact.err


def test_data_with_another_hash_stops_before_anything_is_started(
    rpac: Terminal, write_experiment: WriteExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_checks, "_HASHED_AT_ONCE", 0)  # as if the file were large
    write_experiment(
        yaml=DATA.replace("PIN", f", sha256: '{'0' * 64}'"),
        files={"main.py": DATA_MAIN, "letters.txt": "abcde"},
    )
    answer = rpac("reproduce", "quick")
    assert answer.code == 5
    record = rpac.last()
    assert record["verdict"]["outcome"] == "could not run"
    assert "expected 000" in record["outcome"]["message"]
    assert record["circumstances"]["nodes"] == []


PINNED = DATA.replace("PIN", f", sha256: '{hashlib.sha256(b'abcde').hexdigest()}'")


@pytest.mark.slow
def test_data_beside_the_experiment_is_looked_at_although_the_cache_knows_it(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    files = {"main.py": DATA_MAIN, "letters.txt": "abcde"}
    folder = write_experiment(yaml=PINNED, files=files)
    assert rpac("reproduce", "quick").code == 0
    first = rpac.last()["run"]

    (folder / "letters.txt").write_text("other")
    git(repository, "commit", "--quiet", "--all", "--message", "other data")
    assert "has another sha256" in rpac("validate").out
    assert rpac("reproduce", "quick").code == 2

    (folder / "letters.txt").unlink()
    git(repository, "commit", "--quiet", "--all", "--message", "no data")
    assert "there is no file 'letters.txt'" in rpac("validate").out
    assert rpac("reproduce", "quick").code == 2

    assert "reproduced: identical" in rpac("reproduce", f"quick@{first}").out


@pytest.mark.slow
def test_a_past_run_needs_no_cache(
    rpac: Terminal,
    repository: Path,
    tmp_path: Path,
    write_experiment: WriteExperiment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_experiment(yaml=PINNED, files={"main.py": DATA_MAIN, "letters.txt": "abcde"})
    rpac("reproduce", "quick")
    run = rpac.last()["run"]
    git(repository, "rm", "-r", "--quiet", "experiments")
    git(repository, "commit", "--quiet", "--message", "gone")
    monkeypatch.setenv("RPAC_CACHE", str(tmp_path / "empty"))
    answer = rpac("reproduce", f"quick@{run}")
    assert "reproduced: identical" in answer.out, answer.out


def test_one_bad_number_spoils_only_itself(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    bad = QUICK_MAIN.replace('{"level": int(sys.argv[1])}', '{"level": 7, "mean": float("inf")}')
    write_experiment(files={"main.py": bad})
    answer = rpac("reproduce", "quick")
    assert answer.code == 0
    assert "'mean' is not a finite number" in answer.out


@pytest.mark.slow
def test_a_change_against_an_accepted_run_is_named(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment(yaml=quick(**{"level: {expect: 7}": "level: {abs_tol: 0.5}"}))
    rpac("reproduce", "quick")
    rpac("accept", rpac.last()["run"])
    answer = rpac("reproduce", "quick", "time=30s", "--json")
    report = (repository / answer.json["report"]).read_text()
    assert "| limits.time | declaration | `60` | `30` | no |" in report


def test_outputs_logs_report_and_record_can_be_had_again(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    rpac("reproduce", "quick")
    run = rpac.last()["run"]
    fetched = rpac("fetch", run, "elsewhere")
    assert json.loads((repository / "elsewhere" / "metrics.json").read_text()) == {"level": 7}
    assert fetched.out.strip() == "elsewhere/metrics.json"
    assert rpac("logs", run).out == "level 7\n"
    assert rpac("logs", run, "--follow").out == "level 7\n"
    assert rpac("show", run).out.startswith("# quick: reproduced: identical")
    assert rpac("show", run, "--json").json["run"] == run
    assert rpac("logs", run, "--role", "node").out.startswith("rpac node: $ python main.py")
    assert "--node 0 --role command" in rpac("logs", run, "--role", "scheduler").err
    stored = next((repository / ".rpac" / "store").rglob("outputs/*"))
    stored.write_bytes(b"rotten")
    assert rpac("fetch", run, "again").code == 5


@pytest.mark.slow
def test_a_clone_with_only_the_log_reproduces(
    rpac: Terminal, repository: Path, tmp_path: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    rpac("reproduce", "quick")
    run = rpac.last()["run"]
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    there = Terminal(tmp_path / "clone")
    git(tmp_path / "clone", "switch", "--quiet", "--orphan", "empty")
    git(tmp_path / "clone", "commit", "--quiet", "--allow-empty", "--message", "empty")
    assert there.runs() == [run]
    assert there("reproduce", f"quick@{run}").code == 0
    assert len(there.runs()) == 2
    refs = git(tmp_path / "clone", "rev-list", "rpac/log")
    assert git(repository, "rev-parse", "rpac/log") in refs, (
        "the local log continues the shared one"
    )


def test_plan_shows_and_changes_nothing(
    rpac: Terminal, repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    refs = git(repository, "for-each-ref")
    first, second = rpac("plan", "quick", "--json"), rpac("plan", "quick", "--json")
    assert first.json == second.json
    assert rpac("plan", "quick", "args.level=9").out.count("variant") == 1
    assert git(repository, "for-each-ref") == refs
    assert not (repository / ".rpac").exists()


@pytest.mark.slow
def test_the_scaffold_runs_as_it_is(rpac: Terminal, repository: Path) -> None:
    assert rpac("new", "first-one").code == 0
    assert rpac("validate").out == "no problems\n"
    git(repository, "add", "experiments")
    git(repository, "commit", "--quiet", "--message", "add")
    answer = rpac("reproduce", "first-one")
    assert answer.code == 0, answer.err
    assert "reproduced" in answer.out
    assert rpac("new", "first-one").code == 2
    assert rpac("new", "second", "--title", "colon: 'quoted' \"twice\" # hash").code == 0
    assert rpac("validate").code == 0


def test_the_python_api_does_what_the_command_line_does(
    repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    steps: list[str] = []
    result = rpac_ci.reproduce(
        "quick", ["args.level=7"], repository=repository,
        notify=lambda progress: steps.append(f"{progress.step} {progress.status}"),
    )  # fmt: skip
    assert result.verdict.outcome == "reproduced: identical"
    assert result.record.outcome.metrics["level"].value == 7
    assert (repository / result.folder / "report.md").exists()
    assert [step for step in steps if step.endswith("done")] == [
        "stage done", "provision done", "submit done", "watch done", "collect done", "release done",
    ]  # fmt: skip
    assert [record.run for record in rpac_ci.history(repository=repository)] == [result.run]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["reproduce", "quik"], 2, "did you mean 'quick'?"),
        (["reproduce", "quick", "nodez=2"], 2, "did you mean 'nodes'?"),
        (["reproduce", "quick", "args.lvel=2"], 2, "did you mean 'level'?"),
        (["reproduce", "quick", "args.level=high"], 2, "expected a whole number"),
        (["reproduce", "quick", "nodes=2"], 2, "runs on one node"),
        (["reproduce", "quick", "cloud=gcp"], 2, "clouds: local, aws, azure"),
        (["reproduce", "quick", "cloud=azure"], 2, "rpac setup azure"),
        (["reproduce", "quick", "cloud=aws"], 2, "rpac setup aws"),
        (["reproduce", "quick@20000101T000000Z-00000000"], 6, "rpac history"),
        (["reproduce", "quick@foo"], 2, "rpac history quick"),
        (["reproduce", "../quick"], 2, "expected <experiment>"),
        (["reproduce"], 2, "EXPERIMENT"),
        (["show", "nothing"], 6, "no run"),
        (["logs", "nothing"], 6, "no logs"),
        (["advance"], 2, "--all"),
        (["advance", "nothing"], 6, "no run"),
        (["validate", "nowhere"], 2, "there is no nowhere"),
        (["new", "Bad Name"], 2, "lower-case"),
    ],
)
def test_one_clear_error_and_the_right_exit_code(
    rpac: Terminal, write_experiment: WriteExperiment, words: list[str], code: int, says: str
) -> None:
    write_experiment()
    answer = rpac(*words)
    assert answer.code == code, answer.err
    assert says in answer.err
    assert rpac.runs() == []


def test_outside_of_git(tmp_path: Path) -> None:
    answer = Terminal(tmp_path)("history")
    assert (answer.code, "git init" in answer.err) == (6, True)
