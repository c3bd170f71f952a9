"""What an experiment's file may say: keys, types, ranges and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
)

from rpac_ci import quantities
from rpac_ci.canonical import Json
from rpac_ci.documents import (
    CHECKSUM_PATTERN,
    COMMIT_PATTERN,
    GIT_PATTERN,
    IMAGE_PATTERN,
    INPUT_PATTERN,
    PYTHON_PATTERN,
    ExperimentId,
    Hex256,
    Model,
    Name,
    OutputPattern,
    PackageIndex,
    Pattern,
    RelativePath,
    RuleName,
    Scalar,
    shown,
)
from rpac_ci.jobs import METRICS_FILE, EngineName

EXPERIMENT_FILE = "experiment.yaml"


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
    checksum: Annotated[str, StringConstraints(pattern=CHECKSUM_PATTERN)] | None = None
    archive_sha256: Hex256 | None = None
    license: str | None = None
    doi: str | None = None


class GitSource(Model):
    """Code in another repository, pinned to a commit."""

    git: Annotated[str, StringConstraints(pattern=GIT_PATTERN)]
    commit: Annotated[str, StringConstraints(pattern=COMMIT_PATTERN)]


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
    ranks: Annotated[int, Field(ge=1, le=65536)] | None = None  # in all; None: one a GPU or node
    deterministic: bool = True  # seeds, hashing, algorithms of libraries


class Environment(Model):
    """The software: a lock file that becomes a virtual environment, or an image by digest."""

    lock: RelativePath | None = None
    image: Annotated[str, StringConstraints(pattern=IMAGE_PATTERN)] | None = None
    python: Annotated[str, StringConstraints(pattern=PYTHON_PATTERN)] | None = None
    indexes: list[PackageIndex] = Field(default_factory=list)  # where else the lock's wheels are


class Resources(Model):
    """What each of the nodes must offer, in neutral terms."""

    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    memory: Annotated[
        int, *_quantity(quantities.parse_memory, quantities.MEMORY_PATTERN, "8 GiB"), Field(ge=1)
    ] = 1024
    gpus: Annotated[int, Field(ge=0, le=64)] = 0


class Mode(StrEnum):
    """How a batch service starts the nodes of a run."""

    GANG = "gang"  # as so many jobs: spot and public subnets are allowed
    MNP = "mnp"  # as one multi-node parallel job: all nodes start, or none


class CloudChoice(Model):
    """What an author chooses on one cloud instead of what is found for the neutral need."""

    machine: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] | (
        None
    ) = None
    mode: Annotated[Mode, Field(strict=False)] | None = None
    spot: bool | None = None


CloudChoices: TypeAlias = dict[Literal["aws", "azure"], CloudChoice]


class Limits(Model):
    """Where the run must stop: wall time of the command (s) and cost (USD)."""

    time: Annotated[
        int,
        *_quantity(quantities.parse_duration, quantities.DURATION_PATTERN, "1 h"),
        Field(ge=1, le=366 * 86400),
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
        raise ValueError(f"got {shown(value)}, expected a finite number")
    return value


Number: TypeAlias = Annotated[int | float, BeforeValidator(_number)]
_Tolerance = Annotated[float, Field(ge=0)]


class MetricRule(Model):
    """Agreement of one number of `metrics.json`; `checks` has the formula."""

    expect: Number | None = None
    abs_tol: _Tolerance = 0.0
    rel_tol: _Tolerance = 0.0
    unit: str | None = None
    required: bool = True

    @property
    def declares(self) -> bool:
        """Whether the rule itself says what is right."""
        return self.expect is not None


class EquivalenceRule(Model):
    """
    Agreement of one number over several seeds: two one-sided tests show that the means differ by
    less than a margin (`equivalence.tost`).
    """

    margin: Annotated[float, Field(gt=0)]
    alpha: Annotated[float, Field(gt=0, le=0.25)] = 0.05
    paired: bool = False  # runs of the same seed are compared with each other
    expect: Annotated[list[Number], Field(min_length=2, max_length=1000)] | None = None
    unit: str | None = None
    required: bool = True

    @property
    def declares(self) -> bool:
        """Whether the rule itself says what is right."""
        return self.expect is not None


class Tolerance(Model):
    """|observed - reference| <= abs_tol + rel_tol |reference|."""

    abs_tol: _Tolerance = 0.0
    rel_tol: _Tolerance = 0.0


class Compare(StrEnum):
    """What of an output file must agree."""

    BYTES = "bytes"
    CONTENT = "content"  # names, shapes, types, values and attributes, whatever the bytes
    VALUES = "values"  # the same, numbers within a tolerance


class FileRule(Tolerance):
    """Agreement of output files; the rule's name is a path or a pattern such as `figures/*.png`."""

    compare: Annotated[Compare, Field(strict=False)] = Compare.BYTES
    sha256: Hex256 | None = None
    expect: Annotated[str, StringConstraints(pattern=INPUT_PATTERN)] | None = None
    variables: dict[Pattern, Tolerance] = Field(default_factory=dict)  # instead of the file's own
    ignore: list[Pattern] = Field(default_factory=list)  # `variable`, `@attribute`, `v@attribute`
    equal_nan: bool = True
    key: list[Pattern] = Field(default_factory=list)  # columns that name a table's row
    required: bool = True

    @property
    def declares(self) -> bool:
        """Whether the rule itself says what is right."""
        return bool(self.sha256 or self.expect)


def _rule_kind(value: object) -> str:
    if isinstance(value, BaseModel):
        if isinstance(value, FileRule):
            return "file"
        return "equivalence" if isinstance(value, EquivalenceRule) else "metric"
    keys = value if isinstance(value, Mapping) else ()
    if "sha256" in keys or "compare" in keys:
        return "file"
    return "equivalence" if "margin" in keys else "metric"


Rule: TypeAlias = Annotated[
    Annotated[MetricRule, Tag("metric")]
    | Annotated[EquivalenceRule, Tag("equivalence")]
    | Annotated[FileRule, Tag("file")],
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
    verify: dict[RuleName, Rule] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)
    clouds: CloudChoices = Field(default_factory=dict)


def id_of(path: Path) -> str:
    """The id that a file's place gives."""
    return path.parent.name if path.name == EXPERIMENT_FILE else path.stem


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
