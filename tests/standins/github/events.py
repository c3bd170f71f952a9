"""What the stand-in tells workflows: events as GitHub sends them, and the variables of a job."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from tests.standins.github.shapes import Shapes
from tests.standins.github.shapes_pulls import GitShapes
from tests.standins.github.state import (
    ACTIONS_BOT,
    Comment,
    Object,
    Pull,
    Repository,
    User,
)

# what a webhook says of a repository, and pull requests of the API do not
_MERGING: Object = {
    "allow_auto_merge": False, "allow_merge_commit": True, "allow_rebase_merge": True,
    "allow_squash_merge": True, "allow_update_branch": False, "delete_branch_on_merge": False,
}  # fmt: skip


class Events:
    """The part of the stand-in that speaks to workflows."""

    main: Repository
    shapes: Shapes
    url: str

    @abstractmethod
    def job_folder(self) -> Path:
        """An empty folder for the files of a job."""

    @abstractmethod
    def next_id(self, kind: str, first: int) -> int:
        """Another number of a kind."""

    # --- events ---------------------------------------------------------------------------------

    def event(
        self, name: str, *, action: str = "created", sender: User | None = None,
        comment: Comment | None = None, pull: Pull | None = None,
    ) -> Object:  # fmt: skip
        """
        The payload of an event.

        Args:
            name: issue_comment or pull_request.
            action: what happened to it.
            sender: who did it; by default who wrote the comment, or opened the pull request.
            comment: for issue_comment.
            pull: for pull_request.
        """
        if name == "issue_comment":
            assert comment is not None
            return self.comment_event(comment, action, sender)
        if name == "pull_request":
            assert pull is not None
            return self.pull_event(pull, action, sender)
        raise ValueError(f"{name}: no such event here")

    def comment_event(
        self, comment: Comment, action: str = "created", sender: User | None = None
    ) -> Object:
        """A comment was created, edited or deleted."""
        payload = {
            "action": action,
            "issue": self.shapes.issue(comment.issue),
            "comment": self.shapes.comment(comment),
            **self._context(comment.issue.repository, sender or comment.user),
        }
        if action == "edited":
            payload["changes"] = {"body": {"from": "before"}}
        return payload

    def pull_event(
        self, pull: Pull, action: str = "opened", sender: User | None = None, before: str = ""
    ) -> Object:
        """A pull request was opened, pushed to (`synchronize`), closed, …."""
        payload = {
            "action": action,
            "number": pull.number,
            "pull_request": GitShapes(self.shapes).whole_pull(pull),
            **self._context(pull.repository, sender or pull.user),
        }
        if action == "synchronize":
            payload |= {"before": before or "0" * 40, "after": pull.head_sha}
        return payload

    def dispatch_event(
        self, command: str = "", *, sender: User, payload: Object | None = None,
        event_type: str = "rpac", ref: str | None = None,
    ) -> Object:  # fmt: skip
        """`workflow_dispatch` with a command; with a payload, `repository_dispatch`."""
        branch = self.main.default_branch
        context = self._context(self.main, sender)
        if payload is not None:
            return {
                "action": event_type, "branch": branch, "client_payload": payload, **context,
                "installation": {"id": 90001, "node_id": "I_90001"},
            }  # fmt: skip
        return {
            "inputs": {"command": command}, "ref": ref or f"refs/heads/{branch}",
            "workflow": ".github/workflows/rpac.yml", **context,
        }  # fmt: skip

    def schedule_event(self, cron: str = "17 */2 * * *") -> Object:
        """The timer."""
        context = self._context(self.main, self.main.owner)
        del context["sender"]
        return {"schedule": cron, "workflow": ".github/workflows/rpac-upkeep.yml", **context}

    def push_event(self, branch: str, before: str, after: str, sender: User) -> Object:
        """Somebody pushed."""
        return {
            "ref": f"refs/heads/{branch}", "before": before, "after": after, "created": False,
            "deleted": False, "forced": False, "base_ref": None, "commits": [],
            "head_commit": None, "pusher": {"name": sender.login, "email": None},
            **self._context(self.main, sender),
        }  # fmt: skip

    def _context(self, repository: Repository, sender: User) -> Object:
        known: Object = {
            "repository": {
                **self.shapes.repository(repository), **_MERGING,
            },
            "sender": self.shapes.user(sender),
        }  # fmt: skip
        if repository.owner.type == "Organization":
            address = f"{self.shapes.api}/orgs/{repository.owner.login}"
            known["organization"] = {
                "login": repository.owner.login, "id": repository.owner.id,
                "node_id": f"O_{repository.owner.id}", "url": address,
                "repos_url": f"{address}/repos", "events_url": f"{address}/events",
                "hooks_url": f"{address}/hooks", "issues_url": f"{address}/issues",
                "members_url": f"{address}/members{{/member}}",
                "public_members_url": f"{address}/public_members{{/member}}",
                "avatar_url": f"{self.url}/avatars/u/{repository.owner.id}?v=4",
                "description": None,
            }  # fmt: skip
        return known

    # --- variables ------------------------------------------------------------------------------

    def environment(
        self, event_name: str, payload: Mapping[str, object], token: str = "",
        workspace: Path | None = None, *, job: str = "decide",
    ) -> dict[str, str]:  # fmt: skip
        """
        The variables that Actions sets for a job; the event is written to its file.

        Args:
            event_name: as in GITHUB_EVENT_NAME.
            payload: of the event.
            token: GITHUB_TOKEN; "" where the job has none in its environment.
            workspace: of the job, by default an empty folder.
            job: its name in the workflow.
        """
        folder, home = self.job_folder(), self.main
        names = ("output", "step_summary", "env", "path", "state")
        for name in names:
            (folder / name).touch()
        (folder / "event.json").write_text(json.dumps(payload))
        (folder / "temp").mkdir()
        place = workspace or folder / "workspace"
        place.mkdir(parents=True, exist_ok=True)
        ref, sha = self._ref(event_name, payload)
        actor = self._actor(payload)
        file = "rpac-validate.yml" if event_name == "pull_request" else "rpac.yml"
        file = "rpac-upkeep.yml" if event_name == "schedule" else file
        main = f"refs/heads/{home.default_branch}"
        variables = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event_name,
            "GITHUB_EVENT_PATH": str(folder / "event.json"),
            "GITHUB_API_URL": self.shapes.api,
            "GITHUB_SERVER_URL": self.url,
            "GITHUB_GRAPHQL_URL": f"{self.url}/api/graphql",
            "GITHUB_REPOSITORY": home.full_name,
            "GITHUB_REPOSITORY_ID": str(home.id),
            "GITHUB_REPOSITORY_OWNER": home.owner.login,
            "GITHUB_REPOSITORY_OWNER_ID": str(home.owner.id),
            **{f"GITHUB_{name.upper()}": str(folder / name) for name in names},
            "GITHUB_RUN_ID": str(self.next_id("run", 20_000_000_001)),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_NUMBER": str(self.next_id("run number", 1)),
            "GITHUB_WORKFLOW": "rpac",
            "GITHUB_WORKFLOW_REF": f"{home.full_name}/.github/workflows/{file}@{main}",
            "GITHUB_WORKFLOW_SHA": home.bare.ref(main) or "",
            "GITHUB_SHA": sha,
            "GITHUB_REF": ref,
            "GITHUB_REF_NAME": ref.removeprefix("refs/heads/").removeprefix("refs/"),
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_ACTOR": actor.login,
            "GITHUB_ACTOR_ID": str(actor.id),
            "GITHUB_TRIGGERING_ACTOR": actor.login,
            "GITHUB_JOB": job,
            "GITHUB_WORKSPACE": str(place),
            "RUNNER_TEMP": str(folder / "temp"),
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64",
            "RUNNER_NAME": "stand-in",
            "RUNNER_ENVIRONMENT": "github-hosted",
        }
        return variables | ({"GITHUB_TOKEN": token} if token else {})

    def _ref(self, event_name: str, payload: Mapping[str, object]) -> tuple[str, str]:
        pull = payload.get("pull_request")
        if event_name == "pull_request" and isinstance(pull, dict):
            return f"refs/pull/{pull['number']}/merge", pull["head"]["sha"]
        ref = payload.get("ref")
        ref = ref if isinstance(ref, str) else f"refs/heads/{self.main.default_branch}"
        return ref, self.main.bare.ref(ref) or ""

    def _actor(self, payload: Mapping[str, object]) -> User:
        sender = payload.get("sender")
        if isinstance(sender, dict) and "id" in sender:
            return User(sender["id"], sender["login"], sender.get("type", "User"))
        return ACTIONS_BOT
