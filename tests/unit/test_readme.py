"""The README says what is true: its help text is what `rpac` prints, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def help_text() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rpac_ci", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    return f"<!-- help: begin -->\n```text\n{done.stdout.rstrip()}\n```\n<!-- help: end -->"


def test_the_help_in_the_readme_is_what_rpac_prints() -> None:
    assert help_text() in README


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / name).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_example_experiment_of_the_readme_is_valid() -> None:
    from rpac_ci import experiments, yaml_io

    text = next(
        block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "exp-42" in block
    ).replace("9f2c…", '"' + "9" * 64 + '"')
    experiment = experiments.parse(yaml_io.loads(text.encode(), file="README.md"))
    assert (experiment.id, experiment.resources.memory) == ("exp-42", 8192)


if __name__ == "__main__":  # writes the help text into the README
    pattern = re.compile(r"<!-- help: begin -->.*?<!-- help: end -->", re.DOTALL)
    (ROOT / "README.md").write_text(pattern.sub(lambda _: help_text(), README))
