"""The images as far as no Docker engine is needed: Dockerfiles, contexts, locks, advice."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from rpac_ci import image_builds, image_contexts, image_locks, images
from rpac_ci.cli import run
from rpac_ci.errors import EnvironmentBuildError, ProvisioningError
from rpac_ci.image_contexts import engine_context, environment_context, locked
from rpac_ci.jobs import EngineName
from tests.conftest import ROOT

FOLDER = ROOT / "images"
ENGINES = [engine.value for engine in EngineName]
FILES = sorted(FOLDER.glob("*/Dockerfile"))
DASK = {"dask": "2.0", "distributed": "2.0", "zict": "3.0"}


def stages(text: str) -> list[list[str]]:
    """Instructions of each stage, continued lines joined and comments gone."""
    joined = re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    found: list[list[str]] = [[]]
    for line in filter(None, joined.splitlines()):
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(line)
    return found


def content(context: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(context)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file}


def environment(lock: str, engine: str = "dask", **changed: object) -> list[str]:
    """Instructions of the image for a lock."""
    options = {
        "engine_id": "sha256:e", "environment_id": "sha256:p", "packages": DASK,
        "from_source": (), "indexes": (), **changed,
    }  # fmt: skip
    made = content(environment_context(engine=engine, lock=lock.encode(), **options))  # type: ignore[arg-type]
    assert made["requirements.lock"] == lock.encode()
    return made["Dockerfile"].decode().splitlines()


# --- Dockerfiles --------------------------------------------------------------------------------


def test_there_is_an_image_for_every_engine_and_the_base_is_built_first() -> None:
    assert image_contexts.names() == ["base", *sorted(ENGINES)]


def test_the_base_is_pinned_by_digest_and_can_be_another_one() -> None:
    (before, *_) = stages((FOLDER / "base" / "Dockerfile").read_text())
    assert re.fullmatch(r"ARG BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", before[0])


def test_the_last_stage_of_the_base_runs_the_node_program_as_a_user_with_a_number() -> None:
    *_, last = stages((FOLDER / "base" / "Dockerfile").read_text())
    assert last[-2:] == [
        "USER 10001:10001",
        'ENTRYPOINT ["/opt/rpac/bin/python", "-P", "-m", "rpac_ci.node"]',
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_s_image_keeps_user_and_program_of_the_base(engine: str) -> None:
    *_, part, code, last = stages((FOLDER / engine / "Dockerfile").read_text())
    assert part[0] == "FROM ${RPAC_BASE} AS environment"
    assert last[:2] == ["FROM environment", "COPY --from=code /opt/rpac/code /opt/rpac/code"]
    assert not [line for line in last if line.startswith(("RUN", "USER", "ENTRYPOINT", "CMD"))]
    users = [line for line in part if line.startswith("USER")]
    assert users in ([], ["USER root", "USER 10001:10001"])
    assert code[0] == "FROM ${RPAC_BASE} AS code"


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_s_image_is_labelled(engine: str) -> None:
    text = " ".join(stages((FOLDER / engine / "Dockerfile").read_text())[-1])
    for label in ("title", "description", "version", "revision", "source", "licenses"):
        assert f"org.opencontainers.image.{label}=" in text
    assert f'rpac.engine="{engine}" rpac.protocol="${{PROTOCOL}}"' in text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_whatever_is_installed_is_checked_against_a_hash_and_nothing_of_a_place_is_named(
    file: Path,
) -> None:
    text = re.sub(r"\\\n\s*", "", file.read_text())
    for install in re.findall(r"bin/pip[^&\n]* install [^&\n]*", text):
        assert "--require-hashes" in install or "--no-index" in install, install
        assert "--only-binary :all:" in install or "--no-index" in install, install
    hosts = set(re.findall(r"https?://([^/\s\"]+)", text))
    assert hosts <= {"download.pytorch.org"}
    assert not re.search(r"curl|wget|ADD |--network|pip\.conf|/root", text)


@pytest.mark.parametrize("lock", sorted(FOLDER.glob("*/*.lock")), ids=lambda p: p.parent.name)
def test_locks_are_complete_and_belong_to_their_requirements(lock: Path) -> None:
    packages = locked(lock.read_bytes())
    lines = lock.read_text().splitlines()
    named = [number for number, line in enumerate(lines) if not line.startswith(" ")]
    assert all(lines[number + 1].startswith("    --hash=sha256:") for number in named)
    assert {lines[number].partition("==")[0] for number in named} == set(packages)
    wanted = re.findall(r"^(\w+)", lock.with_suffix(".in").read_text().lower(), re.MULTILINE)
    assert set(wanted) <= set(packages)


def test_only_the_variant_for_gpus_brings_nvidia_s_libraries() -> None:
    with_them = {
        lock.relative_to(FOLDER).as_posix()
        for lock in FOLDER.glob("*/*.lock")
        if any(name.startswith("nvidia-") for name in locked(lock.read_bytes()))
    }
    assert with_them == {"torchrun/requirements-cuda.lock"}
    assert image_contexts.variant_arguments("torchrun", "cuda") == {
        "LOCK": "requirements-cuda.lock", "TESTED": "no",
    }  # fmt: skip
    with pytest.raises(ProvisioningError, match="dask has no variant 'cuda'"):
        image_contexts.variant_arguments("dask", "cuda")


def test_the_base_s_lock_is_all_that_the_node_program_imports() -> None:
    """What is imported at once, late imports of `sources` and `storage` included."""
    code = """
