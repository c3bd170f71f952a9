"""`metrics.json`: a flat object of finite numbers, or the reason why it is not one."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpac_ci.metrics import MAX_BYTES, MAX_METRICS, Metric, Metrics, parse_metrics
from rpac_ci.records import RunRecord
from tests.unit.builders import finished, pipeline

PIPELINE = pipeline()


def test_numbers_with_and_without_units() -> None:
    data = b'{"f1": 0.89, "count": 3169, "radius": {"value": 4.2, "unit": "km"}, "n": {"value": 0}}'
    assert parse_metrics(data) == Metrics(
        values={
            "f1": Metric(0.89),
            "count": Metric(3169),
            "radius": Metric(4.2, "km"),
            "n": Metric(0),
        }
    )


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": 1.0}', 1.0),
        (b'{"a": -0.0}', -0.0),
        (b'{"a": 1e-300}', 1e-300),
        (b'{"a": 5e-400}', 0.0),
        (b'{"a": 9007199254740993}', 2**53 + 1),
        (b'{"a": 1.7976931348623157e308}', 1.7976931348623157e308),
        (b'{"a": {"value": 1, "unit": null}}', 1),
    ],
)
def test_numbers_are_kept_as_they_are(data: bytes, value: float) -> None:
    assert repr(parse_metrics(data).values["a"].value) == repr(value)


NOT_FINITE = "metrics.json: 'a' is not a finite number"
WRONG = {
    "no file": (None, "there is no metrics.json among the outputs"),
    "an empty file": (b"", "metrics.json is not valid JSON"),
    "not JSON": (b"a: 1", "metrics.json is not valid JSON"),
    "half a file": (b'{"a": 1', "metrics.json is not valid JSON"),
    "two objects": (b'{"a": 1}\n{"a": 2}', "metrics.json is not valid JSON"),
    "not UTF-8": (b'{"\xff": 1}', "metrics.json is not valid JSON"),
    "a list": (b'[{"a": 1}]', "metrics.json is not an object of name -> number"),
    "a number": (b"1", "metrics.json is not an object of name -> number"),
    "null": (b"null", "metrics.json is not an object of name -> number"),
    "NaN": (b'{"a": NaN}', NOT_FINITE),
    "infinity": (b'{"a": Infinity}', NOT_FINITE),
    "minus infinity": (b'{"a": {"value": -Infinity}}', NOT_FINITE),
    "more than a float": (b'{"a": 1e400}', NOT_FINITE),
    "a whole number beyond floats": (b'{"a": 1' + b"0" * 400 + b"}", NOT_FINITE),
    "a whole number without end": (b'{"a": ' + b"9" * 5000 + b"}", "metrics.json is not valid"),
    "true": (b'{"a": true}', NOT_FINITE),
    "null value": (b'{"a": null}', NOT_FINITE),
    "a word": (b'{"a": "0.9"}', NOT_FINITE),
    "a list of numbers": (b'{"a": [0.9]}', NOT_FINITE),
    "an object of numbers": (b'{"a": {"b": 0.9}}', NOT_FINITE),
    "a unit without a value": (b'{"a": {"unit": "km"}}', NOT_FINITE),
    "a unit that is a number": (b'{"a": {"value": 1, "unit": 2}}', NOT_FINITE),
    "more than value and unit": (b'{"a": {"value": 1, "error": 2}}', NOT_FINITE),
    "a value twice deep": (b'{"a": {"value": {"value": 1}}}', NOT_FINITE),
    "the same name twice": (b'{"a": 1, "a": 1}', "metrics.json is not valid JSON: a name stands"),
    "the same inner name twice": (b'{"a": {"value": 1, "value": 2}}', "metrics.json is not valid"),
    "a well": (b'{"a": ' + b"[" * 100_000, "metrics.json is nested too deeply"),
    "a well of objects": (b'{"a": ' * 100_000, "metrics.json is nested too deeply"),
    "a large file": (b" " * (MAX_BYTES + 1), f"metrics.json has {MAX_BYTES + 1} bytes, at most"),
    "many metrics": (
        json.dumps({str(n): n for n in range(MAX_METRICS + 1)}).encode(),
        f"metrics.json has {MAX_METRICS + 1} entries, at most {MAX_METRICS}",
    ),
}


@pytest.mark.parametrize(("data", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_not_a_flat_object_of_numbers(data: bytes | None, problem: str) -> None:
    metrics = parse_metrics(data)
    assert metrics.problem.startswith(problem)
    assert metrics.values == {}


def test_a_name_without_end_does_not_make_an_endless_message() -> None:
    assert 0 < len(parse_metrics(b'{"%s": null}' % (b"x" * 100_000)).problem) < 1000


def test_one_bad_number_is_named_and_spoils_only_itself() -> None:
    metrics = parse_metrics(b'{"good": 1, "bad": NaN, "better": 2}')
    assert metrics.values == {"good": Metric(1), "better": Metric(2)}
    assert metrics.problem == "metrics.json: 'bad' is not a finite number"


contents = st.dictionaries(
    st.text(max_size=4),
    st.integers() | st.floats() | st.booleans() | st.dictionaries(st.text(max_size=5), st.floats()),
    max_size=3,
)


@given(st.binary(max_size=30) | contents.map(lambda value: json.dumps(value).encode()))
@example(b'{"\\ud800": 1}')
@example(b'{"a": {"value": 1, "unit": "\\udfff"}}')
def test_whatever_is_accepted_makes_a_record_that_can_be_read(data: bytes) -> None:
    accepted = parse_metrics(data).values
    record = finished(PIPELINE, metrics={n: (m.value, m.unit) for n, m in accepted.items()})
    assert RunRecord.model_validate(json.loads(record.to_bytes())) == record
