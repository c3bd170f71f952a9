"""What an experiment's file may say: keys, types, ranges and defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    WithJsonSchema,
)

from rpac_ci import quantities
from rpac_ci.canonical import Json
from rpac_ci.jobs import METRICS_FILE, EngineName

EXPERIMENT_FILE = "experiment.yaml"
MAX_INTEGER = 2**63 - 1
# as archives publish them; names of hashlib
CHECKSUM_PATTERN = r"^(md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}|sha512:[0-9a-f]{128})$"


def _scalar(value: object) -> object:
    fits = isinstance(value, (bool, int, float, str))
    if isinstance(value, (int, float)):
        fits = abs(value) <= MAX_INTEGER if isinstance(value, int) else isfinite(value)
    if not fits:
        raise ValueError(f"got {shown(value)}, expected a number, a text, true or false")
    return value


def shown(value: object) -> str:
    """A value of the file as a message shows it."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)[:60]


Scalar: TypeAlias = Annotated[bool | int | float | str, BeforeValidator(_scalar)]
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
HEX256_PATTERN = r"^[0-9a-f]{64}$"
RULE_PATTERN = r"^[A-Za-z0-9_*?\[][A-Za-z0-9_./@*?\[\]-]{0,126}$"
GIT_PATTERN = r"^https://[^\s@]+$"
COMMIT_PATTERN = r"^[0-9a-f]{40}$"
IMAGE_PATTERN = r"^\S+@sha256:[0-9a-f]{64}$"
PYTHON_PATTERN = r"^3\.\d{1,2}$"
INDEX_PATTERN = r"^https://[^\s@?#]+$"
INPUT_PATTERN = r"^data\.[a-z][a-z0-9_]{0,62}$"
# what a text must look like, for people
FORMS: Mapping[str, str] = {
    NAME_PATTERN: "a name of lower-case letters, digits and '_', such as 'sea_level'",
    ID_PATTERN: "an id of lower-case letters, digits and '-', such as 'exp-42'",
    HEX256_PATTERN: "64 hex digits, as sha256sum prints them",
    CHECKSUM_PATTERN: "a checksum such as 'md5:9e10…', of md5, sha1 or sha512",
    RULE_PATTERN: "the name of a metric, or the path or pattern of an output",
    GIT_PATTERN: "a URL such as 'https://github.com/lab/code'",
    COMMIT_PATTERN: "a commit's 40 hex digits",
    IMAGE_PATTERN: "an image by digest, 'name@sha256:…'",
    INDEX_PATTERN: "the URL of a package index, such as 'https://download.pytorch.org/whl/cpu'",
    PYTHON_PATTERN: "a version of Python such as '3.11'",
    INPUT_PATTERN: "an input such as 'data.truth'",
}

Name: TypeAlias = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
ExperimentId: TypeAlias = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Hex256: TypeAlias = Annotated[str, StringConstraints(pattern=HEX256_PATTERN)]
PackageIndex: TypeAlias = Annotated[str, StringConstraints(pattern=INDEX_PATTERN)]
# of a metric, or path or pattern of output files
RuleName: TypeAlias = Annotated[str, StringConstraints(pattern=RULE_PATTERN)]


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


def _printable(text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= 200:
        raise ValueError(f"got {text[:60]!r}, expected a name or a pattern such as 'flag_*'")
    return text


Pattern: TypeAlias = Annotated[str, AfterValidator(_printable)]


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
        defer_build=True,  # most commands need a few of all models
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
    )

    def to_json(self) -> dict[str, Json]:
        """Plain values under their document names."""
        dumped: dict[str, Json] = self.model_dump(mode="json", by_alias=True)
        return dumped

    def without_defaults(self, names: Collection[str]) -> dict[str, Json]:
        """
        As JSON, without those of some keys that say nothing.

        Keys that came with a later version are left out at their default, so that what does not
        use them has the bytes, and the digest, that it always had.
        """
        fields = type(self).model_fields
        unused = {
            n for n in names if getattr(self, n) == fields[n].get_default(call_default_factory=True)
        }
        return {key: value for key, value in Model.to_json(self).items() if key not in unused}


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
