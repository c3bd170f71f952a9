"""
The node's folders, equal on every node so that a relative path means the same everywhere.

    work/      the experiment's code; the command and the workers run here
    data/      one folder for each input
    outputs/   what the command leaves; a declared folder is kept as one ZIP
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rpac_ci.errors import SourceError
from rpac_ci.jobs import PLACEHOLDER, JobSpec, Keys, content_key, matches
from rpac_ci.sources import Content, ContentCache, fetch
from rpac_ci.storage import Storage

MAX_OUTPUTS = 100  # each has a line in record and report


class NodeFolders:
    """Folders of one node for one run."""

    def __init__(self, root: Path, spec: JobSpec, storage: Storage) -> None:
        self._spec = spec
        self._storage = storage
        self.work = root / "work"
        self.data = root / "data"
        self.outputs = root / "outputs"
        self.engine = root / "engine"
        self.sizes: dict[str, int] = {}  # of the inputs, in bytes, as they were read

    def prepare(self, cache: ContentCache, stop: threading.Event) -> None:
        """
        Put code and data in place, every byte checked.

        Raises:
            SourceError: something cannot be had or is not what the run was made for.
        """
        for folder in (self.work, self.data, self.outputs, self.engine):
            folder.mkdir(parents=True, exist_ok=True)
        archive = self._storage.get(self._spec.source)
        if archive is None or not self._spec.source.endswith(hashlib.sha256(archive).hexdigest()):
            raise SourceError("the source archive in the store is missing or damaged")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            # Debian 12's Python 3.11.2 has no filters yet; the archive is known by its hash
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            tar.extractall(self.work)  # noqa: S202 - filtered where Python can
        for item in self._spec.data:
            content = cache.find(item.sha256) or self._from_store(item.sha256, cache)
            if content is None:
                content = fetch(item.uri, folder=None, cache=cache, sha256=item.sha256, stop=stop)
            self.sizes[item.name] = content.size
            link = self.data / item.name / item.file_name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(content.path)

    def _from_store(self, sha256: str, cache: ContentCache) -> Content | None:
        if self._storage.head(content_key(sha256)) is None:
            return None
        incoming = self.data / f".{sha256}"
        self._storage.get_file(content_key(sha256), incoming)
        try:
            with incoming.open("rb") as file:
                chunks = iter(lambda: file.read(1 << 20), b"")
                return cache.add(chunks, expected=sha256, what="stored data")
        finally:
            incoming.unlink()

    def command(self) -> list[str]:
        """The command with its placeholders filled; still a list, never a shell's text."""
        paths = {item.name: f"../data/{item.name}/{item.file_name}" for item in self._spec.data}

        def fill(match: re.Match[str]) -> str:
            family, name, single = match.groups()
            if single == "outputs":
                return "../outputs"
            if single == "seed":
                return str(self._spec.seed)
            return paths[name] if family == "data" else _text(self._spec.args[name])

        return [PLACEHOLDER.sub(fill, word) for word in self._spec.command]

    def upload(self, keys: Keys) -> tuple[list[dict[str, Any]], list[str]]:
        """
        Store the output files under their hashes.

        Returns:
            One entry (path, size in bytes, sha256) for each declared output that is there, in
            path order, and the paths of files that no pattern names.
        """
        declared: list[dict[str, Any]] = []
        extra: list[str] = []
        if self.outputs.is_symlink() or not self.outputs.is_dir():
            return declared, extra  # the command has put something else in its place
        try:
            found = list(self._found(self.outputs))
        except (OSError, RecursionError) as exc:
            reason = getattr(exc, "strerror", None) or "folders in folders, too many to look into"
            raise SourceError(reason) from exc
        for path, named in found:
            name = path.relative_to(self.outputs).as_posix()
            if not named or not name.isprintable():
                extra.append(ascii(name)[1:-1])
                continue
            if len(declared) >= MAX_OUTPUTS:
                raise SourceError(
                    f"more than {MAX_OUTPUTS} output files: put them into a folder and declare that"
                )
            folder = path.is_dir()
            file = self._pack(path) if folder else path
            with file.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            self._storage.put_file(f"{keys.outputs}{sha256}", file)
            entry = {"path": name, "size": file.stat().st_size, "sha256": sha256}
            declared.append({**entry, "folder": True} if folder else entry)
        return declared, extra

    def _found(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        """Files, and folders that a pattern names, in path order; whether a pattern names them."""
        for path in sorted(folder.iterdir()):
            if path.is_symlink():
                continue
            name = path.relative_to(self.outputs).as_posix()
            named = any(matches(name, pattern) for pattern in self._spec.outputs)
            if path.is_dir() and not named:
                yield from self._found(path)
            elif path.is_dir() or path.is_file():
                yield path, named

    def _pack(self, folder: Path) -> Path:
        """One ZIP of a folder: not compressed, equal bytes for equal files, no times, no links."""
        packed = self.engine / "packed.zip"
        files = (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(files):
                name = path.relative_to(folder).as_posix()
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                info.file_size = path.stat().st_size  # decides on ZIP64 before it is written
                with path.open("rb") as source, archive.open(info, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        return packed


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
