"""What tests tell the stand-in, in the words of a story: people, pushes, pulls, comments."""

from __future__ import annotations

import base64
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tests.standins.github import bare
from tests.standins.github.bare import Content
from tests.standins.github.events import Events
from tests.standins.github.shapes import Shapes
from tests.standins.github.state import (
    ACTIONS,
    ACTIONS_BOT,
    App,
    Check,
    Comment,
    Issue,
    Job,
    Object,
    Pull,
    Repository,
    Run,
    State,
    Token,
    User,
    Workflow,
)

_KEEP = "unchanged"


class Story(State, Events):
    """State with the verbs of a story; all are about the first repository if not told otherwise."""

    main: Repository
    url: str

    def __init__(self, root: Path, shapes: Shapes) -> None:
        super().__init__(root)
        self.shapes = shapes

    # --- people and rights ----------------------------------------------------------------------

    def user(self, login: str, role: str | None = _KEEP, type: str = "User") -> User:  # noqa: A002
        """
        An account, made when there is none of this name.

        Args:
            login: its name.
            role: in the first repository: read, triage, write, maintain, admin, or an
                organization's own as `name:standard`; None for none, by default unchanged.
            type: User, Bot, Organization or Mannequin.
        """
        with self.lock:
            found = self.users.get(login.lower())
            if found is None:
                found = User(self.next_id("user", 7_300_001), login, type)
                self.users[login.lower()] = found
            if role is None:
                self.main.roles.pop(found.id, None)
            elif role != _KEEP:
                self.main.roles[found.id] = role
        return found

    def rename(self, user: User, login: str) -> None:
        """An account takes another name; the old one is free for anybody."""
        with self.lock:
            del self.users[user.login.lower()]
            user.login = login
            self.users[login.lower()] = user

    def token(
        self, permissions: Mapping[str, str] | None = None, *, app: str = "github-actions",
        repository: Repository | None = None,
    ) -> str:  # fmt: skip
        """A token of a job, or of another GitHub App, for one repository."""
        given = {"metadata": "read", **(permissions or {})}
        known, user = ACTIONS, ACTIONS_BOT
        if app != ACTIONS.slug:
            user = self.user(f"{app}[bot]", type="Bot")
            known = self._app(app)
        value = f"ghs_{secrets.token_hex(18)}"
        home = (repository or self.main).id
        with self.lock:
            self.tokens[value] = Token(value, user, given, known, home)
        return value

    def personal_token(self, user: User) -> str:
        """A token of a person, who may do with it what the person's role allows."""
        value = f"ghp_{secrets.token_hex(18)}"
        with self.lock:
            self.tokens[value] = Token(value, user)
        return value

    def revoke(self, token: str) -> None:
        """A token ends."""
        with self.lock:
            del self.tokens[token]

    def basic(self, token: str) -> str:
        """The header that git sends with a token, as `http.extraheader` takes it."""
        raw = f"x-access-token:{token}".encode()
        return f"AUTHORIZATION: basic {base64.b64encode(raw).decode()}"

    def _app(self, slug: str) -> App:
        for token in self.tokens.values():
            if token.app and token.app.slug == slug:
                return token.app
        return App(self.next_id("app", 900_001), slug, slug)

    # --- repositories and git -------------------------------------------------------------------

    def repository(self, full_name: str, *, private: bool = False) -> Repository:
        """A repository with one commit; made when there is none of this name."""
        if (found := self.repository_named(full_name)) is not None:
            return found
        owner, _, name = full_name.partition("/")
        with self.lock:
            account = self.users.get(owner.lower())
            if account is None:
                account = User(self.next_id("user", 7_300_001), owner, "Organization")
                self.users[owner.lower()] = account
            made = self.add_repository(account, name)
            made.private = private
        self.push("main", {"README.md": f"# {name}\n"}, "Start", repository=made)
        return made

    def fork(self, user: User, repository: Repository | None = None) -> Repository:
        """Somebody's copy of a repository."""
        source = repository or self.main
        made = self.add_repository(user, source.name, source)
        made.default_branch, made.private = source.default_branch, source.private
        return made

    def delete_repository(self, repository: Repository) -> None:
        """A repository goes; pull requests from it keep their commits."""
        with self.lock:
            for pull in (pull for home in self.repositories.values() for pull in home.pulls):
                if pull.head_repository is repository:
                    pull.last_sha, pull.head_repository = pull.head_sha, None
            del self.repositories[repository.full_name.lower()]

    @property
    def clone_url(self) -> str:
        """Where git finds the first repository."""
        return f"{self.url}/{self.main.full_name}.git"

    def clone(self, folder: Path, token: str = "", repository: Repository | None = None) -> Path:
        """A clone over HTTP; with a token git goes on using it there."""
        url = f"{self.url}/{(repository or self.main).full_name}.git"
        configured = ["--config", f"http.extraheader={self.basic(token)}"] if token else []
        subprocess.run(
            ["git", "clone", "--quiet", *configured, url, str(folder)],
            check=True, capture_output=True, env=bare.environment() | {"GIT_TERMINAL_PROMPT": "0"},
        )  # fmt: skip
        return folder

    def push(
        self, branch: str, files: Mapping[str, Content], message: str = "Change files", *,
        author_date: datetime | None = None, by: User | None = None,
        repository: Repository | None = None,
    ) -> str:  # fmt: skip
        """
        Somebody pushes a commit.

        Args:
            branch: made from the default branch when there is none of this name.
            files: path -> content; None deletes, `Special` is what no plain file is.
            message: of the commit.
            author_date: what the author claims; the committer's is the clock's.
            by: the author.
            repository: the fork, if it is one.

        Returns:
            The commit.
        """
        home, now = repository or self.main, self.now()
        name = by.login if by else "Contributor"
        author = (name, f"{name}@users.noreply.github.com")
        with self.lock:
            start = home.bare.ref(f"refs/heads/{home.default_branch}")
            sha = home.bare.write(
                branch, files, message, author, author_date or now, start, committed=now
            )
            self.branches_moved(home)
        return sha

    def force(self, branch: str, sha: str, repository: Repository | None = None) -> None:
        """Somebody moves a branch to any commit."""
        home = repository or self.main
        home.bare.set_ref(f"refs/heads/{branch}", sha)
        self.branches_moved(home)

    def delete_branch(self, name: str, repository: Repository | None = None) -> None:
        """Somebody deletes a branch, which closes pull requests from it."""
        home = repository or self.main
        home.bare.set_ref(f"refs/heads/{name}", None)
        self.branches_moved(home)

    def rename_default_branch(self, name: str) -> None:
        """The default branch takes another name."""
        home = self.main
        sha = home.bare.ref(f"refs/heads/{home.default_branch}")
        with self.lock:
            home.bare.set_ref(f"refs/heads/{name}", sha)
            home.bare.git("symbolic-ref", "HEAD", f"refs/heads/{name}")
            home.bare.set_ref(f"refs/heads/{home.default_branch}", None)
            for pull in home.pulls:
                pull.base_ref = name if pull.base_ref == home.default_branch else pull.base_ref
            home.default_branch = name

    def files(
        self, branch: str, prefix: str = "", repository: Repository | None = None
    ) -> dict[str, bytes]:
        """Contents of the files on a branch below a folder; empty when there is no such branch."""
        return (repository or self.main).bare.files(f"refs/heads/{branch}", prefix)

    def sha(self, branch: str, repository: Repository | None = None) -> str | None:
        """The commit at the end of a branch."""
        return (repository or self.main).bare.ref(f"refs/heads/{branch}")

    # --- conversations --------------------------------------------------------------------------

    def open_pull(
        self, head_branch: str, base: str | None = None, *, by: User,
        fork: Repository | None = None, draft: bool = False, title: str = "",
        repository: Repository | None = None,
    ) -> Pull:  # fmt: skip
        """Somebody opens a pull request, from a branch of the repository or of a fork."""
        home = repository or self.main
        source, onto = fork or home, base or home.default_branch
        head = source.bare.ref(f"refs/heads/{head_branch}")
        start = home.bare.ref(f"refs/heads/{onto}")
        assert head is not None, f"there is no branch {head_branch}"
        assert start is not None, f"there is no branch {onto}"
        with self.lock:
            number, now = len(home.issues) + 1, self.now()
            pull = Pull(
                repository=home, id=self.next_id("issue", 2_800_000_001), number=number,
                title=title or head_branch, body="", user=by, created_at=now, updated_at=now,
                head_repository=source, head_ref=head_branch, base_ref=onto, base_sha=start,
                last_sha=head, head_owner=source.owner, draft=draft,
                maintainer_can_modify=fork is not None,
            )  # fmt: skip
            home.issues[number] = pull
            self.branches_moved(source)
        return pull

    def open_issue(
        self, title: str, *, by: User, body: str = "", repository: Repository | None = None
    ) -> Issue:
        """Somebody opens an issue."""
        return self.add_issue(repository or self.main, by, title, body)

    def issues(self, repository: Repository | None = None) -> list[Issue]:
        """Issues that are no pull requests, oldest first."""
        found = (repository or self.main).issues.values()
        return [issue for issue in found if not issue.is_pull]

    def comment(self, place: Issue, user: User, body: str, app: App | None = None) -> Comment:
        """Somebody writes a comment."""
        return self.add_comment(place, user, body, app)

    def comments(self, place: Issue) -> list[Comment]:
        """Comments on an issue or pull request, oldest first."""
        with self.lock:
            return list(place.comments)

    def delete_comment(self, comment: Comment) -> None:
        """Somebody deletes a comment."""
        with self.lock:
            comment.issue.comments.remove(comment)
            del comment.issue.repository.comments[comment.id]

    def merge(self, pull: Pull, *, squash: bool = False, by: User | None = None) -> str:
        """Somebody merges a pull request; the commit on its base."""
        home = pull.repository
        with self.lock:
            head, ref = pull.head_sha, f"refs/heads/{pull.base_ref}"
            base = home.bare.ref(ref)
            assert base is not None
            message = f"{pull.title} (#{pull.number})"
            sha = home.bare.merge(base, head, message, squash=squash)
            home.bare.set_ref(ref, sha, base)
            pull.merged_at, pull.merged_by = self.now(), by or home.owner
            pull.merge_commit_sha = sha
            self.close(pull)
            self.branches_moved(home)
        return sha

    # --- checks, protection, workflows ----------------------------------------------------------

    def checks(self, sha: str, repository: Repository | None = None) -> list[Check]:
        """Check runs on a commit, oldest first."""
        with self.lock:
            found = list((repository or self.main).checks.values())
        return [check for check in found if check.head_sha == sha]

    def required_checks(self, branch: str, contexts: Sequence[str]) -> None:
        """Classic protection: a branch takes only commits with these checks."""
        self.main.required[branch] = list(contexts)

    def rule(self, branch: str, kind: str, *, checks: Sequence[str] = ()) -> None:
        """A rule of a ruleset: deletion, non_fast_forward, required_status_checks, update, …."""
        rule: Object = {"type": kind}
        if kind == "required_status_checks":
            rule["parameters"] = {
                "required_status_checks": [{"context": context} for context in checks],
                "strict_required_status_checks_policy": False,
            }
        elif kind == "update":
            rule["parameters"] = {"update_allows_fetch_and_merge": False}
        self.main.rules.setdefault(branch, []).append(rule)

    def workflow(self, path: str, name: str = "", state: str = "active") -> Workflow:
        """A workflow that GitHub knows."""
        made = Workflow(self.next_id("workflow", 1001), name or path, path, state)
        self.main.workflows.append(made)
        return made

    def workflow_run(
        self, number: int | None = None, *, jobs: Sequence[Job] = (), event: str = "issue_comment"
    ) -> Run:
        """A run of a workflow, under way."""
        home = self.main
        workflow = home.workflows[0] if home.workflows else self.workflow("rpac.yml")
        number = number or self.next_id("run", 20_000_000_001)
        branch = home.default_branch
        run = Run(number, 1 + len(home.runs), workflow, event, branch, self.sha(branch) or "",
                  self.now(), ACTIONS_BOT, jobs=list(jobs))  # fmt: skip
        home.runs[number] = run
        return run

    def job(self, name: str, status: str = "in_progress", steps: Sequence[Object] = ()) -> Job:
        """A job for `workflow_run`; a step is a dict of name, status and what else is known."""
        number = self.next_id("job", 60_000_000_001)
        return Job(number, name, status, started_at=self.now(), steps=list(steps))

    def job_folder(self) -> Path:
        """An empty folder for the files of a job."""
        folder = self.root / "jobs" / str(self.next_id("folder", 1))
        folder.mkdir(parents=True)
        return folder
