"""
The first step of a run: the environment of its lock, or the image of its nodes, and its data.

The code is in the store since the run was made.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeAlias

from rpac_ci import engines, environments
from rpac_ci.downloads import RefusedError
from rpac_ci.errors import CloudError, SourceError
from rpac_ci.jobs import CONTENT, CONTENT_KEPT, EngineName, content_key
from rpac_ci.locators import FileLocator, HttpsLocator, S3Locator, parse_locator
from rpac_ci.pipeline import DataRef, EnvironmentKind, Pipeline
from rpac_ci.quantities import format_bytes
from rpac_ci.sources import Content, ContentCache, fetch, look
from rpac_ci.storage import Entry, Storage
from rpac_ci.traffic import AWS, nodes_check, nodes_read
from rpac_ci.workspace import Place

DOCKER = "docker"
_FETCHES, _UPLOADS = 4, 32  # at once
_MANY = 100  # inputs; a listing has a thousand objects
Tell: TypeAlias = Callable[[str, str], None]  # "note" or "moving", and a line


class _Kept:
    """
    Inputs that the store has by content.

    Those that are there for long do not count: `rpac gc` may just have found that no run needs
    them, so they are put there again.
    """

    def __init__(self, storage: Storage, clock: str) -> None:
        self._storage = storage
        self._clock = clock
        self._now: datetime | None = None
        self._asking = threading.Lock()
        self._listed: dict[str, Entry] | None = None

    def list(self) -> None:
        """Ask for all at once, which is less than a question for each of many."""
        self._listed = {entry.key: entry for entry in self._storage.list(CONTENT)}

    def find(self, sha256: str) -> Entry | None:
        """Content that will stay; None where there is none."""
        key = content_key(sha256)
        there = self._storage.head(key) if self._listed is None else self._listed.get(key)
        if there is None:
            return None
        with self._asking:
            self._now = self._now or self._storage.now(self._clock)
        return there if self._now - there.modified <= CONTENT_KEPT / 2 else None


class Staging:
    """What a run needs before there are machines."""

    def __init__(
        self,
        workspace: Place,
        pipeline: Pipeline,
        created: Mapping[str, Any],
        tell: Tell,
        *,
        clock: str,
        images: str | None,
    ) -> None:
        """
        Args:
            workspace: where the run is kept.
            pipeline: what it does.
            created: the run's first event.
            tell: called now and then: with a "note" to keep, or with what is "moving" just now.
            clock: key of an object to read the store's time off.
            images: repository that nodes elsewhere pull their image from; None for nodes here.
        """
        self._workspace = workspace
        self._pipeline = pipeline
        self._created = created
        self._tell = tell
        self._clock = clock
        self._images = images

    def all(self) -> dict[str, Any]:
        """Environment and data, side by side; what they are goes into the event log."""
        stop = threading.Event()
        # small requests wait for answers, so there are more of them than of downloads
        with ThreadPoolExecutor(_UPLOADS) as uploads, ThreadPoolExecutor(_FETCHES) as pool:
            try:
                software = pool.submit(self._software, stop)
                kept = _Kept(self._workspace.storage, self._clock)
                if self._images and len(self._pipeline.data) >= _MANY:
                    kept.list()

                def bring(name: str) -> tuple[dict[str, Any], Future[None] | None]:
                    staged, content = self._fetch(name, stop, kept)
                    if content is None:
                        return staged, None
                    return staged, uploads.submit(self._upload, name, content, kept)

                data = {name: pool.submit(bring, name) for name in self._pipeline.data}
                inputs = {}
                for name, future in data.items():
                    inputs[name], uploaded = future.result()
                    if uploaded:
                        uploaded.result()
                environment = software.result()
            except BaseException:
                stop.set()
                for threads in (pool, uploads):
                    threads.shutdown(wait=False, cancel_futures=True)
                raise
        return {"environment": environment, "data": inputs}

    def _software(self, stop: threading.Event) -> dict[str, Any] | None:
        """The command's software made ready, and what of it goes into the record."""
        if self._pipeline.target.runtime == DOCKER:
            return self._image(stop)
        info = self.environment(stop)
        if info is None:
            return None
        return {"python": info.python, "packages": info.packages, "hashed": info.hashed}

    def environment(
        self, stop: threading.Event | None = None
    ) -> environments.EnvironmentInfo | None:
        """The virtual environment of the lock."""
        wanted = self._pipeline.environment
        if wanted.kind is not EnvironmentKind.VENV:
            return None
        self._tell("moving", "environment from the lock")
        lock = self._source_file(wanted.lock or "")
        return environments.ensure(
            lock,
            python=wanted.python,
            cache=self._workspace.cache,
            stop=stop,
            from_source=engines.published_as_source(lock),
            indexes=tuple(wanted.indexes),
            horovod=self._pipeline.engine.name is EngineName.HOROVOD,
            report=lambda text: self._tell("moving", text),
        )

    def _image(self, stop: threading.Event) -> dict[str, Any]:
        """The image of the nodes' containers."""
        from rpac_ci import image_registry, images

        wanted = self._pipeline.environment
        self._tell("moving", "container image")
        if wanted.image and self._images:
            return {"image": wanted.image, "images": {"nodes": wanted.image}}
        if wanted.image:
            made = images.declared(wanted.image)
        else:
            engine = self._pipeline.engine.name.value
            if self._images:
                image_registry.bring(
                    engine, self._images, report=lambda text: self._tell("moving", text), stop=stop
                )
            made = images.ensure_environment(
                engine,
                self._source_file(wanted.lock) if wanted.lock else None,
                python=wanted.python,
                report=lambda text: self._tell("moving", text),
                stop=stop,
                indexes=tuple(wanted.indexes),
            )
        image = made.id
        if self._images:
            self._tell("moving", f"image to {self._images}")
            image = images.publish(made.id, self._images)
        return {
            "python": made.python,
            "packages": made.packages,
            "hashed": made.hashed,
            "image": image,
            "images": {"nodes": image, "engine": made.engine_image_id},
        }

    def _fetch(
        self, name: str, stop: threading.Event, kept: _Kept
    ) -> tuple[dict[str, Any], Content | None]:
        """
        An input brought here, or left to nodes that can read it themselves.

        Returns:
            Its hash and size, and what is to be uploaded of it.
        """
        ref = self._pipeline.data[name]
        if (left := self._left_to_nodes(name, ref, kept)) is not None:
            return left, None
        shown = 0.0

        def report(done: int, total: int | None) -> None:
            nonlocal shown
            if time.monotonic() - shown > 0.5:
                shown = time.monotonic()
                of = f" of {format_bytes(total)}" if total else ""
                self._tell("moving", f"data {name}: {format_bytes(done)}{of}")

        self._tell("moving", f"data {name}")
        cache = ContentCache(self._workspace.cache)
        content = self._past_content(ref, cache)
        if content is None:
            folder = self._workspace.root / self._created["folder"]
            content = fetch(
                ref.uri,
                folder=folder,
                cache=cache,
                sha256=ref.sha256,
                archive_sha256=ref.archive_sha256,
                report=report,
                stop=stop,
            )
        if ref.checksum:
            _check_published(content, ref)
        self._tell("note", f"data {name}: {format_bytes(content.size)}, verified")
        staged = {"sha256": content.sha256, "size": content.size}
        elsewhere = self._images and not self._nodes_read(name, ref)
        return staged, content if elsewhere else None

    def _nodes_read(self, name: str, ref: DataRef) -> bool:
        """Whether nodes elsewhere read it where it is; S3 is asked as those of other clouds ask."""
        locator, cloud = parse_locator(ref.uri), self._pipeline.target.cloud
        if not nodes_read(locator, cloud):
            return False
        if cloud == AWS or not isinstance(locator, S3Locator):
            return True
        try:
            look(locator, anonymous=True)
        except RefusedError:
            self._tell("note", f"data {name}: not public, so nodes get it by way of the store")
            return False
        return True

    def _left_to_nodes(self, name: str, ref: DataRef, kept: _Kept) -> dict[str, Any] | None:
        """
        An input whose bytes need not come here: pinned, and nodes elsewhere read and check it.

        Only its size is asked for, so that what is not there any more is known before anything is
        started; None (size) where its server does not say. None at all for other inputs.
        """
        if not self._images or not ref.sha256 or not nodes_check(self._pipeline, name):
            return None
        locator = parse_locator(ref.uri)
        size: int | None
        stored = kept.find(ref.sha256)
        if stored is not None:
            size, where = stored.size, "in the store already"
        elif isinstance(locator, (HttpsLocator, S3Locator)) and self._nodes_read(name, ref):
            size, where = self._look(locator), "to be read by the nodes"
        else:
            return None
        shown = f"{format_bytes(size)}, " if size is not None else ""
        self._tell("note", f"data {name}: {shown}{where}")
        return {"sha256": ref.sha256, "size": size}

    def _look(self, locator: HttpsLocator | S3Locator) -> int | None:
        try:
            return look(locator)
        except RefusedError:
            return None  # to who asks from here; the nodes may be somebody else

    def _upload(self, name: str, content: Content, kept: _Kept) -> None:
        """Into the store by content, so that it is there once for all runs."""
        if kept.find(content.sha256) is None:
            self._tell("moving", f"data {name} to the store")
            self._workspace.storage.put_file(content_key(content.sha256), content.path)

    def _past_content(self, ref: DataRef, cache: ContentCache) -> Content | None:
        """
        What a past run read from beside its code: kept with that code, or in the cache by hash.

        The file that lies there now may be another one.
        """
        locator = parse_locator(ref.uri)
        if not self._pipeline.lineage.reproduces or not isinstance(locator, FileLocator):
            return None
        if ref.sha256 and (known := cache.find(ref.sha256)):
            return known
        kept = self._source_member(locator.path)
        if kept is None or hashlib.sha256(kept).hexdigest() != ref.sha256:
            return None
        return cache.add([kept], expected=ref.sha256, what=ref.uri)

    def _source_file(self, path: str) -> bytes:
        content = self._source_member(path)
        if content is None:
            raise CloudError(f"the run's source has no {path}")
        return content

    def _source_member(self, path: str) -> bytes | None:
        archive = self._workspace.storage.get(self.source_key)
        if archive is None:
            raise CloudError("the run's source archive is not in the store")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            try:
                member = tar.extractfile(posixpath.normpath(path))
            except KeyError:
                return None
            return member.read() if member else None

    @property
    def source_key(self) -> str:
        """Key of the source archive in the store."""
        return content_key(self._created["source_archive"])


def _check_published(content: Content, ref: DataRef) -> None:
    """
    Raises:
        SourceError: the content has not the checksum that its publisher gives.
    """
    algorithm, _, expected = (ref.checksum or "").partition(":")
    with content.path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise SourceError(f"{ref.uri} has {algorithm} {found}, expected {expected}")
