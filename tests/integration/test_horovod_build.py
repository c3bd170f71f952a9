"""Horovod built from its source, or taken from the cache, and two ranks that add their numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rpac_ci import image_contexts
from rpac_ci.environments import EnvironmentInfo, ensure
from tests.standins.waiting import until

pytestmark = pytest.mark.slow
SERVER = Path(__file__).parents[2] / "rpac_ci" / "engines" / "inside" / "horovod_rendezvous.py"
RANK = """\
import json, horovod.torch as hvd, torch
hvd.init()
numbers = torch.tensor([hvd.rank() + 1.0, 10.0])
summed = hvd.allreduce(numbers, op=hvd.Sum).tolist()
print(json.dumps([hvd.rank(), hvd.size(), hvd.gloo_built(), hvd.mpi_built(), summed]))
hvd.shutdown()
"""


@pytest.fixture(scope="module")
def environment() -> EnvironmentInfo:
    """The packages of the horovod image, in a virtual environment, and Horovod."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is needed to build Horovod")
    lock = (image_contexts.folder() / "horovod" / "requirements.lock").read_bytes()
    torch = "https://download.pytorch.org/whl/cpu"
    cache = Path(os.environ["RPAC_CACHE"])
    return ensure(lock, python="3.11", cache=cache, indexes=(torch,), horovod=True)


@pytest.mark.timeout(2400)
def test_horovod_is_one_of_the_environments_packages(environment: EnvironmentInfo) -> None:
    assert environment.packages["horovod"] == "0.28.1"
    assert environment.hashed


@pytest.mark.timeout(2400)
def test_two_ranks_find_each_other_and_add(environment: EnvironmentInfo, tmp_path: Path) -> None:
    port = tmp_path / "port.json"
    python = str(environment.interpreter)
    server = subprocess.Popen([python, "-I", str(SERVER), "one:1,two:1", "2", str(port)])
    try:
        until(port.exists, limit_s=120)
        address = str(json.loads(port.read_text())["port"])
        ranks = [start(python, rank, host, address) for rank, host in enumerate(("one", "two"))]
        said = [rank.communicate(timeout=240)[0] for rank in ranks]
    finally:
        server.kill()
        server.wait()
    assert [json.loads(text) for text in said] == [
        [0, 2, True, False, [3.0, 20.0]],
        [1, 2, True, False, [3.0, 20.0]],
    ]


def start(python: str, rank: int, host: str, port: str) -> subprocess.Popen[str]:
    values = {
        "HOSTNAME": host, "RANK": rank, "SIZE": 2, "LOCAL_RANK": 0, "LOCAL_SIZE": 1,
        "CROSS_RANK": rank, "CROSS_SIZE": 2, "CONTROLLER": "gloo", "CPU_OPERATIONS": "gloo",
        "GLOO_RENDEZVOUS_ADDR": "127.0.0.1", "GLOO_RENDEZVOUS_PORT": port, "GLOO_IFACE": "lo",
    }  # fmt: skip
    told = {f"HOROVOD_{name}": str(value) for name, value in values.items()}
    return subprocess.Popen(
        [python, "-I", "-c", RANK], stdout=subprocess.PIPE, text=True, env={**os.environ, **told}
    )
