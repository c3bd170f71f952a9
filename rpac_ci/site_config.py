"""
`rpac.yaml`: what a repository allows, who may ask for it, and what it may cost.

On GitHub only the file of the default branch counts (`read_site`); a pull request that changes it
is checked and shown, not obeyed. No file means defaults: the embedded cloud, nothing that costs
money, and a maintainer's word for what comes from a fork.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from rpac_ci import quantities, yaml_io
from rpac_ci.canonical import Json
from rpac_ci.command_table import VERBS, Role
from rpac_ci.documents import ID_PATTERN, Model, RelativePath
from rpac_ci.errors import ExperimentError, HistoryError, Problem
from rpac_ci.site_clouds import SiteClouds

if TYPE_CHECKING:
    from rpac_ci.git import Git

CONFIG_FILE = "rpac.yaml"
SCHEMA: Final = "rpac/site/1"
CLOUDS: Final = ("aws", "azure", "local")
MAX_COMMANDS = 20  # of one comment, whatever the file says
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LATER = re.compile(r"rpac/site/([2-9]|[1-9][0-9]{1,3})")


# who may use a command in a comment unless the file says otherwise
DEFAULT_ROLES: Mapping[str, Role] = MappingProxyType(
    {verb.name: verb.role for verb in VERBS.values() if verb.comment}
)


class Forks(StrEnum):
    """What becomes of a request on a pull request from a fork."""

    ASK = "ask"  # a plan that waits for an approval
    NEVER = "never"


class CommitBack(StrEnum):
    """Where a report goes, beside the log."""

    AUTO = "auto"  # the pull request's branch where that leaves no required check pending
    HEAD = "head"  # always
    LOG = "log"  # never


def _in_units(parse: Any, pattern: str, example: str) -> tuple[BeforeValidator, WithJsonSchema]:
    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("expected a text with its unit")  # noqa: TRY004
        return parse(value)

    schema = {"type": "string", "pattern": pattern, "examples": [example]}
    return BeforeValidator(read), WithJsonSchema(schema)


def _said(value: object) -> object:
    if value is None:  # `month:` with nothing after it must not mean: without limit
        raise ValueError("expected a value")
    return value


def _without_null(schema: dict[str, Any]) -> None:
    schema.pop("default")
    schema.update(schema.pop("anyOf")[0])


_IF_SAID = BeforeValidator(_said), Field(json_schema_extra=_without_null)


def _verb(name: str) -> str:
    if name not in DEFAULT_ROLES:
        raise ValueError("no command has this name")
    return name


def _cloud(name: str) -> str:
    if name not in CLOUDS:
        raise ValueError("no cloud has this name")
    return name


Dollars: TypeAlias = Annotated[
    float, *_in_units(quantities.parse_cost, quantities.COST_PATTERN, "5 USD")
]
Seconds: TypeAlias = Annotated[
    int, *_in_units(quantities.parse_duration, quantities.DURATION_PATTERN, "24 h")
]
CloudName: TypeAlias = Annotated[
    str, AfterValidator(_cloud), WithJsonSchema({"type": "string", "enum": list(CLOUDS)})
]
Verb: TypeAlias = Annotated[
    str, AfterValidator(_verb), WithJsonSchema({"type": "string", "enum": list(DEFAULT_ROLES)})
]
_Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
_Machine = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9*?\[][A-Za-z0-9._*?\[\]!-]{0,62}$")
]
_Registry = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,252}(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$"),
]
_AnyOrId = Annotated[str, StringConstraints(pattern=rf"^\*$|{ID_PATTERN}")]


class Approval(Model):
    """How long a plan waits for its approval, and whether a pull request's author may give it."""

    expires: Annotated[
        Seconds, Field(ge=60, le=30 * 86400, json_schema_extra={"default": "24 h"})
    ] = 86400
    by_author: bool = False


class Budgets(Model):
    """
    The most that may be spent, in USD: on one run, and in a calendar month (UTC) in all, by one
    person, on one cloud.

    What is not named has no limit, but nothing is spent where none of `run`, `month` and the
    cloud's own budget is named.
    """

    run: Annotated[Dollars | None, *_IF_SAID] = None
    month: Annotated[Dollars | None, *_IF_SAID] = None
    person: Annotated[Dollars | None, *_IF_SAID] = None
    clouds: dict[CloudName, Dollars] = Field(default_factory=dict)


class Allow(Model):
    """
    Where runs may go; the first cloud is the site's own.

    No list of regions, machines or registries means any, an empty one means none.
    """

    clouds: Annotated[list[CloudName], Field(max_length=10)] = Field(
        default_factory=lambda: ["local"]
    )
    regions: dict[CloudName, list[_Region]] = Field(default_factory=dict)
    machines: dict[CloudName, list[_Machine]] = Field(default_factory=dict)
    registries: Annotated[list[_Registry] | None, *_IF_SAID] = None


class Rerun(Model):
    """Accepted experiments that a schedule reproduces again, and how often at most."""

    experiments: Annotated[list[_AnyOrId], Field(min_length=1, max_length=1000)]
    every: Annotated[Seconds, Field(ge=3600)]
    cloud: CloudName = "local"


