"""Every mistake in an experiment's file in words: what is wrong, what would be right, where."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rpac_ci import yaml_io
from rpac_ci.documents import FORMS, Model, shown
from rpac_ci.errors import CommandError, Problem
from rpac_ci.experiment_model import (
    Arg,
    Compare,
    Data,
    Engine,
    Environment,
    EquivalenceRule,
    Experiment,
    FileRule,
    GitSource,
    Limits,
    MetricRule,
    Resources,
    id_of,
)
from rpac_ci.jobs import METRICS_FILE, is_pattern, matches
from rpac_ci.locators import FileLocator, parse_locator, without_login

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
        if isinstance(rule, FileRule):
            problems = _file_rule(name, rule, experiment)
        else:
            problems = _metric_rule(name, experiment)
        for what, right in problems:
            yield document.problem(("verify", name), what, right)
    environment = experiment.environment
    if environment.lock and environment.image:
        yield document.problem(("environment", "image"), "both lock and image", "one of them")


def _metric_rule(name: str, experiment: Experiment) -> Iterator[tuple[str, str]]:
    if METRICS_FILE not in experiment.outputs:
        yield f"a metric needs {METRICS_FILE}", "add it to outputs"
    if is_pattern(name):
        yield (
            f"{name!r} is a pattern of files, and this is a rule for a metric",
            ("say how files are compared: {compare: bytes}"),
        )


def _file_rule(name: str, rule: FileRule, experiment: Experiment) -> Iterator[tuple[str, str]]:
    named = any(matches(name, pattern) for pattern in experiment.outputs)
    if not (named or (is_pattern(name) and any(is_pattern(p) for p in experiment.outputs))):
        yield f"{name!r} is not among the outputs", "add it to outputs"
    if is_pattern(name) and (rule.sha256 or rule.expect):
        yield "one expected content for a pattern of files", "a rule for each file"
    if rule.sha256 and (rule.expect or rule.compare is not Compare.BYTES):
        yield "sha256 fixes every byte", "either sha256 alone, or compare with another file"
    if rule.expect and rule.expect.removeprefix("data.") not in experiment.data:
        yield f"there is no input {rule.expect!r}", "an input that stands under data"
    tolerances = [rule, *rule.variables.values()]
    tolerant = any(t.abs_tol or t.rel_tol for t in tolerances)
    if rule.compare is Compare.VALUES and not tolerant:
        yield "compare: values without a tolerance", "add abs_tol or rel_tol, or compare: content"
    if rule.compare is not Compare.VALUES and (tolerant or rule.variables):
        yield f"a tolerance with compare: {rule.compare}", "compare: values"
    if rule.compare is Compare.BYTES and (rule.ignore or rule.key or not rule.equal_nan):
        yield "ignore, key and equal_nan with compare: bytes", "compare: content, or values"


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
            elif _is_linked(folder, part):
                yield document.problem(("source", index), f"{part!r} is {_LINK}", _NO_LINK)
    lock = experiment.environment.lock
    if lock and isinstance(experiment.source, list):
        if _is_linked(folder, lock):  # and what it leads to is not shown
            yield document.problem(("environment", "lock"), f"{lock!r} is {_LINK}", _NO_LINK)
        elif not (folder / lock).is_file():
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
        if not isinstance(locator, FileLocator):
            continue
        inside = (folder / locator.path).resolve().is_relative_to(folder.resolve())
        if not inside and not locator.path.startswith("/"):
            what = f"file:{locator.path} leads out of the experiment's folder"
            yield document.problem(("data", name, "uri"), what, "put the file itself there")
        else:
            yield from _check_data_file(document, name, data, folder / locator.path)


_LINK = "a symbolic link, or behind one"
_NO_LINK = "put the files themselves there"


def _is_linked(folder: Path, part: str) -> bool:
    """Whether a path of the code goes through a link: git keeps the link, not what is behind it."""
    return (folder / part).resolve() != folder.resolve() / part


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
        pattern = context["pattern"]
        right = f"expected {FORMS[pattern]}" if pattern in FORMS else f"text of the form {pattern}"
        return document.problem(path, f"got {without_login(shown(got))}", right)
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
    model: type[Model]
    if loc[0] == "verify":
        rules: dict[Any, type[Model]] = {"file": FileRule, "equivalence": EquivalenceRule}
        model = rules.get(loc[2], MetricRule)
    elif len(loc) == 1:
        model = Experiment
    else:
        model = models[str(loc[0])]
    return {info.alias or name for name, info in model.model_fields.items()}


def _did_you_mean(word: str, known: set[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""
