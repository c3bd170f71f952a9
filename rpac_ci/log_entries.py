"""
What the log consists of: its entries by name, the paths that belong to each, and what makes one fit
to be there. For the collector, which takes entries from anybody, and for whoever checks a log.

    20260102T030405Z-0a1b2c3d                a run: all files of its folder but the amendments
    amendment-20260102T030405Z-0a1b2c3d-1    a later fact about it
    accepted-20260102T030405Z-0a1b2c3d       the file that makes it a reference
    study-20260102T030405Z-0a1b2c3d          the page over several runs
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

from rpac_ci.git import Git, ObjectInfo, TreeEntry

# a run's own files, without its source; most have 20 KiB, the most extreme record may have this
MAX_RUN_BYTES = 512 * 1024
MAX_SOURCE_BYTES = 64 * 2**20
MAX_SOURCE_FILES = 10_000

_RUN = r"\d{8}T\d{6}Z-[0-9a-f]{8}"
_NAME = re.compile(
    rf"(?:(?P<run>{_RUN})|accepted-(?P<accepted>{_RUN})|study-(?P<study>{_RUN})"
    rf"|amendment-(?P<amended>{_RUN})-(?P<number>[1-9][0-9]{{0,5}}))",
    re.ASCII,
)
_PATH = re.compile(
    r"reports/(?P<experiment>[a-z0-9][a-z0-9-]{0,62})/"
    rf"(?:accepted/(?P<accepted>{_RUN})\.json"
    rf"|studies/(?P<study>{_RUN})/(?P<page>study\.json|study\.md|figures/[a-z0-9-]+\.svg)"
    rf"|(?P<month>\d{{4}}-\d{{2}})/(?P<run>{_RUN})/"
    r"(?:amendments/(?P<number>[1-9][0-9]{0,5})\.json"
    r"|(?P<file>pipeline\.yaml|record\.json|report\.md|dirty\.diff"
    r"|figures/.+\.(?i:png|svg|jpg|jpeg)|source/.+)))",
    re.ASCII | re.DOTALL,
)
_NOT_IN_A_PATH = {"", ".", "..", ".git", "git~1"}
_SCHEMAS = {
    "run": "rpac/record/", "accepted": "rpac/acceptance/", "amendment": "rpac/",
    "study": "rpac/study/",
}  # fmt: skip
_KINDS = ("run", "amendment", "accepted", "study")


@dataclass(frozen=True, slots=True, order=True)
class EntryName:
    """An entry of the log; sorts by run, and what is said about a run comes after it."""

    run: str
    rank: int  # 0 the run, 1 an amendment, 2 its acceptance, 3 a study of this id
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> EntryName | None:
        """A name as it stands in a ref, or None."""
        match = _NAME.fullmatch(text)
        return cls._of(match.groupdict()) if match else None

    @classmethod
    def of_path(cls, path: str) -> EntryName | None:
        """The entry that a path of the log belongs to, or None."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        groups = match.groupdict()
        if groups["number"]:
            groups["run"], groups["amended"] = None, groups["run"]
        return cls._of(groups)

    @classmethod
    def is_run(cls, text: str) -> bool:
        """Whether a name is that of a run itself."""
        name = cls.parse(text)
        return name is not None and name.kind == "run"

    @staticmethod
    def place(path: str) -> str:
        """The folder of a run, or the path itself where an entry is one file."""
        match = _PATH.fullmatch(path)
        file = match and (match["file"] or match["page"])
        return path.removesuffix(f"/{file}") if file else path

    @classmethod
    def _of(cls, groups: dict[str, str | None]) -> EntryName:
        if run := groups.get("run"):
            return cls(run, 0)
        if run := groups.get("amended"):
            return cls(run, 1, int(groups["number"] or 0))
        if study := groups.get("study"):
            return cls(study, 3)
        return cls(groups["accepted"] or "", 2)

    @property
    def kind(self) -> str:
        """`run`, `amendment`, `accepted` or `study`."""
        return _KINDS[self.rank]

    def __str__(self) -> str:
        number = f"-{self.number}" if self.rank == 1 else ""
        return f"{self.kind}-{self.run}{number}" if self.rank else self.run


@dataclass(frozen=True, slots=True)
class EntryFile:
    """One file of an entry as git has it; `type` and `size` are those of its object."""

    path: str
    mode: str
    oid: str
    type: str
    size: int


def is_document(path: str) -> bool:
    """Whether a file of the log states facts; the others are rendered from those, or source."""
    match = _PATH.fullmatch(path)
    if match is None:
        return False
    name = match["file"] or match["page"]
    return name in (None, "record.json", "pipeline.yaml", "study.json")


