"""
JSON Schemas of the documents, made from the models and committed: `python -m rpac_ci.schemas`.

Other programs and editors read them from here; a test checks that they are up to date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpac_ci import experiment_model, site_config
from rpac_ci.canonical import Json, readable_json
from rpac_ci.catalog.files import CatalogFile
from rpac_ci.catalog.mapping import ServiceMapping
from rpac_ci.documents import Model
from rpac_ci.pipeline import Pipeline
from rpac_ci.records import RunRecord

FOLDER = Path(__file__).parent


def generate() -> dict[str, Json]:
    """File name -> schema."""
    return {
        "catalog.schema.json": _of("rpac/catalog/1", CatalogFile),
        "experiment.schema.json": experiment_model.json_schema(),
        "mapping.schema.json": _of("rpac/mapping/1", ServiceMapping),
        "pipeline.schema.json": _of("rpac/pipeline/1", Pipeline),
        "record.schema.json": _of("rpac/record/1", RunRecord),
        "site.schema.json": site_config.json_schema(),
    }


def _of(identifier: str, model: type[Model]) -> Json:
    schema: dict[str, Any] = model.model_json_schema(by_alias=True, mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": identifier,
        **schema,
    }


def write() -> None:
    """Write the files."""
    for name, schema in generate().items():
        (FOLDER / name).write_bytes(readable_json(schema))
