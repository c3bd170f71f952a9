"""
Shapes made: a compute environment without machines, and its queue.

Made on first use and found again by name; two drivers that make one at once get the same. One that
somebody has begun to take away is taken away to the end, and made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rpac_ci.clouds.aws.batch_jobs import BatchJobs
from rpac_ci.clouds.aws.clients import Client
from rpac_ci.clouds.aws.errors import code_of, translated
from rpac_ci.clouds.aws.requests import Account, Shape
from rpac_ci.clouds.aws.shape_removal import (
    find_environment,
    find_queue,
    is_leaving,
    made_today,
    take_away,
)
from rpac_ci.errors import CapacityError, CloudError, ProvisioningError

_REFUSED = ("ClientException", "InvalidParameterValue")
READY_S, POLL_S = 180.0, 1.0


class Shapes:
    """The shapes of one account."""

    def __init__(self, batch: Client, jobs: BatchJobs, account: Account) -> None:
        self._batch = batch
        self._jobs = jobs
        self._account = account

    def ensure(self, shape: Shape) -> str:
        """
        The queue of a shape, which is made if need be.

        Returns:
            Its name.

        Raises:
            ProvisioningError: AWS calls it invalid, or takes too long.
        """
        name = shape.name(self._account)
        queue = find_queue(self._batch, name)
        if queue and (queue["state"], queue["status"]) == ("ENABLED", "VALID"):
            return name
        environment = find_environment(self._batch, name)
        if is_leaving(queue) or is_leaving(environment):
            take_away(self._batch, self._jobs, name)
            queue = environment = None
        if environment is None:
            body = {"computeEnvironmentName": name, **shape.environment(self._account)}
            body["tags"] = {**body["tags"], **made_today()}
            self._create("compute environment", self._batch.create_compute_environment, body)
        self._until_valid("compute environment", name, find_environment)
        if queue is None:
            body = {"jobQueueName": name, **shape.queue(self._account, name)}
            self._create("job queue", self._batch.create_job_queue, body)
        self._until_valid("job queue", name, find_queue)
        return name

    def is_there(self, shape: Shape) -> bool:
        """Whether its queue takes jobs."""
        queue = find_queue(self._batch, shape.name(self._account))
        return queue is not None and (queue["state"], queue["status"]) == ("ENABLED", "VALID")

    def names(self) -> list[str]:
        """Shapes of this account's name."""
        with translated("listing compute environments"):
            pages = self._batch.get_paginator("describe_compute_environments").paginate()
            return [
                found["computeEnvironmentName"]
                for page in pages
                for found in page["computeEnvironments"]
                if found["computeEnvironmentName"].startswith(f"{self._account.name}-")
            ]

    def _create(self, what: str, create: Callable[..., Any], body: dict[str, Any]) -> None:
        try:
            with translated(f"making the {what}"):
                create(**body)
        except CloudError as exc:
            # another driver may have been first, or a first try of the SDK's
            name = body.get("jobQueueName") or body["computeEnvironmentName"]
            look = find_queue if "jobQueueName" in body else find_environment
            if look(self._batch, name) is not None:
                return
            if "instance" in exc.message.lower() and code_of(exc) in _REFUSED:
                raise CapacityError(
                    exc.message, hint="another machine or region: rpac catalog show aws"
                ) from exc
            raise

    def _until_valid(
        self, what: str, name: str, look: Callable[[Client, str], dict[str, Any] | None]
    ) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            found = look(self._batch, name)
            if found and found["status"] == "VALID":
                if found["state"] != "ENABLED":
                    raise ProvisioningError(
                        f"the {what} {name} is disabled", hint="enable or delete it, then try again"
                    )
                return
            if found and found["status"] == "INVALID":
                raise ProvisioningError(
                    f"AWS calls the {what} {name} invalid: {self._why(name)}",
                    hint="rpac doctor aws says which right or quota is missing",
                )
            if time.monotonic() > deadline:
                raise ProvisioningError(f"the {what} {name} is not ready after {READY_S:.0f} s")
            time.sleep(POLL_S)

    def _why(self, name: str) -> str:
        found = find_environment(self._batch, name) or {}
        return str(found.get("statusReason") or "no reason given")
