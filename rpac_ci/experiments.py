"""
Experiments: versioned YAML, written by people, beside the code they run.

`experiments/<id>.yaml` or `experiments/<id>/experiment.yaml` becomes an `Experiment`, or one
`ExperimentError` that lists every problem with file, line and column.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    WithJsonSchema,
)

from rpac_ci import quantities, yaml_io
from rpac_ci.canonical import Json
from rpac_ci.errors import CommandError, ExperimentError, Problem
from rpac_ci.jobs import EngineName, matches

EXPERIMENT_FILE = "experiment.yaml"
METRICS_FILE = "metrics.json"

MAX_INTEGER = 2**63 - 1


def _scalar(value: object) -> object:
    fits = not isinstance(value, int) or abs(value) <= MAX_INTEGER
    if not isinstance(value, (bool, int, float, str)) or not fits or value != value:
        raise ValueError(f"got {_shown(value)}, expected a number, a text, true or false")
    return value


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)[:60]


Scalar: TypeAlias = Annotated[bool | int | float | str, BeforeValidator(_scalar)]
Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
ExperimentId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Hex256: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MetricName: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./@-]{0,126}$")
]


def _relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    odd = not path.isprintable() or "\\" in path or max(map(len, parts), default=0) > 255
    if not path or path.startswith("/") or ".." in parts or odd or len(path) > 1024:
        raise ValueError(f"got {path!r}, expected a path inside the experiment's folder")
    return str(PurePosixPath(path))


RelativePath: TypeAlias = Annotated[str, AfterValidator(_relative)]


def _pattern(pattern: str) -> str:
    if (path := _relative(pattern)) == "." or "**" in path:
        raise ValueError(f"got {pattern!r}, expected a file such as 'map.png' or 'figures/*.png'")
    return path


OutputPattern: TypeAlias = Annotated[str, AfterValidator(_pattern)]


def _quantity(parse: Any, pattern: str, example: str) -> tuple[BeforeValidator, WithJsonSchema]:
    def before(value: object) -> object:
        # a number is what a stored pipeline holds; people write text with a unit
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"expected text such as {example!r}")  # noqa: TRY004
        return value

    schema = {
        "anyOf": [{"type": "string", "pattern": pattern}, {"type": "number"}],
        "examples": [example],
    }
    return BeforeValidator(before), WithJsonSchema(schema)


class Model(BaseModel):
    """Base of every document: unknown keys are mistakes, values are never coerced or changed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True
    )

    def to_json(self) -> dict[str, Json]:
        """Plain values under their document names."""
        dumped: dict[str, Json] = self.model_dump(mode="json", by_alias=True)
        return dumped


class ArgRole(StrEnum):
    """Whether changing an argument changes the science or only how it is computed."""

    SCIENTIFIC = "scientific"
    OPERATIONAL = "operational"


class Arg(Model):
    """An argument of the command; a bare value in the file means a scientific one."""

    value: Scalar
    role: Annotated[ArgRole, Field(strict=False)] = ArgRole.SCIENTIFIC


class Data(Model):
    """An input: where it is and, unless the run shall pin it, which bytes it must have."""

    uri: str
    sha256: Hex256 | None = None
    archive_sha256: Hex256 | None = None
    license: str | None = None
    doi: str | None = None


class GitSource(Model):
    """Code in another repository, pinned to a commit."""

    git: Annotated[str, StringConstraints(pattern=r"^https://[^\s@]+$")]
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]


class WorkerLoss(StrEnum):
    """What a lost worker means for the run; it is recorded in either case."""

    TOLERATE = "tolerate"
    FAIL = "fail"


Source: TypeAlias = Annotated[
    Annotated[list[RelativePath], Tag("paths")] | Annotated[GitSource, Tag("repository")],
    Discriminator(
        lambda value: "repository" if isinstance(value, (Mapping, GitSource)) else "paths"
    ),
]


class Engine(Model):
    """What runs the command; a bare name in the file means its defaults."""

    name: Annotated[EngineName, Field(strict=False)]
    on_worker_loss: Annotated[WorkerLoss, Field(strict=False)] = WorkerLoss.TOLERATE


class Environment(Model):
    """The software: a lock file that becomes a virtual environment, or an image by digest."""

    lock: RelativePath | None = None
    image: Annotated[str, StringConstraints(pattern=r"^\S+@sha256:[0-9a-f]{64}$")] | None = None
    python: Annotated[str, StringConstraints(pattern=r"^3\.\d{1,2}$")] | None = None


class Resources(Model):
    """What each of the nodes must offer, in neutral terms."""

    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    memory: Annotated[
        int, *_quantity(quantities.parse_memory, quantities.MEMORY_PATTERN, "8 GiB"), Field(ge=1)
    ] = 1024
    gpus: Annotated[int, Field(ge=0, le=64)] = 0


class Limits(Model):
    """Where the run must stop: wall time of the command (s) and cost (USD)."""

    time: Annotated[
        int, *_quantity(quantities.parse_duration, quantities.DURATION_PATTERN, "1 h"), Field(ge=1)
    ] = 3600
    cost: (
        Annotated[
            float,
            Field(ge=0, strict=False),
            *_quantity(quantities.parse_cost, quantities.COST_PATTERN, "5 USD"),
        ]
        | None
    ) = None


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        finite = value is None
    else:
        finite = value.bit_length() <= 1023 if isinstance(value, int) else isfinite(value)
    if not finite:
        raise ValueError(f"got {_shown(value)}, expected a finite number")
    return value


Number: TypeAlias = Annotated[int | float, BeforeValidator(_number)]
_Tolerance = Annotated[float, Field(ge=0)]


