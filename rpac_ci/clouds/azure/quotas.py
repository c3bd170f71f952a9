"""What an account may have at most, known before machines are asked for in vain. Optional."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from rpac_ci.clouds.azure.clients import Azure
from rpac_ci.clouds.azure.errors import HINTS, translated
from rpac_ci.errors import CloudError, QuotaError
from rpac_ci.quantities import count

FRESH_S = 600.0


@dataclass(frozen=True, slots=True)
class Quota:
    """The account's limits; None where it says nothing."""

    pools: int | None
    jobs: int | None
    cores: int | None  # of dedicated machines; None in one's own subscription, which has others


class Quotas:
    """Read once in a while; who may not read them goes without."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._known: Quota | None = None

    def known(self) -> Quota | None:
        """The quotas, at most `FRESH_S` old; None when they cannot be read."""
        with self._lock:
            now = time.monotonic()
            if now - self._asked > FRESH_S:
                self._known, self._asked = self._read(), now
            return self._known

    def _read(self) -> Quota | None:
        account = self._azure.account
        try:
            with translated("reading the quotas"):
                found = self._azure.managed.batch_account.get(
                    account.resource_group, account.account
                ).properties
        except CloudError:
            return None
        if found is None:
            return None
        ours = found.pool_allocation_mode == "BatchService"
        return Quota(
            pools=found.pool_quota, jobs=found.active_job_and_job_schedule_quota,
            cores=found.dedicated_core_quota if ours else None,
        )  # fmt: skip

    def check(self, cores: int) -> None:
        """
        Raises:
            QuotaError: the account may never have so many cores at once.
        """
        quota = self.known()
        if quota and quota.cores is not None and cores > quota.cores:
            raise QuotaError(
                f"{count(cores, 'core')} are more than the {quota.cores} of the Batch account",
                hint=HINTS[QuotaError],
            )
