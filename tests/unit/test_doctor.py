"""`rpac doctor`: each thing that can be wrong is found, named and told how to fix."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import responses
from click.testing import CliRunner

from rpac_ci.cli import github as cli_github
from rpac_ci.errors import CommandError, GitHubError
from rpac_ci.git import Git
from rpac_ci.github import doctor
from rpac_ci.github.answers import (
    BranchInfo,
    EnvironmentInfo,
    OidcSubject,
    RepositoryInfo,
    Rule,
    Workflow,
    WorkflowPermissions,
)
from rpac_ci.github.diagnosis import Finding, Report, Severity
from rpac_ci.github.doctor_settings import BRANCHES, look
from rpac_ci.github.oidc import Subjects, issuer
from rpac_ci.github.setup import generated
from rpac_ci.github.setup.setup import apply, prepare
from rpac_ci.site_config import CommitBack, SiteConfig
from tests.conftest import git

SOURCE = f"git+https://example.org/lab/rpac_ci@{'0' * 40}"
REPOSITORY = RepositoryInfo(
    id=42, full_name="Lab/experiments", default_branch="main", private=False, archived=False,
    fork=False, owner_id=7, permissions={"admin": True, "push": True, "pull": True},
)  # fmt: skip
WORKFLOWS = [
    Workflow(id=number, name=path, path=path, state="active")
    for number, path in enumerate(generated.FILES, 1)
    if path != generated.ACTION
]
PROTECTED = [Rule(kind="deletion"), Rule(kind="non_fast_forward")]
CLOSED = EnvironmentInfo(name="rpac-cloud", any_branch=False)
CLASSIC = OidcSubject(use_default=True, claims=(), immutable=False, prefix=None)


@dataclass
class Answers:
    """Settings as a healthy repository has them; an exception in place of one is raised."""

    tip: str = "0" * 40
    changed: dict[str, Any] = field(default_factory=dict)

    def _answer(self, name: str, usual: object) -> Any:
        answer = self.changed.get(name, usual)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def repository(self) -> RepositoryInfo:
        return self._answer("repository", REPOSITORY)  # type: ignore[no-any-return]

    def workflows(self) -> list[Workflow]:
        return self._answer("workflows", WORKFLOWS)  # type: ignore[no-any-return]

    def actions_enabled(self) -> bool:
        return self._answer("actions_enabled", True)  # type: ignore[no-any-return]

    def workflow_permissions(self) -> WorkflowPermissions:
        usual = WorkflowPermissions(default="read", can_approve_pull_requests=False)
        return self._answer("workflow_permissions", usual)  # type: ignore[no-any-return]

    def oidc_subject(self) -> OidcSubject:
        return self._answer("oidc_subject", CLASSIC)  # type: ignore[no-any-return]

    def environment(self, name: str) -> EnvironmentInfo | None:
        assert name == "rpac-cloud"
        return self._answer("environment", CLOSED)  # type: ignore[no-any-return]

    def variable(self, name: str) -> str | None:
        assert name in ("RPAC_AWS_ROLE", "RPAC_AZURE_CLIENT_ID", "RPAC_AZURE_TENANT_ID")
        return self._answer(name, "some value")  # type: ignore[no-any-return]

    def branch(self, name: str) -> BranchInfo | None:
        usual = BranchInfo(name=name, sha=self.tip, protected=False, required=())
        return self._answer("branch", usual)  # type: ignore[no-any-return]

    def rules(self, branch: str) -> list[Rule]:
        assert branch in BRANCHES
        if branch != BRANCHES[0]:
            return PROTECTED
        return self._answer("rules", PROTECTED)  # type: ignore[no-any-return]

    def required_checks(self, branch: str) -> list[str] | None:
        assert branch == "main"
        return self._answer("required_checks", [])  # type: ignore[no-any-return]


@pytest.fixture
def clone(repository: Path) -> Path:
    """A repository that is ready, as a clone of GitHub's has it."""
    apply(prepare(repository, source=SOURCE))
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "rpac init")
    git(repository, "remote", "add", "origin", "https://github.com/Lab/experiments.git")
    git(repository, "update-ref", "refs/remotes/origin/main", "HEAD")
    return repository


