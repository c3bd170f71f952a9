"""
`make test-experiments`: the experiments' own tests, each in the environment of its lock.

The environments are those that runs use, from the same cache; pytest stands beside them in a folder
of its own, so that none of them changes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rpac_ci import engines, environments, experiments
from rpac_ci.installing import Uv, one_builder
from rpac_ci.workspace import Workspace

ROOT = Path(__file__).parents[1]


def main(names: list[str]) -> int:
    """Test the experiments of these names, by default all that have tests."""
    workspace = Workspace.open(ROOT)
    tools = workspace.cache / "pytest"
    folders = [ROOT / "experiments" / name for name in names]
    folders = folders or sorted(path.parent for path in ROOT.glob("experiments/*/tests"))
    return max([_test(folder, workspace.cache, tools) for folder in folders])


def _test(folder: Path, cache: Path, tools: Path) -> int:
    print(f"=== {folder.name}", flush=True)
    experiment = experiments.load(folder / "experiment.yaml", root=ROOT).experiment
    wanted = experiment.environment
    lock = (folder / (wanted.lock or "")).read_bytes()
    info = environments.ensure(
        lock, python=wanted.python, cache=cache, indexes=tuple(wanted.indexes),
        from_source=engines.published_as_source(lock),
        horovod=experiment.engine.name.value == "horovod",
    )  # fmt: skip
    install = ["pip", "install", "--quiet", "--python", str(info.interpreter), "--target"]
    with one_builder(tools, None) as held:
        Uv(held, None).run([*install, str(tools), "pytest>=8.3,<10"], "pytest cannot be installed")
    variables = {**os.environ, "PYTHONPATH": str(tools)}
    argv = [str(info.interpreter), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(argv, cwd=folder, env=variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
