"""JSON as GitHub writes it: pull requests, commits, files, branches, refs."""

from __future__ import annotations

import base64
import hashlib
from typing import Literal
from urllib.parse import quote

from tests.standins.github.bare import Change, Commit, Entry
from tests.standins.github.shapes import Shapes, time
from tests.standins.github.state import Object, Pull, Repository, User


class GitShapes:
    """Shapes of what lives in git."""

    def __init__(self, shapes: Shapes) -> None:
        self.base = shapes

    # --- pull requests --------------------------------------------------------------------------

    def pull(self, pull: Pull) -> Object:
        """A pull request, as it stands in lists."""
        root, page = self.base.root(pull.repository), self.base.issue_page(pull)
        address, issue = f"{root}/pulls/{pull.number}", f"{root}/issues/{pull.number}"
        head_sha = pull.head_sha
        links = {
            "self": address, "html": page, "issue": issue, "comments": f"{issue}/comments",
            "review_comments": f"{address}/comments",
            "review_comment": f"{root}/pulls/comments{{/number}}",
            "commits": f"{address}/commits", "statuses": f"{root}/statuses/{head_sha}",
        }  # fmt: skip
        return {
            "url": address,
            "id": pull.id,
            "node_id": f"PR_{pull.id}",
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "issue_url": issue,
            "number": pull.number,
            "state": pull.state,
            "locked": pull.locked,
            "title": pull.title,
            "user": self.base.user(pull.user),
            "body": pull.body,
            "created_at": time(pull.created_at),
            "updated_at": time(pull.updated_at),
            "closed_at": time(pull.closed_at),
            "merged_at": time(pull.merged_at),
            "merge_commit_sha": pull.merge_commit_sha,
            "assignee": None,
            "assignees": [],
            "requested_reviewers": [],
            "requested_teams": [],
            "labels": [self.base.label(pull.repository, name) for name in pull.labels],
            "milestone": None,
            "draft": pull.draft,
            "commits_url": links["commits"],
            "review_comments_url": links["review_comments"],
            "review_comment_url": links["review_comment"],
            "comments_url": links["comments"],
            "statuses_url": links["statuses"],
            "head": self._end(pull.head_owner, pull.head_ref, head_sha, pull.head_repository),
            "base": self._end(pull.repository.owner, pull.base_ref, pull.base_sha, pull.repository),
            "_links": {name: {"href": link} for name, link in links.items()},
            "author_association": self.base.association(pull.repository, pull.user),
            "auto_merge": None,
            "active_lock_reason": None,
        }

    def whole_pull(self, pull: Pull) -> Object:
        """A pull request itself."""
        base, bare = pull.base_sha, pull.repository.bare
        head = pull.head_sha
        changes = bare.changes(base, head)
        return {
            **self.pull(pull),
            "merged": pull.merged_at is not None,
            "mergeable": None,  # GitHub works it out later
            "rebaseable": None,
            "mergeable_state": "unknown",
            "merged_by": self.base.user(pull.merged_by) if pull.merged_by else None,
            "comments": len(pull.comments),
            "review_comments": 0,
            "maintainer_can_modify": pull.maintainer_can_modify,
            "commits": bare.commits_between(base, head),
            "additions": sum(change.additions for change in changes),
            "deletions": sum(change.deletions for change in changes),
            "changed_files": len(changes),
        }

    def minimal_pull(self, pull: Pull) -> Object:
        """A pull request, as it stands in check runs."""
        home, ends = pull.repository, {}
        for name, ref, sha, repository in (
            ("head", pull.head_ref, pull.head_sha, pull.head_repository or home),
            ("base", pull.base_ref, pull.base_sha, home),
        ):
            where = {"id": repository.id, "url": self.base.root(repository),
                     "name": repository.name}  # fmt: skip
            ends[name] = {"ref": ref, "sha": sha, "repo": where}
        address = f"{self.base.root(home)}/pulls/{pull.number}"
        return {"id": pull.id, "number": pull.number, "url": address, **ends}

    def file(self, pull: Pull, change: Change) -> Object:
        """A file of a pull request."""
        repository, head = pull.head_repository or pull.repository, pull.head_sha
        page, path = self.base.page(repository), quote(change.path)
        shown = {
            "sha": change.sha,
            "filename": change.path,
            "status": change.status,
            "additions": change.additions,
            "deletions": change.deletions,
            "changes": change.additions + change.deletions,
            "blob_url": f"{page}/blob/{head}/{path}",
            "raw_url": f"{page}/raw/{head}/{path}",
            "contents_url": f"{self.base.root(repository)}/contents/{path}?ref={head}",
        }
        return shown | ({"previous_filename": change.previous} if change.previous else {})

    def _end(self, owner: User, ref: str, sha: str, repository: Repository | None) -> Object:
        return {
            "label": f"{owner.login}:{ref}",
            "ref": ref,
            "sha": sha,
            "user": self.base.user(owner),
            "repo": self.base.repository(repository) if repository else None,
        }

    # --- commits, refs, files -------------------------------------------------------------------

    def commit(self, repository: Repository, commit: Commit) -> Object:
        """A commit."""
        root, page = self.base.root(repository), self.base.page(repository)
        people = {}
        for role, person in (("author", commit.author), ("committer", commit.committer)):
            people[role] = {"name": person[0], "email": person[1], "date": person[2]}
        return {
            "sha": commit.sha,
            "node_id": f"C_{commit.sha}",
            "commit": {
                **people,
                "message": commit.message,
                "tree": {"sha": commit.tree, "url": f"{root}/git/trees/{commit.tree}"},
                "url": f"{root}/git/commits/{commit.sha}",
                "comment_count": 0,
                "verification": {
                    "verified": False, "reason": "unsigned", "signature": None, "payload": None,
                    "verified_at": None,
                },
            },
            "url": f"{root}/commits/{commit.sha}",
            "html_url": f"{page}/commit/{commit.sha}",
            "comments_url": f"{root}/commits/{commit.sha}/comments",
            "author": None,
            "committer": None,
            "parents": [
                {"sha": sha, "url": f"{root}/commits/{sha}", "html_url": f"{page}/commit/{sha}"}
                for sha in commit.parents
            ],
        }  # fmt: skip

    def branch(self, repository: Repository, name: str, commit: Commit) -> Object:
        """A branch with what its classic protection requires."""
        contexts = repository.required.get(name)
        address = f"{self.base.root(repository)}/branches/{quote(name, safe='')}"
        return {
            "name": name,
            "commit": self.commit(repository, commit),
            "_links": {"self": address, "html": f"{self.base.page(repository)}/tree/{name}"},
            "protected": contexts is not None or bool(repository.rules.get(name)),
            "protection": {
                "enabled": contexts is not None,
                "required_status_checks": {
                    "enforcement_level": "off" if not contexts else "non_admins",
                    "contexts": contexts or [],
                    "checks": [{"context": name, "app_id": None} for name in contexts or []],
                },
            },
            "protection_url": f"{address}/protection",
        }

    def ref(self, repository: Repository, name: str, sha: str) -> Object:
        """A ref."""
        root = self.base.root(repository)
        return {
            "ref": name,
            "node_id": f"REF_{hashlib.sha256(name.encode()).hexdigest()[:16]}",
            "url": f"{root}/git/{name}",
            "object": {"type": "commit", "sha": sha, "url": f"{root}/git/commits/{sha}"},
        }

    def entry(self, repository: Repository, entry: Entry, ref: str) -> Object:
        """An entry of a folder, as it stands in the folder's list."""
        root, page, path = self.base.root(repository), self.base.page(repository), quote(entry.path)
        kind = _kind(entry)
        view = "tree" if kind == "dir" else "blob"
        shown: Object = {
            "name": entry.path.rpartition("/")[2],
            "path": entry.path,
            "sha": entry.sha,
            "size": entry.size,
            "url": f"{root}/contents/{path}?ref={ref}",
            "html_url": f"{page}/{view}/{ref}/{path}",
            "git_url": f"{root}/git/{view}s/{entry.sha}",
            "download_url": f"{page}/raw/{ref}/{path}" if kind == "file" else None,
            "type": kind,
        }
        links = {"self": shown["url"], "git": shown["git_url"], "html": shown["html_url"]}
        return shown | {"_links": links}

    def content(self, repository: Repository, entry: Entry, ref: str, raw: bytes) -> Object:
        """A file, a link or a submodule itself."""
        shown = self.entry(repository, entry, ref)
        if shown["type"] == "symlink":
            return shown | {"target": raw.decode(errors="replace")}
        if shown["type"] == "submodule":
            return shown | {"submodule_git_url": None}
        encoded = base64.encodebytes(raw).decode()
        return shown | {"encoding": "base64", "content": encoded}


def _kind(entry: Entry) -> Literal["dir", "file", "symlink", "submodule"]:
    if entry.type == "tree":
        return "dir"
    if entry.mode == "120000":
        return "symlink"
    return "submodule" if entry.type == "commit" else "file"
