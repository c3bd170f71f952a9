"""What GitHub's API answers, as typed records: one function per shape, nothing guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from rpac_ci.github.fields import FieldError, Fields, Json

# what `permission` says for each role, which folds maintain into write and triage into read
FOLDED: Mapping[str, str] = MappingProxyType(
    {
        "admin": "admin",
        "maintain": "write",
        "write": "write",
        "triage": "read",
        "read": "read",
        "none": "none",
    }
)
# an organization's own roles are built on a standard one; from the folded word alone no more than
# this is certain, and a role that is built on more is asked to be given as a standard role
CUSTOM: Mapping[str, str] = MappingProxyType(
    {"admin": "write", "write": "write", "read": "read", "none": "none"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Role of a person in the repository; `name` is None when it is not known, `problem` why."""

    name: str | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullInfo:
    """A pull request as it is now; what lists leave out is None."""

    number: int
    state: str
    merged: bool
    draft: bool
    locked: bool
    head_sha: str
    head_ref: str
    head_repository: str | None  # None: the fork was deleted
    fork: bool
    base_ref: str
    base_sha: str
    author_id: int
    maintainer_can_modify: bool
    html_url: str
    title: str
    changed_files: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """A file of a pull request; `previous` is its path before it was renamed."""

    path: str
    status: str
    previous: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentRef:
    """A comment that exists."""

    id: int
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A remark on lines of a file; `level` is notice, warning or failure."""

    path: str
    line: int
    message: str
    level: str = "failure"
    end_line: int | None = None
    column: int | None = None
    title: str = ""

    def body(self) -> dict[str, Json]:
        """As the API takes it."""
        body: dict[str, Json] = {
            "path": self.path,
            "start_line": self.line,
            "end_line": self.end_line or self.line,
            "annotation_level": self.level,
            "message": self.message,
        }
        if self.column and self.end_line in (None, self.line):
            body |= {"start_column": self.column, "end_column": self.column}
        return body | ({"title": self.title} if self.title else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a job."""

    name: str
    status: str
    conclusion: str | None
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a workflow's run."""

    id: int
    name: str
    status: str
    conclusion: str | None
    steps: tuple[Step, ...]
    url: str
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryInfo:
    """A repository; `permissions` are those of the token, where GitHub tells them."""

    id: int
    full_name: str
    default_branch: str
    private: bool
    archived: bool
    fork: bool
    owner_id: int
    permissions: Mapping[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow that GitHub knows; `state` is active, disabled_inactivity, …."""

    id: int
    name: str
    path: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowPermissions:
    """What a workflow's token may do where the workflow says nothing: `read` or `write`."""

    default: str
    can_approve_pull_requests: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSubject:
    """How the subject of an OIDC token is built; `immutable` is None where it is not told."""

    use_default: bool
    claims: tuple[str, ...]
    immutable: bool | None
    prefix: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentInfo:
    """An environment, and whether jobs of any branch may enter it."""

    name: str
    any_branch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchInfo:
    """A branch; `required` are the checks of its classic protection, None when not told."""

    name: str
    sha: str
    protected: bool
    required: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that applies to a branch; `checks` are the contexts that it requires."""

    kind: str
    checks: tuple[str, ...] = ()


def role(answer: Fields, person: int) -> Role:
    """
    The role in an answer about one person.

    Args:
        answer: of the permission endpoint.
        person: id of the account that was meant; logins are renamed and taken over.
    """
    if answer.object("user").id("id") != person:
        return Role(name=None, problem="the login belongs to another account now")
    name, folded = answer.line("role_name", 100), answer.line("permission", 20)
    if folded not in CUSTOM:
        raise answer.wrong("permission", "admin, write, read or none")
    if name not in FOLDED:
        return Role(name=CUSTOM[folded])
    if FOLDED[name] != folded:
        return Role(name=None, problem="role_name and permission contradict each other")
    return Role(name=name)


def pull(answer: Fields) -> PullInfo:
    """A pull request, whole or as in lists."""
    head, base = answer.object("head"), answer.object("base")
    fork, home = head.optional("repo"), base.object("repo")
    whole = answer.has("merged")
    return PullInfo(
        number=answer.id("number"),
        state=answer.one_of("state", "open", "closed"),
        merged=answer.flag("merged") if whole else answer.has("merged_at"),
        draft=answer.flag("draft") if answer.has("draft") else False,
        locked=answer.flag("locked"),
        head_sha=head.sha("sha"),
        head_ref=head.ref("ref"),
        head_repository=fork.full_name("full_name") if fork else None,
        fork=fork is None or fork.id("id") != home.id("id"),
        base_ref=base.ref("ref"),
        base_sha=base.sha("sha"),
        author_id=answer.object("user").id("id"),
        maintainer_can_modify=answer.flag("maintainer_can_modify") if whole else False,
        html_url=answer.url("html_url"),
        title=answer.text("title"),
        changed_files=answer.count("changed_files") if whole else None,
    )


def changed_file(answer: Fields) -> ChangedFile:
    """A file of a pull request; its path is any text, since git allows nearly any."""
    previous = answer.text("previous_filename") if answer.has("previous_filename") else None
    return ChangedFile(
        path=answer.text("filename"), status=answer.line("status", 40), previous=previous
    )


def comment_ref(answer: Fields) -> CommentRef:
    """A comment."""
    return CommentRef(id=answer.id("id"), url=answer.url("html_url"))


def job(answer: Fields) -> Job:
    """A job with its steps."""
    steps = tuple(map(_step, answer.objects("steps"))) if answer.has("steps") else ()
    return Job(
        id=answer.id("id"),
        name=answer.text("name"),
        status=answer.line("status", 40),
        conclusion=_line(answer, "conclusion"),
        steps=steps,
        url=answer.url("html_url") if answer.has("html_url") else "",
        started_at=_time(answer, "started_at"),
        completed_at=_time(answer, "completed_at"),
    )


def _step(answer: Fields) -> Step:
    return Step(
        name=answer.text("name"),
        status=answer.line("status", 40),
        conclusion=_line(answer, "conclusion"),
        started_at=_time(answer, "started_at"),
        completed_at=_time(answer, "completed_at"),
    )


def repository(answer: Fields) -> RepositoryInfo:
    """A repository."""
    rights = answer.optional("permissions")
    return RepositoryInfo(
        id=answer.id("id"),
        full_name=answer.full_name("full_name"),
        default_branch=answer.ref("default_branch"),
        private=answer.flag("private"),
        archived=answer.flag("archived"),
        fork=answer.flag("fork"),
        owner_id=answer.object("owner").id("id"),
        permissions={name: rights.flag(name) for name in rights.value} if rights else {},
    )


def workflow(answer: Fields) -> Workflow:
    """A workflow."""
    return Workflow(
        id=answer.id("id"),
        name=answer.text("name"),
        path=answer.line("path"),
        state=answer.line("state", 60),
    )


def workflow_permissions(answer: Fields) -> WorkflowPermissions:
    """Default rights of workflows."""
    return WorkflowPermissions(
        default=answer.one_of("default_workflow_permissions", "read", "write"),
        can_approve_pull_requests=answer.flag("can_approve_pull_request_reviews"),
    )


def oidc_subject(answer: Fields) -> OidcSubject:
    """The form of OIDC subjects."""
    known = answer.has("use_immutable_subject")
    claims = texts(answer, "include_claim_keys") if answer.has("include_claim_keys") else ()
    return OidcSubject(
        use_default=answer.flag("use_default"),
        claims=claims,
        immutable=answer.flag("use_immutable_subject") if known else None,
        prefix=_line(answer, "sub_claim_prefix"),
    )


def environment(answer: Fields) -> EnvironmentInfo:
    """An environment."""
    policy = answer.optional("deployment_branch_policy")
    return EnvironmentInfo(name=answer.line("name", 255), any_branch=policy is None)


def variable(answer: Fields) -> str:
    """The value of a variable."""
    return answer.text("value")


def branch(answer: Fields) -> BranchInfo:
    """A branch and what its classic protection requires."""
    protected = answer.flag("protected")
    return BranchInfo(
        name=answer.ref("name"),
        sha=answer.object("commit").sha("sha"),
        protected=protected,
        required=_required(answer) if protected else (),
    )


def _required(answer: Fields) -> tuple[str, ...] | None:
    protection = answer.optional("protection")
    if protection is None:
        return None
    checks = protection.optional("required_status_checks")
    if checks is None or checks.value.get("enforcement_level") == "off":
        return ()
    contexts = list(texts(checks, "contexts")) if checks.has("contexts") else []
    if checks.has("checks"):
        contexts += [check.text("context") for check in checks.objects("checks")]
    return tuple(dict.fromkeys(contexts))


def rule(answer: Fields) -> Rule:
    """A rule of a ruleset."""
    kind = answer.line("type", 100)
    if kind != "required_status_checks":
        return Rule(kind=kind)
    checks = answer.object("parameters").objects("required_status_checks")
    return Rule(kind=kind, checks=tuple(check.text("context") for check in checks))


def texts(answer: Fields, name: str) -> tuple[str, ...]:
    """A list of lines."""
    items = answer.value.get(name)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise FieldError(f"{name}: expected a list of texts")
    return tuple(str(item) for item in items)


def _line(answer: Fields, name: str) -> str | None:
    return answer.line(name) if answer.has(name) else None


def _time(answer: Fields, name: str) -> datetime | None:
    return answer.time(name) if answer.has(name) else None
