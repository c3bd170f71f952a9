"""`rpac gc azure`: the rules are those of `test_aws_gc`; the container keeps to them, too."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rpac_ci import garbage
from tests.integration.azure_lab import REPRODUCED, Lab
from tests.integration.azure_lab import account_fixture as account_fixture
from tests.integration.azure_lab import lab_fixture as lab_fixture
from tests.integration.azure_lab import server_fixture as server_fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def keys(lab: Lab) -> set[str]:
    return {entry.key for entry in lab.storage.list("")} - {garbage.CLOCK}


def test_what_nobody_needs_goes_when_it_is_old_enough_and_somebody_agrees(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab.reproduce().code == 0
    lab.is_over(REPRODUCED)
    before = keys(lab)
    assert lab.rpac("gc", "azure", "--yes").out == "0 B could be freed\n"  # all of it is young

    monkeypatch.setattr(garbage, "CONTENT_KEPT", timedelta())
    told = lab.rpac("gc", "azure", "--dry-run", "--json").json
    goes = {item["key"] for item in told["removed"]}
    assert any(key.startswith("content/") for key in goes)
    refused = lab.rpac("gc", "azure")
    assert refused.code != 0
    assert "rpac gc azure --yes" in refused.err
    assert keys(lab) == before

    assert lab.rpac("gc", "azure", "--yes").code == 0
    assert keys(lab) == before - goes
    assert any("/outputs/" in key for key in keys(lab))  # and logs: people read them for long
