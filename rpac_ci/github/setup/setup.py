"""
What `rpac init` would change in a repository, as a value; showing and making it come afterwards.

Two kinds of files: those that rpac keeps (`generated`), and starters (settings, an example, a line
of `.gitignore`), written where there is nothing and never touched again.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rpac_ci import experiments, scaffold
from rpac_ci.errors import CommandError
from rpac_ci.experiment_model import EXPERIMENT_FILE
from rpac_ci.git import Git
from rpac_ci.github.setup import generated, sources
from rpac_ci.github.setup.generated import State
from rpac_ci.github.setup.sources import Source
from rpac_ci.site_config import CONFIG_FILE, load_site

EXAMPLE = "estimate-pi"
EXAMPLE_TITLE = "Pi, estimated by throwing darts"
IGNORED = ".rpac/"
MAX_BYTES = 2**20  # of a file that is read here

_SETTINGS = """\
# What this repository allows, and who may ask for it. None of it is secret. On GitHub only the file
# of the default branch counts. What is left out has the value that is shown here.
schema: rpac/site/1
experiments: {experiments}
# roles: {{reproduce: write, plan: write, cancel: write, approve: maintain, accept: maintain}}
# auto_approve_below: 0 USD            # what costs more waits for /approve
# budgets: {{run: 5 USD, month: 50 USD}} # without one, nothing that costs money is run
# allow: {{clouds: [local]}}
# forks: ask                           # or never
# commit_back: auto                    # or head, or log: where reports go beside rpac/log
# rerun: [{{experiments: ["*"], every: 30 d}}] # none: reproduce what was accepted again and again
"""

_WHY_LEFT = {
    State.OUTDATED: "another version wrote it; renew it with: rpac init --upgrade",
    State.NEWER: "a later version of rpac wrote it; upgrade rpac itself",
    State.EDITED: "edited by hand, so it is left alone; to have it renewed, delete it first",
    State.FOREIGN: "not written by rpac, so it is left alone; rpac needs a file under this name",
}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A file that is not what this version would write, and stays."""

    path: str
    state: State

    @property
    def why(self) -> str:
        """Why, and what to do about it."""
        return _WHY_LEFT[self.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that is to be done, in order."""

    root: Path
    source: Source
    changes: tuple[Change, ...]
    left: tuple[Left, ...]
    experiment: str  # to try it with

    def diff(self) -> str:
        """The changes as `git diff` would show them."""
        return "".join(_diff(change) for change in self.changes)


def prepare(start: Path, *, source: str | None = None, upgrade: bool = False) -> Setup:
    """
    Find out what a repository lacks. Nothing is written.

    Args:
        start: a folder in the repository.
        source: what runners install, in words; found out when None.
        upgrade: also renew what another version wrote and nobody edited.

    Raises:
        CommandError: no source is known, or a file cannot be read.
        ExperimentError: `rpac.yaml` has mistakes.
        HistoryError: not in a git repository.
    """
    git = Git.discover(start)
    root = git.root
    settings = _settings(git)
    folder = _folder(git) if settings else load_site(root).experiments
    known = list(experiments.find(root / folder))
    recorded = generated.recorded_source(_read(root, generated.ACTION))
    chosen = sources.find(root, source, recorded, upgrade=upgrade)
    changes, left = [], []
    for path, wanted in generated.render(chosen).items():
        found = _read(root, path)
        state = generated.state(found, wanted)
        if state is State.MISSING or (state is State.OUTDATED and upgrade):
            changes.append(Change(path=path, before=found, after=wanted))
        elif state is not State.CURRENT:
            left.append(Left(path=path, state=state))
    changes += [settings] if settings else []
    changes += [] if known else _example(root, folder)
    changes += _ignore(root)
    return Setup(
        root=root,
        source=chosen,
        changes=tuple(changes),
        left=tuple(left),
        experiment=known[0] if known else EXAMPLE,
    )


def apply(setup: Setup) -> None:
    """
    Write the files, each at once or not at all.

    Raises:
        CommandError: one cannot be written, or has changed since it was shown.
    """
    for change in setup.changes:
        if _read(setup.root, change.path) != change.before:
            raise CommandError(
                f"{change.path} has changed in the meantime", hint="look again: rpac init"
            )
    for change in setup.changes:
        path = setup.root / change.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, change.after)
        except OSError as exc:
            raise CommandError(f"{change.path} cannot be written: {exc.strerror}") from exc


def _settings(git: Git) -> Change | None:
    if (git.root / CONFIG_FILE).exists() or (git.root / CONFIG_FILE).is_symlink():
        return None
    return Change(path=CONFIG_FILE, before=None, after=_SETTINGS.format(experiments=_folder(git)))


def _folder(git: Git) -> str:
    """Where this repository has its experiments; the usual name when none or several are there."""
    out = git.run("ls-files", "-z").decode("utf-8", "surrogateescape")
    paths = [PurePosixPath(path) for path in out.split("\0") if path]
    folders = {
        str(path.parent.parent)
        for path in paths
        if path.name == EXPERIMENT_FILE and len(path.parts) > 2
    }
    usual = "experiments"
    found = folders.pop() if len(folders) == 1 else usual
    return found if all(c.isascii() and (c.isalnum() or c in "._-/") for c in found) else usual


def _example(root: Path, folder: str) -> Iterator[Change]:
    for name, content in scaffold.files(EXAMPLE, EXAMPLE_TITLE).items():
        path = f"{folder}/{EXAMPLE}/{name}"
        if _read(root, path) is None:
            yield Change(path=path, before=None, after=content)


def _ignore(root: Path) -> Iterator[Change]:
    before = _read(root, ".gitignore")
    lines = (before or "").splitlines()
    if any(line.strip().strip("/") == IGNORED.strip("/") for line in lines):
        return
    glue = "" if not before or before.endswith("\n") else "\n"
    yield Change(path=".gitignore", before=before, after=f"{before or ''}{glue}{IGNORED}\n")


def _read(root: Path, path: str) -> str | None:
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


def _diff(change: Change) -> str:
    lines = difflib.unified_diff(
        (change.before or "").splitlines(keepends=True),
        change.after.splitlines(keepends=True),
        f"a/{change.path}" if change.before is not None else "/dev/null",
        f"b/{change.path}",
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )
