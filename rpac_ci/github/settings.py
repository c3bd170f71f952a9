"""What a repository on GitHub is set to: branches and their rules, Actions, tokens. Only read."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from rpac_ci.errors import GitHubError
from rpac_ci.github import answers as github_answers
from rpac_ci.github.answers import (
    BranchInfo,
    EnvironmentInfo,
    OidcSubject,
    RepositoryInfo,
    Rule,
    Workflow,
    WorkflowPermissions,
)
from rpac_ci.github.calls import Calls


class Settings:
    """The part of `GitHub` that reads settings."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def repository(self) -> RepositoryInfo:
        """The repository."""
        return self._calls.get("", github_answers.repository)

    def rights(self) -> Mapping[str, bool]:
        """What the token may do, as far as GitHub tells: pull, push, admin, …."""
        return self.repository().permissions

    def workflows(self) -> list[Workflow]:
        """Workflows that GitHub knows here."""
        return list(
            self._calls.pages("/actions/workflows", github_answers.workflow, within="workflows")
        )

    def actions_enabled(self) -> bool:
        """Whether Actions are switched on."""
        return self._calls.get("/actions/permissions", lambda answer: answer.flag("enabled"))

    def workflow_permissions(self) -> WorkflowPermissions:
        """What a workflow's token may do where the workflow says nothing."""
        return self._calls.get("/actions/permissions/workflow", github_answers.workflow_permissions)

    def oidc_subject(self) -> OidcSubject:
        """How the subject of an OIDC token is built."""
        return self._calls.get("/actions/oidc/customization/sub", github_answers.oidc_subject)

    def environment(self, name: str) -> EnvironmentInfo | None:
        """An environment; None when there is none of this name."""
        path = f"/environments/{quote(name, safe='')}"
        return self._calls.get_or_none(path, github_answers.environment)

    def variable(self, name: str) -> str | None:
        """A variable that jobs of the repository may read; None when there is none."""
        return self._calls.get_or_none(f"/actions/variables/{name}", github_answers.variable)

    def branch(self, name: str) -> BranchInfo | None:
        """A branch; None when there is none of this name."""
        return self._calls.get_or_none(f"/branches/{quote(name, safe='')}", github_answers.branch)

    def rules(self, branch: str) -> list[Rule]:
        """Rules of rulesets that apply to a branch; none where the plan of the owner has none."""
        try:
            return list(
                self._calls.pages(f"/rules/branches/{quote(branch, safe='')}", github_answers.rule)
            )
        except GitHubError as exc:
            if exc.status == 403 and "Upgrade to GitHub" in exc.message:
                return []
            raise

    def required_checks(self, branch: str) -> list[str] | None:
        """
        Names of the checks that a branch requires, by protection or by rulesets (two requests).

        Returns:
            None when that cannot be read with this token.
        """
        try:
            found = self.branch(branch)
            if found is None or found.required is None:
                return None
            ruled = [check for rule in self.rules(branch) for check in rule.checks]
        except GitHubError:
            return None
        return list(dict.fromkeys([*found.required, *ruled]))
