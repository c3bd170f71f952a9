"""
What an account may have at most, known before machines are asked for in vain. Optional.

Cores of dedicated machines are limited for the account as a whole or, where Azure enforces that,
for each family of machines; then the whole does not count. To which family a machine belongs, the
list of machines of the location says. Spot machines and those of one's own subscription have
quotas elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from rpac_ci.clouds.azure.clients import Azure
from rpac_ci.clouds.azure.errors import HINTS, translated
from rpac_ci.errors import CloudError, QuotaError
from rpac_ci.quantities import count

FRESH_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The account's limits; None where it says nothing."""

    pools: int | None = None
    jobs: int | None = None  # that are not over
    cores: int | None = None  # of dedicated machines of all families
    by_family: Mapping[str, int] | None = None  # cores; where it is there, it counts
    families: Mapping[str, str] = field(default_factory=dict)  # by machine

    def cores_for(self, machine: str, *, spot: bool) -> int | None:
        """How many cores of such machines there may be; None: not known."""
        if spot:
            return None
        if self.by_family is None:
            return self.cores
        return self.by_family.get(self.family(machine).lower())

    def family(self, machine: str) -> str:
        """The machine's, where there is a limit for it; else, and where it is not known, empty."""
        return self.families.get(machine.lower(), "") if self.by_family is not None else ""


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
        limits = Quota(pools=found.pool_quota, jobs=found.active_job_and_job_schedule_quota)
        if found.pool_allocation_mode != "BatchService":
            return limits
        if not found.dedicated_core_quota_per_vm_family_enforced:
            return replace(limits, cores=found.dedicated_core_quota)
        cores = {
            one.name.lower(): one.core_quota
            for one in found.dedicated_core_quota_per_vm_family or []
            if one.name and one.core_quota is not None
        }
        return replace(limits, by_family=cores, families=self._families)

    @cached_property
    def _families(self) -> Mapping[str, str]:
        """Families by the names of their machines in small letters."""
        try:
            with translated("reading which machines there are"):
                found = self._azure.managed.location.list_supported_virtual_machine_skus(
                    self._azure.account.location
                )
                return {
                    one.name.lower(): one.family_name
                    for one in found
                    if one.name and one.family_name
                }
        except CloudError:
            return {}

    def check(self, machine: str, cores: int, *, spot: bool) -> None:
        """
        What can never be had is not asked for.

        Args:
            machine: one of Azure's sizes.
            cores: of all machines of a run.
            spot: whether they are spot machines.

        Raises:
            QuotaError: the account may never have that much, with what to ask for.
        """
        quota = self.known()
        if quota is None:
            return
        for what, most in (("pool", quota.pools), ("active job", quota.jobs)):
            if most == 0:
                raise QuotaError(
                    f"the Batch account may have no {what} at all", hint=HINTS[QuotaError]
                )
        most = quota.cores_for(machine, spot=spot)
        if most is None or cores <= most:
            return
        family = f" of {quota.family(machine)}" if quota.family(machine) else ""
        asked = count(cores, "core")
        raise QuotaError(
            f"{asked} are more than the {most}{family} of the Batch account",
            hint=f"{HINTS[QuotaError]}: ask there for at least {asked}{family}",
        )
