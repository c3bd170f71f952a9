"""Decisions without a network: for trying settings and commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rpac_ci.bot import dry_run as dry_runs
from tests.conftest import WriteExperiment, asset


def said(repository: Path, body: str, *, role: str = "write") -> list[str]:
    """Codes of the decisions about a comment."""
    event = json.loads((asset("events") / "issue_comment_created.json").read_bytes())
    event["comment"]["body"] = body
    path = repository / "event.json"
    path.write_text(json.dumps(event))
    handled = dry_runs.dry_run(path, "issue_comment", role=role, root=repository)
    return handled.codes or [handled.code]


@pytest.mark.parametrize(
    ("body", "role", "codes"),
    [
        ("/reproduce quick", "write", ["within-limits"]),
        ("/reproduce quick", "read", ["role-too-low"]),
        ("/plan quick\n\n/history quick", "write", ["planned", "admitted"]),
        ("/reproduce quik", "write", ["failed"]),
        ("/reproduce quick clod=x", "write", ["misread"]),
        ("/approve 0123456789abcdef", "maintain", ["admitted"]),
        ("Nothing to see", "write", ["no-command"]),
    ],
)
def test_what_would_be_decided(
    repository: Path, write_experiment: WriteExperiment, body: str, role: str, codes: list[str]
) -> None:
    write_experiment()
    assert said(repository, body, role=role) == codes


def test_settings_are_those_of_the_working_tree(
    repository: Path, write_experiment: WriteExperiment
) -> None:
    write_experiment()
    (repository / "rpac.yaml").write_text("enabled: false\n")
    assert said(repository, "/reproduce quick") == ["disabled"]
    (repository / "rpac.yaml").write_text("allow: {clouds: [aws, local]}\n")
    assert said(repository, "/reproduce quick cloud=local") == ["other-cloud"]


@pytest.mark.parametrize("kind", ["push", "pull_request_review", "workflow_run"])
def test_other_events_are_told_apart(repository: Path, kind: str) -> None:
    handled = dry_runs.dry_run(asset("events") / "push.json", kind, role="write", root=repository)
    assert handled.code == "event-not-handled"
