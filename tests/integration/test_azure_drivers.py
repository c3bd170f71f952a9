"""Drivers of runs on Azure: killed ones, several at once, those with other clocks or no rights."""

from __future__ import annotations

import os

import pytest

from tests.conftest import campaign
from tests.integration.azure_lab import CHANGING, REPRODUCED, Lab
from tests.integration.azure_lab import account_fixture as account_fixture
from tests.integration.azure_lab import lab_fixture as lab_fixture
from tests.integration.azure_lab import server_fixture as server_fixture
from tests.standins.aftermath import ended
from tests.standins.azure.rest import Call
from tests.standins.faults import start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("action", campaign(CHANGING, every=2))
def test_a_driver_that_is_killed_is_followed_by_another(lab: Lab, action: str) -> None:
    killed: list[int] = []

    def kill(call: Call) -> None:
        if call.action == action and not killed:
            killed.append(going.pid)
            os.kill(going.pid, 9)

    lab.account.api.after = kill
    going = start(lab.rpac.root, "reproduce", "quick", "cloud=azure")
    assert ended(going).returncode == -9
    done = lab.rpac("advance", "--all")
    assert done.code == 0, done.out + done.err
    lab.is_over(REPRODUCED)
    assert lab.account.api.count()["CreateTasks"] <= 2
