"""YAML from strangers: plain values with positions, or one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpac_ci import yaml_io
from rpac_ci.canonical import canonical_yaml
from rpac_ci.errors import ExperimentError, Problem
from rpac_ci.yaml_io import MAX_BYTES, Document


def problems(data: bytes) -> list[Problem]:
    """What is wrong with a file."""
    with pytest.raises(ExperimentError) as caught:
        yaml_io.loads(data, file="x.yaml")
    return caught.value.problems


# what the file holds, where the error is, words of its message
HOSTILE = {
    "an alias": (b"a: &x 1\nb: *x\n", "2:4", "an alias, write the value out"),
    "an alias in a list": (b"a: &x [1]\nb:\n  - *x\n", "3:5", "an alias, write the value out"),
    "an alias of itself": (b"&a [1, *a]\n", "1:8", "an alias"),
    "a billion laughs": (
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "2:8", "an alias",
    ),
    "an alias of nothing": (b"a: 1\nb: *x\n", "2:4", "an alias, write the value out"),
    "a tag of one's own": (b"a: !foo 1\n", "1:4", "the tag !foo, a plain value without tags"),
    "a tag on a list": (b"a: 1\nb: !foo [1]\n", "2:4", "the tag !foo"),
    "a tag on a key": (b"a: 1\n!foo b: 1\n", "2:1", "the tag !foo"),
    "code": (b"a: !!python/object/apply:os.system [ls]\n", "1:4", "python/object/apply"),
    "bytes": (b"a: !!binary aGk=\n", "1:4", "the tag tag:yaml.org,2002:binary"),
    "a set": (b"a: !!set {x}\n", "1:4", "the tag tag:yaml.org,2002:set"),
    "not the bool it says": (b"a: 1\nb: !!bool maybe\n", "2:4", "maybe"),
    "not the int it says": (b"a: 1\nb: !!int x\n", "2:4", "'x' is not a valid int"),
    "an int of nothing": (b'a: 1\nb: !!int ""\n', "2:4", "int"),
    "a float of nothing": (b'a: 1\nb: !!float ""\n', "2:4", "float"),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", "3:1", "duplicate key 'a', each key once"),
    "an inner key twice": (b"x:\n  a: 1\n  a: 2\n", "3:3", "duplicate key 'a', each key once"),
    "a key twice, once quoted": (b'1: x\n"1": y\n', "2:1", "duplicate key '1'"),
    "a list as a key": (b"? [a, b]\n: 1\n", "1:3", "a key that is not a word, a word"),
    "a tab": (b"a:\n\tb: 1\n", "2:1", "character '\\t' that cannot start any token, indent with"),
    "not UTF-8": (b"a: 1\nb: \xff\n", "2:4", "not UTF-8 text, save the file as UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "1:1", "not UTF-8 text, save the file as UTF-8"),
    "a control character": (b"a: 1\nb: x\x07\n", "2:5", "unacceptable character #x0007"),
    "a null byte": (b"a: 1\n\x00", "2:1", "unacceptable character #x0000"),
    "not a character": (b'a: 1\nb: "\\U00110000"\n', "2:", ""),
    "a far too large character": (b'a: 1\nb: "\\UFFFFFFFF"\n', "2:", ""),
    "half an escape": (b'a: "\\xzz"\n', "1:7", "expected escape sequence of 2"),
    "some depth": (b"[" * 40 + b"]" * 40, "1:25", "nested too deeply, at most 24 levels"),
    "a well": (b"a: " + b"[" * 3000, "1:", "nested too deeply, at most 24 levels"),
    "a well of lists": (b"- " * 3000 + b"x", "1:", "nested too deeply, at most 24 levels"),
    "a well of mappings": (b"{a: " * 3000 + b"}" * 3000, "1:", "nested too deeply, at most 24"),
    "a large file": (b"#" * (MAX_BYTES + 1), "1:1", f"at most {MAX_BYTES} bytes of YAML"),
    "a number without end": (b"a: 1\nb: " + b"9" * 5000, "2:4", "is not a valid int"),
    "a hexadecimal one": (b"a: 1\nb: 0x" + b"f" * 5000, "2:4", ""),
    "a second document": (b"a: 1\n---\nb: 2\n", "2:1", "another document"),
    "another YAML": (b"%YAML 2.0\n---\na: 1\n", "1:1", ""),
    "a coming YAML": (b"%YAML 1.3\n---\na: 1\n", "1:", ""),
    "a tag that says nothing": (b"a: ! 1\n", "1:4", "the tag !"),
    "an alias as a key": (b"&k a: 1\nb: {*k : 2}\n", "2:5", "an alias"),
    "an open bracket": (b"a: [1, 2\nb: 3\n", "2:2", "expected ',' or ']', but got ':'"),
    "an open quote": (b'a: 1\nb: "x\n', "3:1", "unexpected end of stream"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "where", "words"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_input_is_one_clear_error(data: bytes, where: str, words: str) -> None:
    found = problems(data)[0]
    assert f"{found.line}:{found.column}".startswith(where)
    assert found.file == "x.yaml"
    assert words in f"{found.what}, {found.right}"
    assert len(str(found)) < 400


def test_all_that_the_reader_refuses_is_listed_in_file_order() -> None:
    found = problems(b"a: &x 1\nb: [!foo 2, *x]\nb: 3\n? [c]\n: 4\n")
    assert [(p.line, p.column) for p in found] == [(2, 5), (2, 13), (3, 1), (4, 3)]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n", b"---\n...\n"])
def test_an_empty_file_holds_nothing_and_a_problem_in_it_is_at_its_start(data: bytes) -> None:
    document = yaml_io.loads(data, file="x.yaml")
    assert document.value is None
    assert document.problem(("id",), "no id").column == 1


# what people write, what it means; the values of YAML 1.2 and no surprises of YAML 1.1
PLAIN: dict[str, object] = {
    "yes": "yes", "no": "no", "on": "on", "n": "n", "~": None, "null": None, "": None,
    "true": True, "False": False, "012": 12, "0o17": 15, "0x1F": 31, "+5": 5, "-7": -7,
    "1.50": 1.5, "1e3": 1000.0, "1e+16": 1e16, "5.": 5.0, "-0.0": -0.0,
    "1_000": "1_000", "0b11": "0b11", ".5": 0.5, "-.inf": float("-inf"), "nan": "nan",
    "1:30": "1:30", "2026-01-02": "2026-01-02", "2026-99-99": "2026-99-99",
    "3.11.2": "3.11.2", "9f2c": "9f2c", "1h": "1h", "8 GiB": "8 GiB", "{}": {}, "[]": [],
    "'5'": "5", '"\\u00e9"': "é", "s3://bucket/x": "s3://bucket/x", "<<": "<<",
}  # fmt: skip


@pytest.mark.parametrize(("written", "meant"), PLAIN.items())
def test_plain_values(written: str, meant: object) -> None:
    value = yaml_io.loads(f"x: {written}\n".encode(), file="x.yaml").value
    assert repr(value) == repr({"x": meant})


def test_a_directive_does_not_change_what_words_mean() -> None:
    try:
        value = yaml_io.loads(b"%YAML 1.1\n---\nx: yes\n", file="x.yaml").value
    except ExperimentError:
        return  # refusing it is as good
    assert value == {"x": "yes"}


def test_merge_keys_do_not_merge() -> None:
    document = yaml_io.loads(b"<<: {a: 1}\nb: 2\n", file="x.yaml")
    assert document.value == {"<<": {"a": 1}, "b": 2}


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    document = yaml_io.loads(b"\xef\xbb\xbfa: 1\r\nb: [2]\r\n", file="x.yaml")
    assert document.value == {"a": 1, "b": [2]}
    assert document.positions["b", 0] == (2, 5)


def test_positions_are_those_of_keys_and_items() -> None:
    document = yaml_io.loads(b"a: 1\nb:\n  - x\n  - {c: 2, d: [3]}\n", file="x.yaml")
    assert document.positions == {
        (): (1, 1),
        ("a",): (1, 1),
        ("b",): (2, 1),
        ("b", 0): (3, 5),
        ("b", 1): (4, 5),
        ("b", 1, "c"): (4, 6),
        ("b", 1, "d"): (4, 12),
        ("b", 1, "d", 0): (4, 16),
    }


def test_a_problem_is_told_at_the_nearest_place_that_exists() -> None:
    document = yaml_io.loads(b"a: 1\nb:\n  c: [2]\n", file="x.yaml")
    assert str(document.problem(("b", "c", 0), "odd")) == "x.yaml:3:7: odd"
    assert str(document.problem(("b", "d", "e"), "odd", "even")) == "x.yaml:2:1: odd, even"
    assert str(document.problem(("z",), "odd")) == "x.yaml:1:1: odd"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ExperimentError, match=f"it.yaml:1:1: cannot be read: {why}"):
            yaml_io.load(path, shown_as="it.yaml")


words = st.text("abcdefgh", min_size=1, max_size=4)


@given(st.dictionaries(words, st.dictionaries(words, st.lists(words, max_size=2)), max_size=4))
def test_every_position_points_at_its_key(value: dict[str, dict[str, list[str]]]) -> None:
    data = canonical_yaml(value)
    lines = data.decode().splitlines()
    for path, (line, column) in yaml_io.loads(data, file="x.yaml").positions.items():
        if path and isinstance(path[-1], str):
            assert lines[line - 1][column - 1 :].lstrip('"').startswith(path[-1])


noise = st.text("ab:,-?[]{}&*!|>%@\"'#\\xUu0123456789.~<= \t\n\x00\x85\u2028é", max_size=40)
parts = [
    "a", ": ", "- ", "&x ", "*x", "!!int ", "!!bool ", "!!null ", "!!float ", "!t ", '"', "'", "\n",
    "  ", "{", "}", "[", "]", ", ", "%YAML 1.", "---\n", "...\n", "\\U", "0x", "1", "? ",
]  # fmt: skip
pieces = st.lists(st.sampled_from(parts), max_size=20).map("".join)


def read_or_refuse(data: bytes) -> None:
    """The promise: a document, or problems at places that exist."""
    try:
        document = yaml_io.loads(data, file="x.yaml")
    except ExperimentError as exc:
        found = exc.problems
    else:
        assert isinstance(document, Document)
        return
    lines = len(data.decode("utf-8", "replace").splitlines())
    assert found
    assert all(1 <= problem.line <= lines + 1 for problem in found)
    assert all(problem.column >= 1 for problem in found)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_document_or_an_error(data: bytes) -> None:
    read_or_refuse(data)


@given(noise | pieces)
@example("!!bool maybe")
@example('!!int ""')
@example('!!float ""')
@example("%YAML 1.3\n---\n")
@example('"\\UFFFFFFFF"')
@example('"\\U00110000"')
@example("&a [*a]")
def test_any_text_is_a_document_or_an_error(text: str) -> None:
    read_or_refuse(text.encode())
