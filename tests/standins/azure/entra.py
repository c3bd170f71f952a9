"""
Where programs outside of Azure get tokens of its services: Microsoft Entra, as far as it exchanges
the token of a job on GitHub for that of an identity with a federated credential.

Issuer, subject and audience are compared as a whole, letter by letter, as there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qs

from tests.standins import oidc
from tests.standins.oidc import Issuer

TENANT = "fedcba98-7654-3210-fedc-ba9876543210"
CLIENT = "76543210-fedc-ba98-7654-3210fedcba98"  # of the identity that jobs on GitHub act as
AUDIENCE = "api://AzureADTokenExchange"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
Answer: TypeAlias = tuple[int, dict[str, str], bytes]


@dataclass
class Entra:
    """One directory with one identity; without a federated credential nobody gets a token."""

    mint: Callable[[str, str], str]  # a token for a resource and a client
    issuer: Issuer | None = None  # of the federated credential
    subject: str = oidc.SUBJECT
    calls: list[str] = field(default_factory=list)  # resources that tokens were given for

    def answer(self, path: str, body: bytes) -> Answer:
        """A request for a token."""
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        said = self._refusal(path, form)
        if said:
            code, description = said
            refused = {
                "error": "invalid_client", "error_codes": [code],
                "error_description": f"AADSTS{code}: {description} Trace ID: 0 Correlation ID: 0",
            }  # fmt: skip
            return 401, {"content-type": "application/json"}, json.dumps(refused).encode()
        resource = form["scope"].removesuffix("/.default")
        self.calls.append(resource)
        given = {
            "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599,
            "access_token": self.mint(resource, form["client_id"]),
        }  # fmt: skip
        return 200, {"content-type": "application/json"}, json.dumps(given).encode()

    def _refusal(self, path: str, form: dict[str, str]) -> tuple[int, str] | None:
        if path != f"/{TENANT}/oauth2/v2.0/token":
            return 90002, f"Tenant '{path.split('/')[1]}' not found."
        if form.get("client_id") != CLIENT:
            return 700016, f"Application with identifier '{form.get('client_id')}' was not found."
        kind = (form.get("grant_type"), form.get("client_assertion_type"))
        if kind != ("client_credentials", ASSERTION) or not form["scope"].endswith("/.default"):
            return 900144, "The request body must contain other parameters."
        token = form["client_assertion"]
        if self.issuer is None or token not in self.issuer.given:
            return 700027, "The client assertion failed signature validation."
        claims = oidc.claims(token)
        if not claims["nbf"] <= time.time() < claims["exp"]:
            return 700024, "Client assertion is not within its valid time range."
        for code, name, wanted in (
            (700211, "issuer", oidc.ISSUER),
            (700212, "audience", AUDIENCE),
            (700213, "subject", self.subject),
        ):
            found = claims[{"issuer": "iss", "audience": "aud", "subject": "sub"}[name]]
            if found != wanted:
                return code, (
                    "No matching federated identity record found for presented assertion "
                    f"{name} '{found}'."
                )
        return None
