"""
Runs between their start and their commit: make one, go on with one, sweep what is left of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rpac_ci import __version__, clouds
from rpac_ci.canonical import Json
from rpac_ci.clouds.interface import Cloud, Leftover
from rpac_ci.driver import Leave, Notify, RunDriver, read_pipeline
from rpac_ci.errors import CloudError, HistoryError, RpacError, RunNotFoundError, StorageError
from rpac_ci.events import LEASE_S, EventLog, Kind, is_gone
from rpac_ci.jobs import Keys, RunId, Waits, content_key
from rpac_ci.planning import Plan
from rpac_ci.run import Step, Wait, fold, new_run_id
from rpac_ci.steps import archive_digest
from rpac_ci.workspace import LOCAL, Place, Workspace

if TYPE_CHECKING:
    from rpac_ci.conclude import Conclusion

_LOOKS = 4  # of a sweep: what is about to be removed may still start something


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """What became of one open run; `error` says why it could not be taken to its end."""

    run: str
    status: str
    exit_code: int = 0  # of the run's verdict, when it is over
    conclusion: Conclusion | None = None
    error: RpacError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """Something a run had left or nobody uses any more, and what was done about it."""

    run: str  # empty when it belongs to none
    what: str
    action: str

    @property
    def done(self) -> bool:
        """Whether something was to be removed."""
        return self.action.startswith(("removed", "could not be removed"))


def start(
    workspace: Workspace,
    planned: Plan,
    *,
    run: RunId | None = None,
    request: dict[str, Json],
    commit: bool = True,
    waits: Waits | None = None,
) -> EventLog:
    """
    Make a run of a plan: from here on any driver can take it to its end.

    Args:
        workspace: to make it in.
        planned: what it does.
        run: its id; a new one when None.
        request: who asked, for the record.
        commit: whether the report also goes to the current branch.
        waits: limits of the nodes' waits.

    Returns:
        Its events, for a driver that goes on at once.
    """
    workspace = workspace.on(planned.pipeline.target.cloud)
    run, archive = run or new_run_id(), planned.source.archive()
    if planned.source.diff is not None:
        workspace.storage.put(Keys(run).diff, planned.source.diff)
    created = first_event(planned, archive, request=request, commit=commit)
    if waits:
        created["waits"] = {name: getattr(waits, name) for name in Waits.__dataclass_fields__}
    log = make(workspace, run, created, planned.pipeline.to_bytes(), archive)
    if log is None:
        raise StorageError(f"another run has taken the id {run}", hint="give the command again")
    return log


def make(
    workspace: Workspace, run: str, created: dict[str, Json], pipeline: bytes, archive: bytes
) -> EventLog | None:
    """
    Put into the store what a run starts from; `created` is its first event.

    Returns:
        Its events; None when it has had some already.
    """
    storage, keys = workspace.storage, Keys(run)
    storage.put(keys.open, b"")  # first: whatever is there of a run can be found
    source = content_key(archive_digest(archive))
    # on this machine `rpac gc` forgets what nobody has written for a while
    if workspace.cloud == LOCAL or storage.head(source) is None:
        storage.put(source, archive)
    storage.put_fixed(keys.pipeline, pipeline)
    log = EventLog(storage, run)
    return log if log.append(Kind.CREATED, created, after=0) else None


def first_event(
    planned: Plan, archive: bytes, *, request: dict[str, Json], commit: bool
) -> dict[str, Json]:
    """What the first event of a run says; `archive` is that of the plan's source."""
    return {
        "pipeline": planned.pipeline.digest,
        "source_archive": archive_digest(archive),
        "folder": planned.folder,
        "requested": request,
        "rpac": __version__,
        "reference": planned.reference.to_json(),
        "commit": commit,
    }


def names(workspace: Workspace) -> list[str]:
    """Runs that are not committed yet, oldest first."""
    return sorted(homes(workspace))


