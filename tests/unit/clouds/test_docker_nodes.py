"""Containers keep the promises of every cloud, and those that only containers can make."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import psutil
import pytest

from rpac_ci.clouds.interface import Leftover
from rpac_ci.errors import CapacityError, ProvisioningError
from rpac_ci.jobs import DataItem, JobState, Keys
from rpac_ci.sources import ContentCache
from tests.docker_engine import need_image
from tests.standins.waiting import until
from tests.unit.clouds.contract import (
    SLEEP,
    WAITS,
    CloudContract,
    Needs,
    Started,
    make_job,
    variables,
)
from tests.unit.clouds.docker_bench import (
    MEMORY_MIB,
    Derived,
    DockerBench,
    bench_in,
)

pytestmark = pytest.mark.slow  # containers take a second each


@pytest.fixture(scope="module")
def image() -> str:
    return need_image("process").id


@pytest.fixture
def bench(tmp_path: Path, image: str) -> Iterator[DockerBench]:
    yield from bench_in(tmp_path, image)


@pytest.fixture
def derived(image: str) -> Iterator[Derived]:
    made = Derived(image)
    yield made
    made.remove()


class TestDockerNodes(CloudContract):
    """The promises of every cloud, kept by containers on this machine."""

    @pytest.fixture
    def bench(self, bench: DockerBench) -> DockerBench:
        return bench

    @pytest.fixture
    def needs(self, bench: DockerBench) -> Needs:
        return bench.needs


# --- what a node may ------------------------------------------------------------------------------

LOOK_AROUND = """
import json, os, pathlib, socket, sys

def can(what, *arguments):
    try:
        what(*arguments)
    except OSError:
        return False
    return True

def touch(path):
    pathlib.Path(path).write_text("x")

