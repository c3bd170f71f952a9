"""The service mapping: no cloud is left without an answer, and what it cannot do is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rpac_ci import clouds, site_config
from rpac_ci.catalog import mapping
from rpac_ci.catalog.mapping import CLOUDS, Cell, Row
from rpac_ci.cli import run
from rpac_ci.command_keys import KEYS
from rpac_ci.commands import parse_overrides
from rpac_ci.errors import ExperimentError, PipelineError
from rpac_ci.experiment_model import Mode
from rpac_ci.pipeline import compile_pipeline
from tests.conftest import ROOT
from tests.unit.builders import definition

KNOWN = mapping.load()
ROWS: dict[str, Row] = {**KNOWN.concerns, **KNOWN.needs}
# keys that say what is computed or how much, which no cloud lacks
EVERYWHERE = {
    "cloud", "engine", "cpus", "memory", "image", "seed", "repeat", "time", "cost", "sha",
    "args.<name>", "data.<name>",
}  # fmt: skip


# --- the data -----------------------------------------------------------------------------------


def test_it_is_about_the_clouds_that_there_are() -> None:
    assert CLOUDS == site_config.CLOUDS
    assert set(clouds.PLANNERS) <= set(CLOUDS)
    assert {name for name in Row.model_fields if name != "what"} == set(CLOUDS)


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("name", ROWS)
def test_every_answer_says_what_serves_or_why_nothing_does_and_by_whose_word(
    name: str, cloud: str
) -> None:
    cell = ROWS[name].on(cloud)
    assert (cell.by is None) != (cell.none is None)
    if cell.source.startswith("https://"):
        return
    assert (ROOT / cell.source).exists(), "a path of this repository"


def test_concerns_are_those_that_a_run_has() -> None:
    assert {
        "store", "scheduler", "machines", "cluster", "images", "node-identity", "caller-identity",
        "function", "events", "timer", "logs", "network", "firewall", "budget-alarm",
    } <= set(KNOWN.concerns)  # fmt: skip
    assert not set(KNOWN.concerns) & set(KNOWN.needs)


def test_every_key_of_a_command_is_a_need_or_means_the_same_everywhere() -> None:
    needs = {name.partition("-")[0] for name in KNOWN.needs} - {"mode"}  # an author's choice
    assert needs | EVERYWHERE == set(KEYS)
    assert not needs & EVERYWHERE
    assert {f"mode-{mode}" for mode in Mode} <= set(KNOWN.needs)


def test_every_cloud_has_several_nodes_so_that_nobody_looks_it_up() -> None:
    assert all(KNOWN.needs["nodes"].on(cloud).by for cloud in CLOUDS)


@pytest.mark.parametrize("cloud", clouds.PLANNERS)
def test_planners_declare_what_the_mapping_says(cloud: str) -> None:
    declared, needs = clouds.planner(cloud).capabilities, KNOWN.needs
    for name in ("process", "docker"):
        meets = needs[f"runtime-{name}"].on(cloud).by is not None
        assert meets == (name in declared.runtimes)
    assert declared.gpus == (needs["gpus"].on(cloud).by is not None)
    assert declared.max_nodes > 1


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("{by: x, none: y, source: z}", "expected either `by` or `none`"),
        ("{source: z}", "expected either `by` or `none`"),
        ("{none: y, how: x, source: z}", "`how` without `by`"),
        ("{by: x}", "Field required"),
        ("{by: '', source: z}", "at least 1 character"),
    ],
)
def test_a_hole_in_the_file_has_a_place(tmp_path: Path, cell: str, says: str) -> None:
    file = tmp_path / "mapping.yaml"
    rest = "azure: {by: b, source: s}\n    local: {by: b, source: s}\n"
    head = "schema: rpac/mapping/1\ndate: '2026-01-02'\nneeds: {}\nconcerns:\n  store:\n"
    file.write_text(f"{head}    what: w\n    aws: {{by: b, source: s}}\n    {rest}")
    assert mapping.read(file).concerns["store"].aws == Cell(by="b", source="s")
    file.write_text(f"{head}    what: w\n    aws: {cell}\n    {rest}")
    with pytest.raises(ExperimentError, match=says) as caught:
        mapping.read(file)
    assert caught.value.problems[0].line >= 6
    file.write_text(f"{head}    what: w\n    {rest}")
    with pytest.raises(ExperimentError, match="Field required"):
        mapping.read(file)


# --- what a cloud cannot meet -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "keys", "says", "hint"),
    [
        (["spot=true"], {}, "cloud=local cannot meet spot=true: nothing is rented", "cloud=aws"),
        (["region=eu-1"], {}, "cannot meet region=eu-1: this machine is where it is", "cloud=aws"),
        (
            ["cloud=aws", "runtime=process"], {},
            "cloud=aws cannot meet runtime=process: its machines have nothing but", "cloud=local",
        ),
    ],
)  # fmt: skip
def test_a_need_that_is_not_met_is_named_with_the_clouds_that_can(
    words: list[str], keys: dict[str, Any], says: str, hint: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        compile_pipeline(definition(**keys), overrides=parse_overrides(words))
    assert says in caught.value.message
    assert caught.value.hint.startswith(hint)
    assert f"leave out {words[-1]}" in caught.value.hint


def test_all_needs_that_are_not_met_are_named_at_once() -> None:
    words = parse_overrides(["spot=true", "region=eu-1", "machine=m6i.large"])
    with pytest.raises(PipelineError) as caught:
        compile_pipeline(definition(), overrides=words)
    assert len(caught.value.message.splitlines()) == 3
    assert caught.value.hint.endswith("leave out region=eu-1 machine=m6i.large spot=true")


def test_no_cloud_is_named_that_this_version_does_not_have() -> None:
    from rpac_ci.pipeline import Wanted

    asked = Wanted(cloud="local", spot=True)
    with pytest.raises(PipelineError) as caught:
        mapping.check(asked, definition(), available=("local", "azure"))
    assert caught.value.hint == "cloud=azure can; or leave out spot=true"
    with pytest.raises(PipelineError) as caught:
        mapping.check(asked, definition(), available=("local",))
    assert caught.value.hint == "leave out spot=true"


def test_a_mode_that_a_cloud_does_not_have_is_refused() -> None:
    from rpac_ci.pipeline import Wanted

    with pytest.raises(PipelineError, match=r"cannot meet clouds\.azure\.mode: mnp: in contain"):
        mapping.check(
            Wanted(cloud="azure", mode=Mode.MNP), definition(), available=("aws", "azure")
        )


# --- for people ---------------------------------------------------------------------------------


def test_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "mapping"]) == 0
    shown = capsys.readouterr().out
    assert "AWS Lambda" in shown
    assert "runtime-process  none  none   yes" in shown
    assert "local: none, nothing is rented" in shown
    for name in ROWS:
        assert f"\n{name}" in f"\n{shown}"


def test_as_json_it_has_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert run(["catalog", "mapping", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "rpac/mapping/1"
    assert told["concerns"]["store"]["aws"]["by"] == "Amazon S3"
    assert told["needs"]["spot"]["local"]["none"] == "nothing is rented"
