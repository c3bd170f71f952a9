"""From requests to typed values: one object, the pages of a list, and things that are made once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from rpac_ci.errors import GitHubError
from rpac_ci.github.fields import FieldError, Fields, Json
from rpac_ci.github.transport import TRIES, Answer, Query, Transport, UnclearError

T = TypeVar("T")

PAGE = 100
MAX_PAGES = 30

_LAST = re.compile(r'[?&]page=([0-9]{1,6})[^>]*>; *rel="last"')


class Calls:
    """Typed requests about one repository; what `GitHub` is built on."""

    def __init__(self, transport: Transport, repository: str) -> None:
        self._transport, self._root = transport, f"/repos/{repository}"

    def get(self, path: str, reader: Callable[[Fields], T]) -> T:
        """One object; the path is below the repository's."""
        return read(reader, self._transport.call("GET", self._root + path))

    def get_or_none(self, path: str, reader: Callable[[Fields], T]) -> T | None:
        """One object; None where there is none."""
        try:
            return self.get(path, reader)
        except GitHubError as exc:
            if exc.status == 404:
                return None
            raise

    def send(self, verb: str, path: str, body: Json = None, *, repeat: bool | None = None) -> None:
        """Change something whose answer says nothing new."""
        self._transport.call(verb, self._root + path, body=body, repeat=repeat)

    def pages(
        self,
        path: str,
        reader: Callable[[Fields], T],
        query: Query | None = None,
        *,
        within: str = "",
        enough: int | None = None,
    ) -> Iterator[T]:
        """
        Items of all pages of a list.

        Args:
            path: below the repository's.
            reader: of one item.
            query: parameters, beside those for pages.
            within: the field of the list where the answer is an object.
            enough: how many pages are looked at; all by default.

        Raises:
            GitHubError: there are more pages than anybody reads.
        """
        for number in range(1, (enough or MAX_PAGES) + 1):
            items, answer = self._page(path, number, query, within)
            for item in items:
                yield readable(reader, item)
            if not _has_next(answer, len(items)):
                return
        if enough is None and self._page(path, MAX_PAGES + 1, query, within)[0]:
            raise GitHubError(f"GitHub lists more than {MAX_PAGES * PAGE} items for {path}")

    def newest_first(self, path: str, query: Query | None = None) -> Iterator[Fields]:
        """Items of a list that GitHub sorts by age only, the newest first."""
        first, answer = self._page(path, 1, query)
        last = _LAST.search(answer.headers.get("link", ""))
        numbers = list(range(int(last[1]) if last else 1, 1, -1))
        for number in numbers[: MAX_PAGES - 1]:
            yield from reversed(self._page(path, number, query)[0])
        yield from reversed(first)

    def create(
        self,
        path: str,
        body: Mapping[str, Json],
        reader: Callable[[Fields], T],
        find: Callable[[], T | None],
    ) -> T:
        """
        Make something once: when an answer is lost, look for the thing before asking again.

        Args:
            path: below the repository's.
            body: what to make.
            reader: of the answer.
            find: looks for what may have been made.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return read(
                    reader, self._transport.call("POST", self._root + path, body=dict(body))
                )
            except UnclearError:
                self._transport.pause(attempt)  # it may be in the making
                if (found := find()) is not None:
                    return found
                if attempt == TRIES:
                    raise
        raise AssertionError("unreachable")

    def user_id(self) -> int | None:
        """Id of the token's user; None with a token that is no user's."""
        try:
            return read(lambda user: user.id("id"), self._transport.call("GET", "/user"))
        except GitHubError as exc:
            if exc.status in {401, 403, 404}:
                return None
            raise

    def _page(
        self, path: str, number: int, query: Query | None = None, within: str = ""
    ) -> tuple[list[Fields], Answer]:
        asked: Query = {**(query or {}), "per_page": PAGE, "page": number}
        answer = self._transport.call("GET", self._root + path, query=asked)
        body = answer.body if within else {"list": answer.body}
        return readable(lambda fields: list(fields.objects(within or "list")), body), answer


def read(reader: Callable[[Fields], T], answer: Answer) -> T:
    """Read an answer, as `readable` does."""
    return readable(reader, answer.body)


def readable(reader: Callable[[Fields], T], body: Json | Fields) -> T:
    """
    Read what GitHub sent.

    Raises:
        UnclearError: it is not what GitHub describes.
    """
    try:
        return reader(body if isinstance(body, Fields) else Fields.of(body, "the answer"))
    except FieldError as exc:
        raise UnclearError(
            f"GitHub's answer is not understood: {exc}",
            hint="is the address of the API right, and is it GitHub that answers?",
        ) from exc


def _has_next(answer: Answer, items: int) -> bool:
    link = answer.headers.get("link", "")
    # without links a full page is all that hints at another one
    return 'rel="next"' in link if link else items == PAGE
