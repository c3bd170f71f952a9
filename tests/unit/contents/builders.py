"""How the tests of file contents say what they expect."""

from __future__ import annotations

from pathlib import Path

from rpac_ci.contents import Finding, Tolerance, Wanted, compare_files

EXACT = Wanted()


def within(abs_tol: float = 0.0, rel_tol: float = 0.0) -> Wanted:
    """A comparison with one tolerance for all."""
    return Wanted(tolerance=Tolerance(abs_tol=abs_tol, rel_tol=rel_tol))


def ignoring(*patterns: str) -> Wanted:
    """An exact comparison that leaves something out."""
    return Wanted(ignore=patterns)


def check(
    reference: Path, observed: Path, wanted: Wanted, agreement: str, note: str = ""
) -> Finding:
    """Compare two files by the reference's name and hold the finding against what is expected."""
    finding = compare_files(reference, observed, wanted, name=reference.name)
    assert finding.agreement == agreement, finding.note
    assert note in finding.note
    assert finding.note.isprintable()
    assert Finding.from_json(finding.to_json()) == finding
    return finding
