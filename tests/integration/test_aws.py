"""
AWS against a stand-in: moto over a real socket, its Batch starting real containers (see
`standins.aws` for where that is not AWS). What every cloud promises, and stories from the command
line to the report.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rpac_ci import images
from rpac_ci.clouds.aws import driver
from rpac_ci.clouds.aws.driver import AwsCloud
from rpac_ci.jobs import JobSpec
from rpac_ci.site_clouds import AwsSite
from rpac_ci.storage import Storage
from tests.conftest import QUICK, QUICK_MAIN, ROOT, WriteExperiment, git
from tests.docker_engine import Engine
from tests.docker_engine import docker_fixture as docker_fixture
from tests.integration.conftest import Terminal
from tests.standins import aws
from tests.standins.aws import AwsStandin
from tests.unit.clouds.contract import CloudContract, Needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, docker: Engine) -> Iterator[str]:
    """A registry, where there is a Docker engine to push to it."""
    with aws.registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def account(tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsStandin]:
    """An account, and this process's environment such that SDKs find it."""
    with aws.serve(tmp_path, docker=True, repository=f"{registry}/rpac") as standin:
        for name, value in standin.environment.items():
            monkeypatch.setenv(name, value)
        yield standin
        driver._shared.cache_clear()  # its server is gone


@dataclass(frozen=True)
class AwsBench:
    """The cloud over a bucket of the stand-in."""

    standin: AwsStandin
    storage: Storage

    def connect(self) -> AwsCloud:
        site = AwsSite.model_validate(self.standin.site)
        shared = driver._shared(site.region, os.environ["AWS_ENDPOINT_URL"])
        return AwsCloud(driver.Shared(shared.aws, shared.board), site, self.storage)

    def too_large(self, spec: JobSpec) -> JobSpec:
        return replace(spec, machine="x999.huge")


class TestContract(CloudContract):
    """What every cloud promises."""

    @pytest.fixture
    def bench(self, account: AwsStandin) -> Iterator[AwsBench]:
        bench = AwsBench(account, Storage(account.site["store"], region=aws.REGION))
        yield bench
        for left in bench.connect().leftovers():
            bench.connect().discard(left)

    @pytest.fixture
    def needs(self, docker: Engine, registry: str) -> Needs:
        image = images.publish(docker("process").id, f"{registry}/rpac")
        return {
            "runtime": "docker", "image": image, "memory_mib": 512, "machine": "m6i.large",
            "mode": "gang",
        }  # fmt: skip


# --- stories --------------------------------------------------------------------------------------


def lab(rpac: Terminal, account: AwsStandin) -> None:
    """A repository whose settings name the account."""
    (rpac.root / "rpac.yaml").write_text(account.settings())
    git(rpac.root, "add", "rpac.yaml")
    git(rpac.root, "commit", "--quiet", "--message", "settings")


def quick(write: WriteExperiment, engine: str, lock: str | None) -> None:
    yaml = QUICK.format(name="quick").replace("engine: process", f"engine: {engine}")
    files = {"main.py": QUICK_MAIN}
    if lock:
        yaml += "environment: {lock: requirements.lock}\n"
        files["requirements.lock"] = (ROOT / lock / "requirements.lock").read_text()
    write("quick", yaml, files)


@pytest.mark.parametrize(("engine", "lock"), [("dask", "images/dask"), ("spark", "images/spark")])
def test_two_nodes_on_aws_from_the_command_to_the_report(
    rpac: Terminal, write_experiment: WriteExperiment, account: AwsStandin, docker: Engine,
    engine: str, lock: str,
) -> None:  # fmt: skip
    docker(engine)
    lab(rpac, account)
    quick(write_experiment, engine, lock)

    done = rpac("reproduce", "quick", "cloud=aws", "nodes=2", "spot=true", "memory=2GiB")

    assert done.code == 0, done.out + done.err
    record = rpac.last()
    around = record["circumstances"]
    assert around["cloud"] == "aws"
    assert len(around["nodes"]) == 2, "both have proved themselves"
    assert record["verdict"]["outcome"] == "reproduced: identical"
    report = rpac("show", record["run"]).out
    assert "not AWS itself: a server that speaks its API" in report
    asked = account.gate.count()
    polls = asked.pop("describejobs", 0)
    assert sum(asked.values()) <= 17, asked  # the first run of an account also makes the shape
    assert polls < 60
    [request] = [c for c in account.gate.calls if c.action == "createcomputeenvironment"]
    assert b'"type": "SPOT"' in request.body
    assert rpac("sweep").out.strip() == "nothing is left over"
    fetched = rpac("fetch", record["run"], str(rpac.root.parent / "fetched"))
    assert fetched.code == 0, fetched.err
    assert (rpac.root.parent / "fetched" / "metrics.json").exists()

    before = account.gate.count()
    again = rpac("reproduce", f"quick@{record['run']}")
    assert again.code == 0, again.out + again.err
    asked = account.gate.count() - before
    asked.pop("describejobs", 0)
    assert sum(asked.values()) <= 15, asked
    assert rpac.last()["identity"]["reproduces"] == record["run"]


