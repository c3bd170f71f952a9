"""Plan and run studies: many runs by lists of values, and a page over them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rpac_ci.api.runs import words_of
from rpac_ci.canonical import Json
from rpac_ci.driver import Notify, Progress
from rpac_ci.errors import CancelledError, StorageError
from rpac_ci.study_words import axes
from rpac_ci.workspace import Workspace

if TYPE_CHECKING:
    from rpac_ci.side_by_side import SideBySide
    from rpac_ci.study_runs import StudyConclusion, StudyPlan


def plan_study(
    target: str,
    overrides: Sequence[str] | Mapping[str, object],
    *,
    repository: Path | str = ".",
    allow_dirty: bool = False,
) -> StudyPlan | None:
    """
    What `study` would do; None when no override holds a list, so that it is one run.

    Args:
        target: `<experiment>`, or `<experiment>@<run>` for a past run.
        overrides: as for `plan`, with lists: `["nodes=1,2", "args.trees=50,150", "repeat=3"]` or
            `{"nodes": [1, 2], "repeat": 3}`.
        repository: a folder in it.
        allow_dirty: accept uncommitted changes in the experiment's files.
    """
    words = words_of(overrides)
    found = axes(words)
    if found is None:
        return None
    from rpac_ci import study_runs

    workspace = Workspace.open(repository)
    return study_runs.plan(workspace, target, words, found, allow_dirty=allow_dirty)


def plan_clouds(
    target: str,
    overrides: Sequence[str] | Mapping[str, object],
    *,
    repository: Path | str = ".",
    allow_dirty: bool = False,
) -> SideBySide | None:
    """
    Plans for several clouds side by side; None when not the cloud alone is a list.

    A cloud that cannot serve has its reason instead of a plan.

    Args:
        target: as for `plan_study`.
        overrides: as for `plan_study`, such as `["cloud=aws,local", "nodes=2"]`.
        repository: a folder in it.
        allow_dirty: accept uncommitted changes in the experiment's files.

    Raises:
        PipelineError: none of the clouds can serve.
    """
    found = axes(words_of(overrides))
    if found is None:
        return None
    from rpac_ci import side_by_side

    if not side_by_side.is_asked(found):
        return None
    workspace = Workspace.open(repository)
    return side_by_side.plan(workspace, target, found, allow_dirty=allow_dirty)


def study(
    planned: StudyPlan,
    *,
    repository: Path | str = ".",
    commit: bool = True,
    notify: Notify | None = None,
    via: str = "api",
) -> StudyConclusion:
    """
    Run a study: all its runs, side by side as far as there is room, and a page over them.

    Runs that fail do not hold up the others. Ctrl-C cancels what is not over, and the page is
    written all the same.

    Args:
        planned: from `plan_study`.
        repository: a folder in it.
        commit: also commit reports and page to the current branch; the log always gets them.
        notify: called with `Progress` as the runs go on.
        via: how it was asked for, for the records.

    Raises:
        RpacError: some runs could not be recorded and stay open; the message says how to go on.
    """
    from rpac_ci import study_runs

    workspace = Workspace.open(repository)
    target = planned.members[0][0].target
    words = " ".join(["reproduce", str(target), *planned.words])
    request: dict[str, Json] = {"via": via, "actor": None, "words": words}
    tell = notify or (lambda _: None)
    for remark in planned.remarks:
        tell(Progress(run="", step="plan", status="note", detail=remark))
    with _resumable():
        name, logs = study_runs.start(workspace, planned, request=request, commit=commit)
    with contextlib.suppress(KeyboardInterrupt):
        study_runs.drive(workspace, name, tell, logs)  # a second interrupt leaves runs open
    if name not in study_runs.finished(workspace):
        raise StorageError(
            f"some runs of the study {name} are still open", hint="go on with: rpac advance --all"
        )
    return study_runs.conclude_study(workspace, name)


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """An interrupt while runs are being made says how to go on with those that there are."""
    try:
        yield
    except KeyboardInterrupt:
        raise CancelledError(
            "interrupted while the runs of the study were made",
            hint="take those that there are to their end with: rpac advance --all",
        ) from None
