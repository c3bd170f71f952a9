"""Data locators: what comes is verified, what is odd is refused, what is here is not read again."""

from __future__ import annotations

import gzip
import hashlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from rpac_ci import downloads, locators
from rpac_ci.errors import CommandError, SourceError
from rpac_ci.locators import (
    EarthdataLocator,
    FileLocator,
    HttpsLocator,
    PypiLocator,
    S3Locator,
    file_name,
    parse_locator,
)
from rpac_ci.sources import Content, ContentCache, fetch
from tests.standins import web
from tests.standins.wheels import make_wheel, only_index, sha256_of

DATA = b"scene" * 1000
DATA_HASH = hashlib.sha256(DATA).hexdigest()
OTHER_HASH = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The experiment's folder."""
    path = tmp_path / "experiment"
    path.mkdir()
    (path / "scene.nc").write_bytes(DATA)
    return path


def left_behind(cache: ContentCache) -> list[Path]:
    """Half-written files."""
    return list(cache.root.rglob(".incoming*"))


# --- locators -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "locator", "name"),
    [
        ("file:scene.nc", FileLocator("scene.nc"), "scene.nc"),
        ("file:in%20put/sc%C3%A8ne.nc", FileLocator("in put/scène.nc"), "scène.nc"),
        ("file:///data/scene.nc", FileLocator("/data/scene.nc"), "scene.nc"),
        ("https://a.org/x/scene.nc?v=2", HttpsLocator("https://a.org/x/scene.nc?v=2"), "scene.nc"),
        ("https://a.org/", HttpsLocator("https://a.org/"), "data"),
        (
            "https://a.org/x?author=a&design=2",
            HttpsLocator("https://a.org/x?author=a&design=2"),
            "x",
        ),
        ("https://a.org/..%2F..", HttpsLocator("https://a.org/..%2F.."), "data"),
        ("s3://a-b.c/x/scene.nc", S3Locator("a-b.c", "x/scene.nc"), "scene.nc"),
        ("s3://abc/sc%C3%A8ne%3F.nc", S3Locator("abc", "scène?.nc"), "scène?.nc"),
        ("s3://abc/scène 1.nc?", S3Locator("abc", "scène 1.nc"), "scène 1.nc"),
        (
            "s3://abc/x?region=us-west-2&requester_pays=true",
            S3Locator("abc", "x", "us-west-2", requester_pays=True),
            "x",
        ),
        (
            "earthdata://data.lpdaac.earthdatacloud.nasa.gov/lp-prod/HLS/a%20b.tif",
            EarthdataLocator("data.lpdaac.earthdatacloud.nasa.gov", "lp-prod", "HLS/a b.tif"),
            "a b.tif",
        ),
        (
            "pypi:My_Data-1.0-py3-none-any.whl!/my_data/x.csv",
            PypiLocator("My_Data-1.0-py3-none-any.whl", "my-data", "1.0", "my_data/x.csv"),
            "x.csv",
        ),
    ],
)
def test_locators_are_read(uri: str, locator: locators.Locator, name: str) -> None:
    assert parse_locator(uri) == locator
    assert file_name(locator) == name


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "scene.nc",
        "file:",
        "file:../secret",
        "file:a/%2e%2e/b",
        "file:a%00b",
        "http://a.org/x",
        "https:///x",
        "https://user:password@a.org/x",
        "https://a.org/x?sig=abc",
        "https://a.org/x?X-Amz-Credential=a&X-Amz-Signature=b",
        "https://a.org/x?access_token=abc",
        "https://a.org/x?apikey=",
        "ftp://a.org/x",
        "s3:bucket/x",
        "s3://bucket",
        "s3://bucket/",
        "s3:///x",
        "s3://Bucket/x",
        "s3://b/x",
        "s3://a..b/x",
        "s3://127.0.0.1/x",
        "s3://bucket:9000/x",
        "s3://bücket/x",
        "s3://bucket/../x",
        "s3://bucket/a/%2e%2e/x",
        "s3://bucket/a%2f..%2fx",
        "s3://bucket//x",
        "s3://bucket/x/",
        "s3://bucket/a%00b",
        "s3://bucket/a%0Ab",
        "s3://bucket/a\u202eb",
        "s3://bucket/%ff",
        "s3://bucket/x#y",
        "s3://bucket/" + 1025 * "x",
        "s3://bucket/x?region=us-west-2.evil.org/",
        "s3://bucket/x?region=us-west-2&region=us-east-1",
        "s3://bucket/x?requester_pays",
        "s3://bucket/x?endpoint=http://evil.org",
        "earthdata://evil.org/bucket/x",
        "earthdata://earthdata.nasa.gov.evil.org/bucket/x",
        "earthdata://evil-earthdata.nasa.gov/bucket/x",
        "earthdata://a.earthdata.nasa.gov:8443/bucket/x",
        "earthdata://a.earthdata.nasa.gov@evil.org/bucket/x",
        "earthdata://a.earthdata.nasa.gov/bucket",
        "earthdata://a.earthdata.nasa.gov/bucket/../x",
        "earthdata://a.earthdata.nasa.gov/bucket/x?region=us-west-2",
        "pypi:tinydata-1.0-py3-none-any.whl",
        "pypi:tinydata-1.0-py3-none-any.whl!/",
        "pypi:tinydata-1.0-py3-none-any.whl!/../../etc/passwd",
        "pypi:tinydata-1.0-py3-none-any.whl!//etc/passwd",
        "pypi:../tinydata-1.0-py3-none-any.whl!/x",
        "pypi:tinydata-1.0.tar.gz!/x",
    ],
)
def test_odd_locators_are_refused_with_the_right_form(uri: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_locator(uri)
    assert caught.value.hint


@pytest.mark.parametrize(
    "uri",
    [
        "https://user:pa55word@a.org/x",
        "https://a.org/x?token=pa55word",
        "s3://user:pa55word@bucket/x",
        "s3:user:pa55word@bucket/x",
        "s3://bucket/x?X-Amz-Credential=a&X-Amz-Signature=pa55word",
        "s3://bucket/x?aws_secret_access_key=pa55word",
        "earthdata://user:pa55word@a.earthdata.nasa.gov/bucket/x",
        "earthdata://a.earthdata.nasa.gov/bucket/x?token=pa55word",
        "other://user:pa55word@bucket/x",
    ],
)
def test_what_looks_like_a_credential_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_locator(uri)
    assert "pa55word" not in f"{caught.value} {caught.value.hint}"


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["file:scene.nc", "file:./scene.nc", "file://{folder}/scene.nc"])
def test_a_file_is_kept_under_its_hash(folder: Path, cache: ContentCache, uri: str) -> None:
    content = fetch(uri.format(folder=folder), folder=folder, cache=cache, sha256=DATA_HASH)
    assert content == Content(sha256=DATA_HASH, size=len(DATA), path=cache.path_of(DATA_HASH))
    assert content.path.read_bytes() == DATA
    assert content.path.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.nc", "No such file"),
        ("sub", "Is a directory"),
        ("scene.nc/x", "Not a directory"),
        ("out.nc", "leads out of the experiment's folder"),
        ("away/secret", "leads out of the experiment's folder"),
    ],
)
def test_what_is_no_file_of_the_experiment_is_refused(
    tmp_path: Path, folder: Path, cache: ContentCache, name: str, reason: str
) -> None:
    (tmp_path / "secret").write_text("s")
    (folder / "sub").mkdir()
    (folder / "out.nc").symlink_to(tmp_path / "secret")
    (folder / "away").symlink_to(tmp_path)
    with pytest.raises(SourceError, match=reason) as caught:
        fetch(f"file:{name}", folder=folder, cache=cache)
    assert not caught.value.transient
    assert left_behind(cache) == []


