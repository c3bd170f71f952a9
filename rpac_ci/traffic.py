"""
What a run moves from place to place, who reads it, and what that costs by the catalog. Pure.

Nothing is paid for bytes that come into AWS, and none between S3 and machines of one region. Bytes
that leave a region are paid by GB, by the bucket's owner unless readers pay. What NASA's archives
and servers behind https take is their own affair. Not in it: requests, storage, a NAT gateway. What
Azure takes for bytes that leave one of its regions is not known here.

Source: the data transfer section of https://aws.amazon.com/s3/pricing/ (as of 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rpac_ci.canonical import Json
from rpac_ci.catalog.machines import Catalog
from rpac_ci.experiment_model import FileRule
from rpac_ci.locators import (
    EarthdataLocator,
    FileLocator,
    HttpsLocator,
    Locator,
    PypiLocator,
    S3Locator,
    parse_locator,
)
from rpac_ci.pipeline import Pipeline
from rpac_ci.quantities import format_bytes

HERE, AWS = "here", "aws"
GB = 2**30  # as AWS bills
_OWNER, _YOU = "the bucket's owner", "you"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Bytes that go from one place to another, once or as often as there are nodes."""

    name: str  # `data.<name>` or `outputs`
    how: str
    source: str
    target: str
    size: int | None = None  # bytes each time; None: not known
    times: int = 1
    usd_per_gb: float | None = 0.0  # None: not known
    payer: str = ""

    @property
    def usd(self) -> float | None:
        """What it costs; None where the size or the price is not known."""
        if self.usd_per_gb == 0:
            return 0.0
        if self.size is None or self.usd_per_gb is None:
            return None
        return self.size / GB * self.times * self.usd_per_gb

    def to_json(self) -> dict[str, Json]:
        """As plain values."""
        return {
            "name": self.name, "how": self.how, "from": self.source, "to": self.target,
            "bytes": self.size, "times": self.times, "usd_per_gb": self.usd_per_gb,
            "usd": self.usd, "paid_by": self.payer,
        }  # fmt: skip

    def __str__(self) -> str:
        size = "size not known" if self.size is None else format_bytes(self.size)
        each = " each" if self.times > 1 and self.size is not None else ""
        said = f"{self.name}: {self.how}, {self.source} to {self.target}, {size}{each}"
        if self.usd_per_gb is None:
            return f"{said}; price not known, paid by {self.payer}"
        if not self.usd_per_gb:
            return said
        usd = f", about {self.usd:.2f} USD" if self.usd is not None else ""
        return f"{said}; {self.usd_per_gb:g} USD per GB{usd}, paid by {self.payer}"


def nodes_check(pipeline: Pipeline, name: str) -> bool:
    """
    Whether an input's bytes need not be read where a run is driven: nodes check all there is.

    Its hash is known, no checksum of its publisher is still to be compared, no output is compared
    with it, and it is no file of the driver's machine.
    """
    ref, rules = pipeline.data[name], pipeline.verify.values()
    checked = not ref.checksum or ref.pinned_by == "run"  # that run has checked it
    compared = any(isinstance(r, FileRule) and r.expect == f"data.{name}" for r in rules)
    beside = isinstance(parse_locator(ref.uri), FileLocator)
    return bool(ref.sha256) and checked and not compared and not beside


def nodes_read(locator: Locator, cloud: str) -> bool:
    """
    Whether nodes elsewhere read it where it is: it takes no credential of the driver's.

    Those of other clouds than AWS have no account there that could pay; nor may they read what is
    not public, which only a question to S3 tells.
    """
    if isinstance(locator, S3Locator):
        return cloud == AWS or not locator.requester_pays
    return isinstance(locator, HttpsLocator)


def transfers(
    pipeline: Pipeline, catalog: Catalog | None, sizes: Mapping[str, int]
) -> list[Transfer]:
    """
    What a run will move, in the order of its inputs, outputs last.

    Args:
        pipeline: of the run.
        catalog: of AWS, with the prices of traffic.
        sizes: of inputs, in bytes, as far as they are known.
    """
    moves = [
        move
        for name, ref in pipeline.data.items()
        for move in _of_input(pipeline, name, parse_locator(ref.uri), catalog, sizes.get(name))
    ]
    region = pipeline.target.region
    if region:
        price = _price(catalog, region, None)
        moves.append(
            Transfer(
                name="outputs", how="fetched when somebody asks", source=_there(pipeline),
                target=HERE, usd_per_gb=price, payer=_YOU,
            )
        )  # fmt: skip
    return moves


def _of_input(
    pipeline: Pipeline, name: str, locator: Locator, catalog: Catalog | None, size: int | None
) -> Iterator[Transfer]:
    region, nodes = pipeline.target.region, pipeline.resources.nodes
    source, named = _source(locator), f"data.{name}"
    if region and nodes_read(locator, pipeline.target.cloud):
        if not nodes_check(pipeline, name):
            yield _read(named, "read here first", locator, HERE, catalog, None, size, 1)
        how = f"read by each of {nodes} nodes" if nodes > 1 else "read by the node"
        to = region if pipeline.target.cloud == AWS else None  # other clouds are the internet
        if to is None and isinstance(locator, S3Locator):
            how += " if it is public, else by way of here"
        yield _read(named, how, locator, _there(pipeline), catalog, to, size, nodes)
    elif region and isinstance(locator, S3Locator):
        how, to = "read here and uploaded", _there(pipeline)
        yield _read(named, how, locator, to, catalog, None, size, 1)
    elif region:
        how = "uploaded" if source == HERE else "read here and uploaded"
        yield Transfer(name=named, how=how, source=source, target=_there(pipeline), size=size)
    elif source != HERE:
        yield _read(named, "read here", locator, HERE, catalog, None, size, 1)


def _read(
    name: str, how: str, locator: Locator, target: str, catalog: Catalog | None,
    to: str | None, size: int | None, times: int,
) -> Transfer:  # fmt: skip
    price: float | None = 0.0
    payer = ""
    if isinstance(locator, S3Locator) and (locator.region is None or locator.region != to):
        price = _price(catalog, locator.region, to)
        payer = _YOU if locator.requester_pays else _OWNER
    return Transfer(
        name=name, how=how, source=_source(locator), target=target, size=size, times=times,
        usd_per_gb=price, payer=payer,
    )  # fmt: skip


def _price(catalog: Catalog | None, source: str | None, to: str | None) -> float | None:
    known = catalog.traffic.get(source or "") if catalog else None
    return known.to(to) if known else None


def _source(locator: Locator) -> str:
    match locator:
        case FileLocator():
            return HERE
        case HttpsLocator(url):
            return urlsplit(url).hostname or "https"
        case S3Locator(region=region):
            return f"{AWS} {region}" if region else "s3, region not named"
        case EarthdataLocator(host=host):
            return host
        case PypiLocator():
            return "the package index"


def _there(pipeline: Pipeline) -> str:
    """Where a run's machines are."""
    return f"{pipeline.target.cloud} {pipeline.target.region}"
