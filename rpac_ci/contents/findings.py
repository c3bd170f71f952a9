"""What is wanted of a comparison, and what it found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Final, TypedDict

IDENTICAL: Final = "identical"
SAME_CONTENT: Final = "same content"
WITHIN_TOLERANCE: Final = "within tolerance"
DIFFERENT: Final = "different"
NOT_COMPARED: Final = "not compared"

# Attributes that say when, with what and under which number a file was written, not what is in it.
# Patterns in lower case; the attribute's case does not count.
VOLATILE: Final = (
    # times of writing: ACDD, CMIP, NASA and ESA products
    "created", "creation_date", "creation_time", "creationdate", "date_created", "date_issued",
    "date_metadata_modified", "date_modified", "file_creation_date", "file_creation_time",
    "production_date", "production_date_time", "production_time", "productiondatetime",
    # what wrote it: netCDF library, NCO, CDO
    "_ncproperties", "cdi", "cdo", "cdo_openmp_thread_number", "history",
    "history_of_appended_files", "nco", "nco_openmp_thread_number",
    # numbers drawn anew for every file: CMIP tracking ids, UUIDs
    "tracking_id", "uuid",
)  # fmt: skip


class UnreadableError(Exception):
    """A file, or a part of it, cannot be read or cannot be compared; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """|observed - reference| <= abs_tol + rel_tol * |reference|, as numpy.isclose has it."""

    abs_tol: float = 0.0
    rel_tol: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.abs_tol, self.rel_tol):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"a tolerance is a finite number of at least 0, not {value}")

    @property
    def exact(self) -> bool:
        """Whether nothing is tolerated."""
        return self.abs_tol == 0 and self.rel_tol == 0


class WantedJson(TypedDict):
    """`Wanted` for another process."""

    tolerance: dict[str, float]
    variables: dict[str, dict[str, float]]
    ignore: list[str]
    equal_nan: bool
    key: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    How a file is to be compared.

    A name is that of a variable, column or array, with its groups before it (`group/variable`);
    a pattern is an fnmatch pattern of whole names, whose `*` also matches `/`.

    Args:
        tolerance: of numbers; names, structure, attributes, text and times are always exact.
        variables: tolerances by pattern, the first that matches counts.
        ignore: patterns of what may differ or be missing: `variable` (or a group, with all that is
            in it), `@attribute` of anything, `variable@attribute`.
        equal_nan: NaN in the same places is equal; else any NaN is a difference.
        key: the columns that identify a row of a table; rows are matched by them.
    """

    tolerance: Tolerance = Tolerance()
    variables: Mapping[str, Tolerance] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    equal_nan: bool = True
    key: tuple[str, ...] = ()

    def tolerance_of(self, name: str) -> Tolerance:
        """The tolerance of one variable."""
        found = (t for pattern, t in self.variables.items() if matches(name, pattern))
        return next(found, self.tolerance)

    def ignores(self, name: str) -> bool:
        """Whether a variable or group, or a group it is in, is left out."""
        parts = name.split("/")
        wholes = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        patterns = [pattern for pattern in self.ignore if "@" not in pattern]
        return any(matches(whole, pattern) for whole in wholes for pattern in patterns)

    def ignores_attribute(self, owner: str, attribute: str) -> bool:
        """Whether an attribute is left out; what is in `VOLATILE` always is."""
        if any(fnmatchcase(attribute.lower(), pattern) for pattern in VOLATILE):
            return True
        return any(
            matches(attribute, name) and (not of or matches(owner, of))
            for of, at, name in (pattern.rpartition("@") for pattern in self.ignore)
            if at
        )

    def to_json(self) -> WantedJson:
        """Plain values, for another process."""
        return WantedJson(
            tolerance=asdict(self.tolerance),
            variables={name: asdict(tolerance) for name, tolerance in self.variables.items()},
            ignore=list(self.ignore), equal_nan=self.equal_nan, key=list(self.key),
        )  # fmt: skip

    @classmethod
    def from_json(cls, raw: WantedJson) -> Wanted:
        """The inverse of `to_json`."""
        return cls(
            tolerance=Tolerance(**raw["tolerance"]),
            variables={name: Tolerance(**values) for name, values in raw["variables"].items()},
            ignore=tuple(raw["ignore"]), equal_nan=raw["equal_nan"], key=tuple(raw["key"]),
        )  # fmt: skip


class FindingJson(TypedDict):
    """`Finding` for another process or a record."""

    agreement: str
    note: str
    max_abs: float | None
    max_rel: float | None
    differing: int | None
    total: int | None
    variable: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    What the comparison of two files found.

    Args:
        agreement: one of the five words above.
        note: the first few differences in words, or why nothing was compared; one line.
        max_abs: largest |observed - reference| in `variable`; None when it has no finite one.
        max_rel: largest |observed - reference| / |reference| in `variable`, likewise.
        differing: how many values of `variable` are not equal, within the tolerance or not.
        total: how many values `variable` has; without a variable, how many were compared.
        variable: the one that differs most.
    """

    agreement: str
    note: str = ""
    max_abs: float | None = None
    max_rel: float | None = None
    differing: int | None = None
    total: int | None = None
    variable: str | None = None

    def to_json(self) -> FindingJson:
        """Plain values: finite numbers, text and None."""
        return FindingJson(
            agreement=self.agreement, note=self.note, max_abs=self.max_abs, max_rel=self.max_rel,
            differing=self.differing, total=self.total, variable=self.variable,
        )  # fmt: skip

    @classmethod
    def from_json(cls, raw: FindingJson) -> Finding:
        """The inverse of `to_json`."""
        return cls(**raw)


def not_compared(reason: str) -> Finding:
    """The finding when there is none, with its reason."""
    return Finding(agreement=NOT_COMPARED, note=printable(reason, limit=400))


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern means a name; a name with `[` or `*` in it also means itself."""
    return name == pattern or fnmatchcase(name, pattern)


def printable(text: object, *, limit: int = 80) -> str:
    """Text out of a file on one line, without control characters, cut in the middle."""
    line = " ".join(str(text).split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    if len(line) <= limit:
        return line
    half = (limit - 3) // 2
    return f"{line[:half]}...{line[-half:]}"


def listed(names: Iterable[str], *, limit: int = 5) -> str:
    """A few of several names, and how many there are more."""
    shown = [printable(name, limit=40) for name in sorted(names)]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