def homes(workspace: Workspace) -> dict[str, Workspace]:
    """The open runs, and the workspaces whose stores hold them."""
    return _homes(workspace.places)


def _homes(places: Sequence[Workspace]) -> dict[str, Workspace]:
    return {name: place for place in places for name in place.storage.names("open/")}


def home(workspace: Workspace, run: str) -> Workspace:
    """The workspace whose store holds an open run; the given one when none does."""
    if len(workspace.places) == 1:
        return workspace
    marker = Keys(run).open
    return next((place for place in workspace.places if place.storage.head(marker)), workspace)


def submit(
    workspace: Workspace, run: str, notify: Notify | None = None, *, log: EventLog | None = None
) -> bool:
    """
    Take a run as far as its submit, and leave.

    Returns:
        Whether its nodes are on their way; False when it has ended before, and is released.

    Raises:
        KeyboardInterrupt: it is asked to stop, and stays open.
        RpacError: the store stays away; the run stays open.
    """
    driver = RunDriver(
        workspace, run, notify=notify, leaves=lambda step, _: step is Step.WATCH, log=log
    )
    try:
        return isinstance(driver.drive(), Leave)
    except KeyboardInterrupt:
        driver.cancel("interrupted (Ctrl-C)")
        raise


def advance(
    workspace: Workspace, run: str, notify: Notify | None = None, *, wait: bool = False
) -> Advanced:
    """
    Go on with one open run as far as it is ours: to its end, or to another driver's claim.

    Args:
        workspace: of the repository.
        run: its id.
        notify: called with `Progress` as the run goes on.
        wait: for another driver, too, until it is done or gone.

    Raises:
        RpacError: the run cannot be taken to its end now and stays open.
    """
    workspace = home(workspace, run)
    driver = RunDriver(workspace, run, notify=notify)
    if not driver.log.read():
        return _forget(workspace, run)
    decision = driver.drive(wait=wait)
    if isinstance(decision, Wait):
        return Advanced(run=run, status=f"another driver is at {decision.step}")
    from rpac_ci.conclude import conclude

    conclusion = conclude(workspace, run, log=driver.log)
    verdict = conclusion.verdict
    return Advanced(
        run=run, status=verdict.outcome, exit_code=verdict.exit_code, conclusion=conclusion
    )


def advance_all(
    workspace: Workspace, notify: Notify | None = None, *, wait: bool = False
) -> list[Advanced]:
    """Go on with every open run; one that cannot be helped does not hold up the others."""
    advanced = []
    for run in names(workspace):
        try:
            advanced.append(advance(workspace, run, notify, wait=wait))
        except RpacError as exc:
            advanced.append(Advanced(run=run, status=f"still open: {exc.message}", error=exc))
    return advanced


def _forget(workspace: Workspace, run: str) -> Advanced:
    """A run that has a marker and no event: just being made, or its driver died there."""
    storage, keys = workspace.storage, Keys(run)
    marker = storage.head(keys.open)
    age = (storage.now(f"{keys.control}clock") - marker.modified).total_seconds() if marker else 0
    if marker and age < LEASE_S:
        return Advanced(run=run, status="is just being started")
    storage.delete(*(entry.key for entry in storage.list(keys.control)), keys.open)
    return Advanced(run=run, status="never started, forgotten")