def test_one_node_as_a_multi_node_parallel_job_and_spot_refused(
    rpac: Terminal, write_experiment: WriteExperiment, account: AwsStandin, docker: Engine
) -> None:
    docker("process")
    lab(rpac, account)
    yaml = QUICK.format(name="quick") + "clouds: {aws: {mode: mnp}}\n"
    write_experiment("quick", yaml)
    refused = rpac("reproduce", "quick", "cloud=aws", "spot=true")
    assert refused.code == 2
    assert "spot machines never start in the mode mnp" in refused.err
    assert account.gate.count() == {}, "refused before anything was asked"

    done = rpac("reproduce", "quick", "cloud=aws")

    assert done.code == 0, done.out + done.err
    [request] = [c for c in account.gate.calls if c.action == "registerjobdefinition"]
    assert b'"multinode"' in request.body
    assert rpac.last()["outcome"]["cost_usd"] > 0, "a minute of the machine at least"
    assert rpac("sweep").out.strip() == "nothing is left over"


def test_a_run_on_aws_is_repeated_here_and_that_one_on_aws_again(
    rpac: Terminal, write_experiment: WriteExperiment, account: AwsStandin, docker: Engine
) -> None:
    docker("process")
    lab(rpac, account)
    write_experiment("quick")
    done = rpac("reproduce", "quick", "cloud=aws", "machine=m6i.large")
    assert done.code == 0, done.out + done.err
    first = rpac.last()
    placed = first["circumstances"]["placement"]
    assert placed["machine"] == "m6i.large"
    assert placed["spec"]["cpus"] == 2
    assert placed["endpoint"].startswith("http://"), "not AWS itself, and the record says so"

    done = rpac("reproduce", f"quick@{first['run']}", "cloud=local")

    assert done.code == 0, done.out + done.err
    here = rpac.last()
    assert here["verdict"]["outcome"] == "reproduced: identical"
    assert here["identity"]["science"] == first["identity"]["science"]
    report = rpac("show", here["run"]).out
    assert f"## On local, after aws m6i.large in {aws.REGION}" in report
    assert f"`{first['identity']['science']}` in both runs" in report
    assert "Ratios of times are left out: the machines are of grade D" in report
    assert "the first was not on aws itself, but at http" in report
    changed = report.partition("Circumstances that changed: ")[2].splitlines()[0]
    assert {"cloud", "instance", "region", "endpoint"} <= set(changed.split(", "))

    done = rpac("reproduce", f"quick@{here['run']}", "cloud=aws")

    assert done.code == 0, done.out + done.err
    back = rpac.last()
    assert back["verdict"]["outcome"] == "reproduced: identical"
    assert back["circumstances"]["placement"]["change"]["recorded"] == "local"
    told = rpac("compare", first["run"], back["run"], "--json").json
    assert told["same_science"]
    assert told["science_proved"] == [True, True]
    assert any("not on aws itself" in why for why in told["performance"]["unfair_time"])
    assert rpac("sweep").out.strip() == "nothing is left over"


