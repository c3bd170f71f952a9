"""
The system that nodes boot: chosen when it is needed, from what the Batch service supports that day.

A name in a file rots: images reach their end of life, and pools of them are refused. What was
taken is in the record, down to the exact version.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rpac_ci.clouds.azure.clients import Azure
from rpac_ci.clouds.azure.errors import translated
from rpac_ci.clouds.azure.requests import MachineImage
from rpac_ci.errors import ProvisioningError

if TYPE_CHECKING:
    from azure.batch.models import BatchSupportedImage

# Microsoft's own, with Docker and the drivers of GPUs and networks; it is what others use as well
PUBLISHER, OFFER = "microsoft-dsvm", "ubuntu-hpc"
CONTAINERS = "DockerCompatible"
SPARE = timedelta(days=1)  # a run that begins now must be able to end
FRESH_S = 600.0


class Systems:
    """What the service supports, asked once in a while for all runs of this process."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._newest: MachineImage | None = None

    def newest(self) -> MachineImage:
        """
        The one that `choose` takes, as it was at most `FRESH_S` ago.

        Raises:
            ProvisioningError: there is none.
            CloudError: the service does not say.
        """
        with self._lock:
            if self._newest is None or time.monotonic() - self._asked > FRESH_S:
                with translated("asking which images there are"):
                    self._newest = choose(self._azure.batch.list_supported_images())
                self._asked = time.monotonic()
            return self._newest


def choose(supported: Iterable[BatchSupportedImage], now: datetime | None = None) -> MachineImage:
    """
    The newest that runs containers and is not at its end.

    Args:
        supported: what the service lists.
        now: in UTC; by default this moment.

    Raises:
        ProvisioningError: there is none, with what there is instead.
    """
    limit, ended, fit = (now or datetime.now(UTC)) + SPARE, [], []
    for image in supported:
        known = image.image_reference
        if (known.publisher, known.offer) != (PUBLISHER, OFFER):
            continue
        if image.os_type != "linux" or CONTAINERS not in (image.capabilities or []):
            continue
        end = image.batch_support_end_of_life
        if end is not None and end < limit:
            ended.append(f"{known.sku} ({end:%Y-%m-%d})")
            continue
        fit.append((known.sku or "", image))
    if not fit:
        past = f"; past their end of life: {', '.join(sorted(ended))}" if ended else ""
        raise ProvisioningError(
            f"Azure Batch supports no image {PUBLISHER}:{OFFER} that runs containers{past}",
            hint="a newer rpac may know another image",
        )
    sku, image = max(fit, key=lambda one: one[0])
    return MachineImage(
        publisher=PUBLISHER, offer=OFFER, sku=sku,
        version=image.image_reference.version or "latest", agent=image.node_agent_sku_id,
    )  # fmt: skip
