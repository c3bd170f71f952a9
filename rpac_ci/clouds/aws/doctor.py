"""
`rpac doctor aws`: is what `rpac.yaml` names there, closed, and allowed; nothing is changed.

A right that is missing for a look is a finding of its own: the look was not taken, and never counts
as fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rpac_ci.clouds.aws import stack as stacks
from rpac_ci.clouds.aws import template
from rpac_ci.clouds.aws.errors import code_of, translated
from rpac_ci.clouds.aws.setup import site
from rpac_ci.clouds.site_setup import NAME, named_in_settings
from rpac_ci.errors import CloudError, CredentialsError
from rpac_ci.github.diagnosis import Finding, Severity, fine, look

if TYPE_CHECKING:
    from rpac_ci.clouds.aws.clients import Aws
    from rpac_ci.site_clouds import AwsSite

MAX_SHAPES = 50  # compute environments, and queues, in a region; AWS does not raise it
FEW_ADDRESSES = 32
# vCPUs of running machines of the standard families (A, C, D, H, I, M, R, T, Z)
# Source: `aws service-quotas list-service-quotas --service-code ec2`
VCPU_QUOTAS = {"L-1216C47A": "on demand", "L-34B43A08": "spot"}
MNP_ENDPOINTS = ("ecr.api", "ecr.dkr", "ecs", "ecs-agent", "ecs-telemetry", "logs")
_SETUP = "rpac setup aws"


def examine(made: AwsSite, aws: Aws) -> list[Finding]:
    """
    Look at a site.

    Args:
        made: what `rpac.yaml` names.
        aws: clients of its region.

    Returns:
        One finding for each thing that was looked at, or that could not be.
    """
    findings: list[Finding] = []
    caller: list[str] = []

    def who() -> Iterator[Finding]:
        with translated("asking who this is"):
            answer = aws.sts.get_caller_identity()
        caller.append(str(answer["Arn"]))
        where = aws.endpoint()
        yield fine("aws credentials", f"{answer['Arn']}{f', of {where}' if where else ''}")

    findings += look("aws credentials", "sts:GetCallerIdentity", who, severity=Severity.ERROR)
    if not caller:
        return findings
    checks: Sequence[tuple[str, str, Callable[[], Iterator[Finding]]]] = (
        ("aws stack", "cloudformation:DescribeStacks", lambda: _stack(made, aws)),
        ("aws rights", "iam:SimulatePrincipalPolicy", lambda: _rights(made, aws, caller[0])),
        ("aws quotas", "servicequotas:GetServiceQuota", lambda: _quotas(aws)),
        ("aws shapes", "batch:Describe*", lambda: _shapes(aws)),
        ("aws network", "ec2:Describe*", lambda: _network(made, aws)),
        ("aws security group", "ec2:DescribeSecurityGroups", lambda: _groups(made, aws)),
        ("aws store", "s3:GetBucketVersioning and s3:GetBucketPublicAccessBlock",
         lambda: _store(made, aws)),
    )  # fmt: skip
    for topic, right, check in checks:
        findings += look(topic, right, check)
    return findings


def _stack(made: AwsSite, aws: Aws) -> Iterator[Finding]:
    topic = "aws stack"
    name = stacks.stack_name(made.name)
    # a name that rpac would not give was not made by rpac
    found = stacks.find(aws, name) if NAME.fullmatch(made.name) else None
    if found is None:
        yield Finding(
            topic=topic, severity=Severity.NOTE, what=f"there is no stack {name} in {made.region}",
            fix=f"if nobody made it by hand: {_SETUP}",
        )  # fmt: skip
        return
    if found.status in stacks.BROKEN or found.status.endswith("_FAILED"):
        why = f": {found.reason}" if found.reason else ""
        yield Finding(
            topic=topic, severity=Severity.ERROR, what=f"{name} is at {found.status}{why}",
            fix=f"{_SETUP} says how to go on",
        )  # fmt: skip
        return
    if found.under_way or found.status == stacks.EMPTY:
        yield Finding(
            topic=topic, severity=Severity.WARNING, what=f"{name} is at {found.status}",
            fix=f"{_SETUP} waits for it and goes on",
        )  # fmt: skip
        return
    yield named_in_settings(
        topic, made, site(found.outputs), name=name, status=f"at {found.status}", setup=_SETUP
    )


def _rights(made: AwsSite, aws: Aws, caller: str) -> Iterator[Finding]:
    """Each right of a driver, asked for whoever looks."""
    topic = "aws rights"
    source = _principal(caller)
    if source is None:
        yield Finding(
            topic=topic, severity=Severity.NOTE,
            what="not checked: the account's root user may do everything, and is not for daily use",
        )  # fmt: skip
        return
    account, partition = caller.split(":")[4], caller.split(":")[1]
    bucket = made.store.removeprefix("s3://").partition("/")[0]
    values = {
        "AWS::Partition": partition, "AWS::Region": made.region, "AWS::AccountId": account,
        "Name": made.name, "Bucket.Arn": f"arn:{partition}:s3:::{bucket}",
        "JobRole.Arn": made.job_role, "ExecutionRole.Arn": made.execution_role or "",
        "ServiceRole.Arn": made.service_role or "",
    }  # fmt: skip
    missing: list[str] = []
    try:
        for grant in template.grants(template.parse(template.text())):
            if grant.who == "DriverRole":
                missing += _denied(aws, source, grant, values)
    except CloudError as exc:
        code = code_of(exc)
        why = "no right to simulate" if isinstance(exc, CredentialsError) else exc.message
        yield Finding(
            topic=topic, severity=Severity.WARNING, what=f"not checked: {why}",
            fix="look with the right iam:SimulatePrincipalPolicy" if code else exc.hint,
        )  # fmt: skip
        return
    if missing:
        yield Finding(
            topic=topic, severity=Severity.ERROR, what=f"{source} may not: {', '.join(missing)}",
            fix=f"drive runs with the role that {_SETUP} makes, or add these",
        )  # fmt: skip
    else:
        yield fine(topic, f"{source} may do all that a driver needs")


def _denied(aws: Aws, source: str, grant: template.Grant, values: dict[str, str]) -> list[str]:
    resources = [template.filled(one, values) for one in grant.resources]
    context = [
        {"ContextKeyName": key, "ContextKeyValues": [template.filled(one, values)],
         "ContextKeyType": "string"}
        for key, wanted in template.conditions(grant) for one in wanted[:1]
    ]  # fmt: skip
    with translated("asking what may be done"):
        answer = aws.iam.simulate_principal_policy(
            PolicySourceArn=source,
            ActionNames=list(grant.actions),
            # something that has such a name; a role that is not known here is not asked for
            ResourceArns=[one.replace("*", "x") for one in resources if one and one != "*"]
            or ["*"],
            ContextEntries=context,
        )
    return [
        one["EvalActionName"]
        for one in answer["EvaluationResults"]
        if one["EvalDecision"] != "allowed"
    ]


def _principal(arn: str) -> str | None:
    """The user or role behind a caller; None for the root user."""
    kind = arn.split(":", 5)[5]
    if kind.startswith("assumed-role/"):
        parts = arn.split(":")
        return f"{parts[0]}:{parts[1]}:iam::{parts[4]}:role/{kind.split('/')[1]}"
    return arn if kind.startswith(("user/", "role/")) else None


def _quotas(aws: Aws) -> Iterator[Finding]:
    for code, kind in VCPU_QUOTAS.items():
        with translated("reading the quota of vCPUs"):
            answer = aws.quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)
        value = int(answer["Quota"]["Value"])
        what = f"{value} vCPUs of standard machines {kind} at a time"
        if value < 1:
            yield Finding(
                topic="aws quotas", severity=Severity.ERROR, what=what,
                fix=f"aws service-quotas request-service-quota-increase --service-code ec2 "
                f"--quota-code {code} --desired-value 64",
            )  # fmt: skip
        else:
            yield fine("aws quotas", what)


def _shapes(aws: Aws) -> Iterator[Finding]:
    with translated("counting compute environments and queues"):
        counts = {
            "compute environments": sum(
                len(page["computeEnvironments"])
                for page in aws.batch.get_paginator("describe_compute_environments").paginate()
            ),
            "job queues": sum(
                len(page["jobQueues"])
                for page in aws.batch.get_paginator("describe_job_queues").paginate()
            ),
        }
    for what, count in counts.items():
        text = f"{count} of {MAX_SHAPES} {what} that a region can have"
        if count >= MAX_SHAPES - 2:
            yield Finding(
                topic="aws shapes", severity=Severity.WARNING, what=text,
                fix="remove those that nobody uses; AWS does not raise this limit",
            )  # fmt: skip
        else:
            yield fine("aws shapes", text)


def _network(made: AwsSite, aws: Aws) -> Iterator[Finding]:
    topic = "aws network"
    wanted = [*made.subnets, *made.private_subnets]
    with translated("looking at the subnets"):
        found = aws.ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": wanted}])
    known = {one["SubnetId"]: one for one in found["Subnets"]}
    if missing := [subnet for subnet in wanted if subnet not in known]:
        yield Finding(
            topic=topic, severity=Severity.ERROR,
            what=f"not in {made.region}: {', '.join(missing)}", fix=_SETUP,
        )  # fmt: skip
    if not known:
        return
    vpcs = sorted({one["VpcId"] for one in known.values()})
    with translated("looking at the networks"):
        tables = aws.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": vpcs}])
        points = aws.ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": vpcs}])
    services = {one["ServiceName"].split(".", 3)[-1] for one in points["VpcEndpoints"]}
    for subnet in (one for one in wanted if one in known):
        public = subnet in made.subnets
        ways = _ways_out(known[subnet], tables["RouteTables"])
        yield from _subnet(known[subnet], ways, services, public=public)
    if "s3" not in services:
        yield Finding(
            topic=topic, severity=Severity.NOTE,
            what="no endpoint of S3: traffic with the store goes the way of everything else",
            fix="a gateway endpoint is free; rpac setup aws makes one",
        )  # fmt: skip
    if not made.private_subnets:
        yield Finding(
            topic=topic, severity=Severity.NOTE,
            what="no private subnets: runs are gangs of simple jobs, multi-node parallel jobs "
            "are refused",
            fix="rpac setup aws --nat, which costs money every hour",
        )  # fmt: skip


def _ways_out(subnet: dict[str, Any], tables: Sequence[dict[str, Any]]) -> set[str]:
    """Kinds of targets of a subnet's default routes: `igw`, `nat`, …"""
    mine = [
        table for table in tables
        if any(one.get("SubnetId") == subnet["SubnetId"] for one in table["Associations"])
    ] or [
        table for table in tables
        if table["VpcId"] == subnet["VpcId"]
        and any(one.get("Main") for one in table["Associations"])
    ]  # fmt: skip
    targets = [
        str(route.get("GatewayId") or route.get("NatGatewayId") or route.get("TransitGatewayId"))
        for table in mine
        for route in table["Routes"]
        if route.get("DestinationCidrBlock") == "0.0.0.0/0"
    ]
    return {target.partition("-")[0] for target in targets}


