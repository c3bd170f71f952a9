"""Inputs before a run: what comes here first, and what nodes elsewhere read themselves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from rpac_ci.commands import parse_overrides
from rpac_ci.errors import SourceError
from rpac_ci.jobs import content_key
from rpac_ci.pipeline import compile_pipeline, pin
from rpac_ci.staging import Staging, _Kept
from rpac_ci.workspace import Workspace
from tests.standins import web
from tests.unit.builders import created, definition

DATA = b"scene" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
IMAGE = f"ghcr.io/lab/image@sha256:{'0' * 64}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[web.Server]:
    authority = trustme.CA()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(web.bundle(authority, tmp_path / "ca.pem")))
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    with web.serve(authority) as server:
        server.pages["/scene.nc"] = web.content(DATA)
        yield server


class Desk:
    """Stages one input named `scene`."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.notes: list[str] = []

    def stage(
        self,
        *,
        elsewhere: bool = True,
        pinned: str | None = None,
        rules: Any = None,
        cloud: str = "local",
        **data: str,
    ) -> dict[str, Any]:
        """What is staged of it: hash and size."""
        asked = definition(
            data={"scene": data}, environment={"image": IMAGE}, verify=rules or {},
            outputs=["metrics.json", *(rules or {})],
        )  # fmt: skip
        asked = pin(asked, {"scene": pinned}) if pinned else asked
        pipeline = compile_pipeline(asked, overrides=parse_overrides([f"cloud={cloud}"]))
        staging = Staging(
            self.workspace, pipeline, created(pipeline, folder="."),
            lambda kind, text: self.notes.append(text) if kind == "note" else None,
            clock="control/run/clock", images="ghcr.io/lab/rpac" if elsewhere else None,
        )  # fmt: skip
        if elsewhere:
            staged = staging.all()
        else:  # without an image, which this machine has not
            kept = _Kept(self.workspace.storage, "control/run/clock")
            staged = {"data": {"scene": staging._fetch("scene", threading.Event(), kept)[0]}}
        found: dict[str, Any] = staged["data"]["scene"]
        return found

    @property
    def is_here(self) -> bool:
        """Whether the bytes have been read on this machine."""
        return (self.workspace.cache / "content" / "sha256" / SHA256).exists()

    def store(self) -> None:
        """As if an earlier run had put the bytes into the runs' store."""
        self.workspace.storage.put(content_key(SHA256), DATA)

    @property
    def is_stored(self) -> bool:
        """Whether the bytes are in the runs' store."""
        return self.workspace.storage.head(content_key(SHA256)) is not None


@pytest.fixture
def desk(workspace: Workspace, tmp_path: Path) -> Desk:
    return Desk(replace(workspace, cache=tmp_path / "cache"))


@pytest.mark.parametrize("elsewhere", [True, False])
def test_pinned_data_goes_to_nodes_elsewhere_without_a_stop_here(
    desk: Desk, server: web.Server, elsewhere: bool
) -> None:
    uri = server.url("/scene.nc")
    found = desk.stage(uri=uri, sha256=SHA256, elsewhere=elsewhere)
    assert found == {"sha256": SHA256, "size": len(DATA)}
    assert desk.is_here != elsewhere
    assert not desk.is_stored, "nodes read it where it is"
    assert server.asked["/scene.nc"] == 1, "a look, or the whole"
    said = "to be read by the nodes" if elsewhere else "verified"
    assert desk.notes == [f"data scene: 4.9 KiB, {said}"]


def test_what_nobody_has_pinned_is_read_here_for_its_hash(desk: Desk, server: web.Server) -> None:
    assert desk.stage(uri=server.url("/scene.nc"))["sha256"] == SHA256
    assert desk.is_here


def test_what_a_past_run_has_pinned_is_pinned(desk: Desk, server: web.Server) -> None:
    found = desk.stage(uri=server.url("/scene.nc"), checksum=f"md5:{MD5}", pinned=SHA256)
    assert found["size"] == len(DATA)
    assert not desk.is_here, "that run has checked what the publisher says"


def test_what_a_publisher_says_is_checked_here(desk: Desk, server: web.Server) -> None:
    uri = server.url("/scene.nc")
    assert desk.stage(uri=uri, sha256=SHA256, checksum=f"md5:{MD5}")
    assert desk.is_here
    with pytest.raises(SourceError, match="has md5"):
        desk.stage(uri=uri, sha256=SHA256, checksum=f"md5:{'0' * 32}")


def test_what_outputs_are_compared_with_is_read_here(desk: Desk, server: web.Server) -> None:
    rule = {"compare": "content", "expect": "data.scene"}
    desk.stage(uri=server.url("/scene.nc"), sha256=SHA256, rules={"map.nc": rule})
    assert desk.is_here


def test_what_is_gone_is_known_before_there_are_machines(desk: Desk, server: web.Server) -> None:
    with pytest.raises(SourceError, match="answered 404"):
        desk.stage(uri=server.url("/gone.nc"), sha256=SHA256)


def test_what_only_nodes_may_read_is_left_to_them(desk: Desk, server: web.Server) -> None:
    server.pages["/private.nc"] = web.status(403)
    found = desk.stage(uri=server.url("/private.nc"), sha256=SHA256)
    assert found == {"sha256": SHA256, "size": None}
    assert desk.notes == ["data scene: to be read by the nodes"]


def test_a_server_need_not_say_how_long_its_answer_is(desk: Desk, server: web.Server) -> None:
    server.pages["/x"] = web.chunked(DATA, complete=True)
    assert desk.stage(uri=server.url("/x"), sha256=SHA256)["size"] is None


@pytest.mark.parametrize(
    "uri",
    [
        "https://localhost:1/x",
        "earthdata://archive.podaac.earthdata.nasa.gov/bucket/x.nc",
        "pypi:tinydata-1.0-py3-none-any.whl!/x",
    ],
)
def test_what_the_store_has_is_asked_for_nowhere_else(desk: Desk, uri: str) -> None:
    desk.store()
    assert desk.stage(uri=uri, sha256=SHA256) == {"sha256": SHA256, "size": len(DATA)}
    assert desk.notes == ["data scene: 4.9 KiB, in the store already"]


def test_a_file_beside_the_experiment_is_looked_at_and_stored(desk: Desk) -> None:
    (desk.workspace.root / "scene.nc").write_bytes(DATA)
    assert desk.stage(uri="file:scene.nc", sha256=SHA256)["size"] == len(DATA)
    assert desk.is_stored
    (desk.workspace.root / "scene.nc").write_bytes(b"changed")
    with pytest.raises(SourceError, match="expected"):
        desk.stage(uri="file:scene.nc", sha256=SHA256)
