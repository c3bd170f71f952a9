"""What a stand-in GitHub knows: people, repositories, conversations, checks, workflows."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from tests.standins.github.bare import Bare

Object: TypeAlias = dict[str, Any]

# `permission` of the API knows fewer roles than `role_name`
FOLDED = {
    "admin": "admin", "maintain": "write", "write": "write", "triage": "read", "read": "read",
    "none": "none",
}  # fmt: skip
RANK = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass(eq=False)
class User:
    """An account; `type` is User, Bot or Organization."""

    id: int
    login: str
    type: str = "User"


@dataclass(eq=False)
class App:
    """A GitHub App."""

    id: int
    slug: str
    name: str


GHOST = User(10137, "ghost")
ACTIONS_BOT = User(41898282, "github-actions[bot]", "Bot")
ACTIONS = App(15368, "github-actions", "GitHub Actions")


@dataclass(eq=False)
class Token:
    """
    A credential.

    Of a person where `permissions` is None: it may do what the person's role allows. Otherwise of
    an installation of `app`, for one repository.
    """

    value: str
    user: User
    permissions: Mapping[str, str] | None = None
    app: App | None = None
    repository: int | None = None


@dataclass(eq=False)
class Reaction:
    """An emoji somebody put on something."""

    id: int
    user: User
    content: str
    created_at: datetime


@dataclass(eq=False)
class Comment:
    """A comment on an issue or a pull request."""

    id: int
    issue: Issue
    user: User
    body: str
    created_at: datetime
    updated_at: datetime
    app: App | None = None
    reactions: list[Reaction] = field(default_factory=list)


@dataclass(eq=False)
class Issue:
    """An issue; also what a pull request is to the API of issues."""

    repository: Repository
    id: int
    number: int
    title: str
    body: str
    user: User
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    locked: bool = False
    closed_at: datetime | None = None
    labels: list[str] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    app: App | None = None

    @property
    def is_pull(self) -> bool:
        """Whether this is a pull request."""
        return isinstance(self, Pull)


@dataclass(eq=False, kw_only=True)
class Pull(Issue):
    """A pull request; its head follows the branch until it is closed or the branch deleted."""

    head_repository: Repository | None
    head_ref: str
    base_ref: str
    base_sha: str
    last_sha: str
    head_owner: User
    draft: bool = False
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_commit_sha: str | None = None
    maintainer_can_modify: bool = False

    @property
    def head_sha(self) -> str:
        """The commit that would be merged."""
        if self.state == "closed" or self.head_repository is None:
            return self.last_sha
        return self.head_repository.bare.ref(f"refs/heads/{self.head_ref}") or self.last_sha

    @property
    def fork(self) -> bool:
        """Whether the branch is in another repository."""
        return self.head_repository is not self.repository


@dataclass(eq=False)
class Check:
    """A check run; `output` has title, summary and text, as they were sent."""

    id: int
    name: str
    head_sha: str
    app: App
    started_at: datetime
    status: str = "queued"
    conclusion: str | None = None
    completed_at: datetime | None = None
    external_id: str = ""
    details_url: str | None = None
    output: Object = field(default_factory=dict)
    annotations: list[Object] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """A job of a workflow's run; steps have name, status, conclusion and times."""

    id: int
    name: str
    status: str = "queued"
    conclusion: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    steps: list[Object] = field(default_factory=list)


@dataclass(eq=False)
class Workflow:
    """A workflow that GitHub knows."""

    id: int
    name: str
    path: str
    state: str = "active"


@dataclass(eq=False)
class Run:
    """A run of a workflow."""

    id: int
    number: int
    workflow: Workflow
    event: str
    head_branch: str
    head_sha: str
    created_at: datetime
    actor: User
    status: str = "in_progress"
    conclusion: str | None = None
    attempt: int = 1
    jobs: list[Job] = field(default_factory=list)


@dataclass(eq=False)
class Dispatch:
    """What somebody sent off: an event's type with its payload, or a workflow with its inputs."""

    event: str
    target: str
    payload: Object
    user: User
    ref: str = ""


