"""What Azure's SDK raises, as errors of rpac: one table, used at every call."""

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
    SignInError,
    ThrottledError,
)

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError

MAX_SAID = 500  # characters of Azure's own words

SIGN_IN = "sign in first, for example: az login"

_KINDS: Mapping[type[CloudError], tuple[str, ...]] = MappingProxyType(
    {
        CredentialsError: (
            "AccountIsDisabled", "AuthenticationFailed", "AuthorizationFailed", "Forbidden",
            "InsufficientAccountPermissions", "InvalidAuthenticationInfo",
            "InvalidAuthenticationTokenTenant", "LinkedAuthorizationFailed",
            "SubscriptionNotFound",
        ),
        SignInError: ("ExpiredAuthenticationToken", "InvalidAuthenticationToken"),
        QuotaError: (
            "AccountCoreQuotaReached", "AccountLowPriorityCoreQuotaReached",
            "AccountSpotCoreQuotaReached", "AccountVMSeriesCoreQuotaReached",
            "ActiveJobAndScheduleQuotaReached", "PoolQuotaReached", "QuotaExceeded",
        ),
        CapacityError: (
            "AllocationFailed", "AllocationTimedout", "OverconstrainedAllocationRequest",
            "SkuNotAvailable", "ZonalAllocationFailed",
        ),
        ThrottledError: ("ServerBusy", "TooManyRequests", "TooManyEnableAutoScaleRequests"),
    }
)  # fmt: skip
CODES: Mapping[str, type[CloudError]] = MappingProxyType(
    {code: kind for kind, codes in _KINDS.items() for code in codes}
)
HINTS: Mapping[type[CloudError], str] = MappingProxyType(
    {
        CredentialsError: "which right is missing: rpac doctor azure",
        SignInError: SIGN_IN,
        QuotaError: "quotas of a Batch account are raised in the portal, under Quotas",
        CapacityError: "another machine, region or time may do",
        ThrottledError: "try again later",
    }
)
_STATUS: Mapping[int, type[CloudError]] = MappingProxyType(
    {401: CredentialsError, 403: CredentialsError, 429: ThrottledError, 503: ThrottledError}
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """
    Let what the SDK raises leave as an error of rpac; a context manager and a decorator.

    Args:
        doing: what is being done, such as "making the pool", for the message.

    Raises:
        CredentialsError: who asks is unknown or may not do this.
        SignInError: who asks has to sign in (again).
        QuotaError: the account's limits are reached.
        CapacityError: Azure has no such machines now.
        ThrottledError: asked too often, also after the SDK's own tries.
        CloudError: all else; `transient` when a later try may succeed.
        CommandError: the SDK is not installed.
    """
    try:
        from azure.core.exceptions import (
            AzureError,
            ClientAuthenticationError,
            HttpResponseError,
            IncompleteReadError,
            ServiceRequestError,
            ServiceResponseError,
        )
    except ImportError as exc:
        raise missing_sdk() from exc
    try:
        yield
    except HttpResponseError as exc:
        # also of azure-identity, which then has no answer of Azure's, or that of the sign-in
        if isinstance(exc, ClientAuthenticationError) and not code_of(exc):
            raise SignInError(f"{doing}: {_said(exc)}", hint=SIGN_IN) from exc
        raise _answered(doing, exc) from exc
    except AzureError as exc:
        # no answer at all: nobody knows what happened, so a later try has to look first
        network = (ServiceRequestError, ServiceResponseError, IncompleteReadError)
        raise CloudError(f"{doing}: {_said(exc)}", transient=isinstance(exc, network)) from exc


def code_of(error: BaseException | None) -> str:
    """Azure's code of an error, also of a translated one; empty when Azure gave none."""
    for one in (error, error.__cause__ if error else None):
        said = getattr(one, "error", None)
        if said is not None and getattr(said, "code", None):
            return str(said.code)
    return ""


def error_of(code: str, message: str) -> CloudError:
    """The error for a code that stands in an answer, as those of a resize do."""
    kind = CODES.get(code, CapacityError)
    return kind(message, hint=HINTS[kind])


def missing_sdk() -> CommandError:
    """The SDK is not installed."""
    return CommandError(
        "Azure needs azure-batch, azure-mgmt-batch and azure-identity, which are not installed",
        hint="pip install 'rpac-ci[azure]'",
    )


def _answered(doing: str, exc: HttpResponseError) -> CloudError:
    code, status = code_of(exc), int(exc.status_code or 0)
    known = CODES.get(code) or _STATUS.get(status, CloudError)
    said = _said(exc)
    message = f"{doing}: Azure says {code or status}{': ' if said else ''}{said}"
    if known is CloudError:
        return CloudError(message, transient=status >= 500 or status == 408)
    return known(message, hint=HINTS[known])


def _said(exc: BaseException) -> str:
    """The first line: what follows are ids of the request and all that the SDK knows of it."""
    error = getattr(exc, "error", None)
    text = getattr(error, "message", None) or getattr(exc, "message", None) or str(exc)
    return " ".join((str(text).splitlines() or [""])[0].split())[:MAX_SAID]
