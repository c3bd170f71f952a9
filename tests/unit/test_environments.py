"""Environments: built once from a lock, by whoever comes first, and never half."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpac_ci import environments
from rpac_ci.environments import EnvironmentInfo, ensure
from rpac_ci.errors import EnvironmentBuildError
from tests.conftest import ROOT
from tests.standins import web
from tests.standins.waiting import until
from tests.standins.wheels import make_source, make_wheel, only_index, sha256_of

pytestmark = pytest.mark.slow

BUILD = """\
import json, pathlib, sys, uv
from rpac_ci.environments import ensure
if len(sys.argv) > 3:
    uv.find_uv_bin = lambda: sys.argv[3]
info = ensure(sys.argv[1].encode(), python=None, cache=pathlib.Path(sys.argv[2]))
print(json.dumps([str(info.path), info.packages]))
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole package index; what uv keeps is kept beside it."""
    only_index(monkeypatch, tmp_path / "index")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return tmp_path / "index"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def lock_of(wheel: Path, sha256: str | None = None) -> bytes:
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} --hash=sha256:{sha256 or sha256_of(wheel)}\n".encode()


def python_in(info: EnvironmentInfo, code: str) -> str:
    """What the environment's python prints."""
    argv = [str(info.interpreter), "-I", "-c", code]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def test_an_empty_lock_is_an_environment_and_built_once(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure(b"", python=None, cache=cache)
    assert first.path.is_relative_to(cache)
    assert (first.python, first.packages) == (
        python_in(first, "import platform as p; print(p.python_version())"),
        {},
    )

    monkeypatch.setattr(environments, "_install", None)  # not to be called
    assert ensure(b"", python=None, cache=cache) == first


def test_a_locked_wheel_is_installed(index: Path, cache: Path) -> None:
    wheel = make_wheel(index)
    info = ensure(lock_of(wheel), python=None, cache=cache)
    assert info.packages == {"tinydata": "1.0"}
    assert python_in(info, "import tinydata; print(tinydata.ANSWER)") == "42"


def test_a_lock_without_hashes_will_do(index: Path, cache: Path) -> None:
    make_wheel(index)
    make_wheel(index, version="2.0")
    assert ensure(b"tinydata==1.0\n", python=None, cache=cache).packages == {"tinydata": "1.0"}


def test_another_lock_is_another_environment(index: Path, cache: Path) -> None:
    wheels = [make_wheel(index, version=version) for version in ("1.0", "2.0")]
    infos = [ensure(lock_of(wheel), python=None, cache=cache) for wheel in wheels]
    assert infos[0].path != infos[1].path
    assert [info.packages["tinydata"] for info in infos] == ["1.0", "2.0"]


def test_the_wanted_python_is_the_one_that_is_there(index: Path, cache: Path) -> None:
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    info = ensure(b"", python=wanted, cache=cache)
    assert info.python.startswith(wanted + ".")
    assert info == ensure(b"", python=None, cache=cache)


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (
            "tinydata==1.0 --hash=sha256:" + "0" * 64,
            ["cannot be installed", "Hash mismatch", "tinydata"],
        ),
        ("absent-thing==1.0", ["cannot be installed", "absent-thing"]),
        ("tinydata==1.0 --hash=sha256:{right}\nother==1.0", ["cannot be installed", "other==1.0"]),
        ("this is no requirement", ["cannot be installed", "rpac-lock.txt"]),
    ],
)
def test_a_lock_that_cannot_be_installed(
    index: Path, cache: Path, lock: str, said: list[str]
) -> None:
    right = sha256_of(make_wheel(index))
    make_wheel(index, name="other")
    with pytest.raises(EnvironmentBuildError) as caught:
        ensure(lock.replace("{right}", right).encode(), python=None, cache=cache)
    assert [word for word in said if word not in caught.value.message] == []


def test_a_python_that_is_not_here(index: Path, cache: Path) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"no Python 3\.99 here"):
        ensure(b"", python="3.99", cache=cache)


