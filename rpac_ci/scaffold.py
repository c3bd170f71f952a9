"""`rpac new`: an experiment that runs as it is, to be changed from there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rpac_ci.errors import CommandError
from rpac_ci.experiments import find
from rpac_ci.workspace import Workspace

_EXPERIMENT = """\
schema: rpac/experiment/1
id: {id}
title: {quoted}
engine: process                        # or dask, for several nodes
command: [python, main.py, --samples, "{{args.samples}}", --seed, "{{seed}}", --out, "{{outputs}}"]
environment: {{lock: requirements.lock}} # packages: uv pip compile --universal --generate-hashes …
args:
  samples: 100000                      # scientific: changing it makes a variant
seed: 1
resources: {{nodes: 1, cpus: 1, memory: 512 MiB}}
outputs: [metrics.json]
verify:
  pi: {{expect: 3.14159, abs_tol: 0.02}} # four standard errors of the default sample
limits: {{time: 5 min}}
"""

_MAIN = '''\
"""Estimate pi by throwing darts; replace this by your own computation."""

import argparse
import json
import random
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--samples", type=int, required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--out", type=Path, required=True)
options = parser.parse_args()

darts = random.Random(options.seed)
hits = sum(darts.random() ** 2 + darts.random() ** 2 <= 1 for _ in range(options.samples))
metrics = {"pi": 4 * hits / options.samples}
(options.out / "metrics.json").write_text(json.dumps(metrics))
print(metrics)
'''

_LOCK = """\
# Exact versions with hashes, for example made by
#   uv pip compile --universal --generate-hashes requirements.in -o requirements.lock
# This experiment needs only Python itself.
"""

_README = """\
# {title}

What is computed, from which data, and why these tolerances. Run it with `rpac reproduce {id}`.
"""


def files(name: str, title: str = "") -> dict[str, str]:
    """The files of a new experiment, by their names in its folder."""
    shown = " ".join(title.split()) or f"What {name} shows, in one line"
    words = {"id": name, "title": shown, "quoted": json.dumps(shown, ensure_ascii=False)}
    return {
        "experiment.yaml": _EXPERIMENT.format(**words),
        "main.py": _MAIN,
        "requirements.lock": _LOCK,
        "README.md": _README.format(**words),
    }


def new(name: str, *, title: str = "", repository: Path | str = ".") -> list[Path]:
    """
    Write the files of a new experiment.

    Returns:
        Their paths, relative to where the command was given if possible.

    Raises:
        CommandError: the id is not one, or is taken.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise CommandError(
            f"got {name!r}, expected an id of lower-case letters, digits and hyphens",
            hint="for example: rpac new cloud-mask",
        )
    workspace = Workspace.open(repository)
    folder = workspace.experiments / name
    if name in find(workspace.experiments) or folder.exists():
        raise CommandError(f"the experiment {name!r} is there already")
    written = []
    try:
        folder.mkdir(parents=True)
        for file, content in files(name, title).items():
            path = folder / file
            path.write_text(content, encoding="utf-8")
            written.append(path)
    except OSError as exc:
        raise CommandError(f"{folder} cannot be written: {exc.strerror}") from exc
    here = Path.cwd().resolve()
    return [
        path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path
        for path in written
    ]
