"""
An account of AWS on a real socket: a moto server; how it differs is put right or said here.

What moto 5 does not do, and what the tests do about it:

- its CloudFormation has no IAM::OIDCProvider, S3::BucketPolicy, Scheduler::Schedule,
  Budgets::Budget, SQS::QueuePolicy, SNS::TopicPolicy and CloudWatch::Alarm: exactly these are left
  out of the template (`supported`), and unit tests look at them there; the account has GitHub's
  identity provider from the start;
- a stack made or changed by a change set has no outputs and old parameters: put right here;
- of a bucket it makes no versions, no block of the public and no lifecycle, of a subnet no public
  addresses, and route tables have no subnets: `finish` sets them by the API, as the template says;
- it deletes a stack's network without its route tables, and then fails: put right here;
- a change set does not list what a condition adds, that of a new stack lists what it leaves out;
- it does not know the deletion policy RetainExceptOnCreate: `supported` says Retain;
- `simulate_principal_policy` and quotas are not there: `rpac doctor aws` says "not checked";
- nobody's rights are checked, and no event is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from moto.backends import get_backend
from moto.server import ThreadedMotoServer

from rpac_ci.clouds.aws import template
from rpac_ci.clouds.aws.clients import Aws, clients
from rpac_ci.site_clouds import AwsSite

UNSUPPORTED = {
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::IAM::OIDCProvider",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
}


def supported(text: str) -> str:
    """A template without what moto cannot make, as JSON."""
    parsed = template.parse(text)
    parsed["Resources"] = {
        name: resource
        for name, resource in parsed["Resources"].items()
        if resource["Type"] not in UNSUPPORTED
    }
    return json.dumps(parsed).replace("RetainExceptOnCreate", "Retain")


@contextmanager
def account(patch: pytest.MonkeyPatch, region: str = "us-east-1") -> Iterator[str]:
    """
    A new account, empty, to which the SDK's variables lead.

    Yields:
        The URL of the server.
    """
    # each takes a second to import, also where a process of the tests has no test with an account
    from moto.cloudformation.models import ChangeSet
    from moto.ec2.models.route_tables import RouteTable

    patch.setattr(ChangeSet, "apply", _with_outputs(ChangeSet.apply))
    patch.setattr(RouteTable, "delete", _delete_table, raising=False)
    patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():  # fmt: skip
        patch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        patch.delenv(name, raising=False)
    try:
        requests.post(f"{url}/moto-api/reset", timeout=30).raise_for_status()
        clients(region).iam.create_open_id_connect_provider(
            Url="https://token.actions.githubusercontent.com", ClientIDList=["sts.amazonaws.com"]
        )
        yield url
    finally:
        server.stop()


def emptied() -> None:
    """All but IAM as it was at first: to load the policies that AWS writes takes seconds."""
    for service in ("batch", "cloudformation", "ec2", "logs", "s3"):
        for account_of_service in get_backend(service).values():
            account_of_service.reset()


def finish(aws: Aws, site: AwsSite) -> None:
    """What the template says and moto leaves out."""
    bucket = site.store.removeprefix("s3://")
    aws.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    aws.s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )  # fmt: skip
    tables = aws.ec2.describe_route_tables()["RouteTables"]
    public = next(
        table["RouteTableId"]
        for table in tables
        if any(str(route.get("GatewayId")).startswith("igw-") for route in table["Routes"])
    )
    for subnet in site.subnets:
        aws.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
        aws.ec2.associate_route_table(SubnetId=subnet, RouteTableId=public)


def _delete_table(table: Any, *_: object) -> None:
    for association in list(table._associations):
        table.ec2_backend.disassociate_route_table(association)
    table.ec2_backend.delete_route_table(table.id)


def _with_outputs(original: Any) -> Any:
    def apply(change_set: Any) -> None:
        original(change_set)
        stack = change_set.stack
        stack.template_dict, stack.parameters = change_set.template_dict, change_set.parameters
        stack.output_map = stack._create_output_map()

    return apply
