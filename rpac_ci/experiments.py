"""
Experiments: versioned YAML, written by people, beside the code they run.

`experiments/<id>.yaml` or `experiments/<id>/experiment.yaml` becomes an `Experiment`, or one
`ExperimentError` that lists every problem with file, line and column.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pydantic import (
    ValidationError,
)

from rpac_ci import yaml_io
from rpac_ci.errors import CommandError, ExperimentError, Problem
from rpac_ci.experiment_checks import check_files, check_meaning, explain
from rpac_ci.experiment_model import EXPERIMENT_FILE, Experiment, id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFile:
    """Where an experiment stands: its file, and the folder its paths are relative to."""

    path: Path
    document: yaml_io.Document
    experiment: Experiment

    @property
    def folder(self) -> Path:
        """The folder that `source`, `lock` and `file:` paths are relative to."""
        return self.path.parent


def find(folder: Path) -> dict[str, Path]:
    """
    Experiment files of a folder by id, in order of their names.

    Raises:
        ExperimentError: one id stands in two files.
    """
    found: dict[str, Path] = {}
    candidates = [*folder.glob("*.yaml"), *folder.glob(f"*/{EXPERIMENT_FILE}")]
    for path in sorted(candidates):
        name = id_of(path)
        if name in found:
            other = found[name].relative_to(folder.parent)
            raise ExperimentError(
                [
                    Problem(
                        file=str(path.relative_to(folder.parent)),
                        line=1,
                        column=1,
                        what=f"the experiment {name!r} also stands in {other}",
                        right="one file for each experiment",
                    )
                ]
            )
        found[name] = path
    return found


def locate(folder: Path, name: str) -> Path:
    """
    The file of one experiment.

    Raises:
        CommandError: there is none, with the nearest name.
    """
    found = find(folder)
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, n=1)
    known = ", ".join(found) or f"none; start one with: rpac new {name}"
    raise CommandError(
        f"there is no experiment {name!r} in {folder.name}/",
        hint=f"did you mean {near[0]!r}?" if near else f"experiments here: {known}",
    )


def load(path: Path, *, root: Path) -> ExperimentFile:
    """
    Read and check one experiment.

    A folder's experiment has the folder as its source unless it says otherwise; a single file has
    none unless it names one.

    Args:
        path: its YAML file.
        root: top of the repository; messages name files relative to it.

    Raises:
        ExperimentError: with every problem found, in file order.
    """
    real = path.resolve()
    if real != path.absolute() and not real.is_relative_to(root.resolve()):
        part = "file" if path.parent.resolve() == path.parent.absolute() else "folder"
        what = f"the experiment's {part} is a link that leaves the repository"
        raise ExperimentError([Problem(file=str(path), line=1, column=1, what=what)])
    shown = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    document = yaml_io.load(path, shown_as=shown)
    experiment = parse(document)
    if path.name != EXPERIMENT_FILE and "source" not in experiment.model_fields_set:
        # beside other experiments, "everything here" would tie them all together
        experiment = experiment.model_copy(update={"source": []})
    problems = [*check_meaning(document, experiment), *check_files(document, experiment, path)]
    if problems:
        raise ExperimentError(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
    return ExperimentFile(path=path, document=document, experiment=experiment)


def parse(document: yaml_io.Document) -> Experiment:
    """The model's part of `load`: keys, types and ranges."""
    if not isinstance(document.value, dict):
        raise ExperimentError(
            [document.problem((), "not an experiment", "a mapping with id, title, engine, command")]
        )
    try:
        return Experiment.model_validate(document.value)
    except ValidationError as exc:
        problems = [explain(document, error) for error in exc.errors()]
        unique = {str(problem): problem for problem in problems}.values()
        raise ExperimentError(sorted(unique, key=lambda p: (p.line, p.column))) from exc
