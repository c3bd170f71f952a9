"""Data in buckets: public without an account, private with one, NASA's with a token."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from rpac_ci import objects
from rpac_ci.downloads import RefusedError
from rpac_ci.errors import SourceError
from rpac_ci.jobs import content_key
from rpac_ci.locators import HttpsLocator, S3Locator, parse_locator
from rpac_ci.sources import ContentCache, fetch, look
from rpac_ci.workspace import Workspace
from tests.standins import aws, earthdata, web
from tests.unit.test_staging import Desk

DATA = b"granule" * 40_000
DATA_HASH = hashlib.sha256(DATA).hexdigest()
SECRET = "s3cret-of-the-lab"


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No account of AWS."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def gate() -> Iterator[aws.Gate]:
    """S3 with a public, a private and an oddly named object."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    gate = aws.Gate("127.0.0.1", server.get_host_and_port()[1])
    thread = threading.Thread(target=gate.serve_forever, args=(0.05,))
    thread.start()
    try:
        _fill(f"http://127.0.0.1:{gate.server_port}")
        yield gate
    finally:
        gate.shutdown()
        gate.server_close()
        thread.join()
        server.stop()


def _fill(endpoint: str) -> None:
    import boto3

    make: Any = boto3.client
    client = make(
        "s3", region_name="us-west-2", endpoint_url=endpoint, aws_access_key_id="owner",
        aws_secret_access_key="owner",
    )  # fmt: skip
    for bucket in ("lab-data", earthdata.BUCKET):
        client.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        client.put_object(Bucket=bucket, Key="private.nc", Body=DATA)
    client.put_object(Bucket="lab-data", Key="a/ö 1?#%.nc", Body=DATA, ACL="public-read")
    client.put_object(Bucket="lab-data", Key="empty", Body=b"", ACL="public-read")


@pytest.fixture
def s3(gate: aws.Gate, monkeypatch: pytest.MonkeyPatch) -> aws.Gate:
    """The server, that the SDK's variables lead to."""
    endpoint = f"http://127.0.0.1:{gate.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    gate.calls.clear()
    gate.faults.clear()
    objects._region_of.cache_clear()
    return gate


