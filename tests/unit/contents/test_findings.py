"""Patterns, names and notes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rpac_ci.contents import Finding, Kind, Tolerance, Wanted, kind_of, missing_packages
from rpac_ci.contents.findings import listed, printable
from rpac_ci.contents.kinds import PACKAGES, SUFFIXES
from rpac_ci.contents.report import Report
from rpac_ci.contents.values import Tally


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/b/sst.NC", Kind.DATASET), ("x.h5", Kind.DATASET), ("x.he5", Kind.DATASET),
        ("x.npy", Kind.NPY), ("x.npz", Kind.NPZ), ("x.csv", Kind.CSV), ("x.csv.gz", Kind.CSV),
        ("x.tsv", Kind.TSV), ("x.parquet", Kind.PARQUET), ("x.zarr", Kind.ZARR),
        ("x.txt", None), ("csv", None), ("x.csv.bz2", None), ("x.hdf", None),
    ],
)  # fmt: skip
def test_kind(name: str, kind: Kind | None) -> None:
    assert kind_of(name) is kind
    assert missing_packages(name) == []


def test_every_kind_has_a_suffix_and_packages() -> None:
    assert set(SUFFIXES.values()) == set(PACKAGES) == set(Kind)


@pytest.mark.parametrize(
    ("ignored", "name", "is_left_out"),
    [
        (("sst",), "sst", True), (("sst",), "group/sst", False), (("*/sst",), "group/sst", True),
        (("group",), "group/deep/sst", True), (("gr*",), "group/sst", True),
        (("sst@units",), "sst", False), (("T[K]",), "T[K]", True), (("t[12]",), "t1", True),
        (("SST",), "sst", False), ((), "sst", False),
    ],
)  # fmt: skip
def test_what_is_ignored(ignored: tuple[str, ...], name: str, is_left_out: bool) -> None:
    assert Wanted(ignore=ignored).ignores(name) is is_left_out


@pytest.mark.parametrize(
    ("ignored", "owner", "attribute", "is_left_out"),
    [
        ((), "", "history", True), ((), "sst", "History", True), ((), "", "title", False),
        (("@title",), "", "title", True), (("@title",), "sst", "title", True),
        (("sst@ti*",), "sst", "title", True), (("sst@title",), "", "title", False),
        (("title",), "", "title", False), (("*@title",), "", "title", True),
    ],
)  # fmt: skip
def test_which_attributes_are_ignored(
    ignored: tuple[str, ...], owner: str, attribute: str, is_left_out: bool
) -> None:
    assert Wanted(ignore=ignored).ignores_attribute(owner, attribute) is is_left_out


def test_the_first_pattern_that_matches_gives_the_tolerance() -> None:
    fine, coarse = Tolerance(abs_tol=1), Tolerance(abs_tol=2)
    wanted = Wanted(variables={"a*": fine, "*": coarse})
    assert (wanted.tolerance_of("ab"), wanted.tolerance_of("ba")) == (fine, coarse)


def test_what_is_wanted_survives_json() -> None:
    wanted = Wanted(
        tolerance=Tolerance(abs_tol=1e-300), variables={"x": Tolerance(rel_tol=0.1)},
        ignore=("@a", "b"), equal_nan=False, key=("k",),
    )  # fmt: skip
    assert Wanted.from_json(wanted.to_json()) == wanted


def test_text_out_of_a_file_is_printable() -> None:
    assert printable("a\nb\t\x1b[31mc\u202e") == "a b \ufffd[31mc\ufffd"
    assert printable("x" * 100, limit=11) == "xxxx...xxxx"
    assert listed(["b", "a\n", "c", "d", "e", "f"]) == "a, b, c, d, e and 1 more"


def test_a_difference_outweighs_what_could_not_be_compared() -> None:
    report = Report(looked_at=1)
    report.add([Tally(name="x", total=3, differing=1, max_abs=0.5, at=(2,), example="1 -> 2")])
    assert report.finding().agreement == "within tolerance"
    report.cannot("y: damaged")
    assert report.finding().agreement == "not compared"
    report.differ("z: gone")
    assert report.finding() == Finding(
        agreement="different", note="z: gone; not compared: y: damaged",
        max_abs=0.5, differing=1, total=3, variable="x",
    )  # fmt: skip


def test_the_interface_loads_no_library() -> None:
    code = "import sys, rpac_ci.contents; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "rpac_ci.contents.apart" in loaded
    assert not loaded & {"numpy", "pyarrow", "h5py", "zarr", "xarray", "pandas", "psutil"}
