"""
Bad input of every kind: one clear error, the right exit code, nothing lost and nothing left over.

What is refused before a run leaves every file as it was; what fails during a run leaves one record.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
import trustme

from rpac_ci import downloads
from rpac_ci.git import Git
from rpac_ci.log_paths import run_folder
from rpac_ci.reproduction_log import Entry, ReproductionLog
from tests.conftest import QUICK, QUICK_MAIN, WriteExperiment, git
from tests.integration.conftest import NOTHING, Answer, Terminal
from tests.standins import web
from tests.standins.aftermath import records

YAML = QUICK.format(name="quick")
PLACE = "experiments/quick/experiment.yaml"
CANARY = "c4n4ry-0f-a-s3cr3t"
LONGEST = 4000  # characters of an error that a person still reads

Plant: TypeAlias = Callable[[Path], object]


def rows(table: Mapping[str, Sequence[Any]]) -> list[Any]:
    """A table as pytest's parameters."""
    return [pytest.param(*row, id=name) for name, row in table.items()]


# --- what must hold -------------------------------------------------------------------------------


def everything(root: Path) -> dict[str, tuple[int, ...]]:
    """Every file of a repository, git's own included, with mode, size and time of last change."""
    found: dict[str, tuple[int, ...]] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if ".rpac" in path.parts and path.name.startswith((".gitignore", "history.sqlite")):
                continue  # made by those who only look
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def refuses(rpac: Terminal, words: Sequence[str], code: int, *says: str) -> Answer:
    """A command says no in a few clear words, and nothing has changed."""
    before = everything(rpac.root)
    answer = rpac(*words)
    told = answer.out + answer.err
    assert answer.code == code, told
    for part in says:
        assert part in told
    assert len(told) < LONGEST
    assert "Traceback" not in told
    assert everything(rpac.root) == before
    assert rpac.left_over() == NOTHING
    return answer


def one_record(rpac: Terminal, *, base: str = "", status: str = "") -> dict[str, Any]:
    """
    The only record of the log; nothing is left over and git is whole.

    Args:
        rpac: the repository.
        base: commit of the branch before the run; the run is one commit on top of it, if given.
        status: what `git status` shows.
    """
    [record] = records(rpac.root)
    assert record["verdict"]["outcome"]
    assert rpac.left_over() == NOTHING
    assert git(rpac.root, "status", "--porcelain") == status
    assert git(rpac.root, "fsck", "--strict", "--no-dangling", "--no-progress") == ""
    if base:
        assert git(rpac.root, "rev-parse", "HEAD^") == base
        assert f"Rpac-Run: {record['run']}" in git(rpac.root, "log", "-1", "--format=%B")
    return record


def quick(*lines: str, **replace: str) -> str:
    """The quick experiment's YAML with words replaced and lines added."""
    text = YAML
    for old, new in replace.items():
        assert old in text
        text = text.replace(old, new)
    return "\n".join([text.rstrip(), *lines, ""])


# --- one repository for all that is refused -------------------------------------------------------

TWINS = "20260101T000000Z-aaaa0001", "20260101T000000Z-aaaa0002"
NEWER, NEWER_PIPELINE = "20270101T000000Z-bbbb0001", "20270101T000000Z-bbbb0002"
NO_JSON = "20270101T000000Z-cccc0001"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A repository with an experiment, a run of it, and records that somebody else wrote."""
    root = tmp_path_factory.mktemp("shared") / "repository"
    folder = root / "experiments" / "quick"
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(YAML)
    (folder / "main.py").write_text(QUICK_MAIN)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "start")
    rpac = Terminal(root)
    assert rpac("reproduce", "quick").code == 0
    log = ReproductionLog(Git(root))
    true = log.find(rpac.runs()[0])
    record, pipeline = rpac.record(), log.read(true, "pipeline.yaml")
    for name in TWINS:
        _plant(log, name, record | {"run": name}, pipeline)
    _plant(log, NEWER, record | {"run": NEWER, "schema": "rpac/record/99", "new": 1}, pipeline)
    newer = pipeline.replace(b"rpac/pipeline/1", b"rpac/pipeline/99")
    assert newer != pipeline
    _plant(log, NEWER_PIPELINE, record | {"run": NEWER_PIPELINE}, newer)
    _plant(log, NO_JSON, "a record", pipeline)
    return rpac


def _plant(log: ReproductionLog, run: str, record: object, pipeline: bytes) -> None:
    content = json.dumps(record).encode() if isinstance(record, dict) else b"{"
    files = {"record.json": content, "pipeline.yaml": pipeline, "report.md": b"# planted\n"}
    log.add(
        Entry(
            folder=run_folder("quick", run), files=files, subject="planted", trailers=[], source={}
        )
    )


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """A file with other content, for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


