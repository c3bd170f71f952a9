"""
GitHub's API, as far as rpac needs it: one method for each thing that is asked or told.

Every method makes one request when all goes well (longer lists: one a page). `transport` decides
what is repeated, and `wire` sends it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from rpac_ci.errors import GitHubError
from rpac_ci.github import answers as github_answers
from rpac_ci.github import limits as github_limits
from rpac_ci.github import wire
from rpac_ci.github.actions import redact
from rpac_ci.github.answers import Annotation, ChangedFile, CommentRef, Job, PullInfo, Role
from rpac_ci.github.calls import PAGE, Calls, readable
from rpac_ci.github.fields import Fields, Json, is_full_name
from rpac_ci.github.settings import Settings
from rpac_ci.github.transport import PATIENCE_S, Query, Transport

if TYPE_CHECKING:
    from github.Requester import Requester

MAX_FILES = 3000  # GitHub lists no more of a pull request's files
MAX_ANNOTATIONS = 50  # a request
MAX_TITLE = 255

_MARKER = re.compile(r"<!-- [!-~][ -~]{0,200} -->")


class GitHub(Settings):
    """One repository on GitHub, seen with one token."""

    def __init__(
        self,
        api_url: str,
        token: str,
        repository: str,
        *,
        timeout_s: int = 15,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Nothing is asked yet.

        Args:
            api_url: as in GITHUB_API_URL.
            token: it appears in no message.
            repository: `owner/name`.
            timeout_s: of each answer.
            patience_s: how long one call may wait in all for limits and disturbances to pass.
            sleep: how to wait.
            clock: seconds since the epoch.
        """
        if not is_full_name(repository):
            raise ValueError("expected owner/name")
        self.full_name = repository
        self.requests = 0
        self._api_url, self._token, self._timeout_s = api_url.rstrip("/"), token, timeout_s
        transport = Transport(self._send, patience_s=patience_s, sleep=sleep, clock=clock)
        super().__init__(Calls(transport, repository))
        self._requester: Requester | None = None
        self._own_id: int | None = None  # None: not known yet; 0: no user's

    # people

    def role(self, login: str, person: int) -> Role:
        """
        Role of a person here; never raises.

        Args:
            login: name of the account now.
            person: its id, which the answer has to bear.

        Returns:
            One of none, read, triage, write, maintain, admin; an organization's own role counts as
            the standard role that GitHub reports for it, and never as more than write.
        """
        path = f"/collaborators/{quote(login, safe='')}/permission"
        try:
            return self._calls.get(path, lambda answer: github_answers.role(answer, person))
        except GitHubError as exc:
            return Role(name=None, problem=exc.message)

    # pull requests

    def pull(self, number: int) -> PullInfo:
        """A pull request as it is now."""
        return self._calls.get(f"/pulls/{number}", github_answers.pull)

    def pull_files(self, number: int, expected: int | None = None) -> list[ChangedFile]:
        """
        All files that a pull request changes.

        Args:
            number: of the pull request.
            expected: how many there are, from `PullInfo.changed_files`.

        Raises:
            GitHubError: the list is not complete.
        """
        path = f"/pulls/{number}/files"
        listed = self._calls.pages(path, github_answers.changed_file, enough=MAX_FILES // PAGE)
        files = list(listed)
        if len(files) >= MAX_FILES or (expected is not None and len(files) != expected):
            many = f"{len(files)} of {expected}" if expected is not None else str(len(files))
            raise GitHubError(
                f"the files of pull request {number} cannot all be read: GitHub lists {many}",
                hint=f"split the pull request; at most {MAX_FILES - 1} files can be looked at",
            )
        return files

    def open_pulls_of(self, branch: str) -> list[PullInfo]:
        """Open pull requests from a branch of this repository."""
        query = {"head": f"{self.full_name.partition('/')[0]}:{branch}", "state": "open"}
        pulls = self._calls.pages("/pulls", github_answers.pull, query)
        return [pull for pull in pulls if not pull.fork and pull.head_ref == branch]

    # comments

    def react(self, comment: int, content: str) -> bool:
        """Put a reaction on a comment; whether that worked, for it is not worth a failure."""
        path = f"/issues/comments/{comment}/reactions"
        try:
            self._calls.send("POST", path, {"content": content}, repeat=True)
        except GitHubError:
            return False
        return True

    def comment(self, number: int, body: str, marker: str) -> CommentRef:
        """
        Write a comment, once: a lost answer leads to a search for it, not to a second one.

        Args:
            number: of the issue or pull request.
            body: Markdown, shortened if need be.
            marker: `<!-- … -->`, put before the body; no other comment has it.
        """
        return self._calls.create(
            f"/issues/{number}/comments",
            {"body": _marked(body, marker)},
            self._own_comment,
            lambda: self.find_comment(number, marker),
        )

    def edit_comment(self, comment: int, body: str, marker: str = "") -> None:
        """
        Replace the text of a comment.

        Args:
            comment: its id.
            body: Markdown, shortened if need be.
            marker: of the comment, which the new text has to begin with to be found again.

        Raises:
            GitHubError: with status 404 when somebody deleted the comment.
        """
        text = _marked(body, marker) if marker else github_limits.fit_comment(body)
        self._calls.send("PATCH", f"/issues/comments/{comment}", {"body": text})

    def find_comment(
        self, number: int, marker: str, *, since: datetime | None = None
    ) -> CommentRef | None:
        """
        The newest comment of our own that begins with a marker; other people's are not looked at.

        Where nobody knows yet who we are, any bot's comment counts as our own.

        Args:
            number: of the issue or pull request.
            marker: that it begins with.
            since: it was written or edited later; a long conversation is many requests.
        """
        after = since.astimezone(UTC) - timedelta(minutes=1) if since else None
        query = {"since": f"{after:%Y-%m-%dT%H:%M:%SZ}"} if after else None
        for found in self._calls.newest_first(f"/issues/{number}/comments", query):
            if self._has_marker(found, marker):
                return readable(github_answers.comment_ref, found)
        return None

    def comment_exists(self, comment: int) -> bool:
        """Whether a comment is still there."""
        return (
            self._calls.get_or_none(f"/issues/comments/{comment}", github_answers.comment_ref)
            is not None
        )

    def issue(self, title: str, body: str, marker: str, labels: Sequence[str] = ()) -> str:
        """
        Open an issue, or find the open one with the same marker.

        Returns:
            Its address.
        """

        def find() -> str | None:
            query = {"state": "open", "sort": "created", "direction": "desc"}
            for found in self._calls.pages("/issues", lambda item: item, query, enough=10):
                if not found.has("pull_request") and self._has_marker(found, marker):
                    return readable(lambda issue: issue.url("html_url"), found)
            return None

        content: dict[str, Json] = {"title": title[:MAX_TITLE], "body": _marked(body, marker)}
        if labels:
            content["labels"] = list(labels)
        return find() or self._calls.create(
            "/issues", content, lambda made: made.url("html_url"), find
        )

    # checks

    def open_check(
        self,
        name: str,
        head_sha: str,
        title: str,
        summary: str,
        external_id: str,
        details_url: str = "",
    ) -> int:
        """
        Begin a check run on a commit, once.

        Args:
            name: shown in the list of checks.
            head_sha: the commit.
            title: one line.
            summary: Markdown, shortened if need be.
            external_id: what the check is found by when an answer is lost.
            details_url: where to read more.

        Returns:
            Its id.
        """
        content: dict[str, Json] = {
            "name": name,
            "head_sha": head_sha,
            "status": "in_progress",
            "external_id": external_id,
            "output": {"title": title, "summary": github_limits.fit_bytes(summary)},
        }
        if details_url:
            content["details_url"] = details_url

        def find() -> int | None:
            return self.find_check(name, head_sha, external_id)

        return self._calls.create("/check-runs", content, lambda made: made.id("id"), find)

    def find_check(self, name: str, head_sha: str, external_id: str) -> int | None:
        """The check run of a commit that was begun under a name and an id of ours."""
        path = f"/commits/{head_sha}/check-runs"
        query = {"check_name": name, "filter": "all"}
        for check in self._calls.pages(path, lambda item: item, query, within="check_runs"):
            if check.value.get("external_id") == external_id:
                return readable(lambda run: run.id("id"), check)
        return None

    def update_check(
        self,
        check: int,
        *,
        title: str,
        summary: str,
        text: str = "",
        status: str | None = None,
        conclusion: str | None = None,
        annotations: Sequence[Annotation] = (),
    ) -> None:
        """
        Change a check run; annotations are added to those it has, 50 a request.

        An answer that was lost is asked for again, which may show annotations twice and no worse.

        Args:
            check: its id.
            title: one line.
            summary: Markdown, shortened if need be.
            text: more Markdown, shortened if need be.
            status: queued, in_progress or completed.
            conclusion: success, failure, neutral, …; makes it completed, with the last request.
            annotations: remarks on lines.
        """
        output: dict[str, Json] = {"title": title, "summary": github_limits.fit_bytes(summary)}
        if text:
            output["text"] = github_limits.fit_bytes(text)
        state: dict[str, Json] = {"status": status} if status else {}
        if conclusion:
            state = {"status": "completed", "conclusion": conclusion}
        batches = _batches(annotations)
        for number, batch in enumerate(batches, 1):
            content: dict[str, Json] = {
                "output": output | ({"annotations": batch} if batch else {})
            }
            content |= state if number == len(batches) else {}
            self._calls.send("PATCH", f"/check-runs/{check}", content)

    # workflows

    def cancel_workflow(self, run: int) -> bool:
        """Ask a run of a workflow to end; False when it was over or unknown."""
        try:
            self._calls.send("POST", f"/actions/runs/{run}/cancel", repeat=True)
        except GitHubError as exc:
            if exc.status in {404, 409}:
                return False
            raise
        return True

    def jobs(self, run: int) -> list[Job]:
        """Jobs of the last attempt of a workflow's run."""
        path = f"/actions/runs/{run}/jobs"
        return list(
            self._calls.pages(path, github_answers.job, {"filter": "latest"}, within="jobs")
        )

    # who we are, and what is sent

    def _own_comment(self, made: Fields) -> CommentRef:
        if made.has("user"):
            self._own_id = made.object("user").id("id")
        return github_answers.comment_ref(made)

    def _has_marker(self, written: Fields, marker: str) -> bool:
        """Whether we wrote this; people may write what they like, so nothing here is an error."""
        text, author = written.value.get("body"), written.value.get("user")
        if not isinstance(text, str) or not isinstance(author, dict):
            return False
        if not text.lstrip().startswith(marker):
            return False
        if not self._own_id:
            if author.get("type") == "Bot":
                return True
            if self._own_id is None:  # a job's token has no user: asked once, it stays at 0
                self._own_id = self._calls.user_id() or 0
        return bool(self._own_id) and author.get("id") == self._own_id

    def _send(
        self, verb: str, path: str, query: Query | None, body: Json
    ) -> tuple[int, Mapping[str, str], str]:
        self.requests += 1
        if self._requester is None:
            self._requester = wire.requester(self._api_url, self._token, self._timeout_s)
        return wire.sent(self._requester, verb, path, query, self._without_secrets(body))

    def _without_secrets(self, value: Json) -> Json:
        """What is said in public holds no token, wherever it may have come from."""
        if isinstance(value, str):
            return redact(value, [self._token]) if self._token else value
        if isinstance(value, Mapping):
            return {key: self._without_secrets(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._without_secrets(item) for item in value]
        return value


def _marked(body: str, marker: str) -> str:
    """A comment's text that begins with its marker and is no longer than GitHub takes."""
    if not _MARKER.fullmatch(marker) or "--" in marker[4:-3]:
        raise ValueError(f"got {marker[:80]!r}, expected <!-- … -->")
    whole = body if body.startswith(marker) else f"{marker}\n{body}"
    return github_limits.fit_comment(whole)


def _batches(annotations: Sequence[Annotation]) -> list[list[Json]]:
    """At most 50 each; one without any where there are none."""
    bodies: list[Json] = [annotation.body() for annotation in annotations]
    starts = range(0, max(1, len(bodies)), MAX_ANNOTATIONS)
    return [bodies[start : start + MAX_ANNOTATIONS] for start in starts]
