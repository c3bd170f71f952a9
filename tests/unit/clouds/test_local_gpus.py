"""GPUs of this machine: found by a program on PATH, promised once, shown to one node each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rpac_ci.clouds.local import machine
from rpac_ci.clouds.local.driver import LocalCloud
from rpac_ci.errors import CapacityError
from rpac_ci.jobs import Keys
from rpac_ci.storage import Storage
from tests.standins.waiting import until
from tests.unit.clouds.contract import make_job, variables


@pytest.fixture
def cloud(tmp_path: Path, storage: Storage) -> LocalCloud:
    return LocalCloud(tmp_path / "scratch", storage.url)


@pytest.fixture
def four_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for `nvidia-smi`, which answers as the real one does."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$*" = "--query-gpu=uuid --format=csv,noheader" ] || exit 9\n'
        "for n in 0 1 2 3; do echo GPU-$n; done\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


@pytest.mark.usefixtures("four_gpus")
def test_each_node_sees_its_own_gpus(cloud: LocalCloud, storage: Storage) -> None:
    assert machine.gpus() == ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]
    script = "echo $CUDA_VISIBLE_DEVICES > $0/gpus.txt"
    spec = make_job(storage, ["sh", "-c", script, "{outputs}"], nodes=2, gpus=2)
    cloud.provision(spec)
    names = cloud.submit(spec, variables(storage, spec))
    until(lambda: storage.head(Keys(spec.run).done))
    [output] = storage.get_json(Keys(spec.run).result)["outputs"]
    assert storage.get(f"{Keys(spec.run).outputs}{output['sha256']}") == b"GPU-0,GPU-1\n"
    assert names["nodes"]
    cloud.release(spec)


@pytest.mark.usefixtures("four_gpus")
def test_a_gpu_is_promised_to_one_run_at_a_time(cloud: LocalCloud, storage: Storage) -> None:
    first, second, third = (make_job(storage, gpus=gpus) for gpus in (3, 1, 1))
    cloud.provision(first)
    cloud.provision(first)
    cloud.provision(second)
    with pytest.raises(CapacityError, match=r"1 × 1 GPUs .* and 0 of the 4 ") as caught:
        cloud.provision(third)
    assert "gpus=0" in caught.value.hint
    assert [left.run for left in cloud.leftovers()] == sorted([first.run, second.run])
    cloud.release(first)
    cloud.provision(third)


def test_a_machine_without_gpus_says_so(
    cloud: LocalCloud, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CapacityError, match="0 of the 0 that nvidia-smi lists"):
        cloud.provision(make_job(storage, gpus=1))
    cloud.provision(replace(make_job(storage), gpus=0))


@pytest.mark.usefixtures("four_gpus")
def test_gpus_that_were_not_asked_for_are_hidden(cloud: LocalCloud, storage: Storage) -> None:
    script = 'echo "[$CUDA_VISIBLE_DEVICES]" > $0/gpus.txt'
    spec = make_job(storage, ["sh", "-c", script, "{outputs}"])
    cloud.provision(spec)
    cloud.submit(spec, variables(storage, spec))
    until(lambda: storage.head(Keys(spec.run).done))
    [output] = storage.get_json(Keys(spec.run).result)["outputs"]
    assert storage.get(f"{Keys(spec.run).outputs}{output['sha256']}") == b"[]\n"
    cloud.release(spec)
