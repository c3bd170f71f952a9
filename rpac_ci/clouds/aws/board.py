"""What AWS says about jobs, for all runs together: one DescribeJobs for up to a hundred of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from rpac_ci.clouds.board import FRESH_S, Board

PAGE = 100  # jobs of one DescribeJobs

Description: TypeAlias = dict[str, Any]
Describe: TypeAlias = Callable[[list[str]], list[Description]]


class JobBoard(Board[Description]):
    """The last known description of every job that somebody watches."""

    def __init__(self, describe: Describe, *, fresh_s: float = FRESH_S) -> None:
        """
        Args:
            describe: asks AWS about at most `PAGE` jobs.
            fresh_s: an answer younger than this is given again, in seconds.
        """

        def ask(watched: frozenset[str]) -> dict[str, Description]:
            return {
                said["jobId"]: said for page in pages(sorted(watched)) for said in describe(page)
            }

        super().__init__(ask, fresh=lambda _: fresh_s)


def pages(ids: Iterable[str]) -> Iterator[list[str]]:
    """Ids in groups that one DescribeJobs takes."""
    listed = list(ids)
    for start in range(0, len(listed), PAGE):
        yield listed[start : start + PAGE]
