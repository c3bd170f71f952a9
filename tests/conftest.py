"""Shared parts of the tests: a repository to work in, and caches that are not the user's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rpac_ci.storage import Storage
from rpac_ci.workspace import Workspace

ASSETS = Path(__file__).parent / "assets"
ROOT = Path(__file__).parent.parent

WriteExperiment: TypeAlias = Callable[..., Path]

# needs no environment, no network and a tenth of a second
QUICK = """\
id: {name}
title: The quickest experiment there is
engine: process
command: [python, main.py, "{{args.level}}", "{{outputs}}"]
args:
  level: 7
outputs: [metrics.json]
verify:
  level: {{expect: 7}}
limits: {{time: 1 min}}
"""
QUICK_MAIN = """\
import json, pathlib, sys
print("level", sys.argv[1])
metrics = {"level": int(sys.argv[1])}
pathlib.Path(sys.argv[2], "metrics.json").write_text(json.dumps(metrics))
"""


def campaign(rows: Iterable[Any], *, every: int) -> list[Any]:
    """
    Rows of a campaign of faults: of `every` rows the first is part of the suite, the others are of
    `make nightly`.
    """
    return [
        pytest.param(
            *(row if isinstance(row, tuple) else (row,)),
            marks=[pytest.mark.nightly] if number % every else [],
        )
        for number, row in enumerate(rows)
    ]


@pytest.hookimpl(trylast=True)  # what is not to run is away
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Stories that may take long begin first, so that none is left at the end while other workers
    have nothing to do. How long they may take is what their `timeout` says; those of one file stay
    with one worker, as four clusters at once are more than a small machine can start.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        if allowed_s(item) > allowed_s(None):
            files.setdefault(item.path, []).append(item)
    longest = sorted(files.values(), key=lambda found: -max(map(allowed_s, found)))
    taken = {item for found in longest for item in found}
    others = [item for item in items if item not in taken]
    left, ordered = len(items), []
    for worker in range(workers):
        share = left // (workers - worker)  # as xdist hands them out
        own = [item for found in longest[worker::workers] for item in found]
        rest = max(0, share - len(own))
        ordered += [*own, *others[:rest]]
        del others[:rest]
        left -= share
    items[:] = [*ordered, *others]


def allowed_s(item: pytest.Item | None) -> float:
    """After how many seconds a test, or any without a word about it, is ended."""
    mark = item.get_closest_marker("timeout") if item else None
    return float(mark.args[0]) if mark else 300.0


def asset(name: str) -> Path:
    """A file of tests/assets."""
    return ASSETS / name


def git(root: Path, *argv: str) -> str:
    """Run git in a repository of a test."""
    done = subprocess.run(["git", *argv], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True, scope="session")
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> None:
    """
    No user's git settings or cache (a given RPAC_TEST_CACHE is kept between sessions), and Ctrl-C
    is heard by what tests start, also where they run in the background, which ignores it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tmp_path_factory.mktemp("home")
    config = home / "gitconfig"
    config.write_text(
        "[user]\n\tname = Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    os.environ["GIT_CONFIG_GLOBAL"] = str(config)
    os.environ["GIT_CONFIG_SYSTEM"] = os.devnull
    os.environ["RPAC_CACHE"] = os.environ.get("RPAC_TEST_CACHE") or str(home / "cache")


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory, _isolated: None) -> Path:
    """An empty git repository with one commit, which no test changes."""
    root = tmp_path_factory.mktemp("started") / "repository"
    root.mkdir()
    git(root, "init", "--quiet")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "start")
    return root


@pytest.fixture
def repository(started: Path, tmp_path: Path) -> Path:
    """An empty git repository with one commit: a copy, which takes no processes."""
    return shutil.copytree(started, tmp_path / "repository")


@pytest.fixture
def workspace(repository: Path) -> Workspace:
    """The workspace around `repository`."""
    return Workspace.open(repository)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A store in a folder."""
    return Storage.at(tmp_path / "store")


@pytest.fixture
def write_experiment(repository: Path) -> WriteExperiment:
    """Write and commit an experiment; returns its folder."""

    def write(
        name: str = "quick",
        yaml: str = QUICK,
        files: Mapping[str, str] | None = None,
        *,
        commit: bool = True,
    ) -> Path:
        folder = repository / "experiments" / name
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.format(name=name) if yaml is QUICK else yaml
        (folder / "experiment.yaml").write_text(text)
        for path, content in (files if files is not None else {"main.py": QUICK_MAIN}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        if commit:
            git(repository, "add", "--all", "experiments")
            git(repository, "commit", "--quiet", "--message", f"add {name}")
        return folder

    return write
