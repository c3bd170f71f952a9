"""
`make nightly`: change the decisions in small ways, one at a time, and see whether a test notices.

mutmut does it, with the modules and tests named in pyproject.toml, on copies in `mutants/`. A
mutant that survives shows a rule that no test states, or a change that has no effect; the latter
stand in `assets/surviving_mutants.txt`, each below the reason.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

KNOWN = Path(__file__).parent / "assets" / "surviving_mutants.txt"
PROCESSES = 2
KILLED = ("killed", "timeout")  # of mutmut's words; whatever else became of a mutant is looked at


def main() -> int:
    """Run all mutants and print the survivors; 1 when one of them is not known."""
    shutil.rmtree("mutants", ignore_errors=True)  # results of other tests say nothing
    run = _mutmut("run", "--max-children", str(PROCESSES))
    if run.returncode:
        print(run.stdout[-4000:], run.stderr, sep="\n")
        return run.returncode
    mutants = dict(sorted(_results(_mutmut("results", "--all", "true").stdout)))
    survivors = [name for name, status in mutants.items() if status not in KILLED]
    _print_counts(list(mutants), survivors)
    found = {name: fingerprint(name, _mutmut("show", name).stdout) for name in survivors}
    known = set(_known())
    new = {name: mark for name, mark in found.items() if mark not in known}
    for name, mark in new.items():
        print(f"\n{name}: {mutants[name]}\n{mark}")
    for mark in sorted(known - set(found.values())):
        print(f"\nNo longer survives, and can be taken out of {KNOWN.name}:\n{mark}")
    print(f"\n{len(survivors)} mutants survived; {len(new)} of them are not in {KNOWN.name}")
    return 1 if new or not mutants else 0


def fingerprint(name: str, diff: str) -> str:
    """
    What tells a mutant from others, whatever its number: `module.function: old => new`.

    Args:
        name: mutmut's, `rpac_ci.checks.x__answer__mutmut_7`; methods are `xǁClassǁmethod`.
        diff: what mutmut shows: three lines of headings and a unified diff of the function.
    """
    place = re.sub(r"^\w+\.|\bx_|\bxǁ|__mutmut_\d+$", "", name).replace("ǁ", ".")
    lines = diff.splitlines()[3:]  # after its name and those of two files
    old, new = (" ".join(ln[1:].strip() for ln in lines if ln[:1] == sign) for sign in "-+")
    return f"{place}: {old} => {new}"


def _mutmut(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mutmut", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _results(text: str) -> Iterator[tuple[str, str]]:
    """Mutant and what became of it."""
    for line in text.splitlines():
        name, colon, status = line.strip().rpartition(": ")
        if colon and "__mutmut_" in name:
            yield name, status


def _print_counts(mutants: list[str], survivors: list[str]) -> None:
    total, alive = (
        Counter([*(name.split(".")[1] for name in names), *["all"] * len(names)])
        for names in (mutants, survivors)
    )
    print(f"{'module':16}{'mutants':>10}{'killed':>10}{'survived':>10}")
    for module, count in total.items():
        print(f"{module:16}{count:>10}{count - alive[module]:>10}{alive[module]:>10}")


def _known() -> Iterator[str]:
    """Lines of the list that are not reasons."""
    for line in KNOWN.read_text().splitlines():
        if line and not line.startswith("#"):
            yield line


if __name__ == "__main__":
    sys.exit(main())
