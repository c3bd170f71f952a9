"""Pipelines: equal inputs are equal bytes, and only the science makes a variant."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rpac_ci.commands import parse_overrides
from rpac_ci.driver import load_pipeline
from rpac_ci.errors import CommandError, PipelineError, RpacError
from rpac_ci.overriding import change
from rpac_ci.pipeline import (
    Definition,
    Level,
    Target,
    compile_pipeline,
    differences,
    pin,
    science,
)
from tests.conftest import asset
from tests.unit.builders import FILES, LOCK, definition, sha256, tree

FIELD = "https://example.org/field.nc"
FULL: dict[str, Any] = {
    "engine": "dask",
    "command": ["python", "main.py", "{args.trees}", "{data.field}", "{seed}", "{outputs}"],
    "environment": {"lock": "requirements.lock", "python": "3.11"},
    "args": {
        "trees": 150,
        "rate": 0.5,
        "name": "forest",
        "deep": False,
        "workers": {"value": 4, "role": "operational"},
    },
    "data": {"field": {"uri": FIELD, "sha256": sha256(b"field")}},
    "seed": 7,
    "resources": {"nodes": 2, "cpus": 2, "memory": "2 GiB"},
    "outputs": ["metrics.json", "figures/*.png"],
    "verify": {"f1": {"expect": 0.895, "abs_tol": 0.01}},
    "limits": {"time": "1 h", "cost": "5 USD"},
}
ORIGIN: dict[str, Any] = {"commit": "c" * 40, "tree": "d" * 40}


def full(**keys: Any) -> Definition:
    """The definition above, with other keys."""
    return definition(**{"source": tree(**ORIGIN), **FULL, **keys})


def changed(*words: str) -> Definition:
    """The definition above under overrides."""
    return change(full(), parse_overrides(words))


# --- bytes and digest -------------------------------------------------------------------------


def test_the_pipeline_that_was_released_is_made_again_byte_by_byte() -> None:
    made = compile_pipeline(full(), overrides=parse_overrides(["args.trees=300", "nodes=3"]))
    assert made.to_bytes().decode() == asset("pipeline.yaml").read_text(encoding="utf-8")


def test_equal_inputs_are_equal_bytes_whatever_their_order() -> None:
    def mirrored(value: Any) -> Any:
        items = reversed(value.items()) if isinstance(value, dict) else ()
        return {key: mirrored(inner) for key, inner in items} if items else value

    words = ["nodes=3", "args.trees=300", "data.field=https://example.org/b", "seed=8"]
    one = compile_pipeline(full(), overrides=parse_overrides(words))
    other = compile_pipeline(
        definition(source=tree(mirrored(dict(FILES)), **ORIGIN), **mirrored(FULL)),
        overrides=parse_overrides(words[::-1]),
    )
    assert one.to_bytes() == other.to_bytes()
    assert one.digest == other.digest


def test_the_digest_is_the_hash_of_the_bytes() -> None:
    made = compile_pipeline(full())
    assert made.digest == f"sha256:{hashlib.sha256(made.to_bytes()).hexdigest()}"


values = (
    st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), values, max_size=4))
def test_a_pipeline_is_read_back_as_it_was(args: dict[str, bool | int | float | str]) -> None:
    made = compile_pipeline(definition(args=args))
    read = load_pipeline(made.to_bytes())
    assert read == made
    assert read.to_bytes() == made.to_bytes()
    assert repr({name: arg.value for name, arg in read.args.items()}) == repr(
        dict(sorted(args.items()))
    )


def test_a_stored_pipeline_compiles_to_itself() -> None:
    made = compile_pipeline(full())
    assert compile_pipeline(load_pipeline(made.to_bytes())).to_bytes() == made.to_bytes()


def texts(value: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def test_nothing_of_this_machine_or_account_is_in_a_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = compile_pipeline(full())
    assert not any(text.startswith(("/", "~", "file:")) for text in texts(made.to_json()))
    assert not any("://" in text for text in texts(made.requests))
    for own in (str(tmp_path), str(Path.home()) + "/", platform.node(), os.getcwd()):  # noqa: PTH109
        assert own.encode() not in made.to_bytes()
    assert f"/{getpass.getuser()}/".encode() not in made.to_bytes()
    assert any("${site.store}" in text for text in texts(made.requests))


# --- science ----------------------------------------------------------------------------------

OTHER_SCIENCE: dict[str, dict[str, Any]] = {
    "other code": {"source": tree({**FILES, "main.py": b"print(2)\n"})},
    "one more file": {"source": tree({**FILES, "extra.py": b""})},
    "a file renamed": {"source": tree({"requirements.lock": LOCK, "m.py": FILES["main.py"]})},
    "another command": {"command": ["python", "main.py"]},
    "another engine": {"engine": "process", "resources": {"nodes": 1}},
    "another lock": {"source": tree({**FILES, "requirements.lock": b"distributed==2026.2.0\n"})},
    "another Python": {"environment": {"lock": "requirements.lock", "python": "3.12"}},
    "no environment": {
        "engine": "process", "resources": {"nodes": 1}, "environment": {},
    },
    "other data": {"data": {"field": {"uri": FIELD, "sha256": sha256(b"other")}}},
    "data under another name": {"data": {"f": {"uri": FIELD, "sha256": sha256(b"field")}}},
    "data no longer pinned": {"data": {"field": {"uri": FIELD}}},
    "an argument": {"args": {**FULL["args"], "trees": 151}},
    "an argument's type": {"args": {**FULL["args"], "trees": 150.0}},
    "one more argument": {"args": {**FULL["args"], "more": 1}},
    "an argument that becomes operational": {
        "args": {**FULL["args"], "rate": {"value": 0.5, "role": "operational"}},
    },
    "the seed": {"seed": 8},
    "no seed": {"seed": None},
}  # fmt: skip

SAME_SCIENCE: dict[str, dict[str, Any]] = {
    "title": {"title": "Two"},
    "description": {"description": "What it is about."},
    "commit": {"source": tree(commit="e" * 40, tree="f" * 40)},
    "a dirty tree that reads the same": {"source": tree(diff=b"to a README", **ORIGIN)},
    "nodes": {"resources": {**FULL["resources"], "nodes": 3}},
    "cpus": {"resources": {**FULL["resources"], "cpus": 1}},
    "memory": {"resources": {**FULL["resources"], "memory": "8 GiB"}},
    "limits": {"limits": {"time": "2 h"}},
    "rules": {"verify": {}},
    "outputs": {"outputs": ["metrics.json"]},
    "worker loss": {"engine": {"name": "dask", "on_worker_loss": "fail"}},
    "an operational argument": {
        "args": {**FULL["args"], "workers": {"value": 8, "role": "operational"}},
    },
    "another operational argument": {
        "args": {**FULL["args"], "x": {"value": 8, "role": "operational"}},
    },
    "the order of arguments": {"args": dict(reversed(FULL["args"].items()))},
    "another place with the same data": {
        "data": {"field": {"uri": "file:field.nc", "sha256": sha256(b"field")}},
    },
    "licence and DOI": {
        "data": {"field": {**FULL["data"]["field"], "license": "CC0", "doi": "10.1/x"}},
    },
}  # fmt: skip


@pytest.mark.parametrize("keys", OTHER_SCIENCE.values(), ids=OTHER_SCIENCE)
def test_what_makes_a_variant(keys: dict[str, Any]) -> None:
    assert science(full(**keys)).digest != science(full()).digest


@pytest.mark.parametrize("keys", SAME_SCIENCE.values(), ids=SAME_SCIENCE)
def test_what_is_only_a_circumstance(keys: dict[str, Any]) -> None:
    assert full(**keys) != full() or keys.keys() & {"args", "description"}
    assert science(full(**keys)).digest == science(full()).digest


def test_a_pipeline_has_the_science_of_its_definition_wherever_it_runs() -> None:
    made = compile_pipeline(full(), overrides=parse_overrides(["nodes=5", "cloud=local"]))
    assert science(made).digest == science(full()).digest
    assert made.digest != compile_pipeline(full()).digest


def test_data_that_a_run_pinned_counts_like_data_its_author_pinned() -> None:
    loose, seen = full(data={"field": {"uri": FIELD}}), {"field": sha256(b"field")}
    pinned = pin(loose, seen)
    assert loose.data["field"].level is Level.LOCATOR
    assert pinned.data["field"].level is Level.CONTENT
    assert pinned.data["field"].sha256 == sha256(b"field")
    assert pinned.data["field"].uri == FIELD
    assert science(loose, seen).digest == science(pinned).digest == science(full()).digest


def test_what_a_run_did_not_see_stays_as_it_was() -> None:
    loose = full(data={"field": {"uri": FIELD}, "mask": {"uri": "file:mask.nc"}})
    pinned = pin(loose, {"field": sha256(b"field")})
    assert pinned.data["mask"] == loose.data["mask"]
    assert pin(full(), {}) == full()


# --- overrides --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("args.trees=300", "trees", 300),
        ("args.trees=-5", "trees", -5),
        ("args.rate=1", "rate", 1.0),
        ("args.rate=-2.5e-3", "rate", -0.0025),
        ("args.deep=true", "deep", True),
        ("args.name=other", "name", "other"),
        ("args.name=300", "name", "300"),
        ("args.name=true", "name", "true"),
        ("args.name=", "name", ""),
        ("args.workers=8", "workers", 8),
    ],
)
def test_an_override_has_the_type_of_the_experiments_own_value(
    word: str, name: str, value: object
) -> None:
    arg = changed(word).args[name]
    assert repr(arg.value) == repr(value)
    assert arg.role is full().args[name].role


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("args.trees=many", "args.trees: got 'many', expected a whole number such as 150"),
        ("args.trees=1.5", "args.trees: got '1.5', expected a whole number such as 150"),
        ("args.trees=true", "args.trees: got 'true', expected a whole number such as 150"),
        ("args.trees=9223372036854775808", "args.trees: got '9223372036854775808', expected a "
                                           "whole number such as 150"),
        ("args.rate=fast", "args.rate: got 'fast', expected a number such as 0.5"),
        ("args.rate=nan", "args.rate: got 'nan', expected a number such as 0.5"),
        ("args.rate=-inf", "args.rate: got '-inf', expected a number such as 0.5"),
        ("args.rate=1e999", "args.rate: got '1e999', expected a number such as 0.5"),
        ("args.deep=yes", "args.deep: got 'yes', expected true or false"),
        ("args.deep=1", "args.deep: got '1', expected true or false"),
        ("args.deep=True", "args.deep: got 'True', expected true or false"),
        # no option can be slipped in where a value belongs
        ("args.name=--config=x", "args.name: got '--config=x', a text that a program could take "
                                 "for an option"),
        ("args.name=-rf", "args.name: got '-rf', a text that a program could take for an option"),
        ("args.name=-", "args.name: got '-', a text that a program could take for an option"),
        ("args.treez=1", "args.treez: there is no such name, did you mean 'trees'?"),
        ("args.zzz=1", "args.zzz: there is no such name, known: trees, rate, name, deep, workers"),
        ("data.fields=https://h/x", "data.fields: there is no such name, did you mean 'field'?"),
        ("data.field=ftp://h/x", "data.field: got 'ftp://h/x', expected file:…, https://…, "
                                 "s3://…, earthdata://… or pypi:<wheel>!/<member>"),
        ("data.field=--help", "data.field: got '--help', expected file:…, https://…, "
                              "s3://…, earthdata://… or pypi:<wheel>!/<member>"),
        ("data.field=s3://user:secret@bucket/x",
                                 "data.field: the locator carries a user or password, expected "
                                 "s3://<bucket>/<key>, and where needed ?region=us-west-2 and "
                                 "&requester_pays=true"),
        ("data.field=file:../x", "data.field: got 'file:../x', expected file:<path inside the "
                                 "experiment's folder> or file:///<path>"),
    ],
)  # fmt: skip
def test_an_override_that_does_not_fit_is_refused(word: str, answer: str) -> None:
    with pytest.raises(CommandError) as caught:
        changed(word)
    assert caught.value.message == answer


def test_all_overrides_that_do_not_fit_are_listed_at_once() -> None:
    with pytest.raises(CommandError) as caught:
        changed("nodes=5000", "gpus=65", "args.trees=x", "args.oops=1", "data.field=x")
    told = [line.partition(":")[0] for line in caught.value.message.splitlines()]
    assert told == ["nodes", "gpus", "args.trees", "args.oops", "data.field"]


def test_a_seed_needs_an_experiment_that_has_one() -> None:
    assert changed("seed=8").seed == 8
    with pytest.raises(CommandError, match="seed: this experiment declares no seed"):
        change(full(seed=None), parse_overrides(["seed=8"]))


def test_resources_and_limits() -> None:
    after = changed("nodes=3", "cpus=4", "memory=1GiB", "time=90s", "cost=1USD")
    assert after.resources.model_dump() == {"nodes": 3, "cpus": 4, "memory": 1024, "gpus": 0}
    assert after.limits.model_dump() == {"time": 90, "cost": 1.0}


def test_other_data_is_no_longer_pinned_or_licensed() -> None:
    given = full(data={"field": {**FULL["data"]["field"], "license": "CC0", "doi": "10.1/x"}})
    ref = change(given, parse_overrides(["data.field=file:mine.nc"])).data["field"]
    assert (ref.uri, ref.sha256, ref.license, ref.doi) == ("file:mine.nc", None, None, None)
    assert ref.level is Level.LOCATOR


def test_no_overrides_change_nothing() -> None:
    assert changed() == full()
    assert differences(full(), changed()) == {}


# --- differences and lineage ------------------------------------------------------------------


def test_a_rule_about_files_is_no_difference_to_itself() -> None:
    declared = full(verify={"eddies.csv": {"compare": "bytes"}})
    told = differences(declared, compile_pipeline(declared))
    assert set(told) == {"target.cloud", "target.runtime"}


def test_differences_are_told_key_by_key() -> None:
    after = changed("nodes=3", "args.trees=300", "data.field=file:mine.nc")
    assert differences(full(), after) == {
        "args.trees.value": (150, 300),
        "data.field.level": ("content", "locator"),
        "data.field.sha256": (sha256(b"field"), None),
        "data.field.uri": (FIELD, "file:mine.nc"),
        "resources.nodes": (2, 3),
    }


def test_differences_of_what_only_one_side_has() -> None:
    bare = full(verify={}, args={})
    found = differences(full(), bare)
    assert found["verify.f1.expect"] == (0.895, None)
    assert found["args.trees.value"] == (150, None)
    assert {key: (new, old) for key, (old, new) in found.items()} == differences(bare, full())


def test_lineage_says_what_it_was_made_from() -> None:
    words = parse_overrides(["nodes=3", "args.name=a=b"])
    made = compile_pipeline(full(), overrides=words, reproduces="20260102T030405Z-0a1b2c3d")
    assert made.lineage.reproduces == "20260102T030405Z-0a1b2c3d"
    assert made.lineage.changes == {"nodes": "3", "args.name": "a=b"}
    assert made.schema_ == "rpac/pipeline/1"
    assert made.title == "One"


def test_a_past_target_is_kept_unless_another_is_asked_for() -> None:
    past = compile_pipeline(full()).model_copy(update={"target": Target(runtime="docker")})
    assert compile_pipeline(past).target.runtime == "docker"
    words = parse_overrides(["runtime=process"])
    assert compile_pipeline(past, overrides=words).target.runtime == "process"


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_on_another_cloud_a_past_run_has_that_cloud_s_own_runtime(cloud: str) -> None:
    past = compile_pipeline(full())
    there = compile_pipeline(past, overrides=parse_overrides([f"cloud={cloud}"]))
    assert (past.target.runtime, there.target.runtime) == ("process", "docker")
    back = compile_pipeline(there, overrides=parse_overrides(["cloud=local"]))
    assert back.target.runtime == "process"
    assert science(back) == science(there) == science(past)


# --- what cannot be served is refused before anything starts -------------------------------------


@pytest.mark.parametrize(
    ("keys", "words", "message", "hint"),
    [
        ({}, ["cloud=locale"], "there is no cloud 'locale'", "did you mean cloud=local?"),
        ({}, ["cloud=gcp"], "there is no cloud 'gcp' in this version", "clouds: local, aws, azure"),
        ({}, ["runtime=pods"], "cloud=local has no runtime 'pods'", "runtimes: process, docker"),
        ({}, ["nodes=100"], "100 nodes on one machine", "at most 64"),
        (
            {"engine": "process"}, [],
            "engine process runs on one node, 2 are asked for",
            "nodes=1, or an engine that spans nodes such as dask",
        ),
        (
            {"environment": {}}, [],
            "engine dask needs distributed in the experiment's environment, and no lock",
            "add to the experiment: environment: {lock: requirements.lock}",
        ),
        ({"environment": {"lock": "no.lock"}}, [], "the lock 'no.lock' is not among the", ""),
        (
            {"environment": {"image": "x@sha256:" + "0" * 64}}, ["runtime=process"],
            "environment.image needs containers, and runtime=process has none",
            "runtime=docker",
        ),
    ],
)  # fmt: skip
def test_refused(keys: dict[str, Any], words: list[str], message: str, hint: str) -> None:
    with pytest.raises(PipelineError) as caught:
        compile_pipeline(full(**keys), overrides=parse_overrides(words))
    assert caught.value.message.startswith(message)
    assert caught.value.hint == hint


keys = ["nodes", "seed", "cost", "memory", "time", "cloud", "args.trees", "args.rate", "args.name"]
texts_given = st.sampled_from(["true", "5USD", "1GiB", "local", "file:x", "1_0", "٣", "-0.0"])
given_words = st.builds(
    "{}={}".format,
    st.sampled_from([*keys, "args.deep", "args.none", "data.field"]),
    texts_given | st.integers(-3, 10**30).map(str) | st.floats().map(str) | st.text(max_size=6),
)


@given(st.lists(given_words, max_size=4))
@example(["args.trees=" + "9" * 900])
def test_any_words_make_a_pipeline_that_can_be_read_back_or_an_error(words: list[str]) -> None:
    try:
        made = compile_pipeline(full(), overrides=parse_overrides(words))
    except RpacError:
        return
    assert load_pipeline(made.to_bytes()).digest == made.digest