# what stands in the experiment's file -> words of the error
FILES: dict[str, tuple[str | bytes, str]] = {
    "unknown key": (quick("outpts: [x]"), "unknown key 'outpts', did you mean 'outputs'?"),
    "unknown key of an account": (quick("aws_secret: x"), "unknown key 'aws_secret', one of"),
    "missing key": (quick(**{"engine: process\n": ""}), "the key 'engine' is missing"),
    "wrong type": (quick(**{"title: The": "title: [The", "is\n": "is]\n"}), "expected a valid str"),
    "command is a line": (
        quick(**{'[python, main.py, "{args.level}", "{outputs}"]': "python main.py"}),
        "got 'python main.py', expected a valid list",
    ),
    "another id": (quick(**{"id: quick": "id: quack"}), "the id 'quack' differs from the file's"),
    "id that leaves": (quick(**{"id: quick": "id: ../quick"}), "got '../quick', expected an id"),
    "id for a shell": (quick(**{"id: quick": "id: $(ls)"}), "got '$(ls)', expected an id"),
    "later schema": (quick("schema: rpac/experiment/9"), "expected 'rpac/experiment/1'"),
    "source that leaves": (quick("source: [../..]"), "expected a path inside the experiment's"),
    "source of the machine": (quick("source: [/etc]"), "expected a path inside the experiment's"),
    "source not there": (quick("source: [., lib]"), "there is no 'lib' here"),
    "lock that leaves": (quick("environment: {lock: ../x}"), "expected a path inside"),
    "lock not there": (quick("environment: {lock: x.lock}"), "there is no 'x.lock' here"),
    "data that leaves": (quick("data: {x: {uri: 'file:../x'}}"), "got 'file:../x'"),
    "data not there": (quick("data: {x: {uri: 'file:x.nc'}}"), "there is no file 'x.nc'"),
    "data that is a folder": (quick("data: {x: {uri: 'file:.'}}"), "there is no file"),
    "data with a wrong hash": (
        quick(f"data: {{x: {{uri: 'file:main.py', sha256: '{'0' * 64}'}}}}"),
        "'main.py' has another sha256, it is ",
    ),
    "half a checksum": (
        quick("data: {x: {uri: 'file:main.py', checksum: 'md5:12'}}"),
        "expected a checksum such as 'md5:9e10…'",
    ),
    "outputs that leave": (
        quick(**{"[metrics.json]": "[metrics.json, ../x]"}), "got '../x', expected a path inside",
    ),
    "all outputs": (quick(**{"[metrics.json]": "['**']"}), "expected a file such as 'map.png'"),
    "unknown placeholder": (
        quick(**{"{args.level}": "{args.lvel}"}), "unknown placeholder {args.lvel}, did you mean",
    ),
    "NaN tolerance": (quick(**{"expect: 7": "expect: 7, abs_tol: .nan"}), "got nan, expected"),
    "infinite tolerance": (quick(**{"expect: 7": "expect: 7, rel_tol: .inf"}), "got inf, expected"),
    "negative tolerance": (quick(**{"expect: 7": "expect: 7, abs_tol: -1"}), "got -1, expected"),
    "NaN expected": (quick(**{"expect: 7": "expect: .nan"}), "got nan, expected a finite number"),
    "a billion laughs": (
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n", "an alias, write the value",
    ),
    "alias": (quick("description: &d x", "args: *d"), "an alias, write the value out"),
    "code in a tag": (quick("description: !!python/object/apply:os.system [ls]"), "the tag"),
    "duplicate key": (quick("engine: dask"), "duplicate key 'engine', each key once"),
    "tab": (quick("source:", "\t- ."), "indent with spaces"),
    "Latin-1": (quick("description: é").encode("latin-1"), "not UTF-8 text, save the file as"),
    "UTF-16": (YAML.encode("utf-16"), "not UTF-8 text, save the file as UTF-8"),
    "control character": (quick("description: \x1b[31m"), "unacceptable character #x001b"),
    "nested deeply": (quick("args: " + "[" * 5000), "nested too deeply, at most 24 levels"),
    "a long number": (quick("seed: " + "9" * 5000), "is not a valid int"),
    "far too large": (quick("# " + "x" * 300_000), "at most 262144 bytes of YAML"),
    "two documents": (quick("---", "a: 1"), "another document, one in each file"),
    "nothing": ("", "not an experiment, a mapping with id, title, engine, command"),
    "a list": ("- id: quick\n", "not an experiment, a mapping with id, title, engine, command"),
    "user and password in a URL": (
        quick(f"data: {{x: {{uri: 'https://me:{CANARY}@example.org/x'}}}}"),
        "the URL carries a user or password",
    ),
    "password in a URL of an unknown kind": (
        quick(f"data: {{x: {{uri: 's4://me:{CANARY}@example.org/x'}}}}"), "got 's4://…@example.org",
    ),
    "password in half a URL": (
        quick(f"data: {{x: {{uri: 'https://me:{CANARY}@[h/x'}}}}"), "got 'https://…@[h/x'",
    ),
    "signature in a URL": (
        quick(f"data: {{x: {{uri: 'https://example.org/x?X-Amz-Signature={CANARY}'}}}}"),
        "the URL carries X-Amz-Signature, which looks like a credential",
    ),
    "token behind a URL": (
        quick(f"data: {{x: {{uri: 'https://example.org/x#access_token={CANARY}'}}}}"),
        "the URL carries access_token, which looks like a credential",
    ),
    "token in the address of the code": (
        quick(f"source: {{git: 'https://me:{CANARY}@example.org/x', commit: '{'0' * 40}'}}"),
        "got 'https://…@example.org/x', expected a URL such as",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "says"), rows(FILES))
def test_a_file_that_is_no_experiment(shared: Terminal, content: str | bytes, says: str) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    with replaced(shared.root / PLACE, data):
        for words in (["validate"], ["reproduce", "quick"]):
            answer = refuses(shared, words, 2, says)
            assert (answer.out + answer.err).startswith(f"{PLACE}:")
            assert CANARY not in answer.out + answer.err


