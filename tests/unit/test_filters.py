"""Filters of past runs: what matches, what never does, and every mistake with what is right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.errors import CommandError
from rpac_ci.filters import KEYS, is_filter, parse_filters
from rpac_ci.past_runs import PastRun

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RUN = PastRun(
    run="20260227T120000Z-0a1b2c3d",
    experiment="exp",
    outcome="reproduced: within tolerance",
    status="succeeded",
    grade="A",
    cloud="aws",
    runtime="process",
    engine="dask",
    nodes=2,
    seed=7,
    started="2026-02-27T12:00:00.000Z",
    duration_s=90.5,
    cost_usd=1.25,
    via="cli",
    actor=4711,
    study="20260227T110000Z-99999999",
    commit="1a2b3c4d" * 5,
    reproduces="20260101T000000Z-11111111",
    args={"trees": 150, "rate": 0.5, "deep": False, "name": "Forest", "digits": "0150"},
    data={"scenes": "9f2c" * 16},
    metrics={
        "f1": {"value": 0.9, "unit": None},
        "a/b-c": {"value": 3169, "unit": "km"},
        "loss": {"value": 2.0, "unit": None, "values": [1.0, 3.0], "seeds": [1, 2]},
    },
)
EMPTY = PastRun(run="20260227T130000Z-22222222", experiment="exp", problem="not JSON")


def matches(*words: str, run: PastRun = RUN) -> bool:
    return all(condition.matches(run) for condition in parse_filters(words, NOW))


@pytest.mark.parametrize(
    "word",
    [
        "cloud=aws", "cloud=AWS", "cloud!=local", "cloud~w", "engine=dask", "runtime=process",
        "verdict=reproduced", "verdict=Reproduced", "verdict=reproduced: within tolerance",
        "verdict=reproduced:", "verdict~tolerance", "verdict!=not reproduced", "verdict!=repro",
        "status=succeeded", "grade=A", "grade=a", "nodes=2", "nodes>1", "nodes>=2", "nodes<3",
        "nodes<=2", "nodes!=3", "seed=7", "seed<8", "since=2d", "since=48h", "since=1w",
        "since=2026-02-27", "since=2026-02-27T12:00:00Z", "since=2026-02-27T13:00+01:00",
        "since=2026-02-27T12:00", "until=2026-02-27", "until=2d", "until=2026-02-27T12:00:00Z",
        "until=2880min", "commit=1a2b3c4", "commit=" + "1a2b3c4d" * 5, "commit!=ffff",
        "commit~3c4d1a", "reproduces=11111111", "reproduces=20260101", "reproduces!=22222222",
        "study=20260227T110000Z-99999999", "actor=4711", "via=cli", "cost=1.25", "cost<5",
        "cost<5 USD", "cost>=1.25USD", "duration>90", "duration<2min", "duration>1 min 30 s",
        "duration=90.5", "args.trees=150", "args.trees=150.0", "args.trees=1.5e2",
        "args.trees!=300", "args.trees>149.5", "args.trees~15", "args.rate=0.50", "args.rate<=.5",
        "args.deep=false", "args.deep!=true", "args.name=Forest", "args.name!=forest",
        "args.name~for", "args.digits=0150", "args.digits!=150", "data.scenes=9f2c",
        "data.scenes=sha256:9F2C9F2C", "data.scenes!=0000", "data.scenes~c9f", "metric.f1=0.9",
        "metric.f1>0.89", "metric.f1<1", "metric.a/b-c=3169", "metric.loss=2", "metric.loss<=2",
        " cloud = aws ",
    ],
)  # fmt: skip
def test_it_matches(word: str) -> None:
    assert matches(word)


@pytest.mark.parametrize(
    "word",
    [
        "cloud=azure", "cloud!=aws", "cloud=aw", "cloud~z", "verdict=repro", "verdict=tolerance",
        "verdict=not reproduced", "verdict!=reproduced", "nodes>2", "nodes<2", "nodes!=2",
        "since=47h", "since=2026-02-28", "since=2026-02-27T12:00:01Z", "until=2026-02-26",
        "until=49h", "until=2026-02-27T11:59:59Z", "commit=2b3c", "reproduces=0101", "study=2026",
        "cost>1.25", "duration<90", "args.trees=151", "args.deep=true", "args.deep=0",
        "args.deep>=0", "args.name>1", "args.name=forest", "args.digits=150", "args.digits>1",
        "data.scenes=2c9f", "metric.f1>0.9", "metric.loss>2", "metric.loss=1",
    ],
)  # fmt: skip
def test_it_does_not_match(word: str) -> None:
    assert not matches(word)


def test_not_reproduced_is_no_kind_of_reproduced() -> None:
    failed = PastRun(run="r", experiment="e", outcome="not reproduced")
    assert not matches("verdict=reproduced", run=failed)
    assert matches("verdict=not reproduced", run=failed)
    assert matches("verdict~reproduced", run=failed)


def test_a_verdict_is_matched_on_a_word_boundary() -> None:
    stopped = PastRun(run="r", experiment="e", outcome="inconclusive (cancelled)")
    assert matches("verdict=inconclusive", run=stopped)
    assert not matches("verdict=inconclus", run=stopped)


@pytest.mark.parametrize("op", ["=", "!="])
@pytest.mark.parametrize("key", KEYS)
def test_what_a_run_does_not_have_never_matches(key: str, op: str) -> None:
    word = key.replace("<name>", "absent")
    value = KEYS[key].example.replace(">=", "=").replace(">", "=").replace("<", "=").split("=")[1]
    if op in KEYS[key].kind.operators:
        assert not matches(f"{word}{op}{value}", run=EMPTY)
    if ".<name>" in key:
        assert not matches(f"{word}!={value}")


def test_all_words_must_hold() -> None:
    assert matches("metric.f1>0.8", "metric.f1<0.95", "cloud=aws")
    assert not matches("metric.f1>0.8", "cloud=local")
    assert matches()


def test_every_key_has_an_example_that_is_understood() -> None:
    words = [key.example for key in KEYS.values()]
    assert [item.key.partition(".")[0] for item in parse_filters(words, NOW)] == [
        key.partition(".")[0] for key in KEYS
    ]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("plain", "got 'plain', expected key=value"),
        ("=aws", "got '=aws', expected key=value"),
        ("clout=aws", "unknown key 'clout', did you mean 'cloud'?"),
        ("metrics.f1>1", "did you mean 'metric.f1'?"),
        ("arg.trees=1", "did you mean 'args.trees'?"),
        ("metric=1", "did you mean 'metric.<name>'?"),
        ("metric.=1", "did you mean 'metric.<name>'?"),
        ("accuracy>0.9", "did you mean 'metric.accuracy' or 'args.accuracy'?"),
        ("cloud.x=1", "unknown key 'cloud.x'"),
        ("cloud=", "cloud: expected a value, for example cloud=aws"),
        ("cloud=a\x1bb", "cloud: expected a value"),
        ("cloud=" + "x" * 1025, "cloud: expected a value"),
        ("cloud>aws", "cloud: got >, expected one of = != ~"),
        ("nodes~2", "nodes: got ~, expected one of = != > >= < <="),
        ("since>7d", "since: got >, expected one of =, for example since=7d"),
        ("nodes=two", "nodes=: got 'two', expected a whole number, for example nodes>=2"),
        ("nodes=1.5", "expected a whole number"),
        ("cost<cheap", "expected a price such as '5 USD'"),
        ("duration>long", "expected a duration such as"),
        ("metric.f1=high", "metric.f1=: got 'high', expected a number"),
        ("metric.f1>nan", "expected a number"),
        ("metric.f1>1e999", "expected a number"),
        ("metric.f1>1_0", "expected a number"),
        ("metric.f1=>1", "got '>1', expected a number"),
        ("args.name>abc", "args.name>: got 'abc', expected a number"),
        ("commit=HEAD", "expected four or more hexadecimal digits"),
        ("data.scenes=xyz", "expected four or more hexadecimal digits"),
        ("since=yesterday", "since=2026-01-31, since=2026-01-31T12:00Z, since=12h, since=7d"),
        ("since=2026-02-30", "got '2026-02-30', expected a date"),
        ("until=7", "until: got '7', expected a date"),
        ("since=999999w", "expected a date"),
        ("until=9999-12-31", "expected a date"),
    ],
)
def test_a_mistake_is_told_with_what_is_right(word: str, says: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_filters([word], NOW)
    assert says in caught.value.message


def test_all_mistakes_are_told_at_once_with_advice() -> None:
    with pytest.raises(CommandError) as caught:
        parse_filters(["clout=aws", "nodes=2", "cost<x", "metric.f1"], NOW)
    assert len(caught.value.message.splitlines()) == 3
    assert "need quotes in a shell" in caught.value.hint
    assert all(key in caught.value.hint for key in KEYS)


@pytest.mark.parametrize(
    ("word", "filters"),
    [("exp-42", False), ("Exp", False), ("cloud=aws", True), ("a>b", True), ("metric.f1", True)],
)
def test_a_first_word_without_an_operator_is_an_experiment(word: str, filters: bool) -> None:
    assert is_filter(word) is filters


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_numbers_are_ordered_as_numbers(value: float, limit: float) -> None:
    run = PastRun(run="r", experiment="e", metrics={"x": {"value": value}}, args={"x": value})
    for op, holds in {
        "<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit,
        "=": value == limit, "!=": value != limit,
    }.items():  # fmt: skip
        assert matches(f"metric.x{op}{limit!r}", run=run) is holds
        assert matches(f"args.x{op}{limit!r}", run=run) is holds


@given(st.integers(-(10**8), 10**6), st.integers(0, 1000))
def test_since_and_until_an_age_part_all_runs_between_them(seconds: int, days: int) -> None:
    at = NOW + timedelta(seconds=seconds)
    run = PastRun(run="r", experiment="e", started=at.isoformat())
    since, until = matches(f"since={days}d", run=run), matches(f"until={days}d", run=run)
    assert since or until
    assert (since and until) is (at == NOW - timedelta(days=days))


KEYED = [key.replace("<name>", name) for key in KEYS for name in ("trees", "f1", "scenes", "deep")]
WORDS = st.builds(
    "{}{}{}".format,
    st.sampled_from(KEYED),
    st.sampled_from(["=", "!=", ">", ">=", "<", "<=", "~"]),
    st.sampled_from(["7", "0.9", "true", "aws", "9f2c", "7d", "2026-01-01"]) | st.text(max_size=9),
)


@given(st.lists(WORDS | st.text(max_size=20), max_size=4))
def test_any_words_are_understood_or_refused(words: list[str]) -> None:
    try:
        filters = parse_filters(words, NOW)
    except CommandError:
        return
    for condition in filters:
        assert condition.matches(EMPTY) is False
        assert condition.matches(RUN) in (True, False)