@pytest.fixture
def signed_in(nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account of AWS."""
    del nobody  # before this
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALAB")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def told(caught: pytest.ExceptionInfo[SourceError]) -> str:
    """All that the error shows, with what it was raised from."""
    error: BaseException | None = caught.value
    texts = [caught.value.hint]
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ if isinstance(error.__cause__, SourceError) else None
    return " ".join(texts)


PUBLIC = "s3://lab-data/a/%C3%B6 1%3F%23%25.nc"
PRIVATE = "s3://lab-data/private.nc"


# --- S3 -----------------------------------------------------------------------------------------


def test_a_public_object_needs_no_account(s3: aws.Gate, cache: ContentCache) -> None:
    seen: list[tuple[int, int | None]] = []
    content = fetch(
        PUBLIC, folder=None, cache=cache, sha256=DATA_HASH,
        report=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert content.path.read_bytes() == DATA
    assert len(seen) > 1, "it comes in chunks"
    assert seen[-1] == (len(DATA), len(DATA))
    assert [call.action for call in s3.calls] == ["HEAD", "GET"], "the region, then the object"


def test_a_region_that_is_named_is_not_asked_for(s3: aws.Gate, cache: ContentCache) -> None:
    fetch(f"{PUBLIC}?region=us-west-2", folder=None, cache=cache)
    assert [call.action for call in s3.calls] == ["GET"]


def test_an_empty_object_is_content_like_any_other(s3: aws.Gate, cache: ContentCache) -> None:
    assert fetch("s3://lab-data/empty", folder=None, cache=cache).size == 0


@pytest.mark.usefixtures("signed_in")
def test_credentials_are_used_where_nothing_else_will_do(s3: aws.Gate, cache: ContentCache) -> None:
    assert fetch(PRIVATE, folder=None, cache=cache).sha256 == DATA_HASH
    assert [call.action for call in s3.calls] == ["HEAD", "GET", "GET"]


def test_a_private_object_without_an_account(s3: aws.Gate, cache: ContentCache) -> None:
    with pytest.raises(RefusedError, match=r"private\.nc may not be read") as caught:
        fetch(PRIVATE, folder=None, cache=cache)
    assert "there are no credentials of AWS" in caught.value.hint
    assert not caught.value.transient


@pytest.mark.usefixtures("signed_in")
def test_an_account_without_the_right(s3: aws.Gate, cache: ContentCache) -> None:
    s3.faults.append(aws.Fault("GET", status=403, code="AccessDenied", times=2))
    with pytest.raises(RefusedError, match="may not be read \\(AccessDenied\\)") as caught:
        fetch(PRIVATE, folder=None, cache=cache)
    assert "have no right to it" in caught.value.hint
    assert "requester_pays=true" in caught.value.hint


@pytest.mark.usefixtures("signed_in")
def test_credentials_that_have_run_out(s3: aws.Gate, cache: ContentCache) -> None:
    s3.faults.append(aws.Fault("GET", status=400, code="ExpiredToken", skip=1))
    with pytest.raises(SourceError, match="ExpiredToken") as caught:
        fetch(PRIVATE, folder=None, cache=cache)
    assert "sign in again" in caught.value.hint
    assert SECRET not in told(caught)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://lab-data/missing.nc?region=us-west-2", r"missing\.nc is not there \(NoSuchKey\)"),
        ("s3://no-such-bucket/x?region=us-west-2", r"is not there \(NoSuchBucket\)"),
        ("s3://no-such-bucket/x", "there is no bucket s3://no-such-bucket"),
    ],
)
@pytest.mark.usefixtures("signed_in", "s3")
def test_what_is_not_there(cache: ContentCache, uri: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        fetch(uri, folder=None, cache=cache)
    assert not caught.value.transient


@pytest.mark.usefixtures("s3")
def test_an_object_with_another_hash(cache: ContentCache) -> None:
    with pytest.raises(SourceError, match=f"has sha256 {DATA_HASH}, expected {'0' * 64}"):
        fetch(PUBLIC, folder=None, cache=cache, sha256="0" * 64)
    assert not list(cache.root.rglob(".incoming*"))


def test_a_server_that_is_busy_is_asked_again(s3: aws.Gate, cache: ContentCache) -> None:
    s3.faults.append(aws.Fault("GET", status=503, code="SlowDown", times=2))
    assert fetch(PUBLIC, folder=None, cache=cache).sha256 == DATA_HASH


def test_a_server_that_stays_busy_may_be_better_later(
    s3: aws.Gate, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "RETRIES", 1)
    s3.faults.append(aws.Fault("GET", status=503, code="SlowDown", times=9))
    with pytest.raises(SourceError, match="SlowDown") as caught:
        fetch(PUBLIC, folder=None, cache=cache)
    assert caught.value.transient


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[web.Server]:
    """A server that speaks S3 as far as a page of it does."""
    with web.serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(objects, "RETRIES", 2)
        yield server


HEADERS = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}


def test_a_connection_that_breaks_is_taken_up_again(bare: web.Server, cache: ContentCache) -> None:
    ranges: list[str | None] = []

    def page(request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        ranges.append(asked)
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        request.send_response(206 if asked else 200)
        for name, value in HEADERS.items():
            request.send_header(name, value)
        if asked:
            last = len(DATA) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{len(DATA)}")
        request.send_header("Content-Length", str(len(DATA) - start))
        request.end_headers()
        request.wfile.write(DATA[start:] if asked else DATA[:100_000])

    bare.pages["/bucket/x"] = page
    uri = "s3://bucket/x?region=us-east-1"
    assert fetch(uri, folder=None, cache=cache, sha256=DATA_HASH).size == len(DATA)
    assert ranges[0] is None
    assert len(ranges) == 2, "the rest only"


def test_a_server_that_stalls(
    bare: web.Server, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpac_ci.downloads.READ_TIMEOUT_S", 0.1)
    monkeypatch.setattr(objects, "RETRIES", 0)
    bare.pages["/bucket/x"] = web.silent(bare)
    with pytest.raises(SourceError, match="cannot be read") as caught:
        fetch("s3://bucket/x?region=us-east-1", folder=None, cache=cache)
    assert caught.value.transient


@pytest.mark.usefixtures("signed_in")
def test_who_reads_at_his_own_cost_says_so(bare: web.Server, cache: ContentCache) -> None:
    payers: list[str | None] = []

    def page(request: BaseHTTPRequestHandler) -> None:
        payers.append(request.headers.get("x-amz-request-payer"))
        web.content(DATA, HEADERS)(request)

    bare.pages["/bucket/x"] = page
    fetch("s3://bucket/x?region=us-east-1", folder=None, cache=cache)
    fetch("s3://bucket/x?region=us-east-1", folder=None, cache=ContentCache(cache.root / "2"))
    fetch(
        "s3://bucket/x?region=us-east-1&requester_pays=true", folder=None,
        cache=ContentCache(cache.root / "3"),
    )  # fmt: skip
    assert payers == [None, None, "requester"]


@pytest.mark.usefixtures("s3")
def test_nobody_can_pay_without_an_account(cache: ContentCache) -> None:
    with pytest.raises(RefusedError, match="at the reader's cost"):
        fetch(f"{PUBLIC}?requester_pays=true", folder=None, cache=cache)


# --- a look -------------------------------------------------------------------------------------


def seen(uri: str) -> int | None:
    locator = parse_locator(uri)
    assert isinstance(locator, (S3Locator, HttpsLocator))
    return look(locator)


def test_a_look_tells_the_size_or_that_it_cannot_be_had(s3: aws.Gate) -> None:
    assert seen(PUBLIC) == len(DATA)
    with pytest.raises(RefusedError):
        seen(PRIVATE)
    with pytest.raises(SourceError, match="is not there"):
        seen("s3://lab-data/missing.nc")


@pytest.mark.parametrize(
    ("uri", "cloud", "by_the_store"),
    [
        (PUBLIC, "aws", False),
        (PUBLIC, "azure", False),
        (PRIVATE, "aws", False),
        (PRIVATE, "azure", True),
        (f"{PUBLIC}?requester_pays=true", "aws", False),
        (f"{PUBLIC}?requester_pays=true", "azure", True),
    ],
)
@pytest.mark.parametrize("pinned", [True, False])
def test_nodes_of_other_clouds_get_what_is_not_public_by_way_of_the_store(
    signed_in: None, s3: aws.Gate, workspace: Workspace, tmp_path: Path, uri: str, cloud: str,
    by_the_store: bool, pinned: bool,
) -> None:  # fmt: skip
    """They have no account of AWS; whoever drives the run may have one."""
    desk = Desk(replace(workspace, cache=tmp_path / "cache"))
    data: dict[str, Any] = {"sha256": DATA_HASH} if pinned else {}
    found = desk.stage(uri=uri, cloud=cloud, **data)
    assert found == {"sha256": DATA_HASH, "size": len(DATA)}
    stored = workspace.storage.head(content_key(DATA_HASH)) is not None
    assert stored is by_the_store


def test_what_nobody_may_read_is_told_before_there_are_machines(
    nobody: None, s3: aws.Gate, workspace: Workspace, tmp_path: Path
) -> None:
    desk = Desk(replace(workspace, cache=tmp_path / "cache"))
    with pytest.raises(SourceError) as caught:
        desk.stage(uri=PRIVATE, cloud="azure", sha256=DATA_HASH)
    assert "it is not public, and there are no credentials of AWS" in told(caught)


# --- Earthdata ----------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[earthdata.Archive]:
    """An archive whose token is in the environment."""
    for name in ("EARTHDATA_USERNAME", "EARTHDATA_PASSWORD", "EARTHDATA_HOST", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("EARTHDATA_TOKEN", earthdata.TOKEN)
    with earthdata.serve(tmp_path) as (archive, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield archive


def bearers(archive: earthdata.Archive) -> set[str]:
    """Who has been shown the token."""
    return {host for host, said in archive.bearers if earthdata.TOKEN in said}


def test_elsewhere_an_archive_gives_files_by_https(
    archive: earthdata.Archive, cache: ContentCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    uri = archive.serve("MUR/a%20b.nc", DATA)
    assert fetch(uri, folder=None, cache=cache, sha256=DATA_HASH).size == len(DATA)
    assert bearers(archive) == {earthdata.ARCHIVE}, "and not where the redirect leads"
    assert earthdata.TOKEN not in caplog.text


def test_near_the_data_it_is_read_from_s3_with_keys_of_an_hour(
    archive: earthdata.Archive, s3: aws.Gate, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    signed: list[str] = []
    pass_on = s3._pass_on

    def look_at(request: BaseHTTPRequestHandler, body: bytes) -> Any:
        signed.append(
            f"{request.headers['authorization']} {request.headers['x-amz-security-token']}"
        )
        return pass_on(request, body)

    monkeypatch.setattr(s3, "_pass_on", look_at)
    uri = f"earthdata://{earthdata.ARCHIVE}/{earthdata.BUCKET}/private.nc"
    assert fetch(uri, folder=None, cache=cache).sha256 == DATA_HASH
    [one] = signed
    assert f"Credential={earthdata.KEYS['accessKeyId']}/" in one
    assert "/us-west-2/s3/" in one
    assert one.endswith(earthdata.KEYS["sessionToken"])
    assert archive.server.asked[f"/{earthdata.BUCKET}/private.nc"] == 0


def test_a_machine_that_is_not_where_the_variable_says(
    archive: earthdata.Archive, s3: aws.Gate, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    s3.faults.append(aws.Fault("GET", status=403, code="AccessDenied"))
    assert fetch(archive.serve("x.nc", DATA), folder=None, cache=cache).sha256 == DATA_HASH


@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
@pytest.mark.usefixtures("s3")
def test_a_token_that_is_no_good(
    archive: earthdata.Archive, cache: ContentCache, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("EARTHDATA_TOKEN", "expired-t0ken")
    with pytest.raises(RefusedError) as caught:
        fetch(archive.serve("x.nc", DATA), folder=None, cache=cache)
    assert "EARTHDATA_TOKEN" in caught.value.hint
    assert "expired-t0ken" not in told(caught)
    assert not list(cache.root.rglob(".incoming*")), "a page to sign in is no data"


def test_nobody_is_signed_in(
    archive: earthdata.Archive, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EARTHDATA_TOKEN")
    with pytest.raises(RefusedError, match="needs to be signed in") as caught:
        fetch(archive.serve("x.nc", DATA), folder=None, cache=cache)
    assert "netrc" in caught.value.hint
    assert not archive.server.asked


@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
@pytest.mark.usefixtures("s3")
def test_a_password_in_a_netrc_will_do(
    archive: earthdata.Archive, cache: ContentCache, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, region: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("EARTHDATA_TOKEN")
    monkeypatch.setenv("AWS_REGION", region)
    archive.password = "pa55word"
    (tmp_path / "netrc").write_text(f"machine {earthdata.LOGIN} login lab password pa55word\n")
    (tmp_path / "netrc").chmod(0o600)
    archive.serve("private.nc", DATA)
    uri = f"earthdata://{earthdata.ARCHIVE}/{earthdata.BUCKET}/private.nc"
    assert fetch(uri, folder=None, cache=cache).sha256 == DATA_HASH
    assert (archive.server.asked["/s3credentials"] > 0) == (region == "us-west-2")


@pytest.mark.parametrize("given", [None, {"accessKeyId": "only"}])
def test_an_archive_that_gives_no_credentials(
    archive: earthdata.Archive, cache: ContentCache, monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str] | None,
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    patient = SimpleNamespace(time=time.time, mktime=time.mktime, sleep=lambda _: None)
    monkeypatch.setattr("urllib3.util.retry.time", patient)
    archive.credentials = given
    with pytest.raises(SourceError, match=f"{earthdata.ARCHIVE} gives") as caught:
        fetch(archive.serve("x.nc", DATA), folder=None, cache=cache)
    assert caught.value.transient == (given is None)
    assert earthdata.TOKEN not in told(caught)
