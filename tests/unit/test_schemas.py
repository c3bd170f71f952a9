"""The committed JSON Schemas say what the models say, to programs that know neither."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rpac_ci import experiment_model, experiments, schemas, yaml_io
from rpac_ci.canonical import readable_json
from rpac_ci.catalog import files, mapping
from rpac_ci.errors import ExperimentError
from rpac_ci.pipeline import compile_pipeline
from rpac_ci.verdict import judge
from tests.conftest import ROOT, asset
from tests.unit.builders import definition, finished, pipeline

NAMES = [
    "catalog.schema.json", "experiment.schema.json", "mapping.schema.json", "pipeline.schema.json",
    "record.schema.json", "site.schema.json",
]  # fmt: skip


def validator(name: str) -> Draft202012Validator:
    """A validator made from a committed file."""
    return Draft202012Validator(json.loads((schemas.FOLDER / f"{name}.schema.json").read_bytes()))


def wrong(name: str, document: Any) -> list[str]:
    """Where a document does not fit its schema."""
    errors = validator(name).iter_errors(document)
    return sorted("/".join(map(str, error.absolute_path)) for error in errors)


def test_the_committed_schemas_are_up_to_date() -> None:
    """Else: python -m rpac_ci.schemas."""
    generated = {name: readable_json(schema) for name, schema in schemas.generate().items()}
    committed = {path.name: path.read_bytes() for path in schemas.FOLDER.glob("*.json")}
    assert sorted(committed) == NAMES
    assert committed == generated


@pytest.mark.parametrize("name", ["catalog", "experiment", "mapping", "pipeline", "record", "site"])
def test_they_are_schemas_and_name_the_version_of_their_documents(name: str) -> None:
    schema = validator(name).schema
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"rpac/{name}/1"
    assert schema["properties"]["schema"]["const"] == f"rpac/{name}/1"
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", experiments.find(ROOT / "experiments"))
def test_the_shipped_experiments_fit(name: str) -> None:
    document = yaml_io.load(experiments.find(ROOT / "experiments")[name])
    assert wrong("experiment", document.value) == []


def test_compiled_and_stored_pipelines_fit() -> None:
    assert wrong("pipeline", compile_pipeline(definition()).to_json()) == []
    assert wrong("pipeline", yaml_io.load(asset("pipeline.yaml")).value) == []


def test_records_fit() -> None:
    pipe = pipeline(verify={"f1": {"expect": 1}}, data={"d": {"uri": "file:d"}})
    record = finished(pipe, metrics={"f1": 1}, data={"d": b""})
    judged = record.model_copy(update={"verdict": judge(pipe, record)})
    for document in (
        record.to_json(),
        judged.to_json(),
        json.loads(asset("record.json").read_bytes()),
    ):
        assert wrong("record", document) == []


LEAST: dict[str, Any] = {
    "id": "exp", "title": "One", "engine": "process", "command": ["python", "main.py"],
}  # fmt: skip


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"schema": "rpac/experiment/1"},
        {"engine": {"name": "dask", "on_worker_loss": "fail"}},
        {"args": {"a": 1, "b": 0.5, "c": "x", "d": True, "e": {"value": 4, "role": "operational"}}},
        {"resources": {"nodes": 2, "cpus": 4, "memory": "8 GiB"}},
        {"limits": {"time": "1 h 30 min", "cost": "5 USD"}},
        {"verify": {"f1": {"expect": 1, "abs_tol": 0.1}, "metrics.json": {"sha256": "0" * 64}}},
        {"verify": {"f1": {}}},
        {"source": ["main.py"]},
        {"source": {"git": "https://h/x", "commit": "0" * 40}},
        {"environment": {"lock": "requirements.lock", "python": "3.11"}},
        {"data": {"d": {"uri": "file:x", "sha256": "0" * 64, "license": "CC0", "doi": "10.1/x"}}},
        {"seed": 7},
    ],
)
def test_what_the_model_accepts_the_schema_accepts(keys: dict[str, Any]) -> None:
    document = {**LEAST, **keys}
    experiment_model.Experiment.model_validate(document)
    assert wrong("experiment", document) == []


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"titles": "x"}, ""),
        ({"title": 3}, "title"),
        ({"title": ""}, "title"),
        ({"id": "Exp"}, "id"),
        ({"schema": "rpac/experiment/2"}, "schema"),
        ({"command": "python main.py"}, "command"),
        ({"command": []}, "command"),
        ({"engine": "dsk"}, "engine"),
        ({"engine": {"name": "dask", "x": 1}}, "engine"),
        ({"args": {"x": [1]}}, "args/x"),
        ({"args": {"X": 1}}, "args"),
        ({"resources": {"nodes": 0}}, "resources/nodes"),
        ({"resources": {"memory": "8 gigs"}}, "resources/memory"),
        ({"limits": {"time": "an hour"}}, "limits/time"),
        ({"limits": {"cost": "5 EUR"}}, "limits/cost"),
        ({"verify": {"f1": {"abs_tol": -1}}}, "verify/f1"),
        ({"verify": {"f1": {"expects": 1}}}, "verify/f1"),
        ({"data": {"d": {}}}, "data/d"),
        ({"data": {"d": {"uri": "file:x", "sha256": "0"}}}, "data/d/sha256"),
        ({"environment": {"python": "2.7"}}, "environment/python"),
    ],
)
def test_what_the_model_refuses_the_schema_refuses_at_the_same_place(
    keys: dict[str, Any], where: str
) -> None:
    document = yaml_io.Document("x.yaml", {**LEAST, **keys})
    with pytest.raises(ExperimentError):
        experiments.parse(document)
    assert wrong("experiment", document.value) == [where]


@pytest.mark.parametrize("missing", ["science", "command", "source"])
def test_a_record_without_its_identity_is_refused(missing: str) -> None:
    document = json.loads(asset("record.json").read_bytes())
    del document["identity"][missing]
    assert wrong("record", document) == ["identity"]


def test_a_pipeline_with_something_added_is_refused() -> None:
    document = {**pipeline().to_json(), "shell": "rm -rf"}
    assert wrong("pipeline", document) == [""]


@pytest.mark.parametrize("cloud", files.CLOUDS)
def test_the_shipped_catalogs_fit(cloud: str) -> None:
    assert wrong("catalog", yaml_io.load(files.path(cloud)).value) == []


def test_the_shipped_mapping_fits_and_one_with_a_hole_does_not() -> None:
    document: Any = yaml_io.load(mapping.FILE).value
    assert wrong("mapping", document) == []
    cell = document["concerns"]["store"]["aws"]
    for broken in (
        {**cell, "none": "x"},
        {"source": "x"},
        {"none": "x", "how": "y", "source": "z"},
    ):
        document["concerns"]["store"]["aws"] = broken
        assert wrong("mapping", document) == ["concerns/store/aws"]
    del document["concerns"]["store"]["aws"]
    assert wrong("mapping", document) == ["concerns/store"]


CATALOG: dict[str, Any] = {
    "schema": "rpac/catalog/1", "cloud": "lab", "source": "the makers' leaflets",
    "date": "2026-11-28", "machines": {"small": {"cpus": 2, "memory_mib": 4096, "arch": "x86_64"}},
}  # fmt: skip
PRICES: dict[str, Any] = {
    "region": "lab-1", "source": "the makers", "date": "2026-11-28", "usd_per_hour": {"small": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({}, None),
        ({"prices": [PRICES], "currency": "USD"}, None),
        ({"schema": "rpac/catalog/2"}, "schema"),
        ({"cloud": "a b"}, "cloud"),
        ({"date": "28.11.2026"}, "date"),
        ({"date": 20261128}, "date"),
        ({"currency": "EUR"}, "currency"),
        ({"machines": {"a b": CATALOG["machines"]["small"]}}, "machines"),
        ({"machines": {"small": {"cpus": 2, "memory_mib": 4096}}}, "machines/small"),
        ({"machines": {"small": {**CATALOG["machines"]["small"], "cpus": 0}}},
         "machines/small/cpus"),
        ({"machines": {"small": {**CATALOG["machines"]["small"], "arch": "riscv"}}},
         "machines/small/arch"),
        ({"prices": [{**PRICES, "usd_per_hour": {"small": 0}}]}, "prices/0/usd_per_hour/small"),
        ({"prices": [{**PRICES, "usd_per_hour": {"a b": 1}}]}, "prices/0/usd_per_hour"),
        ({"owner": "me"}, ""),
    ],
)  # fmt: skip
def test_the_schema_of_catalogs_refuses_what_their_model_refuses(
    keys: dict[str, Any], where: str | None, tmp_path: Path
) -> None:
    document = {**CATALOG, **keys}
    assert wrong("catalog", document) == ([] if where is None else [where])
    file = tmp_path / "lab.yaml"
    file.write_text(json.dumps(document))
    with nullcontext() if where is None else pytest.raises(ExperimentError):
        files.read(file)
