"""
A repository with what rpac keeps beside it: settings, object store, scratch folders, cache.

All but the repository itself is a `Place`: enough to go on with runs, also where there is no git.

`.rpac/` in the repository holds the store and the nodes' folders and ignores itself; the cache of
content and environments belongs to the user (`RPAC_CACHE`, else `~/.cache/rpac`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from rpac_ci.errors import CommandError, StorageError
from rpac_ci.git import Git
from rpac_ci.site_config import SiteConfig, load_site
from rpac_ci.storage import Storage

LOCAL = "local"
_HINTS = {
    "aws": "rpac setup aws makes one and writes it there",
    "azure": "rpac setup azure makes one and writes it there",
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where runs are kept and gone on with: settings, a store, folders of this machine."""

    root: Path
    config: SiteConfig
    cache: Path
    cloud: str = LOCAL  # whose store holds the runs that are meant

    @property
    def scratch(self) -> Path:
        """Folder of the local nodes' folders."""
        return self.root / ".rpac" / "local"

    def on(self, cloud: str) -> Self:
        """The same settings and folders with the store of a cloud's runs."""
        return self._places.setdefault(cloud, replace(self, cloud=cloud))

    @property
    def places(self) -> list[Self]:
        """One of them for each cloud that has a store: this machine first."""
        return [self.on(LOCAL), *map(self.on, self.config.clouds.configured)]

    @cached_property
    def _places(self) -> dict[str, Self]:
        return {self.cloud: self}

    @cached_property
    def storage(self) -> Storage:
        """
        The object store of the repository's runs on a cloud.

        Raises:
            StorageError: it cannot be made or opened.
            CommandError: the settings name none.
        """
        if self.cloud == LOCAL:
            return self._local_storage()
        account = self.config.clouds.configured.get(self.cloud)
        if account is None:
            raise CommandError(
                f"rpac.yaml names no store for cloud={self.cloud}",
                hint=_HINTS.get(self.cloud, ""),
            )
        return Storage(account.store, region=getattr(account, "region", None))

    def _local_storage(self) -> Storage:
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


@dataclass(frozen=True, kw_only=True)
class Workspace(Place):
    """One repository and the folders that go with it."""

    git: Git

    @classmethod
    def open(cls, start: Path | str = ".") -> Self:
        """
        The workspace around a folder.

        Raises:
            HistoryError: not in a git repository.
            ExperimentError: `rpac.yaml` has mistakes.
        """
        git = Git.discover(Path(start))
        return cls(root=git.root, git=git, config=load_site(git.root), cache=_cache_folder())

    @classmethod
    def at(cls, git: Git, config: SiteConfig | None = None) -> Self:
        """The workspace of a repository whose own `rpac.yaml` is not to be believed."""
        return cls(root=git.root, git=git, config=config or SiteConfig(), cache=_cache_folder())

    @property
    def experiments(self) -> Path:
        """Folder of the experiments."""
        return self.root / self.config.experiments


def _cache_folder() -> Path:
    named = os.environ.get("RPAC_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rpac"
