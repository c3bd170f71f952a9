"""Reading values of a known type out of JSON that others wrote; used for events and for answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_OWNER = r"[A-Za-z0-9_-]{1,100}"
_FULL_NAME = re.compile(rf"{_OWNER}/(?!\.{{1,2}}$)[A-Za-z0-9._-]{{1,100}}")
_LOGIN = re.compile(rf"{_OWNER}(\[bot\])?")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_URL = re.compile(r"https?://[!-~]{1,2000}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
# what git never accepts in the name of a branch, and what would look like an option
_NO_REF = re.compile(r"^[-/.]|[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|[/.]$|\.lock(/|$)")
MAX_ID = 2**63 - 1


class FieldError(ValueError):
    """A field is missing or not what it should be; the text names it by its path."""


def is_full_name(text: str) -> bool:
    """Whether a text has the form of `owner/name`."""
    return _FULL_NAME.fullmatch(text) is not None


def is_ref(text: str) -> bool:
    """Whether a text can be the name of a branch or a full ref."""
    return 0 < len(text) <= 255 and text.isprintable() and not _NO_REF.search(text)


def is_sha(text: str) -> bool:
    """Whether a text is the full id of a commit."""
    return _SHA.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Fields:
    """
    One JSON object and where it was found.

    Every method takes the name of a field and raises `FieldError` when it is missing or ill-typed.
    """

    value: dict[str, Json]
    path: str = ""

    @classmethod
    def of(cls, value: Json, path: str = "") -> Fields:
        """Take a value that has to be an object."""
        if not isinstance(value, dict):
            raise FieldError(f"{path or 'the document'}: expected an object")
        return cls(value, path)

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self.value.get(name) is not None

    def object(self, name: str) -> Fields:
        """An object."""
        return Fields.of(self.value.get(name), self._at(name))

    def optional(self, name: str) -> Fields | None:
        """An object; None when it is null or missing."""
        return self.object(name) if self.has(name) else None

    def objects(self, name: str) -> Iterator[Fields]:
        """The objects of a list."""
        items = self.value.get(name)
        if not isinstance(items, list):
            raise self.wrong(name, "a list")
        for number, item in enumerate(items):
            yield Fields.of(item, f"{self._at(name)}[{number}]")

    def text(self, name: str) -> str:
        """Text, with neither lone surrogates nor NUL in it."""
        value = self.value.get(name)
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise self.wrong(name, "text that is valid Unicode") from exc
        if "\0" in value:
            raise self.wrong(name, "text without NUL")
        return value

    def line(self, name: str, limit: int = 1024) -> str:
        """Printable text of one line."""
        value = self.text(name)
        if len(value) > limit or not value.isprintable():
            raise self.wrong(name, f"at most {limit} printable characters")
        return value

    def one_of(self, name: str, *known: str) -> str:
        """One of the words that are known."""
        value = self.text(name)
        if value not in known:
            raise self.wrong(name, " or ".join(known))
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.value.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def id(self, name: str) -> int:
        """A whole number above zero; true is none."""
        value = self.value.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_ID:
            raise self.wrong(name, "a whole number above zero")
        return value

    def count(self, name: str) -> int:
        """A whole number, zero or above."""
        value = self.value.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
            raise self.wrong(name, "a whole number, zero or above")
        return value

    def full_name(self, name: str) -> str:
        """The name of a repository, `owner/name`."""
        return self._matching(name, _FULL_NAME, "owner/name")

    def login(self, name: str) -> str:
        """The name of an account."""
        return self._matching(name, _LOGIN, "the name of an account")

    def sha(self, name: str) -> str:
        """The full id of a commit."""
        return self._matching(name, _SHA, "the full id of a commit")

    def url(self, name: str) -> str:
        """An address on the web."""
        return self._matching(name, _URL, "an address on the web")

    def ref(self, name: str) -> str:
        """The name of a branch, or a full ref."""
        value = self.text(name)
        if not is_ref(value):
            raise self.wrong(name, "the name of a branch")
        return value

    def time(self, name: str) -> datetime:
        """A point in time, in UTC."""
        value = self._matching(name, _TIME, "a time such as 2026-01-02T03:04:05Z")
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError) as exc:
            raise self.wrong(name, "a time such as 2026-01-02T03:04:05Z") from exc

    def wrong(self, name: str, expected: str) -> FieldError:
        """The error that says what a field should have been; it never quotes what was there."""
        return FieldError(f"{self._at(name)}: expected {expected}")

    def _matching(self, name: str, form: re.Pattern[str], expected: str) -> str:
        value = self.text(name)
        if not form.fullmatch(value):
            raise self.wrong(name, expected)
        return value

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name