def _subnet(
    subnet: dict[str, Any], ways: set[str], services: set[str], *, public: bool
) -> Iterator[Finding]:
    topic, name = "aws network", subnet["SubnetId"]
    free = int(subnet["AvailableIpAddressCount"])
    wrong: list[str] = []
    if public and "igw" not in ways:
        wrong.append("has no route to an internet gateway")
    if public and not subnet.get("MapPublicIpOnLaunch"):
        wrong.append("gives machines no public address")
    if not public and not ways & {"nat", "tgw"}:
        absent = [one for one in MNP_ENDPOINTS if one not in services]
        if absent:
            wrong.append(f"has neither a NAT gateway nor endpoints of {', '.join(absent)}")
    if wrong:
        what = f"{name} {' and '.join(wrong)}: machines in it would never start a job"
        yield Finding(topic=topic, severity=Severity.ERROR, what=what, fix=_SETUP)
    elif free < FEW_ADDRESSES:
        yield Finding(
            topic=topic, severity=Severity.WARNING, what=f"{name} has {free} free addresses",
            fix="a larger subnet, or end what else is in it",
        )  # fmt: skip
    else:
        kind = "public" if public else "private"
        yield fine(topic, f"{name}: {kind}, {subnet['AvailabilityZone']}, {free} free addresses")


