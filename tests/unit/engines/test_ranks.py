"""What torchrun and Horovod tell the ranks of a command, and which ranks fit on which nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rpac_ci import engines
from rpac_ci.engines import installed
from rpac_ci.engines.interface import NodeContext
from rpac_ci.errors import PipelineError
from rpac_ci.jobs import EngineName
from rpac_ci.pipeline import compile_pipeline, science, total_ranks
from tests.unit.builders import definition, make_spec, tree

ARGV = ["python", "train.py", "--lr", "0.1; rm -rf /"]
LOCK = b"torch==2.13.0\ncloudpickle==3\npsutil==6\npyyaml==6\npackaging==24\n"


def node(
    index: int, *, nodes: int = 2, ranks: int = 4, gpus: int = 0, folder: Path = Path("/x")
) -> NodeContext:
    spec = make_spec(nodes=nodes, ranks=ranks, gpus=gpus, cpus=4)
    return NodeContext(
        spec=spec, index=index, address=f"127.0.0.{2 + index}", interpreter="/venv/bin/python",
        folder=folder, secret={},
    )  # fmt: skip


def roles(name: str, index: int, **layout: Any) -> list[tuple[str, Sequence[str], dict[str, str]]]:
    announced = {"address": "127.0.0.2", "port": 23456}
    found = engines.load(name).command_roles(node(index, **layout), announced, ARGV)
    return [(role.name, role.argv, dict(role.environment)) for role in found]


def test_horovod_numbers_its_ranks_node_by_node() -> None:
    told = [variables for index in (0, 1) for _, _, variables in roles("horovod", index)]
    keys = ("RANK", "LOCAL_RANK", "CROSS_RANK", "SIZE", "LOCAL_SIZE", "CROSS_SIZE")
    found = [tuple(int(one[f"HOROVOD_{key}"]) for key in keys) for one in told]
    assert found == [
        (0, 0, 0, 4, 2, 2), (1, 1, 0, 4, 2, 2), (2, 0, 1, 4, 2, 2), (3, 1, 1, 4, 2, 2)
    ]  # fmt: skip
    assert [one["HOROVOD_HOSTNAME"] for one in told] == ["node-00000"] * 2 + ["node-00001"] * 2
    assert {one["HOROVOD_GLOO_RENDEZVOUS_PORT"] for one in told} == {"23456"}


def test_a_rank_of_horovod_is_the_command_itself() -> None:
    assert [name for name, _, _ in roles("horovod", 0)] == ["command", "rank-1"]
    assert [name for name, _, _ in roles("horovod", 1)] == ["rank-2", "rank-3"]
    assert all(argv == ARGV for _, argv, _ in roles("horovod", 1))


def test_horovods_server_is_told_hosts_and_ranks(tmp_path: Path) -> None:
    [role] = engines.load("horovod").main_roles(node(0, folder=tmp_path))
    assert role.argv[2:4] == ["node-00000:2,node-00001:2", "4"]


def test_the_port_of_horovods_server_is_known_once_it_is_written(tmp_path: Path) -> None:
    engine, main = engines.load("horovod"), node(0, folder=tmp_path)
    assert engine.announce(main) is None
    (tmp_path / "rendezvous.json").write_text('{"port": 23456}')
    assert engine.announce(main) == {"address": "127.0.0.2", "port": 23456}


def test_torchrun_starts_one_agent_on_every_node() -> None:
    for index in (0, 1):
        [(name, argv, _)] = roles("torchrun", index)
        assert name == "command"
        assert argv[-len(ARGV) :] == ARGV
        options = dict(zip(argv[3 : -len(ARGV) - 1 : 2], argv[4 : -len(ARGV) : 2], strict=False))
        assert options["--nnodes"] == "2"
        assert options["--node-rank"] == str(index)
        assert options["--nproc-per-node"] == "2"
        assert (options["--master-addr"], options["--master-port"]) == ("127.0.0.2", "23456")
        assert options["--max-restarts"] == "0"


def asked(engine: Any, **resources: int) -> Any:
    files = {"main.py": b"print(1)\n", "requirements.lock": LOCK}
    return definition(
        source=tree(files), engine=engine, environment={"lock": "requirements.lock"},
        resources=resources,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "resources", "ranks"),
    [
        ("torchrun", {}, 1),
        ("torchrun", {"nodes": 3}, 3),
        ("horovod", {"nodes": 2, "gpus": 4}, 8),
        ({"name": "horovod", "ranks": 6}, {"nodes": 3}, 6),
        ("dask", {"nodes": 2}, None),
        ("spark", {"nodes": 2}, None),
        ("process", {}, None),
    ],
)
def test_ranks_in_all(engine: Any, resources: dict[str, int], ranks: int | None) -> None:
    assert total_ranks(asked(engine, **resources)) == ranks


def test_ranks_are_science_and_nodes_are_not() -> None:
    digests = {
        name: science(asked({"name": "horovod", "ranks": ranks}, nodes=nodes)).digest
        for name, ranks, nodes in (("2 on 1", 2, 1), ("2 on 2", 2, 2), ("4 on 2", 4, 2))
    }
    assert digests["2 on 1"] == digests["2 on 2"]
    assert digests["4 on 2"] != digests["2 on 2"]


@pytest.mark.parametrize(
    ("engine", "resources", "message"),
    [
        ({"name": "torchrun", "ranks": 4}, {"nodes": 3}, "4 ranks do not spread evenly over 3"),
        ({"name": "process", "ranks": 2}, {}, "engine process has no ranks"),
    ],
)
def test_ranks_that_do_not_fit_are_refused(
    engine: Any, resources: dict[str, int], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        compile_pipeline(asked(engine, **resources))


def test_every_engine_can_be_loaded_and_says_what_it_is() -> None:
    for name in EngineName:
        engine = engines.load(name.value)
        assert engine.collective == name.collective
        assert set(engine.from_source) <= set(engine.packages)
    assert "2023" in engines.remarks(asked("horovod"))[0]
    assert engines.remarks(asked("torchrun")) == []


def test_ranks_that_share_a_gpu_are_told_before_nccl_refuses_them() -> None:
    two = {"name": "torchrun", "ranks": 2}
    [remark] = engines.remarks(asked(two, gpus=1))
    assert remark == "2 ranks share 1 GPU of a node: NCCL refuses that, Gloo may do"
    for fits in ({"nodes": 2, "gpus": 1}, {"gpus": 2}, {}):
        assert engines.remarks(asked(two, **fits)) == []


@pytest.mark.parametrize(
    ("engine", "gpus", "communication"),
    [
        ("torchrun", 0, "Gloo"),
        ("torchrun", 1, "Gloo"),  # two ranks of each node share it
        ("torchrun", 2, "NCCL"),
        ("horovod", 2, "Gloo"),  # rpac builds it without NCCL
    ],
)
def test_the_record_says_what_carries_the_ranks_tensors(
    engine: str, gpus: int, communication: str
) -> None:
    assert engines.load(engine).facts(node(0, gpus=gpus))["communication"] == communication


def test_a_port_on_which_something_listens_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(installed, "_PORTS", range(port, port + 200))
        assert installed.free_port("127.0.0.1") != port


def test_the_interface_of_an_address_is_found() -> None:
    assert installed.interface_of("127.0.0.1") == "lo"
    assert installed.interface_of("127.0.0.7") == "lo"  # loopback is a whole network
    assert installed.interface_of("203.0.113.9") == ""


def test_what_is_published_as_source_is_found_in_any_lock() -> None:
    lock = b"numpy==2.0\npyspark==4.3.0 \\\n    --hash=sha256:00\npyspark-extra==1\n"
    assert engines.published_as_source(lock) == ("pyspark",)
    assert engines.published_as_source(LOCK) == ()
    assert engines.published_as_source(b"# via pyspark\npyspark-extra==1\n") == ()
