"""A repository on a stand-in GitHub, its people, and the machines that run its workflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpac_ci import api
from rpac_ci.conclude import conclude
from rpac_ci.driver import RunDriver
from rpac_ci.jobs import RunId
from rpac_ci.open_runs import start
from rpac_ci.workspace import Workspace
from tests.conftest import QUICK, QUICK_MAIN, git
from tests.integration.conftest import Terminal
from tests.standins.github import GitHubServer
from tests.standins.runner import Runner, Workflow

QUICK_FILES = {
    "experiments/quick/experiment.yaml": QUICK.format(name="quick"),
    "experiments/quick/main.py": QUICK_MAIN,
}


class Lab:
    """A repository on GitHub, its people, and the machines that run its workflows."""

    def __init__(self, hub: GitHubServer, root: Path) -> None:
        self.hub, self.root = hub, root
        self.runner = Runner(hub, root / "jobs")
        self.author = hub.user("octocat", role="write")
        self.maintainer = hub.user("maintainer", role="maintain")
        self.reader = hub.user("reader", role="read")

    def pull(
        self, files: dict[str, str | bytes | None] | None = None, branch: str = "topic"
    ) -> Any:
        """A pull request that changes files, by default one that adds an experiment."""
        self.hub.push(branch, files or dict(QUICK_FILES), "Add an experiment")
        return self.hub.open_pull(branch, by=self.author)

    def says(self, user: Any, place: Any, body: str) -> Workflow:
        """Somebody comments; everything that follows."""
        return self.runner.comment(place, user, body)

    def answers(self, place: Any) -> list[str]:
        """What the bot has said there."""
        return [c.body for c in self.hub.comments(place) if c.user.login.endswith("[bot]")]

    def reports(self, branch: str) -> set[str]:
        """Names of the files below reports/ on a branch, without the source."""
        found = self.hub.files(branch, "reports/")
        return {path for path in found if "/source/" not in path}

    def accepted_long_ago(self, experiment: str) -> None:
        """Somebody ran it on a laptop last year, accepted and pushed it."""
        rpac = self.clone("laptop")
        workspace = Workspace.open(rpac.root)
        planned = api.plan(experiment, repository=rpac.root)
        run = RunId("20250102T030405Z-00000001")
        start(workspace, planned, run=run, request={"via": "cli"}, commit=False)
        RunDriver(workspace, run).drive()
        conclude(workspace, run)
        assert rpac("accept", run, "--no-commit").code == 0
        environment = self.runner.environment("schedule", self.hub.schedule_event(), 1)
        basic = self.hub.basic(environment["GITHUB_TOKEN"])
        git(rpac.root, "config", "http.extraheader", basic)
        assert rpac("push").code == 0

    def clone(self, name: str = "clone") -> Terminal:
        """What somebody gets who clones the repository."""
        git(self.root, "clone", "--quiet", self.hub.clone_url, name)
        return Terminal(self.root / name)