def check_entry(name: str, files: Sequence[EntryFile], read: Callable[[str], bytes]) -> list[str]:
    """
    What makes files unfit to be this entry of the log.

    Args:
        name: the entry's name.
        files: all its files, with their paths from the top of the repository.
        read: the content of an object; asked only for JSON documents of an allowed size.

    Returns:
        Problems, for people; none when all is well.
    """
    entry = EntryName.parse(name)
    if entry is None:
        return [f"{name!a} is not the name of a run, an acceptance, an amendment or a study"]
    problems = [what for file in files if (what := _check_file(entry, file))]
    problems += _check_together(entry, files)
    if problems:
        return problems
    return [
        what
        for file in files
        if _is_read(file) and (what := _check_document(entry, file.path, read(file.oid)))
    ]


def check_entries(git: Git, entries: Mapping[str, Sequence[TreeEntry]]) -> dict[str, list[str]]:
    """`check_entry` for many entries of a repository, in two git processes."""
    oids = list({file.oid for files in entries.values() for file in files})
    infos = dict(zip(oids, git.objects(oids), strict=True))
    described = {
        name: [_describe(file, infos[file.oid]) for file in files]
        for name, files in entries.items()
    }
    wanted = [file.oid for files in described.values() for file in files if _is_read(file)]
    contents = {oid: raw or b"" for oid, raw in zip(wanted, git.blobs(wanted), strict=True)}
    return {
        name: check_entry(name, files, contents.__getitem__) for name, files in described.items()
    }


def _describe(file: TreeEntry, info: ObjectInfo | None) -> EntryFile:
    kind, size = (info.type, info.size) if info else ("missing", 0)
    return EntryFile(file.path, file.mode, file.oid, kind, size)


def _is_read(file: EntryFile) -> bool:
    fits = file.type == "blob" and file.size <= MAX_RUN_BYTES
    return fits and file.path.endswith(".json") and is_document(file.path)


def _check_file(entry: EntryName, file: EntryFile) -> str:
    path = file.path
    match = _PATH.fullmatch(path)
    if match is None or EntryName.of_path(path) != entry:
        return f"{path!a} does not belong to {entry}"
    if match["month"] and match["month"] != f"{entry.run[:4]}-{entry.run[4:6]}":
        return f"{path!a} is in the folder of another month"
    for part in path.split("/"):
        if not part.isprintable() or part.casefold().rstrip(" .") in _NOT_IN_A_PATH:
            return f"{path!a} is not a path that every system can hold"
    if file.mode not in ("100644", "100755") or file.type != "blob":
        return f"{path!a} is not a regular file: {file.mode} {file.type}"
    return ""


def _check_together(entry: EntryName, files: Sequence[EntryFile]) -> list[str]:
    paths = {file.path for file in files}
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    source = [file for file in files if "/source/" in file.path]
    own = sum(file.size for file in files) - sum(file.size for file in source)
    problems = []
    if len(paths) < len(files) or paths & folders:
        problems.append("a path stands there twice")
    if len({path.split("/")[1] for path in paths if "/" in path}) > 1:
        problems.append("files of several experiments")
    if own > MAX_RUN_BYTES:
        problems.append(f"{own} bytes beside the source, at most {MAX_RUN_BYTES} are taken")
    if len(source) > MAX_SOURCE_FILES or sum(file.size for file in source) > MAX_SOURCE_BYTES:
        problems.append(
            f"the source has more than {MAX_SOURCE_FILES} files or {MAX_SOURCE_BYTES >> 20} MiB"
        )
    there = {PurePosixPath(path).name for path in paths if is_document(path)}
    wanted = {"run": {"record.json", "pipeline.yaml"}, "study": {"study.json"}}.get(
        entry.kind, set()
    )
    problems += [f"{missing} is missing" for missing in sorted(wanted - there)]
    if not files:
        problems.append("it has no files")
    return problems


def _check_document(entry: EntryName, path: str, content: bytes) -> str:
    try:
        value = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        return f"{path} is not JSON: {exc}"
    own = "study" if entry.kind == "study" else "run"
    expected = {own: entry.run, "experiment": path.split("/")[1]}
    return _compare(path, value, expected, _SCHEMAS[entry.kind])


def _compare(path: str, value: Any, expected: dict[str, str], schema: str) -> str:
    if not isinstance(value, dict):
        return f"{path} is not a JSON object"
    if not str(value.get("schema")).startswith(schema):
        return f"{path} has the schema {value.get('schema')!a}, expected {schema}…"
    for key, right in expected.items():
        if value.get(key) != right:
            return f"{path} names the {key} {value.get(key)!a}, expected {right!a}"
    return ""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def of_paths(paths: Iterable[str]) -> tuple[dict[EntryName, list[str]], list[str]]:
    """The paths of each entry, in the order of the log, and those that belong to none."""
    entries: dict[EntryName, list[str]] = {}
    others = []
    for path in paths:
        name = EntryName.of_path(path)
        if name is None:
            others.append(path)
        else:
            entries.setdefault(name, []).append(path)
    return dict(sorted(entries.items())), others
