"""
Clients of AWS's services: credentials, region and endpoints as the SDK itself finds them.

`AWS_ENDPOINT_URL` and its kin lead all of them to another server that speaks the same API.
"""

from __future__ import annotations

import threading
import time
from functools import cached_property
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from rpac_ci import __version__
from rpac_ci.clouds.aws.errors import missing_sdk, translated

# boto3 makes clients at run time; their types would be one more package for each service
Client: TypeAlias = Any

CONNECT_S = 5
CONNECTIONS = 128  # of one client: each run of a study asks by itself
SUBMITS_PER_S = 50  # of one account, by the service quotas of AWS Batch
READ_S = 30
TRIES = 4
# ends of the host names of AWS itself, in all its partitions
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")


class Aws:
    """
    The services of one region, each client made when it is first used.

    Threads may share it.
    """

    def __init__(self, region: str, *, session: Any = None) -> None:
        """
        Args:
            region: such as us-west-2.
            session: a boto3 session to use; by default a new one.

        Raises:
            CommandError: boto3 is not installed.
            CredentialsError: the profile that is asked for does not exist.
        """
        self.region = region
        self._session = session or _session(region)
        self._making = threading.Lock()  # a session makes one client at a time

    @cached_property
    def batch(self) -> Client:
        """AWS Batch."""
        return self._client("batch")

    @cached_property
    def batch_once(self) -> Client:
        """AWS Batch asked without further tries: for what a second try would do again."""
        client = self._client("batch", tries=1)
        client.meta.events.register("before-send.batch.SubmitJob", Pace(SUBMITS_PER_S).wait)
        return client

    @cached_property
    def s3(self) -> Client:
        """Buckets; objects of runs go through `storage` instead."""
        return self._client("s3")

    @cached_property
    def ec2(self) -> Client:
        """Machines and networks."""
        return self._client("ec2")

    @cached_property
    def logs(self) -> Client:
        """CloudWatch Logs."""
        return self._client("logs")

    @cached_property
    def cloudformation(self) -> Client:
        """Stacks."""
        return self._client("cloudformation")

    @cached_property
    def sts(self) -> Client:
        """Who am I."""
        return self._client("sts")

    @cached_property
    def iam(self) -> Client:
        """Roles and rights."""
        return self._client("iam")

    @cached_property
    def ssm(self) -> Client:
        """Parameters."""
        return self._client("ssm")

    @cached_property
    def quotas(self) -> Client:
        """Service quotas."""
        return self._client("service-quotas")

    def endpoint(self) -> str | None:
        """Where AWS Batch is asked when that is not AWS itself; None for AWS."""
        url = str(self.batch.meta.endpoint_url)
        host = urlsplit(url).hostname or ""
        return None if host.endswith(_AWS_HOSTS) else url

    def _client(self, service: str, *, tries: int = TRIES) -> Client:
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": tries},
            user_agent_extra=f"rpac/{__version__}",
        )
        with translated(f"connecting to {service}"), self._making:
            return self._session.client(service, region_name=self.region, config=config)


class Pace:
    """Lets callers go at even distances, at most so many in a second; threads may share it."""

    def __init__(self, per_s: float) -> None:
        self._distance_s = 1 / per_s
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, **_: object) -> None:
        """Return when it is the caller's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._distance_s
        time.sleep(turn - now)


def clients(region: str) -> Aws:
    """
    Clients for a region.

    Raises:
        CommandError: boto3 is not installed.
    """
    return Aws(region)


def default_region() -> str | None:
    """The region of the environment or of the user's profile; None where none is set."""
    region = _session(None).region_name
    return str(region) if region else None


def _session(region: str | None) -> Any:
    try:
        import boto3
    except ImportError as exc:
        raise missing_sdk() from exc
    with translated("signing in to AWS"):
        return boto3.Session(region_name=region)
