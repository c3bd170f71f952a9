"""
The outputs of a run beside those of its reference: what differs when the bytes do.

Made in the step `collect`, where the files are at hand, and kept in its event: the verdict is
judged from that, so any writer at any time comes to the same one.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpac_ci import contents
from rpac_ci.checks import rule_of
from rpac_ci.contents.kinds import INSTALL, SUFFIXES
from rpac_ci.errors import CommandError
from rpac_ci.experiment_model import Compare, FileRule, Rule, Tolerance
from rpac_ci.jobs import METRICS_FILE, Keys, content_key
from rpac_ci.records import Agreement, Reference, ReferenceKind
from rpac_ci.sources import ContentCache
from rpac_ci.storage import Storage

LIMIT_S = 3600.0
MAX_BYTES = 16 * 2**30  # of one file
MAX_RUNS, MAX_PAIRS = 10, 100  # of an accepted set the newest; comparisons in one record


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One output, and a file of the reference that has other bytes."""

    path: str
    reference: str  # a run, or `data.<name>`
    expected: str  # SHA-256
    observed: str
    rule: FileRule


def check_readers(rules: Mapping[str, Rule]) -> None:
    """
    Refuse rules whose files could not be read afterwards, before anything is started.

    Raises:
        CommandError: a package is missing, or the kind of file is not known.
    """
    for name, rule in rules.items():
        if not isinstance(rule, FileRule) or rule.compare is Compare.BYTES:
            continue
        if contents.kind_of(name) is None and "." in name.rpartition("/")[2]:
            known = ", ".join(sorted(SUFFIXES))
            raise CommandError(
                f"{name}: compare: {rule.compare} cannot read this kind of file",
                hint=f"compare: bytes, or one of {known}",
            )
        if missing := contents.missing_packages(name):
            raise CommandError(f"{name}: comparing it needs {', '.join(missing)}", hint=INSTALL)


