"""One node's parts: who is main, what it is told, what it puts in place, what it keeps of logs."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rpac_ci.canonical import canonical_json
from rpac_ci.errors import SourceError, StorageError
from rpac_ci.jobs import PROTOCOL, DataItem, JobSpec, Keys, NodeExit, content_key
from rpac_ci.node import facts, processes
from rpac_ci.node.contract import Contract, ContractError, own_address
from rpac_ci.node.folders import NodeFolders
from rpac_ci.node.processes import Child, LogWriter
from rpac_ci.node.rendezvous import StrayNodeError, elect, register, registered
from rpac_ci.sources import ContentCache
from rpac_ci.storage import Storage
from tests.conftest import ROOT
from tests.standins.waiting import until
from tests.unit.clouds.contract import make_job, variables

KEYS = Keys("20260102T030405Z-0a1b2c3d")


# --- rendezvous ---------------------------------------------------------------------------------


def join(storage: Storage, nonce: str, index: int | None, nodes: int) -> tuple[bool, int]:
    """What the node program does first: is it main, and which node is it?"""
    main = elect(storage, KEYS, nonce=nonce, index=index)
    place = register(
        storage, KEYS, nonce=nonce, index=0 if main else index, nodes=nodes, facts={"by": nonce}
    )
    return main, place


def test_with_hints_node_0_is_main_whoever_comes_first(storage: Storage) -> None:
    assert join(storage, "c", 2, 3) == (False, 2)
    assert registered(storage, KEYS, 3) is None
    assert join(storage, "a", 0, 3) == (True, 0)
    assert join(storage, "b", 1, 3) == (False, 1)
    world = registered(storage, KEYS, 3)
    assert world is not None
    assert [(node["index"], node["by"]) for node in world] == [(0, "a"), (1, "b"), (2, "c")]


def test_without_hints_one_is_main_and_each_has_a_place(storage: Storage) -> None:
    barrier = threading.Barrier(8)

    def come(number: int) -> tuple[bool, int]:
        barrier.wait()
        return join(storage, f"nonce {number}", None, 8)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(come, range(8)))
    assert sorted(place for _, place in found) == list(range(8))
    assert [place for main, place in found if main] == [0]


def test_nobody_takes_the_place_of_a_main_that_is_slow_to_register(storage: Storage) -> None:
    assert elect(storage, KEYS, nonce="slow", index=None)
    assert join(storage, "quick", None, 2) == (False, 1)
    assert register(storage, KEYS, nonce="slow", index=0, facts={}, nodes=2) == 0


@pytest.mark.parametrize("index", [0, 1])
def test_a_second_process_of_the_same_index_must_go(storage: Storage, index: int) -> None:
    join(storage, "first", index, 2)
    with pytest.raises(StrayNodeError, match=f"node {index} is another process"):
        join(storage, "second", index, 2)
    found = storage.get_json(KEYS.node(index))
    assert found["nonce"] == "first"


def test_a_process_too_many_must_go(storage: Storage) -> None:
    for number in range(2):
        join(storage, str(number), None, 2)
    with pytest.raises(StrayNodeError):
        join(storage, "third", None, 2)


def test_another_attempt_elects_anew(storage: Storage) -> None:
    again = Keys(KEYS.run, attempt=2)
    assert elect(storage, KEYS, nonce="first", index=0)
    assert elect(storage, again, nonce="second", index=0)


# --- contract -----------------------------------------------------------------------------------

GOOD = {
    "RPAC_RUN": KEYS.run,
    "RPAC_ATTEMPT": "1",
    "RPAC_NODES": "2",
    "RPAC_STORE": "s3://bucket/prefix",
    "RPAC_PROTOCOL": str(PROTOCOL),
}


def test_a_contract_needs_little() -> None:
    contract = Contract.from_environment(GOOD)
    assert (contract.run, contract.attempt, contract.nodes) == (KEYS.run, 1, 2)
    assert (contract.index, contract.address, contract.environment) == (None, None, None)
    assert contract.scratch == Path.cwd()
    assert contract.cache == contract.scratch / "cache"


def test_hints_are_taken(tmp_path: Path) -> None:
    hints = {
        "RPAC_NODE_INDEX": "1",
        "RPAC_NODE_ADDRESS": "10.0.0.2",
        "RPAC_SCRATCH": str(tmp_path),
        "RPAC_ENVIRONMENT": "/opt/venv",
        "RPAC_CACHE": "/mnt/cache",
    }
    contract = Contract.from_environment({**GOOD, **hints})
    assert (contract.index, contract.address) == (1, "10.0.0.2")
    assert contract.scratch == tmp_path
    assert (contract.environment, contract.cache) == (Path("/opt/venv"), Path("/mnt/cache"))


def test_the_place_may_stand_in_a_variable_of_the_cloud_s_own() -> None:
    named = {**GOOD, "RPAC_NODE_INDEX_FROM": "BATCH_INDEX"}
    assert Contract.from_environment({**named, "BATCH_INDEX": "3"}).index == 3
    assert Contract.from_environment(named).index is None, "not every cloud sets it"


WRONG = [
    *(({name: None}, f"{name} is not set") for name in GOOD),
    ({"RPAC_PROTOCOL": str(PROTOCOL + 1)}, "rebuild the image"),
    ({"RPAC_PROTOCOL": "one"}, "not a number"),
    ({"RPAC_NODES": "many"}, "not a number"),
    ({"RPAC_NODE_INDEX": "first"}, "not a number"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_contract_that_is_incomplete_or_wrong(change: dict[str, str | None], said: str) -> None:
    changed = {**GOOD, **change}
    with pytest.raises(ContractError, match=said):
        Contract.from_environment({k: v for k, v in changed.items() if v is not None})


def run_node(environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RPAC_")}
    return subprocess.run(
        [sys.executable, "-m", "rpac_ci.node"],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment}, cwd=folder, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_node_program_refuses_a_wrong_contract(tmp_path: Path) -> None:
    node = run_node({**GOOD, "RPAC_PROTOCOL": "999"}, tmp_path)
    assert (node.returncode, node.stdout) == (NodeExit.PLAN, "")
    assert node.stderr.startswith("rpac node: this node speaks protocol")
    assert list(tmp_path.iterdir()) == []


def test_the_node_program_without_a_job(storage: Storage, tmp_path: Path) -> None:
    node = run_node({**GOOD, "RPAC_STORE": storage.url}, tmp_path)
    assert (node.returncode, node.stderr) == (64, "rpac node: there is no job in the store\n")


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        (["true"], NodeExit.OK, "completed"),
        (["false"], 1, "command failed"),
        (["no-such-program"], 1, "command failed"),
    ],
)
def test_the_node_program_runs_a_job_once(
    storage: Storage, tmp_path: Path, command: list[str], code: int, reason: str
) -> None:
    spec = make_job(storage, command)
    environment = {**variables(storage, spec), "RPAC_SCRATCH": str(tmp_path / "scratch")}
    node = run_node(environment, tmp_path)
    assert node.returncode == code, node.stderr
    assert storage.get_json(Keys(spec.run).result)["reason"] == reason


def test_a_stray_run_of_the_node_program_goes_without_a_trace(
    storage: Storage, tmp_path: Path
) -> None:
    spec = make_job(storage, ["touch", "ran"])
    keys = Keys(spec.run)
    storage.create_json(keys.main, {"nonce": "another"})
    storage.create_json(keys.node(0), {"nonce": "another", "index": 0})
    before = storage.list(f"runs/{spec.run}/")
    environment = {**variables(storage, spec), "RPAC_NODE_INDEX": "0"}
    node = run_node({**environment, "RPAC_SCRATCH": str(tmp_path / "scratch")}, tmp_path)
    assert node.returncode == NodeExit.STRAY
    assert storage.list(f"runs/{spec.run}/") == before
    assert not (tmp_path / "scratch").exists()


def test_facts_name_no_host_and_no_user() -> None:
    found = facts.collect()
    assert found["memory_total_mib"] > 0
    assert found["cpus_online"] >= 1
    words = str(found)
    assert os.uname().nodename not in words
    assert own_address().count(".") == 3


SMI = """\
#!/bin/sh
[ "$*" = "--query-gpu=index,uuid,name,memory.total,driver_version --format=csv,noheader,nounits" ] \
    || exit 9