def test_after_a_failure_the_next_try_starts_afresh(index: Path, cache: Path) -> None:
    with pytest.raises(EnvironmentBuildError):
        ensure(b"tinydata==1.0\n", python=None, cache=cache)
    make_wheel(index)
    assert ensure(b"tinydata==1.0\n", python=None, cache=cache).packages == {"tinydata": "1.0"}


def test_what_was_left_half_is_built_again(index: Path, cache: Path) -> None:
    lock = lock_of(make_wheel(index))
    info = ensure(lock, python=None, cache=cache)
    marker = next(info.path.glob(".rpac-complete*"))
    for damage in (
        lambda: marker.unlink(),
        lambda: marker.write_text(marker.read_text()[:20]),
        lambda: info.interpreter.unlink(),
    ):
        shutil.rmtree(info.path / "lib")
        damage()
        assert ensure(lock, python=None, cache=cache) == info
        assert python_in(info, "import tinydata; print(tinydata.ANSWER)") == "42"


def test_a_builder_that_is_killed_keeps_others_out_until_its_uv_has_ended(
    index: Path, cache: Path, tmp_path: Path
) -> None:
    slow_uv, begun, go = tmp_path / "slow-uv", tmp_path / "begun", tmp_path / "go"
    os.mkfifo(go)
    slow_uv.write_text(f'#!/bin/sh\ntouch "{begun}"\nread word < "{go}"\n')
    slow_uv.chmod(0o755)
    lock = lock_of(make_wheel(index))
    argv = [sys.executable, "-c", BUILD, lock.decode(), str(cache), str(slow_uv)]
    builder = subprocess.Popen(argv, cwd=ROOT)
    until(begun.exists)
    builder.kill()
    builder.wait()

    held = next((cache / "environments").glob("*.lock"))
    with held.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    go.write_text("go on\n")
    info = ensure(lock, python=None, cache=cache)
    assert python_in(info, "import tinydata; print(tinydata.ANSWER)") == "42"


def test_two_processes_share_one_build(index: Path, cache: Path) -> None:
    lock = lock_of(make_wheel(index)).decode()
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, lock, str(cache)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    (first, _), (second, _) = [builder.communicate(timeout=60) for builder in builders]
    assert first == second
    path, packages = json.loads(first)
    assert packages == {"tinydata": "1.0"}
    info = ensure(lock.encode(), python=None, cache=cache)
    assert str(info.path) == path
    assert [folder for folder in (cache / "environments").iterdir() if folder.is_dir()] == [
        info.path
    ]
    assert python_in(info, "import tinydata; print(tinydata.ANSWER)") == "42"


