"""
What the timer does: runs whose jobs are gone are concluded, the inbox is collected, and accepted
experiments that are due are reproduced again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rpac_ci import experiments, policy
from rpac_ci.bot import NOBODY, Context, Handled, Sent, checkouts, studies
from rpac_ci.bot import finish as bot_finish
from rpac_ci.bot import jobs as bot_jobs
from rpac_ci.bot import plans as bot_plans
from rpac_ci.bot.answers import sent as as_sent
from rpac_ci.bot.answers import write_cancelled
from rpac_ci.bot.facts import planned_facts, spent
from rpac_ci.bot.ledger import (
    LedgerView,
    month_of,
    open_dispatches,
    plain,
    recent_runs,
    run_folder,
    ticket_files,
)
from rpac_ci.bot.plans import Asked, Planned
from rpac_ci.bot.tickets import Cancelled, Dispatch
from rpac_ci.collector import collect
from rpac_ci.errors import RpacError
from rpac_ci.events import timestamp
from rpac_ci.policy import SCHEDULE, Action, Facts, Kind
from rpac_ci.reproduction_log import ReproductionLog
from rpac_ci.run import new_run_id
from rpac_ci.site_clouds import SiteClouds
from rpac_ci.site_config import Rerun, SiteConfig
from rpac_ci.source_trees import SourceFile
from rpac_ci.workspace import LOCAL, Workspace

SLACK = timedelta(minutes=60)  # until a job's machine is there, and after its limit
QUEUE = timedelta(hours=24)  # that a job may wait for a machine
MAX_RERUNS = 20  # started by one turn of the timer


def upkeep(context: Context) -> Handled:
    """
    Look after what nobody else looks after.

    Args:
        context: of the event.
    """
    said: list[str] = []
    config, problem = context.settle()
    context.ledger.fetch()
    try:
        collected = collect(context.workspace.git)
        said += [f"{name}: added to the log" for name in collected.added]
        said += [f"{name}: other documents under this name" for name in collected.conflicts]
    except RpacError as exc:
        said.append(f"the inbox could not be collected: {exc.message}")
    context.ledger.fetch()
    _lost(context, said)  # after that: what waited in the inbox is not lost
    try:
        said += studies.finish_all(context)
    except RpacError as exc:
        said.append(f"a study's page could not be written: {exc.message}")
    if config is None:
        return Handled(code="settings-unreadable", message=problem, exit_code=4)
    context.ledger.fetch()
    sent = _reruns(context, config, said)
    body = "\n".join(f"- {line}" for line in said) or "Nothing was to be done."
    context.host.summary(body)
    return Handled(code="upkeep", message=body, sent=sent, clouds=_clouds(context, config))


def _lost(context: Context, said: list[str]) -> None:
    """Runs that should have been over for long: their jobs are gone without a word."""
    for run, dispatch in open_dispatches(context.ledger.view()).items():
        if dispatch.cloud != LOCAL:
            _orphaned(context, dispatch, said)
            if context.now < _give_up(dispatch):
                continue  # what its store says counts
        due = datetime.fromisoformat(dispatch.at) + timedelta(minutes=dispatch.minutes) + SLACK
        if context.now < due or (context.now < due + QUEUE and _is_waiting(context, dispatch)):
            continue
        try:
            finished = bot_finish.finish(context, run, None)
        except RpacError as exc:
            said.append(f"{run}: still open: {exc.message}")
        except Exception as exc:  # noqa: BLE001 - one bad run must not keep the others waiting
            said.append(f"{run}: still open: internal error, {type(exc).__name__}")
        else:
            said.append(f"{run}: {finished.outcome}")


def _give_up(dispatch: Dispatch) -> datetime:
    due = datetime.fromisoformat(dispatch.at) + timedelta(minutes=dispatch.minutes)
    return due + bot_jobs.GIVE_UP


def _orphaned(context: Context, dispatch: Dispatch, said: list[str]) -> None:
    """A run whose pull request was closed without being merged is to stop."""
    if dispatch.pull is None or context.ledger.view().cancelled(dispatch.run):
        return
    try:
        pull = context.github.pull(dispatch.pull)
        if pull.state == "open" or pull.merged:
            return
        note = Cancelled(
            run=dispatch.run, actor=NOBODY, comment=None, at=timestamp(context.now)
        )  # fmt: skip
        write_cancelled(context, note)
    except RpacError as exc:
        said.append(f"{dispatch.run}: its pull request cannot be read: {exc.message}")
    else:
        said.append(f"{dispatch.run}: told to stop, its pull request is closed")


def _clouds(context: Context, config: SiteConfig) -> list[str]:
    """Clouds that had runs lately: some may go on, and something may be left of others."""
    context.ledger.fetch()
    found = {dispatch.cloud for dispatch, _ in recent_runs(context.ledger.view()).values()}
    known = [cloud for cloud in SiteClouds.model_fields if getattr(config.clouds, cloud)]
    return [cloud for cloud in known if cloud in found]


def _is_waiting(context: Context, dispatch: Dispatch) -> bool:
    """Whether GitHub still has a job for a run: queues may be long."""
    if dispatch.workflow_run is None:
        return False
    try:
        jobs = context.github.jobs(dispatch.workflow_run)
    except RpacError:
        return False
    mine = [job for job in jobs if dispatch.run in job.name]
    return any(job.status != "completed" for job in mine)


def _reruns(context: Context, config: SiteConfig, said: list[str]) -> list[Sent]:
    git = context.workspace.git
    head = git.resolve("HEAD")
    if not config.rerun or not head:
        return []
    sent: list[Sent] = []
    with checkouts.detached(context.workspace, head) as there:
        for rule in config.rerun:
            for name in _due(there, context, rule):
                if len(sent) >= MAX_RERUNS:
                    said.append("more experiments are due: the next turn takes them")
                    return sent
                try:
                    one = _rerun(there, context, config, name, rule, head)
                except RpacError as exc:
                    said.append(f"{name}: {exc.message}")
                else:
                    said.append(f"{name}: reproduced again as {one.run}")
                    sent.append(one)
    return sent


def _due(there: Workspace, context: Context, rule: Rerun) -> list[str]:
    """Experiments of the default branch that have accepted runs, and no recent one."""
    known = experiments.find(there.experiments)
    wanted = [name for name in known if "*" in rule.experiments or name in rule.experiments]
    log = ReproductionLog(there.git)
    view = context.ledger.view()
    since = context.now - timedelta(seconds=rule.every)
    due = []
    for name in wanted:
        if not log.accepted(name):
            continue
        last = max([path.run for path in log.runs(name)] + _sent_off(view, name), default="")
        if last < f"{since:%Y%m%dT%H%M%SZ}":
            due.append(name)
    return due


def _sent_off(view: LedgerView, name: str) -> list[str]:
    return [run for run, dispatch in open_dispatches(view).items() if dispatch.experiment == name]


def _rerun(
    there: Workspace, context: Context, config: SiteConfig, name: str, rule: Rerun, head: str
) -> Sent:
    """
    Raises:
        RpacError: it cannot be planned, or the settings do not allow it.
    """
    asked = Asked(
        via="schedule", repository=context.repository, pull=None, comment=None, actor=NOBODY,
        head=head, at=context.now,
    )  # fmt: skip
    planned = bot_plans.make(there, asked, name, [f"cloud={rule.cloud}"])
    ticket = planned.ticket.signed()
    dispatch = Dispatch(
        run=new_run_id(), ticket=ticket.id, experiment=name, cloud=ticket.cloud, pull=None,
        issue=None, comment=None, actor=NOBODY,
        reserved_usd=planned_facts(ticket, config).worst_case or 0.0,
        at=timestamp(context.now), minutes=ticket.minutes, workflow_run=context.host.run_id,
        rerun=True,
    )  # fmt: skip
    signed = Planned(plan=planned.plan, ticket=ticket, words=planned.words)

    def decide(view: LedgerView) -> list[SourceFile]:
        if _sent_off(view, name):
            raise RpacError("another job has just started it")
        decision = policy.decide(_facts(context, config, signed, view))
        if decision.kind is not Kind.PROCEED:
            raise RpacError(f"{decision.message} ({decision.code})")
        file = plain(f"{run_folder(dispatch.run)}/dispatch.json", dispatch.to_bytes())
        return [*ticket_files(ticket, planned.plan.pipeline.to_bytes(), planned.plan.source), file]

    context.ledger.write(f"rerun {name}", decide)
    return as_sent(dispatch)


def _facts(context: Context, config: SiteConfig, planned: Planned, view: LedgerView) -> Facts:
    ticket, spending = planned.ticket, view.spending(month_of(context.now))
    return Facts(
        config=config, config_problem="", verb="reproduce", person=SCHEDULE,
        sender_is_author=True, action=Action.SCHEDULED,
        repository=policy.Repository(
            default_branch=context.default_branch, archived=False, private=False
        ),
        pull=None, sha_asked=None, head_moved=False,
        planned=planned_facts(ticket, config), spent=spent(spending, NOBODY),
        approval=None, now=context.now, attempt=context.host.run_attempt, comment_age_s=0.0,
    )  # fmt: skip
