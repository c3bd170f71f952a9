"""The words of a command: what is accepted, and what is answered to the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci.command_keys import KEYS, REPEAT
from rpac_ci.command_table import VERBS
from rpac_ci.commands import (
    MAX_VALUE,
    TYPES,
    Accept,
    Approve,
    Cancel,
    Command,
    Compare,
    Help,
    History,
    Overrides,
    Plan,
    Reproduce,
    Status,
    Target,
    parse_overrides,
    parse_target,
    parse_words,
)
from rpac_ci.errors import CommandError, PipelineError
from rpac_ci.pipeline import compile_pipeline
from rpac_ci.planning import make_plan
from rpac_ci.workspace import Workspace
from tests.conftest import WriteExperiment, git
from tests.unit.builders import definition

RUN = "20260102T030405Z-0a1b2c3d"
IMAGE = "registry.example:5000/lab/dask-2026@sha256:" + "0a" * 32


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
        "exp@-abc", "exp@--help", "ехр-42", "exp@２０２６",
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
        ("region=us-east-1", "region", "us-east-1"),
        ("machine=Standard_D4s_v5", "machine", "Standard_D4s_v5"),
        ("machine=m7i.large", "machine", "m7i.large"),
        ("spot=true", "spot", True),
        ("spot=false", "spot", False),
        (f"image={IMAGE}", "image", IMAGE),
        ("image=dask:2026@sha256:" + "f" * 64, "image", "dask:2026@sha256:" + "f" * 64),
        ("sha=1a2b3c4", "sha", "1a2b3c4"),
        ("sha=" + "a" * 64, "sha", "a" * 64),
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
    for name, key in KEYS.items():
        assert key.example.startswith(name.partition("<")[0])
        if name != REPEAT:
            assert parse_overrides([key.example]) != Overrides()
        assert parse_words(["reproduce", "exp", key.example]) == Reproduce(
            Target("exp"), (key.example,)
        )


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
        (
            ["region=US EAST"],
            "region: got 'US EAST', expected the name of a region, for example region=us-east-1",
        ),
        (
            ["machine=-x"],
            "machine: got '-x', expected the name of a machine, for example machine=m7i.large",
        ),
        (["spot=yes"], "spot: got 'yes', expected true or false, for example spot=true"),
        (["gpus=-1"], "gpus: got '-1', expected at least 0, for example gpus=1"),
        (
            ["sha=HEAD"],
            "sha: got 'HEAD', expected 7 to 64 lower-case hex digits of a commit, "
            "for example sha=1a2b3c4",
        ),
        (["repeat=3"], "repeat makes a study of several runs, expected words of one run"),
        (
            ["image=lab/dask:latest"],
            "image: got 'lab/dask:latest', an image without a digest, which can change; expected "
            "name@sha256:<64 hex digits>, "
            "for example image=registry.example/lab/dask@sha256:8f0c4e2a…",
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


HEX = "0" * 64
NO_COUNTS = ["1e999", "-1", "0x10", "NaN", "inf", "４", "٣", "1_0", "+1", "²"]


@pytest.mark.parametrize(
    "word",
    [
        *(f"{key}={number}" for key in ("nodes", "cpus", "gpus") for number in NO_COUNTS),
        "seed=1e3", "seed=0x10", "seed=NaN", "seed=７", "seed=--7", "seed=-", "seed=" + "9" * 19,
        "memory=-8GiB", "memory=1e9GiB", "memory=８GiB", "memory=8GiB\n", "memory=NaNGiB",
        "time=-1h", "time=1e999h", "time=１h", "time=1h\n", "time=0s", "time=inf h",
        "cost=-1USD", "cost=1e999USD", "cost=NaNUSD", "cost=５USD", "cost=0x10USD", "cost=5USD\n",
        "cloud=AZURE", "cloud=AZURE ", "cloud= azure", "cloud=local\n", "runtime=../x",
        "region=eu/1", "region=-eu", "region=ｅｕ", "machine=a b", "machine=../x", "machine=m;ls",
        "nodes= 1", "nodes=1 ", "nodes=1\n", "nodes=", "spot=True", "spot=1", "spot=",
        "sha=1a2b3c", "sha=" + "a" * 65, "sha=1A2B3C4", "sha=1a2b3c4\n", "sha=１a2b3c4",
        "image=dask", "image=", "image=-x@sha256:" + HEX, "image=a@sha256:" + HEX[1:],
        "image=a@sha256:" + "G" * 64, "image=a@md5:" + HEX, "image=a//b@sha256:" + HEX,
        "image=../a@sha256:" + HEX, f"image=a@sha256:{HEX}\n", f"image=a b@sha256:{HEX}",
        f"image=https://a/b@sha256:{HEX}", f"image=@sha256:{HEX}", "image=" + "a-" * 511,
    ],
)  # fmt: skip
def test_values_are_read_strictly(word: str) -> None:
    with pytest.raises(CommandError):
        parse_overrides([word])


@pytest.mark.parametrize("value", ["1e999", "NaN", "inf", "0x10", "1_0", "１.5", "1e", ".", "1\n"])
def test_numbers_of_arguments_are_read_strictly(value: str) -> None:
    with pytest.raises(CommandError, match=r"args\.rate: "):
        compile_pipeline(
            definition(args={"rate": 0.5}), overrides=parse_overrides([f"args.rate={value}"])
        )


@pytest.mark.parametrize("value", ["1e-3", "-0.5", ".5", "5.", "+2"])
def test_numbers_of_arguments(value: str) -> None:
    words = parse_overrides([f"args.rate={value}"])
    made = compile_pipeline(definition(args={"rate": 0.5}), overrides=words)
    assert made.args["rate"].value == float(value)


def test_a_text_argument_that_looks_like_an_option_is_refused() -> None:
    with pytest.raises(CommandError, match="a program could take for an option"):
        compile_pipeline(
            definition(args={"host": "a"}),
            overrides=parse_overrides(["args.host=-oProxyCommand=ls"]),
        )


@pytest.mark.parametrize("word", ["region=eu-1", "machine=m7i.large", "spot=true"])
def test_what_cannot_be_chosen_on_a_cloud_is_refused(word: str) -> None:
    with pytest.raises(PipelineError, match=f"^cloud=local cannot meet {word}: ") as caught:
        compile_pipeline(definition(), overrides=parse_overrides([word]))
    assert "cloud=aws" in caught.value.hint
    assert caught.value.hint.endswith(f" can; or leave out {word}")


def test_a_cloud_that_does_not_exist_is_refused() -> None:
    with pytest.raises(PipelineError, match="there is no cloud 'gcp'"):
        compile_pipeline(definition(), overrides=parse_overrides(["cloud=gcp"]))


def test_the_commit_that_is_meant_is_no_change() -> None:
    words = parse_overrides(["sha=1a2b3c4", "cpus=2"])
    assert compile_pipeline(definition(), overrides=words).lineage.changes == {"cpus": "2"}
    plain = compile_pipeline(definition(), overrides=parse_overrides(["cpus=2"]))
    assert compile_pipeline(definition(), overrides=words).digest == plain.digest


# --- whole commands -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["reproduce", "exp"], Reproduce(Target("exp"))),
        (["reproduce", f"exp@{RUN}"], Reproduce(Target("exp", RUN))),
        (["reproduce", "exp", "nodes=1,2", "repeat=3"],
         Reproduce(Target("exp"), ("nodes=1,2", "repeat=3"))),
        (["reproduce", "exp", "args.a=x\\,y"], Reproduce(Target("exp"), ("args.a=x\\,y",))),
        (["reproduce", "exp", "args.a=$(ls)"], Reproduce(Target("exp"), ("args.a=$(ls)",))),
        (["plan", "exp", "sha=1a2b3c4"], Plan(Target("exp"), ("sha=1a2b3c4",))),
        (["approve", "0123456789abcdef"], Approve("0123456789abcdef")),
        (["accept", RUN], Accept(RUN)),
        (["status"], Status()),
        (["status", "0a1b"], Status("0a1b")),
        (["cancel", RUN], Cancel(RUN)),
        (["history"], History()),
        (["history", "exp"], History("exp")),
        (["history", "exp", "cloud=aws", "since=7d"], History("exp", ("cloud=aws", "since=7d"))),
        (["history", "metric.a>0.9"], History(None, ("metric.a>0.9",))),
        (["compare", RUN, "4e5f6071"], Compare(RUN, "4e5f6071")),
        (["help"], Help()),
        (["help", "plan"], Help("plan")),
        (["help", "/plan"], Help("plan")),
        (["help", "keys"], Help("keys")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_command(words: list[str], command: Command) -> None:
    assert parse_words(words) == command
    assert command.verb == words[0]


def test_every_command_of_the_table_has_a_type() -> None:
    assert set(TYPES) == set(VERBS)


A_RUN = "expected the id of a run, or four or more letters of one end of it"
A_PLAN = "expected the 16 lower-case hex digits of a plan"


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ([], ["there is no command ''"]),
        (["deploy"], ["there is no command 'deploy'"]),
        (["/plan"], ["there is no command '/plan', did you mean 'plan'?"]),
        (["Plan"], ["there is no command 'Plan', did you mean 'plan'?"]),
        (["reproduce"], ["expected <experiment>[@<run>] after 'reproduce'"]),
        (["plan", "nodes=2"], ["got 'nodes=2', expected <experiment> or <experiment>@<run>"]),
        (["approve"], ["expected <plan> after 'approve'"]),
        (["approve", "0123456789abcde"], [f"got '0123456789abcde', {A_PLAN}"]),
        (["approve", "0123456789ABCDEF"], [f"got '0123456789ABCDEF', {A_PLAN}"]),
        (["approve", "0123456789abcdef\n"], [f"got '0123456789abcdef\\n', {A_PLAN}"]),
        (["approve", "0123456789abcdef0"], [f"got '0123456789abcdef0', {A_PLAN}"]),
        (["approve", "0" * 16, "1" * 16], [f"got '{'1' * 16}', expected nothing more"]),
        (["cancel", "../x"], [f"got '../x', {A_RUN}"]),
        (["cancel", "-abc"], [f"got '-abc', {A_RUN}"]),
        (["accept", "abc"], [f"got 'abc', {A_RUN}"]),
        (["status", "a b c d"], [f"got 'a b c d', {A_RUN}"]),
        (["compare", RUN], ["expected <run> after 'compare'"]),
        (["compare"], ["expected <run> after 'compare'"]),
        (["history", "Exp"], ["got 'Exp', expected the id of an experiment, such as exp-42"]),
        (["history", "exp", "nodes>x"],
         ["nodes>: got 'x', expected a whole number, for example nodes>=2"]),
        (["help", "plans"], ["there is no help on 'plans', did you mean 'plan'?"]),
        (["help", "plan", "keys"], ["got 'keys', expected nothing more"]),
        (["reproduce", "exp", "args.name="], ["args.name: the value is empty"]),
        (["reproduce", "exp", "nodes="],
         ["nodes: got '', expected a whole number, for example nodes=4"]),
        (["reproduce", "exp", "nodes=1", "nodes=2,3"], ["nodes is given twice"]),
        (["reproduce", "exp", "nodes=1,x"],
         ["nodes: got 'x', expected a whole number, for example nodes=4"]),
        (["reproduce", "exp", "sha=1a2b3c4,2a2b3c4"],
         ["sha: one value for the whole study, got a list"]),
        (["reproduce", "exp", "repeat=2", "repeat=2"],
         ["repeat is given twice, expected a count such as repeat=5"]),
        (["reproduce", "exp", "repeat=９"],
         ["repeat: got '９', expected a count such as repeat=5"]),
        (
            ["reproduce", "../.github", "node=2", "cpus=0,1", "repeat=0", "x", "seed=1", "seed=2"],
            [
                "got '../.github', expected <experiment> or <experiment>@<run>",
                "repeat: got '0', expected a count such as repeat=5",
                "unknown key 'node', did you mean 'nodes'?",
                "got 'x', expected key=value",
                "seed is given twice",
                "cpus: got '0', expected at least 1, for example cpus=2",
            ],
        ),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_is_no_command(words: list[str], answers: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        parse_words(words)
    assert caught.value.message.split("\n") == answers
    usage = VERBS[words[0]].usage if words and words[0] in VERBS else None
    assert caught.value.hint == (f"usage: {usage}" if usage else f"commands: {' '.join(VERBS)}")


@pytest.mark.parametrize("words", [["cancel", "../.github"], ["cancel", "/etc/passwd"]])
def test_paths_are_no_ids(words: list[str]) -> None:
    with pytest.raises(CommandError, match="expected the id of a run"):
        parse_words(words)


likely = st.sampled_from([key.partition("<")[0] for key in KEYS])
words = st.builds("{}{}={}".format, likely, st.text(max_size=4), st.text(max_size=12)) | st.text()


@given(st.lists(words, max_size=4))
def test_any_words_are_overrides_or_a_command_error(some: list[str]) -> None:
    try:
        read = parse_overrides(some)
    except CommandError:
        return
    assert read.words == tuple(some)


anything = st.sampled_from([*VERBS, "exp", "exp@abcd", RUN, "0" * 16, "nodes=1,2"]) | words


@given(st.lists(anything, max_size=5))
def test_any_words_are_a_command_or_a_command_error(some: list[str]) -> None:
    try:
        command = parse_words(some)
    except CommandError:
        return
    assert isinstance(command, TYPES[some[0]])  # type: ignore[arg-type]
    if isinstance(command, Reproduce | Plan | History):
        assert command.words == tuple(some[len(some) - len(command.words) :])


# --- the commit that is meant -------------------------------------------------------------------


def test_a_plan_is_held_to_the_commit_that_is_meant(
    workspace: Workspace, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    before = git(workspace.root, "rev-parse", "HEAD")
    made = make_plan(workspace, "quick", [f"sha={before[:7]}", "args.level=8"])
    assert made.pipeline.lineage.changes == {"args.level": "8"}
    assert make_plan(workspace, "quick", [f"sha={before}"]).pipeline.lineage.changes == {}
    git(workspace.root, "commit", "--quiet", "--allow-empty", "--message", "more")
    with pytest.raises(CommandError) as caught:
        make_plan(workspace, "quick", [f"sha={before[:7]}"])
    now = git(workspace.root, "rev-parse", "HEAD")
    assert caught.value.message == (f"sha={before[:7]} is not the commit that would be used: {now}")