class MetricRule(Model):
    """Agreement of one number of `metrics.json`; `verdict.judge` has the formula."""

    expect: Number | None = None
    abs_tol: _Tolerance = 0.0
    rel_tol: _Tolerance = 0.0
    unit: str | None = None
    required: bool = True


class FileRule(Model):
    """Agreement of one output file, byte by byte."""

    compare: Literal["bytes"] = "bytes"
    sha256: Hex256 | None = None
    required: bool = True


def _rule_kind(value: object) -> str:
    if isinstance(value, FileRule):
        return "file"
    keys = value if isinstance(value, Mapping) else ()
    return "file" if "sha256" in keys or "compare" in keys else "metric"


Rule: TypeAlias = Annotated[
    Annotated[MetricRule, Tag("metric")] | Annotated[FileRule, Tag("file")],
    Discriminator(_rule_kind),
]


def _bare(key: str) -> BeforeValidator:
    """Accept `x` where `{key: x}` is meant."""
    return BeforeValidator(
        lambda value: value if isinstance(value, (Mapping, BaseModel)) else {key: value}
    )


def _allow_bare(schema: dict[str, Any], bare: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [bare, schema]}


def _word(text: str) -> str:
    if "\0" in text:
        raise ValueError("got a null byte, expected text that a program can be given")
    return text


Word: TypeAlias = Annotated[str, StringConstraints(min_length=1), AfterValidator(_word)]


class Experiment(Model):
    """One experiment as its author wrote it, with defaults filled in."""

    schema_: Annotated[Literal["rpac/experiment/1"], Field(alias="schema")] = "rpac/experiment/1"
    id: ExperimentId
    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    description: str = ""
    engine: Annotated[Engine, _bare("name")]
    command: Annotated[list[Word], Field(min_length=1)]
    source: Source = Field(default_factory=lambda: ["."])
    environment: Environment = Field(default_factory=Environment)
    args: dict[Name, Annotated[Arg, _bare("value")]] = Field(default_factory=dict)
    data: dict[Name, Data] = Field(default_factory=dict)
    seed: int | None = None
    resources: Resources = Field(default_factory=Resources)
    outputs: list[OutputPattern] = Field(default_factory=lambda: [METRICS_FILE])
    verify: dict[MetricName, Rule] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)


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
            raise ExperimentError(
                [
                    Problem(
                        file=str(path),
                        line=1,
                        column=1,
                        what=f"the experiment {name!r} also stands in {found[name]}",
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


def id_of(path: Path) -> str:
    """The id that a file's place gives."""
    return path.parent.name if path.name == EXPERIMENT_FILE else path.stem


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
    if path.parent.resolve() != path.parent.absolute() and not path.resolve().is_relative_to(root):
        what = "the experiment's folder is a link that leaves the repository"
        raise ExperimentError([Problem(file=str(path), line=1, column=1, what=what)])
    shown = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    document = yaml_io.load(path, shown_as=shown)
    experiment = parse(document)
    if path.name != EXPERIMENT_FILE and "source" not in experiment.model_fields_set:
        # beside other experiments, "everything here" would tie them all together
        experiment = experiment.model_copy(update={"source": []})
    problems = [*_check_meaning(document, experiment), *_check_files(document, experiment, path)]
    if problems:
        raise ExperimentError(sorted(problems, key=lambda p: (p.line, p.column)))
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
        problems = [_explain(document, error) for error in exc.errors()]
        unique = {str(problem): problem for problem in problems}.values()
        raise ExperimentError(sorted(unique, key=lambda p: (p.line, p.column))) from exc


_LOOKS_LIKE_PLACEHOLDER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_.]*\}")


def _check_meaning(document: yaml_io.Document, experiment: Experiment) -> Iterator[Problem]:
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


def _check_files(
    document: yaml_io.Document, experiment: Experiment, path: Path
) -> Iterator[Problem]:
    """Rules that need the files beside the experiment."""
    if experiment.id != id_of(path):
        yield document.problem(
            ("id",), f"the id {experiment.id!r} differs from the file's name", f"{id_of(path)!r}"
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
    for name, data in experiment.data.items():
        try:
            from rpac_ci.sources import parse_locator

            parse_locator(data.uri)
        except CommandError as exc:
            yield document.problem(("data", name, "uri"), exc.message, exc.hint)


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


def _explain(document: yaml_io.Document, error: Any) -> Problem:
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
    return document.problem(path, f"got {_shown(got)}", message[:1].lower() + message[1:])


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


def json_schema() -> dict[str, Json]:
    """JSON Schema of the file format, for editors and other programs."""
    schema: dict[str, Any] = Experiment.model_json_schema(by_alias=True)
    properties = schema["properties"]
    bare = {"engine": {"type": "string", "enum": [name.value for name in EngineName]}}
    properties["engine"] = _allow_bare(properties["engine"], bare["engine"])
    scalars = {"type": ["boolean", "integer", "number", "string"]}
    arg = properties["args"]
    patterns = arg.get("patternProperties") or {"": arg.get("additionalProperties", {})}
    for pattern, item in patterns.items():
        patterns[pattern] = _allow_bare(item, scalars)
    for mapping in ("args", "data", "verify"):
        properties[mapping]["additionalProperties"] = False
    rule = next(iter(properties["verify"]["patternProperties"].values()))
    rule["anyOf"] = rule.pop("oneOf")  # {} is a metric without a value yet, and fits both
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": get_args(Experiment.model_fields["schema_"].annotation)[0],
        **schema,
    }
