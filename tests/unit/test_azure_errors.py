"""What Azure's SDK raises, as errors of rpac."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
import responses
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import CredentialUnavailableError

from rpac_ci import errors
from rpac_ci.clouds.azure.errors import CODES, HINTS, code_of, error_of, translated


def answer(status: int, body: Any) -> HttpResponseError:
    """An error of the SDK, made as it makes one: from an answer."""
    account = "https://lab.eastus.batch.azure.com"
    client = BatchClient(account, AzureNamedKeyCredential("lab", "a2V5"), retry_total=0)
    with responses.RequestsMock() as server:
        page = re.compile(".*/pools/x")
        server.get(page, body=body, status=status, content_type="application/json")
        with pytest.raises(HttpResponseError) as caught:
            client.get_pool("x")
    return caught.value


def batch(code: str, message: str = "No.\nRequestId:1\nTime:2") -> str:
    return json.dumps({"code": code, "message": {"lang": "en-US", "value": message}})


@pytest.mark.parametrize(
    ("status", "body", "kind", "transient"),
    [
        (409, batch("PoolQuotaReached"), errors.QuotaError, False),
        (409, batch("ActiveJobAndScheduleQuotaReached"), errors.QuotaError, False),
        (403, batch("AuthenticationFailed"), errors.CredentialsError, False),
        (403, batch("SomethingNew"), errors.CredentialsError, False),
        (401, batch("ExpiredAuthenticationToken"), errors.SignInError, True),
        (503, batch("ServerBusy"), errors.ThrottledError, True),
        (429, "{}", errors.ThrottledError, True),
        (500, batch("InternalError"), errors.CloudError, True),
        (502, "<html>", errors.CloudError, True),
        (400, batch("InvalidPropertyValue"), errors.CloudError, False),
        (404, batch("PoolNotFound"), errors.CloudError, False),
    ],
)  # fmt: skip
def test_answers(status: int, body: str, kind: type[errors.CloudError], transient: bool) -> None:
    original = answer(status, body)
    with pytest.raises(errors.CloudError) as caught, translated("looking"):
        raise original
    assert type(caught.value) is kind
    assert caught.value.transient is transient
    assert caught.value.message.startswith("looking: Azure says ")
    assert "RequestId" not in caught.value.message, "one line"
    assert code_of(caught.value) == code_of(original)


@pytest.mark.parametrize(
    ("original", "kind", "transient"),
    [
        (ServiceRequestError("no route"), errors.CloudError, True),
        (ServiceResponseError("cut"), errors.CloudError, True),
        (CredentialUnavailableError(message="nobody\nsecond line"), errors.SignInError, True),
        (ClientAuthenticationError(message="AADSTS700082: expired"), errors.SignInError, True),
    ],
)
def test_no_answer(original: Exception, kind: type[errors.CloudError], transient: bool) -> None:
    with pytest.raises(errors.CloudError) as caught, translated("looking"):
        raise original
    assert type(caught.value) is kind
    assert caught.value.transient is transient
    assert "second line" not in caught.value.message


def test_errors_of_a_resize_are_no_answers_and_translated_alike() -> None:
    assert type(error_of("AccountCoreQuotaReached", "x")) is errors.QuotaError
    assert type(error_of("AllocationTimedout", "x")) is errors.CapacityError
    assert type(error_of("never seen", "x")) is errors.CapacityError
    assert error_of("", "x").hint


def test_every_kind_has_a_hint() -> None:
    assert set(HINTS) == set(CODES.values())


def test_without_the_sdk_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.core.exceptions", None)
    with pytest.raises(errors.CommandError) as caught, translated("looking"):
        pass
    assert "rpac-ci[azure]" in caught.value.hint
