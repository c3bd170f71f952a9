"""Who asks Azure: whom azure-identity finds, and a job on GitHub by the token it was given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.identity import ClientAssertionCredential, DefaultAzureCredential

_FEDERATED = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID")


def credential() -> ClientAssertionCredential | DefaultAzureCredential:
    """
    For every service of Azure; asks nobody yet.

    Where there is a file with a token, it is read whenever a service asks for one: azure-identity's
    own way keeps it for ten minutes, twice as long as GitHub's tokens live, and tells in its errors
    of all other ways, too.

    Raises:
        ImportError: the SDK is not installed.
    """
    from azure.identity import ClientAssertionCredential, DefaultAzureCredential

    file, tenant, client = (os.environ.get(name, "") for name in _FEDERATED)
    if file and tenant and client:
        return ClientAssertionCredential(tenant, client, lambda: Path(file).read_text("utf-8"))
    return DefaultAzureCredential()
