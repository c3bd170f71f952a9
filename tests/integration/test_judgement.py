"""Contents, samples, rules and grades in whole runs: files on disk, a store, git."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WriteExperiment, git
from tests.integration.conftest import NOTHING, Terminal, until

pytestmark = pytest.mark.slow  # a minute and more

# writes a NetCDF file, a table and a Zarr-like folder; FAULT changes what the second run writes
MAIN = """\
import json, os, pathlib, sys, time
import h5netcdf, numpy as np
level, seed, fault = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
out = pathlib.Path(sys.argv[4])
dice = np.random.default_rng(seed)
field = np.arange(12.0).reshape(3, 4)
if fault == "small":
    field = field * (1 + 1e-9)
if fault == "large":
    field[1, 2] += 0.5
with h5netcdf.File(out / "field.nc", "w") as file:
    file.attrs["history"] = f"written by {os.getpid()} at {time.time_ns()}"
    file.dimensions = {"y": 3, "x": 4}
    file.create_variable("sst", ("y", "x"), float, data=field)
rows = [(n, n * level) for n in range(4)]
if fault == "order":
    rows = rows[::-1]
(out / "rows.csv").write_text("id,v\\n" + "".join(f"{n},{v}\\n" for n, v in rows))
(out / "parts").mkdir()
for n in range(3):
    (out / "parts" / f"{n}.txt").write_text(f"{n} {level}\\n")
skill = 0.9 + 0.004 * dice.normal()
if fault == "worse":
    skill -= 0.2
(out / "metrics.json").write_text(json.dumps({"skill": skill, "n": 12}))
"""
YAML = """\
id: fields
title: A field, a table and a folder
engine: process
command: [{python}, main.py, "{{args.level}}", "{{seed}}", "{{args.fault}}", "{{outputs}}"]
args:
  level: 2
  fault: {{value: none, role: operational}}
seed: 1
outputs: [metrics.json, field.nc, rows.csv, parts]
verify:
  n: {{}}
  field.nc: {{compare: values, rel_tol: 1.0e-6}}
  rows.csv: {{compare: content, key: [id]}}