def ask(
    clone: Path,
    *,
    config: SiteConfig | None = None,
    environment: str = "rpac-cloud",
    changed: Mapping[str, object] | None = None,
) -> tuple[list[Finding], Subjects | None]:
    answers = Answers(tip=git(clone, "rev-parse", "HEAD"), changed=dict(changed or {}))
    return look(answers, Git(clone), config or SiteConfig(), "https://github.com", environment)


def worst(findings: list[Finding]) -> list[tuple[str, Severity]]:
    return [(one.topic, one.severity) for one in findings if one.severity is not Severity.OK]


def test_a_healthy_repository_has_nothing_to_fix(clone: Path) -> None:
    findings, subjects = ask(clone)
    assert worst(findings) == []
    assert {one.topic for one in findings} == {
        "token", "workflows", "actions", "permissions", "commit_back", "log", "ledger",
    }  # fmt: skip
    assert subjects is not None
    assert Report(findings=tuple(findings)).healthy


ON_CLOUDS = SiteConfig.model_validate(
    {
        "clouds": {
            "azure": {
                "location": "eastus", "name": "lab", "store": "az://labrpac/runs",
                "subscription": "01234567-89ab-cdef-0123-456789abcdef", "resource_group": "lab",
                "account_url": "https://lab.eastus.batch.azure.com", "repository": "a/b",
                "identity": "/subscriptions/01234567-89ab-cdef-0123-456789abcdef/resourceGroups/lab"
                "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/rpac-node",
                "identity_client_id": "89abcdef-0123-4567-89ab-cdef01234567",
            },
            "aws": {
                "region": "us-west-2", "name": "lab", "store": "s3://lab-rpac", "repository": "a/b",
                "subnets": ["subnet-0123456789abcdef0"],
                "security_groups": ["sg-0123456789abcdef0"],
                "instance_profile": "arn:aws:iam::123456789012:instance-profile/x",
                "job_role": "arn:aws:iam::123456789012:role/x",
            }
        }
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "found", "fix"),
    [
        ({}, [], ""),
        (
            {"environment": None},
            [("environment", Severity.ERROR)], "repos/Lab/experiments/environments/rpac-cloud",
        ),
        (
            {"environment": EnvironmentInfo(name="rpac-cloud", any_branch=True)},
            [("environment", Severity.ERROR)], "deployment-branch-policies -f name=main",
        ),
        (
            {"RPAC_AWS_ROLE": None},
            [("role", Severity.ERROR)], "gh variable set RPAC_AWS_ROLE -R Lab/experiments",
        ),
        (
            {"RPAC_AZURE_CLIENT_ID": None},
            [("role", Severity.ERROR)], "gh variable set RPAC_AZURE_CLIENT_ID -R Lab/experiments",
        ),
        (
            {"RPAC_AZURE_TENANT_ID": None}, [("role", Severity.ERROR)], "rpac setup azure prints",
        ),
        (
            {"RPAC_AWS_ROLE": GitHubError("no", hint="a token with Variables: read", status=403)},
            [("role", Severity.WARNING)], "Variables: read",
        ),
    ],
)  # fmt: skip
def test_who_may_enter_a_cloud(
    clone: Path, changed: Mapping[str, object], found: object, fix: str
) -> None:
    findings, _ = ask(clone, config=ON_CLOUDS, changed=changed)
    assert worst(findings) == found
    assert fix in "".join(one.fix for one in findings)


def refused(right: str) -> GitHubError:
    return GitHubError("not allowed", hint=f"the token lacks {right}", status=403)


