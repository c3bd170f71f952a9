"""`rpac setup aws` and `rpac doctor aws` from end to end, against the account of a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID

from rpac_ci.cli import group as cli_group
from rpac_ci.cli import setup_parts
from rpac_ci.clouds.aws import stack as stacks
from rpac_ci.clouds.aws import template
from rpac_ci.clouds.aws.clients import Aws, clients
from rpac_ci.site_clouds import AwsSite
from rpac_ci.site_config import load_site
from tests.conftest import git
from tests.integration.conftest import Terminal
from tests.standins.aws_account import account, emptied, finish, supported

pytestmark = pytest.mark.slow

REGION = "us-east-1"
SETTINGS = """\
# settings of the lab
schema: rpac/site/1
roles: {reproduce: write,   # everybody
        approve: maintain}

# who pays
budgets: {month: 5 USD}  # little
"""
SET_UP = ("setup", "aws", "--region", REGION, "--name", "lab")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, account(patch, REGION) as url:
        yield url


@pytest.fixture
def aws(server: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    emptied()
    text = supported(template.text())
    monkeypatch.setattr(template, "text", lambda: text)
    monkeypatch.setattr(stacks, "POLL_S", 0.01)
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    return clients(REGION)


@pytest.fixture
def rpac(repository: Path) -> Terminal:
    git(repository, "remote", "add", "origin", "https://github.com/Lab/experiments.git")
    (repository / "rpac.yaml").write_text(SETTINGS)
    return Terminal(repository)


def made(rpac: Terminal) -> AwsSite:
    found = load_site(rpac.root).clouds.aws
    assert found is not None
    return found


def stack(aws: Aws, name: str = "rpac-lab") -> Any:
    """The stack in the stand-in itself."""
    from moto.cloudformation.models import cloudformation_backends

    backend = cloudformation_backends[DEFAULT_ACCOUNT_ID][aws.region]
    return next(one for one in backend.stacks.values() if one.name == name)


def test_what_would_change_is_shown_and_nothing_is_done_unasked(aws: Aws, rpac: Terminal) -> None:
    told = ""
    for words, code in ((("--dry-run",), 0), ((), 4), (("--json",), 4)):
        answer = rpac(*SET_UP, *words)
        assert answer.code == code, answer.err
        assert stacks.find(aws, "rpac-lab") is None
        assert (rpac.root / "rpac.yaml").read_text() == SETTINGS
        if "--json" in words:
            assert {"action": "add", "resource": "Bucket", "type": "AWS::S3::Bucket",
                    "replacement": ""} in answer.json["changes"]  # fmt: skip
            assert answer.json["applied"] is False
        else:
            assert "add     Bucket (AWS::S3::Bucket)" in answer.out
            assert "repo:Lab/experiments:environment:rpac-cloud" in answer.out
            assert "job-queue/lab-*" in answer.out
        told += answer.err
    assert "hint: to do it: rpac setup aws --yes" in told


@pytest.mark.parametrize(("answer", "applied"), [(True, True), (False, False)])
def test_a_person_is_asked_after_the_changes_were_shown(
    aws: Aws, rpac: Terminal, monkeypatch: pytest.MonkeyPatch, answer: bool, applied: bool
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        found = stacks.find(aws, "rpac-lab")
        assert found is not None
        asked.append(found.status)  # a change set, and nothing else
        return answer

    for module in (cli_group, setup_parts):
        monkeypatch.setattr(module, "at_a_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    assert rpac(*SET_UP).code == 0
    assert asked == ["REVIEW_IN_PROGRESS"]
    found = stacks.find(aws, "rpac-lab")
    assert (found.status if found else None) == ("CREATE_COMPLETE" if applied else None)


def test_it_is_made_once_and_written_into_the_settings(aws: Aws, rpac: Terminal) -> None:
    answer = rpac(*SET_UP, "--yes", "--registry", "ghcr.io/lab/images")
    assert answer.code == 0, answer.err
    site = made(rpac)
    assert (site.region, site.name, site.repository) == (REGION, "lab", "ghcr.io/lab/images")
    assert site.private_subnets == []
    assert site.execution_role
    assert site.service_role
    text = (rpac.root / "rpac.yaml").read_text()
    assert text.startswith(SETTINGS)
    assert "gh variable set RPAC_AWS_ROLE -R Lab/experiments --body arn:aws:iam::" in answer.out
    # what is named is there
    bucket = site.store.removeprefix("s3://")
    assert aws.s3.get_bucket_encryption(Bucket=bucket)
    assert len(aws.ec2.describe_subnets(SubnetIds=site.subnets)["Subnets"]) == 2
    role = aws.iam.get_role(RoleName=site.job_role.rpartition("/")[2])["Role"]
    assert {"Key": "rpac:name", "Value": "lab"} in role["Tags"]

    again = rpac("setup", "aws", "--yes")  # name and region are those of rpac.yaml
    assert again.code == 0, again.err
    assert "nothing to change" in again.out
    assert (rpac.root / "rpac.yaml").read_text() == text
    told = rpac("setup", "aws", "--json").json
    assert told["changes"] == []
    assert told["clouds"]["aws"]["store"] == site.store


def test_a_lost_block_is_written_again(aws: Aws, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    site = made(rpac)
    (rpac.root / "rpac.yaml").write_text(SETTINGS)
    assert rpac(*SET_UP).code == 4
    assert rpac(*SET_UP, "--yes").code == 0
    assert made(rpac) == site


def test_a_nat_gateway_is_added_later_and_other_answers_are_kept(aws: Aws, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes", "--registry", "ghcr.io/lab/images").code == 0
    answer = rpac(*SET_UP, "--yes", "--nat")
    assert answer.code == 0, answer.err
    found = stacks.find(aws, "rpac-lab")
    assert found is not None
    assert (found.parameters["Nat"], found.parameters["ImageRepository"]) == (
        "yes", "ghcr.io/lab/images",
    )  # fmt: skip


def test_a_name_serves_one_repository(aws: Aws, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    answer = rpac(*SET_UP, "--yes", "--repository", "Other/work")
    assert answer.code == 2
    assert "belongs to Lab/experiments" in answer.err
    assert rpac("setup", "aws", "--name", "lab-2", "--yes").code == 2
    assert rpac("setup", "aws", "--name", "lab2", "--region", REGION, "--yes").code == 0
    assert made(rpac).name == "lab2"


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"])
def test_a_broken_stack_is_told_with_the_way_out(aws: Aws, rpac: Terminal, status: str) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    stack(aws).status = status
    answer = rpac(*SET_UP, "--yes", "--nat")
    assert answer.code == 5
    assert f"is at {status}" in answer.err
    way = "--delete" if status == "ROLLBACK_COMPLETE" else "continue-update-rollback"
    assert way in answer.err


def test_an_interrupted_setup_is_taken_up_again(
    aws: Aws, rpac: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    stack(aws).status = "UPDATE_IN_PROGRESS"

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stacks, "_pause", interrupt)
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 130
    assert "the same command again" in answer.err

    def finish(_: float) -> None:
        stack(aws).status = "UPDATE_COMPLETE"

    monkeypatch.setattr(stacks, "_pause", finish)
    answer = rpac(*SET_UP, "--yes")
    assert answer.code == 0, answer.err
    assert "waiting" in answer.err
    assert "nothing to change" in answer.out


def shapes(aws: Aws, site: AwsSite, name: str) -> None:
    """An environment with its queue, and a definition."""
    made = aws.batch.create_compute_environment(
        computeEnvironmentName=f"{name}-m7i",
        type="MANAGED",
        computeResources={
            "type": "EC2", "minvCpus": 0, "maxvCpus": 4, "instanceTypes": ["m5.large"],
            "subnets": site.subnets, "securityGroupIds": site.security_groups,
            "instanceRole": site.instance_profile,
        },
        serviceRole=site.service_role,
    )  # fmt: skip
    aws.batch.create_job_queue(
        jobQueueName=f"{name}-m7i", state="ENABLED", priority=1,
        computeEnvironmentOrder=[
            {"order": 1, "computeEnvironment": made["computeEnvironmentArn"]}
        ],
    )  # fmt: skip
    aws.batch.register_job_definition(
        jobDefinitionName=f"{name}-gang", type="container",
        containerProperties={"image": "busybox", "vcpus": 1, "memory": 128},
    )  # fmt: skip


def names(aws: Aws) -> set[str]:
    """What is left of shapes and definitions."""
    definitions = aws.batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]
    return {
        *(one["jobQueueName"] for one in aws.batch.describe_job_queues()["jobQueues"]),
        *(
            one["computeEnvironmentName"]
            for one in aws.batch.describe_compute_environments()["computeEnvironments"]
        ),
        *(one["jobDefinitionName"] for one in definitions),
    }


def test_delete_takes_all_but_results_and_what_is_not_ours(aws: Aws, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    site = made(rpac)
    bucket = site.store.removeprefix("s3://")
    shapes(aws, site, "lab")
    shapes(aws, site, "lab2")
    aws.s3.put_object(Bucket=bucket, Key="open/20260102T030405Z-0a1b2c3d", Body=b"")
    refused = rpac("setup", "aws", "--delete", "--yes")
    assert refused.code == 4
    assert "runs are open: 20260102T030405Z-0a1b2c3d" in refused.err
    assert {"lab-m7i", "lab-gang"} <= names(aws)

    aws.s3.delete_object(Bucket=bucket, Key="open/20260102T030405Z-0a1b2c3d")
    aws.s3.put_object(Bucket=bucket, Key="runs/a/result.json", Body=b"{}")
    assert rpac("setup", "aws", "--delete").code == 4
    shown = rpac("setup", "aws", "--delete", "--dry-run")
    assert shown.code == 0
    assert "remove  job queue lab-m7i" in shown.out
    assert f"keep    bucket {bucket}" in shown.out
    assert {"lab-m7i", "lab-gang"} <= names(aws)

    done = rpac("setup", "aws", "--delete", "--yes")
    assert done.code == 0, done.err
    assert names(aws) == {"lab2-m7i", "lab2-gang"}
    assert stacks.find(aws, "rpac-lab") is None
    assert (rpac.root / "rpac.yaml").read_text() == SETTINGS
    assert aws.s3.get_object(Bucket=bucket, Key="runs/a/result.json")["Body"].read() == b"{}"
    roles = {one["Arn"] for one in aws.iam.list_roles()["Roles"]}
    assert roles & {site.job_role, site.execution_role, site.service_role} == set()
    # twice does no harm
    assert rpac(*SET_UP, "--delete", "--yes").code == 0


def test_results_go_when_they_are_named_also_later(aws: Aws, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    finish(aws, made(rpac))
    bucket = made(rpac).store.removeprefix("s3://")
    for body in (b"one", b"two"):
        aws.s3.put_object(Bucket=bucket, Key="content/sha256/0", Body=body)
    aws.s3.delete_object(Bucket=bucket, Key="content/sha256/0")
    aws.s3.create_multipart_upload(Bucket=bucket, Key="content/sha256/1")
    assert rpac("setup", "aws", "--delete-results", "--yes").code == 2
    answer = rpac("setup", "aws", "--delete", "--delete-results", "--yes")
    assert answer.code == 0, answer.err
    assert aws.s3.list_buckets()["Buckets"] == []
    again = rpac(*SET_UP, "--delete", "--delete-results", "--yes")
    assert again.code == 0
    assert "nothing of 'lab'" in again.out


def test_the_doctor_looks_at_what_was_made(aws: Aws, rpac: Terminal) -> None:
    assert rpac("doctor", "aws").code == 2  # no place is named
    assert rpac(*SET_UP, "--yes").code == 0
    finish(aws, made(rpac))
    found = rpac("doctor", "aws", "--json")
    topics = {one["topic"]: one for one in found.json["findings"]}
    assert found.code == 0, found.out
    assert topics["aws credentials"]["severity"] == "ok"
    assert topics["aws stack"]["severity"] == "ok"
    assert topics["aws store"]["severity"] == "ok"
    assert topics["aws security group"]["severity"] == "ok"
    assert "not checked" in topics["aws quotas"]["what"]
    assert any(one["topic"] == "aws stack" for one in rpac("doctor", "--json").json["findings"])

    site = made(rpac)
    aws.ec2.authorize_security_group_ingress(
        GroupId=site.security_groups[0], IpProtocol="tcp", FromPort=22, ToPort=22,
        CidrIp="0.0.0.0/0",
    )  # fmt: skip
    bucket = site.store.removeprefix("s3://")
    aws.s3.delete_public_access_block(Bucket=bucket)
    aws.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    path = rpac.root / "rpac.yaml"
    path.write_text(path.read_text().replace("ghcr.io/lab/experiments", "ghcr.io/lab/other"))
    found = rpac("doctor", "aws")
    assert found.code == 2
    assert "lets in 0.0.0.0/0" in found.out
    assert "could be made public" in found.out
    assert "keeps no old versions" in found.out
    assert "differ in repository" in found.out


def test_the_doctor_tells_of_subnets_that_cannot_work(aws: Aws, rpac: Terminal) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    site = made(rpac)
    finish(aws, site)
    tables = aws.ec2.describe_route_tables(
        Filters=[{"Name": "association.subnet-id", "Values": site.subnets}]
    )["RouteTables"]
    aws.ec2.delete_route(RouteTableId=tables[0]["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")
    path = rpac.root / "rpac.yaml"
    path.write_text(path.read_text().replace(site.subnets[1], "subnet-00000000000000000"))
    found = rpac("doctor", "aws")
    assert found.code == 2
    assert f"{site.subnets[0]} has no route to an internet gateway" in found.out
    assert "not in us-east-1: subnet-00000000000000000" in found.out
    path.write_text(path.read_text().replace(site.subnets[0], "subnet-00000000000000001"))
    assert "subnet-00000000000000001, subnet-0" in rpac("doctor", "aws").out


def test_credentials_that_are_missing_are_a_finding(
    aws: Aws, rpac: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rpac(*SET_UP, "--yes").code == 0
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = rpac("doctor", "aws")
    assert found.code == 2
    assert "Unable to locate credentials" in found.out
    assert "sign in first" in found.out
    assert rpac(*SET_UP, "--yes").code == 5