def _groups(made: AwsSite, aws: Aws) -> Iterator[Finding]:
    topic = "aws security group"
    with translated("looking at the security groups"):
        found = aws.ec2.describe_security_groups(
            Filters=[{"Name": "group-id", "Values": made.security_groups}]
        )
    known = {one["GroupId"]: one for one in found["SecurityGroups"]}
    for group in made.security_groups:
        if group not in known:
            what = f"{group} is not in {made.region}"
            yield Finding(topic=topic, severity=Severity.ERROR, what=what, fix=_SETUP)
    inside = False
    for group, one in known.items():
        for rule in one["IpPermissions"]:
            own = {pair["GroupId"] for pair in rule.get("UserIdGroupPairs", [])}
            inside |= rule["IpProtocol"] == "-1" and group in own
            others = [
                *sorted(own - set(made.security_groups)),
                *(entry["CidrIp"] for entry in rule.get("IpRanges", [])),
                *(entry["CidrIpv6"] for entry in rule.get("Ipv6Ranges", [])),
                *(entry["PrefixListId"] for entry in rule.get("PrefixListIds", [])),
            ]
            if others:
                yield Finding(
                    topic=topic, severity=Severity.ERROR,
                    what=f"{group} lets in {', '.join(others)}",
                    fix="remove this rule: nodes are reached by nodes alone",
                )  # fmt: skip
    if known and not inside:
        yield Finding(
            topic=topic, severity=Severity.ERROR, what="nodes of a run cannot reach each other",
            fix="a rule that lets in all traffic from the group itself; rpac setup aws makes it",
        )  # fmt: skip
    elif known:
        yield fine(topic, "nodes reach each other")