limits: {{time: 1 min}}
"""


def fields(**replace: str) -> str:
    text = YAML.format(python=sys.executable)
    for old, new in replace.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def run(rpac: Terminal, write_experiment: WriteExperiment) -> Terminal:
    """A repository whose experiment has an accepted run."""
    write_experiment("fields", fields(), {"main.py": MAIN})
    assert rpac("reproduce", "fields").code == 0
    assert rpac("accept", rpac.runs()[0]).code == 0
    return rpac


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        ("none", 0, "reproduced: identical"),  # other bytes each time: the date stands inside
        ("small", 0, "reproduced: within tolerance"),
        ("large", 1, "not reproduced"),
        ("order", 0, "reproduced: identical"),  # rows have a key
    ],
)
def test_files_are_judged_by_what_they_hold(
    run: Terminal, fault: str, code: int, says: str
) -> None:
    answer = run("reproduce", "fields", f"args.fault={fault}")
    assert (answer.code, says in answer.out) == (code, True), answer.out
    record = run.record()
    assert record["outcome"]["comparisons"][0]["path"] == "field.nc"
    if fault == "large":
        [check] = [c for c in record["verdict"]["checks"] if c["name"] == "field.nc"]
        assert "sst" in check["note"]
        assert check["difference"] == pytest.approx(0.5)
    assert run.left_over() == NOTHING


def test_a_folder_is_one_output_and_comes_back_as_it_was(run: Terminal, tmp_path: Path) -> None:
    name = run.runs()[0]
    [folder] = [o for o in run.record(name)["outcome"]["outputs"] if o["path"] == "parts"]
    assert folder["folder"] is True
    answer = run("fetch", name, str(tmp_path / "here"))
    assert answer.code == 0, answer.err
    assert (tmp_path / "here" / "parts" / "1.txt").read_text() == "1 2.0\n"
    run("reproduce", "fields")
    checks = {c["name"]: c["agreement"] for c in run.record()["verdict"]["checks"]}
    assert checks["parts"] == "identical"  # the ZIP has no times in it


def test_a_reference_whose_files_are_gone_is_no_evidence(run: Terminal, repository: Path) -> None:
    accepted = run.runs()[0]
    for file in (repository / ".rpac" / "store" / "runs" / accepted).rglob("outputs/*"):
        file.unlink()
    answer = run("reproduce", "fields", "args.fault=large")
    assert answer.code == 7
    assert "is not in this repository's store" in answer.out


def test_a_rule_for_what_cannot_be_read_is_refused_before_anything_runs(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    unknown = {
        "field.nc: {compare: values, rel_tol: 1.0e-6}": "notes.doc: {compare: content}",
        "field.nc, rows": "notes.doc, rows",
    }
    text = fields(**unknown)
    write_experiment("fields", text, {"main.py": MAIN})
    answer = rpac("reproduce", "fields")
    assert answer.code == 2
    assert "cannot read this kind of file" in answer.err
    assert rpac.runs() == []


def test_rules_that_are_loosened_after_the_result_are_named(
    run: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment("fields", fields(**{"rel_tol: 1.0e-6": "rel_tol: 0.5"}), {"main.py": MAIN})
    answer = run("reproduce", "fields", "args.fault=large")
    assert "reproduced: within tolerance" in answer.out
    assert (
        "rules changed since the first result was known: field.nc: rel_tol 1e-06 → 0.5"
        in answer.out
    )
    assert "Rules that changed since the first result" in run("show", run.runs()[0]).out


# --- seeds --------------------------------------------------------------------------------------

SEEDS = {"n: {}": "skill: {margin: 0.02}\n  n: {}"}


@pytest.fixture
def seeds(rpac: Terminal, write_experiment: WriteExperiment) -> Terminal:
    """A repository whose experiment is judged over seeds, five of which are accepted."""
    text = fields(**SEEDS)
    write_experiment("fields", text, {"main.py": MAIN})
    answer = rpac("reproduce", "fields", "repeat=5")
    assert answer.code == 0, answer.out
    assert rpac("accept", answer.study).code == 0
    return rpac


def test_five_other_seeds_are_equivalent_and_one_is_not_enough(seeds: Terminal) -> None:
    plan = seeds("plan", "fields", "seed=11,12,13,14,15")
    assert "5 seeds against 5 of the reference" in plan.out
    assert "% chance of a clear answer" in plan.out

    one = seeds("reproduce", "fields", "seed=21")
    assert one.code == 7
    assert "too few seeds: 1 against 5" in one.out

    five = seeds("reproduce", "fields", "seed=11,12,13,14,15")
    assert five.code == 0
    assert "reproduced: statistically equivalent" in five.out

    worse = seeds("reproduce", "fields", "seed=11,12,13,14,15", "args.fault=worse")
    assert worse.code == 1
    assert "not reproduced" in worse.out


def test_an_accepted_seed_again_is_identical(seeds: Terminal) -> None:
    answer = seeds("reproduce", "fields", "seed=3")
    assert answer.code == 0
    assert "reproduced: identical" in answer.out


# --- studies ------------------------------------------------------------------------------------


def test_a_study_is_one_page_over_many_runs(run: Terminal, repository: Path) -> None:
    answer = run("reproduce", "fields", "args.level=2,3", "repeat=2", "--json")
    assert answer.code == 0
    study = answer.json["study"]
    assert [member["changes"] for member in study["members"]] == [{"args.level": "2"}] * 2 + [
        {"args.level": "3"}
    ] * 2
    assert len({member["run"] for member in study["members"]}) == 4
    page = (repository / answer.json["report"]).read_text()
    assert "study of 4 runs" in page
    assert (repository / answer.json["report"]).parent.joinpath("figures/metrics.svg").exists()
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "log", "-1", "--format=%s").startswith("fields: study of 4 runs")
    assert run.left_over() == NOTHING
    shown = run("show", study["study"])
    assert "study of 4 runs" in shown.out
    listed = run("history", f"study={study['study']}", "args.level=3", "--json").json
    assert len(listed) == 2


def test_a_member_that_fails_does_not_hold_up_the_others(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    broken = MAIN.replace("dice = ", "assert level != 3, 'no threes'\ndice = ")
    write_experiment("fields", fields(), {"main.py": broken})
    answer = rpac("reproduce", "fields", "args.level=2,3,4", "--json")
    assert answer.code == 3
    assert [m["status"] for m in answer.json["study"]["members"]] == [
        "succeeded", "failed", "succeeded",
    ]  # fmt: skip


def test_one_member_that_is_not_possible_stops_the_study_before_it_starts(run: Terminal) -> None:
    before = run.runs()
    assert run("reproduce", "fields", "nodes=1,2").code == 2
    assert run("reproduce", "fields", "args.level=2,many").code == 2
    assert run.runs() == before


SLOW = """\
import json, pathlib, sys, time
out = pathlib.Path(sys.argv[4])
while pathlib.Path({gate!r}).exists():
    time.sleep(0.02)
