"""Studies: lists in a command, the runs they make, and what those say together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from rpac_ci.errors import CommandError
from rpac_ci.formats.study import figures, page
from rpac_ci.pipeline import Pipeline
from rpac_ci.records import Reference, RunRecord
from rpac_ci.studies import Planned, StudyRecord, build, numeric
from rpac_ci.study_words import axes, changes_of, members
from rpac_ci.verdict import judge
from tests.unit.builders import accepted, definition, finished, nothing, pipeline

MARGIN = {"skill": {"margin": 0.05}}


def runs(*words: str, **keys: Any) -> list[tuple[str, ...]]:
    found = axes(words)
    assert found is not None
    return members(found, definition(**keys))


# --- words --------------------------------------------------------------------------------------


def test_words_without_a_list_are_one_run() -> None:
    assert axes(["nodes=2", "args.x=1"]) is None
    assert axes([]) is None
    assert axes(["args.bands=M1\\,M2"]) is None


def test_lists_make_every_combination_in_their_order() -> None:
    assert runs("nodes=1,2", "cpus=1", "args.x=5,6", args={"x": 1}) == [
        ("cpus=1", "nodes=1", "args.x=5"),
        ("cpus=1", "nodes=1", "args.x=6"),
        ("cpus=1", "nodes=2", "args.x=5"),
        ("cpus=1", "nodes=2", "args.x=6"),
    ]


def test_repeats_are_the_same_run_again() -> None:
    assert runs("repeat=3", seed=4) == [(), (), ()]
    assert runs("nodes=1,2", "repeat=2") == [("nodes=1",)] * 2 + [("nodes=2",)] * 2


def test_repeats_count_seeds_up_where_results_are_compared_over_seeds() -> None:
    assert runs("repeat=3", seed=4, verify=MARGIN) == [("seed=4",), ("seed=5",), ("seed=6",)]
    assert (
        runs("seed=1,2", "repeat=2", seed=4, verify=MARGIN) == [("seed=1",)] * 2 + [("seed=2",)] * 2
    )
    assert runs("repeat=2", verify=MARGIN) == [(), ()]  # an experiment without a seed


def test_a_comma_of_a_text_is_written_with_a_backslash() -> None:
    assert runs("args.b=x\\,y,z", args={"b": "m"}) == [("args.b=x,y",), ("args.b=z",)]


def test_a_comma_that_may_be_part_of_a_text_is_asked_about() -> None:
    with pytest.raises(CommandError, match="one text or a list"):
        runs("args.bands=M1,M2", args={"bands": "M3,M4"})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["repeat=0"], "expected a count"),
        (["repeat=x"], "expected a count"),
        (["repeat=2", "repeat=2"], "expected a count"),
        (["nodes=1,"], "an empty value"),
        (["nodes=1,1"], "stands twice"),
        (["nodes=1,2", "nodes=3,4"], "given twice"),
        (["time=1h,2h"], "one value for the whole study"),
        (["repeat=101"], "101 runs, at most 100"),
        (["args.x=" + ",".join(map(str, range(9))), "nodes=" + ",".join(map(str, range(1, 13)))],
         "108 runs"),
    ],
)  # fmt: skip
def test_words_that_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        axes(words)


def test_what_tells_a_member_from_the_others() -> None:
    found = axes(["nodes=1,2", "cpus=1"])
    assert found is not None
    assert changes_of(("cpus=1", "nodes=2"), found) == {"nodes": "2"}


def test_numbers_among_values() -> None:
    assert [numeric(value) for value in ("1", "2.5", "rf")] == [1.0, 2.5, None]


# --- what they say together ---------------------------------------------------------------------


def study(
    records: Sequence[RunRecord | None], words: Sequence[str], *, pipe: Pipeline | None = None
) -> StudyRecord:
    planned, known = [], {}
    for n, record in enumerate(records):
        run = f"20260101T00000{n}Z-0000000{n}"
        planned.append(Planned(run=run, changes={"seed": str(n)}))
        if record is not None:
            known[run] = record.model_copy(update={"run": run})
    return build(
        study="20260101T000000Z-ffffffff", experiment="exp", words=words, planned=planned,
        records=known, pipeline=pipe,
    )  # fmt: skip


def judged(pipe: Pipeline, reference: Reference | None = None, **run: Any) -> RunRecord:
    record = finished(pipe, reference or nothing(), **run)
    return record.model_copy(update={"verdict": judge(pipe, record)})


def seeds(
    values: Sequence[float], reference: Reference | None = None, first: int = 1
) -> list[RunRecord]:
    return [
        judged(pipeline(seed=first + n, verify=MARGIN), reference, metrics={"skill": value})
        for n, value in enumerate(values)
    ]


GOOD = (0.70, 0.71, 0.72, 0.71, 0.70)


def test_seeds_are_judged_as_one_sample() -> None:
    reference = accepted(*seeds(GOOD))
    again = seeds((0.71, 0.70, 0.72, 0.69, 0.70), reference, first=11)
    assert {record.verdict.outcome for record in again if record.verdict} == {"inconclusive"}
    found = study(again, ["repeat=5"], pipe=pipeline(verify=MARGIN, seed=1))
    assert found.outcome == "reproduced: statistically equivalent"
    assert found.exit_code == 0
    assert found.pooled is not None
    assert "5 seeds against 5" in found.pooled.checks[0].note
    assert found.spread["skill"].count == 5
    assert found.spread["skill"].sd == pytest.approx(0.0114, abs=1e-3)


def test_other_seeds_far_away_are_not() -> None:
    far = seeds((0.51, 0.50, 0.52, 0.49, 0.50), accepted(*seeds(GOOD)), first=11)
    found = study(far, ["repeat=5"], pipe=pipeline(verify=MARGIN, seed=1))
    assert (found.outcome, found.exit_code) == ("not reproduced", 1)


def test_the_same_seed_five_times_is_one_seed() -> None:
    same = [seeds((0.7,), accepted(*seeds(GOOD)), first=11)[0] for _ in range(5)]
    found = study(same, ["repeat=5"], pipe=pipeline(verify=MARGIN, seed=1))
    assert found.outcome == "inconclusive"


def test_the_worst_member_names_the_whole() -> None:
    rules = {"a": {"expect": 1.0}}
    good = judged(pipeline(verify=rules), None, metrics={"a": 1.0})
    good = finished(pipeline(verify=rules), metrics={"a": 1.0})
    good = good.model_copy(update={"verdict": judge(pipeline(verify=rules), good)})
    bad = finished(pipeline(verify=rules), metrics={"a": 2.0})
    bad = bad.model_copy(update={"verdict": judge(pipeline(verify=rules), bad)})
    broken = judged(pipeline(verify=rules), reason="staging failed")
    assert study([good, good], ["repeat=2"]).outcome == "reproduced: identical"
    assert study([good, bad], ["repeat=2"]).exit_code == 1
    assert study([good, broken], ["repeat=2"]).exit_code == 5
    assert study([good, bad, broken], ["repeat=3"]).exit_code == 1
    assert study([good, broken], ["repeat=2"]).reason.startswith("1 of 2 runs")


def test_a_member_that_never_started_is_told() -> None:
    good = judged(pipeline(), metrics={"a": 1.0})
    found = study([good, None], ["repeat=2"])
    assert [member.status for member in found.members] == ["succeeded", "not started"]
    assert found.exit_code == 5
    assert study([None, None], ["repeat=2"]).outcome == "not started"


def test_failed_members_do_not_spoil_the_sample() -> None:
    again = seeds((0.71, 0.70, 0.72, 0.69), accepted(*seeds(GOOD)), first=11)
    broken = judged(pipeline(seed=15, verify=MARGIN), reason="command failed", message="no disk")
    found = study([*again, broken], ["repeat=5"], pipe=pipeline(verify=MARGIN, seed=1))
    assert found.outcome == "reproduced: statistically equivalent"
    assert found.reason.endswith("1 of 5 runs gave no result")


def test_variants_have_no_common_spread() -> None:
    records = [judged(pipeline(args={"x": n}), metrics={"a": n}) for n in (1, 2)]
    assert study(records, ["args.x=1,2"]).spread == {}


# --- the page -----------------------------------------------------------------------------------


def test_the_page_shows_every_run_and_links_to_it() -> None:
    found = study(seeds(GOOD), ["repeat=5"], pipe=pipeline(verify=MARGIN, seed=1))
    text = page(found, figures=["figures/metrics.svg"])
    for member in found.members:
        assert f"(../../2026-01/{member.run}/report.md)" in text
    assert "## Spread over runs of the same science" in text
    assert "skill: {expect: 0.708, abs_tol: " in text
    assert "![figures/metrics.svg](figures/metrics.svg)" in text


def test_scaling_is_told_where_nodes_were_varied() -> None:
    phases = {1: 10.0, 2: 6.0}
    records = []
    for nodes, seconds in phases.items():
        node = [{"index": n} for n in range(nodes)]
        phase = {"name": "command", "start_s": 0.0, "duration_s": seconds}
        collected = {"nodes": node, "phases": [phase]}
        records.append(judged(pipeline(), metrics={"a": 1}, collected=collected))
    text = page(study(records, ["nodes=1,2"]), figures=[])
    assert "| 1 | 1 | 10.0 s | 1.00 | 100 % |" in text
    assert "| 2 | 1 | 6.0 s | 1.67 | 83 % |" in text


def test_charts_are_equal_for_equal_numbers_and_valid() -> None:
    found = study(seeds(GOOD), ["seed=0,1,2,3,4"], pipe=pipeline(verify=MARGIN, seed=1))
    [(path, drawn)] = figures(found).items()
    assert path == "figures/metrics.svg"
    assert drawn == figures(found)[path]
    root = ElementTree.fromstring(drawn)
    assert len(root.findall(".//{http://www.w3.org/2000/svg}circle")) == 5


def test_one_point_is_no_chart() -> None:
    assert figures(study([judged(pipeline(), metrics={"a": 1}), None], ["repeat=2"])) == {}


def test_the_document_is_read_back_as_it_was() -> None:
    found = study(seeds(GOOD), ["repeat=5"], pipe=pipeline(verify=MARGIN, seed=1))
    assert StudyRecord.model_validate(json.loads(found.to_bytes())) == found
