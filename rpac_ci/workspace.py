"""
A repository with what rpac keeps beside it: settings, object store, scratch folders, cache.

`.rpac/` in the repository holds the store and the nodes' folders and ignores itself; the cache of
content and environments belongs to the user (`RPAC_CACHE`, else `~/.cache/rpac`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from rpac_ci import yaml_io
from rpac_ci.errors import ExperimentError, Problem, StorageError
from rpac_ci.experiment_model import Model, RelativePath
from rpac_ci.git import Git
from rpac_ci.storage import Storage

CONFIG_FILE = "rpac.yaml"


class SiteConfig(Model):
    """`rpac.yaml`: settings of a repository; none of them is secret."""

    schema_: Annotated[Literal["rpac/site/1"], Field(alias="schema")] = "rpac/site/1"
    experiments: RelativePath = "experiments"


@dataclass(frozen=True)
class Workspace:
    """One repository and the folders that go with it."""

    root: Path
    git: Git
    config: SiteConfig
    cache: Path

    @classmethod
    def open(cls, start: Path | str = ".") -> Workspace:
        """
        The workspace around a folder.

        Raises:
            HistoryError: not in a git repository.
            ExperimentError: `rpac.yaml` has mistakes.
        """
        git = Git.discover(Path(start))
        return cls(root=git.root, git=git, config=_config(git.root), cache=_cache_folder())

    @property
    def experiments(self) -> Path:
        """Folder of the experiments."""
        return self.root / self.config.experiments

    @property
    def scratch(self) -> Path:
        """Folder of the local nodes' folders."""
        return self.root / ".rpac" / "local"

    @cached_property
    def storage(self) -> Storage:
        """The object store of this repository's runs."""
        folder = self.root / ".rpac"
        ignore = folder / ".gitignore"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not ignore.exists() or not ignore.stat().st_size:  # a full disk leaves it empty
                ignore.write_text("*\n")
        except OSError as exc:
            raise StorageError(
                f"no store can be made in {folder}: {exc.strerror}",
                hint="it must be a folder that can be written, or not there yet",
            ) from exc
        return Storage.at(folder / "store")

    def public(self, text: str) -> str:
        """Text without the paths of this machine and credentials in URLs, fit for a record."""
        names = [
            (f"{re.escape(str(self.scratch))}/[^/\\s]+/node-(\\d+)", r"<node \1>"),
            (re.escape(str(self.cache)), "<cache>"),
            (re.escape(str(self.root)), "<repository>"),
            (r"(?<![\w/])" + re.escape(str(Path.home()).rstrip("/") or "\0") + r"(?=/)", "~"),
            (r"(?<=://)[^/@\s]+@", ""),
        ]
        for pattern, name in names:
            text = re.sub(pattern, name, text)
        return text


def _config(root: Path) -> SiteConfig:
    path = root / CONFIG_FILE
    if not path.exists() and not path.is_symlink():
        return SiteConfig()
    document = yaml_io.load(path, shown_as=CONFIG_FILE)
    if document.value is None:
        return SiteConfig()
    if not isinstance(document.value, dict):
        raise ExperimentError([document.problem((), "not settings", f"a mapping with {_KEYS}")])
    try:
        return SiteConfig.model_validate(document.value)
    except ValidationError as exc:
        raise ExperimentError([_problem(document, error) for error in exc.errors()]) from exc


_KEYS = " and ".join(sorted(f.alias or name for name, f in SiteConfig.model_fields.items()))


def _problem(document: yaml_io.Document, error: ErrorDetails) -> Problem:
    """One mistake, without the value: somebody may have put a secret there."""
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return document.problem((key,), f"unknown key {key!r}", f"known are {_KEYS}")
    right = {"experiments": "a folder of this repository", "schema": "'rpac/site/1'"}[key]
    return document.problem((key,), f"{key!r} has no valid value", f"expected {right}")


def _cache_folder() -> Path:
    named = os.environ.get("RPAC_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rpac"