def _all_roles(given: dict[str, Role]) -> dict[str, Role]:
    return {**DEFAULT_ROLES, **given}


class SiteConfig(Model):
    """`rpac.yaml`: settings of a repository; none of them is secret."""

    schema_: Annotated[Literal["rpac/site/1"], Field(alias="schema")] = SCHEMA
    experiments: RelativePath = "experiments"
    enabled: bool = True  # false: the bot answers, and starts nothing
    roles: Annotated[
        dict[Verb, Annotated[Role, Field(strict=False)]], AfterValidator(_all_roles)
    ] = Field(default_factory=lambda: dict(DEFAULT_ROLES))
    # USD that one run may cost without an approval
    auto_approve_below: Annotated[Dollars, Field(json_schema_extra={"default": "0 USD"})] = 0.0
    approval: Approval = Field(default_factory=Approval)
    budgets: Budgets = Field(default_factory=Budgets)
    allow: Allow = Field(default_factory=Allow)
    forks: Annotated[Forks, Field(strict=False)] = Forks.ASK
    commit_back: Annotated[CommitBack, Field(strict=False)] = CommitBack.AUTO
    # numeric ids of bots whose comments may hold commands
    bots: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=100)] = Field(
        default_factory=list
    )
    commands_per_comment: Annotated[int, Field(ge=1, le=MAX_COMMANDS)] = 5
    rerun: Annotated[list[Rerun], Field(max_length=100)] = Field(default_factory=list)
    clouds: SiteClouds = Field(default_factory=SiteClouds)

    @property
    def cloud(self) -> str | None:
        """The cloud of requests that name none; None where no cloud is allowed."""
        return self.allow.clouds[0] if self.allow.clouds else None


def load_site(root: Path) -> SiteConfig:
    """
    The settings in a working tree.

    Args:
        root: top of the repository.

    Raises:
        ExperimentError: `rpac.yaml` has mistakes; all of them are listed.
    """
    path = root / CONFIG_FILE
    if not path.exists() and not path.is_symlink():
        return SiteConfig()
    return parse_site_config(yaml_io.load(path, shown_as=CONFIG_FILE))


def read_site(git: Git, commit: str) -> SiteConfig:
    """
    The settings in a commit.

    Args:
        git: the repository.
        commit: its full id; a name could lead to another one than was meant.

    Raises:
        ExperimentError: `rpac.yaml` has mistakes; all of them are listed.
        HistoryError: the commit is not here, so that nothing is known of its settings.
    """
    if not _COMMIT.fullmatch(commit):
        raise HistoryError("settings are read from a commit by its full id")
    entries = git.ls_tree(commit, CONFIG_FILE)
    if not entries:
        return SiteConfig()
    entry = entries[0]
    if entry.path != CONFIG_FILE or not entry.mode.startswith("100"):
        problem = Problem(
            file=CONFIG_FILE, line=1, column=1, what="not a regular file", right="a file with YAML"
        )
        raise ExperimentError([problem])
    content = next(git.blobs([entry.oid]))
    if content is None:
        raise HistoryError(f"{CONFIG_FILE} is not among the objects that were fetched")
    return parse_site_text(content)


def parse_site_text(content: bytes, *, shown_as: str = CONFIG_FILE) -> SiteConfig:
    """
    Settings from the bytes of a file.

    Raises:
        ExperimentError: with every mistake.
    """
    return parse_site_config(yaml_io.loads(content, file=shown_as))


def parse_site_config(document: yaml_io.Document) -> SiteConfig:
    """
    Settings from a YAML document; an empty one means defaults.

    Raises:
        ExperimentError: with every mistake in file order, and no value of the file: somebody may
            have put a secret there.
    """
    if document.value is None:
        return SiteConfig()
    if not isinstance(document.value, dict):
        right = "a mapping such as {experiments: experiments}"
        raise ExperimentError([document.problem((), "not settings", right)])
    version = document.value.get("schema")
    if isinstance(version, str) and _LATER.fullmatch(version):
        # what else it says may be right in that version
        right = f"expected {SCHEMA!r}, or update rpac"
        raise ExperimentError(
            [document.problem(("schema",), "written for a newer rpac", right)],
            hint="the release notes of rpac say which version reads it",
        )
    try:
        config = SiteConfig.model_validate(document.value)
    except ValidationError as exc:
        from rpac_ci.site_problems import explain  # which knows the models above

        problems = {explain(document, error) for error in exc.errors()}
        raise ExperimentError(
            sorted(problems, key=lambda problem: (problem.line, problem.column, problem.what))
        ) from exc
    if refused := list(_never_allowed(document, config)):
        raise ExperimentError(refused)
    return config


def _never_allowed(document: yaml_io.Document, config: SiteConfig) -> Iterator[Problem]:
    """Schedules that every run would be refused of, which nobody would see."""
    for index, rerun in enumerate(config.rerun):
        if rerun.cloud not in config.allow.clouds:
            what = f"reruns on the cloud {rerun.cloud!r}, which is not allowed"
            yield document.problem(("rerun", index, "cloud"), what, "one of allow.clouds")


def json_schema() -> dict[str, Json]:
    """JSON Schema of the file format, for editors and other programs."""
    schema: dict[str, Any] = SiteConfig.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **schema}