def test_pips_environment_variables_go_before_its_files(
    index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nfind-links = {tmp_path / 'empty'}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    info = ensure(lock_of(make_wheel(index)), python=None, cache=cache)
    assert info.packages == {"tinydata": "1.0"}


def test_pips_files_are_read(
    index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links =\n    {tmp_path}\n    {index}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    info = ensure(lock_of(make_wheel(index)), python=None, cache=cache)
    assert info.packages == {"tinydata": "1.0"}


def test_what_was_set_for_uv_itself_stays(
    index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    info = ensure(lock_of(make_wheel(index)), python=None, cache=cache)
    assert info.packages == {"tinydata": "1.0"}


def test_without_an_index_nobody_is_asked(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "localhost")
    with web.serve() as server:
        monkeypatch.setenv("PIP_INDEX_URL", server.url("/simple/"))
        info = ensure(lock_of(make_wheel(index)), python=None, cache=cache)
        assert info.packages == {"tinydata": "1.0"}
        assert not server.asked, "PIP_NO_INDEX is set"


# --- packages that are published as source alone ------------------------------------------------


def test_source_is_built_for_the_named_alone(index: Path, cache: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    lock = lock_of_source(make_source(index, trace))
    for named in ((), ("other",)):
        with pytest.raises(EnvironmentBuildError, match="cannot be installed"):
            ensure(lock, python=None, cache=cache, from_source=named)
    assert not trace.exists(), "code of an archive that nobody named was run"

    info = ensure(lock, python=None, cache=cache, from_source=("tinydata",))
    assert (info.packages, info.hashed) == ({"tinydata": "1.0"}, True)
    assert trace.exists()


def test_source_with_another_hash_is_not_run(index: Path, cache: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    make_source(index, trace)
    lock = b"tinydata==1.0 --hash=sha256:" + b"0" * 64
    with pytest.raises(EnvironmentBuildError, match="Hash mismatch"):
        ensure(lock, python=None, cache=cache, from_source=("tinydata",))
    assert not trace.exists()


def lock_of_source(archive: Path) -> bytes:
    name, _, version = archive.name.removesuffix(".tar.gz").rpartition("-")
    return f"{name}=={version} --hash=sha256:{sha256_of(archive)}\n".encode()


# --- further indexes ----------------------------------------------------------------------------


@pytest.fixture
def indexes(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[web.Server, str, str]]:
    """A server with the user's own index and a further one; both are empty."""
    monkeypatch.delenv("UV_OFFLINE")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("NO_PROXY", "localhost")
    with web.serve() as server:
        monkeypatch.setenv("PIP_INDEX_URL", server.url("/own"))
        yield server, "/own", "/further"


def publish(server: web.Server, at: str, wheel: Path) -> None:
    """Put a wheel into an index."""
    name, version = wheel.name.split("-")[:2]
    link = f'<a href="../{wheel.name}" data-core-metadata="true">{wheel.name}</a>'
    server.pages[f"{at}/{name}/"] = web.content(link.encode(), {"Content-Type": "text/html"})
    server.pages[f"{at}/{wheel.name}"] = web.content(wheel.read_bytes())
    server.pages[f"{at}/{wheel.name}.metadata"] = web.content(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    )


def test_a_further_index_has_what_the_own_one_lacks(
    indexes: tuple[web.Server, str, str], index: Path, cache: Path
) -> None:
    server, own, further = indexes
    publish(server, own, make_wheel(index, "other"))
    wheel = make_wheel(index, version="1.0+cpu")
    publish(server, own, make_wheel(index, version="1.0"))
    publish(server, further, wheel)
    lock = lock_of(wheel) + lock_of(index / "other-1.0-py3-none-any.whl")
    with pytest.raises(EnvironmentBuildError, match="cannot be installed"):
        ensure(lock, python=None, cache=cache)
    info = ensure(lock, python=None, cache=cache, indexes=(server.url(further),))
    assert info.packages == {"tinydata": "1.0+cpu", "other": "1.0"}


def test_a_further_index_is_not_asked_for_what_the_own_one_has(
    indexes: tuple[web.Server, str, str], index: Path, cache: Path
) -> None:
    server, own, further = indexes
    wheel = make_wheel(index)
    publish(server, own, wheel)
    ensure(lock_of(wheel), python=None, cache=cache, indexes=(server.url(further),))
    assert [path for path in server.asked if path.startswith(further)] == []


def test_a_wrong_hash_is_no_reason_to_ask_a_further_index(
    indexes: tuple[web.Server, str, str], index: Path, cache: Path
) -> None:
    server, own, further = indexes
    wheel = make_wheel(index)
    publish(server, own, wheel)
    with pytest.raises(EnvironmentBuildError, match="Hash mismatch"):
        ensure(lock_of(wheel, "0" * 64), python=None, cache=cache, indexes=(server.url(further),))
    assert [path for path in server.asked if path.startswith(further)] == []


def test_environments_are_the_same_where_no_option_is_used(index: Path, cache: Path) -> None:
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    parts = [hashlib.sha256(b"").hexdigest(), wanted, platform.platform()]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    assert ensure(b"", python=wanted, cache=cache).path == cache / "environments" / name
