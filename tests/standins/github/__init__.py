"""
A GitHub for tests: API and git on a real socket, with people, rules, limits and faults.

    with GitHubServer(tmp_path / "github") as hub:
        author = hub.user("octocat", role="write")
        hub.push("topic", {"a.txt": "a"}, "Add a file")
        pull = hub.open_pull("topic", by=author)

Modules: `state` what it knows, `bare` its git repositories, `story` what tests tell it, `events`
what it tells workflows, `shapes*` JSON as GitHub writes it, `api*` operations, `githttp` git over
HTTP, `openapi` GitHub's own description as the judge, `faults` what goes wrong, `server` the
socket.
"""

from __future__ import annotations

from tests.standins.github.bare import Special
from tests.standins.github.server import GitHubServer
from tests.standins.github.state import (
    App,
    Check,
    Comment,
    Issue,
    Job,
    Pull,
    Repository,
    Token,
    User,
)

__all__ = [
    "App", "Check", "Comment", "GitHubServer", "Issue", "Job", "Pull", "Repository", "Special",
    "Token", "User",
]  # fmt: skip
