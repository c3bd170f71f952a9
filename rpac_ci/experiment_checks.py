"""Every mistake in an experiment's file in words: what is wrong, what would be right, where."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rpac_ci import yaml_io
from rpac_ci.errors import CommandError, Problem
from rpac_ci.experiment_model import (
    Arg,
    Data,
    Engine,
    Environment,
    Experiment,
    FileRule,
    GitSource,
    Limits,
    MetricRule,
    Model,
    Resources,
    id_of,
    shown,
)
from rpac_ci.jobs import METRICS_FILE, matches
from rpac_ci.locators import FileLocator, parse_locator

_LOOKS_LIKE_PLACEHOLDER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_.]*\}")


def check_meaning(document: yaml_io.Document, experiment: Experiment) -> Iterator[Problem]:
    """Rules that need more than one key."""
    names = {f"args.{name}" for name in experiment.args} | {
        f"data.{name}" for name in experiment.data
    }
    names |= {"outputs", "seed"}
    for index, word in enumerate(experiment.command):
        for match in _LOOKS_LIKE_PLACEHOLDER.finditer(word):
            name = match[0][1:-1]
            if name not in names:
                yield document.problem(
                    ("command", index),
                    f"unknown placeholder {match[0]}",
                    _did_you_mean(name, names) or "one of " + ", ".join(sorted(names)),
                )
            if name == "seed" and experiment.seed is None:
                yield document.problem(
                    ("command", index), "{seed} without a seed", "add a line such as 'seed: 1'"
                )
    for name, rule in experiment.verify.items():
        if isinstance(rule, MetricRule) and METRICS_FILE not in experiment.outputs:
            yield document.problem(
                ("verify", name), f"a metric needs {METRICS_FILE}", "add it to outputs"
            )
        if isinstance(rule, FileRule) and not any(
            matches(name, pattern) for pattern in experiment.outputs
        ):
            yield document.problem(
                ("verify", name), f"{name!r} is not among the outputs", "add it to outputs"
            )
    environment = experiment.environment
    if environment.lock and environment.image:
        yield document.problem(("environment", "image"), "both lock and image", "one of them")


def check_files(
    document: yaml_io.Document, experiment: Experiment, path: Path
) -> Iterator[Problem]:
    """Rules that need the files beside the experiment."""
    expected = id_of(path)
    if experiment.id != expected:
        yield document.problem(
            ("id",), f"the id {experiment.id!r} differs from the file's name", f"{expected!r}"
        )
    folder = path.parent
    if isinstance(experiment.source, list):
        for index, part in enumerate(experiment.source):
            if not (folder / part).exists():
                yield document.problem(
                    ("source", index), f"there is no {part!r} here", "a path beside this file"
                )
    lock = experiment.environment.lock
    if lock and isinstance(experiment.source, list):
        if not (folder / lock).is_file():
            yield document.problem(
                ("environment", "lock"),
                f"there is no {lock!r} here",
                "a lock file beside this file",
            )
        else:
            yield from _check_lock(lock, folder / lock, document.file)
            yield from _check_engine(document, experiment, folder / lock)
    for name, data in experiment.data.items():
        try:
            locator = parse_locator(data.uri)
        except CommandError as exc:
            yield document.problem(("data", name, "uri"), exc.message, exc.hint)
            continue
        if isinstance(locator, FileLocator):
            yield from _check_data_file(document, name, data, folder / locator.path)


_HASHED_AT_ONCE = 64 * 2**20  # bytes; larger files are checked when the run reads them


def _check_data_file(
    document: yaml_io.Document, name: str, data: Data, path: Path
) -> Iterator[Problem]:
    """A file beside the experiment is there, and is what it is declared to be."""
    if not path.is_file():
        what = f"there is no file {path.name!r}"
        yield document.problem(("data", name, "uri"), what, "a path beside this file")
    elif data.sha256 and path.stat().st_size <= _HASHED_AT_ONCE:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != data.sha256:
            what = f"{path.name!r} has another sha256"
            yield document.problem(("data", name, "sha256"), what, f"it is {found}")


def _check_engine(
    document: yaml_io.Document, experiment: Experiment, lock: Path
) -> Iterator[Problem]:
    """The lock holds the programs that the engine brings along."""
    from rpac_ci import engines

    text = lock.read_text("utf-8", errors="replace")
    for package in engines.load(experiment.engine.name.value).packages:
        if not re.search(rf"^{package}\s*(\[|=|@)", text, re.MULTILINE | re.IGNORECASE):
            engine = experiment.engine.name.value
            what = f"engine {engine} needs {package}, and the lock does not hold it"
            yield document.problem(("environment", "lock"), what, f"a lock with {package}")


_PINNED = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\]]*\])?\s*"
    r"(===?\s*[^\s,*;]+|@\s*https://\S+#sha256=[0-9a-f]{64}\S*)"
    r"\s*(;[^\\]*)?(--hash=\S+\s*)*\\?"
)


def _check_lock(lock: str, path: Path, experiment_file: str) -> Iterator[Problem]:
    """Every requirement of a lock names one version."""
    shown = str(PurePosixPath(experiment_file).parent / lock)
    continued = False
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        text = line.split(" #")[0].strip()
        starts, continued = not continued, text.endswith("\\")
        if starts and text and not text.startswith(("#", "--hash")) and not _PINNED.fullmatch(text):
            yield Problem(
                file=shown,
                line=number,
                column=1,
                what=f"{text[:60]!r} is not pinned",
                right="a lock such as 'uv pip compile --universal --generate-hashes' writes",
            )


def explain(document: yaml_io.Document, error: Any) -> Problem:
    """One pydantic error in our words, at its place in the file."""
    path = _existing(document, error["loc"])
    kind, context, got = error["type"], error.get("ctx", {}), error.get("input")
    last = str(error["loc"][-1]) if error["loc"] else ""
    if kind == "extra_forbidden":
        known = _known_keys(error["loc"])
        right = _did_you_mean(last, known) or "one of " + ", ".join(sorted(known))
        return document.problem(path, f"unknown key {last!r}", right)
    if kind == "missing":
        return document.problem(path, f"the key {last!r} is missing", f"add '{last}: …'")
    if kind == "string_pattern_mismatch":
        return document.problem(path, f"got {got!r}", f"text of the form {context['pattern']}")
    if kind == "value_error":
        what, _, right = str(context["error"]).partition(", ")
        return document.problem(path, what, right)
    message = error["msg"].replace("Input should be", "expected", 1)
    return document.problem(path, f"got {shown(got)}", message[:1].lower() + message[1:])


def _existing(document: yaml_io.Document, loc: tuple[str | int, ...]) -> yaml_io.KeyPath:
    """The location without the parts that are pydantic's own (union members)."""
    path: tuple[str | int, ...] = ()
    for part in loc:
        if (*path, part) in document.positions:
            path = (*path, part)
    return path


def _known_keys(loc: tuple[str | int, ...]) -> set[str]:
    models: dict[str, type[Model]] = {
        "args": Arg,
        "data": Data,
        "resources": Resources,
        "limits": Limits,
        "engine": Engine,
        "environment": Environment,
        "source": GitSource,
    }
    if loc[0] == "verify":
        model: type[Model] = FileRule if loc[2] == "file" else MetricRule
    elif len(loc) == 1:
        model = Experiment
    else:
        model = models[str(loc[0])]
    return {info.alias or name for name, info in model.model_fields.items()}


def _did_you_mean(word: str, known: set[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""