run = os.environ["RPAC_RUN"]
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
found = {
    "user": os.getuid(),
    "name": __import__("pwd").getpwuid(os.getuid()).pw_name,
    "capabilities": int(status["CapBnd"], 16) | int(status["CapEff"], 16),
    "no new privileges": status["NoNewPrivs"].strip(),
    "environment": sorted(os.environ),
    "store": sorted(str(p) for p in pathlib.Path("/store").glob("*/*")),
    "contents": len(list(pathlib.Path("/store/content/sha256").iterdir())),
    "writable": [p for p in (
        "/x", "/etc/x", "/store/x", "/store/runs/x", "/store/control/x", "/store/content/sha256/x",
        f"/store/runs/{run}/x", "/scratch/x", "/tmp/x", "/dev/shm/x",
    ) if can(touch, p)],
    "reached": [a for a in ADDRESSES if can(socket.create_connection, a, 1)],
    "resolved": can(socket.getaddrinfo, "example.org", 80),
}
pathlib.Path(sys.argv[1], "found.txt").write_text(json.dumps(found))
"""


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server on every address of this machine."""
    with HTTPServer(("0.0.0.0", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_node_sees_its_own_run_and_nothing_else(
    bench: DockerBench, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret-of-the-host")
    bench.storage.put("control/another/pipeline.yaml", b"")
    bench.storage.put("content/sha256/" + "0" * 64, b"code of another run")
    bench.storage.put("runs/another/secret", b"")
    addresses = [
        (address.address, server)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family.name == "AF_INET" and not address.address.startswith("127.")
    ]
    script = LOOK_AROUND.replace("ADDRESSES", repr([*addresses, ("1.1.1.1", 443)]))
    job = Started.on(bench, ["python3", "-c", script, "{outputs}"], **bench.needs)
    gateway = _gateway(bench, job)
    until(lambda: not job.goes_on, limit_s=60)
    found = json.loads(bench.output(bench.storage.get_json(Keys(job.spec.run).result)))

    run = job.spec.run
    assert addresses
    assert gateway is None, "the host has no address in the nodes' network"
    assert found["reached"] == []
    assert not found["resolved"]
    assert found["user"] != 0
    assert found["name"] == "rpac"
    assert (found["capabilities"], found["no new privileges"]) == (0, "1")
    assert found["store"] == ["/store/content/sha256", f"/store/runs/{run}"]
    assert found["contents"] == 1, "the code of its own run"
    assert found["writable"] == [f"/store/runs/{run}/x", "/scratch/x", "/tmp/x", "/dev/shm/x"]
    assert "GITHUB_TOKEN" not in found["environment"]
    assert not bench.storage.head("control/x")
    bench.connect().release(job.spec)


def _gateway(bench: DockerBench, job: Started) -> str | None:
    """The host's address in the network of a job, if its bridge has one."""
    [network] = bench.client.networks(filters={"label": f"rpac.run={job.spec.run}"})
    bridge = f"br-{network['Id'][:12]}"
    found = [a.address for a in psutil.net_if_addrs()[bridge] if a.family.name == "AF_INET"]
    return found[0] if found else None


def test_limits_are_as_asked(bench: DockerBench) -> None:
    job = Started.on(bench, **bench.needs)
    limits = bench.client.inspect_container(job.names["nodes"][0]["container"])["HostConfig"]
    memory = MEMORY_MIB << 20
    assert (limits["Memory"], limits["MemorySwap"], limits["ShmSize"]) == (
        memory, memory, memory // 2,
    )  # fmt: skip
    assert limits["NanoCpus"] == 10**9
    assert limits["PidsLimit"] == 4096
    assert limits["ReadonlyRootfs"]


def test_a_command_that_takes_too_much_memory_is_ended_and_the_node_says_so(
    bench: DockerBench,
) -> None:
    greedy = "import time; held = [bytearray(1 << 24) for _ in range(100)]; time.sleep(600)"
    result = bench.run(f"exec python3 -c '{greedy}'")
    assert result["exit_code"] == 137
    assert "out of memory" in result["message"]


def test_nodes_have_addresses_of_their_own_and_reach_each_other(bench: DockerBench) -> None:
    listen = (
        "import pathlib, socket; server = socket.create_server(('', 7777));"
        "peer, address = server.accept();"
        "pathlib.Path(__import__('sys').argv[1], 'peer.txt').write_text(address[0])"
    )
    job = Started.on(bench, ["python3", "-c", listen, "{outputs}"], nodes=2, **bench.needs)
    keys = Keys(job.spec.run)
    world = until(lambda: bench.storage.get_json(keys.world))
    main, other = (node["address"] for node in world["nodes"])
    assert main != other
    call = (
        "import socket, time\nwhile True:\n"
        f"  try: socket.create_connection(('{main}', 7777), 1); break\n"
        "  except OSError: time.sleep(0.05)"
    )
    client = bench.client
    container = job.names["nodes"][1]["container"]
    client.exec_start(client.exec_create(container, ["python3", "-c", call])["Id"])
    until(lambda: not job.goes_on)
    assert bench.output(bench.storage.get_json(keys.result)) == other
    bench.connect().release(job.spec)


def test_inputs_are_mounted_one_by_one_and_cannot_be_changed(
    bench: DockerBench, tmp_path: Path
) -> None:
    cache = ContentCache(tmp_path / "cache")
    mine, _ = (cache.add([text], expected=None, what="") for text in (b"mine", b"another's"))
    item = DataItem(name="x", uri="file:x", file_name="x", sha256=mine.sha256, size=mine.size)
    script = "(cat ../data/x/x; ls /cache/content/sha256) > $0/seen.txt; echo >> ../data/x/x"
    spec = make_job(bench.storage, ["sh", "-c", script, "{outputs}"], data=[item], **bench.needs)
    contract = {**variables(bench.storage, spec), "RPAC_CACHE": str(cache.root)}
    bench.connect().provision(spec)
    names = bench.connect().submit(spec, contract)
    until(lambda: bench.storage.head(Keys(spec.run).done), limit_s=60)
    result = bench.storage.get_json(Keys(spec.run).result)
    assert bench.output(result) == f"mine{mine.sha256}\n"
    assert result["exit_code"] != 0, "the file cannot be written"
    assert cache.path_of(mine.sha256).read_bytes() == b"mine"
    assert names["nodes"][0]["container"]

    cache.path_of(mine.sha256).unlink()
    later = replace(spec, attempt=2)
    bench.connect().provision(later)
    with pytest.raises(ProvisioningError, match="no longer in the cache") as caught:
        bench.connect().submit(later, contract)
    assert "fetched again" in caught.value.hint
    for job in (spec, later):
        bench.connect().release(job)


# --- what cannot be started -----------------------------------------------------------------------


def test_an_image_that_is_missing_wrong_or_old_is_refused_before_anything_is_made(
    bench: DockerBench,
    derived: Derived,
) -> None:
    old = derived('LABEL rpac.protocol="0"')
    foreign = derived('LABEL rpac.protocol=""')
    tag = bench.client.inspect_image(bench.image)["RepoTags"][0]
    for image, says in (
        ("sha256:" + "0" * 64, "is not here"),
        (tag, "got the image sha256:"),
        (old, "speaks protocol 0"),
        (foreign, "speaks protocol "),
        (None, "names no image"),
    ):
        job = Started(bench, make_job(bench.storage, **bench.needs | {"image": image}))
        with pytest.raises(ProvisioningError, match=says) as caught:
            bench.connect().provision(job.spec)
        assert "rpac images build process" in caught.value.hint
        assert job.left == []


def test_an_image_whose_program_does_not_start_ends_soon_and_says_why(
    bench: DockerBench, derived: Derived
) -> None:
    broken = derived('ENTRYPOINT ["/no/such/program"]')
    job = Started.on(bench, **bench.needs | {"image": broken})
    until(lambda: not job.goes_on)
    observed = bench.connect().observe(job.spec, job.names)
    assert observed.detail == "the main node's container ended with exit code 127"
    assert "/no/such/program" in bench.connect().node_log(job.spec, 0)
    bench.connect().release(job.spec)


def test_containers_that_cannot_be_made_fail_the_step_and_a_release_leaves_nothing(
    bench: DockerBench,
) -> None:
    job = Started(bench, make_job(bench.storage, nodes=2, **bench.needs))
    bench.connect().provision(job.spec)
    bench.storage.delete(job.spec.source)  # a file that is to be mounted
    with pytest.raises(ProvisioningError, match="cannot be made ready"):
        job.submit()
    bench.connect().release(job.spec)
    assert job.left == []


def test_a_name_that_somebody_else_has_taken_is_told(bench: DockerBench) -> None:
    job = Started(bench, make_job(bench.storage, **bench.needs))
    name = f"rpac-{job.spec.run}-1-0"
    theirs = bench.client.create_container_from_config({"Image": bench.image}, name)["Id"]
    try:
        bench.connect().provision(job.spec)
        with pytest.raises(ProvisioningError, match="not ours") as caught:
            job.submit()
        assert caught.value.hint == f"docker container rm {name}, if you may"
        bench.connect().release(job.spec)
        assert bench.client.inspect_container(theirs)
    finally:
        bench.client.remove_container(theirs)


# --- what happens to nodes ------------------------------------------------------------------------


def test_a_node_whose_program_never_comes_leaves_the_world_incomplete(
    bench: DockerBench, derived: Derived
) -> None:
    late = derived(
        'ENTRYPOINT ["sh", "-c", "[ $RPAC_NODE_INDEX = 1 ] && exec sleep 600; '
        'exec /opt/rpac/bin/python -P -m rpac_ci.node"]',
    )  # fmt: skip
    result = bench.run("true", nodes=2, image=late, waits=replace(WAITS, join=3))
    assert result["reason"] == "world incomplete"
    assert bench.connect().leftovers() == []


def test_a_killed_main_container_is_told_from_one_that_ended(bench: DockerBench) -> None:
    job = Started.on(bench, nodes=2, **bench.needs)
    job.await_command()
    bench.client.kill(job.names["nodes"][0]["container"], signal.SIGKILL)
    until(lambda: not job.goes_on)
    observed = bench.connect().observe(job.spec, job.names)
    assert observed.state is JobState.FAILED
    assert observed.detail == "the main node's container was killed (signal 9)"

    bench.client.remove_container(job.names["nodes"][0]["container"], v=True, force=True)
    gone = bench.connect().observe(job.spec, job.names)
    assert (gone.state, gone.detail) == (
        JobState.UNKNOWN, "there is no container of the main node",
    )  # fmt: skip
    bench.connect().release(job.spec)
    assert job.left == []


def test_a_node_that_does_not_listen_is_killed(bench: DockerBench) -> None:
    job = Started.on(bench, **bench.needs)
    job.await_command()
    # so that it never hears of SIGTERM
    bench.client.kill(job.names["nodes"][0]["container"], signal.SIGSTOP)
    bench.connect().stop(job.spec, grace_s=0.2)
    assert not job.goes_on
    bench.connect().release(job.spec)


def test_two_drivers_at_once_make_one_set_of_containers(bench: DockerBench) -> None:
    job = Started(bench, make_job(bench.storage, nodes=2, **bench.needs))
    bench.connect().provision(job.spec)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(job.submit) for _ in range(2))
        assert first.result() == second.result()
    assert [left.kind for left in job.left] == ["container", "container", "network", "folder"]
    bench.connect().release(job.spec)


def test_a_driver_that_died_between_making_and_starting_is_continued(bench: DockerBench) -> None:
    job = Started.on(bench, nodes=2, **bench.needs)
    [request] = [
        bench.client.inspect_container(node["container"])
        for node in job.names["nodes"] if node["index"] == 1
    ]  # fmt: skip
    bench.client.remove_container(request["Id"], v=True, force=True)
    config = {**request["Config"], "HostConfig": request["HostConfig"]}
    bench.client.create_container_from_config(config, request["Name"])
    until(lambda: job.submit()["nodes"][0] == job.names["nodes"][0])
    states = [c["State"] for c in bench.client.containers(filters=_of(job))]
    assert states == ["running", "running"]
    bench.connect().release(job.spec)


def _of(job: Started) -> dict[str, list[str]]:
    return {"label": [f"rpac.run={job.spec.run}"]}


def test_memory_promised_to_containers_is_not_promised_to_processes(bench: DockerBench) -> None:
    available = psutil.virtual_memory().available >> 20
    first = make_job(bench.storage, **bench.needs | {"memory_mib": int(0.6 * available)})
    second = replace(first, run=make_job(bench.storage).run, runtime="process")
    bench.connect().provision(first)
    bench.connect().submit(first, variables(bench.storage, first))
    with pytest.raises(CapacityError):
        bench.connect().provision(second)
    bench.connect().release(first)
    bench.connect().provision(second)
    bench.connect().release(second)


def test_containers_of_another_store_are_not_touched(bench: DockerBench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for other in bench_in(tmp_path / "other", bench.image):
        theirs, ours = (Started.on(b, SLEEP, **b.needs) for b in (other, bench))
        kinds = {left.kind for left in bench.connect().leftovers() if left.run == theirs.spec.run}
        assert kinds == set()
        name = f"rpac-{theirs.spec.run}-1-0"
        stray = Leftover(run=theirs.spec.run, kind="container", name=name)
        bench.connect().discard(stray)
        bench.connect().release(ours.spec)
        assert theirs.goes_on
