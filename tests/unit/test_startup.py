"""`rpac --help` is there at once: nothing heavy is imported before a subcommand needs it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import rpac_ci

HEAVY = {
    "boto3", "cryptography", "distributed", "docker", "github", "h5py", "markdown_it",
    "matplotlib", "numpy", "obstore",
    "psutil", "pyarrow", "pydantic", "requests", "rich", "ruamel", "scipy", "yaml", "zarr",
}  # fmt: skip


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python, without what coverage or an editor adds to it."""
    argv = [sys.executable, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def imported(err: str) -> set[str]:
    """Top-level packages in the output of `-X importtime`."""
    return set(re.findall(r"^import time:.*\| +([A-Za-z_][A-Za-z0-9_]*)", err, re.MULTILINE))


def test_help_imports_nothing_heavy() -> None:
    done = python("-X", "importtime", "-m", "rpac_ci", "--help")
    assert done.returncode == 0
    assert "reproduce" in done.stdout
    assert "click" in imported(done.stderr)
    assert imported(done.stderr) & HEAVY == set()


def test_the_package_imports_nothing_heavy_until_its_api_is_used() -> None:
    code = "import sys, rpac_ci; rpac_ci.__version__; print(*sys.modules)"
    done = python("-c", code)
    assert set(done.stdout.split()) & HEAVY == set()
    assert "rpac_ci" in done.stdout.split()


@pytest.mark.parametrize("name", rpac_ci.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(rpac_ci, name) is not None


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'reproduze'"):
        rpac_ci.reproduze  # noqa: B018
