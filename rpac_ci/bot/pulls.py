"""
What a pull request changes, looked at before anybody asks for a run: experiments are validated and
planned for every allowed cloud, settings are checked, and reports must be those of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rpac_ci import experiments
from rpac_ci.bot import NOBODY, Context, Handled, checkouts, plan_comments
from rpac_ci.bot import plans as bot_plans
from rpac_ci.bot.ledger import open_dispatches
from rpac_ci.bot.plans import Asked
from rpac_ci.bot.wording import as_code
from rpac_ci.clouds import PLANNERS
from rpac_ci.errors import ExperimentError, GitHubError, Problem, RpacError
from rpac_ci.github.actions import Level, annotation
from rpac_ci.github.answers import Annotation, ChangedFile
from rpac_ci.github.events import PullAction, PullChanged
from rpac_ci.log_entries import is_document
from rpac_ci.log_paths import REPORTS
from rpac_ci.site_config import CONFIG_FILE, SiteConfig, parse_site_text
from rpac_ci.workspace import Workspace

CHECK = "rpac validation"  # no experiment can have this name
_README = f"{REPORTS}/README.md"  # by people, for people
MAX_PROBLEMS = 200
MAX_PLANS = 20  # in one summary


@dataclass(slots=True, kw_only=True)
class Findings:
    """What is wrong, and what would be run."""

    problems: list[Problem] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)

    def wrong(self, file: str, what: str, right: str = "") -> None:
        """Note a mistake of a whole file."""
        self.problems.append(Problem(file=file, line=1, column=1, what=what, right=right))


def changed(context: Context, event: PullChanged) -> Handled:
    """
    Handle a pull request that was opened, pushed to, reopened or closed.

    Args:
        context: of the event.
        event: what happened.
    """
    if event.action is PullAction.CLOSED:
        return _closed(context, event)
    head = f"refs/rpac/pull/{event.number}"
    trusted = f"refs/remotes/origin/{context.default_branch}"
    context.ledger.fetch(
        f"+refs/pull/{event.number}/head:{head}",
        f"+refs/heads/{context.default_branch}:{trusted}",
    )
    config, problem = context.settle(trusted)
    if config is None:
        return Handled(code="settings-unreadable", message=problem, exit_code=4)
    if not config.enabled:
        return Handled(code="disabled", message="rpac.yaml of the default branch says so")
    commit = context.workspace.git.resolve(head)
    if commit != event.head_sha:
        return Handled(code="head-moved", message="a newer push is looked at instead")
    findings = Findings()
    try:
        files = context.github.pull_files(event.number)
    except GitHubError as exc:
        findings.wrong(config.experiments, exc.message, exc.hint)
        files = []
    try:
        with checkouts.detached(context.workspace, event.head_sha) as there:
            look(there, context, event, files, findings)
    except RpacError as exc:
        findings.wrong(config.experiments, exc.message, exc.hint)
    return _tell(context, event, findings)


def look(
    there: Workspace,
    context: Context,
    event: PullChanged,
    files: Sequence[ChangedFile],
    findings: Findings,
) -> None:
    """Look at everything that a pull request changes and that is ours to look at."""
    paths = [path for file in files for path in (file.path, file.previous) if path]
    if any(file.path == CONFIG_FILE and file.status != "removed" for file in files):
        _settings(there, findings)
    _reports(there, files, findings)
    named = _named(there.config, paths)
    if not named:
        return
    try:
        known = experiments.find(there.experiments)
    except ExperimentError as exc:
        findings.problems += exc.problems
        return
    for name in named:
        if name in known:
            _experiment(there, context, event, name, findings)
        elif any(file.status == "removed" for file in files):
            findings.sections.append(f"`{name}` is removed; its runs stay in the log.")


def _named(config: SiteConfig, paths: Sequence[str]) -> list[str]:
    """Experiments that changed paths belong to, in order."""
    prefix = f"{config.experiments}/"
    parts = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    names = [part.partition("/")[0] for part in parts if "/" in part or part.endswith(".yaml")]
    return sorted({name.removesuffix(".yaml") for name in names})


def _settings(there: Workspace, findings: Findings) -> None:
    content = next(there.git.blobs([f"HEAD:{CONFIG_FILE}"])) or b""
    try:
        parse_site_text(content)
    except ExperimentError as exc:
        findings.problems += exc.problems
        return
    findings.sections.append(
        f"`{CONFIG_FILE}` is changed: until it is merged, the default branch's settings hold."
    )


def _experiment(
    there: Workspace, context: Context, event: PullChanged, name: str, findings: Findings
) -> None:
    path = experiments.locate(there.experiments, name)
    shown = path.relative_to(there.root).as_posix()
    try:
        experiments.load(path, root=there.root)
    except ExperimentError as exc:
        findings.problems += exc.problems
        return
    for cloud in there.config.allow.clouds:
        if cloud not in PLANNERS:
            findings.sections.append(f"`{name}`: this version of rpac has no cloud {cloud}.")
            continue
        asked = Asked(
            via="pull_request", repository=context.repository, pull=event.number, comment=None,
            actor=NOBODY, head=event.head_sha, at=context.now,
        )  # fmt: skip
        try:
            planned = bot_plans.make(there, asked, name, [f"cloud={cloud}"])
        except RpacError as exc:
            findings.wrong(shown, f"cloud={cloud}: {exc.message}", exc.hint)
        else:
            findings.sections.append(plan_comments.preview(planned.ticket, planned.plan))


def _reports(there: Workspace, files: Sequence[ChangedFile], findings: Findings) -> None:
    """Reports are written by runs: whatever a pull request has below reports/ is the log's."""
    named = {name for file in files for name in (file.path, file.previous) if name}
    paths = sorted(n for n in named if n == REPORTS or n.startswith(f"{REPORTS}/"))
    for path in [path for path in paths if not path.isprintable()]:
        findings.wrong(REPORTS, f"{path!a} is not a name that every system can hold")
        paths.remove(path)
    paths = [path for path in paths if path != _README]
    git, log = there.git, there.git.resolve("refs/remotes/origin/rpac/log")
    ours = git.objects(f"HEAD:{path}" for path in paths)
    logs = git.objects(f"{log}:{path}" for path in paths) if log else [None] * len(paths)
    for path, mine, theirs in zip(paths, ours, logs, strict=True):
        if mine is None:
            if theirs is not None and is_document(path):
                findings.wrong(path, "a report of the log is removed", "leave it there")
        elif mine != theirs:
            what = "this is not what the log has" if theirs else "no run in the log has this file"
            findings.wrong(path, what, "reports come from runs: take the change back")
    if not paths:
        return
    odd = [entry.path for entry in git.ls_tree("HEAD", REPORTS) if entry.mode != "100644"]
    for path in odd:
        findings.wrong(path, "not a regular file", "reports are regular files")


