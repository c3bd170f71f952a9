"""
Training on a real GPU: what a run there is told, what its record says of it, whether it gives the
same bits again, and what a processor makes of the same program.

Runs where `nvidia-smi` lists a GPU and the Python of the tests has a torch that can use it, else it
is skipped with the reason; `RPAC_TEST_GPU=1` says that it has to be there. The experiments' lock is
that very torch with all it needs, so pip's index must have the wheels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import WriteExperiment
from tests.integration.conftest import NOTHING, Answer, Terminal

# the first of them builds the environment: gigabytes of NVIDIA's libraries
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

QUERY = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,uuid"]
REQUIRED = os.environ.get("RPAC_TEST_GPU") == "1"

YAML = """\
id: rings
title: A small network that tells rings from blobs
engine: ENGINE
command: [python, train.py, "{args.device}", "{outputs}"]
environment: {lock: requirements.lock}
args: {device: {value: cuda, role: operational}}
seed: 7
resources: {gpus: 1, cpus: 2, memory: 2 GiB}
outputs: [metrics.json, weights.bin, told.json]
verify:
  loss: {rel_tol: 0.001}
  accuracy: {abs_tol: 0.02}
limits: {time: 10 min}
"""
TRAIN = """\
import json, os, pathlib, sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

device, out = sys.argv[1], pathlib.Path(sys.argv[2])
local = int(os.environ["LOCAL_RANK"])
if device == "cuda":
    assert torch.cuda.is_available(), "there is no GPU here"
    torch.cuda.set_device(local % torch.cuda.device_count())
dist.init_process_group("nccl" if device == "cuda" else "gloo")

# pictures of 16 x 16: noise over a ring or a blob; drawn by the processor on both devices
count = 512
labels = torch.randint(0, 2, (count,))
y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
radius = ((x - 7.5) ** 2 + (y - 7.5) ** 2).sqrt()
shapes = torch.stack([(radius < 3.0).float(), ((radius - 5.5).abs() < 0.7).float()])
pictures = (shapes[labels] / 2 + torch.randn(count, 16, 16)).unsqueeze(1)
# well-conditioned: float64 changes the last loss by 1e-5, so rounding hides no mistake
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 2),
)
pictures, labels, network = (part.to(device) for part in (pictures, labels, network))
model = DistributedDataParallel(network)
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
for step in range(50):
    optimizer.zero_grad()
    answers = model(pictures)
    losses = nn.functional.cross_entropy(answers, labels, reduction="none")
    # atomic additions on a GPU, in any order unless torch is told to be deterministic
    of_class = torch.zeros(2, device=device).index_add(0, labels, losses)
    loss = (of_class / torch.bincount(labels, minlength=2)).mean()
    loss.backward()
    optimizer.step()
accuracy = (answers.argmax(1) == labels).float().mean()

if dist.get_rank() == 0:
    weights = torch.cat([value.detach().cpu().flatten() for value in network.parameters()])
    (out / "weights.bin").write_bytes(bytes(weights.view(torch.uint8).tolist()))
    metrics = {"loss": loss.item(), "accuracy": accuracy.item()}
    (out / "metrics.json").write_text(json.dumps(metrics))
    seen = torch.cuda.device_count()
    told = {
        "backend": dist.get_backend(), "ranks": dist.get_world_size(), "local_rank": local,
        "gpus": [torch.cuda.get_device_name(index) for index in range(seen)],
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
    }
    (out / "told.json").write_text(json.dumps(told))
    print("trained on", told["gpus"] or "no GPU", "loss", loss.item(), flush=True)
dist.destroy_process_group()
"""
# of engine `process`: no lock, so the Python that runs rpac
HOST_YAML = """\
id: square
title: A product on the GPU, by the machine's own torch
engine: process
command: [python, square.py, "{outputs}"]
resources: {gpus: 1, memory: 2 GiB}
outputs: [metrics.json]
verify: {trace: {expect: 64}}
"""
HOST = """\
import json, pathlib, sys
import torch

