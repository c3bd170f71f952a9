"""A repository on GitHub whose runs go to clouds, and what its people and its timer do there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rpac_ci.clouds.aws import driver as aws_driver
from rpac_ci.clouds.azure import driver as azure_driver
from rpac_ci.storage import Storage
from tests.conftest import ROOT
from tests.integration.lab import QUICK_FILES, Lab
from tests.standins import aws, azure, waiting
from tests.standins.aws import AwsStandin
from tests.standins.azure import AzureStandin
from tests.standins.github import GitHubServer
from tests.standins.oidc import Issuer
from tests.standins.runner import Upkeep, Workflow

BUDGETS = "\nbudgets: {run: 5 USD, month: 50 USD}\nauto_approve_below: 2 USD\n"
Account: TypeAlias = AwsStandin | AzureStandin
Serve: TypeAlias = Callable[..., AbstractContextManager[Account]]
Files: TypeAlias = dict[str, str | bytes | None]


@contextmanager
def accounts(folder: Path, patch: pytest.MonkeyPatch, *names: str) -> Iterator[dict[str, Account]]:
    """Accounts on clouds by name, with one registry; this process may enter them."""
    with ExitStack() as stack:
        (folder / "registry").mkdir()
        repository = f"{stack.enter_context(aws.registry(folder / 'registry'))}/rpac"
        found: dict[str, Account] = {}
        for name in names:
            (folder / name).mkdir()
            serve: Serve = aws.serve if name == "aws" else azure.serve
            found[name] = stack.enter_context(
                serve(folder / name, docker=True, repository=repository)
            )
            for variable, value in found[name].environment.items():
                patch.setenv(variable, value)
        yield found
        for driver in (aws_driver, azure_driver):
            driver._shared.cache_clear()  # their servers are gone


class CloudLab(Lab):
    """A lab whose repository has accounts on clouds, and roles and identities to enter them."""

    def __init__(
        self, hub: GitHubServer, root: Path, issuer: Issuer, accounts: dict[str, Account],
        allowed: str,
    ) -> None:  # fmt: skip
        """
        Args:
            hub: GitHub.
            root: for its files.
            issuer: of the jobs' tokens.
            accounts: by the name of the cloud.
            allowed: clouds, that of comments without a word about it first.
        """
        super().__init__(hub, root)
        self.issuer, self.accounts = issuer, accounts
        self.runner.cloud = dict(issuer.environment)
        for account in accounts.values():
            self.runner.cloud |= account.of_jobs
            if isinstance(account, AzureStandin):
                account.api.entra.issuer = issuer
        clouds = json.dumps({name: dict(account.site) for name, account in accounts.items()})
        settings = f"schema: rpac/site/1\nallow: {{clouds: [{allowed}]}}\nclouds: {clouds}\n"
        hub.push("main", {"rpac.yaml": settings + BUDGETS}, "Runs may go to clouds")

    def until(self, done: Callable[[Upkeep], bool]) -> Upkeep:
        """The timer, again and again; here it does not wait for an hour."""

        def look() -> Upkeep | None:
            found = self.runner.upkeep()
            return found if done(found) else None

        found = waiting.until(look, limit_s=300)
        assert found is not None
        return found

    def last_words(self, place: Any) -> str:
        """What the bot says of the newest run of a place once it is over."""
        self.until(lambda _: self.over(place))
        return self.answers(place)[-1]

    def over(self, place: Any) -> bool:
        """Whether the last comment is about a run that goes on no longer."""
        return "is being reproduced" not in self.answers(place)[-1]

    def of_the_log(self, name: str, run: str = "") -> bytes:
        """A document in the log of a run, by default of the only one."""
        (path,) = [p for p in self.reports("rpac/log") if p.endswith(f"{run}/{name}")]
        return self.hub.files("rpac/log")[path]

    def record(self, run: str = "") -> dict[str, Any]:
        """The record of a run, by default of the only one."""
        found: dict[str, Any] = json.loads(self.of_the_log("record.json", run))
        return found

    def submitted(self, done: Workflow) -> str:
        """A run that its job has left on its way."""
        assert done.decide.code == 0, done.decide.err
        assert self.runner.submitted is not None, done.decide.out
        assert self.runner.submitted.code == 0, self.runner.submitted.err
        assert done.concluded[0].code == 0, done.concluded[0].err
        return done.run

    def approved(self, pull: Any, asked: Workflow) -> Workflow:
        """Another cloud than the repository's own waits for somebody's word."""
        assert asked.runs == [], asked.decide.out
        name = self.answers(pull)[-1].split("/approve ")[1].split()[0]
        return self.says(self.maintainer, pull, f"/approve {name}")

    def nothing_is_left(self) -> None:
        """Neither in a store nor on a cloud, once the stores have learned what is in the log."""
        for cloud, step in self.runner.upkeep().looked.items():
            assert "no runs are under way, and nothing is left over" in step.out, cloud
        for account in self.accounts.values():
            store = Storage(account.site["store"], region=account.site.get("region"))
            assert list(store.names("open/")) == []
        swept = self.clone("swept")("sweep", "--dry-run")
        assert swept.out.strip() == "nothing is left over", swept.out + swept.err


def files(engine: str, *, more: str = "", main: str | None = None) -> Files:
    """An experiment for an engine."""
    path = "experiments/quick"
    yaml = QUICK_FILES[f"{path}/experiment.yaml"].replace("engine: process", f"engine: {engine}")
    found: Files = {**QUICK_FILES}
    if engine in ("torchrun", "horovod"):  # of which another number is another experiment
        yaml += "resources: {nodes: 2}\n"
    if engine != "process":
        yaml += "environment: {lock: requirements.lock}\n"
        lock = ROOT / "images" / engine / "requirements.lock"
        found[f"{path}/requirements.lock"] = lock.read_text()
    if main is not None:
        found[f"{path}/main.py"] = main
    return {**found, f"{path}/experiment.yaml": yaml + more}


SLEEPS = """\
import json, os, pathlib, time
time.sleep(300)
"""
