"""What AWS's SDK raises leaves as errors of rpac, without gaps; clients are those of the rules."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from rpac_ci.clouds.aws.clients import Aws, clients
from rpac_ci.clouds.aws.errors import CODES, code_of, translated
from rpac_ci.errors import (
    CapacityError,
    CloudError,
    CommandError,
    CredentialsError,
    QuotaError,
    RpacError,
    SignInError,
    ThrottledError,
)


def raised(error: Exception) -> RpacError:
    with pytest.raises(RpacError) as caught, translated("submitting the job"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


def answer(code: str, status: int = 400, message: str = "why") -> ClientError:
    told: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(told, "SubmitJob")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", CredentialsError), ("ExpiredTokenException", SignInError),
        ("Client.UnauthorizedOperation", CredentialsError), ("VcpuLimitExceeded", QuotaError),
        ("InsufficientInstanceCapacity", CapacityError), ("ThrottlingException", ThrottledError),
        ("SlowDown", ThrottledError), ("ClientException", CloudError),
    ],
)  # fmt: skip
def test_codes_have_their_kind(code: str, kind: type[CloudError]) -> None:
    error = raised(answer(code))
    assert type(error) is kind
    assert error.message == f"submitting the job: AWS says {code}: why"
    assert code_of(error) == code
    assert error.transient is (kind in (SignInError, ThrottledError))


def test_every_kind_has_codes_and_a_hint() -> None:
    for code, kind in CODES.items():
        error = raised(answer(code))
        assert type(error) is kind
        assert error.hint


def test_what_may_succeed_later_says_so() -> None:
    assert raised(answer("InternalFailure", 500)).transient
    assert not raised(answer("ClientException", 400)).transient
    for error in (
        exceptions.ReadTimeoutError(endpoint_url="http://x"),
        exceptions.ConnectTimeoutError(endpoint_url="http://x"),
        exceptions.EndpointConnectionError(endpoint_url="http://x"),
        ResponseParserError("no XML"),
    ):
        assert raised(error).transient
    assert not raised(exceptions.ParamValidationError(report="wrong")).transient


def test_those_who_are_not_signed_in_are_told_how() -> None:
    for error in (
        exceptions.NoCredentialsError(),
        exceptions.ProfileNotFound(profile="lab"),
        exceptions.UnauthorizedSSOTokenError(),
        exceptions.CredentialRetrievalError(provider="x", error_msg="y"),
    ):
        told = raised(error)
        assert isinstance(told, CredentialsError)
        assert "sign in" in told.hint
    assert isinstance(raised(exceptions.NoRegionError()), CommandError)


def test_long_answers_are_cut() -> None:
    assert len(raised(answer("AccessDenied", message="x" * 9000)).message) < 600


def test_it_decorates_functions_and_lets_others_through() -> None:
    @translated("looking")
    def look() -> int:
        return 1

    assert look() == 1
    with pytest.raises(ZeroDivisionError), translated("looking"):
        _ = 1 / 0
    assert code_of(None) == ""


def test_clients_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    aws = clients("eu-central-1")
    config = aws.batch.meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 30)
    assert config.retries["mode"] == "standard"
    assert config.retries["total_max_attempts"] == 4
    assert "rpac/" in config.user_agent
    assert aws.batch is aws.batch
    assert aws.endpoint() is None
    for name in ("s3", "ec2", "logs", "cloudformation", "sts", "iam", "ssm", "quotas"):
        assert getattr(aws, name).meta.config.read_timeout == 30


def test_another_endpoint_is_named_and_one_that_is_not_there_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setattr("rpac_ci.clouds.aws.clients.TRIES", 1)
        aws = Aws("eu-central-1")
        assert aws.endpoint() == f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CloudError) as caught, translated("asking who this is"):
            aws.sts.get_caller_identity()
    assert caught.value.transient