@pytest.mark.parametrize(
    ("changed", "topic", "severity", "what", "fix"),
    [
        (
            {"repository": replace(REPOSITORY, archived=True)},
            "repository", Severity.ERROR, "archived", "unarchive",
        ),
        (
            {"repository": replace(REPOSITORY, permissions={"pull": True, "push": False})},
            "token", Severity.NOTE, "may: pull; it cannot push", "Administration: read",
        ),
        (
            {"repository": replace(REPOSITORY, permissions={})},
            "token", Severity.NOTE, "does not tell", "",
        ),
        ({"actions_enabled": False}, "actions", Severity.ERROR, "switched off", "Settings"),
        (
            {"actions_enabled": refused("Administration: read")},
            "actions", Severity.WARNING, "cannot be read", "lacks Administration: read",
        ),
        (
            {"workflow_permissions": WorkflowPermissions(
                default="write", can_approve_pull_requests=True)},
            "permissions", Severity.WARNING, "may write everything",
            "repos/Lab/experiments/actions/permissions/workflow",
        ),
        (
            {"workflows": WORKFLOWS[1:]},
            "workflows", Severity.ERROR, f"does not know {WORKFLOWS[0].path}", "push it",
        ),
        (
            {"workflows": [replace(one, state="disabled_inactivity")
                           if "upkeep" in one.path else one for one in WORKFLOWS]},
            "workflows", Severity.ERROR, "after 60 days",
            "gh workflow enable rpac-upkeep.yml -R Lab/experiments",
        ),
        (
            {"workflows": [replace(one, state="disabled_manually")
                           if one.path.endswith("/rpac.yml") else one for one in WORKFLOWS]},
            "workflows", Severity.ERROR, "rpac.yml is disabled_manually", "gh workflow enable",
        ),
        (
            {"workflows": refused("Actions: read")},
            "workflows", Severity.WARNING, "cannot be read", "Actions: read",
        ),
        (
            {"required_checks": ["tests", "lint"]},
            "commit_back", Severity.NOTE, "requires tests, lint", "RPAC_APP_PRIVATE_KEY",
        ),
        (
            {"required_checks": None},
            "commit_back", Severity.WARNING, "not known what auto will do", "Administration",
        ),
        (
            {"rules": []},
            "log", Severity.WARNING, "rewriting or deleting", '"non_fast_forward"',
        ),
        (
            {"rules": [Rule(kind="deletion")]},
            "log", Severity.WARNING, "rewriting or deleting", "rulesets",
        ),
        (
            {"rules": [*PROTECTED, Rule(kind="pull_request"), Rule(kind="update")]},
            "log", Severity.ERROR, "pull_request, update", "leave rpac/log out",
        ),
        (
            {"branch": BranchInfo(name="main", sha="f" * 40, protected=False, required=())},
            "branch", Severity.NOTE, "not what GitHub has now", "git fetch origin main",
        ),
        (
            {"oidc_subject": refused("Actions: read")},
            "oidc", Severity.WARNING, "cannot be read", "Actions: read",
        ),
        (
            {"rules": GitHubError("no answer", hint="try again", transient=True)},
            "log", Severity.ERROR, "no answer", "try again",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)  # fmt: skip
def test_findings_on_github(
    clone: Path, changed: Mapping[str, object], topic: str, severity: Severity, what: str, fix: str
) -> None:
    findings, _ = ask(clone, changed=changed)
    assert worst(findings) == [(topic, severity)]
    found = next(one for one in findings if one.severity is not Severity.OK)
    assert what in found.what
    assert fix in found.fix
    assert Report(findings=tuple(findings)).healthy is (severity is not Severity.ERROR)


def test_a_token_without_any_right_ends_the_questions(clone: Path) -> None:
    findings, subjects = ask(
        clone,
        changed={"repository": GitHubError("Bad credentials", hint="a new token", status=401)},
    )
    assert worst(findings) == [("repository", Severity.ERROR)]
    assert subjects is None


@pytest.mark.parametrize(
    ("how", "required", "severity"),
    [
        (CommitBack.AUTO, [], Severity.OK),
        (CommitBack.AUTO, ["tests"], Severity.NOTE),
        (CommitBack.HEAD, [], Severity.OK),
        (CommitBack.HEAD, ["tests"], Severity.WARNING),
        (CommitBack.LOG, ["tests"], Severity.OK),
        (CommitBack.LOG, None, Severity.OK),
        (CommitBack.HEAD, None, Severity.WARNING),
    ],
)
def test_what_becomes_of_reports(
    clone: Path, how: CommitBack, required: list[str] | None, severity: Severity
) -> None:
    findings, _ = ask(
        clone, config=SiteConfig(commit_back=how), changed={"required_checks": required}
    )
    (found,) = [one for one in findings if one.topic == "commit_back"]
    assert found.severity is severity


# files


def commit(clone: Path, path: str, change: Callable[[str], str] | None) -> None:
    file = clone / path
    if change is None:
        file.unlink()
    else:
        file.write_text(change(file.read_text()))
    git(clone, "commit", "--quiet", "--all", "--message", "change")
    git(clone, "update-ref", "refs/remotes/origin/main", "HEAD")


@pytest.mark.parametrize("path", [".github/workflows/rpac.yml", generated.ACTION])
@pytest.mark.parametrize(
    ("change", "severity", "what"),
    [
        (None, Severity.ERROR, "missing"),
        (lambda text: text + "# mine\n", Severity.NOTE, "edited"),
        (lambda _: "name: mine\n", Severity.ERROR, "foreign"),
        (lambda _: generated.signed("name: old\n", "0.0.1"), Severity.WARNING, "outdated"),
        (lambda _: generated.signed("name: new\n", "999"), Severity.WARNING, "newer"),
    ],
    ids=["missing", "edited", "foreign", "outdated", "newer"],
)
def test_files_of_the_default_branch(
    clone: Path, path: str, change: Callable[[str], str] | None, severity: Severity, what: str
) -> None:
    commit(clone, path, change)
    findings, _ = ask(clone)
    assert worst(findings) == [("workflows", severity)]
    (found,) = [one for one in findings if one.severity is severity]
    assert found.what == f"{what} on main: {path}"
    assert found.fix


def test_a_default_branch_that_was_never_fetched_is_told(clone: Path) -> None:
    git(clone, "update-ref", "-d", "refs/remotes/origin/main")
    findings, _ = ask(clone)
    assert worst(findings) == [("workflows", Severity.WARNING)]


# subjects

IMMUTABLE = "repo:Lab@7/experiments@42:environment:rpac-cloud"
NAMES = "repo:Lab/experiments:environment:rpac-cloud"


@pytest.mark.parametrize(
    ("form", "active"),
    [
        (CLASSIC, "classic"),
        (replace(CLASSIC, immutable=True), "immutable"),
        (replace(CLASSIC, immutable=None), None),
        (replace(CLASSIC, immutable=None, prefix="repo:Lab@7/experiments@42"), "immutable"),
        (replace(CLASSIC, immutable=True, prefix="repo:Lab/experiments"), "classic"),
        (replace(CLASSIC, prefix="something:else"), None),
    ],
)
def test_the_form_in_use(clone: Path, form: OidcSubject, active: str | None) -> None:
    _, subjects = ask(clone, changed={"oidc_subject": form})
    assert subjects is not None
    assert (subjects.classic, subjects.immutable) == (NAMES, IMMUTABLE)
    assert subjects.active == active
    assert f"{active} form (in use here)" in subjects.text() or active is None


def test_what_clouds_are_told_is_exact(clone: Path) -> None:
    _, subjects = ask(clone)
    assert subjects is not None
    told = subjects.to_json()
    for form, subject in (("classic", NAMES), ("immutable", IMMUTABLE)):
        one: Any = told[form]
        (statement,) = one["aws"]["Statement"]
        assert statement["Condition"] == {
            "StringEquals": {
                "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
                "token.actions.githubusercontent.com:sub": subject,
            }
        }
        assert one["azure"]["subject"] == subject
        assert one["azure"]["issuer"] == "https://token.actions.githubusercontent.com"
        assert one["azure"]["audiences"] == ["api://AzureADTokenExchange"]
    assert "*" not in json.dumps(told)
    assert json.dumps(told["classic"], indent=2)  # plain JSON


def test_claims_of_the_owner_s_own_are_told(clone: Path) -> None:
    form = OidcSubject(
        use_default=False, claims=("repo", "job_workflow_ref"), immutable=None, prefix=None
    )
    _, subjects = ask(clone, changed={"oidc_subject": form})
    assert subjects is not None
    assert "job_workflow_ref" in subjects.text()


@pytest.mark.parametrize(
    ("server", "wanted"),
    [
        ("https://github.com", "token.actions.githubusercontent.com"),
        ("https://GHE.example.org", "ghe.example.org/_services/token"),
        ("https://octo.ghe.com", "token.actions.octo.ghe.com"),
    ],
)
def test_who_signs(server: str, wanted: str) -> None:
    assert issuer(server) == wanted


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "x" * 256, "a\n", "*", "-a"])
def test_names_that_would_change_a_subject(clone: Path, name: str) -> None:
    with pytest.raises(CommandError, match="no name of an environment"):
        ask(clone, environment=name)
    with pytest.raises(CommandError, match="no name of an environment"):
        doctor.examine(clone, {}, environment=name, offline=True)


