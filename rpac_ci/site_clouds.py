"""
`clouds:` of `rpac.yaml`: where a repository's runs go on each cloud.

`rpac setup <cloud>` makes what is named here and prints the block. Names only: who may use them is
decided by roles of the account, and no value is secret.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from rpac_ci.documents import Model

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
AzureLocation: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z]{3,24}[0-9]{0,2}$")]
Uuid: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
]
_SCOPE = (
    r"/subscriptions/[0-9a-fA-F-]{36}/resourceGroups/[A-Za-z0-9_.()-]{1,90}/providers/Microsoft\."
)
ResourceGroup: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_.()-]{0,89}[A-Za-z0-9_()-]$")
]
# never without TLS, where Azure's SDK sends no token; a server that only speaks like Azure Batch is
# on this machine, and has the account in its path
BatchUrl: TypeAlias = Annotated[
    str,
    StringConstraints(
        pattern=r"^(https://[a-z0-9]{3,24}\.[a-z0-9]{3,26}\.batch\.azure\.com"
        r"|https://(localhost|127\.0\.0\.1):[0-9]{1,5}/[a-z0-9]{3,24})$"
    ),
]
AzUrl: TypeAlias = Annotated[
    str,
    StringConstraints(
        pattern=r"^az://[a-z0-9]{3,24}/[a-z0-9](-?[a-z0-9]){2,62}(/[A-Za-z0-9_.-]+)*$"
    ),
]
Identity: TypeAlias = Annotated[
    str,
    StringConstraints(
        pattern=rf"^{_SCOPE}ManagedIdentity/userAssignedIdentities/[A-Za-z0-9_-]{{3,128}}$"
    ),
]
AzureSubnet: TypeAlias = Annotated[
    str,
    StringConstraints(
        pattern=rf"^{_SCOPE}Network/virtualNetworks/[A-Za-z0-9_.-]{{1,64}}"
        r"/subnets/[A-Za-z0-9_.-]{1,80}$"
    ),
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


class AzureSite(Model):
    """One Batch account of an Azure subscription, as far as a repository uses it."""

    location: AzureLocation
    # begins the name of whatever is made for this repository, and is in its metadata
    name: Name
    subscription: Uuid
    resource_group: ResourceGroup
    account_url: BatchUrl
    store: AzUrl  # az://<storage account>/<container>, with a prefix or without
    repository: Repository  # that the nodes' images are pushed to and pulled from
    identity: Identity  # of the nodes: no right to write control/
    identity_client_id: Uuid  # by which the nodes ask for its tokens
    subnet: AzureSubnet | None = None  # None means that Batch brings the network
    # whose machines they are; only with one's own subscription there are spot machines
    pool_allocation_mode: Literal["batch_service", "user_subscription"] = "batch_service"

    @property
    def account(self) -> str:
        """The Batch account's name."""
        url = urlsplit(self.account_url)
        return url.path.strip("/") or (url.hostname or "").partition(".")[0]

    @property
    def registry(self) -> str:
        """Where the images are: the host, perhaps with a port."""
        return self.repository.partition("/")[0]


class SiteClouds(Model):
    """Clouds that need to be told where."""

    aws: AwsSite | None = None
    azure: AzureSite | None = None

    @property
    def configured(self) -> dict[str, AwsSite | AzureSite]:
        """Those that the settings name, by the name of the cloud."""
        named: dict[str, AwsSite | AzureSite | None] = {"aws": self.aws, "azure": self.azure}
        return {name: site for name, site in named.items() if site is not None}