import importlib.metadata, json, sys
before = set(sys.modules)
import obstore, obstore.store, packaging.utils, pip, requests, urllib3
import rpac_ci.node.__main__
from rpac_ci import engines
for name in engines.MODULES:
    engines.load(name)
owners = importlib.metadata.packages_distributions()
tops = {name.partition(".")[0] for name in {*sys.modules} - before}
print(json.dumps(sorted({owner for top in tops for owner in owners.get(top, [])})))
"""
    argv = [sys.executable, "-c", code]
    imported = json.loads(subprocess.run(argv, check=True, capture_output=True, cwd=ROOT).stdout)
    here = locked((FOLDER / "base" / "requirements.lock").read_bytes())
    ours = {"rpac-ci", "rpac_ci"}
    assert {name.lower().replace("_", "-") for name in imported} - set(here) - ours == set()


# --- contexts -----------------------------------------------------------------------------------


def test_a_context_holds_the_code_and_the_images_and_is_the_same_each_time() -> None:
    context = engine_context()
    files = content(context)
    assert {"images/base/Dockerfile", "images/spark/requirements.lock"} <= set(files)
    assert files["rpac_ci/jobs.py"] == (ROOT / "rpac_ci" / "jobs.py").read_bytes()
    assert "rpac_ci/patches/horovod-tools.lock" in files
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc")]
    assert {name.split("/")[0] for name in files} == {"images", "rpac_ci"}
    assert engine_context() == context


def test_every_file_that_a_dockerfile_copies_is_in_the_context() -> None:
    names = set(content(engine_context()))
    folders = {parent for name in names for parent in map(str, Path(name).parents)}
    for file in FILES:
        text = file.read_text().replace("${LOCK}", "requirements.lock")
        for copied in re.findall(r"^COPY ((?:[^\n\\]|\\\n)+)", text, re.MULTILINE):
            words = copied.replace("\\\n", " ").split()
            if not words[0].startswith("--from"):
                assert set(words[:-1]) <= names | folders, file


def test_the_image_of_a_lock_has_the_lock_s_packages_and_no_others() -> None:
    lines = environment("distributed==2.0 --hash=sha256:0\nNumPy==2.4 --hash=sha256:1\n")
    pip = '["/opt/rpac/bin/python", "-m", "pip", "--python", "/opt/environment/bin/python", '
    assert lines[0] == "FROM sha256:p"
    assert lines[4].startswith(f'RUN {pip}"install", ')
    assert '"--require-hashes", "-r", "/opt/environment/rpac-lock.txt"]' in lines[4]
    assert lines[5] == f'RUN {pip}"uninstall", "--yes", "dask", "zict"]'
    assert lines[6:] == [
        "COPY --from=sha256:e /opt/rpac/code /opt/rpac/code",
        "USER 10001:10001",
    ]


def test_where_nothing_is_surplus_nothing_is_taken_away() -> None:
    lines = environment("\n".join(f"{name}=={version}" for name, version in DASK.items()))
    assert not [line for line in lines if "uninstall" in line]
    assert not [line for line in lines if "--require-hashes" in line]


def test_source_is_built_only_where_the_engine_s_image_has_another_version() -> None:
    packages = {"pyspark": "4.3.0", "py4j": "0.10"}
    for version, built in (("4.3.0", False), ("4.2.0", True)):
        lines = environment(
            f"pyspark=={version}\n", "spark", packages=packages, from_source=("pyspark",)
        )
        assert ('"--no-binary=pyspark"' in lines[4]) is built


def test_horovod_stays_and_fits_one_torch() -> None:
    packages = {"torch": "2.13.0+cpu", "horovod": "0.28.1", "sympy": "1.14"}
    lines = environment("torch==2.13.0+cpu\n", "horovod", packages=packages)
    assert lines[5].endswith('"--yes", "sympy"]')
    with pytest.raises(EnvironmentBuildError, match=r"built for torch 2\.13\.0\+cpu, .* 2\.12"):
        environment("torch==2.12.0\n", "horovod", packages=packages)


def test_what_a_lock_says_never_reaches_a_shell() -> None:
    evil = "https://example.org/$(touch /tmp/x);`id`"
    lines = environment("a==1\n", indexes=(evil,))
    (install,) = [line for line in lines if "install" in line and "uninstall" not in line]
    assert f"--extra-index-url={evil}" in json.loads(install.removeprefix("RUN "))


# --- without a Docker engine ---------------------------------------------------------------------


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'absent.sock'}")


def test_without_an_engine_the_advice_is_another_runtime(no_engine: None) -> None:
    for ask in (
        lambda: images.require("rpac/dask:1"),
        lambda: images.engine_image("dask"),
        lambda: image_builds.build(["dask"]),
        lambda: images.ensure_environment("dask", b"", python=None),
    ):
        with pytest.raises(ProvisioningError, match="no Docker engine") as caught:
            ask()
        assert "runtime=process" in caught.value.hint


def test_the_command_line_says_what_is_wrong(
    no_engine: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["images", "list"]) == 5
    assert "docker info" in capsys.readouterr().err
    assert run(["images", "build", "hadoop"]) == 5
    assert "there is no image hadoop" in capsys.readouterr().err
    assert run(["images", "build", "--build-arg", "BASE"]) == 2
    assert "is not KEY=VALUE" in capsys.readouterr().err


def test_without_the_package_docker_the_advice_is_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)  # as where the extra is not installed
    assert run(["images", "list"]) == 5
    said = capsys.readouterr().err
    assert "images need the package docker" in said
    assert "pip install 'rpac-ci[containers]'" in said


@pytest.mark.slow
def test_a_lock_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_contexts, "folder", lambda: tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "requirements.in").write_text("packaging==24.2\n")
    (written,) = image_locks.write("tiny").items()
    assert written == (tmp_path / "tiny" / "requirements.lock", {"packaging": "24.2"})
    assert "--hash=sha256:" in written[0].read_text()
    with pytest.raises(ProvisioningError, match="no requirements"):
        image_locks.write("absent")


def test_the_script_for_a_debian_base_is_sound() -> None:
    script = FOLDER / "debian-base.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    done = subprocess.run([str(script), "--help"], check=True, capture_output=True, text=True)
    assert "--pip-conf FILE" in done.stdout
    assert subprocess.run([str(script), "--bogus"], capture_output=True).returncode == 64
