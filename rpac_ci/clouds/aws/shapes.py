"""
Shapes made and taken away: a compute environment without machines, and its queue.

Made on first use and found again by name; two drivers that make one at once get the same. Taking
one away has an order that AWS insists on: the queue is disabled and deleted, and gone, before the
environment is disabled and deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rpac_ci.clouds.aws.clients import Client
from rpac_ci.clouds.aws.errors import code_of, translated
from rpac_ci.clouds.aws.requests import Account, Shape
from rpac_ci.errors import CapacityError, CloudError, ProvisioningError

_REFUSED = ("ClientException", "InvalidParameterValue")
READY_S, POLL_S = 180.0, 1.0


class Shapes:
    """The shapes of one account."""

    def __init__(self, batch: Client, account: Account) -> None:
        self._batch = batch
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
        queue = self._queue(name)
        if queue == ("ENABLED", "VALID"):
            return name
        if self._environment(name) is None:
            body = {"computeEnvironmentName": name, **shape.environment(self._account)}
            self._create("compute environment", self._batch.create_compute_environment, body)
        self._until_valid("compute environment", name, self._environment)
        if queue is None:
            body = {"jobQueueName": name, **shape.queue(self._account, name)}
            self._create("job queue", self._batch.create_job_queue, body)
        self._until_valid("job queue", name, self._queue)
        return name

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
            look = self._queue if "jobQueueName" in body else self._environment
            if look(name) is not None:
                return
            if "instance" in exc.message.lower() and code_of(exc) in _REFUSED:
                raise CapacityError(
                    exc.message, hint="another machine or region: rpac catalog show aws"
                ) from exc
            raise

    def _until_valid(
        self, what: str, name: str, look: Callable[[str], tuple[str, str] | None]
    ) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            found = look(name)
            if found and found[1] == "VALID":
                if found[0] != "ENABLED":
                    raise ProvisioningError(
                        f"the {what} {name} is disabled", hint="enable or delete it, then try again"
                    )
                return
            if found and found[1] == "INVALID":
                raise ProvisioningError(
                    f"AWS calls the {what} {name} invalid: {self._why(name)}",
                    hint="rpac doctor aws says which right or quota is missing",
                )
            if time.monotonic() > deadline:
                raise ProvisioningError(f"the {what} {name} is not ready after {READY_S:.0f} s")
            time.sleep(POLL_S)

    def _why(self, name: str) -> str:
        with translated("looking at the compute environment"):
            found = self._batch.describe_compute_environments(computeEnvironments=[name])
        reasons = [e.get("statusReason", "") for e in found["computeEnvironments"]]
        return next(filter(None, reasons), "no reason given")

    def _environment(self, name: str) -> tuple[str, str] | None:
        with translated("looking at the compute environment"):
            found = self._batch.describe_compute_environments(computeEnvironments=[name])
        return next(((e["state"], e["status"]) for e in found["computeEnvironments"]), None)

    def _queue(self, name: str) -> tuple[str, str] | None:
        with translated("looking at the job queue"):
            found = self._batch.describe_job_queues(jobQueues=[name])
        return next(((q["state"], q["status"]) for q in found["jobQueues"]), None)