def test_a_file_that_is_not_what_was_declared(folder: Path, cache: ContentCache) -> None:
    with pytest.raises(SourceError, match=f"has sha256 {DATA_HASH}, expected {OTHER_HASH}"):
        fetch("file:scene.nc", folder=folder, cache=cache, sha256=OTHER_HASH)
    assert cache.find(DATA_HASH) is None
    assert left_behind(cache) == []


def test_without_its_folder_a_file_comes_from_the_cache_or_not_at_all(
    folder: Path, cache: ContentCache
) -> None:
    with pytest.raises(SourceError, match="is not here any more"):
        fetch("file:scene.nc", folder=None, cache=cache, sha256=DATA_HASH)
    first = fetch("file:scene.nc", folder=folder, cache=cache)
    assert fetch("file:scene.nc", folder=None, cache=cache, sha256=DATA_HASH) == first


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(
    folder: Path, cache: ContentCache
) -> None:
    read: list[int] = []

    def ask() -> Content:
        read.clear()
        return fetch(
            "file:scene.nc", folder=folder, cache=cache,
            report=lambda done, _: read.append(done),
        )  # fmt: skip

    first = ask()
    assert read == [len(DATA)]
    assert ask() == first
    assert read == []

    changed = DATA[:-1] + b"!"
    (folder / "scene.nc").write_bytes(changed)  # as long as before
    os.utime(folder / "scene.nc", ns=(1, 1))
    assert ask().sha256 == hashlib.sha256(changed).hexdigest()
    assert read == [len(DATA)]


