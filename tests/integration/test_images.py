"""
The images on a real Docker engine: what they hold, as whom they run, what they need to run.

The first session on a machine builds them, which takes minutes; the next finds their layers.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from rpac_ci import __version__, image_builds, image_contexts, image_registry, images
from rpac_ci.cli import run
from rpac_ci.errors import EnvironmentBuildError, ProvisioningError
from rpac_ci.image_contexts import locked
from rpac_ci.jobs import PROTOCOL, EngineName, NodeExit
from rpac_ci.quantities import format_bytes
from tests.docker_engine import Engine
from tests.docker_engine import docker_fixture as docker_fixture
from tests.standins import aws

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ENGINES = [engine.value for engine in EngineName]
WITHOUT_RIGHTS = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
USES = {
    "process": "import json; json.dumps(1)",
    "dask": (
        "from distributed import Client\n"
        "if __name__ == '__main__':\n"
        "    with Client(n_workers=1, threads_per_worker=1, dashboard_address=None) as client:\n"
        "        assert client.submit(sum, [1, 2]).result() == 3"
    ),
    "spark": (
        "from pyspark.sql import SparkSession\n"
        "spark = SparkSession.builder.master('local[1]').getOrCreate()\n"
        "assert spark.range(5).selectExpr('sum(id)').first()[0] == 10\n"
        "spark.stop()"
    ),
    "horovod": (
        "import horovod.torch as hvd, torch\n"
        "hvd.init()\n"
        "assert hvd.allreduce(torch.ones(2), op=hvd.Sum).tolist() == [1, 1]"
    ),
    "torchrun": (
        "import runpy, sys\n"
        "open('/scratch/one.py', 'w').write('import torch.distributed as d;'\n"
        "    'd.init_process_group(\"gloo\"); print(d.get_world_size())')\n"
        "sys.argv = ['torchrun', '--standalone', '--nproc-per-node=2', '/scratch/one.py']\n"
        "runpy.run_module('torch.distributed.run', run_name='__main__')"
    ),
}


def in_container(
    image: str, *argv: str, program: str = "/opt/environment/bin/python", user: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run something in a container that has no network, no rights and nothing to write to."""
    options = [
        *WITHOUT_RIGHTS,
        "--network=none",
        "--hostname=localhost",
        "--tmpfs=/scratch:exec,mode=1777",
    ]
    options += [f"--user={user}"] if user else []
    return subprocess.run(
        ["docker", "run", "--rm", *options, f"--entrypoint={program}", image, *argv],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_works_for_any_user_without_rights(engine: str, docker: Engine) -> None:
    image = docker(engine)
    print(f"{image.name}: {format_bytes(image.size)}")
    for user in (None,) if engine == "spark" else (None, "12345:12345"):  # Java wants an account
        done = in_container(image.id, "-c", USES[engine], user=user)
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_in_the_image_is_what_its_lock_says(engine: str, docker: Engine) -> None:
    image = docker(engine)
    made = images.ensure_environment(engine, None, python="3.11")
    assert (made.id, made.engine_image_id) == (image.id, image.id)
    lock = image_contexts.folder() / engine / "requirements.lock"
    known = locked(lock.read_bytes()) if lock.exists() else {}
    extra = {"horovod"} if engine == "horovod" else set()
    assert {name.lower().replace("_", "-") for name in made.packages} - extra <= set(known)
    assert ("horovod" in made.packages) is (engine == "horovod")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_node_program_starts_and_misses_only_its_contract(engine: str, docker: Engine) -> None:
    image = docker(engine)
    assert (image.protocol, image.engine) == (PROTOCOL, engine)
    done = subprocess.run(
        ["docker", "run", "--rm", *WITHOUT_RIGHTS, "--network=none", image.id],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == NodeExit.PLAN
    assert "RPAC_PROTOCOL is not set" in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_the_node_program_finds_all_that_it_imports(engine: str, docker: Engine) -> None:
    code = (
        "import obstore.store, packaging.utils, pip, requests, urllib3, rpac_ci.node.agent\n"
        f"from rpac_ci import engines; engines.load({engine!r})"
    )
    done = in_container(docker(engine).id, "-P", "-c", code, program="/opt/rpac/bin/python")
    assert done.returncode == 0, done.stderr


def test_builders_and_caches_are_not_in_the_images(docker: Engine) -> None:
    names = "g++ gcc cmake javac pip uv"
    for engine in ENGINES:
        script = f"for name in {names}; do command -v $name; done; ls /var/lib/apt/lists /opt"
        done = in_container(docker(engine).id, "-c", script, program="/bin/sh")
        left = set(done.stdout.split()) - {"/opt:", "/var/lib/apt/lists:", "rpac", "environment"}
        assert left - ({"java"} if engine == "spark" else set()) == set(), engine


# --- the image for a lock -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lock() -> bytes:
    """One package, as the base's own lock has it."""
    text = (image_contexts.folder() / "base" / "requirements.lock").read_text()
    start = text.index("packaging==")
    lines = text[start:].splitlines(keepends=True)
    end = next(n for n, line in enumerate(lines[1:], 1) if not line.startswith(" "))
    return "".join(lines[:end]).encode()


def test_a_lock_becomes_an_image_once(docker: Engine, lock: bytes) -> None:
    base = docker("dask")
    said: list[str] = []
    made = images.ensure_environment("dask", lock, python="3.11", report=said.append)
    assert (set(made.packages), made.hashed, made.engine_image_id) == ({"packaging"}, True, base.id)
    assert images.ensure_environment("dask", lock, python=None) == made
    assert not said or said[0].startswith("building rpac/environment:")

    found = images.require(made.id)
    assert (found.protocol, found.engine) == (PROTOCOL, "dask")
    node = "import rpac_ci.node.agent"
    assert in_container(made.id, "-c", node, program="/opt/rpac/bin/python").returncode == 0
    done = in_container(made.id, "-c", "import distributed")
    assert "No module named 'distributed'" in done.stderr


def test_the_image_is_what_an_experiment_may_name(docker: Engine, lock: bytes) -> None:
    made = images.ensure_environment("process", lock, python=None)
    named = images.declared(f"rpac/environment@{made.id}")
    assert (named.id, named.packages) == (made.id, made.packages)


@pytest.mark.parametrize(
    ("changed", "said"),
    [(b"packaging==", b"absent-packaging=="), (b"sha256:", b"sha256:0000")],
    ids=["no such package", "another hash"],
)
def test_a_lock_that_cannot_be_installed(
    docker: Engine, lock: bytes, changed: bytes, said: bytes
) -> None:
    docker("process")
    with pytest.raises(EnvironmentBuildError, match="cannot be built"):
        images.ensure_environment("process", lock.replace(changed, said), python=None)


def test_another_python_than_the_image_s_is_refused(docker: Engine, lock: bytes) -> None:
    docker("process")
    with pytest.raises(EnvironmentBuildError, match=r"wants Python 3\.1, image .* has 3\.11"):
        images.ensure_environment("process", lock, python="3.1")


# --- names and digests ----------------------------------------------------------------------------


def test_an_image_that_is_not_here_and_one_that_is_another(docker: Engine) -> None:
    image = docker("process")
    repository = image.name.partition(":")[0]
    assert images.find("rpac/absent:1") is None
    with pytest.raises(ProvisioningError, match="not on this machine") as caught:
        images.require("rpac/absent:1")
    assert caught.value.hint == "rpac images build absent"

    by_id = images.require(f"{repository}:{__version__}@{image.id}")
    assert by_id.id == image.id
    wrong = f"sha256:{'0' * 64}"
    with pytest.raises(ProvisioningError, match=f"here is {image.id}, wanted is {wrong}"):
        images.require(f"{image.name}@{wrong}")


def test_an_image_of_another_protocol_is_refused(docker: Engine, tmp_path: Path) -> None:
    image = docker("process")
    (tmp_path / "Dockerfile").write_text(f"FROM {image.id}\nLABEL rpac.protocol=1\n")
    tag = "rpac/test-protocol:1"
    subprocess.run(["docker", "build", "--quiet", "--tag", tag, str(tmp_path)], check=True)
    try:
        with pytest.raises(ProvisioningError, match=f"protocol 1, this rpac speaks {PROTOCOL}"):
            images.declared(tag)
    finally:
        subprocess.run(["docker", "image", "rm", tag], check=True, capture_output=True)


def test_the_command_line_lists_images_and_says_their_digest(
    docker: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    image = docker("process")
    capsys.readouterr()
    assert run(["images", "list", "--json"]) == 0
    listed = {one["name"]: one["id"] for one in json.loads(capsys.readouterr().out)}
    assert listed[image.name] == image.id
    assert run(["images", "digest", "process"]) == 0
    said = capsys.readouterr().out.strip()
    assert said == f"rpac/process@{image.digest or image.id}"
    assert images.require(said).id == image.id


def test_an_engines_image_is_built_once_and_pulled_by_other_machines(
    docker: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker("process")
    mine = f"rpac/process:{tmp_path.name}"  # so that what other tests use stays as it is
    usual = images.reference

    def reference(name: str, variant: str = image_contexts.CPU) -> str:
        return mine if name == "process" else usual(name, variant)

    monkeypatch.setattr(images, "reference", reference)
    monkeypatch.setattr(image_builds, "reference", reference)
    said: list[str] = []
    with aws.registry(tmp_path) as address:
        there = f"{address}/rpac"
        try:
            image_registry.bring("process", there, report=said.append)
            assert f"building {mine}" in said
            built = images.find(mine)
            assert built is not None
            (tag,) = [line for line in said if line.startswith(there)]

            said.clear()
            image_registry.bring("process", there, report=said.append)
            assert said == [], "it is here"

            forget(mine, tag)  # as on another machine
            assert images.find(mine) is None
            image_registry.bring("process", there, report=said.append)
            assert said == [tag], "nothing is built"
            pulled = images.find(mine)
            assert pulled is not None
            assert (pulled.id, pulled.protocol) == (built.id, PROTOCOL)
        finally:
            forget(mine, tag, f"{mine}-environment")


def forget(*names: str) -> None:
    """Take names of images away."""
    subprocess.run(["docker", "rmi", *names], capture_output=True, check=False, timeout=60)
