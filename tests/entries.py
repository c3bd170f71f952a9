"""Entries of the log as a run leaves them, small, and a repository that several clones share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rpac_ci.canonical import Json, readable_json
from rpac_ci.git import Git
from rpac_ci.log_paths import run_folder
from rpac_ci.reproduction_log import Entry

RUN = "20260102T030405Z-0a1b2c3d"
LATER = "20260203T040506Z-11111111"
CODE = b"import json\nprint(json.dumps({'level': 7}))\n"


def run_entry(run: str = RUN, experiment: str = "quick", **changes: bytes | None) -> Entry:
    """
    A run with its documents, a report, a figure and its code.

    Args:
        run: its id.
        experiment: its experiment.
        changes: files with other content, or without with None; `_` stands for a dot.
    """
    record: Json = {
        "schema": "rpac/record/1",
        "run": run,
        "experiment": experiment,
        "outcome": "fine",
    }
    files: dict[str, bytes] = {
        "pipeline.yaml": f'"id": "{experiment}"\n'.encode(),
        "record.json": readable_json(record),
        "report.md": f"# {experiment}\n\nRun {run} went well: {len(run)} µm.\n".encode(),
        "figures/timeline.svg": b"<svg/>\n",
    }
    for name, content in changes.items():
        files.pop(name.replace("_", "."), None)
        if content is not None:
            files[name.replace("_", ".")] = content
    return Entry(
        folder=run_folder(experiment, run),
        files=files,
        subject=f"{experiment}: reproduced: identical (local, 1 node)",
        trailers=[("Rpac-Run", run), ("Rpac-Experiment", experiment)],
        source={"main.py": ("100755", CODE), "lib/tools.py": ("100644", b"SIZE = 3\n")},
    )


def acceptance(run: str = RUN, experiment: str = "quick") -> Entry:
    """The file that makes a run a reference."""
    content: Json = {"schema": "rpac/acceptance/1", "run": run, "experiment": experiment}
    return Entry(
        folder=f"reports/{experiment}/accepted",
        files={f"{run}.json": readable_json(content)},
        subject=f"{experiment}: accept {run}",
        trailers=[("Rpac-Accepted", run)],
        source={},
    )


def amendment(run: str = RUN, number: int = 1, experiment: str = "quick") -> Entry:
    """A later fact about a run."""
    content: Json = {
        "schema": "rpac/amendment/1",
        "run": run,
        "experiment": experiment,
        "cost_usd": 1.5,
    }
    return Entry(
        folder=run_folder(experiment, run),
        files={f"amendments/{number}.json": readable_json(content)},
        subject=f"{experiment}: cost of {run}",
        trailers=[("Rpac-Run", run)],
        source={},
    )


def make_bare(path: Path) -> Path:
    """An empty shared repository."""
    path.mkdir()
    Git(path).run("init", "--quiet", "--bare")
    return path


def make_clone(bare: Path, path: Path, *options: str) -> Path:
    """A clone of it over `file://`."""
    Git(bare.parent).run("clone", "--quiet", *options, bare.as_uri(), str(path))
    return path


def contents(root: Path, revision: str) -> Mapping[str, bytes]:
    """Every file of a revision."""
    repository = Git(root)
    files = repository.ls_tree(revision)
    blobs = repository.blobs(file.oid for file in files)
    return {file.path: blob or b"" for file, blob in zip(files, blobs, strict=True)}


def expected(*entries: Entry) -> dict[str, bytes]:
    """Every file that a log with these entries has."""
    return {
        f"{entry.folder}/{name}": content
        for entry in entries
        for name, content in {
            **entry.files,
            **{f"source/{path}": content for path, (_, content) in entry.source.items()},
        }.items()
    }
