"""
The object store. Only this module, `store_access` and `objects`, which reads data, know obstore.

Everything a run leaves while it is open lives here, under three prefixes (ARCHITECTURE.md):
`control/<run>/` written by drivers, `runs/<run>/` written by nodes, `content/sha256/<hash>`.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpac_ci.canonical import Json, canonical_json
from rpac_ci.errors import StorageError
from rpac_ci.store_access import folder_of, open_store

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CREATE_TRIES = 5
_SIDE_BY_SIDE = 16  # requests of one caller
_PART, _MAX_PARTS, _SENDING = 16 * 2**20, 10_000, 8  # of a large object; S3 takes so many parts
_REFUSED = {
    "s3": "which right is missing: rpac doctor aws",
    "az": "sign in (az login), or have a role such as Storage Blob Data Contributor there",
}
_FIXED_BYTES, _FIXED = 64 * 2**10, 256  # objects that are kept at hand: of which size, how many
_STAGED = re.compile(r"#[0-9]+$")  # what obstore writes before it gives a file its name


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object: its key, size in bytes, and when the *store* says it was written."""

    key: str
    size: int
    modified: datetime


class Storage:
    """Objects by key, with the one operation that a log needs: create if absent."""

    def __init__(
        self, url: str, *, backend: ObjectStore | None = None, region: str | None = None
    ) -> None:
        """
        Args:
            url: `file:///…`, `s3://bucket/prefix` or `az://account/container/prefix`.
            backend: an obstore store to use instead of the one the URL names.
            region: of a bucket; None means what the environment says.
        """
        self.url = url
        self._store: Any = backend if backend is not None else open_store(url, region)
        own = backend is None and url.startswith("file:")
        self._folder = folder_of(url) if own else None
        self._fixed: dict[str, bytes] = {}

    @classmethod
    def at(cls, folder: Path) -> Storage:
        """A store in a folder of this machine, made if need be."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageError(f"no store can be made in {folder}: {exc.strerror}") from exc
        return cls(folder.resolve().as_uri())

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None when there is none."""
        import obstore

        self._refuse_links(key)
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except Exception as exc:
            raise self._error(f"reading {key}", exc) from exc

    def get_json(self, key: str) -> Any:
        """The object as JSON, or None when there is none."""
        return None if (data := self.get(key)) is None else self._json(key, data)

    def _json(self, key: str, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError as exc:
            raise StorageError(f"{key} in {self.url} is not JSON: {exc}") from exc

    def get_fixed(self, key: str) -> bytes | None:
        """`get` of an object that never changes once it is there: a small one is asked for once."""
        data = self._fixed.get(key)
        if data is None and (data := self.get(key)) is not None:
            self._keep(key, data)
        return data

    def get_fixed_json(self, key: str) -> Any:
        """`get_json` of an object that never changes once it is there."""
        return None if (data := self.get_fixed(key)) is None else self._json(key, data)

    def put_fixed(self, key: str, data: bytes) -> None:
        """`put` an object that never changes from then on."""
        self.put(key, data)
        self._keep(key, data)

    def _keep(self, key: str, data: bytes) -> None:
        if len(data) <= _FIXED_BYTES and len(self._fixed) < _FIXED:
            self._fixed[key] = data

    def get_all_json(self, keys: Sequence[str]) -> list[Any]:
        """`get_json` of each key, side by side."""
        if len(keys) < 2:
            return [self.get_json(key) for key in keys]
        with ThreadPoolExecutor(min(len(keys), _SIDE_BY_SIDE)) as pool:
            return list(pool.map(self.get_json, keys))

    def put(self, key: str, data: bytes) -> None:
        """Write the object, replacing what is there."""
        import obstore

        self._refuse_links(key)
        try:
            obstore.put(self._store, key, data)
        except Exception as exc:
            raise self._error(f"writing {key}", exc) from exc

    def put_file(self, key: str, path: Path) -> None:
        """Write a file as one object, in parts side by side when it is large."""
        import obstore

        self._refuse_links(key)
        try:
            size = path.stat().st_size
            part = max(_PART, -(-size // _MAX_PARTS))
            # what is smaller than a part is one request
            obstore.put(self._store, key, path, chunk_size=part, max_concurrency=_SENDING)
        except Exception as exc:
            raise self._error(f"writing {key}", exc) from exc

    def get_file(self, key: str, path: Path) -> bool:
        """Copy the object into a file, chunk by chunk; False when there is no such object."""
        import obstore

        self._refuse_links(key)
        try:
            chunks = obstore.get(self._store, key).stream(min_chunk_size=4 * 2**20)
            with path.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
        except FileNotFoundError as exc:
            if not path.parent.is_dir():  # it is the file that has no place, not the object
                raise self._error(f"reading {key}", exc) from exc
            return False
        except Exception as exc:
            raise self._error(f"reading {key}", exc) from exc
        return True

    def create(self, key: str, data: bytes) -> bool:
        """
        Write the object only if there is none yet.

        "Already exists" and failures leave open whether our own bytes were stored: a server may
        store and then answer with an error, and the client may have tried twice. So the object
        is read back: our bytes mean won, others' mean lost, none means try again. The bytes must
        therefore be the writer's own, for instance by holding a nonce.

        Returns:
            True when the stored object is ours.

        Raises:
            StorageError: after several tries it is still not known to be stored.
        """
        import obstore

        self._refuse_links(key)
        failure: Exception | None = None
        for attempt in range(_CREATE_TRIES):
            if attempt:
                time.sleep(0.1 * 2**attempt)
            try:
                obstore.put(self._store, key, data, mode="create")
            except Exception as exc:  # noqa: BLE001 - any answer may hide a success
                failure = exc
            else:
                return True
            try:
                stored = self.get(key)
            except StorageError as exc:
                failure = exc
                continue
            if stored is not None:
                return stored == data
        assert failure is not None
        raise self._error(f"creating {key}", failure) from failure

    def create_json(self, key: str, value: Json) -> bool:
        """`create` with a value in canonical JSON."""
        return self.create(key, canonical_json(value))

    def list(self, prefix: str) -> list[Entry]:
        """Objects whose key starts with the prefix (a folder ending in `/`), sorted by key."""
        import obstore

        if self._folder is not None:
            return sorted(self._files(prefix.rstrip("/")), key=lambda entry: entry.key)
        try:
            found = [
                Entry(str(meta["path"]), int(meta["size"]), meta["last_modified"])
                for batch in obstore.list(self._store, prefix=prefix.rstrip("/"))
                for meta in batch
            ]
        except FileNotFoundError:
            return []
        except Exception as exc:
            raise self._error(f"listing {prefix}", exc) from exc
        return sorted(found, key=lambda entry: entry.key)

    def names(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix, without the prefix."""
        for entry in self.list(prefix):
            yield entry.key.removeprefix(prefix)

    def head(self, key: str) -> Entry | None:
        """Size and time of an object, or None."""
        import obstore

        self._refuse_links(key)
        try:
            meta = obstore.head(self._store, key)
        except FileNotFoundError:
            return None
        except Exception as exc:
            raise self._error(f"looking at {key}", exc) from exc
        return Entry(str(meta["path"]), int(meta["size"]), meta["last_modified"])

    def delete(self, *keys: str) -> None:
        """Remove objects, many with one request; silent about those that are gone already."""
        import obstore

        if len(keys) > 1 and self.url.startswith("s3:"):  # to which what is gone is no error
            try:
                obstore.delete(self._store, keys)
            except Exception as exc:
                raise self._error(f"deleting {len(keys)} objects", exc) from exc
            return
        for key in keys:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                continue
            except Exception as exc:
                raise self._error(f"deleting {key}", exc) from exc

    def now(self, key: str) -> datetime:
        """The store's own time, read off an object written for it: drivers' clocks may be off."""
        self.put(key, b"")
        entry = self.head(key)
        if entry is None:
            raise StorageError(f"{self.url} lost {key} just after writing it")
        return entry.modified

    def _files(self, prefix: str) -> Iterator[Entry]:
        """Files below a folder of this machine; obstore would follow links, also in a circle."""
        assert self._folder is not None
        self._refuse_links(prefix)

        def fail(exc: OSError) -> None:
            if not isinstance(exc, FileNotFoundError):
                raise self._error(f"listing {prefix}", exc) from exc

        for folder, _, names in os.walk(self._folder / prefix, onerror=fail):
            for name in names:
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:  # gone since
                    continue
                if stat.S_ISREG(status.st_mode) and not _STAGED.search(name):
                    modified = datetime.fromtimestamp(status.st_mtime, UTC)
                    key = path.relative_to(self._folder).as_posix()
                    yield Entry(key, status.st_size, modified)

    def _refuse_links(self, key: str) -> None:
        """
        Nodes may write into their part of a folder, and must not lead drivers to other files.

        Raises:
            StorageError: the key's path goes through a link.
        """
        if self._folder is None:
            return
        path = str(self._folder)
        for part in key.split("/"):
            path = f"{path}/{part}"
            if os.path.islink(path):  # noqa: PTH114 - many times in each run
                raise StorageError(f"{key} in {self.url} leads through a link")

    def _error(self, doing: str, exc: Exception) -> StorageError:
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

        first = (str(exc).splitlines() or [type(exc).__name__])[0]
        # of a listing it is no error of its own
        refused = isinstance(exc, (PermissionDeniedError, UnauthenticatedError)) or (
            "403 Forbidden" in first
        )
        hint = _REFUSED.get(self.url.partition(":")[0], "") if refused else ""
        return StorageError(f"{doing} in {self.url} failed: {first[:300]}", hint=hint)
