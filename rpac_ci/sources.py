"""
Locators -> verified content.

Every byte is hashed while it is read and kept once, by its hash, in a cache that runs share.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rpac_ci import objects, processes
from rpac_ci.downloads import CHUNK, Look, Reader, Report, read_url
from rpac_ci.errors import SourceError
from rpac_ci.locators import (
    EarthdataLocator,
    FileLocator,
    HttpsLocator,
    PypiLocator,
    S3Locator,
    parse_locator,
    shown,
)

PIP_TIMEOUT_S = 900.0
_SEALED_NS = 0  # modification time of verified content: a later write gives itself away


_WHEELS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Verified bytes: their hash (hex), size in bytes, and where the cache keeps them."""

    sha256: str
    size: int
    path: Path


class ContentCache:
    """Files by their SHA-256, written once, read-only, shared by every run of this user."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, sha256: str) -> Path:
        """Where content with this hash is kept, whether or not it is there."""
        return self.root / "content" / "sha256" / sha256

    def find(self, sha256: str) -> Content | None:
        """Content that is there and has not been touched since it was verified."""
        path = self.path_of(sha256)
        try:
            status = path.stat()
        except OSError:
            return None
        if status.st_mtime_ns != _SEALED_NS:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    with contextlib.suppress(OSError):  # a node's cache may be read-only
                        path.unlink(missing_ok=True)
                    return None
            with contextlib.suppress(OSError):
                os.utime(path, ns=(_SEALED_NS, _SEALED_NS))
        return Content(sha256=sha256, size=status.st_size, path=path)

    def add(self, chunks: Iterable[bytes], *, expected: str | None, what: str) -> Content:
        """
        Store a stream under its hash.

        Raises:
            SourceError: the content is not the expected one, or the disk is full.
        """
        folder = self.root / "content" / "sha256"
        hasher, size = hashlib.sha256(), 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder, prefix=".incoming-")
        except OSError as exc:
            raise SourceError(f"the cache {self.root} cannot be written: {exc.strerror}") from exc
        incoming = Path(name)
        try:
            # hashing and writing side by side: each takes about as long as the other; a thread is
            # only made for what is large enough
            with os.fdopen(handle, "wb", buffering=0) as file, ThreadPoolExecutor(1) as hashing:
                for chunk in chunks:
                    large = len(chunk) >= CHUNK
                    hashed = hashing.submit(hasher.update, chunk) if large else None
                    if hashed is None:
                        hasher.update(chunk)
                    size += len(chunk)
                    _write(file, chunk)
                    if hashed is not None:
                        hashed.result()
            found = hasher.hexdigest()
            if expected and found != expected:
                raise SourceError(
                    f"{what} has sha256 {found}, expected {expected}",
                    hint="the source has changed or the declared hash is wrong; nothing was run",
                )
            incoming.chmod(0o444)
            os.utime(incoming, ns=(_SEALED_NS, _SEALED_NS))
            incoming.replace(self.path_of(found))
        except OSError as exc:
            raise SourceError(
                f"{what} cannot be kept in {self.root}: {exc.strerror or exc}"
            ) from exc
        finally:
            incoming.unlink(missing_ok=True)
        return Content(sha256=found, size=size, path=self.path_of(found))

    def note(self, key: str, sha256: str) -> None:
        """Remember which content a file or a wheel member had."""
        path = self._note_path(key)
        with contextlib.suppress(OSError):  # a note saves work, nothing hangs on it
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "w") as file:
                file.write(sha256)
            Path(name).replace(path)

    def noted(self, key: str) -> Content | None:
        """The content remembered for a key, if the cache still has it."""
        try:
            return self.find(self._note_path(key).read_text())
        except OSError:
            return None

    def _note_path(self, key: str) -> Path:
        return self.root / "content" / "notes" / hashlib.sha256(key.encode()).hexdigest()


def _write(file: IO[bytes], data: bytes) -> None:
    """All of the data: an unbuffered file may take a part only."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def fetch(
    uri: str,
    *,
    folder: Path | None,
    cache: ContentCache,
    sha256: str | None = None,
    archive_sha256: str | None = None,
    report: Report | None = None,
    stop: threading.Event | None = None,
) -> Content:
    """
    Bring the content of a locator into the cache, verified while it is read.

    Args:
        uri: see the module's docstring.
        folder: the experiment's folder, for `file:` paths, which are then always looked at; None
            when the content is wanted and not that file.
        cache: where content is kept; content with the wanted hash is not fetched again.
        sha256: the hash the content must have, hex; None accepts what comes.
        archive_sha256: the hash the wheel around a `pypi:` member must have.
        report: called now and then with bytes so far and in all.
        stop: set it to give up.

    Raises:
        SourceError: it cannot be had (`transient` when a later try may help) or is not the
            declared content.
    """
    reader = Reader(report, stop or threading.Event())
    locator = parse_locator(uri)
    beside = isinstance(locator, FileLocator) and folder is not None
    # a file that lies beside the experiment must be what it is declared to be, cached or not
    if sha256 and not beside and (known := cache.find(sha256)):
        return known
    match locator:
        case FileLocator(path):
            return _fetch_file(path, folder, cache, sha256, reader)
        case HttpsLocator() | S3Locator() | EarthdataLocator():
            return cache.add(_read(locator, reader), expected=sha256, what=shown(locator))
        case PypiLocator():
            return _fetch_member(locator, cache, sha256, archive_sha256, reader)