@dataclass(eq=False)
class ActionsSettings:
    """What the settings page of Actions shows."""

    enabled: bool = True
    default_permissions: str = "read"
    can_approve: bool = False
    oidc: Object = field(default_factory=lambda: {"use_default": True})
    environments: dict[str, Object | None] = field(default_factory=dict)  # name -> branch policy
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Repository:
    """A repository with all that belongs to it."""

    id: int
    owner: User
    name: str
    bare: Bare
    created_at: datetime
    default_branch: str = "main"
    private: bool = False
    archived: bool = False
    parent: Repository | None = None
    roles: dict[int, str] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    checks: dict[int, Check] = field(default_factory=dict)
    required: dict[str, list[str]] = field(default_factory=dict)  # branch -> contexts
    rules: dict[str, list[Object]] = field(default_factory=dict)  # branch -> rules of rulesets
    workflows: list[Workflow] = field(default_factory=list)
    runs: dict[int, Run] = field(default_factory=dict)
    dispatches: list[Dispatch] = field(default_factory=list)
    actions: ActionsSettings = field(default_factory=ActionsSettings)

    @property
    def full_name(self) -> str:
        """`owner/name`."""
        return f"{self.owner.login}/{self.name}"

    @property
    def pulls(self) -> list[Pull]:
        """Pull requests, oldest first."""
        return [issue for issue in self.issues.values() if isinstance(issue, Pull)]

    def role(self, user: User) -> str:
        """What somebody may do here; everybody reads what is public."""
        if user is self.owner:
            return "admin"
        return self.roles.get(user.id, "none" if self.private else "read")


class State:
    """Everything, with one lock around changes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.users: dict[str, User] = {user.login.lower(): user for user in (GHOST, ACTIONS_BOT)}
        self.tokens: dict[str, Token] = {}
        self.repositories: dict[str, Repository] = {}
        self.cancelled: list[int] = []  # runs of workflows that were told to stop
        # who plays the runner numbers its runs; one that is not known here counts as running
        self.only_known_runs = False
        self._ids: dict[str, Iterator[int]] = {}

    def next_id(self, kind: str, first: int) -> int:
        """Another number of a kind."""
        with self.lock:
            return next(self._ids.setdefault(kind, itertools.count(first)))

    def user_named(self, login: str) -> User | None:
        """The account of a name."""
        return self.users.get(login.lower())

    def repository_named(self, full_name: str) -> Repository | None:
        """The repository of a name."""
        return self.repositories.get(full_name.lower())

    def add_repository(
        self, owner: User, name: str, parent: Repository | None = None
    ) -> Repository:
        """A new repository, empty or a copy of another."""
        path = self.root / "repositories" / owner.login / f"{name}.git"
        bare = Bare.create(path) if parent is None else Bare.copy(parent.bare, path)
        repository = Repository(
            id=self.next_id("repository", 1296269), owner=owner, name=name, bare=bare,
            created_at=self.now(), parent=parent,
        )  # fmt: skip
        with self.lock:
            self.repositories[repository.full_name.lower()] = repository
        return repository

    def add_comment(self, issue: Issue, user: User, body: str, app: App | None = None) -> Comment:
        """A new comment."""
        now = self.now()
        comment = Comment(self.next_id("comment", 3_900_000_001), issue, user, body, now, now, app)
        with self.lock:
            issue.comments.append(comment)
            issue.repository.comments[comment.id] = comment
        return comment

    def add_reaction(
        self, reactions: list[Reaction], user: User, content: str
    ) -> tuple[Reaction, bool]:
        """An emoji, once a person; and whether it is new."""
        with self.lock:
            for reaction in reactions:
                if reaction.user is user and reaction.content == content:
                    return reaction, False
            made = Reaction(self.next_id("reaction", 250_000_001), user, content, self.now())
            reactions.append(made)
            return made, True

    def add_issue(
        self, repository: Repository, user: User, title: str, body: str = "", app: App | None = None
    ) -> Issue:
        """A new issue."""
        with self.lock:
            number, now = len(repository.issues) + 1, self.now()
            issue = Issue(
                repository=repository, id=self.next_id("issue", 2_800_000_001), number=number,
                title=title, body=body, user=user, created_at=now, updated_at=now, app=app,
            )  # fmt: skip
            repository.issues[number] = issue
        return issue

    def close(self, issue: Issue) -> None:
        """Close an issue or a pull request; the head of the latter stays where it is."""
        with self.lock:
            if isinstance(issue, Pull):
                issue.last_sha = issue.head_sha
            issue.state, issue.closed_at = "closed", self.now()

    def branches_moved(self, repository: Repository) -> None:
        """
        What GitHub does after every push: `refs/pull/N/head` follows, and a pull request whose
        branch is gone is closed.
        """
        with self.lock:
            for home in list(self.repositories.values()):
                for pull in home.pulls:
                    if pull.head_repository is repository and pull.state == "open":
                        self._follow(pull)

    def _follow(self, pull: Pull) -> None:
        source = pull.head_repository
        sha = source.bare.ref(f"refs/heads/{pull.head_ref}") if source else None
        if source is None or sha is None:
            self.close(pull)
            return
        bare, ref = pull.repository.bare, f"refs/pull/{pull.number}/head"
        if bare.ref(ref) == sha:
            return
        if source.bare is not bare:
            bare.fetch(source.bare, f"refs/heads/{pull.head_ref}", ref)
        else:
            bare.set_ref(ref, sha)
        pull.last_sha, pull.updated_at = sha, self.now()
        pull.base_sha = bare.ref(f"refs/heads/{pull.base_ref}") or pull.base_sha
