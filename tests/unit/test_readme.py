"""The README says what is true: its tables are the program's, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from rpac_ci.command_table import keys_table, verbs_table
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def help_text() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rpac_ci", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    return f"```text\n{done.stdout.rstrip()}\n```"


# what stands between `<!-- name: begin -->` and `<!-- name: end -->`
PARTS = {"help": help_text, "commands": verbs_table, "keys": keys_table}


@pytest.mark.parametrize("name", PARTS)
def test_what_is_generated_in_the_readme_is_up_to_date(name: str) -> None:
    assert f"<!-- {name}: begin -->\n{PARTS[name]()}\n<!-- {name}: end -->" in README


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "AWS.md", "AZURE.md", "CONTRIBUTING.md"]
)
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


if __name__ == "__main__":  # writes them into the README
    text = README
    for part, made in PARTS.items():
        begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{made()}\n{end}{rest.partition(end)[2]}"
    (ROOT / "README.md").write_text(text)
