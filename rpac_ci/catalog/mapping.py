"""
The service mapping: what serves each concern of a run on each cloud, and which needs it can meet.

`mapping.yaml` is data with its date and sources, schema `rpac/mapping/1`. A need is what a command
or an experiment can ask for and not every cloud can give. One that a cloud cannot meet is refused
while planning, with the clouds that can.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from rpac_ci import yaml_io
from rpac_ci.catalog.files import FOLDER, ONLY_NAMES, Date, Text
from rpac_ci.documents import Model
from rpac_ci.errors import ExperimentError, PipelineError

if TYPE_CHECKING:
    from rpac_ci.pipeline import Definition, Wanted

FILE = FOLDER / "mapping.yaml"
CLOUDS = ("aws", "azure", "local")

Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,30}$")]


def _one_of_two(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [
        {"required": ["by"], "properties": {"none": False}},
        {"required": ["none"], "properties": {"by": False, "how": False}},
    ]
    for name in ("by", "how", "none"):
        schema["properties"][name] = schema["properties"][name]["anyOf"][0]


class Cell(Model):
    """What one cloud has: something that serves, or the reason why nothing does."""

    model_config = ConfigDict(json_schema_extra=_one_of_two)

    by: Text | None = None
    how: Text | None = None
    none: Text | None = None
    source: Text

    @model_validator(mode="after")
    def _says_one_thing(self) -> Cell:
        if (self.by is None) == (self.none is None):
            raise ValueError("expected either `by` or `none`")
        if self.none is not None and self.how is not None:
            raise ValueError("`how` without `by`")
        return self


class Row(Model):
    """One concern or need; every cloud has an answer."""

    what: Text
    aws: Cell
    azure: Cell
    local: Cell

    def on(self, cloud: str) -> Cell:
        """The answer of one of `CLOUDS`."""
        cell: Cell = getattr(self, cloud)
        return cell


class ServiceMapping(Model):
    """What serves each concern of a run on each cloud, and which needs it can meet."""

    schema_: Annotated[Literal["rpac/mapping/1"], Field(alias="schema")]
    date: Date
    concerns: Annotated[dict[Key, Row], ONLY_NAMES]
    needs: Annotated[dict[Key, Row], ONLY_NAMES]


@cache
def load() -> ServiceMapping:
    """
    The mapping that comes with this version.

    Raises:
        ExperimentError: the file is not what the schema says.
    """
    return read(FILE)


def read(file: Path) -> ServiceMapping:
    """
    Read and check one file.

    Raises:
        ExperimentError: mistakes, each with its place.
    """
    document = yaml_io.load(file)
    try:
        return ServiceMapping.model_validate(document.value)
    except ValidationError as exc:
        raise ExperimentError(
            [document.problem(tuple(e["loc"]), str(e["msg"])) for e in exc.errors()]
        ) from exc


def asked(definition: Definition, wanted: Wanted) -> Mapping[str, str]:
    """
    Needs that are asked for, each in the words that ask for it.

    Several nodes are not among them: every cloud has those, and how many is its planner's affair.
    """
    gpus, mode = definition.resources.gpus, wanted.mode
    said = {
        "gpus": f"gpus={gpus}" if gpus else "",
        "region": f"region={wanted.region}" if wanted.region else "",
        "machine": f"machine={wanted.machine}" if wanted.machine else "",
        "spot": "spot=true" if wanted.spot else "",
        f"runtime-{wanted.runtime}": f"runtime={wanted.runtime}" if wanted.runtime else "",
        f"mode-{mode}": f"clouds.{wanted.cloud}.mode: {mode}" if mode else "",
    }
    return {name: words for name, words in said.items() if words}


def check(
    wanted: Wanted,
    definition: Definition,
    *,
    available: Collection[str],
    runtimes: Collection[str] = (),
) -> None:
    """
    Refuse what a cloud cannot meet.

    Args:
        wanted: of which cloud; one that the mapping does not know is left to its planner.
        definition: what is asked of it.
        available: clouds of this version, to name those that can.
        runtimes: that this cloud declares, so that nobody has to look them up.

    Raises:
        PipelineError: needs that it cannot meet, all of them, and the clouds that can.
    """
    said = dict(asked(definition, wanted))
    if wanted.runtime in runtimes:
        del said[f"runtime-{wanted.runtime}"]
    if not said or wanted.cloud not in CLOUDS:
        return
    rows = load().needs
    unmet = {name: rows[name] for name in said if name in rows and rows[name].on(wanted.cloud).none}
    if not unmet:
        return
    able = [
        cloud
        for cloud in CLOUDS
        if cloud in available and all(row.on(cloud).by for row in unmet.values())
    ]
    reasons = [
        f"cloud={wanted.cloud} cannot meet {said[name]}: {row.on(wanted.cloud).none}"
        for name, row in unmet.items()
    ]
    without = f"leave out {' '.join(said[name] for name in unmet)}"
    raise PipelineError(
        "\n".join(reasons),
        hint=f"cloud={' or cloud='.join(able)} can; or {without}" if able else without,
    )
