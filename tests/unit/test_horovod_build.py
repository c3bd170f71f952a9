"""Horovod's build as far as no compiler is needed: the patch, the key of the cache, the advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from rpac_ci import horovod_build
from rpac_ci.errors import EnvironmentBuildError
from rpac_ci.horovod_build import PATCH, apply_patch, wheel

BEFORE = "one\ntwo\nthree\nfour\nfive\nsix\n"
DIFF = """\
--- a/text.txt
+++ b/text.txt
@@ -1,3 +1,4 @@
 one
-two
+2
+and a half
 three
@@ -5,2 +6 @@
 five
-six
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The interpreter of a virtual environment, as far as `wheel` looks at it."""
    folder = tmp_path / "environment"
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("version_info = 3.11.7\n")
    return folder / "bin" / "python"


def test_a_patch_with_several_hunks_is_applied(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(BEFORE)
    apply_patch(DIFF, tmp_path)
    assert (tmp_path / "text.txt").read_text() == "one\n2\nand a half\nthree\nfour\nfive\n"


def test_a_patch_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(BEFORE.replace("five", "5"))
    with pytest.raises(EnvironmentBuildError, match=r"does not fit text\.txt at line 5"):
        apply_patch(DIFF, tmp_path)
    assert file.read_text() == BEFORE.replace("five", "5")


def test_our_patch_names_the_files_that_it_is_for() -> None:
    names = [line[6:] for line in PATCH.read_text().splitlines() if line.startswith("+++ b/")]
    assert names == ["CMakeLists.txt", "horovod/torch/CMakeLists.txt", "setup.py"]
    assert PATCH.read_text().count("+set(CMAKE_CXX_STANDARD 20)") == 1


def test_without_a_compiler_the_advice_is_to_install_one(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentBuildError, match=r"no C\+\+ compiler") as caught:
        wheel(environment, torch="2.13.0", cache=tmp_path / "cache")
    assert "apt install g++" in caught.value.hint


@pytest.mark.slow
def test_a_wheel_that_is_there_is_for_one_torch_and_one_patch(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def build(_python: Path, scratch: Path, *_: object) -> Path:
        made = scratch / f"horovod-0.28.1+{len(asked)}.whl"
        made.write_bytes(b"wheel")
        return made

    monkeypatch.setattr(horovod_build, "_build", build)
    monkeypatch.setattr(horovod_build, "_compiler", lambda: "c++")

    def ask(torch: str) -> Path:
        return wheel(environment, torch=torch, cache=tmp_path / "cache", report=asked.append)

    first = ask("2.13.0")
    assert (ask("2.13.0"), len(asked)) == (first, 1)
    assert ask("2.12.0") != first
    assert len(asked) == 2

    patch = tmp_path / "other.patch"
    patch.write_text(DIFF)
    monkeypatch.setattr(horovod_build, "PATCH", patch)
    assert ask("2.13.0") != first
    assert "Horovod 0.28.1 for torch 2.13.0" in asked[-1]


def test_only_environments_are_built_for(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\n")
    with pytest.raises(EnvironmentBuildError, match="not in a virtual environment"):
        wheel(python, torch="2.13.0", cache=tmp_path / "cache")