# here


def examine(
    clone: Path, environ: Mapping[str, str] | None = None, *, offline: bool = True
) -> Report:
    return doctor.examine(clone, environ or {}, environment="rpac-cloud", offline=offline)


def test_here_everything_is_fine(clone: Path) -> None:
    report = examine(clone)
    assert worst(list(report.findings)) == [("github", Severity.NOTE)]
    assert report.healthy
    assert "0 to fix, 0 to think about" in report.text()


@pytest.mark.parametrize(
    ("settings", "severity", "what"),
    [
        ("enabled: perhaps\n", Severity.ERROR, "rpac.yaml:1:"),
        ("enabled: false\n", Severity.WARNING, "starts nothing"),
        (None, Severity.NOTE, "no rpac.yaml"),
    ],
    ids=["mistake", "switched off", "missing"],
)
def test_settings(clone: Path, settings: str | None, severity: Severity, what: str) -> None:
    if settings is None:
        (clone / "rpac.yaml").unlink()
    else:
        (clone / "rpac.yaml").write_text(settings)
    (found,) = [one for one in examine(clone).findings if one.topic == "settings"]
    assert found.severity is severity
    assert what in found.what


def test_old_tools(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_GIT", (99, 0))
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (99, 0))
    report = examine(clone)
    errors = [(one.topic, one.fix) for one in report.findings if one.severity is Severity.ERROR]
    assert errors == [
        ("git", "install git 99.0 or newer"),
        ("python", "use Python 99.0 or newer"),
    ]


