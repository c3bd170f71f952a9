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

from rpac_ci import yaml_io
from rpac_ci.errors import ExperimentError
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
        folder.mkdir(mode=0o700, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
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
    if not path.exists():
        return SiteConfig()
    document = yaml_io.load(path, shown_as=CONFIG_FILE)
    try:
        return SiteConfig.model_validate(document.value or {})
    except ValidationError as exc:
        problems = [
            document.problem(tuple(error["loc"]), f"{error['loc']}: {error['msg']}")
            for error in exc.errors()
        ]
        raise ExperimentError(problems) from exc


def _cache_folder() -> Path:
    named = os.environ.get("RPAC_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rpac"
