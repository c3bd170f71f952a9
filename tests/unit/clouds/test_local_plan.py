"""The local cloud's plan: what is asked for, with symbols for all that a machine decides."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.clouds.local import containers
from rpac_ci.clouds.local.docker_handover import node_of, site_of
from rpac_ci.clouds.local.folders import RunFolders
from rpac_ci.clouds.local.plan import PLANNER
from rpac_ci.errors import PipelineError
from rpac_ci.pipeline import Definition, Target, Wanted
from rpac_ci.site_config import SiteConfig
from rpac_ci.storage import Storage
from tests.unit.builders import definition
from tests.unit.clouds.contract import make_job, variables

DOCKER, PROCESS = Target(runtime="docker"), Target(runtime="process")
IMAGE = "example.org/lab/model@sha256:" + "a" * 64
TWO = {"nodes": 2, "cpus": 2, "memory": "1 GiB"}


def container(defined: Definition) -> dict[str, Any]:
    """The container that a plan shows."""
    _, submit, _ = PLANNER.render(defined, DOCKER)
    found: dict[str, Any] = submit["container"]
    return found


def test_containers_are_planned_with_the_limits_that_are_asked_for() -> None:
    limits = container(definition(resources=TWO))["HostConfig"]
    assert limits["NanoCpus"] == 2 * 10**9
    assert limits["Memory"] == limits["MemorySwap"] == 2**30
    assert limits["ReadonlyRootfs"]
    assert limits["CapDrop"] == ["ALL"]
    assert "DeviceRequests" not in limits


def test_only_scratch_and_the_runs_own_folder_may_be_written() -> None:
    data = {"sst": {"uri": "file:sst.nc"}}
    mounts = container(definition(data=data))["HostConfig"]["Mounts"]
    assert {mount["Target"] for mount in mounts if not mount["ReadOnly"]} == {
        "/scratch", "/tmp", "/store/runs/${run}",
    }  # fmt: skip
    assert {mount["Target"] for mount in mounts if mount["ReadOnly"]} == {
        "/etc/passwd",
        "/store/content/sha256/${source}",
        "/cache/content/sha256/${data.sst}",
    }


def test_the_network_is_the_runs_own_and_leads_nowhere() -> None:
    provision, submit, release = PLANNER.render(definition(resources=TWO), DOCKER)
    assert provision["network"]["internal"]
    name = "rpac-${run}-${attempt}"
    assert provision["network"]["name"] == release["network"] == name
    assert submit["container"]["HostConfig"]["NetworkMode"] == name
    assert submit["name"] == name + "-${index}"


def test_an_image_by_digest_is_named_and_one_of_ours_is_a_symbol() -> None:
    assert container(definition())["Image"] == "${site.image}"
    declared = definition(environment={"image": IMAGE})
    assert container(declared)["Image"] == IMAGE


def test_gpus_are_asked_for_as_devices_or_as_a_variable() -> None:
    defined = definition(resources={"gpus": 1})
    [device] = container(defined)["HostConfig"]["DeviceRequests"]
    assert device["Capabilities"] == [["gpu"]]
    _, submit, _ = PLANNER.render(defined, PROCESS)
    assert submit["environment"]["CUDA_VISIBLE_DEVICES"] == "${site.local.gpus}"


@pytest.mark.parametrize("target", [DOCKER, PROCESS], ids=["docker", "process"])
def test_a_plan_is_plain_values_and_the_same_on_every_machine(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = PLANNER.render(definition(resources=TWO), target)
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert json.loads(json.dumps(PLANNER.render(definition(resources=TWO), target))) == here


def test_what_is_sent_is_what_was_planned(storage: Storage, tmp_path: Path) -> None:
    """But for the symbols: every one of them has become a value."""
    spec = make_job(storage, nodes=2, cpus=1, memory_mib=1024, image="sha256:" + "1" * 64)
    site = site_of(
        spec, folder=tmp_path, store_url=storage.url, cache=tmp_path, owner="0123456789abcdef"
    )
    node = node_of(spec, 1, RunFolders(tmp_path), variables(storage, spec))
    sent = containers.container(site, node)
    planned = container(definition(resources={"nodes": 2, "cpus": 1, "memory": "1 GiB"}))

    planned["Env"] += [word for word in sent["Env"] if "THREADS=" in word]
    pairs = [*_pairs(_sorted(planned), _sorted(sent))]
    assert len(pairs) > 40
    for shown, real in pairs:
        around = re.split(r"\$\{[a-z.]+\}", shown)
        assert re.fullmatch("[^$]+".join(map(re.escape, around)), real), (shown, real)


def _sorted(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "Env": sorted(request["Env"])}


def _pairs(planned: Any, sent: Any) -> Iterator[tuple[str, str]]:
    if isinstance(planned, dict):
        assert planned.keys() == sent.keys()
        for key in planned:
            yield from _pairs(planned[key], sent[key])
    elif isinstance(planned, list):
        assert len(planned) == len(sent)
        for one, other in zip(planned, sent, strict=True):
            yield from _pairs(one, other)
    else:
        yield str(planned), str(sent)


def test_what_this_cloud_cannot_serve_is_refused() -> None:
    for defined, target, says, hint in (
        (definition(), Target(runtime="podman"), "no runtime 'podman'", "process, docker"),
        (definition(environment={"image": IMAGE}), PROCESS, "needs containers", "runtime=docker"),
        (definition(resources={"nodes": 65}), DOCKER, "65 nodes on one machine", "at most 64"),
    ):
        with pytest.raises(PipelineError, match=says) as caught:
            PLANNER.settle(defined, Wanted(cloud="local", runtime=target.runtime), SiteConfig())
        assert hint in caught.value.hint
