"""What `rpac doctor` asks GitHub, and what the answers mean for the bot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from rpac_ci.errors import GitHubError
from rpac_ci.git import Git
from rpac_ci.github.diagnosis import Finding, Severity, fine
from rpac_ci.github.doctor import file_findings
from rpac_ci.github.oidc import ENTRANCES, Subjects
from rpac_ci.github.setup import generated
from rpac_ci.site_config import CommitBack, SiteConfig

if TYPE_CHECKING:
    from rpac_ci.github.answers import (
        BranchInfo,
        EnvironmentInfo,
        OidcSubject,
        RepositoryInfo,
        Rule,
        Workflow,
        WorkflowPermissions,
    )

T = TypeVar("T")

BRANCHES = ("rpac/log", "rpac/ledger")
# rules under which the bot could not add to its own branch
_BLOCKING = {
    "code_scanning", "creation", "merge_queue", "pull_request", "required_deployments",
    "required_signatures", "required_status_checks", "update", "workflows",
}  # fmt: skip


class Settings(Protocol):
    """What is asked of GitHub; `github_settings.Settings` answers it."""

    def repository(self) -> RepositoryInfo:
        """The repository."""

    def workflows(self) -> list[Workflow]:
        """Workflows that GitHub knows."""

    def actions_enabled(self) -> bool:
        """Whether Actions are switched on."""

    def workflow_permissions(self) -> WorkflowPermissions:
        """Default rights of workflows."""

    def oidc_subject(self) -> OidcSubject:
        """The form of OIDC subjects."""

    def environment(self, name: str) -> EnvironmentInfo | None:
        """An environment."""

    def variable(self, name: str) -> str | None:
        """A variable of the repository."""

    def branch(self, name: str) -> BranchInfo | None:
        """A branch."""

    def rules(self, branch: str) -> list[Rule]:
        """Rules of rulesets for a branch."""

    def required_checks(self, branch: str) -> list[str] | None:
        """Names of required checks; None when they cannot be read."""


def look(
    github: Settings, git: Git, config: SiteConfig, server_url: str, environment: str
) -> tuple[list[Finding], Subjects | None]:
    """
    What GitHub knows.

    Args:
        github: answers.
        git: a clone, for the files of the default branch as it was fetched last.
        config: the settings.
        server_url: of GitHub.
        environment: of GitHub, whose jobs may enter a cloud.
    """
    findings: list[Finding] = []
    repository = _ask(findings, "repository", github.repository)
    if repository is None:
        return findings, None
    findings += _rights(repository)
    if repository.archived:
        findings.append(
            Finding(
                topic="repository", severity=Severity.ERROR, what="the repository is archived",
                fix="unarchive it in its settings: nothing can be written to it",
            )
        )  # fmt: skip
    branch = repository.default_branch
    findings += _default_branch(findings, github, git, branch)
    findings += _actions(findings, github, repository.full_name)
    findings += _commit_back(github.required_checks(branch), branch, config.commit_back)
    for branch in BRANCHES:
        findings += _own_branch(findings, github, repository.full_name, branch)
    if config.clouds.configured:
        findings += _entrance(findings, github, repository, environment)
    for cloud in config.clouds.configured:
        findings += _role(findings, github, repository, cloud)
    form = _ask(findings, "oidc", github.oidc_subject)
    subjects = Subjects.of(repository, form, server_url=server_url, environment=environment)
    return findings, subjects


def _ask(findings: list[Finding], topic: str, question: Callable[[], T]) -> T | None:
    """An answer; what could not be read is noted."""
    try:
        return question()
    except GitHubError as exc:
        refused = exc.status in {401, 403, 404}
        findings.append(
            Finding(
                topic=topic,
                severity=Severity.WARNING if refused and topic != "repository" else Severity.ERROR,
                what=f"cannot be read with this token: {exc.message}" if refused else exc.message,
                fix=exc.hint,
            )
        )
        return None


def _rights(repository: RepositoryInfo) -> Iterator[Finding]:
    if not repository.permissions:
        what = "GitHub does not tell what this token may do"
        yield Finding(topic="token", severity=Severity.NOTE, what=what)
        return
    rights = [name for name, granted in repository.permissions.items() if granted]
    if not repository.permissions.get("push"):
        yield Finding(
            topic="token", severity=Severity.NOTE,
            what=f"may: {', '.join(rights) or 'nothing'}; it cannot push",
            fix="to look at the settings of Actions, use a token with Administration: read",
        )  # fmt: skip
    else:
        yield fine("token", f"may: {', '.join(rights)}")


def _default_branch(
    findings: list[Finding], github: Settings, git: Git, branch: str
) -> Iterator[Finding]:
    tip = git.resolve(f"refs/remotes/origin/{branch}^{{commit}}")
    if tip is None:
        what = f"the default branch {branch} was not fetched, so its files were not looked at"
        yield Finding(
            topic="workflows",
            severity=Severity.WARNING,
            what=what,
            fix=f"git fetch origin {branch}",
        )
        return
    there = _ask(findings, "branch", lambda: github.branch(branch))
    if there is not None and there.sha != tip:
        what = f"origin/{branch} here is not what GitHub has now"
        yield Finding(
            topic="branch", severity=Severity.NOTE, what=what, fix=f"git fetch origin {branch}"
        )
    texts = git.blobs(f"{tip}:{path}" for path in generated.FILES)
    found = {
        path: raw.decode("utf-8", "replace") if raw is not None else None
        for path, raw in zip(generated.FILES, texts, strict=True)
    }
    yield from file_findings(found, f"on {branch}")


def _actions(findings: list[Finding], github: Settings, name: str) -> Iterator[Finding]:
    enabled = _ask(findings, "actions", github.actions_enabled)
    if enabled is False:
        yield Finding(
            topic="actions", severity=Severity.ERROR, what="Actions are switched off",
            fix="Settings → Actions → General → Allow actions",
        )  # fmt: skip
    elif enabled:
        yield fine("actions", "switched on")
    known = _ask(findings, "workflows", github.workflows)
    if known is not None:
        yield from _workflow_states(known, name)
    rights = _ask(findings, "permissions", github.workflow_permissions)
    if rights is None:
        return
    if rights.default == "write":
        yield Finding(
            topic="permissions", severity=Severity.WARNING,
            what="workflows that name no rights may write everything",
            fix=f"gh api -X PUT repos/{name}/actions/permissions/workflow "
            "-f default_workflow_permissions=read",
        )  # fmt: skip
    else:
        yield fine("permissions", "workflows that name no rights may only read")


def _workflow_states(known: Sequence[Workflow], name: str) -> Iterator[Finding]:
    states = {workflow.path: workflow.state for workflow in known}
    for path in generated.FILES:
        state = states.get(path)
        if path == generated.ACTION or state == "active":
            continue
        file = path.rpartition("/")[2]
        if state is None:
            yield Finding(
                topic="workflows", severity=Severity.ERROR, what=f"GitHub does not know {path}",
                fix="push it to the default branch",
            )  # fmt: skip
        elif state == "disabled_inactivity":
            yield Finding(
                topic="workflows", severity=Severity.ERROR,
                what=f"{path} was stopped by GitHub after 60 days without a push",
                fix=f"gh workflow enable {file} -R {name}",
            )  # fmt: skip
        else:
            yield Finding(
                topic="workflows", severity=Severity.ERROR, what=f"{path} is {state}",
                fix=f"gh workflow enable {file} -R {name}",
            )  # fmt: skip


def _commit_back(required: Sequence[str] | None, branch: str, how: CommitBack) -> Iterator[Finding]:
    topic = "commit_back"
    if how is CommitBack.LOG:
        yield fine(topic, f"log: reports stay on {branch}, and comments link to them")
    elif required is None:
        yield Finding(
            topic=topic, severity=Severity.WARNING,
            what=f"the checks that {branch} requires cannot be read with this token, so it is not "
            f"known what {how} will do",
            fix="use a token with Administration: read and Contents: read",
        )  # fmt: skip
    elif not required:
        yield fine(
            topic, f"{how}: {branch} requires no checks, reports go to the pull request's branch"
        )
    else:
        names = ", ".join(required[:5])
        app = (
            "have a GitHub App commit: its id as the repository's secret RPAC_APP_ID, its key as "
            "RPAC_APP_PRIVATE_KEY of an environment `rpac` that only the default branch may use"
        )
        if how is CommitBack.HEAD:
            yield Finding(
                topic=topic, severity=Severity.WARNING,
                what=f"head: {branch} requires {names}, which stay pending after the bot's commit",
                fix=f"{app}; or commit_back: auto",
            )  # fmt: skip
        else:
            yield Finding(
                topic=topic, severity=Severity.NOTE,
                what=f"auto: {branch} requires {names}, which do not run on a commit of the bot; "
                f"without an App reports stay on {branch}",
                fix=f"to have them on the pull request's branch, {app}",
            )  # fmt: skip


def _entrance(
    findings: list[Finding], github: Settings, repository: RepositoryInfo, environment: str
) -> Iterator[Finding]:
    """The environment whose jobs may enter a cloud."""
    name, here = environment, f"repos/{repository.full_name}/environments/{environment}"
    rule = (
        f"gh api -X PUT {here} --input - <<'JSON'\n"
        '{"deployment_branch_policy": {"protected_branches": false,\n'
        ' "custom_branch_policies": true}}\nJSON\n'
        f"gh api -X POST {here}/deployment-branch-policies -f name={repository.default_branch}"
    )
    before = len(findings)
    found = _ask(findings, "environment", lambda: github.environment(name))
    if found is None and len(findings) == before:
        yield Finding(
            topic="environment", severity=Severity.ERROR,
            what=f"there is no environment {name}, so the first job that names it makes one that "
            "any branch may use",
            fix=rule,
        )  # fmt: skip
    elif found is not None and found.any_branch:
        yield Finding(
            topic="environment", severity=Severity.ERROR,
            what=f"whoever can push a branch can start a job in {name} and enter the cloud",
            fix=rule,
        )  # fmt: skip
    elif found is not None:
        yield fine("environment", f"{name} is for jobs of chosen branches alone")


def _role(
    findings: list[Finding], github: Settings, repository: RepositoryInfo, cloud: str
) -> Iterator[Finding]:
    """The variables that tell jobs as whom they enter a cloud."""
    entrance = ENTRANCES[cloud]
    for name in entrance.variables:
        before = len(findings)
        found = _ask(findings, "role", partial(github.variable, name))
        if found is None and len(findings) == before:
            yield Finding(
                topic="role", severity=Severity.ERROR,
                what=f"no variable {name}: jobs do not know {entrance.whom}",
                fix=f"gh variable set {name} -R {repository.full_name} --body VALUE; "
                f"rpac setup {cloud} prints the line",
            )  # fmt: skip
        elif found is not None:
            yield fine("role", f"{name} is set")


def _own_branch(
    findings: list[Finding], github: Settings, name: str, branch: str
) -> Iterator[Finding]:
    topic = branch.rpartition("/")[2]
    rules = _ask(findings, topic, lambda: github.rules(branch))
    if rules is None:
        return
    kinds = {rule.kind for rule in rules}
    if blocking := sorted(kinds & _BLOCKING):
        yield Finding(
            topic=topic, severity=Severity.ERROR,
            what=f"rules keep the bot from adding to {branch}: {', '.join(blocking)}",
            fix=f"leave {branch} out of the rulesets that have them: Settings → Rules",
        )  # fmt: skip
    missing = {"deletion", "non_fast_forward"} - kinds
    if missing:
        yield Finding(
            topic=topic, severity=Severity.WARNING,
            what=f"nothing keeps people who can push from rewriting or deleting {branch}",
            fix=_ruleset(name),
        )  # fmt: skip
    elif not blocking:
        yield fine(topic, f"{branch} can be neither rewritten nor deleted")


def _ruleset(name: str) -> str:
    return (
        f"gh api -X POST repos/{name}/rulesets --input - <<'JSON'\n"
        '{"name": "rpac log", "target": "branch", "enforcement": "active",\n'
        ' "rules": [{"type": "deletion"}, {"type": "non_fast_forward"}]}\n'
        "JSON"
    )
