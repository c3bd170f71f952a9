"""`rpac init`: what is written, what is left alone, and where the runners take rpac from."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from rpac_ci import experiments
from rpac_ci.cli import github as cli_github
from rpac_ci.cli import group as cli_group
from rpac_ci.errors import CommandError, ExperimentError, PolicyError
from rpac_ci.github.setup import generated, setup, sources
from rpac_ci.github.setup.generated import ACTION, FILES, State
from rpac_ci.github.setup.setup import EXAMPLE, apply, prepare
from rpac_ci.github.setup.sources import Source
from rpac_ci.site_config import SiteConfig, load_site
from tests.conftest import WriteExperiment, git

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT = f"git+https://example.org/lab/rpac_ci@{COMMIT}"
WORKFLOW = ".github/workflows/rpac.yml"


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


def written(root: Path, **options: object) -> setup.Setup:
    made = prepare(root, source=GIT, **options)  # type: ignore[arg-type]
    apply(made)
    return made


# sources


@pytest.mark.parametrize(
    ("text", "shown", "requirement"),
    [
        (".", ".", ".[aws,azure,compare,containers]"),
        (".[compare]", ".", ".[aws,azure,compare,containers]"),
        ("rpac-ci==0.3.0", "rpac-ci==0.3.0", "rpac-ci[aws,azure,compare,containers]==0.3.0"),
        (
            "rpac-ci[compare]==1.0rc1",
            "rpac-ci==1.0rc1",
            "rpac-ci[aws,azure,compare,containers]==1.0rc1",
        ),
        (GIT, GIT, f"rpac-ci[aws,azure,compare,containers] @ {GIT}"),
        (f"rpac-ci[compare] @ {GIT}", GIT, f"rpac-ci[aws,azure,compare,containers] @ {GIT}"),
        (
            f"git+https://ghe.example.org:8443/a/b.git@{'ab' * 32}",
            f"git+https://ghe.example.org:8443/a/b.git@{'ab' * 32}",
            "rpac-ci[aws,azure,compare,containers] @ "
            f"git+https://ghe.example.org:8443/a/b.git@{'ab' * 32}",
        ),
    ],
)
def test_sources(text: str, shown: str, requirement: str) -> None:
    source = Source.parse(text)
    assert (str(source), source.requirement) == (shown, requirement)
    assert Source.parse(requirement) == source


@pytest.mark.parametrize(
    "text",
    [
        "", "..", "./", "rpac-ci", "rpac-ci>=1", "other==1.0", "rpac-ci==", "rpac-ci==1.0\n",
        "rpac-ci==1.0; echo", 'rpac-ci==1"', "git+https://example.org/lab/x", f"{GIT[:-1]}",
        f"git+https://example.org/lab/x@{COMMIT.upper()}", f"git+http://example.org/lab/x@{COMMIT}",
        f"git+ssh://git@example.org/lab/x@{COMMIT}", f"git+https://token@example.org/a/b@{COMMIT}",
        f"git+https://u:p@example.org/a/b@{COMMIT}", f"git+file:///srv/x@{COMMIT}",
        f"git+https://example.org/../x@{COMMIT}", f"git+https://example.org/a b@{COMMIT}",
        f"git+https://example.org/${{{{github.token}}}}@{COMMIT}", f"{GIT}#egg=x", f"{GIT}\nrun: x",
        "git+https://example.org/lab/x@main", "https://example.org/x.whl",
    ],
)  # fmt: skip
def test_what_is_no_source(text: str) -> None:
    with pytest.raises(CommandError, match="is no source of rpac") as caught:
        Source.parse(text)
    assert "--source" in caught.value.hint


@given(st.text() | st.from_regex(r"git\+https://[^@]{0,20}@[0-9a-f]{40}\S?", fullmatch=True))
def test_no_source_can_leave_its_place_in_the_action(text: str) -> None:
    try:
        source = Source.parse(text)
    except CommandError:
        return
    assert not set(source.requirement) & set("\"'\\\n\r\t\0$`;&|<>{}#*!?")
    assert generated.recorded_source(generated.render(source)[ACTION]) == source


@pytest.mark.parametrize(
    ("direct_url", "source"),
    [
        (None, "rpac-ci==1.2.3"),
        (
            {
                "url": "https://example.org/lab/rpac_ci",
                "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": COMMIT},
            },
            GIT,
        ),
    ],
    ids=["index", "git"],
)
def test_the_installed_distribution_says_where_it_is_from(direct_url: object, source: str) -> None:
    text = None if direct_url is None else json.dumps(direct_url)
    assert str(sources.of_distribution("1.2.3", text)) == source


@pytest.mark.parametrize(
    ("direct_url", "why"),
    [
        ({"url": "file:///home/me/rpac_ci", "dir_info": {"editable": True}}, "file or folder"),
        ({"url": "file:///tmp/x.whl", "archive_info": {}}, "file or folder"),
        (
            {
                "url": "ssh://git@example.org/a/b",
                "vcs_info": {"vcs": "git", "commit_id": COMMIT},
            },
            "not over https",
        ),
        (
            {
                "url": "https://me:hunter2@example.org/a/b",
                "vcs_info": {"vcs": "git", "commit_id": COMMIT},
            },
            "without credentials",
        ),
        ({"url": "https://example.org/a", "vcs_info": {"vcs": "hg", "commit_id": "1"}}, "file or"),
        ({"vcs_info": []}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_a_source_that_no_runner_reaches_has_to_be_named(direct_url: object, why: str) -> None:
    with pytest.raises(CommandError, match=why) as caught:
        sources.of_distribution("1.2.3", json.dumps(direct_url))
    assert "--source" in caught.value.hint
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_a_local_installation_needs_a_source(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = SimpleNamespace(
        version="1", read_text=lambda _: json.dumps({"url": "file:///x", "dir_info": {}})
    )
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: local)
    with pytest.raises(CommandError, match="from a file or folder"):
        prepare(repository)
    assert contents(repository) == {}
    written(repository)
    again = prepare(repository)  # what the repository names already is not asked for again
    assert (str(again.source), again.changes, again.left) == (GIT, (), ())
    upgraded = prepare(repository, upgrade=True)
    assert (str(upgraded.source), upgraded.changes) == (GIT, ())


def test_an_upgrade_takes_the_source_of_the_version_that_upgrades(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(repository)
    index = SimpleNamespace(version="9.9", read_text=lambda _: None)
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: index)
    assert str(prepare(repository).source) == GIT
    upgrade = prepare(repository, upgrade=True)
    assert str(upgrade.source) == "rpac-ci==9.9"
    assert [change.path for change in upgrade.changes] == [ACTION]


def test_the_repository_itself_installs_what_it_checks_out(repository: Path) -> None:
    with pytest.raises(CommandError, match="for the repository of rpac itself"):
        prepare(repository, source=".")
    (repository / "pyproject.toml").write_text('[project]\nname = "rpac-ci"\n')
    (repository / "rpac_ci").mkdir()
    (repository / "rpac_ci" / "__init__.py").touch()
    assert str(prepare(repository).source) == "."


# files and their states


def test_the_states_of_a_file() -> None:
    old, new = generated.signed("old\n", "0.0.1"), generated.signed("new\n")
    cases = {
        State.MISSING: None,
        State.CURRENT: new,
        State.OUTDATED: old,
        State.NEWER: generated.signed("newest\n", "999.0"),
        State.EDITED: old + "# mine\n",
        State.FOREIGN: "name: rpac\n",
    }
    assert {state: generated.state(text, new) for state, text in cases.items()} == {
        state: state for state in State
    }


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (generated.signed("new\n", "0.0.1"), State.CURRENT),
        (generated.signed("new\n").replace("\n", "\r\n"), State.CURRENT),
        (generated.signed("old\n", "0.0.1").replace("\n", "\r\n"), State.OUTDATED),
        (generated.signed("old\n", "no.version"), State.NEWER),
        (generated.signed("old\n", "0.0.1").replace("old", "odd"), State.EDITED),
        (generated.signed("old\n", "0.0.1").partition("\n")[2], State.FOREIGN),
        ("\n" + generated.signed("new\n"), State.FOREIGN),
        ("", State.FOREIGN),
    ],
    ids=[
        "only the version differs", "CRLF", "old with CRLF", "unknown version", "changed",
        "first line removed", "first line moved", "emptied",
    ],
)  # fmt: skip
def test_more_states_of_a_file(text: str, state: State) -> None:
    assert generated.state(text, generated.signed("new\n")) is state


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r")), st.data())
def test_any_edit_of_a_written_file_is_seen(body: str, data: st.DataObject) -> None:
    whole = generated.signed(body, "0.0.1")
    at = data.draw(st.integers(0, len(whole)))
    added = data.draw(st.text(alphabet="ab \n#", min_size=1, max_size=3))
    edited = whole[:at] + added + whole[at:]
    state = generated.state(edited, generated.signed("other"))
    # a first line that still reads as one may claim another version; it cannot pass for untouched
    versioned = edited.partition("\n")[2] == whole.partition("\n")[2]
    assert state in {State.EDITED, State.FOREIGN} or versioned


# init


def test_a_bare_repository_is_made_ready(repository: Path) -> None:
    made = written(repository)
    found = contents(repository)
    example = {f"experiments/{EXAMPLE}/{name}" for name in (
        "experiment.yaml", "main.py", "requirements.lock", "README.md",
    )}  # fmt: skip
    assert set(found) == {*FILES, *example, "rpac.yaml", ".gitignore"}
    assert load_site(repository) == SiteConfig()
    assert made.experiment == EXAMPLE
    path = experiments.locate(repository / "experiments", EXAMPLE)
    assert experiments.load(path, root=repository).experiment.id == EXAMPLE
    assert git(repository, "check-ignore", ".rpac/store") == ".rpac/store"
    assert stat.S_IMODE((repository / WORKFLOW).stat().st_mode) & 0o600 == 0o600


def test_the_commented_settings_are_settings(repository: Path) -> None:
    written(repository)
    path = repository / "rpac.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.removeprefix("# ") for line in lines[2:]) + "\n")
    config = load_site(repository)
    assert config.model_dump(exclude={"budgets", "rerun"}) == SiteConfig().model_dump(
        exclude={"budgets", "rerun"}
    )
    assert config.budgets.month == 50


def test_a_second_init_has_nothing_to_do(repository: Path) -> None:
    written(repository)
    before = contents(repository)
    again = written(repository)
    assert (again.changes, again.left, again.diff()) == ((), (), "")
    assert contents(repository) == before
    assert written(repository, upgrade=True).changes == ()


def test_the_diff_is_what_git_applies(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.pyc")  # without a line end
    made = prepare(repository, source=GIT)
    patch = made.diff().encode()
    subprocess.run(["git", "apply", "-p1", "-"], cwd=repository, input=patch, check=True)
    by_git = contents(repository)
    git(repository, "clean", "-fdqx")
    (repository / ".gitignore").write_text("*.pyc")
    apply(made)
    assert contents(repository) == by_git
    assert (repository / ".gitignore").read_text() == "*.pyc\n.rpac/\n"


def test_what_is_there_stays(repository: Path, write_experiment: WriteExperiment) -> None:
    write_experiment("quick")
    (repository / "rpac.yaml").write_text("commit_back: log\n")
    (repository / ".gitignore").write_text("/.rpac\n")
    made = written(repository)
    assert {change.path for change in made.changes} == set(FILES)
    assert made.experiment == "quick"
    assert (repository / "rpac.yaml").read_text() == "commit_back: log\n"
    assert not (repository / "experiments" / EXAMPLE).exists()


def test_the_folder_of_experiments_is_found(
    repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment("quick")
    git(repository, "mv", "experiments", "studies")
    git(repository, "commit", "--quiet", "--message", "rename")
    made = written(repository)
    assert load_site(repository).experiments == "studies"
    assert made.experiment == "quick"
    assert not (repository / "experiments").exists()


def test_a_subfolder_will_do(repository: Path) -> None:
    folder = repository / "deep" / "down"
    folder.mkdir(parents=True)
    written(folder)
    assert (repository / WORKFLOW).exists()


@pytest.mark.parametrize("upgrade", [False, True], ids=["init", "upgrade"])
@pytest.mark.parametrize(
    ("edit", "state"),
    [
        (lambda text: text + "# mine\n", State.EDITED),
        (lambda _: "name: my own\n", State.FOREIGN),
        (lambda _: generated.signed("later\n", "999.0"), State.NEWER),
    ],
    ids=["edited", "foreign", "newer"],
)
def test_what_people_wrote_is_never_overwritten(
    repository: Path, edit: Callable[[str], str], state: State, *, upgrade: bool
) -> None:
    written(repository)
    path = repository / WORKFLOW
    path.write_text(edit(path.read_text()))
    before = contents(repository)
    made = written(repository, upgrade=upgrade)
    assert [(left.path, left.state) for left in made.left] == [(WORKFLOW, state)]
    assert contents(repository) == before


def test_only_an_upgrade_renews_what_another_version_wrote(repository: Path) -> None:
    written(repository)
    path = repository / WORKFLOW
    path.write_text(generated.signed("name: old\n", "0.0.1"))
    (left,) = written(repository).left
    assert (left.state, "--upgrade" in left.why) == (State.OUTDATED, True)
    assert "name: old" in path.read_text()
    made = written(repository, upgrade=True)
    assert [(change.path, change.action) for change in made.changes] == [(WORKFLOW, "update")]
    assert path.read_text() == generated.render(Source.parse(GIT))[WORKFLOW]


def test_a_file_that_changes_after_it_was_shown_stops_everything(repository: Path) -> None:
    made = prepare(repository, source=GIT)
    (repository / ".gitignore").write_text("mine\n")
    with pytest.raises(CommandError, match=r"\.gitignore has changed in the meantime"):
        apply(made)
    assert set(contents(repository)) == {".gitignore"}


@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_lead_nowhere(repository: Path, tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    if what == "folder":
        (repository / ".github").symlink_to(outside)
    else:
        (repository / ".gitignore").symlink_to(outside / "ignored")
    with pytest.raises(CommandError, match="is a link"):
        prepare(repository, source=GIT)
    assert list(outside.iterdir()) == []


def test_mistakes_in_rpac_yaml_are_told_before_anything_is_written(repository: Path) -> None:
    (repository / "rpac.yaml").write_text("folder: x\n")
    with pytest.raises(ExperimentError, match=r"rpac\.yaml:1:1"):
        prepare(repository, source=GIT)


def test_a_folder_in_place_of_a_file_is_an_error(repository: Path) -> None:
    (repository / ".gitignore").mkdir()
    with pytest.raises(CommandError, match="cannot be read"):
        prepare(repository, source=GIT)


# the command


def call(repository: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(repository)
    return CliRunner().invoke(cli_github.init, ["--source", GIT, *arguments], standalone_mode=False)


def test_without_a_terminal_nothing_is_written(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = call(repository, monkeypatch=monkeypatch)
    assert isinstance(result.exception, PolicyError)
    assert "--yes" in result.exception.hint
    assert f"+++ b/{WORKFLOW}" in result.stdout
    assert contents(repository) == {}


def test_yes_writes_and_says_what_comes_next(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = call(repository, "--yes", monkeypatch=monkeypatch)
    assert result.exception is None
    assert f"/reproduce {EXAMPLE}" in result.stdout
    assert (repository / WORKFLOW).exists()
    assert "nothing to write" in call(repository, "--yes", monkeypatch=monkeypatch).stdout


@pytest.mark.parametrize(("answer", "writes"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_is_asked(
    repository: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, writes: bool
) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.setattr(cli_group, "at_a_terminal", lambda: True)
    monkeypatch.setattr(cli_github, "at_a_terminal", lambda: True)
    result = CliRunner().invoke(
        cli_github.init, ["--source", GIT], input=answer, standalone_mode=False
    )
    assert result.exception is None
    assert (repository / WORKFLOW).exists() is writes


def test_json_and_dry_run_only_tell(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call(repository, "--json", "--dry-run", monkeypatch=monkeypatch)
    told = json.loads(result.stdout)
    assert result.exception is None
    assert (told["written"], told["source"], told["experiment"]) == (False, GIT, EXAMPLE)
    assert {"path": WORKFLOW, "action": "create"} in told["changes"]
    assert contents(repository) == {}
    assert isinstance(call(repository, "--json", monkeypatch=monkeypatch).exception, PolicyError)
    told = json.loads(call(repository, "--json", "--yes", monkeypatch=monkeypatch).stdout)
    assert told["written"] is True
