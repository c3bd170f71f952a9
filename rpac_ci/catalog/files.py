"""
Catalog files, schema `rpac/catalog/1`: read them, and write one so that a change is a small diff.

Scalars and machines are written as JSON, which is YAML too. `date` is the day on which the machines
were looked up; prices have a day, a region and a source of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from rpac_ci import yaml_io
from rpac_ci.canonical import Json
from rpac_ci.catalog.machines import Catalog, Machine, Price, TrafficPrices
from rpac_ci.documents import Model
from rpac_ci.errors import ExperimentError, PipelineError, Problem

CLOUDS = ("aws", "azure")
FOLDER = Path(__file__).parent

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _iso(text: str) -> str:
    date.fromisoformat(text)
    return text


Date: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_iso)
]
# said to readers of the JSON Schema alone: the model refuses other names by itself
ONLY_NAMES = Field(json_schema_extra={"additionalProperties": False})


class Gpus(Model):
    """The GPUs of a machine, all alike."""

    count: Annotated[int, Field(ge=1, le=64)]
    kind: Text
    memory_mib: Annotated[int, Field(ge=1)]  # of each


class MachineEntry(Model):
    """One machine; its name is the key."""

    cpus: Annotated[int, Field(ge=1)]
    memory_mib: Annotated[int, Field(ge=1)]
    arch: Literal["x86_64", "arm64"]
    gpus: Gpus | None = None
    spot: bool = False
    burstable: bool = False
    retired: bool = False
    replaced_by: Name | None = None


class PriceTable(Model):
    """Prices of one region that are known from one source."""

    region: Name
    spot: bool = False
    source: Text
    date: Date
    usd_per_hour: Annotated[dict[Name, Annotated[float, Field(gt=0, strict=False)]], ONLY_NAMES]


class TrafficTable(Model):
    """
    Prices of bytes that leave regions, known from one source.

    From a region to `internet`, to `regions` (all others), or to one by its name.
    """

    source: Text
    date: Date
    usd_per_gb: dict[Name, dict[Name, Annotated[float, Field(ge=0, strict=False)]]]


class CatalogFile(Model):
    """The machines of a cloud and their prices, with sources and dates."""

    schema_: Annotated[Literal["rpac/catalog/1"], Field(alias="schema")]
    cloud: Name
    source: Text
    date: Date
    currency: Literal["USD"] = "USD"
    prices: list[PriceTable] = Field(default_factory=list)
    traffic: list[TrafficTable] = Field(default_factory=list)
    machines: Annotated[dict[Name, MachineEntry], ONLY_NAMES]


@cache
def load(cloud: str) -> Catalog:
    """
    The catalog of a cloud that comes with this version.

    Raises:
        PipelineError: there is none of this cloud.
        ExperimentError: the file is not what the schema says.
    """
    file = path(cloud)
    return catalog(_as_written(file.read_text(encoding="utf-8")) or read(file))


_LINE = re.compile(r"( *)(- )?([a-z_]+|\"[^\"]+\"):(?: (.+))?")


def _as_written(text: str) -> CatalogFile | None:
    """
    A file that `render` wrote, read without a YAML parser, which takes ten times as long.

    Each line is a key with JSON, or with what the deeper lines below it hold. Whether that was
    understood is seen by writing it again: None unless every byte is the same.
    """
    root: dict[str, Json] = {}
    opened: list[tuple[int, Any]] = [(0, root)]  # indent of the keys, and where they go
    try:
        for line in text.splitlines():
            spaces, dash, key, value = _LINE.fullmatch(line).groups()  # type: ignore[union-attr]
            indent = len(spaces) + len(dash or "")
            while opened[-1][0] > indent:
                opened.pop()
            if dash and opened[-1][0] == indent:
                opened.pop()
            if opened[-1][0] < indent:
                parent, item = opened[-1][1], dict[str, Json]()
                last = next(reversed(parent))
                parent[last] = [*(parent[last] or ()), item] if dash else item
                opened.append((indent, item))
            name = json.loads(key) if key.startswith('"') else key
            opened[-1][1][name] = json.loads(value) if value else None
        content = CatalogFile.model_validate(root)
    except (AttributeError, TypeError, StopIteration, ValueError):
        return None
    return content if render(content) == text else None


def path(cloud: str) -> Path:
    """
    Where the catalog of a cloud is.

    Raises:
        PipelineError: there is none.
    """
    if cloud not in CLOUDS:
        raise PipelineError(
            f"there is no catalog of machines for the cloud {cloud[:60]!r}",
            hint=f"there is one for {' and '.join(CLOUDS)}",
        )
    return FOLDER / f"{cloud}.yaml"


def read(file: Path) -> CatalogFile:
    """
    Read and check one file.

    Raises:
        ExperimentError: mistakes, each with its place.
    """
    document = yaml_io.load(file)
    try:
        content = CatalogFile.model_validate(document.value)
    except ValidationError as exc:
        raise ExperimentError(
            [document.problem(tuple(e["loc"]), str(e["msg"])) for e in exc.errors()]
        ) from exc
    if problems := list(_contradictions(content, document)):
        raise ExperimentError(problems)
    return content


def _contradictions(content: CatalogFile, document: yaml_io.Document) -> Iterator[Problem]:
    names = content.machines
    for name, entry in names.items():
        where: yaml_io.KeyPath = ("machines", name)
        if entry.replaced_by is not None:
            if not entry.retired:
                yield document.problem((*where, "replaced_by"), "a replacement of what is there")
            elif entry.replaced_by not in names or names[entry.replaced_by].retired:
                what = f"{entry.replaced_by} is not a machine of this file that is there"
                yield document.problem((*where, "replaced_by"), what)
    for number, table in enumerate(content.prices):
        for name in sorted(set(table.usd_per_hour) - set(names)):
            where = ("prices", number, "usd_per_hour", name)
            yield document.problem(where, f"a price of {name}, which is no machine of this file")


def catalog(content: CatalogFile) -> Catalog:
    """A file's content as values."""
    prices: dict[str, tuple[Price, ...]] = {}
    for table in content.prices:
        for name, amount in table.usd_per_hour.items():
            price = Price(
                usd_per_hour=amount, region=table.region, spot=table.spot,
                source=table.source, date=table.date,
            )  # fmt: skip
            prices[name] = (*prices.get(name, ()), price)
    return Catalog(
        cloud=content.cloud,
        source=content.source,
        date=content.date,
        machines={n: _machine(content.cloud, n, entry) for n, entry in content.machines.items()},
        prices=prices,
        traffic={
            region: TrafficPrices(usd_per_gb=amounts, source=table.source, date=table.date)
            for table in content.traffic
            for region, amounts in table.usd_per_gb.items()
        },
    )


