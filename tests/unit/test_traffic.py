"""What a run moves from place to place, and what that costs."""

from __future__ import annotations

from typing import Any

import pytest

from rpac_ci import catalog
from rpac_ci.commands import parse_overrides
from rpac_ci.pipeline import compile_pipeline
from rpac_ci.traffic import GB, Transfer, transfers
from tests.unit.builders import definition

HASH = "0" * 64
ARCHIVE = "archive.podaac.earthdata.nasa.gov"


def moves(
    uri: str, *words: str, size: int | None = None, rules: Any = None, **data: str
) -> list[Transfer]:
    """Of a run on AWS, in us-east-1, with one input."""
    asked = definition(
        engine="dask", environment={"lock": "requirements.lock"}, data={"x": {"uri": uri, **data}},
        verify=rules or {}, outputs=["metrics.json", *(rules or {})],
    )  # fmt: skip
    cloud = any(word.startswith("cloud=") for word in words)
    pipeline = compile_pipeline(
        asked,
        overrides=parse_overrides([*words] if cloud else ["cloud=aws", *words]),
    )
    sizes = {"x": size} if size is not None else {}
    return transfers(pipeline, catalog.load("aws"), sizes)


def told(*args: Any, **keys: Any) -> list[str]:
    return [str(move) for move in moves(*args, **keys)]


OUTPUTS = (
    "outputs: fetched when somebody asks, aws us-east-1 to here, size not known; "
    "0.09 USD per GB, paid by you"
)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:x.nc", "uploaded, here to aws us-east-1, size not known"),
        (
            "pypi:tiny-1.0-py3-none-any.whl!/x",
            "read here and uploaded, the package index to aws us-east-1, size not known",
        ),
        (
            f"earthdata://{ARCHIVE}/bucket/x.nc",
            f"read here and uploaded, {ARCHIVE} to aws us-east-1, size not known",
        ),
        ("https://a.org/x.nc", "read by each of 2 nodes, a.org to aws us-east-1, size not known"),
        (
            "s3://bucket/x.nc?region=us-east-1",
            "read by each of 2 nodes, aws us-east-1 to aws us-east-1, size not known",
        ),
        (
            "s3://bucket/x.nc?region=us-west-2",
            "read by each of 2 nodes, aws us-west-2 to aws us-east-1, size not known; "
            "0.02 USD per GB, paid by the bucket's owner",
        ),
        (
            "s3://bucket/x.nc?region=us-east-2&requester_pays=true",
            "read by each of 2 nodes, aws us-east-2 to aws us-east-1, size not known; "
            "0.01 USD per GB, paid by you",
        ),
        (
            "s3://bucket/x.nc",
            "read by each of 2 nodes, s3, region not named to aws us-east-1, size not known; "
            "price not known, paid by the bucket's owner",
        ),
        (
            "s3://bucket/x.nc?region=xx-north-9",
            "read by each of 2 nodes, aws xx-north-9 to aws us-east-1, size not known; "
            "price not known, paid by the bucket's owner",
        ),
    ],
)
def test_each_kind_of_source_is_told_with_who_reads_it_and_who_pays(uri: str, said: str) -> None:
    assert told(uri, "nodes=2", sha256=HASH) == [f"data.x: {said}", OUTPUTS]


def test_every_node_reads_for_itself() -> None:
    uri = "s3://bucket/x.nc?region=us-west-2"
    [read, _] = moves(uri, "nodes=4", sha256=HASH, size=10 * GB)
    assert read.usd == pytest.approx(4 * 10 * 0.02)
    assert str(read).endswith("10.0 GiB each; 0.02 USD per GB, about 0.80 USD, paid by the "
                              "bucket's owner")  # fmt: skip
    assert read.to_json() == {
        "name": "data.x", "how": "read by each of 4 nodes", "from": "aws us-west-2",
        "to": "aws us-east-1", "bytes": 10 * GB, "times": 4, "usd_per_gb": 0.02,
        "usd": pytest.approx(0.8), "paid_by": "the bucket's owner",
    }  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"sha256": HASH, "checksum": f"md5:{'0' * 32}"},
        {"sha256": HASH, "rules": {"map.nc": {"compare": "content", "expect": "data.x"}}},
    ],
    ids=["no hash", "a publisher's checksum", "compared with"],
)
def test_what_must_come_here_too_is_told_twice(more: dict[str, Any]) -> None:
    first, then, _ = told("s3://bucket/x.nc?region=us-east-1", **more)
    assert first == (
        "data.x: read here first, aws us-east-1 to here, size not known; "
        "0.09 USD per GB, paid by the bucket's owner"
    )
    assert then == "data.x: read by the node, aws us-east-1 to aws us-east-1, size not known"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:x.nc", []),
        ("https://a.org/x.nc", ["data.x: read here, a.org to here, 3.0 KiB"]),
        (
            "s3://bucket/x.nc?region=us-west-2",
            [
                "data.x: read here, aws us-west-2 to here, 3.0 KiB; 0.09 USD per GB, "
                "about 0.00 USD, paid by the bucket's owner"
            ],
        ),
    ],
)
def test_a_run_here_reads_here_and_brings_nothing_back(uri: str, said: list[str]) -> None:
    assert told(uri, "cloud=local", size=3072) == said


def test_on_azure_buckets_of_aws_are_far_away_and_what_leaves_it_has_no_known_price() -> None:
    assert told("s3://bucket/x.nc?region=us-east-1", "cloud=azure", "nodes=2", sha256=HASH) == [
        "data.x: read by each of 2 nodes if it is public, else by way of here, aws us-east-1 to "
        "azure eastus, size not known; 0.09 USD per GB, paid by the bucket's owner",
        "outputs: fetched when somebody asks, azure eastus to here, size not known; "
        "price not known, paid by you",
    ]


def test_nodes_on_azure_have_no_account_of_aws_that_could_pay() -> None:
    uri = "s3://bucket/x.nc?region=us-east-1&requester_pays=true"
    assert told(uri, "cloud=azure", "nodes=2", sha256=HASH)[0] == (
        "data.x: read here and uploaded, aws us-east-1 to azure eastus, size not known; "
        "0.09 USD per GB, paid by you"
    )


def test_without_a_catalog_no_price_is_made_up() -> None:
    pipeline = compile_pipeline(
        definition(data={"x": {"uri": "s3://bucket/x?region=us-west-2"}}),
    )
    [move] = transfers(pipeline, None, {})
    assert (move.usd_per_gb, move.usd) == (None, None)