# what stands in rpac.yaml -> words of the error
SETTINGS: dict[str, tuple[str, str]] = {
    "a secret": (f"aws_secret_access_key: {CANARY}\n", "rpac.yaml:1:1: unknown key 'aws_secret_ac"),
    "an account in a mapping": (
        f"experiments: experiments\naws:\n  account: '{CANARY}'\n",
        "rpac.yaml:2:1: unknown key 'aws', known are allow, approval",
    ),
    "a secret in the wrong place": (f"schema: {CANARY}\n", "expected 'rpac/site/1'"),
    "a folder that leaves": ("experiments: ../x\n", "expected a folder of this repository"),
    "a number for a folder": ("experiments: 3\n", "expected a folder of this repository"),
    "a list": ("- a\n", "not settings, a mapping such as {experiments: experiments}"),
    "no YAML": ("a: [\n", "rpac.yaml:2:1: not YAML"),
    "a later schema": ("schema: rpac/site/9\n", "expected 'rpac/site/1'"),
    "an alias": ("a: &x 1\nb: *x\n", "rpac.yaml:2:4: an alias, write the value out"),
}


@pytest.mark.parametrize(("content", "says"), rows(SETTINGS))
def test_settings_that_are_none(shared: Terminal, content: str, says: str) -> None:
    path = shared.root / "rpac.yaml"
    path.write_text(content)
    try:
        for words in (["validate"], ["reproduce", "quick"], ["sweep"]):
            answer = refuses(shared, words, 2, says)
            assert CANARY not in answer.out + answer.err
    finally:
        path.unlink()


LONG = "x" * 2_000_000

