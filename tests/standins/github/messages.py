"""A request and a response as bytes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Request:
    """What a client asks; `path` is without the API's prefix and without the query."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    kind: str  # api or git

    @property
    def credential(self) -> str | None:
        """The token, from any form that GitHub takes; None where there is none."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() in {"token", "bearer"}:
            return value.strip()
        if scheme.lower() != "basic":
            return None
        try:
            text = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""
        user, _, password = text.partition(":")
        return password or user


@dataclass
class Response:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Logged:
    """A request that was answered; status 0: it was hung up on."""

    method: str
    path: str
    status: int
    kind: str

    @property
    def words(self) -> str:
        """In short, with N for numbers and commits: `POST /repos/lab/data/issues/N/comments`."""
        return f"{self.method} {re.sub(r'(?<=/)([0-9]+|[0-9a-f]{40})(?=/|$)', 'N', self.path)}"
