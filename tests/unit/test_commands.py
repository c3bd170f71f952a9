"""The words of a command: what is accepted, and what is answered to the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.commands import KEYS, MAX_VALUE, Overrides, Target, parse_overrides, parse_target
from rpac_ci.errors import CommandError

RUN = "20260102T030405Z-0a1b2c3d"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("exp-42", Target("exp-42")),
        ("4", Target("4")),
        (f"exp-42@{RUN}", Target("exp-42", RUN)),
        ("exp-42@0a1b2c3d", Target("exp-42", "0a1b2c3d")),
        ("exp-42@2026", Target("exp-42", "2026")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert str(target) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "Exp", "exp 42", "exp_42", "-exp", "--help", "exp@", "exp@1", "exp@../x", "../exp",
        "exp@a@b", "exp@" + "a" * 41, "x" * 64, "exp\n", "exp@abcd\n", "éxp", "exp/42", "exp;ls",
    ],
)  # fmt: skip
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(CommandError, match="expected <experiment> or <experiment>@<run>") as caught:
        parse_target(text)
    assert "rpac " in caught.value.hint
    assert len(caught.value.message) < 160


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("cloud=local", "cloud", "local"),
        ("runtime=process", "runtime", "process"),
        ("nodes=4", "nodes", 4),
        ("cpus=2", "cpus", 2),
        ("memory=8GiB", "memory", 8192),
        ("gpus=0", "gpus", 0),
        ("seed=-7", "seed", -7),
        ("time=30min", "time", 1800),
        ("time=1 h 30 min", "time", 5400),
        ("cost=5USD", "cost", 5.0),
        ("args.trees=300", "args", {"trees": "300"}),
        ("args.expression=a=b", "args", {"expression": "a=b"}),
        ("args.empty=", "args", {"empty": ""}),
        ("data.scenes=https://h/x?a=b", "data", {"scenes": "https://h/x?a=b"}),
    ],
)
def test_overrides(word: str, key: str, value: object) -> None:
    overrides = parse_overrides([word])
    assert getattr(overrides, key) == value
    assert overrides.words == (word,)


def test_no_words_change_nothing() -> None:
    assert parse_overrides([]) == Overrides()


def test_every_key_has_an_example_that_it_accepts() -> None:
    for key, (_, example) in KEYS.items():
        assert example.startswith(key.partition("<")[0])
        assert parse_overrides([example]) != Overrides()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["nodes"], "got 'nodes', expected key=value"),
        (["=4"], "got '=4', expected key=value"),
        ([""], "got '', expected key=value"),
        (["node=4"], "unknown key 'node', did you mean 'nodes'?"),
        (["Nodes=4"], "unknown key 'Nodes', did you mean 'nodes'?"),
        (["arg.trees=4"], "unknown key 'arg.trees'"),
        (["zzz=4"], "unknown key 'zzz'"),
        (["args=4"], "unknown key 'args'"),
        (["nodes=4", "nodes=4"], "nodes is given twice"),
        (["args.a=1", "args.a=2"], "args.a is given twice"),
        (["args.<name>=1"], "args.<name>: '<name>' is not a name"),
        (["args.a.b=1"], "args.a.b: 'a.b' is not a name"),
        (["data.Scenes=x"], "data.Scenes: 'Scenes' is not a name"),
        (["nodes=two"], "nodes: got 'two', expected a whole number, for example nodes=4"),
        (["nodes=1.5"], "nodes: got '1.5', expected a whole number, for example nodes=4"),
        (["nodes=0"], "nodes: got '0', expected at least 1, for example nodes=4"),
        (["nodes=-1"], "nodes: got '-1', expected at least 1, for example nodes=4"),
        (["nodes=1,2,4"], "nodes: got '1,2,4', expected a whole number, for example nodes=4"),
        (["nodes=1_0"], "nodes: got '1_0', expected a whole number, for example nodes=4"),
        (
            ["memory=8"],
            "memory: got '8', expected a size such as '512 MiB' or '8 GiB', "
            "for example memory=8GiB",
        ),
        (
            ["time=1 hour"],
            "time: got '1 hour', expected a duration such as '90 s', '20 min' or '1 h 30 min', "
            "for example time=30min",
        ),
        (
            ["cost=5EUR"],
            "cost: got '5EUR', expected a price such as '5 USD', for example cost=5USD",
        ),
        (["cloud=A"], "cloud: got 'A', expected a lower-case word, for example cloud=local"),
        (
            ["cloud=--help"],
            "cloud: got '--help', expected a lower-case word, for example cloud=local",
        ),
        (["args.a=x\ny"], f"args.a: expected at most {MAX_VALUE} printable characters"),
        (["args.a=\x1b[31m"], f"args.a: expected at most {MAX_VALUE} printable characters"),
        (
            ["args.a=" + "x" * (MAX_VALUE + 1)],
            f"args.a: expected at most {MAX_VALUE} printable characters",
        ),
    ],
)
def test_what_is_no_override(words: list[str], answer: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_overrides(words)
    assert caught.value.message == answer
    assert caught.value.hint == "keys: " + " ".join(KEYS)


@pytest.mark.parametrize("word", ["memory=" + "9" * 400 + "GiB", "time=" + "9" * 400 + "h"])
def test_a_number_beyond_all_bounds_is_refused_like_any_other(word: str) -> None:
    with pytest.raises(CommandError, match=f"{word[:4]}.*: got '999"):
        parse_overrides([word])


def test_all_problems_are_listed_at_once_in_the_order_of_the_words() -> None:
    with pytest.raises(CommandError) as caught:
        parse_overrides(["node=2", "cpus=0", "seed=1", "x", "seed=2", "args.ok=1"])
    assert caught.value.message.splitlines() == [
        "unknown key 'node', did you mean 'nodes'?",
        "cpus: got '0', expected at least 1, for example cpus=2",
        "got 'x', expected key=value",
        "seed is given twice",
    ]


likely = st.sampled_from([key.partition("<")[0] for key in KEYS])
words = st.builds("{}{}={}".format, likely, st.text(max_size=4), st.text(max_size=12)) | st.text()


@given(st.lists(words, max_size=4))
def test_any_words_are_overrides_or_a_command_error(some: list[str]) -> None:
    try:
        read = parse_overrides(some)
    except CommandError:
        return
    assert read.words == tuple(some)
