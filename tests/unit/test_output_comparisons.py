"""Which outputs are looked into, where the reference comes from, what is said when it is gone."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rpac_ci import planning
from rpac_ci.errors import CommandError
from rpac_ci.experiment_model import FileRule, MetricRule
from rpac_ci.jobs import Keys
from rpac_ci.output_comparisons import MAX_PAIRS, Pair, check_readers, compare, pairs
from rpac_ci.records import Reference, ReferenceKind, as_reference
from rpac_ci.references import MAX_REFERENCE_BYTES, _newest
from rpac_ci.sources import ContentCache
from rpac_ci.storage import Storage
from tests.unit.builders import PAST, RUN, accepted, at_run, finished, nothing, pipeline

VALUES = FileRule.model_validate({"compare": "values", "abs_tol": 0.1})


def npy(*numbers: float) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(numbers))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def past(*names: str, content: bytes = b"past", run: str = PAST) -> Any:
    return finished(pipeline(), nothing(), metrics={}, files=dict.fromkeys(names, content), run=run)


def now(*names: str, content: bytes = b"now") -> list[dict[str, Any]]:
    return [{"path": name, "sha256": sha256(content)} for name in names]


# --- what is looked into ------------------------------------------------------------------------


def test_only_files_of_a_known_kind_whose_bytes_differ() -> None:
    reference = at_run(past("a.npy", "b.txt", "c.npy"))
    outputs = [*now("a.npy", "b.txt", "new.npy"), *now("c.npy", content=b"past")]
    found = list(pairs({"a.npy": VALUES}, reference, outputs, {}))
    assert [(pair.path, pair.reference, pair.rule) for pair in found] == [("a.npy", PAST, VALUES)]


def test_a_rule_for_bytes_still_tells_whether_the_content_is_the_same() -> None:
    rules = {"a.npy": FileRule()}
    [pair] = pairs(rules, at_run(past("a.npy")), now("a.npy"), {})
    assert pair.rule.compare == "content"


def test_a_declared_input_comes_before_accepted_runs_and_after_a_run_to_reproduce() -> None:
    rules = {"a.npy": FileRule.model_validate({"compare": "content", "expect": "data.truth"})}
    data = {"truth": "0" * 64}
    declared = Reference(kind=ReferenceKind.EXPECT, runs=[as_reference(past("a.npy"))])
    assert [p.reference for p in pairs(rules, declared, now("a.npy"), data)] == ["data.truth"]
    assert [p.reference for p in pairs(rules, at_run(past("a.npy")), now("a.npy"), data)] == [PAST]


def test_the_number_of_comparisons_has_a_limit() -> None:
    names = [f"{n}.npy" for n in range(60)]
    runs = [past(*names, run=f"20250101T00000{n}Z-00000000") for n in range(5)]
    found = list(pairs({}, accepted(*runs), now(*names), {}))
    assert len(found) <= MAX_PAIRS
    assert {pair.reference for pair in found} == {"20250101T000004Z-00000000"}  # the newest


def test_nothing_to_compare_with_is_nothing_to_do() -> None:
    assert list(pairs({"a.npy": VALUES}, nothing(), now("a.npy"), {})) == []


def test_rules_for_files_that_nothing_reads_are_refused() -> None:
    with pytest.raises(CommandError, match="cannot read this kind of file"):
        check_readers({"a.doc": VALUES})
    check_readers({"a.npy": VALUES, "*": VALUES, "b.doc": FileRule(), "m": MetricRule()})


# --- what is found ------------------------------------------------------------------------------


@pytest.fixture
def look(storage: Storage, tmp_path: Path) -> Any:
    """Compare one file of this run with one of a past run; None: it is not in the store."""

    def compared(expected: bytes | None, observed: bytes, rule: FileRule) -> dict[str, Any]:
        keys = {PAST: expected, RUN: observed}
        for run, content in keys.items():
            if content is not None:
                storage.put(f"{Keys(run).outputs}{sha256(content)}", content)
        pair = Pair(
            path="a.npy", reference=PAST, expected=sha256(expected or b"gone"),
            observed=sha256(observed), rule=rule,
        )  # fmt: skip
        [found] = compare(
            [pair], run=RUN, storage=storage, cache=ContentCache(tmp_path / "cache"),
            folder=tmp_path / "scratch",
        )  # fmt: skip
        assert list((tmp_path / "scratch").iterdir()) == []
        return found

    return compared


def test_values_within_and_beyond(look: Any) -> None:
    assert look(npy(1.0), npy(1.05), VALUES)["agreement"] == "within tolerance"
    assert look(npy(1.0), npy(1.5), VALUES)["agreement"] == "different"


def test_a_file_that_is_gone(look: Any) -> None:
    found = look(None, npy(1.0), VALUES)
    assert found["agreement"] == "not compared"
    assert f"the file of {PAST} is not in this repository's store" in found["note"]


def test_a_file_that_was_damaged_in_the_store(look: Any, storage: Storage) -> None:
    content = npy(2.0)
    look(content, npy(1.0), VALUES)
    storage.put(f"{Keys(PAST).outputs}{sha256(content)}", content[:-1] + b"?")
    pair = Pair(path="a.npy", reference=PAST, expected=sha256(content),
                observed=sha256(npy(1.0)), rule=VALUES)  # fmt: skip
    cache = ContentCache(Path("/nonexistent"))
    [found] = compare([pair], run=RUN, storage=storage, cache=cache, folder=Path(storage.url[7:]))
    assert found["agreement"] == "not compared"


def test_a_reference_that_fails_its_own_rule(look: Any) -> None:
    strict = VALUES.model_copy(update={"equal_nan": False})
    found = look(npy(float("nan"), 1.0), npy(float("nan"), 1.05), strict)
    assert found["agreement"] == "not compared"
    assert "the reference fails its own comparison" in found["note"]
    assert look(npy(1.0, 2.0), npy(float("nan"), 2.0), strict)["agreement"] == "different"


# --- what is kept of accepted runs ---------------------------------------------------------------


def test_of_many_large_references_the_newest_are_kept() -> None:
    metrics = {f"metric_{n}": n / 7 for n in range(100)}
    runs = [
        as_reference(finished(pipeline(), nothing(), metrics=metrics, run=f"2025010{n}T000000Z-0"))
        for n in range(1, 10)
    ]
    kept = _newest(runs * 3)
    assert 1 <= len(kept) < 27
    assert kept[-1] == runs[-1]
    assert sum(len(run.model_dump_json()) for run in kept) < 1.1 * MAX_REFERENCE_BYTES


def test_a_margin_without_scipy_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "find_spec", lambda _: None)
    with pytest.raises(CommandError, match="skill: a margin needs scipy"):
        planning._check_readers(pipeline(verify={"skill": {"margin": 0.1}}))
    planning._check_readers(pipeline(verify={"skill": {"abs_tol": 0.1}}))
