"""How jobs on GitHub enter clouds: which token, for whom, and for how long it is good."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpac_ci.bot.sign_in import signed_in
from rpac_ci.errors import CredentialsError, PolicyError
from rpac_ci.github.oidc import ENTRANCES
from rpac_ci.site_clouds import SiteClouds
from tests.standins import oidc
from tests.standins.oidc import Issuer

VALUES = {
    "RPAC_AWS_ROLE": "arn:aws:iam::123456789012:role/lab", "RPAC_AZURE_CLIENT_ID": "client",
    "RPAC_AZURE_TENANT_ID": "tenant",
}  # fmt: skip


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with oidc.serve() as found:
        yield found


@pytest.fixture
def job(issuer: Issuer, tmp_path: Path) -> dict[str, str]:
    """The environment of a job that may ask for a token."""
    return {**issuer.environment, **VALUES, "RUNNER_TEMP": str(tmp_path), "GITHUB_RUN_ID": "7"}


def test_every_cloud_that_settings_can_name_has_an_entrance() -> None:
    assert set(ENTRANCES) == set(SiteClouds.model_fields)


def test_on_aws_it_is_a_role_that_is_taken_on(job: dict[str, str], issuer: Issuer) -> None:
    with signed_in("aws", job):
        file = Path(job["AWS_WEB_IDENTITY_TOKEN_FILE"])
        found = oidc.claims(file.read_text())
        assert (found["aud"], found["sub"]) == ("sts.amazonaws.com", issuer.subject)
        assert job["AWS_ROLE_ARN"] == VALUES["RPAC_AWS_ROLE"]
        assert job["AWS_ROLE_SESSION_NAME"] == "rpac-7"
        assert "AZURE_CLIENT_ID" not in job


def test_on_azure_it_is_an_identity_of_a_tenant(job: dict[str, str], issuer: Issuer) -> None:
    with signed_in("azure", job):
        file = Path(job["AZURE_FEDERATED_TOKEN_FILE"])
        assert oidc.claims(file.read_text())["aud"] == "api://AzureADTokenExchange"
        assert (job["AZURE_CLIENT_ID"], job["AZURE_TENANT_ID"]) == ("client", "tenant")
        assert "AWS_ROLE_ARN" not in job


@pytest.mark.parametrize("cloud", ENTRANCES)
def test_nobody_else_can_read_the_token_and_it_goes_with_the_job(
    job: dict[str, str], cloud: str
) -> None:
    with signed_in(cloud, job):
        file = Path(job[ENTRANCES[cloud].file])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not file.parent.exists()


def test_a_fresh_token_lies_there_whenever_somebody_looks(
    job: dict[str, str], issuer: Issuer
) -> None:
    seen: set[str] = set()
    with signed_in("azure", job, renew_s=0.01):
        file, deadline = Path(job["AZURE_FEDERATED_TOKEN_FILE"]), time.monotonic() + 30
        while len(seen) < 3 and time.monotonic() < deadline:
            token = file.read_text()
            assert token in issuer.given  # never half of one
            seen.add(token)
        tries, issuer.status = issuer.tries, 500
        while issuer.tries < tries + 2 and time.monotonic() < deadline:
            os.sched_yield()
        asked, issuer.status = len(issuer.asked), 200
        while len(issuer.asked) == asked and time.monotonic() < deadline:
            os.sched_yield()
        assert len(issuer.asked) > asked, "what went wrong for a while was tried again"
    assert len(seen) >= 3
    assert not [one for one in threading.enumerate() if one.name == "rpac-sign-in"]


def test_outside_of_such_a_job_nothing_is_changed(tmp_path: Path) -> None:
    environ = dict(VALUES)
    with signed_in("azure", environ):
        assert environ == VALUES


@pytest.mark.parametrize(
    ("cloud", "name"), [(c, n) for c in ENTRANCES for n in ENTRANCES[c].variables]
)
def test_a_repository_that_does_not_say_as_whom_is_told_how(
    job: dict[str, str], issuer: Issuer, cloud: str, name: str
) -> None:
    del job[name]
    with pytest.raises(PolicyError, match=f"no variable {name}:") as caught, signed_in(cloud, job):
        pass
    assert (
        caught.value.hint
        == f"gh variable set {name} --body VALUE; rpac setup {cloud} prints the line"
    )
    assert issuer.asked == []


def test_github_that_gives_no_token_is_told(job: dict[str, str], issuer: Issuer) -> None:
    issuer.status = 403
    with (
        pytest.raises(CredentialsError, match="no token for api://AzureADTokenExchange: 403"),
        signed_in("azure", job),
    ):
        pass