# command -> exit code, words of the error
WORDS: dict[str, tuple[list[str], int, str]] = {
    # --- which experiment
    "misspelt": (["reproduce", "quik"], 2, "did you mean 'quick'?"),
    "for a shell": (["reproduce", "quick; ls"], 2, "expected <experiment> or <experiment>@<run>"),
    "substituted": (["plan", "$(ls)"], 2, "expected <experiment> or <experiment>@<run>"),
    "parent": (["reproduce", ".."], 2, "expected <experiment> or <experiment>@<run>"),
    "path": (["reproduce", "../../etc/passwd"], 2, "expected <experiment> or <experiment>@<run>"),
    "empty": (["reproduce", ""], 2, "expected <experiment> or <experiment>@<run>"),
    "option-like": (["plan", "--", "--help"], 2, "expected <experiment> or <experiment>@<run>"),
    "not UTF-8": (["reproduce", "\udcff"], 2, "expected <experiment> or <experiment>@<run>"),
    "2 MB": (["reproduce", LONG], 2, "expected <experiment> or <experiment>@<run>"),
    "new with a path": (["new", "../x"], 2, "expected an id of lower-case letters"),
    "new for a shell": (["new", "x;ls"], 2, "expected an id of lower-case letters"),
    "new that is there": (["new", "quick"], 2, "the experiment 'quick' is there already"),
    "validate nothing": (["validate", "nowhere.yaml"], 2, "there is no nowhere.yaml"),
    "validate a device": (["validate", os.devnull], 2, f"there is no {os.devnull}"),
    "validate no YAML": (["validate", "experiments/quick/main.py"], 2, "main.py:3:19: not YAML"),
    # --- overrides
    "unknown key": (["reproduce", "quick", "nodez=1"], 2, "did you mean 'nodes'?"),
    "no value": (["reproduce", "quick", "nodes"], 2, "got 'nodes', expected key=value"),
    "line break": (["reproduce", "quick", "args.level=1\n2"], 2, "printable characters"),
    "null byte": (["reproduce", "quick", "args.level=1\x002"], 2, "printable characters"),
    "escape sequence": (["reproduce", "quick", "args.level=\x1b[2J"], 2, "printable characters"),
    "option as a value": (
        ["reproduce", "quick", "args.level=--help"], 2, "got '--help', expected a whole number",
    ),
    "unknown option": (["reproduce", "quick", "--nodes=2"], 2, "No such option '--nodes'"),
    "2 MB value": (["reproduce", "quick", f"args.level={LONG}"], 2, "at most 1024 printable"),
    "2 MB key": (["reproduce", "quick", f"{LONG}=1"], 2, "unknown key 'xxxx"),
    "2 MB name": (["reproduce", "quick", f"args.{LONG}=1"], 2, "is not a name"),
    "unknown arg": (["reproduce", "quick", "args.lvel=1"], 2, "did you mean 'level'?"),
    "unknown data": (["reproduce", "quick", "data.x=file:y"], 2, "data.x: there is no such name"),
    "seed of none": (["reproduce", "quick", "seed=1"], 2, "declares no seed"),
    "NaN dollars": (["reproduce", "quick", "cost=nan USD"], 2, "expected a price such as '5 USD'"),
    "no time": (["reproduce", "quick", "time=0s"], 2, "expected at least 1 s"),
    "no such cloud": (["reproduce", "quick", "cloud=moon"], 2, "clouds: local"),
    "no such runtime": (["reproduce", "quick", "runtime=vm"], 2, "runtimes: process"),
    # --- studies
    "empty member": (["reproduce", "quick", "nodes=1,"], 2, "nodes: an empty value"),
    "same member": (["reproduce", "quick", "args.level=1,1"], 2, "one that stands twice"),
    "no repeats": (["reproduce", "quick", "repeat=0"], 2, "expected a count such as repeat=5"),
    "a thousand": (["reproduce", "quick", "repeat=1000"], 2, "1000 runs, at most 100"),
    "more than there are": (["reproduce", "quick", "repeat=99999"], 2, "expected a count such as"),
    "2 MB repeat": (["reproduce", "quick", "repeat=" + "1" * 2_000_000], 2, "expected a count"),
    "a long list": (["reproduce", "quick", "nodes=" + "1," * 90_000], 2, "nodes: an empty value"),
    "impossible member": (["reproduce", "quick", "nodes=1,2"], 2, "runs on one node, 2 are asked"),
    "ill-typed member": (["plan", "quick", "args.level=1,x"], 2, "'x', expected a whole number"),
    "list of times": (["reproduce", "quick", "time=1s,2s"], 2, "one value for the whole study"),
    # --- runs
    "show none": (["show", "nothing"], 6, "there is no run 'nothing' in the log"),
    "show a path": (["show", "../../HEAD"], 6, "there is no run '../../HEAD' in the log"),
    "show empty": (["show", ""], 6, "there is no run '' in the log"),
    "logs empty": (["logs", ""], 6, "'' has no logs"),
    "logs none": (["logs", "nothing"], 6, "'nothing' has no logs"),
    "fetch none": (["fetch", "nothing"], 6, "there is no run 'nothing' in the log"),
    "accept none": (["accept", "nothing"], 6, "there is no run 'nothing' in the log"),
    "accept empty": (["accept", ""], 6, "there is no run '' in the log"),
    "compare none": (["compare", TWINS[0], "nothing"], 6, "there is no run 'nothing' in the log"),
    "advance none": (["advance", "nothing"], 6, "there is no run 'nothing' in the log"),
    "advance what": (["advance"], 2, "name one run, or give --all"),
    "@ none": (["reproduce", "quick@00000000"], 6, "there is no run '00000000' of quick"),
    "@ too short": (["reproduce", "quick@aaa"], 2, "a part of an id has four letters or more"),
    "@ a path": (["reproduce", "quick@../x"], 2, "rpac history quick lists the runs"),
    "show twins": (["show", TWINS[0][:-1]], 6, f"means several runs: {TWINS[0]}, {TWINS[1]}"),
    "fetch twins": (["fetch", TWINS[0][:-1]], 6, "give more of it"),
    "accept twins": (["accept", TWINS[0][:-1]], 6, "give more of it"),
    "compare twins": (["compare", TWINS[0], TWINS[0][:-1]], 6, "give more of it"),
    "advance twins": (["advance", TWINS[0][:-1]], 6, "give more of it"),
    "@ twins": (["reproduce", f"quick@{TWINS[0][:-1]}"], 6, "means several runs of quick"),
    # --- what a newer rpac, or somebody else, has written
    "show newer": (["show", NEWER], 6, "a newer version of rpac may have written it"),
    "fetch newer": (["fetch", NEWER], 6, "schema rpac/record/99"),
    "accept newer": (["accept", NEWER], 6, "schema rpac/record/99"),
    "advance newer": (["advance", NEWER], 6, "schema rpac/record/99"),
    "compare newer": (["compare", TWINS[0], NEWER], 6, "schema rpac/record/99"),
    "@ newer": (["reproduce", f"quick@{NEWER}"], 6, "schema rpac/record/99"),
    "@ newer pipeline": (["reproduce", f"quick@{NEWER_PIPELINE}"], 6, "rpac/pipeline/99"),
    "compare newer pipeline": (["compare", NEWER_PIPELINE, TWINS[0]], 6, "rpac/pipeline/99"),
    "show no JSON": (["show", NO_JSON], 6, f"the record of {NO_JSON} is not JSON"),
    "@ no JSON": (["reproduce", f"quick@{NO_JSON}"], 6, f"the record of {NO_JSON} is not JSON"),
    # --- history
    "filter by nothing": (["history", "colour=red"], 2, "unknown key 'colour'"),
    "broken filter": (["history", "quick", "metric.x>high"], 2, "got 'high', expected a number"),
    "filter of no name": (["history", "args.=1"], 2, "did you mean 'args.<name>'?"),
    "no date": (["history", "since=yesterday"], 2, "expected a date, a time or an age"),
    "wrong order": (["history", "since>7d"], 2, "since: got >, expected one of ="),
    "a key alone": (["history", "verdict"], 2, "'verdict' is a key of filters"),
    "no rows": (["history", "-n", "0"], 2, "0 is not in the range"),
    "no such branch": (["history", "--ref", "nowhere"], 2, "there is no branch 'nowhere'"),
    # --- the rest
    "no remote": (["push"], 6, "there is no remote 'origin'"),
    "option for a remote": (["push", "--", "--upload-pack=x"], 6, "there is no remote"),
    "collect from nowhere": (["collect", "nowhere"], 6, "there is no remote 'nowhere'"),
    "fetch into a file": (["fetch", TWINS[0], PLACE], 2, "is a file"),
    "no such command": (["reprduce"], 2, "No such command 'reprduce'"),
    "no such folder": (["-C", "nowhere", "history"], 2, "'nowhere' does not exist"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "code", "says"), rows(WORDS))
def test_words_that_cannot_be_followed(
    shared: Terminal, words: list[str], code: int, says: str
) -> None:
    refuses(shared, words, code, says)


# --- files that are not what they seem ------------------------------------------------------------


def link(path: str, to: str, *lines: str) -> Plant:
    """A link beside the experiment, committed, and lines for the experiment's file."""

    def plant(root: Path) -> None:
        folder = (root / PLACE).parent
        (folder / path).symlink_to(to)
        (root / PLACE).write_text(quick(*lines))
        git(root, "add", ".")
        git(root, "commit", "--quiet", "--message", "a link")

    return plant