def pairs(
    rules: Mapping[str, Rule],
    reference: Reference,
    outputs: Sequence[Mapping[str, Any]],
    data: Mapping[str, str],
) -> Iterator[Pair]:
    """
    What is worth a look: outputs of a known kind whose bytes differ from the reference's.

    Args:
        rules: of the experiment.
        reference: of the run.
        outputs: `path` and `sha256` of each.
        data: inputs of the run, name -> SHA-256.
    """
    beside = any(isinstance(rule, FileRule) and rule.expect for rule in rules.values())
    if not reference.runs and not beside:
        return
    for output in outputs:
        path, observed = output["path"], output["sha256"]
        rule = rule_of(path, rules) or FileRule(required=False)
        if path == METRICS_FILE or contents.kind_of(path) is None:
            continue
        if rule.compare is Compare.BYTES:  # to be able to say that only the bytes differ
            rule = FileRule(compare=Compare.CONTENT)
        newest = min(MAX_RUNS, max(1, MAX_PAIRS // len(outputs)))
        for name, expected in _expected(path, rule, reference, data)[-newest:]:
            if expected != observed:
                yield Pair(
                    path=path, reference=name, expected=expected, observed=observed, rule=rule
                )


def _expected(
    path: str, rule: FileRule, reference: Reference, data: Mapping[str, str]
) -> list[tuple[str, str]]:
    if rule.expect and reference.kind is not ReferenceKind.RUN:
        return [(rule.expect, data[rule.expect.removeprefix("data.")])]
    return [(r.run, r.outputs[path]) for r in reference.runs if path in r.outputs]


def compare(
    found: Sequence[Pair],
    *,
    run: str,
    storage: Storage,
    cache: ContentCache,
    folder: Path,
    stop: threading.Event | None = None,
) -> list[dict[str, Any]]:
    """
    Compare pairs of files, each in a process that may crash.

    Args:
        found: what to compare.
        run: whose outputs they are.
        storage: that holds the outputs of this run and of earlier ones.
        cache: that holds the inputs.
        folder: for copies of the files while they are compared.
        stop: set it to give up.

    Returns:
        One `records.ContentComparison` as JSON for each pair; "not compared" with the reason when a
        file is not there or cannot be read.
    """
    findings: list[contents.Finding | None] = []
    ready: list[tuple[str, Path, Path, contents.Wanted]] = []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compare-", dir=folder) as name:
        files = _Files(storage, cache, Path(name))
        for pair in found:
            silent, paths = _ready(pair, run, files)
            findings.append(silent)
            if paths:
                ready.append((pair.path, *paths, wanted(pair.rule)))
        answers = iter(_answers(ready, stop))
        done = [finding or next(answers) for finding in findings]
    return [
        {"path": pair.path, "reference": pair.reference, **finding.to_json()}
        for pair, finding in zip(found, done, strict=True)
    ]


def _ready(
    pair: Pair, run: str, files: _Files
) -> tuple[contents.Finding | None, tuple[Path, Path] | None]:
    """The two files of a pair, or why they cannot be compared."""
    if missing := contents.missing_packages(pair.path):
        return _silent(f"reading it needs {', '.join(missing)}: {INSTALL}"), None
    expected, observed = files.get(pair.reference, pair.expected), files.get(run, pair.observed)
    if expected and observed:
        return None, (expected, observed)
    whose = pair.reference if expected is None else run
    return _silent(f"the file of {whose} is not in this repository's store"), None


def _answers(
    ready: Sequence[tuple[str, Path, Path, contents.Wanted]], stop: threading.Event | None
) -> list[contents.Finding]:
    """
    What the readers say. A reference that by its own rule does not agree with itself, for instance
    since it holds NaN, proves nothing.
    """
    answers = contents.compare_apart(ready, limit_s=LIMIT_S, memory_bytes=None, stop=stop)
    doubtful = [
        n
        for n, ((_, _, _, how), answer) in enumerate(zip(ready, answers, strict=True))
        if not how.equal_nan and answer.agreement == Agreement.DIFFERENT
    ]
    again = [(ready[n][0], ready[n][1], ready[n][1], ready[n][3]) for n in doubtful]
    own = contents.compare_apart(again, limit_s=LIMIT_S, memory_bytes=None, stop=stop)
    for n, answer in zip(doubtful, own, strict=True):
        if answer.agreement == Agreement.DIFFERENT:
            answers[n] = _silent(f"the reference fails its own comparison: {answer.note}")
    return answers


def wanted(rule: FileRule) -> contents.Wanted:
    """A rule in the words of `contents`."""

    def tolerance(of: Tolerance) -> contents.Tolerance:
        return contents.Tolerance(abs_tol=of.abs_tol, rel_tol=of.rel_tol)

    return contents.Wanted(
        tolerance=tolerance(rule),
        variables={name: tolerance(of) for name, of in rule.variables.items()},
        ignore=tuple(rule.ignore),
        equal_nan=rule.equal_nan,
        key=tuple(rule.key),
    )


def _silent(note: str) -> contents.Finding:
    return contents.Finding(agreement=Agreement.NOT_COMPARED.value, note=note)


class _Files:
    """Copies of stored files, each fetched once and checked."""

    def __init__(self, storage: Storage, cache: ContentCache, folder: Path) -> None:
        self._storage = storage
        self._cache = cache
        self._folder = folder

    def get(self, owner: str, sha256: str) -> Path | None:
        """The file with this hash, of a run or an input; None when it cannot be had unchanged."""
        path = self._folder / sha256
        if path.exists():
            return path
        if owner.startswith("data."):
            content = self._cache.find(sha256)
            return content.path if content else None
        for key in (f"{Keys(owner).outputs}{sha256}", content_key(sha256)):
            entry = self._storage.head(key)
            if entry is None or entry.size > MAX_BYTES or not self._storage.get_file(key, path):
                continue
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    return path
            path.unlink()
        return None