def test_a_noted_file_is_still_checked_against_its_declared_hash(
    folder: Path, cache: ContentCache
) -> None:
    fetch("file:scene.nc", folder=folder, cache=cache)
    with pytest.raises(SourceError, match="expected"):
        fetch("file:scene.nc", folder=folder, cache=cache, sha256=OTHER_HASH)


# --- the cache ----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"damaged", b"", DATA[:-1] + b"!"])
def test_content_that_was_touched_is_noticed_and_fetched_again(
    folder: Path, cache: ContentCache, damage: bytes
) -> None:
    content = fetch("file:scene.nc", folder=folder, cache=cache, sha256=DATA_HASH)
    content.path.chmod(0o644)
    content.path.write_bytes(damage)
    assert cache.find(DATA_HASH) is None
    again = fetch("file:scene.nc", folder=folder, cache=cache, sha256=DATA_HASH)
    assert again.path.read_bytes() == DATA


def test_content_that_was_copied_here_by_hand_is_checked_once(
    folder: Path, cache: ContentCache
) -> None:
    path = cache.path_of(DATA_HASH)
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert cache.find(DATA_HASH) == Content(sha256=DATA_HASH, size=len(DATA), path=path)
    assert fetch("file:gone", folder=None, cache=cache, sha256=DATA_HASH).path == path
    with pytest.raises(SourceError, match="gone"):  # what lies beside the code is looked at
        fetch("file:gone", folder=folder, cache=cache, sha256=DATA_HASH)


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond this: a full disk, nearly."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_nothing_half_written_stays(
    folder: Path, cache: ContentCache
) -> None:
    (folder / "large.nc").write_bytes(bytes(2**20))
    with files_end_at(2**18), pytest.raises(SourceError, match=r"file:large\.nc cannot be kept"):
        fetch("file:large.nc", folder=folder, cache=cache)
    assert left_behind(cache) == []
    assert fetch("file:large.nc", folder=folder, cache=cache).size == 2**20


def test_a_cache_that_cannot_be_made_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SourceError, match=r"the cache .* cannot be written"):
        fetch("file:scene.nc", folder=folder, cache=ContentCache(tmp_path / "cache"))


def test_content_counts_although_no_note_can_be_made_of_it(
    folder: Path, cache: ContentCache
) -> None:
    (cache.root / "content").mkdir(parents=True)
    (cache.root / "content" / "notes").write_text("not a folder")
    assert fetch("file:scene.nc", folder=folder, cache=cache).sha256 == DATA_HASH