def test_pinned_data_in_a_bucket_is_read_by_the_nodes_alone(
    rpac: Terminal, write_experiment: WriteExperiment, account: AwsStandin, docker: Engine
) -> None:
    docker("process")
    lab(rpac, account)
    scene, kept = b"scene" * 1000, b"kept by the lab"
    s3 = account.client("s3")
    s3.create_bucket(Bucket="open-data")
    s3.put_object(Bucket="open-data", Key="2026/scene.nc", Body=scene, ACL="public-read")
    s3.put_object(Bucket="open-data", Key="kept.nc", Body=kept)
    yaml = QUICK.format(name="quick").replace(
        '"{args.level}"', '"{args.level}", "{data.scene}", "{data.kept}"'
    )
    hashes = [hashlib.sha256(content).hexdigest() for content in (scene, kept)]
    yaml += (
        "data:\n"
        f"  scene: {{uri: 's3://open-data/2026/scene.nc?region=us-east-1', sha256: {hashes[0]}}}\n"
        f"  kept: {{uri: 's3://open-data/kept.nc', sha256: {hashes[1]}}}\n"
    )
    main = (
        "import json, pathlib, sys\n"
        "level, scene, kept, outputs = sys.argv[1:]\n"
        f"assert len(pathlib.Path(scene).read_bytes()) == {len(scene)}\n"
        f"assert pathlib.Path(kept).read_bytes() == {kept!r}\n"
        "pathlib.Path(outputs, 'metrics.json').write_text(json.dumps({'level': int(level)}))\n"
    )
    write_experiment("quick", yaml, {"main.py": main})

    done = rpac("reproduce", "quick", "cloud=aws")

    assert done.code == 0, done.out + done.err
    data = rpac.last()["identity"]["data"]
    assert {name: read["size"] for name, read in data.items()} == {
        "scene": len(scene), "kept": len(kept),
    }  # fmt: skip
    cache = Path(os.environ["RPAC_CACHE"]) / "content" / "sha256"
    assert not any((cache / sha256).exists() for sha256 in hashes), "not read here"
    stored = s3.list_objects_v2(Bucket=aws.BUCKET, Prefix="runs/content/")["Contents"]
    assert not any(sha256 in entry["Key"] for entry in stored for sha256 in hashes)
    reads = [c.action for c in account.gate.calls if "scene.nc" in c.path]
    assert reads == ["GET", "GET"], "a look before there are machines, then the node"


RANKS = """\
id: sums
title: Sums over ranks
engine: {name: ENGINE, ranks: 2}
command: [python, main.py, "{outputs}"]
environment: {lock: requirements.lock}
seed: 7
resources: {nodes: 2, cpus: 2, memory: 2 GiB}
outputs: [metrics.json]
verify: {total: {expect: 3}, hosts: {expect: 2}, draws: {expect: 2}}
limits: {time: 5 min}
"""
RANKS_MAIN = """\
import json, os, pathlib, socket, sys, zlib
import torch

mine = [0.0, torch.rand(1).item(), float(zlib.crc32(socket.gethostname().encode()) % 2**20)]
if "HOROVOD_RANK" in os.environ:
    import horovod.torch as hvd

    hvd.init()
    rank, size = hvd.rank(), hvd.size()
    mine[0] = rank + 1.0
    rows = hvd.allgather(torch.tensor([mine])).tolist()
    hvd.shutdown()
else:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    mine[0] = rank + 1.0
    gathered = [torch.zeros(3) for _ in range(size)]
    dist.all_gather(gathered, torch.tensor(mine))
    rows = torch.stack(gathered).tolist()
    dist.destroy_process_group()
print(f"rank {rank} of {size} on {socket.gethostname()}", flush=True)
if rank == 0:
    totals, draws, hosts = zip(*rows)
    metrics = {"total": sum(totals), "draws": len(set(draws)), "hosts": len(set(hosts))}
    pathlib.Path(sys.argv[1], "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ["torchrun", "horovod"])
def test_ranks_on_two_nodes_on_aws_from_the_command_to_the_report(
    rpac: Terminal, write_experiment: WriteExperiment, account: AwsStandin, docker: Engine,
    engine: str,
) -> None:  # fmt: skip
    docker(engine)
    lab(rpac, account)
    lock = (ROOT / "images" / engine / "requirements.lock").read_text()
    files = {"main.py": RANKS_MAIN, "requirements.lock": lock}
    write_experiment("sums", RANKS.replace("ENGINE", engine), files)

    done = rpac("reproduce", "sums", "cloud=aws")

    assert done.code == 0, done.out + done.err
    record = rpac.last()
    around = record["circumstances"]
    assert (around["cloud"], [node["index"] for node in around["nodes"]]) == ("aws", [0, 1])
    assert (around["engine"]["ranks"], around["engine"]["ranks_per_node"]) == (2, 1)
    assert around["engine"]["versions"]["torch"]
    assert record["verdict"]["outcome"] == "reproduced: identical"
    assert rpac("sweep").out.strip() == "nothing is left over"


def told(record: dict[str, Any]) -> str:
    """Why a run ended as it did."""
    return str(record["outcome"].get("message") or record["outcome"])