def sweep(workspace: Workspace, *, dry_run: bool, only: str | None = None) -> list[Swept]:
    """
    Remove what runs left that are over, and what nobody uses; name those that are open.

    Args:
        workspace: of the repository.
        dry_run: only name what would be removed.
        only: the cloud that is meant, as no other may be entered; None means all that have a store.

    Raises:
        RpacError: a store or a cloud cannot be asked.
    """
    swept = []
    places = [workspace.on(only)] if only else workspace.places
    for place in places:
        cloud = clouds.load(place.cloud, place)
        seen: dict[Leftover, str] = {}  # and why it could not be removed
        looks = 0
        while True:
            looks += 1
            remaining = set(listed := cloud.leftovers())
            # read after the leftovers: a run's marker is there before anything else of it
            still_open = _homes(places)
            new = [left for left in listed if left not in seen]
            for left in new:  # the others can be removed where one cannot
                leave = dry_run or left.run in still_open or looks == _LOOKS
                seen[left] = "" if leave else _discarded(cloud, left)
            if dry_run or not new or looks == _LOOKS:
                break
        for left, problem in seen.items():
            if left.run in still_open:
                action = f"kept: the run is open, rpac advance {left.run} ends it"
            elif left in remaining:
                action = "found" if dry_run else f"could not be removed{problem}"
            else:
                action = "removed"
            swept.append(Swept(run=left.run, what=f"{left.kind} {left.name}", action=action))
        swept += _sweep_idle(cloud, place, dry_run=dry_run)
    for run, place in sorted(_homes(places).items(), key=lambda one: one[0]):
        if not any(item.run == run for item in swept):
            action = f"rpac advance {run}"
            swept.append(Swept(run=run, what=f"open run, {_who(place, run)}", action=action))
    return swept


def _discarded(cloud: Cloud, left: Leftover) -> str:
    """Remove it; why that did not work, after a colon."""
    try:
        cloud.discard(left)
    except CloudError as exc:
        return f": {exc.message}"
    return ""


def _sweep_idle(cloud: Cloud, place: Place, *, dry_run: bool) -> Iterator[Swept]:
    """Remove what a cloud keeps for later runs and nobody has used for long."""
    try:
        needed = [read_pipeline(place, run).target for run in place.storage.names("open/")]
        found = cloud.idle(needed)
    except HistoryError:
        return  # one is just being made, or a newer rpac's: what it needs is not known
    except CloudError as exc:
        yield Swept(run="", what="unused capacity", action=f"not looked for: {exc.message}")
        return
    for left in found:
        problem = "" if dry_run else _discarded(cloud, left)
        did = f"could not be removed{problem}" if problem else "removed"
        action = "found" if dry_run else did
        yield Swept(run=left.run, what=f"{left.kind} {left.name}", action=action)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run that is not committed yet."""

    run: str
    started: str
    doing: str  # the step it is at, and whether anybody is at it

    def to_json(self) -> dict[str, Json]:
        """As plain values."""
        return {"run": self.run, "started": self.started, "doing": self.doing}


def look(workspace: Workspace, run: str) -> OpenRun:
    """How far an open run is."""
    workspace = home(workspace, run)
    state = fold(EventLog(workspace.storage, run).read())
    left = [step.value for step in Step if step not in state.results]
    doing = f"{left[0]}, {_who(workspace, run)}" if left else "to be recorded"
    if state.cancelled or workspace.storage.head(Keys(run).cancel):
        doing += ", to be cancelled"
    return OpenRun(run=run, started=state.created_at, doing=doing)


def cancel(workspace: Workspace, run: str, why: str) -> str:
    """
    Ask an open run to stop; whoever drives it sees to that.

    Returns:
        Its whole id.

    Raises:
        RunNotFoundError: there is no such open run.
    """
    found = locate(workspace, run)
    if found is None:
        raise RunNotFoundError(f"there is no open run {run!r}", hint="rpac status lists them")
    home(workspace, found).storage.create_json(Keys(found).cancel, {"why": why})
    return found


def _who(place: Place, run: str) -> str:
    state = fold(EventLog(place.storage, run).read())
    if state.claim and not is_gone(state.claim.body["driver"]):
        return "a driver is at it"
    return "no driver is known to be at it"


def locate(workspace: Workspace, run: str) -> str | None:
    """
    The open run that an id or a part of it means; None when there is none.

    Raises:
        HistoryError: it means several.
    """
    known = names(workspace)
    found = [name for name in known if name == run or name.startswith(run) or name.endswith(run)]
    if len(found) > 1 and run not in found:
        raise HistoryError(f"{run!r} means several open runs", hint=", ".join(found))
    return run if run in found else next(iter(found), None)