def _tell(context: Context, event: PullChanged, findings: Findings) -> Handled:
    """A check run where the token may make one, else lines of the job's log and its summary."""
    problems = findings.problems[:MAX_PROBLEMS]
    title = _title(findings)
    sections = findings.sections[:MAX_PLANS]
    if not problems and not findings.sections:
        sections = ["No experiment is changed."]
    body = "\n\n".join([*(f"- `{as_code(str(problem))}`" for problem in problems[:50]), *sections])
    conclusion = "failure" if problems else "success"
    context.host.summary(f"### {title}\n\n{body}")
    code = "invalid" if problems else "valid"
    told = Handled(code=code, message=body, exit_code=2 if problems else 0)
    if event.same_repository:
        try:
            _check(context, event, title, body, conclusion, problems)
        except GitHubError as exc:
            context.warn(f"the check could not be written: {exc.message}")
        else:
            return told
    for problem in problems:
        context.say(
            annotation(
                Level.ERROR, _said(problem), file=problem.file, line=problem.line,
                column=problem.column,
            )
        )  # fmt: skip
    return told


def _check(
    context: Context,
    event: PullChanged,
    title: str,
    body: str,
    conclusion: str,
    problems: Sequence[Problem],
) -> None:
    check = context.github.open_check(
        CHECK, event.head_sha, title, body, f"{event.number}-{event.head_sha}",
        context.host.run_url,
    )  # fmt: skip
    remarks = [
        Annotation(path=p.file, line=p.line, column=p.column, message=_said(p)) for p in problems
    ]
    context.github.update_check(
        check, title=title, summary=body, conclusion=conclusion, annotations=remarks
    )


def _title(findings: Findings) -> str:
    if findings.problems:
        many = len(findings.problems)
        return f"{many} problem{'s' if many > 1 else ''}"
    return "experiments are valid" if findings.sections else "no experiment is changed"


def _said(problem: Problem) -> str:
    return f"{problem.what}, {problem.right}" if problem.right else problem.what


def _closed(context: Context, event: PullChanged) -> Handled:
    """Plans die with their pull request; a merged one's runs go on, another's are stopped."""
    if event.merged or not event.same_repository:
        return Handled(code="closed", message="nothing is to be done")
    context.ledger.fetch()
    stopped = []
    for run, dispatch in open_dispatches(context.ledger.view()).items():
        if dispatch.pull == event.number and dispatch.workflow_run is not None:
            try:
                if context.github.cancel_workflow(dispatch.workflow_run):
                    stopped.append(run)
            except GitHubError as exc:
                context.warn(f"{run} could not be stopped: {exc.message}")
    return Handled(code="closed", message=f"told to stop: {', '.join(stopped) or 'nothing'}")