echo "0, GPU-5a, NVIDIA H100 80GB HBM3, 81559, 580.159.04"
echo "1, GPU-7c, Tesla T4, [N/A], 580.159.04"
"""
H100 = {"name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559, "driver": "580.159.04"}
T4 = {"name": "Tesla T4", "memory_mib": None, "driver": "580.159.04"}


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, [H100, T4]),
        ("", []),
        ("GPU-7c", [T4]),
        ("GPU-5a,GPU-7c", [H100, T4]),
        ("0", [H100]),
        ("1, 0", [H100, T4]),
        ("MIG-9e", [H100, T4]),
    ],
)
def test_a_node_has_the_gpus_that_it_may_use(
    visible: str | None, found: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert facts.gpus() == found


# --- logs ---------------------------------------------------------------------------------------


def parts(storage: Storage) -> list[bytes]:
    return [storage.get(entry.key) or b"" for entry in storage.list("logs/")]


def test_a_log_is_stored_in_parts_as_it_comes(storage: Storage) -> None:
    log = LogWriter(storage, "logs/")
    log.flush()
    log.write(b"one\n")
    log.write("zwei größer\n".encode())
    log.flush()
    log.flush()
    log.write(b"three\n")
    log.flush(last=True)
    assert list(storage.names("logs/")) == ["000000.txt", "000001.txt"]
    assert parts(storage) == ["one\nzwei größer\n".encode(), b"three\n"]


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize(
    ("size", "left_out"),
    [(99, 0), (100, 0), (101, 0), (120, 0), (121, 1), (500, 380)],
)
def test_the_beginning_and_the_end_of_a_long_log_are_kept(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, chunk: int, size: int, left_out: int
) -> None:
    monkeypatch.setattr(processes, "HEAD_BYTES", 100)
    monkeypatch.setattr(processes, "TAIL_BYTES", 20)
    text = bytes(97 + n % 26 for n in range(size))
    log = LogWriter(storage, "logs/")
    for start in range(0, size, chunk):
        log.write(text[start : start + chunk])
        log.flush()
    log.flush(last=True)

    kept = b"".join(parts(storage))

    head, _, rest = kept.partition(b"\n[... ")
    counted, _, tail = rest.partition(b" bytes left out ...]\n")
    assert head.startswith(text[:100])
    assert text.endswith(tail or head)
    assert (len(tail) >= 20) == bool(rest)
    assert int(counted or 0) + len(head) + len(tail) == size, "every byte is kept or counted"
    if chunk == 1:
        assert int(counted or 0) == left_out


class Unwell(Storage):
    """Refuses one write."""

    refusals = 1

    def put(self, key: str, data: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StorageError("no")
        super().put(key, data)


def test_a_part_that_could_not_be_stored_is_not_lost(tmp_path: Path) -> None:
    storage = Unwell(tmp_path.as_uri())
    log = LogWriter(storage, "logs/")
    log.write(b"before ")
    with pytest.raises(StorageError):
        log.flush()
    log.write(b"after")
    log.flush(last=True)
    assert b"".join(parts(storage)) == b"before after"


def start(storage: Storage, folder: Path, *argv: str) -> Child:
    log = LogWriter(storage, "logs/")
    return Child("command", list(argv), cwd=folder, environment=os.environ, log=log)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_a_child_ends_with_the_shells_code_and_its_whole_log(
    storage: Storage, tmp_path: Path, script: str, code: int
) -> None:
    child = start(storage, tmp_path, "sh", "-c", f"echo out; echo err >&2; {script}")
    until(lambda: child.poll() is not None)
    child.stop(0)
    child.close_log()
    assert child.poll() == code
    assert parts(storage) == [b"out\nerr\n"]


def test_a_child_that_does_not_listen_is_killed_with_its_group(
    storage: Storage, tmp_path: Path
) -> None:
    script = "trap '' TERM; echo begun; sleep 600 & wait; sleep 600"
    child = start(storage, tmp_path, "sh", "-c", script)

    def begun() -> bool:
        child.log.flush()
        return parts(storage) == [b"begun\n"]

    until(begun)
    child.stop(0.1)
    child.close_log()  # the pipe is closed by all of them
    assert child.poll() == 137


def test_a_program_that_is_not_there(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start(storage, tmp_path, "no-such-program")


# --- folders ------------------------------------------------------------------------------------


def archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


SCENE = b"scene" * 1000
ITEM = DataItem(
    name="scenes", uri="file:gone.nc", file_name="my scene.nc", sha256=sha256(SCENE), size=5000
)
CODE = archive({"main.py": b"print(1)\n", "lib/run.sh": b"#!/bin/sh\n"})


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache")


@pytest.fixture
def make_folders(storage: Storage, tmp_path: Path) -> Callable[..., NodeFolders]:
    """Folders of a node for a job with these keys."""

    def make(**keys: Any) -> NodeFolders:
        storage.put(content_key(sha256(CODE)), CODE)
        spec: JobSpec = replace(make_job(storage), source=content_key(sha256(CODE)), **keys)
        return NodeFolders(tmp_path / "node", spec, storage)

    return make


def test_code_and_data_are_put_in_place(
    make_folders: Callable[..., NodeFolders], cache: ContentCache
) -> None:
    cache.add([SCENE], expected=None, what="scene")
    folders = make_folders(data=[ITEM])
    folders.prepare(cache, threading.Event())
    assert (folders.work / "main.py").read_bytes() == b"print(1)\n"
    assert os.access(folders.work / "lib" / "run.sh", os.X_OK)
    assert (folders.data / "scenes" / "my scene.nc").read_bytes() == SCENE
    assert folders.outputs.is_dir()


def test_data_comes_from_the_store_where_the_cache_has_none(
    make_folders: Callable[..., NodeFolders], cache: ContentCache, storage: Storage
) -> None:
    storage.put(content_key(ITEM.sha256), SCENE)
    folders = make_folders(data=[ITEM])
    folders.prepare(cache, threading.Event())
    assert (folders.data / "scenes" / "my scene.nc").read_bytes() == SCENE
    assert cache.find(ITEM.sha256)
    assert [path.name for path in folders.data.iterdir()] == ["scenes"]


@pytest.mark.parametrize(
    ("key", "content", "said"),
    [
        (content_key(sha256(CODE)), CODE[:-1] + b"!", "source archive .* missing or damaged"),
        (content_key(sha256(CODE)), None, "source archive .* missing or damaged"),
        (content_key(ITEM.sha256), b"damaged", "has sha256"),
        (content_key(ITEM.sha256), None, "is not here any more"),
    ],
)
def test_what_is_missing_or_damaged_is_not_run(
    make_folders: Callable[..., NodeFolders],
    cache: ContentCache,
    storage: Storage,
    key: str,
    content: bytes | None,
    said: str,
) -> None:
    folders = make_folders(data=[ITEM])
    storage.put(key, content) if content else storage.delete(key)
    with pytest.raises(SourceError, match=said):
        folders.prepare(cache, threading.Event())


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("plain", "plain"),
        ("{args.trees}", "150"),
        ("--rate={args.rate}", "--rate=0.1"),
        ("{args.flag}{args.word}", "truetwo words"),
        ("{data.scenes}", "../data/scenes/my scene.nc"),
        ("{outputs}/x.csv", "../outputs/x.csv"),
        ("{seed}", "7"),
        ("{args.tricky}", "{seed} {outputs}"),
        ("{}", "{}"),
        ("{unknown} {a.b}", "{unknown} {a.b}"),
    ],
)
def test_placeholders_are_filled_once(
    make_folders: Callable[..., NodeFolders], word: str, filled: str
) -> None:
    args = {
        "trees": 150, "rate": 0.1, "flag": True, "word": "two words", "tricky": "{seed} {outputs}",
    }  # fmt: skip
    folders = make_folders(command=["python", word], args=args, data=[ITEM], seed=7)
    assert folders.command() == ["python", filled]


def test_the_paths_in_the_command_lead_to_the_files(
    make_folders: Callable[..., NodeFolders], cache: ContentCache
) -> None:
    cache.add([SCENE], expected=None, what="scene")
    folders = make_folders(command=["{data.scenes}", "{outputs}"], data=[ITEM])
    folders.prepare(cache, threading.Event())
    data, outputs = folders.command()
    assert (folders.work / data).read_bytes() == SCENE
    assert (folders.work / outputs).resolve() == folders.outputs.resolve()


def test_outputs_are_stored_by_hash_and_others_are_named(
    make_folders: Callable[..., NodeFolders], storage: Storage, tmp_path: Path
) -> None:
    folders = make_folders(outputs=["metrics.json", "figures/*.png", "missing.csv"])
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "b.png").write_bytes(b"secret")
    for name in ("metrics.json", "figures/b.png", "figures/a.png", "figures/a.txt", "core.1",
                 "attic/metrics.json", "old/figures/a.png"):  # fmt: skip
        (folders.outputs / name).parent.mkdir(parents=True, exist_ok=True)
        (folders.outputs / name).write_bytes(name.encode())
    (folders.outputs / "figures" / "link.png").symlink_to(tmp_path / "secret" / "b.png")
    (folders.outputs / "linked").symlink_to(tmp_path / "secret")
    os.mkfifo(folders.outputs / "figures" / "pipe.png")

    declared, extra = folders.upload(KEYS)

    names = ["figures/a.png", "figures/b.png", "metrics.json"]
    assert declared == [
        {"path": name, "size": len(name), "sha256": sha256(name.encode())} for name in names
    ]
    assert extra == ["attic/metrics.json", "core.1", "figures/a.txt", "old/figures/a.png"]
    stored = [storage.get(f"{KEYS.outputs}{sha256(name.encode())}") for name in names]
    assert stored == [name.encode() for name in names]
    assert len(storage.list(KEYS.outputs)) == 3


def test_names_of_outputs_can_always_be_written_down(
    make_folders: Callable[..., NodeFolders],
) -> None:
    folders = make_folders(outputs=["*.csv"])
    folders.outputs.mkdir(parents=True)
    for name in (b"caf\xe9.csv", b"caf\xe9.txt", "größe.csv".encode()):
        Path(os.fsdecode(os.fsencode(folders.outputs) + b"/" + name)).write_text("x")
    declared, extra = folders.upload(KEYS)
    assert canonical_json({"outputs": declared, "extra": extra})
    assert "größe.csv" in [output["path"] for output in declared]


def test_a_flood_of_outputs_is_refused(
    make_folders: Callable[..., NodeFolders], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpac_ci.node.folders.MAX_OUTPUTS", 2)
    folders = make_folders(outputs=["*.txt"])
    folders.outputs.mkdir(parents=True)
    for number in range(3):
        (folders.outputs / f"{number}.txt").touch()
    with pytest.raises(SourceError, match="more than 2 output files"):
        folders.upload(KEYS)
