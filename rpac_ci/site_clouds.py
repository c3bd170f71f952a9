"""
`clouds:` of `rpac.yaml`: where a repository's runs go on each cloud.

`rpac setup <cloud>` makes what is named here and prints the block. Names only: who may use them is
decided by roles of the account, and no value is secret.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field, StringConstraints

from rpac_ci.experiment_model import Model

# no hyphen: `<name>-*` must mean what is made for this repository and nothing else
Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,23}$")]
AwsRegion: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+){1,3}-[0-9]{1,2}$")
]
S3Url: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.-]+)*$")
]
Subnet: TypeAlias = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-f]{8,17}$")]
SecurityGroup: TypeAlias = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]{8,17}$")]
IamArn: TypeAlias = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:(role|instance-profile)/[A-Za-z0-9+=,.@_/-]{1,512}$"
    ),
]
Repository: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,252}(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)+$"),
]

MAX_GROUPS = 5  # of one network interface, by AWS


class AwsSite(Model):
    """One region of an AWS account, as far as a repository uses it."""

    region: AwsRegion
    # begins the name of whatever is made for this repository, and is its tag; the launch template
    # `<name>-nodes` and the log group `/rpac/<name>/jobs` go by it
    name: Name
    store: S3Url
    repository: Repository  # that the nodes' images are pushed to and pulled from
    subnets: Annotated[list[Subnet], Field(min_length=1, max_length=16)]
    # with a way out (NAT gateway or endpoints): multi-node parallel jobs get no public address
    private_subnets: Annotated[list[Subnet], Field(max_length=16)] = Field(default_factory=list)
    security_groups: Annotated[list[SecurityGroup], Field(min_length=1, max_length=MAX_GROUPS)]
    instance_profile: IamArn  # of the machines
    job_role: IamArn  # of the nodes: no right to write control/
    execution_role: IamArn | None = None  # that pulls from a private repository
    service_role: IamArn | None = None  # of AWS Batch; None means its service-linked role


class SiteClouds(Model):
    """Clouds that need to be told where."""

    aws: AwsSite | None = None
