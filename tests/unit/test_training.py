"""`training.json`: what is taken from it, what is refused, and how it looks in the report."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from rpac_ci.formats.training import CURVES, training_curves, training_section
from rpac_ci.helpers.training_record import TrainingRecord as Helper
from rpac_ci.training import MAX_POINTS, TrainingRecord, parse_training

HASH = "0" * 64
SCHEMA = "rpac/training/1"


def parsed(**keys: Any) -> TrainingRecord:
    record, problem = parse_training(json.dumps({"schema": SCHEMA, **keys}).encode())
    assert record is not None, problem
    return record


def told() -> bytes:
    """What the helper writes of a training of three epochs."""
    helper = Helper(torch=7)
    helper.hyper_parameters(epochs=3, learning_rate=1e-3, optimizer="adam | sgd")
    helper.split("train", ["a", "b"])
    for step in (1, 2, 3):
        helper.point("loss", step, train=1.0 / step, test=1.1 / step)
    return json.dumps(helper.document()).encode()


def test_what_the_helper_writes_is_read() -> None:
    record, problem = parse_training(told())
    assert problem == ""
    assert record is not None
    assert record.seeds == {"torch": 7}
    assert record.hyper_parameters["learning_rate"] == 0.001
    assert record.curves["loss"]["step"] == [1, 2, 3]
    assert record.splits["train"].count == 2


def test_all_but_the_schema_may_be_left_out() -> None:
    assert parsed().to_json()["curves"] == {}


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    steps = list(range(1, 1501))
    curve = parsed(curves={"loss": {"step": steps, "train": [1.0 / s for s in steps]}}).curves[
        "loss"
    ]
    assert len(curve["step"]) == len(curve["train"]) == MAX_POINTS
    assert (curve["step"][0], curve["step"][-1]) == (1, 1500)


def test_a_hole_in_a_curve_is_a_null() -> None:
    curve = {"step": [1, 2], "test": [None, 0.5]}
    assert parsed(curves={"loss": curve}).curves["loss"]["test"] == [None, 0.5]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[]", "cannot be used"),
        (b"{", "cannot be used"),
        (b"\xff", "cannot be used"),
        (b"[" * 100_000, "cannot be used"),
        (b" " * 2_100_000, "2100000 bytes"),
        (b"{}", "cannot be used: schema"),
        (b'{"schema": "rpac/training/2"}', "schema"),
        ({"more": 1}, "more"),
        ({"seeds": {"torch": "7"}}, "seeds.torch"),
        ({"hyper_parameters": {"a": [1]}}, "hyper_parameters.a"),
        ({"hyper_parameters": {"a": 10**40}}, "hyper_parameters.a"),
        ({"hyper_parameters": {"a\nb": 1}}, "not printable"),
        ({"hyper_parameters": {str(n): n for n in range(51)}}, "hyper_parameters"),
        ({"curves": {"loss": {"step": [1, 2], "train": [1.0]}}}, "columns of one length"),
        ({"curves": {"loss": {"train": [1.0]}}}, "columns of one length"),
        ({"curves": {str(n): {"step": []} for n in range(11)}}, "curves"),
        ({"splits": {"train": {"count": -1, "sha256": HASH}}}, "splits.train.count"),
        ({"splits": {"train": {"count": 1, "sha256": "abc"}}}, "splits.train.sha256"),
        ({"model": {"path": "", "sha256": HASH}}, "model.path"),
    ],
)
def test_refused_with_the_place(content: Any, problem: str) -> None:
    if isinstance(content, dict):
        content = json.dumps({"schema": SCHEMA, **content}).encode()
    record, said = parse_training(content)
    assert record is None
    assert problem in said


def test_no_number_of_the_record_is_not_finite() -> None:
    record, said = parse_training(f'{{"schema": "{SCHEMA}", "seeds": {{}}, '
                                  '"hyper_parameters": {"a": NaN}}'.encode())  # fmt: skip
    assert record is None
    assert "not finite" in said


def test_the_report_shows_curves_model_splits_and_settings() -> None:
    record, _ = parse_training(told())
    assert record is not None
    section = training_section(record, "")
    assert f"![training curves]({CURVES})" in section
    assert "adam \\| sgd" in section  # a text is shown as it is, and breaks no table
    assert "seed of torch" in section


def test_the_report_says_why_a_file_was_not_used() -> None:
    assert "it is broken" in training_section(None, "it is broken")
    assert training_section(None, "") == ""


@pytest.mark.parametrize(
    "curve",
    [
        {"step": [1, 2, 3], "train": [1.0, 0.5, 0.25], "test": [1.1, None, 0.5]},
        {"step": [1], "train": [1.0]},
        {"step": [], "train": []},
        {"step": [1, 2], "train": [None, None]},
        {"step": [5, 5], "train": [2, 2]},
        {"step": [1, 2], "<script>&": [1.0, 2.0]},
    ],
)
def test_curves_are_valid_svg_with_equal_bytes_for_equal_numbers(curve: dict[str, Any]) -> None:
    record = parsed(curves={"loss <&>": curve, "accuracy": curve})
    drawn = training_curves(record)
    root = ET.fromstring(drawn)  # a text of another would break it
    assert root.tag.endswith("svg")
    assert len(root.findall("{*}g")) == 2
    assert drawn == training_curves(record)
