"""Equal values are equal bytes, and the bytes say what the value was."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpac_ci import yaml_io
from rpac_ci.canonical import Json, canonical_json, canonical_yaml, digest, readable_json

WRITERS = (canonical_json, readable_json, canonical_yaml)

any_text = st.text(st.characters(exclude_categories=()), max_size=12)  # lone surrogates too
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(any_text, json_values, max_size=5)


def typed(value: Json) -> str:
    """Text that differs for 1, 1.0 and True, and for 0.0 and -0.0."""
    return json.dumps(value, sort_keys=True)


def shuffled(value: Any) -> Any:
    """An equal value whose keys come in another order and whose lists are tuples."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return tuple(map(shuffled, value)) if isinstance(value, list) else value


def test_a_document_as_it_is_written() -> None:
    value: dict[str, Json] = {
        "steps": [{"nodes": 2, "argv": ["python", "-m"]}, [], [1, [2.5]]],
        "empty": {},
        "Title": "it's: 5 # not a comment",
        "seed": None,
        "exact": True,
        "no": -0.0,
        "a.b": 1e-7,
        "2nd": "yes",
    }
    assert canonical_yaml(value).decode() == (
        '"2nd": "yes"\n'
        'Title: "it\'s: 5 # not a comment"\n'
        "a.b: 1.0e-07\n"
        "empty: {}\n"
        "exact: true\n"
        '"no": -0.0\n'
        "seed: null\n"
        "steps:\n"
        "  -\n"
        "    argv:\n"
        '      - "python"\n'
        '      - "-m"\n'
        "    nodes: 2\n"
        "  - []\n"
        "  -\n"
        "    - 1\n"
        "    -\n"
        "      - 2.5\n"
    )
    assert canonical_json({"b": [1, 2.0], "a": "é"}) == '{"a":"é","b":[1,2.0]}\n'.encode()
    assert readable_json({"b": [1], "a": {}}) == b'{\n  "a": {},\n  "b": [\n    1\n  ]\n}\n'
    assert canonical_yaml({}) == b"{}\n"


@given(documents)
@example({"a": 1e16, "b": 5e-324, "c": 10**300, "d": 1.7976931348623157e308})
@example({"<<": {"a": 1}, "=": "=", "": "", "null": "~", "y": "0x1f", "1": "1_000"})
@example({"é": "\x00\x07\x7f\x85\u2028\u2029\ufeff\ufffe\uffff\U0001f30d\ud83d\ude00\udfff"})
@example({"text": " \t# : - ? | > & * ! % @ ` ' \" \\ \r\n"})
def test_yaml_is_read_back_as_the_value(value: dict[str, Json]) -> None:
    read = yaml_io.loads(canonical_yaml(value), file="x.yaml").value
    assert typed(read) == typed(value)


@given(documents)
def test_equal_values_are_equal_bytes(value: dict[str, Json]) -> None:
    assert canonical_yaml(shuffled(value)) == canonical_yaml(value)


@given(documents)
@example({"name": "\ud800"})
def test_json_is_read_back_as_the_value(value: dict[str, Json]) -> None:
    for write in (canonical_json, readable_json):
        assert typed(json.loads(write(value))) == typed(value)
        assert write(shuffled(value)) == write(value)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_json_cannot_say_is_refused(write: Any, number: float) -> None:
    for value in ({"x": number}, {"x": [number]}, {"x": {"y": [1, number]}}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write(value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("São Paulo µm²", '"São Paulo µm²"'),
        ("\U0001f30d", '"\U0001f30d"'),
        ("tab\t line\n", r'"tab\t line\n"'),
        ("\x7f\x85\xa0", '"\\u007f\\u0085\xa0"'),
        ("\u2028\ufeff", r'"\u2028\ufeff"'),
        ("\udcff", r'"\udcff"'),
        ("ｎｏ", '"ｎｏ"'),
    ],
)
def test_odd_characters(text: str, written: str) -> None:
    assert canonical_yaml({"x": text}) == f"x: {written}\n".encode()


@pytest.mark.parametrize("word", ["yes", "No", "ON", "null", "y", "1a", "a b", "-", "", "é", "a:"])
def test_keys_that_a_reader_could_mistake_are_quoted(word: str) -> None:
    assert canonical_yaml({word: 1}).startswith(b'"')


def test_every_document_ends_with_one_line_feed_and_has_no_carriage_return() -> None:
    for write in WRITERS:
        data = write({"x": "a\r\nb", "y": [1]})
        assert data.endswith(b"\n")
        assert not data.endswith(b"\n\n")
        assert b"\r" not in data


@given(st.binary())
def test_digest(data: bytes) -> None:
    assert digest(data) == f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_digest_is_what_sha256sum_says(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(canonical_yaml({"title": "é", "nodes": 2}))
    said = subprocess.run(["sha256sum", path], capture_output=True, check=True, text=True).stdout
    assert digest(path.read_bytes()) == f"sha256:{said.split()[0]}"
