"""
Does the content of one output file agree with that of a reference file?

Bytes differ for many reasons that do not matter: the time of writing, compression, the order of
attributes. This package reads both files and compares what they say, in the order

    `kinds` which format   →  `compare` which reader  →  `arrays`, `tables`, `datasets` the reader
    →  `values` the numbers  →  `report` one `Finding`

`compare_apart` does so in another process, for readers may crash on a damaged file. One rule stands
above all: no false agreement. What cannot be read in full is `not compared`, with the reason.
"""

from rpac_ci.contents.apart import compare_apart
from rpac_ci.contents.compare import compare_files
from rpac_ci.contents.findings import (
    DIFFERENT,
    IDENTICAL,
    NOT_COMPARED,
    SAME_CONTENT,
    VOLATILE,
    WITHIN_TOLERANCE,
    Finding,
    Tolerance,
    Wanted,
)
from rpac_ci.contents.kinds import Kind, kind_of, missing_packages

__all__ = [
    "DIFFERENT",
    "IDENTICAL",
    "NOT_COMPARED",
    "SAME_CONTENT",
    "VOLATILE",
    "WITHIN_TOLERANCE",
    "Finding",
    "Kind",
    "Tolerance",
    "Wanted",
    "compare_apart",
    "compare_files",
    "kind_of",
    "missing_packages",
]
