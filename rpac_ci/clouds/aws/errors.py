"""What AWS's SDK raises, as errors of rpac: one table, used at every call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

MAX_SAID = 500  # characters of AWS's own words: some messages hold kilobytes of encoded details

SIGN_IN = "sign in first, for example: aws sso login, or aws configure"

_KINDS: Mapping[type[CloudError], tuple[str, ...]] = MappingProxyType(
    {
        CredentialsError: (
            "AccessDenied", "AccessDeniedException", "AuthFailure", "Forbidden",
            "IDPCommunicationError", "IDPRejectedClaim", "InvalidAccessKeyId",
            "InvalidClientTokenId", "InvalidIdentityToken", "InvalidSignatureException",
            "InvalidToken", "MissingAuthenticationToken", "NotAuthorized", "OptInRequired",
            "RequestTimeTooSkewed", "SignatureDoesNotMatch", "UnauthorizedOperation",
            "UnrecognizedClientException", "403",
        ),
        SignInError: (
            "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired",
        ),
        QuotaError: (
            "AddressLimitExceeded", "InstanceLimitExceeded", "InternetGatewayLimitExceeded",
            "LimitExceeded", "LimitExceededException", "MaxSpotInstanceCountExceeded",
            "NatGatewayLimitExceeded", "ParameterLimitExceeded", "ResourceLimitExceeded",
            "SecurityGroupLimitExceeded", "ServiceQuotaExceededException", "TooManyBuckets",
            "VcpuLimitExceeded", "VolumeLimitExceeded", "VpcLimitExceeded",
        ),
        CapacityError: (
            "InsufficientCapacity", "InsufficientFreeAddressesInSubnet",
            "InsufficientHostCapacity", "InsufficientInstanceCapacity",
            "InsufficientReservedInstanceCapacity", "SpotMaxPriceTooLow", "Unsupported",
            "UnfulfillableCapacity",
        ),
        ThrottledError: (
            "BandwidthLimitExceeded", "EC2ThrottledException", "PriorRequestNotComplete",
            "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown",
            "ThrottledException", "Throttling", "ThrottlingException",
            "TooManyRequestsException",
        ),
    }
)  # fmt: skip
CODES: Mapping[str, type[CloudError]] = MappingProxyType(
    {code: kind for kind, codes in _KINDS.items() for code in codes}
)
_HINTS: Mapping[type[CloudError], str] = MappingProxyType(
    {
        CredentialsError: "which right is missing: rpac doctor aws",
        SignInError: SIGN_IN,
        QuotaError: "quotas are raised at https://console.aws.amazon.com/servicequotas",
        CapacityError: "another machine, region or time may do",
        ThrottledError: "try again later",
    }
)
_NO_CREDENTIALS = (
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
    "ProfileNotFound", "TokenRetrievalError", "SSOError", "UnauthorizedSSOTokenError",
    "SSOTokenLoadError", "NoAuthTokenError", "InvalidConfigError", "LoginError",
)  # fmt: skip


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """
    Let what the SDK raises leave as an error of rpac; a context manager and a decorator.

    Args:
        doing: what is being done, such as "submitting the job", for the message.

    Raises:
        CredentialsError: who asks is unknown or may not do this.
        SignInError: who asks has to sign in (again).
        QuotaError: the account's limits are reached.
        CapacityError: AWS has no such machines now.
        ThrottledError: asked too often, also after the SDK's own tries.
        CloudError: all else; `transient` when a later try may succeed.
        CommandError: no region is set.
    """
    try:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError
    except ImportError as exc:
        raise missing_sdk() from exc
    try:
        yield
    except ClientError as exc:
        raise _answered(doing, exc) from exc
    except BotoCoreError as exc:
        raise _unanswered(doing, exc) from exc
    except ResponseParserError as exc:  # none of the two: a proxy's page, for example
        said = "the answer is not one of AWS"
        raise CloudError(f"{doing}: {said}", transient=True) from exc


def code_of(error: BaseException | None) -> str:
    """AWS's code of an error, also of a translated one; empty when AWS did not answer."""
    if error is None:
        return ""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def missing_sdk() -> CommandError:
    """boto3 is not installed."""
    return CommandError(
        "AWS needs boto3, which is not installed", hint="pip install 'rpac-ci[aws]'"
    )


def _answered(doing: str, exc: ClientError) -> CloudError:
    error = exc.response.get("Error", {})
    code = str(error.get("Code", ""))
    status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    # EC2's codes may have a second part: Client.VcpuLimitExceeded, VpcLimitExceeded.Foo
    known = next((CODES[part] for part in (code, *code.split(".")) if part in CODES), CloudError)
    said = " ".join(str(error.get("Message", "")).split())[:MAX_SAID]
    message = f"{doing}: AWS says {code or status}{': ' if said else ''}{said}"
    if known is CloudError:
        return CloudError(message, transient=status >= 500)
    return known(message, hint=_HINTS[known])


def _unanswered(doing: str, exc: BotoCoreError) -> RpacError:
    from botocore import exceptions

    said = " ".join(str(exc).split())[:MAX_SAID]
    names = {kind.__name__ for kind in type(exc).__mro__}
    if names & set(_NO_CREDENTIALS):
        return SignInError(f"{doing}: {said}", hint=SIGN_IN)
    if isinstance(exc, exceptions.NoRegionError):
        return CommandError("no region of AWS is set", hint="--region, or AWS_REGION")
    # no answer at all: nobody knows what happened, so a later try has to look first
    network = isinstance(exc, (exceptions.HTTPClientError, exceptions.ConnectionError))
    return CloudError(f"{doing}: {said}", transient=network)
