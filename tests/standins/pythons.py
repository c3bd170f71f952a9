"""Other Pythons of this machine, without their packages and with none of our variables."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def another(version: str) -> str:
    """An interpreter of a version such as 3.13, on PATH or of pyenv; skips where there is none."""
    for python in _candidates(version):
        if not run_apart(python, "").returncode:
            return python
    pytest.skip(f"no Python {version} on this machine")


def run_apart(python: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code with the standard library alone."""
    return subprocess.run(
        [python, "-I", "-S", "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


def _candidates(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):  # of pyenv that may be a shim that refuses
        yield found
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python{version}")))
