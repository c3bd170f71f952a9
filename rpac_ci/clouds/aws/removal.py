"""
`rpac setup aws --delete`: everything of a site, in the order that AWS asks for.

Queues go before their compute environments; and the roles, which are the stack's, go last: an
environment without its role can never be deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rpac_ci.clouds.aws import stack as stacks
from rpac_ci.clouds.aws.errors import code_of, translated
from rpac_ci.clouds.aws.shape_removal import remove_environment, remove_queue
from rpac_ci.errors import CloudError, PolicyError

if TYPE_CHECKING:
    from rpac_ci.clouds.aws.clients import Aws
    from rpac_ci.clouds.aws.stack import Stack, Tell

MANY = 10  # open runs that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """What an account has of one site."""

    name: str
    stack: Stack | None
    queues: tuple[str, ...]
    environments: tuple[str, ...]
    definitions: tuple[str, ...]  # ARNs, one for each revision
    bucket: str | None
    open_runs: tuple[str, ...]  # the first few

    @property
    def none(self) -> bool:
        """Whether there is nothing at all."""
        return not (
            self.stack or self.queues or self.environments or self.definitions or self.bucket
        )

    def lines(self, *, results: bool) -> Iterator[str]:
        """What would go, and what would stay, for people."""
        for what, names in (
            ("job queue", self.queues),
            ("compute environment", self.environments),
            ("job definition", tuple(arn.rpartition("/")[2] for arn in self.definitions)),
        ):
            yield from (f"remove  {what} {name}" for name in names)
        if self.stack:
            yield f"remove  stack {self.stack.name} ({self.stack.status}), with roles and network"
        if self.bucket:
            yield (
                f"remove  bucket {self.bucket} with every result in it"
                if results
                else f"keep    bucket {self.bucket} with its results (--delete-results removes it)"
            )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "stack": self.stack.name if self.stack else None,
            "queues": list(self.queues), "environments": list(self.environments),
            "definitions": list(self.definitions), "bucket": self.bucket,
            "open_runs": list(self.open_runs),
        }  # fmt: skip


def look(aws: Aws, name: str, current: Stack | None) -> Belongings:
    """
    Find what belongs to a site; nothing is changed.

    Args:
        aws: clients.
        name: of the site.
        current: its stack, from `stack.settled`.

    Raises:
        CloudError: AWS cannot be asked.
    """
    prefix = f"{name}-"
    with translated("looking for queues, environments and definitions"):
        queues = _names(aws, "describe_job_queues", "jobQueues", "jobQueueName", prefix)
        environments = _names(
            aws, "describe_compute_environments", "computeEnvironments",
            "computeEnvironmentName", prefix,
        )  # fmt: skip
        definitions = [
            one["jobDefinitionArn"]
            for page in aws.batch.get_paginator("describe_job_definitions").paginate(
                status="ACTIVE"
            )
            for one in page["jobDefinitions"]
            if one["jobDefinitionName"].startswith(prefix)
        ]
    bucket = _bucket(aws, name, current)
    return Belongings(
        name=name,
        stack=current,
        queues=tuple(queues),
        environments=tuple(environments),
        definitions=tuple(definitions),
        bucket=bucket,
        open_runs=tuple(_open_runs(aws, bucket)) if bucket else (),
    )


def refuse_open(found: Belongings) -> None:
    """
    Refuse while runs are open: they would lose their machines, and nobody could conclude them.

    Raises:
        PolicyError: with their names.
    """
    if found.open_runs:
        more = " …" if len(found.open_runs) == MANY else ""
        raise PolicyError(
            f"runs are open: {' '.join(found.open_runs)}{more}",
            hint="end them first: rpac cancel RUN, then rpac advance --all",
        )


def remove(aws: Aws, found: Belongings, *, results: bool, tell: Tell) -> None:
    """
    Take it away; may be called again after an interruption, and is silent about what is gone.

    Args:
        aws: clients.
        found: from `look`.
        results: also the bucket, with every version of every object.
        tell: is told of each step.

    Raises:
        CloudError: something cannot be removed; what comes after it was not touched.
        CancelledError: interrupted while the stack was being deleted.
    """
    for queue in found.queues:
        tell(f"removing the job queue {queue}")
        remove_queue(aws.batch, queue)
    for environment in found.environments:
        tell(f"removing the compute environment {environment}")
        remove_environment(aws.batch, environment)
    for arn in found.definitions:
        with translated("deregistering a job definition"):
            aws.batch.deregister_job_definition(jobDefinition=arn)
    if found.bucket and results:
        tell(f"emptying the bucket {found.bucket}")
        _empty(aws, found.bucket)
    if found.stack:
        stacks.delete(aws, found.stack.name, tell)
    if found.bucket and results:
        tell(f"removing the bucket {found.bucket}")
        _remove_bucket(aws, found.bucket)


def _names(aws: Aws, call: str, items: str, key: str, prefix: str) -> list[str]:
    return [
        one[key]
        for page in aws.batch.get_paginator(call).paginate()
        for one in page[items]
        if one[key].startswith(prefix) and one.get("status") != "DELETED"
    ]


def _bucket(aws: Aws, name: str, current: Stack | None) -> str | None:
    """The site's bucket: the stack's, or one that an earlier removal has kept."""
    store = current.outputs.get("Store", "") if current else ""
    if store:
        return store.removeprefix("s3://")
    with translated("looking for the bucket"):
        named = [
            one["Name"]
            for one in aws.s3.list_buckets()["Buckets"]
            if one["Name"].startswith(f"{stacks.stack_name(name)}-bucket-")
        ]
    return next((bucket for bucket in named if _is_ours(aws, bucket, name)), None)


def _is_ours(aws: Aws, bucket: str, name: str) -> bool:
    try:
        with translated(f"looking at the bucket {bucket}"):
            region = aws.s3.get_bucket_location(Bucket=bucket).get("LocationConstraint")
            tags = aws.s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except CloudError:
        return False
    here = (region or "us-east-1") == aws.region
    return here and {"Key": stacks.TAG, "Value": name} in tags


def _open_runs(aws: Aws, bucket: str) -> list[str]:
    try:
        with translated("looking for open runs"):
            answer = aws.s3.list_objects_v2(Bucket=bucket, Prefix="open/", MaxKeys=MANY)
    except CloudError as exc:
        if code_of(exc) == "NoSuchBucket":
            return []
        raise
    return [one["Key"].removeprefix("open/") for one in answer.get("Contents", [])]


def _empty(aws: Aws, bucket: str) -> None:
    with translated(f"emptying the bucket {bucket}"):
        uploads = aws.s3.get_paginator("list_multipart_uploads")
        versions = aws.s3.get_paginator("list_object_versions")
        try:
            for page in uploads.paginate(Bucket=bucket):
                for one in page.get("Uploads", []):
                    aws.s3.abort_multipart_upload(
                        Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"]
                    )
            for page in versions.paginate(Bucket=bucket):
                stored = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                if not stored:
                    continue
                answer = aws.s3.delete_objects(
                    Bucket=bucket,
                    Delete={
                        "Objects": [
                            {"Key": one["Key"], "VersionId": one["VersionId"]} for one in stored
                        ],
                        "Quiet": True,
                    },
                )
                if errors := answer.get("Errors"):
                    first = errors[0]
                    raise CloudError(f"{first['Key']} cannot be removed: {first.get('Message')}")
        except aws.s3.exceptions.NoSuchBucket:
            return


def _remove_bucket(aws: Aws, bucket: str) -> None:
    try:
        with translated(f"removing the bucket {bucket}"):
            aws.s3.delete_bucket(Bucket=bucket)
    except CloudError as exc:
        if code_of(exc) != "NoSuchBucket":
            raise