(out / "metrics.json").write_text(json.dumps({{"n": 1}}))
"""


def slow(write_experiment: WriteExperiment, tmp_path: Path) -> Path:
    """An experiment whose command waits for a file to vanish."""
    gate = tmp_path / "gate"
    gate.touch()
    less = {
        "outputs: [metrics.json, field.nc, rows.csv, parts]": "outputs: [metrics.json]",
        "  field.nc: {compare: values, rel_tol: 1.0e-6}\n": "",
        "  rows.csv: {compare: content, key: [id]}\n": "",
    }
    text = fields(**less)
    write_experiment("fields", text, {"main.py": SLOW.format(gate=str(gate))})
    return gate


def test_a_study_whose_driver_is_killed_is_taken_to_its_end(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    gate = slow(write_experiment, tmp_path)
    process = rpac.start("reproduce", "fields", "args.level=1,2,3")
    until(rpac.marked)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    gate.unlink()

    answer = rpac("advance", "--all")

    assert answer.code == 0, answer.out + answer.err
    assert len(rpac.runs()) == 3
    assert "study: baseline" in answer.out
    assert rpac("advance", "--all").out.strip() == "no open runs"
    assert rpac.left_over() == NOTHING
    study = rpac.record()["circumstances"]["requested"]["study"]
    assert "study of 3 runs" in rpac("show", study).out


def test_ctrl_c_cancels_a_study_and_writes_its_page(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    slow(write_experiment, tmp_path)
    process = rpac.start("reproduce", "fields", "args.level=1,2,3")
    until(rpac.marked)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "inconclusive (cancelled)" in out
    assert {rpac.record(name)["outcome"]["status"] for name in rpac.runs()} == {"cancelled"}
    assert rpac.left_over() == NOTHING


# --- two runs, the log, the store ----------------------------------------------------------------


def test_two_runs_side_by_side(run: Terminal) -> None:
    run("reproduce", "fields", "args.fault=large", "args.level=3")
    second, first = run.runs()[:2]
    answer = run("compare", first, second)
    assert answer.code == 0
    assert "other science" in answer.out
    found = run("compare", first, second, "--json").json
    assert {change["key"] for change in found["changes"]} >= {"args.level", "operational.fault"}
    [nc] = [pair for pair in found["outputs"] if pair["path"] == "field.nc"]
    assert nc["says"] == "different"
    assert "sst" in nc["note"]


def test_the_log_is_what_it_says(run: Terminal, repository: Path) -> None:
    run("reproduce", "fields", "args.fault=large")
    run("reproduce", "fields", "repeat=2")
    clean = run("fsck", "--outputs", "--json")
    assert clean.code == 0, clean.out
    assert clean.json == {"runs": 4, "findings": []}


def forge(repository: Path, path: str, content: bytes) -> None:
    """Replace one file of the log, as somebody with the right to push could."""
    index = repository / ".git" / "forged-index"
    environment = {**os.environ, "GIT_INDEX_FILE": str(index)}

    def run_git(*argv: str, stdin: bytes | None = None) -> str:
        import subprocess

        done = subprocess.run(
            ["git", *argv], cwd=repository, env=environment, input=stdin, capture_output=True,
            check=True,
        )  # fmt: skip
        return done.stdout.decode().strip()

    run_git("read-tree", "rpac/log")
    oid = run_git("hash-object", "-w", "--stdin", stdin=content)
    run_git("update-index", "--add", "--cacheinfo", f"100644,{oid},{path}")
    commit = run_git("commit-tree", run_git("write-tree"), "-p", "rpac/log", "-m", "nothing to see")
    run_git("update-ref", "refs/heads/rpac/log", commit)


def test_a_forged_result_is_found(run: Terminal, repository: Path) -> None:
    folder = run.folder()
    record = json.loads((repository / folder / "record.json").read_bytes())
    record["outcome"]["metrics"]["n"]["value"] = 13
    record["identity"]["pipeline"] = "sha256:" + "0" * 64
    forge(repository, f"{folder}/record.json", json.dumps(record).encode())
    forge(repository, f"{folder}/source/main.py", b"print('another program')\n")
    answer = run("fsck", "--json")
    assert answer.code == 6
    found = " ".join(finding["what"] for finding in answer.json["findings"])
    assert "was changed or removed in the history" in found
    assert "not the pipeline that the record names" in found
    assert "is not the code that ran" in found
    assert "is not on this branch as it is in the log" in found


def test_a_record_of_a_newer_rpac_is_listed_and_not_judged(run: Terminal, repository: Path) -> None:
    folder = run.folder()
    record: dict[str, Any] = json.loads((repository / folder / "record.json").read_bytes())
    record.update(schema="rpac/record/99", new={"thing": 1})
    name = f"{record['run'][:-1]}{'0' if record['run'][-1] != '0' else '1'}"
    record["run"] = name
    there = folder.replace(Path(folder).name, name)
    for file in ("pipeline.yaml", "report.md"):
        forge(repository, f"{there}/{file}", (repository / folder / file).read_bytes())
    forge(repository, f"{there}/record.json", json.dumps(record).encode())
    answer = run("fsck", "--json")
    assert answer.code == 0
    [finding] = answer.json["findings"]
    assert "newer rpac" in finding["what"]
    listed = {row["run"]: row["problem"] for row in run("history", "--json").json}
    assert "rpac/record/99" in listed[name]
    assert listed[record["run"]] is not None
    assert run("show", name).code == 6


def test_the_store_forgets_only_what_nobody_needs(run: Terminal, tmp_path: Path) -> None:
    name = run.runs()[0]
    told = run("gc", "--dry-run", "--json").json
    assert told["removed"]
    assert run("gc").code == 0
    assert run("gc", "--json").json["removed"] == []
    assert run("fetch", name, str(tmp_path / "there")).code == 0
    assert run("logs", name).code == 0
    assert run("reproduce", f"fields@{name}").code == 0
    assert (
        run("reproduce", "fields", "args.fault=small").code == 0
    )  # its reference's files are there


def test_gc_leaves_a_run_that_goes_on_alone(
    rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    gate = slow(write_experiment, tmp_path)
    process = rpac.start("reproduce", "fields")
    until(rpac.marked)
    assert rpac("gc", "--json").json["removed"] == []
    gate.unlink()
    out, _ = process.communicate(timeout=60)
    assert "baseline" in out
