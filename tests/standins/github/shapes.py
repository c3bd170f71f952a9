"""JSON as GitHub writes it: people, repositories, issues, pull requests, comments, reactions."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import overload

from tests.standins.github.state import (
    RANK,
    App,
    Comment,
    Issue,
    Object,
    Pull,
    Reaction,
    Repository,
    State,
    User,
)

EMOJI = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_USER_LINKS = {
    "followers_url": "/followers", "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}", "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions", "organizations_url": "/orgs", "repos_url": "/repos",
    "events_url": "/events{/privacy}", "received_events_url": "/received_events",
}  # fmt: skip
_REPOSITORY_LINKS = {
    "forks_url": "/forks", "keys_url": "/keys{/key_id}", "teams_url": "/teams",
    "collaborators_url": "/collaborators{/collaborator}", "hooks_url": "/hooks",
    "issue_events_url": "/issues/events{/number}", "events_url": "/events",
    "assignees_url": "/assignees{/user}", "branches_url": "/branches{/branch}",
    "tags_url": "/tags", "blobs_url": "/git/blobs{/sha}", "git_tags_url": "/git/tags{/sha}",
    "git_refs_url": "/git/refs{/sha}", "trees_url": "/git/trees{/sha}",
    "statuses_url": "/statuses/{sha}", "languages_url": "/languages",
    "stargazers_url": "/stargazers", "contributors_url": "/contributors",
    "subscribers_url": "/subscribers", "subscription_url": "/subscription",
    "commits_url": "/commits{/sha}", "git_commits_url": "/git/commits{/sha}",
    "comments_url": "/comments{/number}", "issue_comment_url": "/issues/comments{/number}",
    "contents_url": "/contents/{+path}", "compare_url": "/compare/{base}...{head}",
    "merges_url": "/merges", "archive_url": "/{archive_format}{/ref}",
    "downloads_url": "/downloads", "issues_url": "/issues{/number}",
    "pulls_url": "/pulls{/number}", "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "labels_url": "/labels{/name}", "releases_url": "/releases{/id}",
    "deployments_url": "/deployments",
}  # fmt: skip


@overload
def time(moment: datetime) -> str: ...
@overload
def time(moment: None) -> None: ...
def time(moment: datetime | None) -> str | None:
    """A point in time, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