def look(locator: HttpsLocator | S3Locator, *, anonymous: bool = False) -> int | None:
    """
    The size in bytes of what is elsewhere, as its server says it; None where it says none.

    The content is not read, so that what is not there is known before anything is started.

    Args:
        locator: of it.
        anonymous: as somebody without an account of AWS.

    Raises:
        RefusedError: it may not be read from here.
        SourceError: it cannot be had.
    """
    looking = Look()
    for _ in _read(locator, looking, anonymous=anonymous):
        pass
    return looking.total


def _read(
    locator: HttpsLocator | S3Locator | EarthdataLocator, reader: Reader, *, anonymous: bool = False
) -> Iterator[bytes]:
    match locator:
        case HttpsLocator(url):
            return read_url(url, reader)
        case S3Locator():
            return objects.read_s3(locator, reader, anonymous=anonymous)
        case EarthdataLocator():
            return objects.read_earthdata(locator, reader)


def _fetch_file(
    name: str, folder: Path | None, cache: ContentCache, sha256: str | None, reader: Reader
) -> Content:
    if folder is None and not name.startswith("/"):
        raise SourceError(
            f"file:{name} is not here any more and the cache does not hold its content",
            hint="give another place for it: data.<name>=<uri>",
        )
    path = (folder or Path()) / name
    if folder and not name.startswith("/") and not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(f"file:{name} leads out of the experiment's folder")
    try:
        status = path.stat()
        with path.open("rb") as file:
            # unchanged size, time and inode: the content is the one hashed before
            key = json.dumps(
                [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
            )
            known = cache.noted(key)
            if known and sha256 in (None, known.sha256):
                return known
            chunks = reader.chunks(file.read, status.st_size)
            content = cache.add(chunks, expected=sha256, what=f"file:{name}")
    except OSError as exc:
        raise SourceError(f"file:{name} cannot be read: {exc.strerror or exc}") from exc
    cache.note(key, content.sha256)
    return content


def _fetch_member(
    locator: PypiLocator,
    cache: ContentCache,
    sha256: str | None,
    archive_sha256: str | None,
    reader: Reader,
) -> Content:
    what = f"{locator.member} of {locator.wheel}"
    wheel = _wheel(locator, cache, archive_sha256, reader)
    try:
        with zipfile.ZipFile(wheel.path) as archive, archive.open(locator.member) as member:
            chunks = reader.chunks(member.read, archive.getinfo(locator.member).file_size)
            return cache.add(chunks, expected=sha256, what=what)
    except KeyError as exc:
        raise SourceError(f"{locator.wheel} has no member {locator.member!r}") from exc
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as exc:
        raise SourceError(f"{what}: {exc}") from exc


def _wheel(
    locator: PypiLocator, cache: ContentCache, expected: str | None, reader: Reader
) -> Content:
    note = f"wheel {locator.wheel}"
    with _WHEELS[locator.wheel]:  # several members of one wheel are often asked for at once
        known = cache.find(expected) if expected else cache.noted(note)
        if known:
            return known
        return _add_wheel(locator, cache, expected, reader)


def _add_wheel(
    locator: PypiLocator, cache: ContentCache, expected: str | None, reader: Reader
) -> Content:
    with tempfile.TemporaryDirectory(prefix="rpac-wheel-") as folder:
        path = _pip_download(locator, Path(folder), reader.stop)
        with path.open("rb") as file:
            chunks = reader.chunks(file.read, path.stat().st_size)
            content = cache.add(chunks, expected=expected, what=locator.wheel)
    cache.note(f"wheel {locator.wheel}", content.sha256)
    return content


def _pip_download(locator: PypiLocator, folder: Path, stop: threading.Event) -> Path:
    argv = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps",
        "--disable-pip-version-check", "--only-binary", ":all:", "--ignore-requires-python",
        "--dest", str(folder), f"{locator.project}=={locator.version}",
        *_platform_options(locator.wheel),
    ]  # fmt: skip
    try:
        done = processes.run(argv, timeout_s=PIP_TIMEOUT_S, stop=stop)
    except (TimeoutError, processes.StoppedError, OSError) as exc:
        raise SourceError(f"{locator.wheel} did not arrive: {exc}", transient=True) from exc
    found = sorted(path.name for path in folder.glob("*.whl"))
    if locator.wheel in found:
        return folder / locator.wheel
    if found:
        raise SourceError(f"the package index gave {found[0]} instead of {locator.wheel}")
    lines = [line for line in done.err.splitlines() if line.startswith("ERROR")]
    reason = lines[-1].removeprefix("ERROR: ") if lines else done.err.strip()[-300:]
    raise SourceError(
        f"{locator.wheel} cannot be fetched: {reason}",
        hint="the index is the one pip is configured for: pip config list",
        transient="No matching distribution" not in reason,
    )


def _platform_options(wheel: str) -> list[str]:
    from packaging.utils import parse_wheel_filename

    tag = min(parse_wheel_filename(wheel)[3], key=str)
    if tag.platform == "any":
        return []
    version = tag.interpreter.lstrip("abcdefghijklmnopqrstuvwxyz")
    return [
        "--platform",
        tag.platform,
        "--abi",
        tag.abi,
        "--implementation",
        tag.interpreter[:2],
        "--python-version",
        version,
    ]