def instead(path: str, make: Callable[[Path], object]) -> Plant:
    """Something else in the place of a file or folder, which is moved out of the repository."""

    def plant(root: Path) -> None:
        (root / path).parent.mkdir(exist_ok=True)
        if (root / path).exists():
            shutil.move(root / path, root.parent / "moved")
        make(root / path)

    return plant


def make_file(path: Path) -> None:
    path.write_text("in the way")


def to_moved(path: Path) -> None:
    """A link to what was moved out of the repository."""
    root = next(parent for parent in path.parents if (parent / ".git").exists())
    path.symlink_to(root.parent / "moved")


def write(path: str, text: str) -> Plant:
    """A file, committed."""

    def plant(root: Path) -> None:
        (root / path).write_text(text)
        git(root, "add", ".")
        git(root, "commit", "--quiet", "--message", "a file")

    return plant


NO_HASH = "0" * 64
LINKED = "a symbolic link"
# what is planted -> command, exit code, words of the error
PLANTED: dict[str, tuple[Plant, list[str], int, str]] = {
    "link in the code": (link("x", "/etc/passwd"), ["reproduce", "quick"], 2, LINKED),
    "link as a source": (
        link("lib", "/etc", "source: [lib]"), ["validate"], 2, f"'lib' is {LINKED}",
    ),
    "source behind a link": (
        link("lib", "/etc", "source: [main.py, lib/passwd]"), ["reproduce", "quick"], 2,
        f"'lib/passwd' is {LINKED}",
    ),
    "link as a lock": (
        link("r.lock", "/etc/passwd", "environment: {lock: r.lock}"), ["validate"], 2,
        f"'r.lock' is {LINKED}",
    ),
    "link as data": (
        link("d", "/etc/passwd", f"data: {{d: {{uri: 'file:d', sha256: '{NO_HASH}'}}}}"),
        ["validate"], 2, "file:d leads out of the experiment's folder",
    ),
    "data behind a link": (
        link("d", "/etc", "data: {d: {uri: 'file:d/passwd'}}", "source: [main.py]"),
        ["reproduce", "quick"], 2, "file:d/passwd leads out of the experiment's folder",
    ),
    "experiment is a link": (
        instead(PLACE, to_moved), ["reproduce", "quick"], 2,
        "the experiment's file is a link that leaves the repository",
    ),
    "experiment's folder is a link": (
        instead("experiments/quick", to_moved), ["reproduce", "quick"], 2,
        "the experiment's folder is a link that leaves the repository",
    ),
    "experiment is a folder": (instead(PLACE, Path.mkdir), ["validate"], 2, "Is a directory"),
    "experiment is a pipe": (instead(PLACE, os.mkfifo), ["reproduce", "quick"], 2, "not a regular"),
    "experiment is a device": (
        instead(PLACE, lambda path: path.symlink_to("/dev/zero")), ["reproduce", "quick"], 2,
        "is a link that leaves the repository",
    ),
    "settings are a link to nowhere": (
        instead("rpac.yaml", lambda path: path.symlink_to("nowhere")), ["reproduce", "quick"], 2,
        "rpac.yaml:1:1: cannot be read: No such file or directory",
    ),
    "no experiments": (
        instead("experiments", make_file), ["reproduce", "quick"], 2, "start one with: rpac new",
    ),
    "no room for a new one": (
        instead("experiments", make_file), ["new", "one"], 2, "cannot be written: Not a directory",
    ),
    "code in Git LFS": (
        write("experiments/quick/big", "version https://git-lfs.github.com/spec/v1\n"),
        ["reproduce", "quick"], 2, "big is a Git LFS pointer",
    ),
    "line break in a name": (
        write("experiments/quick/a\nb", "x"), ["reproduce", "quick"], 2, "'a\\nb' is not a name",
    ),
    "not committed": (
        lambda root: (root / "experiments/quick/main.py").write_text("x"), ["reproduce", "quick"],
        4, "commit them, or keep the difference",
    ),
    "a secret beside the code": (
        lambda root: (root / "experiments/quick/.env").write_text(CANARY),
        ["reproduce", "quick", "--allow-dirty"], 4, ".env looks like a secret",
    ),
    "code elsewhere that is not to be had": (
        write(PLACE, quick(f"source: {{git: 'https://localhost:1/x', commit: {'a' * 40}}}")),
        ["reproduce", "quick"], 6, "the code of https://localhost:1/x at aaaaaaaaaaaa cannot be",
    ),
    "a file where .rpac should be": (
        instead(".rpac", make_file), ["reproduce", "quick"], 5, "no store can be made in ",
    ),
    "sweep beside it": (instead(".rpac", make_file), ["sweep"], 5, "it must be a folder that can"),
    ".rpac is a link to nowhere": (
        instead(".rpac", lambda path: path.symlink_to("nowhere")), ["reproduce", "quick"], 5,
        "no store can be made in ",
    ),
    "a file where the store should be": (
        instead(".rpac/store", make_file), ["reproduce", "quick"], 5, "no store can be made in ",
    ),
    "a damaged log": (
        instead(".git/refs/heads/rpac/log", lambda path: path.write_text("0" * 39 + "1\n")),
        ["history"], 6, "git",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("plant", "words", "code", "says"), rows(PLANTED))
def test_files_that_are_not_what_they_seem(
    rpac: Terminal,
    write_experiment: WriteExperiment,
    plant: Plant,
    words: list[str],
    code: int,
    says: str,
) -> None:
    write_experiment()
    plant(rpac.root)
    answer = refuses(rpac, words, code, says)
    assert "root:" not in answer.out + answer.err, "what a link leads to is not shown"


def test_a_name_that_is_not_utf_8_on_a_real_command_line(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rpac_ci", "validate", b"\xff.yaml"], cwd=repository,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"there is no" in done.stderr


# --- repositories ---------------------------------------------------------------------------------


def test_without_git(
    rpac: Terminal, write_experiment: WriteExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_experiment()
    monkeypatch.setenv("PATH", "/nowhere")
    refuses(rpac, ["reproduce", "quick"], 6, "git is not installed")


def test_in_a_bare_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare")
    refuses(Terminal(tmp_path), ["history"], 6, "work tree")


def test_without_a_repository(tmp_path: Path) -> None:
    refuses(Terminal(tmp_path), ["reproduce", "quick"], 6, "is not in a git repository", "git init")


def test_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    rpac = Terminal(tmp_path)
    rpac("new", "one")
    refuses(rpac, ["reproduce", "one"], 6, "no commit yet", "git add experiments/one && git commit")


def test_a_working_tree_that_cannot_be_written(
    rpac: Terminal, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    rpac.root.chmod(0o555)
    try:
        if os.access(rpac.root, os.W_OK):
            pytest.skip("root may write everywhere")
        refuses(rpac, ["reproduce", "quick"], 5, "no store can be made in ", "Permission denied")
    finally:
        rpac.root.chmod(0o755)


def reads_all(folder: Path) -> bool:
    """Whether nothing can be hidden from this user, as from root."""
    closed = folder / "closed"
    closed.mkdir(mode=0)
    return os.access(closed, os.R_OK)


def fail_every_hook(root: Path) -> None:
    names = (
        "pre-commit prepare-commit-msg commit-msg post-commit pre-merge-commit pre-rebase "
        "post-checkout post-merge post-rewrite reference-transaction post-index-change pre-auto-gc"
    )
    for name in names.split():
        hook = root / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\ntouch hook-was-run\nexit 1\n")
        hook.chmod(0o755)


# what is planted -> whether the branch gets the report, words of the answer, what git status shows
BRANCHES: dict[str, tuple[Plant, bool, str, str]] = {
    "failing hooks of every kind": (fail_every_hook, True, "reproduced", ""),
    "no identity": (lambda _: None, True, "reproduced", ""),
    "detached": (
        lambda root: git(root, "switch", "--quiet", "--detach"), False, "HEAD is detached", "",
    ),
    "index.lock": (
        lambda root: (root / ".git" / "index.lock").touch(), False, "another git command is under",
        "",
    ),
    "a merge": (
        lambda root: (root / ".git" / "MERGE_HEAD").write_text(git(root, "rev-parse", "HEAD")),
        False, "a merge is under way", "",
    ),
    "reports is a file": (
        lambda root: (root / "reports").touch(), False, "reports is not a folder", "?? reports",
    ),
    "on the log": (
        lambda root: git(root, "switch", "--quiet", "--create", "rpac/log"), False, "reproduced",
        "",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "moves", "says", "status"), rows(BRANCHES))
def test_branches_that_cannot_take_a_report(
    rpac: Terminal,
    write_experiment: WriteExperiment,
    monkeypatch: pytest.MonkeyPatch,
    plant: Plant,
    moves: bool,
    says: str,
    status: str,
) -> None:
    write_experiment()
    plant(rpac.root)
    head = git(rpac.root, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)  # no user.name, no user.email
    answer = rpac("reproduce", "quick")
    assert answer.code == 0, answer.err
    assert says in answer.out
    one_record(rpac, base=head if moves else "", status=status)
    if not moves and git(rpac.root, "branch", "--show-current") != "rpac/log":
        assert git(rpac.root, "rev-parse", "HEAD") == head


@pytest.mark.slow
def test_a_branch_in_the_way_of_the_log(rpac: Terminal, write_experiment: WriteExperiment) -> None:
    write_experiment()
    git(rpac.root, "branch", "rpac")
    head = git(rpac.root, "rev-parse", "HEAD")
    answer = rpac("reproduce", "quick")
    assert answer.code == 6
    assert "'refs/heads/rpac' exists" in answer.err
    assert "git branch -m rpac" in answer.err
    assert git(rpac.root, "rev-parse", "HEAD") == head
    git(rpac.root, "branch", "--move", "rpac", "mine")
    assert rpac("advance", "--all").code == 0
    one_record(rpac, base=head)


@pytest.mark.slow
def test_a_shallow_clone(rpac: Terminal, write_experiment: WriteExperiment, tmp_path: Path) -> None:
    write_experiment()
    git(tmp_path, "clone", "--quiet", "--depth=1", rpac.root.as_uri(), "shallow")
    there = Terminal(tmp_path / "shallow")
    head = git(there.root, "rev-parse", "HEAD")
    assert there("reproduce", "quick").code == 0
    one_record(there, base=head)


PLACES = {
    "letters": ["spaces and ünïcödé"],
    "quotes": ["a \"quote\", 'another' $HOME"],
    "line break in the place": ["line\nbreak"],
    "far down": ["/".join(["x" * 200] * 12)],
}


@pytest.mark.slow
@pytest.mark.parametrize("place", rows(PLACES))
def test_a_repository_in_an_odd_place(
    repository: Path, write_experiment: WriteExperiment, tmp_path: Path, place: str
) -> None:
    write_experiment()
    there = tmp_path / place
    there.parent.mkdir(parents=True, exist_ok=True)
    rpac = Terminal(repository.rename(there))
    head = git(there, "rev-parse", "HEAD")
    answer = rpac("reproduce", "quick")
    assert answer.code == 0, answer.err
    one_record(rpac, base=head)


@pytest.mark.slow
def test_two_terminals_at_once(rpac: Terminal, write_experiment: WriteExperiment) -> None:
    write_experiment()
    head = git(rpac.root, "rev-parse", "HEAD")
    both = [rpac.start("reproduce", "quick") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "reproduced: identical" in out
    assert len(records(rpac.root)) == 2
    assert git(rpac.root, "rev-list", "--count", f"{head}..HEAD") == "2"
    assert git(rpac.root, "status", "--porcelain") == ""
    assert rpac.left_over() == NOTHING


def test_gc_leaves_an_open_run_alone(rpac: Terminal, write_experiment: WriteExperiment) -> None:
    write_experiment()
    store = rpac.root / ".rpac" / "store"
    for name in (f"open/{TWINS[0]}", f"content/sha256/{NO_HASH}", f"runs/{TWINS[0]}/job.json"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_text("{}")
    before = everything(rpac.root)
    answer = rpac("gc")
    assert answer.code == 0, answer.err
    assert everything(rpac.root).items() >= before.items(), "all that there was is there"


# --- commands that misbehave ----------------------------------------------------------------------

HEAD = """\
import json, os, pathlib, signal, socket, subprocess, sys
out = pathlib.Path(sys.argv[2])
def report(metrics): (out / "metrics.json").write_text(json.dumps(metrics))
"""
GOOD = 'report({"level": 7})\n'
WELL, NOT, FAILED = "reproduced: identical", "not reproduced", "inconclusive (run failed)"
MISSING = "metrics.json, level: missing"

# what the command does -> exit code, outcome, words of the answer; outputs beside metrics.json
COMMANDS: dict[str, Sequence[Any]] = {
    "a list": ("report([7])", 1, NOT, "metrics.json is not an object of name -> number"),
    "1e400": (
        '(out / "metrics.json").write_text(\'{"level": 1e400}\')', 1, NOT,
        "'level' is not a finite number",
    ),
    "101 metrics": (
        'report({f"m{i}": i for i in range(101)})', 1, NOT, "101 entries, at most 100",
    ),
    "fewer seeds than values": (
        'report({"level": {"values": [7, 7], "seeds": [1]}})', 1, NOT,
        "'level' is not a sample: finite values and, if any, as many whole seeds",
    ),
    "a deep well": ('(out / "metrics.json").write_text("[" * 200_000)', 1, NOT, "too deeply"),
    "2 MB of metrics": ('report({"level": "x" * 2_000_000})', 1, NOT, "at most 1048576 are read"),
    "not UTF-8": ('(out / "metrics.json").write_bytes(b"\\xff")', 1, NOT, "is not valid JSON"),
    "a child that stays": (
        GOOD + 'subprocess.Popen(["sleep", "600"], start_new_session=True)', 0, WELL, "",
    ),
    "a child that forgets who it is": (
        GOOD + 'subprocess.Popen(["sleep", "600"], env={}, start_new_session=True)', 0, WELL, "",
    ),
    "deaf to SIGTERM": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()", 3, FAILED,
        "1 s",
    ),
    "kills its node": ("os.kill(os.getppid(), 9)", 5, "could not run", "ended without a result"),
    "kills its group": ("os.killpg(0, 9)", 3, FAILED, "signal 9"),
    "101 files": (
        GOOD + 'for n in range(101): (out / f"{n}.png").touch()', 3, FAILED,
        "put them into a folder", ["*.png"],
    ),
    "odd names": (
        GOOD + '(out / "a\\nb.png").touch(); open(os.fsencode(out) + b"/\\xff.png", "w")', 1, NOT,
        "*.png: missing", ["*.png"],
    ),
    "a link": ('(out / "metrics.json").symlink_to("/etc/passwd")', 1, NOT, MISSING),
    "a pipe": ('os.mkfifo(out / "metrics.json")', 1, NOT, MISSING),
    "a socket": (
        'os.chdir(out); socket.socket(socket.AF_UNIX).bind("metrics.json")', 1, NOT, MISSING,
    ),
    "a folder with a link and a pipe": (
        GOOD + '(out / "maps").mkdir(); (out / "maps" / "etc").symlink_to("/etc")\n'
        '(out / "maps" / "a").write_text("a"); os.mkfifo(out / "maps" / "b")', 0, WELL, "",
        ["maps"],
    ),
    "no outputs folder": ("os.rmdir(out)", 1, NOT, MISSING),
    "another outputs folder": ('os.rmdir(out); out.symlink_to("/etc")', 1, NOT, MISSING),
    "folders in folders": (
        GOOD + "os.chdir(out)\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')", 3, FAILED,
        "the outputs cannot be kept",
    ),
    "outputs that nobody may read": (GOOD + "out.chmod(0)", 0, WELL, ""),
    "no code any more": (GOOD + "import shutil; shutil.rmtree(os.getcwd())", 0, WELL, ""),
    "all bytes there are": (
        "sys.stdout.buffer.write(bytes(range(256)) * 99); sys.exit(3)", 3, FAILED, "exit code 3",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "code", "outcome", "says", "outputs"),
    rows({name: [*row, []][:5] for name, row in COMMANDS.items()}),
)
def test_commands_that_misbehave(
    rpac: Terminal,
    write_experiment: WriteExperiment,
    tmp_path: Path,
    body: str,
    code: int,
    outcome: str,
    says: str,
    outputs: list[str],
) -> None:
    if "chmod(0)" in body and not reads_all(tmp_path):
        code, outcome, says = 3, FAILED, "the outputs cannot be kept: Permission denied"
    limit = "1 s" if "SIG_IGN" in body else "1 min"
    names = json.dumps(["metrics.json", *outputs])
    write_experiment(
        yaml=quick(**{"[metrics.json]": names, "time: 1 min": f"time: {limit}"}),
        files={"main.py": f"{HEAD}{body}\n"},
    )
    head = git(rpac.root, "rev-parse", "HEAD")
    answer = rpac("reproduce", "quick")
    assert answer.code == code, answer.out + answer.err
    assert says in answer.out + answer.err
    record = one_record(rpac, base=head)
    assert record["verdict"]["outcome"] == outcome
    assert "passwd" not in json.dumps(record)


# --- data that does not come ----------------------------------------------------------------------

DATA = """\
id: quick
title: Counts letters
engine: process
command: [python, main.py, "{data.text}", "{outputs}"]
data:
  text: {uri: "URI"MORE}
verify:
  letters: {expect: 5}
"""
DATA_MAIN = """\
import json, pathlib, sys
metrics = {"letters": len(pathlib.Path(sys.argv[1]).read_text())}
pathlib.Path(sys.argv[2], "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[web.Server]:
    """A server that is trusted; its clients are impatient and do not pause between their tries."""
    authority = trustme.CA()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(web.bundle(authority, tmp_path / "ca.pem")))
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    monkeypatch.setenv("RPAC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "CONNECT_TIMEOUT_S", 2.0)
    monkeypatch.setattr(downloads, "READ_TIMEOUT_S", 0.1)
    hurried = SimpleNamespace(time=time.time, mktime=time.mktime, sleep=lambda _: None)
    monkeypatch.setattr("urllib3.util.retry.time", hurried)
    with web.serve(authority) as running:
        running.pages |= {
            "/whole": web.content(b"abcde"),
            "/silent": web.silent(running),
            "/stalled": web.stalled(running, b"abcde" * 1000),
            "/half": web.broken_off(b"abcde" * 1000),
            "/busy": web.status(503),
            "/away": web.redirect("http://localhost:1/plain"),
        }
        yield running


# what is asked for (SERVER stands for the server's address) and declared -> words of the answer
MISSED: dict[str, tuple[str, str, str]] = {
    "another publisher's checksum": (
        "file:letters.txt", f", checksum: 'md5:{'0' * 32}'", f"expected {'0' * 32}",
    ),
    "another checksum of a download": (
        "SERVER/whole", f", checksum: 'sha1:{'0' * 40}'", f"expected {'0' * 40}",
    ),
    "another hash of a download": ("SERVER/whole", f", sha256: '{NO_HASH}'", f"expected {NO_HASH}"),
    "not found": ("SERVER/nowhere", "", "answered 404"),
    "busy for ever": ("SERVER/busy", "", "cannot be fetched: too many 503"),
    "accepts and says nothing": ("SERVER/silent", "", "timed out"),
    "stops half-way": ("SERVER/stalled", "", "timed out"),
    "breaks off half-way": ("SERVER/half", "", "cannot be fetched"),
    "leads to http": ("SERVER/away", "", "redirects to an address without https"),
    "nobody there": ("https://localhost:1/x", "", "refused"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("uri", "more", "says"), rows(MISSED))
def test_data_that_does_not_come(
    rpac: Terminal,
    write_experiment: WriteExperiment,
    server: web.Server,
    uri: str,
    more: str,
    says: str,
) -> None:
    yaml = DATA.replace("URI", uri.replace("SERVER", server.url(""))).replace("MORE", more)
    write_experiment(yaml=yaml, files={"main.py": DATA_MAIN, "letters.txt": "abcde"})
    head = git(rpac.root, "rev-parse", "HEAD")
    answer = rpac("reproduce", "quick")
    assert answer.code == 5, answer.out
    assert says in answer.out
    record = one_record(rpac, base=head)
    assert record["verdict"]["outcome"] == "could not run"
    assert record["circumstances"]["nodes"] == []
    incoming = Path(os.environ["RPAC_CACHE"]) / "content" / "sha256"
    assert not list(incoming.glob(".incoming-*")), "nothing half-written stays"


# --- secrets --------------------------------------------------------------------------------------


def test_secrets_of_the_environment_are_nowhere(
    rpac: Terminal, write_experiment: WriteExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET", "GITHUB_TOKEN", "MY_PASSWORD"):
        monkeypatch.setenv(name, CANARY)
    write_experiment(
        files={"main.py": f"{HEAD}{GOOD}print(dict(os.environ))\n"
               "print(pathlib.Path(f'/proc/{os.getppid()}/environ').read_bytes())"}
    )  # fmt: skip
    answer = rpac("reproduce", "quick")
    assert answer.code == 0, answer.out
    log = rpac("logs", rpac.runs()[0]).out
    assert "RPAC_RUN" in log
    one_record(rpac)
    objects = subprocess.run(
        ["git", "cat-file", "--batch", "--batch-all-objects"], cwd=rpac.root, check=True,
        capture_output=True,
    )  # fmt: skip
    files = [path.read_bytes() for path in rpac.root.rglob("*") if path.is_file()]
    for content in (answer.out.encode(), answer.err.encode(), objects.stdout, *files):
        assert CANARY.encode() not in content