class Shapes:
    """Shapes with the addresses of one server."""

    def __init__(self, state: State, url: str) -> None:
        self.state, self.url, self.api = state, url, f"{url}/api/v3"

    # --- people ---------------------------------------------------------------------------------

    def user(self, user: User) -> Object:
        """An account, as it stands in other things."""
        address = f"{self.api}/users/{user.login}"
        return {
            "login": user.login,
            "id": user.id,
            "node_id": f"U_{user.id}",
            "avatar_url": f"{self.url}/avatars/u/{user.id}?v=4",
            "gravatar_id": "",
            "url": address,
            "html_url": f"{self.url}/{user.login}",
            **{name: address + path for name, path in _USER_LINKS.items()},
            "type": user.type,
            "user_view_type": "public",
            "site_admin": False,
        }

    def whole_user(self, user: User) -> Object:
        """An account, as GET /user shows it to others."""
        return {
            **self.user(user),
            "name": None, "company": None, "blog": None, "location": None, "email": None,
            "hireable": None, "bio": None, "public_repos": 0, "public_gists": 0,
            "followers": 0, "following": 0,
            "created_at": "2020-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
        }  # fmt: skip

    def app(self, app: App) -> Object:
        """A GitHub App."""
        owner = User(9919, "github", "Organization")
        return {
            "id": app.id,
            "slug": app.slug,
            "node_id": f"A_{app.id}",
            "owner": self.user(owner),
            "name": app.name,
            "description": None,
            "external_url": f"{self.url}/apps/{app.slug}",
            "html_url": f"{self.url}/apps/{app.slug}",
            "created_at": "2018-07-30T09:30:17Z",
            "updated_at": "2026-01-01T00:00:00Z",
            "permissions": {"checks": "write", "metadata": "read"},
            "events": [],
        }

    # --- repositories ---------------------------------------------------------------------------

    def root(self, repository: Repository) -> str:
        """The API's address of a repository."""
        return f"{self.api}/repos/{repository.full_name}"

    def page(self, repository: Repository) -> str:
        """The address people open."""
        return f"{self.url}/{repository.full_name}"

    def minimal_repository(self, repository: Repository) -> Object:
        """A repository, as it stands in a run of a workflow."""
        return {
            "id": repository.id,
            "node_id": f"R_{repository.id}",
            "name": repository.name,
            "full_name": repository.full_name,
            "private": repository.private,
            "owner": self.user(repository.owner),
            "html_url": self.page(repository),
            "description": "Reproducible experiments",
            "fork": repository.parent is not None,
            "url": self.root(repository),
            **{name: self.root(repository) + path for name, path in _REPOSITORY_LINKS.items()},
        }

    def repository(self, repository: Repository) -> Object:
        """A repository, as it stands in pull requests and events."""
        address, forks = self.page(repository), self._forks(repository)
        open_issues = sum(issue.state == "open" for issue in repository.issues.values())
        host = self.url.partition("://")[2]
        return {
            **self.minimal_repository(repository),
            "created_at": time(repository.created_at),
            "updated_at": time(repository.created_at),
            "pushed_at": time(repository.created_at),
            "git_url": f"git://{host}/{repository.full_name}.git",
            "ssh_url": f"git@{host}:{repository.full_name}.git",
            "clone_url": f"{address}.git",
            "svn_url": address,
            "homepage": None,
            "size": 108,
            "stargazers_count": 0,
            "watchers_count": 0,
            "language": "Python",
            "has_issues": True,
            "has_projects": True,
            "has_downloads": True,
            "has_wiki": False,
            "has_pages": False,
            "has_discussions": False,
            "forks_count": forks,
            "mirror_url": None,
            "archived": repository.archived,
            "disabled": False,
            "open_issues_count": open_issues,
            "license": None,
            "allow_forking": True,
            "is_template": False,
            "web_commit_signoff_required": False,
            "topics": [],
            "visibility": "private" if repository.private else "public",
            "forks": forks,
            "open_issues": open_issues,
            "watchers": 0,
            "default_branch": repository.default_branch,
            "custom_properties": {},
        }

    def whole_repository(self, repository: Repository, rights: Object | None) -> Object:
        """A repository itself; `rights` are those of who asks."""
        shown = {
            **self.repository(repository),
            "network_count": self._forks(repository),
            "subscribers_count": 1,
        }
        if rights is not None:
            shown["permissions"] = rights
        if repository.owner.type == "Organization":
            shown["organization"] = self.user(repository.owner)
        if repository.parent:
            shown["parent"] = shown["source"] = self.repository(repository.parent)
        return shown

    def permission(self, repository: Repository, user: User, folded: str, role: str) -> Object:
        """The role of somebody."""
        return {
            "permission": folded,
            "role_name": role,
            "user": {
                **self.user(user), "role_name": role, "permissions": rights_of(folded, role),
            },
        }  # fmt: skip

    # --- conversations --------------------------------------------------------------------------

    def issue(self, issue: Issue) -> Object:
        """An issue, or a pull request as an issue."""
        address = f"{self.root(issue.repository)}/issues/{issue.number}"
        page = self.issue_page(issue)
        shown = {
            "url": address,
            "repository_url": self.root(issue.repository),
            "labels_url": f"{address}/labels{{/name}}",
            "comments_url": f"{address}/comments",
            "events_url": f"{address}/events",
            "html_url": page,
            "id": issue.id,
            "node_id": f"I_{issue.id}",
            "number": issue.number,
            "title": issue.title,
            "user": self.user(issue.user),
            "labels": [self.label(issue.repository, name) for name in issue.labels],
            "state": issue.state,
            "locked": issue.locked,
            "assignee": None,
            "assignees": [],
            "milestone": None,
            "comments": len(issue.comments),
            "created_at": time(issue.created_at),
            "updated_at": time(issue.updated_at),
            "closed_at": time(issue.closed_at),
            "author_association": self.association(issue.repository, issue.user),
            "active_lock_reason": None,
            "body": issue.body,
            "reactions": self.rollup(address, issue.reactions),
            "timeline_url": f"{address}/timeline",
            "performed_via_github_app": self.app(issue.app) if issue.app else None,
            "state_reason": "completed" if issue.state == "closed" else None,
        }
        if isinstance(issue, Pull):
            shown["draft"] = issue.draft
            shown["pull_request"] = {
                "url": f"{self.root(issue.repository)}/pulls/{issue.number}",
                "html_url": page, "diff_url": f"{page}.diff", "patch_url": f"{page}.patch",
                "merged_at": time(issue.merged_at),
            }  # fmt: skip
        return shown

    def issue_page(self, issue: Issue) -> str:
        """The address people open."""
        kind = "pull" if issue.is_pull else "issues"
        return f"{self.page(issue.repository)}/{kind}/{issue.number}"

    def comment(self, comment: Comment) -> Object:
        """A comment."""
        repository = comment.issue.repository
        address = f"{self.root(repository)}/issues/comments/{comment.id}"
        return {
            "url": address,
            "html_url": f"{self.issue_page(comment.issue)}#issuecomment-{comment.id}",
            "issue_url": f"{self.root(repository)}/issues/{comment.issue.number}",
            "id": comment.id,
            "node_id": f"IC_{comment.id}",
            "user": self.user(comment.user),
            "created_at": time(comment.created_at),
            "updated_at": time(comment.updated_at),
            "author_association": self.association(repository, comment.user),
            "body": comment.body,
            "reactions": self.rollup(address, comment.reactions),
            "performed_via_github_app": self.app(comment.app) if comment.app else None,
        }

    def reaction(self, reaction: Reaction) -> Object:
        """An emoji of somebody."""
        return {
            "id": reaction.id,
            "node_id": f"REA_{reaction.id}",
            "user": self.user(reaction.user),
            "content": reaction.content,
            "created_at": time(reaction.created_at),
        }

    def rollup(self, address: str, reactions: list[Reaction]) -> Object:
        """How often each emoji stands on something."""
        counts = Counter(reaction.content for reaction in reactions)
        return {
            "url": f"{address}/reactions",
            "total_count": len(reactions),
            **{name: counts[name] for name in EMOJI},
        }

    def label(self, repository: Repository, name: str) -> Object:
        """A label."""
        return {
            "id": 1 + sum(name.encode()),
            "node_id": f"L_{name}",
            "url": f"{self.root(repository)}/labels/{name}",
            "name": name,
            "color": "ededed",
            "default": False,
            "description": "",
        }

    def association(self, repository: Repository, user: User) -> str:
        """What GitHub calls somebody's relation; members of an organization may look like NONE."""
        if user is repository.owner:
            return "OWNER"
        standard = repository.roles.get(user.id, "none").rpartition(":")[2]
        if RANK.index(standard) >= RANK.index("triage"):
            return "COLLABORATOR"
        return "NONE"

    def _forks(self, repository: Repository) -> int:
        return sum(other.parent is repository for other in self.state.repositories.values())


def rights_of(folded: str, role: str) -> Object:
    """The flags that GitHub shows for a role."""
    known = role if role in RANK else folded
    rank = RANK.index(known)
    names = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain",
             "admin": "admin"}  # fmt: skip
    return {name: rank >= RANK.index(least) for name, least in names.items()}
