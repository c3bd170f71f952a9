"""Changes of files that people keep: shown first, then each written at once or not at all."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rpac_ci.errors import CommandError

MAX_BYTES = 2**20  # of a file that is read here


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file to write; `before` is None for a new one."""

    path: str
    before: str | None
    after: str

    @property
    def action(self) -> str:
        """What is done: `create` or `update`."""
        return "create" if self.before is None else "update"

    def diff(self) -> str:
        """The change as `git diff` would show it."""
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            f"a/{self.path}" if self.before is not None else "/dev/null",
            f"b/{self.path}",
        )
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )


def read(root: Path, path: str) -> str | None:
    """
    A file of the repository; None when there is none.

    Raises:
        CommandError: it is no plain text file in the repository.
    """
    file = root / path
    if not file.resolve().is_relative_to(root.resolve()) or file.is_symlink():
        raise CommandError(f"{path} is a link, or in a linked folder; rpac writes plain files only")
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise CommandError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not text in UTF-8") from None
    if len(content) > MAX_BYTES:
        raise CommandError(f"{path} has more than {MAX_BYTES} bytes")
    return text


def write(root: Path, changes: Iterable[Change], *, again: str) -> None:
    """
    Write the files.

    Args:
        root: top of the repository.
        changes: as they were shown.
        again: the command that looks again.

    Raises:
        CommandError: one cannot be written, or has changed since it was shown.
    """
    changes = list(changes)
    for change in changes:
        if read(root, change.path) != change.before:
            raise CommandError(
                f"{change.path} has changed in the meantime", hint=f"look again: {again}"
            )
    for change in changes:
        path = root / change.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, change.after)
        except OSError as exc:
            raise CommandError(f"{change.path} cannot be written: {exc.strerror}") from exc


def _write(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a file that is open already
            file.write(text.encode())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