@pytest.mark.parametrize("names", [["a.nc", "a.nc"], ["a.nc", "b.nc"]])
def test_two_at_once_keep_the_same_content(
    folder: Path, cache: ContentCache, names: list[str]
) -> None:
    for name in names:
        (folder / name).write_bytes(DATA * 500)
    barrier = threading.Barrier(2)

    def ask(name: str) -> Content:
        barrier.wait()
        return fetch(f"file:{name}", folder=folder, cache=cache)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, names)
    assert first == second
    assert first.path.read_bytes() == DATA * 500
    assert left_behind(cache) == []


def test_threads_that_note_the_same_wheel_do_not_meet(cache: ContentCache) -> None:
    # two inputs of one wheel are staged side by side, see Steps._stage
    content = cache.add([DATA], expected=None, what="data")
    barrier = threading.Barrier(4)

    def note(_: int) -> None:
        barrier.wait()
        for number in range(50):
            cache.note(f"wheel {number}", content.sha256)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(note, range(4)))
    assert cache.noted("wheel 49") == content


# --- https --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def running(authority: trustme.CA) -> Iterator[web.Server]:
    with web.serve(authority) as server:
        yield server


@pytest.fixture
def server(
    running: web.Server, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> web.Server:
    """A server whose certificate is trusted; the client does not pause between its tries."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(web.bundle(authority, tmp_path / "ca.pem")))
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    patient = SimpleNamespace(time=time.time, mktime=time.mktime, sleep=lambda _: None)
    monkeypatch.setattr("urllib3.util.retry.time", patient)
    running.pages.clear()
    running.asked.clear()
    running.pages["/scene.nc"] = web.content(DATA)
    return running


def test_a_download_is_verified_and_kept(server: web.Server, cache: ContentCache) -> None:
    seen: list[tuple[int, int | None]] = []
    content = fetch(
        server.url("/scene.nc"), folder=None, cache=cache, sha256=DATA_HASH,
        report=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert content.path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert fetch(server.url("/scene.nc"), folder=None, cache=cache, sha256=DATA_HASH) == content
    assert server.asked["/scene.nc"] == 1, "content with the wanted hash is not fetched again"


def test_a_download_with_another_hash(server: web.Server, cache: ContentCache) -> None:
    with pytest.raises(SourceError, match=f"has sha256 {DATA_HASH}") as caught:
        fetch(server.url("/scene.nc"), folder=None, cache=cache, sha256=OTHER_HASH)
    assert not caught.value.transient
    assert left_behind(cache) == []


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_server_that_refuses(server: web.Server, cache: ContentCache, code: int) -> None:
    server.pages["/x"] = web.status(code)
    with pytest.raises(SourceError, match=f"answered {code}") as caught:
        fetch(server.url("/x"), folder=None, cache=cache)
    assert not caught.value.transient
    assert server.asked["/x"] == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(
    server: web.Server, cache: ContentCache, code: int
) -> None:
    server.pages["/x"] = web.in_turn(web.status(code), web.status(code), web.content(DATA))
    assert fetch(server.url("/x"), folder=None, cache=cache).sha256 == DATA_HASH
    assert server.asked["/x"] == 3


def test_a_server_that_stays_busy_may_be_better_later(
    server: web.Server, cache: ContentCache
) -> None:
    server.pages["/x"] = web.status(503)
    with pytest.raises(SourceError, match="503") as caught:
        fetch(server.url("/x"), folder=None, cache=cache)
    assert caught.value.transient


def test_a_connection_that_breaks_half_way(server: web.Server, cache: ContentCache) -> None:
    server.pages["/x"] = web.in_turn(web.broken_off(DATA), web.content(DATA))
    with pytest.raises(SourceError, match="cannot be fetched") as caught:
        fetch(server.url("/x"), folder=None, cache=cache)
    assert caught.value.transient
    assert left_behind(cache) == []
    assert fetch(server.url("/x"), folder=None, cache=cache).sha256 == DATA_HASH


@pytest.mark.parametrize("complete", [True, False])
def test_a_download_in_chunks_of_unknown_length(
    server: web.Server, cache: ContentCache, complete: bool
) -> None:
    server.pages["/x"] = web.chunked(DATA, complete=complete)
    if complete:
        assert fetch(server.url("/x"), folder=None, cache=cache).sha256 == DATA_HASH
    else:
        with pytest.raises(SourceError, match="cannot be fetched") as caught:
            fetch(server.url("/x"), folder=None, cache=cache)
        assert caught.value.transient
        assert left_behind(cache) == []


def test_the_bytes_that_count_are_those_of_the_file(
    server: web.Server, cache: ContentCache
) -> None:
    packed = gzip.compress(DATA)
    server.pages["/scene.nc.gz"] = web.content(packed, {"Content-Encoding": "gzip"})
    found = fetch(server.url("/scene.nc.gz"), folder=None, cache=cache)
    assert found.path.read_bytes() == packed


def test_a_server_that_drips_is_given_up(
    server: web.Server, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PATIENCE_S", 0.05)
    monkeypatch.setattr(downloads, "LEAST_BYTES_PER_S", 1e9)
    server.pages["/x"] = web.dripping(server)
    with pytest.raises(SourceError, match="bytes came in") as caught:
        fetch(server.url("/x"), folder=None, cache=cache)
    assert caught.value.transient
    assert left_behind(cache) == []


def test_a_download_can_be_given_up(server: web.Server, cache: ContentCache) -> None:
    server.pages["/x"] = web.dripping(server)
    stop = threading.Event()
    with pytest.raises(SourceError, match="given up"):
        fetch(server.url("/x"), folder=None, cache=cache, stop=stop, report=lambda *_: stop.set())
    assert left_behind(cache) == []


def test_a_server_that_stalls(
    server: web.Server, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "READ_TIMEOUT_S", 0.2)
    server.pages["/x"] = web.stalled(server, DATA)
    with pytest.raises(SourceError, match="timed out") as caught:
        fetch(server.url("/x"), folder=None, cache=cache)
    assert caught.value.transient
    assert left_behind(cache) == []


def test_nobody_listens(server: web.Server, cache: ContentCache) -> None:
    with web.serve() as gone:
        port = gone.server_port
    with pytest.raises(SourceError, match="refused") as caught:
        fetch(f"https://localhost:{port}/x", folder=None, cache=cache)
    assert caught.value.transient


def test_a_certificate_of_a_stranger(cache: ContentCache, server: web.Server) -> None:
    with web.serve(trustme.CA()) as stranger:
        stranger.pages["/x"] = web.content(DATA)
        with pytest.raises(SourceError, match="certificate"):
            fetch(stranger.url("/x"), folder=None, cache=cache)


def test_redirects_are_followed_within_https(server: web.Server, cache: ContentCache) -> None:
    server.pages["/x"] = web.redirect(server.url("/y"))
    server.pages["/y"] = web.redirect("/scene.nc")
    assert fetch(server.url("/x"), folder=None, cache=cache).sha256 == DATA_HASH


def test_a_redirect_to_http_is_refused_and_not_followed(
    server: web.Server, cache: ContentCache
) -> None:
    with web.serve() as plain:
        plain.pages["/x"] = web.content(DATA)
        server.pages["/x"] = web.redirect(plain.url("/x?token=secret"))
        with pytest.raises(SourceError, match="without https") as caught:
            fetch(server.url("/x"), folder=None, cache=cache)
        assert not caught.value.transient
        assert not plain.asked, "not even asked: that would show the address to everybody"


def test_a_redirect_in_circles(server: web.Server, cache: ContentCache) -> None:
    server.pages["/x"] = web.redirect("/x")
    with pytest.raises(SourceError, match="redirects"):
        fetch(server.url("/x"), folder=None, cache=cache)


# --- wheels -------------------------------------------------------------------------------------

FILES = {"tinydata/scene.nc": DATA, "tinydata/__init__.py": b""}
WHEEL = "tinydata-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    only_index(monkeypatch, tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.slow
def test_a_member_of_a_wheel(index: Path, cache: ContentCache) -> None:
    archive = sha256_of(make_wheel(index, files=FILES))
    uri = f"pypi:{WHEEL}!/tinydata/scene.nc"
    content = fetch(uri, folder=None, cache=cache, sha256=DATA_HASH, archive_sha256=archive)
    assert content.path.read_bytes() == DATA
    (index / WHEEL).unlink()
    other = f"pypi:{WHEEL}!/tinydata/__init__.py"
    assert fetch(other, folder=None, cache=cache).size == 0, "the wheel is kept, too"


@pytest.mark.slow
def test_a_wheel_that_lacks_the_member(index: Path, cache: ContentCache) -> None:
    make_wheel(index, files=FILES)
    with pytest.raises(SourceError, match=r"has no member 'tinydata/other\.nc'"):
        fetch(f"pypi:{WHEEL}!/tinydata/other.nc", folder=None, cache=cache)


@pytest.mark.slow
def test_a_wheel_with_another_hash(index: Path, cache: ContentCache) -> None:
    make_wheel(index, files=FILES)
    with pytest.raises(SourceError, match=f"{WHEEL} has sha256 .*, expected {OTHER_HASH}"):
        fetch(
            f"pypi:{WHEEL}!/tinydata/scene.nc", folder=None, cache=cache, archive_sha256=OTHER_HASH
        )
    assert left_behind(cache) == []


@pytest.mark.slow
def test_a_member_with_another_hash(index: Path, cache: ContentCache) -> None:
    make_wheel(index, files=FILES)
    with pytest.raises(SourceError, match=f"scene.nc of {WHEEL} has sha256 {DATA_HASH}"):
        fetch(f"pypi:{WHEEL}!/tinydata/scene.nc", folder=None, cache=cache, sha256=OTHER_HASH)


@pytest.mark.slow
def test_a_wheel_that_the_index_does_not_have(index: Path, cache: ContentCache) -> None:
    make_wheel(index, version="2.0")
    with pytest.raises(SourceError, match=f"{WHEEL} cannot be fetched: No matching") as caught:
        fetch(f"pypi:{WHEEL}!/tinydata/scene.nc", folder=None, cache=cache)
    assert "pip config list" in caught.value.hint


@pytest.mark.slow
def test_a_wheel_of_another_build_is_not_the_one_that_was_meant(
    index: Path, cache: ContentCache
) -> None:
    make_wheel(index, tag="py3-none-any")
    with pytest.raises(SourceError, match=f"gave {WHEEL} instead"):
        fetch("pypi:tinydata-1.0-py2.py3-none-any.whl!/x", folder=None, cache=cache)


@pytest.mark.slow
def test_a_wheel_with_a_damaged_member(index: Path, cache: ContentCache) -> None:
    archive = make_wheel(index, files=FILES)
    fetch(f"pypi:{WHEEL}!/tinydata/scene.nc", folder=None, cache=cache)
    data = archive.read_bytes()
    damaged = cache.add([data.replace(DATA[:50], DATA[:49] + b"!")], expected=None, what="wheel")
    with pytest.raises(SourceError, match="Bad CRC-32"):
        fetch(
            f"pypi:{WHEEL}!/tinydata/scene.nc", folder=None, cache=cache,
            archive_sha256=damaged.sha256,
        )  # fmt: skip
    assert left_behind(cache) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "tag",
    ["py2.py3-none-any", "cp39-cp39-manylinux_2_17_aarch64", "cp310-abi3-macosx_11_0_arm64"],
)
def test_wheels_for_other_machines_are_data_like_any_other(
    index: Path, cache: ContentCache, tag: str
) -> None:
    wheel = make_wheel(index, tag=tag, files=FILES)
    uri = f"pypi:{wheel.name}!/tinydata/scene.nc"
    assert fetch(uri, folder=None, cache=cache).sha256 == DATA_HASH