def _store(made: AwsSite, aws: Aws) -> Iterator[Finding]:
    topic = "aws store"
    bucket = made.store.removeprefix("s3://").partition("/")[0]
    with translated(f"looking at the bucket {bucket}"):
        versioned = aws.s3.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled"
    if not versioned:
        yield Finding(
            topic=topic, severity=Severity.WARNING, what=f"{bucket} keeps no old versions",
            fix=f"aws s3api put-bucket-versioning --bucket {bucket} "
            "--versioning-configuration Status=Enabled",
        )  # fmt: skip
    encrypted = _settings(lambda: aws.s3.get_bucket_encryption(Bucket=bucket))
    if not encrypted:
        yield Finding(
            topic=topic, severity=Severity.WARNING, what=f"{bucket} names no encryption", fix=_SETUP
        )
    public = _settings(lambda: aws.s3.get_public_access_block(Bucket=bucket))
    closed = public.get("PublicAccessBlockConfiguration", {})
    if len(closed) < 4 or not all(closed.values()):
        yield Finding(
            topic=topic, severity=Severity.ERROR, what=f"{bucket} could be made public",
            fix=f"aws s3api put-public-access-block --bucket {bucket} "
            "--public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,"
            "BlockPublicPolicy=true,RestrictPublicBuckets=true",
        )  # fmt: skip
    elif versioned and encrypted:
        yield fine(topic, f"{bucket} is versioned, encrypted and closed to the public")


def _settings(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Settings of a bucket; empty when it has none of the kind."""
    try:
        with translated("looking at the bucket"):
            return ask()
    except CloudError as exc:
        if code_of(exc) in {
            "ServerSideEncryptionConfigurationNotFoundError",
            "NoSuchPublicAccessBlockConfiguration",
        }:
            return {}
        raise