def test_a_bare_repository_is_told_to_begin(repository: Path) -> None:
    (found,) = [one for one in examine(repository).findings if one.topic == "workflows"]
    assert (found.severity, found.fix[:9]) == (Severity.ERROR, "rpac init")


TOKEN = {"GH_TOKEN": "a-token"}


@pytest.mark.parametrize(
    ("remote", "environ", "asked"),
    [
        ("https://github.com/o/r.git", TOKEN, ("https://api.github.com", "o/r")),
        ("https://me@github.com/o/r", TOKEN, ("https://api.github.com", "o/r")),
        ("git@github.com:o/r.git", TOKEN, ("https://api.github.com", "o/r")),
        ("ssh://git@github.com/o/r.x/", TOKEN, ("https://api.github.com", "o/r.x")),
        ("git@github.com:o/r.git", {"GITHUB_TOKEN": "t"}, ("https://api.github.com", "o/r")),
        (
            "https://ghe.example.org/o/r", {**TOKEN, "GITHUB_API_URL": "https://ghe.example.org/api/v3"},
            ("https://ghe.example.org/api/v3", "o/r"),
        ),
        (
            "https://elsewhere.example.org/x/y",
            {**TOKEN, "GITHUB_REPOSITORY": "o/r", "GITHUB_SERVER_URL": "https://github.com"},
            ("https://api.github.com", "o/r"),
        ),
        ("https://evil.example.org/o/r", TOKEN, "set GITHUB_API_URL"),
        ("https://github.com.evil.example.org/o/r", TOKEN, "set GITHUB_API_URL"),
        ("https://github.com@evil.example.org/o/r", TOKEN, "set GITHUB_API_URL"),
        ("https://github.com/o/r", {}, "set GITHUB_TOKEN"),
        ("/srv/git/r.git", TOKEN, "no repository on GitHub"),
        ("https://github.com/o", TOKEN, "no repository on GitHub"),
    ],
)  # fmt: skip
def test_where_a_token_goes(
    clone: Path, remote: str, environ: Mapping[str, str], asked: tuple[str, str] | str
) -> None:
    git(clone, "remote", "set-url", "origin", remote)
    host, why = doctor.find_host(Git(clone), environ)
    if isinstance(asked, str):
        assert host is None
        assert asked in why
    else:
        assert host is not None
        assert (host.api_url, host.repository) == asked
        assert "a-token" not in repr(host)


