"""
Portability: every experiment of the repository compiled for every cloud and engine. What is not
about the place is equal to the byte, machines are alike, and no provider's word stands elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from rpac_ci import catalog, clouds, experiments, schemas
from rpac_ci.canonical import Json, canonical_json
from rpac_ci.catalog.choosing import lacks
from rpac_ci.catalog.machines import Grade
from rpac_ci.commands import parse_overrides
from rpac_ci.errors import PipelineError
from rpac_ci.jobs import EngineName
from rpac_ci.pipeline import Definition, Pipeline, compile_pipeline, define, science
from rpac_ci.site_config import SiteConfig
from rpac_ci.source_trees import SourceFile, make
from tests.conftest import ROOT

EXPERIMENTS = sorted(experiments.find(ROOT / "experiments"))
CLOUDS, ENGINES = sorted(clouds.PLANNERS), sorted(EngineName)
everything = pytest.mark.parametrize(("name", "engine"), [*product(EXPERIMENTS, ENGINES)])

# of a provider, not of the field: "batch" is also one of machine learning
WORDS = re.compile(
    r"(?<![a-z])(aws|amazon|ec2|ecs|ecr|s3|iam|sqs|lambda|cloudwatch|boto3|azure|blob|entra|vnet"
    r"|nsg|batch|docker)(?![a-z])",
    re.IGNORECASE,
)
NODES = re.compile(r'RPAC_NODES(?:"(?:,"value")?:"|=)(\d+)')  # the node contract's variable
# whose words they are: an author's own, and what a person writes about a cloud
AUTHORS = ("title", "command", "args", "data", "outputs", "clouds", "verify", "environment")


@cache
def defined(name: str) -> Definition:
    path = experiments.find(ROOT / "experiments")[name]
    file = experiments.load(path, root=ROOT)
    files = [
        SourceFile(str(one.relative_to(path.parent)), False, one.read_bytes())
        for one in sorted(path.parent.glob("*"))
        if one.is_file()
    ]
    return define(file.experiment, make(files))


@cache
def compiled(name: str, engine: str, cloud: str) -> Pipeline | str:
    """The pipeline, or why the engine does not run it, in words that name no cloud."""
    nodes = ["nodes=1"] if engine == EngineName.PROCESS else []
    words = [f"engine={engine}", f"cloud={cloud}", *nodes]
    try:
        return compile_pipeline(defined(name), overrides=parse_overrides(words), site=SiteConfig())
    except PipelineError as exc:
        return exc.message


def neutral(made: Pipeline) -> dict[str, Json]:
    """Without its place: target, what is rendered for it, and the word that asked for it."""
    document = {key: v for key, v in made.to_json().items() if key not in ("target", "requests")}
    lineage: Any = document["lineage"]
    changes = {key: value for key, value in lineage["changes"].items() if key != "cloud"}
    return {**document, "lineage": {**lineage, "changes": changes}}


def on_every_cloud(name: str, engine: str) -> dict[str, Pipeline]:
    """Cloud -> pipeline; none where the engine cannot run it, which all clouds say alike."""
    made = {cloud: compiled(name, engine, cloud) for cloud in CLOUDS}
    refusals = {one for one in made.values() if isinstance(one, str)}
    if refusals:
        assert len(refusals) == 1 == len(set(map(type, made.values()))), refusals
        return {}
    return {cloud: one for cloud, one in made.items() if isinstance(one, Pipeline)}


def leaves(value: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every key and every plain value, with the keys above it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield path, key
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, str(value)


# --- equal but for the place --------------------------------------------------------------------


def test_there_is_something_to_carry() -> None:
    assert len(EXPERIMENTS) >= 6
    assert len(CLOUDS) >= 2
    pairs = [(n, e) for n, e in product(EXPERIMENTS, ENGINES) if on_every_cloud(n, e)]
    assert {name for name, _ in pairs} == set(EXPERIMENTS)
    assert {engine for _, engine in pairs} == set(ENGINES)


@everything
def test_what_is_not_about_the_place_is_equal_to_the_byte(name: str, engine: str) -> None:
    made = on_every_cloud(name, engine)
    assert len({canonical_json(neutral(one)) for one in made.values()}) <= 1
    assert len({science(one).digest for one in made.values()}) <= 1
    assert len({one.digest for one in made.values()}) == len(made)


@everything
def test_every_cloud_starts_the_same_steps_for_as_many_nodes(name: str, engine: str) -> None:
    made = on_every_cloud(name, engine).values()
    assert len({tuple(one["step"] for one in pipe.requests) for pipe in made}) <= 1
    for pipe in made:
        told = canonical_json(list(pipe.requests)).decode()
        assert set(NODES.findall(told)) == {str(pipe.resources.nodes)}


@everything
def test_machines_serve_the_need_and_are_alike(name: str, engine: str) -> None:
    made = on_every_cloud(name, engine)
    machines = []
    for cloud, pipe in made.items():
        if pipe.target.machine is None:
            assert cloud not in catalog.CLOUDS
            continue
        machine = catalog.load(cloud).machines[pipe.target.machine]
        assert lacks(machine, pipe.resources) == []
        assert not machine.retired
        machines.append(machine)
    for one, other in combinations(machines, 2):
        assert catalog.fidelity(one, other) in (Grade.A, Grade.B), f"{one} and {other}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_catalogs_have_machines_for_it_that_are_alike(name: str) -> None:
    """Also of clouds that this version does not plan for yet."""
    need = defined(name).resources
    found = [catalog.choose(need, cloud).machine for cloud in catalog.CLOUDS]
    for one, other in combinations(found, 2):
        assert catalog.fidelity(one, other) in (Grade.A, Grade.B)


# --- no provider's word outside its place -------------------------------------------------------


@everything
def test_the_neutral_part_says_no_word_of_a_provider(name: str, engine: str) -> None:
    for pipe in on_every_cloud(name, engine).values():
        ours = {key: v for key, v in neutral(pipe).items() if key not in AUTHORS}
        assert [found for found in leaves(ours) if WORDS.search(found[1])] == []


@everything
def test_compiling_puts_no_word_of_a_provider_into_what_an_author_wrote(
    name: str, engine: str
) -> None:
    before = [value for _, value in leaves(defined(name).to_json()) if WORDS.search(value)]
    for pipe in on_every_cloud(name, engine).values():
        after = [value for _, value in leaves(neutral(pipe)) if WORDS.search(value)]
        assert after == before


@everything
def test_a_cloud_s_requests_say_nothing_of_another_cloud(name: str, engine: str) -> None:
    own = {"aws": ("aws", "amazon"), "azure": ("azure", "entra")}
    for cloud, pipe in on_every_cloud(name, engine).items():
        told = canonical_json(list(pipe.requests)).decode().lower()
        for other in set(own) - {cloud}:
            assert not any(word in told for word in own[other])


def test_the_schema_of_experiments_knows_clouds_in_one_place_only() -> None:
    import json

    schema = json.loads((schemas.FOLDER / "experiment.schema.json").read_bytes())
    keys = {
        value
        for path, value in leaves(schema)
        if path[-1:] == ("properties",) and WORDS.search(value)
    }
    assert keys <= {"clouds"}


@pytest.mark.parametrize("folder", ["engines", "node", "contents", "formats"])
def test_modules_that_serve_every_cloud_import_none(folder: str) -> None:
    for path in sorted((ROOT / "rpac_ci" / folder).rglob("*.py")):
        imports = re.findall(r"^\s*(?:from|import) +(\S+)", path.read_text(), re.MULTILINE)
        of_clouds = [name for name in imports if re.match(r"rpac_ci\.clouds|boto|azure", name)]
        assert of_clouds == [], path


@pytest.mark.parametrize(
    "module", ["jobs", "pipeline", "run", "verdict", "checks", "changes", "recording", "records"]
)
def test_the_middle_names_no_provider(module: str) -> None:
    text = Path(ROOT / "rpac_ci" / f"{module}.py").read_text()
    found = re.findall(r"\b(aws|azure|boto3|ec2|s3|blob)\b", text, re.IGNORECASE)
    assert found == []
