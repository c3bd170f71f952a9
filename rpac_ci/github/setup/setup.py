"""
What `rpac init` would change in a repository, as a value; showing and making it come afterwards.

Two kinds of files: those that rpac keeps (`generated`), and starters (settings, an example, a line
of `.gitignore`), written where there is nothing and never touched again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rpac_ci import experiments, file_changes, scaffold
from rpac_ci.experiment_model import EXPERIMENT_FILE
from rpac_ci.file_changes import Change
from rpac_ci.git import Git
from rpac_ci.github.setup import generated, sources
from rpac_ci.github.setup.generated import State
from rpac_ci.github.setup.sources import Source
from rpac_ci.site_config import CONFIG_FILE, load_site

EXAMPLE = "estimate-pi"
EXAMPLE_TITLE = "Pi, estimated by throwing darts"
IGNORED = ".rpac/"

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
        return "".join(change.diff() for change in self.changes)


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
    recorded = generated.recorded_source(file_changes.read(root, generated.ACTION))
    chosen = sources.find(root, source, recorded, upgrade=upgrade)
    changes, left = [], []
    for path, wanted in generated.render(chosen).items():
        found = file_changes.read(root, path)
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
    file_changes.write(setup.root, setup.changes, again="rpac init")


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
        if file_changes.read(root, path) is None:
            yield Change(path=path, before=None, after=content)


def _ignore(root: Path) -> Iterator[Change]:
    before = file_changes.read(root, ".gitignore")
    lines = (before or "").splitlines()
    if any(line.strip().strip("/") == IGNORED.strip("/") for line in lines):
        return
    glue = "" if not before or before.endswith("\n") else "\n"
    yield Change(path=".gitignore", before=before, after=f"{before or ''}{glue}{IGNORED}\n")
