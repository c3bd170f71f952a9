"""
What is known of past runs, kept in `.rpac/history.sqlite`, so that records are understood once.

Facts stand under git's id of the run's folder. An id means the same bytes for ever, so nothing here
goes out of date, whatever happens to the log's refs, and processes at the same time can only add
equal rows. The file may be lost, damaged, locked or read-only: then answers take longer.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

INDEX_FILE = "history.sqlite"
BUSY_S = 0.5  # how long another writer is waited for

Facts: TypeAlias = dict[str, Any]


class HistoryIndex:
    """
    Facts by git's id of the run's folder; every row has a checksum, against damage.

    Args:
        root: of the repository.
        version: of the facts; those of another version are dropped.
    """

    def __init__(self, root: Path, *, version: str) -> None:
        self._db: sqlite3.Connection | None = None
        self._path = root / ".rpac" / INDEX_FILE
        self._version = zlib.crc32(version.encode()) & 0x7FFFFFFF
        self._writable = True
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def get(self, trees: Sequence[str]) -> dict[str, Facts | None]:
        """What is known of some folders; None where there is no record."""
        found: dict[str, Facts | None] = {}
        for at in range(0, len(trees), 500):
            keys = [bytes.fromhex(tree) for tree in trees[at : at + 500]]
            marks = ",".join("?" * len(keys))
            query = f"SELECT tree, checksum, facts FROM rows WHERE tree IN ({marks})"  # noqa: S608
            for key, checksum, facts in self._ask(query, keys):
                with contextlib.suppress(TypeError, ValueError):
                    if zlib.crc32(key + facts) == checksum:
                        found[key.hex()] = json.loads(facts)
        return found

    def put(self, rows: Mapping[str, Facts | None]) -> None:
        """Keep what is known of some folders, if that is possible."""
        if self._db is None or not self._writable:
            return
        lines = []
        for tree, facts in rows.items():
            key, text = bytes.fromhex(tree), json.dumps(facts, separators=(",", ":")).encode()
            lines.append((key, zlib.crc32(key + text), text))
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", sorted(lines))
        except sqlite3.Error:  # locked, read-only, disk full, damaged: the answer is known anyway
            self._writable = False

    def _ask(self, query: str, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
        if self._db is None:
            return []
        try:
            return self._db.execute(query, keys).fetchall()
        except sqlite3.OperationalError:
            self._close()
        except sqlite3.DatabaseError:
            self._discard()
        return []

    def _open(self) -> None:
        folder = self._path.parent
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not (folder / ".gitignore").exists():
                (folder / ".gitignore").write_text("*\n")
        except OSError:
            return
        try:
            self._db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            # what a crash does to the file is found by the checksums: no journal, no waiting
            self._db.execute("PRAGMA journal_mode = MEMORY")
            self._db.execute("PRAGMA synchronous = OFF")
            self._prepare(self._db)
        except sqlite3.OperationalError:
            self._close()
        except sqlite3.DatabaseError:
            self._discard()

    def _prepare(self, db: sqlite3.Connection) -> None:
        """An empty table where there is none, or one whose rows mean something else."""
        if db.execute("PRAGMA user_version").fetchone()[0] == self._version:
            return
        with db:
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] == self._version:
                return  # another process was first
            db.execute("DROP TABLE IF EXISTS rows")
            db.execute("CREATE TABLE rows (tree BLOB PRIMARY KEY, checksum INTEGER, facts BLOB)")
            db.execute(f"PRAGMA user_version = {self._version}")

    def _discard(self) -> None:
        """Remove a damaged file; the next question starts a new one."""
        self._close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