def test_the_command_prints_json_and_says_by_its_code_what_has_to_be_done(
    clone: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    result = CliRunner().invoke(cli_github.doctor, ["--json", "--offline"], standalone_mode=False)
    told = json.loads(result.stdout)
    assert (told["healthy"], told["oidc"], result.return_value) == (True, None, 0)
    (clone / "rpac.yaml").write_text("x: 1\n")
    result = CliRunner().invoke(cli_github.doctor, ["--offline"], standalone_mode=False)
    assert "error" in result.stdout
    assert result.return_value == 2


# through the client

API = "https://api.github.com:443/repos/Lab/experiments"


def test_through_the_client_and_back(clone: Path) -> None:
    tip = git(clone, "rev-parse", "HEAD")
    branch = {"name": "main", "commit": {"sha": tip}, "protected": False}
    answers: dict[str, object] = {
        "": {
            "id": 42, "full_name": "Lab/experiments", "default_branch": "main", "private": False,
            "archived": False, "fork": False, "owner": {"id": 7, "login": "Lab"},
            "permissions": {"admin": True, "push": True, "pull": True},
        },
        "/branches/main": branch,
        "/rules/branches/main": [],
        "/rules/branches/rpac%2Flog": [{"type": "deletion"}, {"type": "non_fast_forward"}],
        "/rules/branches/rpac%2Fledger": [{"type": "deletion"}, {"type": "non_fast_forward"}],
        "/actions/workflows": {
            "total_count": len(WORKFLOWS),
            "workflows": [
                {"id": one.id, "name": one.name, "path": one.path, "state": one.state}
                for one in WORKFLOWS
            ],
        },
        "/actions/oidc/customization/sub": {"use_default": True, "use_immutable_subject": True},
    }  # fmt: skip
    with responses.RequestsMock() as web:
        for path, answer in answers.items():
            web.get(API + path, json=answer)
        for path in ("/actions/permissions", "/actions/permissions/workflow"):
            web.get(
                API + path, status=403, json={"message": "Resource not accessible"},
                headers={"X-Accepted-GitHub-Permissions": "administration=read"},
            )  # fmt: skip
        report = examine(clone, TOKEN, offline=False)
        sent = {call.request.headers["Authorization"] for call in web.calls}
    assert report.healthy, report.text()
    assert [one.topic for one in report.findings if one.severity is Severity.WARNING] == [
        "actions", "permissions",
    ]  # fmt: skip
    assert "administration" in next(
        one.what + one.fix for one in report.findings if one.topic == "permissions"
    )
    assert report.subjects is not None
    assert report.subjects.active == "immutable"
    assert all("a-token" in header for header in sent)
    assert "a-token" not in report.text() + json.dumps(report.to_json())