def _machine(cloud: str, name: str, entry: MachineEntry) -> Machine:
    gpus = entry.gpus
    return Machine(
        cloud=cloud,
        name=name,
        cpus=entry.cpus,
        memory_mib=entry.memory_mib,
        arch=entry.arch,
        gpus=gpus.count if gpus else 0,
        gpu_kind=gpus.kind if gpus else None,
        gpu_memory_mib=gpus.memory_mib if gpus else 0,
        spot=entry.spot,
        burstable=entry.burstable,
        retired=entry.retired,
        replaced_by=entry.replaced_by,
    )


def write(file: Path, content: CatalogFile) -> None:
    """
    Write a file whole.

    Raises:
        PipelineError: it cannot be written.
    """
    try:
        file.write_text(render(content), encoding="utf-8")
    except OSError as exc:
        raise PipelineError(
            f"{file} cannot be written: {exc.strerror or exc}", hint="--output names another file"
        ) from exc
    load.cache_clear()


def render(content: CatalogFile) -> str:
    """The text of a file; equal contents give equal text."""
    names = sorted(content.machines, key=lambda name: _order(content, name))
    lines = [f"{key}: {_json(getattr(content, attribute))}" for key, attribute in _HEAD.items()]
    lines.append("prices:" if content.prices else "prices: []")
    for table in content.prices:
        lines.append(f"  - region: {_json(table.region)}")
        lines += [f"    {key}: {_json(getattr(table, key))}" for key in ("spot", "source", "date")]
        lines.append("    usd_per_hour:")
        for name in names:
            if name in table.usd_per_hour:
                lines.append(f"      {_json(name)}: {_json(table.usd_per_hour[name])}")
    lines += ["traffic:"] if content.traffic else []
    for traffic in content.traffic:
        lines += [f"  - source: {_json(traffic.source)}", f"    date: {_json(traffic.date)}"]
        lines.append("    usd_per_gb:")
        lines += [
            f"      {_json(region)}: {_json({**amounts})}"
            for region, amounts in traffic.usd_per_gb.items()
        ]
    lines.append("machines:")
    for name in names:
        said = content.machines[name].model_dump(mode="json", exclude_defaults=True)
        lines.append(f"  {_json(name)}: {_json(said)}")
    return "\n".join(lines) + "\n"


_HEAD: Mapping[str, str] = {
    "schema": "schema_", "cloud": "cloud", "source": "source", "date": "date",
    "currency": "currency",
}  # fmt: skip


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _order(content: CatalogFile, name: str) -> tuple[str, int, int, str]:
    """By family (`m6i`, `Standard_D`) and size."""
    family = re.split(r"\.|\d+[a-z]*(?=_)", name)[0]
    entry = content.machines[name]
    return family, entry.cpus, entry.memory_mib, name