one = torch.eye(64, device="cuda")
trace = (one @ one).trace().item()
pathlib.Path(sys.argv[1], "metrics.json").write_text(json.dumps({"trace": trace}))
"""


# --- what is here -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpus() -> list[dict[str, str]]:
    """Name, memory (MiB), driver and id of each GPU, as `nvidia-smi` says it to anybody."""
    found = list_gpus()
    if isinstance(found, str):
        (pytest.fail if REQUIRED else pytest.skip)(found)
    return found


def list_gpus() -> list[dict[str, str]] | str:
    """The GPUs of this machine, or why none of them can be used here."""
    try:
        listed = subprocess.run(
            [*QUERY, "--format=csv,noheader,nounits"],
            check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        distribution("torch")
    except (OSError, subprocess.SubprocessError):
        return "no GPU: nvidia-smi lists none on this machine"
    except PackageNotFoundError:
        return f"no torch in {sys.executable}: the tests on a GPU take its version"
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    if subprocess.run([sys.executable, "-c", probe], check=False, timeout=300).returncode:
        return f"the torch of {sys.executable} cannot use the GPU"
    names = ("name", "memory_mib", "driver", "uuid")
    rows = (line.split(", ") for line in listed.stdout.splitlines())
    return [dict(zip(names, row, strict=True)) for row in rows]


def lock() -> str:
    """This Python's torch and all it needs, one version each."""
    found: dict[str, str] = {}
    _add(Requirement("torch"), found, set())
    _add(Requirement("numpy"), found, set())
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def _add(wanted: Requirement, found: dict[str, str], seen: set[tuple[str, str]]) -> None:
    package = distribution(wanted.name)
    found[package.metadata["Name"]] = package.version
    for extra in {"", *wanted.extras}:
        if (wanted.name, extra) in seen:
            continue
        seen.add((wanted.name, extra))
        for requirement in map(Requirement, package.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                _add(requirement, found, seen)


def rings(write: WriteExperiment, engine: str = "torchrun") -> None:
    write("rings", YAML.replace("ENGINE", engine), {"train.py": TRAIN, "requirements.lock": lock()})


def told(rpac: Terminal, run: str, folder: Path) -> Any:
    """What the command saw around it."""
    assert rpac("fetch", run, str(folder / run)).code == 0
    return json.loads((folder / run / "told.json").read_text())


def agreements(record: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["agreement"] for check in record["verdict"]["checks"]}


def well(answer: Answer) -> Answer:
    assert answer.code == 0, answer.out + answer.err
    return answer


# --- one GPU ------------------------------------------------------------------------------------


def test_training_on_a_gpu_gives_the_same_bits_again_and_its_record_tells_where(
    gpus: list[dict[str, str]], rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    rings(write_experiment)
    print(well(rpac("reproduce", "rings")).out)
    first = rpac.last()
    assert first["verdict"]["outcome"] == "baseline"
    assert first["outcome"]["metrics"]["accuracy"]["value"] > 0.9

    gpu = gpus[0]
    seen = told(rpac, first["run"], tmp_path)
    assert seen == {
        "backend": "nccl", "ranks": 1, "local_rank": 0, "gpus": [gpu["name"]],
        "visible": gpu["uuid"], "cublas": ":4096:8", "deterministic": True, "tf32": [False, False],
    }  # fmt: skip
    around = first["circumstances"]
    [node] = around["nodes"]
    memory = int(gpu["memory_mib"])
    assert node["gpus"] == [{"name": gpu["name"], "memory_mib": memory, "driver": gpu["driver"]}]
    assert around["engine"]["communication"] == "NCCL"
    assert around["determinism"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert around["packages"]["torch"] == distribution("torch").version
    report = rpac("show", first["run"]).out
    print("\n".join(line for line in report.splitlines() if gpu["name"] in line))
    assert f"1 × {gpu['name']}" in report
    assert f"driver {gpu['driver']}" in report

    print(well(rpac("reproduce", f"rings@{first['run']}")).out)
    again = rpac.last()
    assert again["verdict"]["outcome"] == "reproduced: identical"
    assert agreements(again)["weights.bin"] == "identical"
    history = rpac("history", "rings")
    print(history.out)
    assert rpac.runs("rings") == [again["run"], first["run"]]
    assert rpac.left_over() == NOTHING


def test_a_processor_agrees_within_the_tolerance_and_not_in_the_bits(
    gpus: list[dict[str, str]], rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path
) -> None:
    rings(write_experiment)
    well(rpac("reproduce", "rings"))
    on_gpu = rpac.last()
    print(well(rpac("reproduce", f"rings@{on_gpu['run']}", "gpus=0", "args.device=cpu")).out)
    on_cpu = rpac.last()
    assert on_cpu["identity"]["science"] == on_gpu["identity"]["science"]
    assert on_cpu["verdict"]["outcome"] == "reproduced: within tolerance"
    assert agreements(on_cpu)["weights.bin"] == "different"
    print({run["run"]: run["outcome"]["metrics"] for run in (on_gpu, on_cpu)})

    seen = told(rpac, on_cpu["run"], tmp_path)
    assert (seen["backend"], seen["gpus"], seen["visible"]) == ("gloo", [], "")
    assert on_cpu["circumstances"]["nodes"][0]["gpus"] == []
    assert on_cpu["circumstances"]["engine"]["communication"] == "Gloo"
    compared = rpac("compare", on_gpu["run"], on_cpu["run"]).out
    print(compared)
    assert gpus[0]["name"] in compared
    assert "layout.communication" in compared


def test_without_a_lock_it_is_the_machine_s_own_torch(
    gpus: list[dict[str, str]], rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment("square", HOST_YAML, {"square.py": HOST})
    print(well(rpac("reproduce", "square")).out)
    record = rpac.last()
    assert record["verdict"]["outcome"] == "reproduced: identical"
    assert record["circumstances"]["nodes"][0]["gpus"][0]["name"] == gpus[0]["name"]


# --- more than there are ------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["gpus", "nodes"])
def test_more_gpus_than_the_machine_has_are_refused_with_their_number(
    gpus: list[dict[str, str]], rpac: Terminal, write_experiment: WriteExperiment, key: str
) -> None:
    rings(write_experiment)
    there, wanted = len(gpus), len(gpus) + 1
    answer = rpac("reproduce", "rings", f"{key}={wanted}")
    print(answer.out, answer.err)
    assert answer.code == 5
    record = rpac.last()
    assert record["verdict"]["outcome"] == "could not run"
    asked = f"1 × {wanted}" if key == "gpus" else f"{wanted} × 1"
    message = f"{asked} GPUs are asked for and {there} of the {there} that nvidia-smi lists"
    assert message in record["outcome"]["message"]
    assert rpac.left_over() == NOTHING


def test_two_ranks_on_one_gpu_are_warned_of_and_nccl_s_refusal_is_shown(
    gpus: list[dict[str, str]], rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    rings(write_experiment, "{name: torchrun, ranks: 2}")
    assert "2 ranks share 1 GPU of a node" in rpac("plan", "rings").out
    answer = rpac("reproduce", "rings")
    print(answer.out, answer.err)
    assert answer.code == 3
    record = rpac.last()
    assert record["verdict"]["outcome"] == "inconclusive (run failed)"
    assert "Duplicate GPU detected" in record["outcome"]["log_tail"]
    assert record["circumstances"]["engine"]["communication"] == "Gloo"
