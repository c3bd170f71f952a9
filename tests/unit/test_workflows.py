"""The workflows as the trust model wants them: who may do what, and what reaches a shell."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import click
import pytest

from rpac_ci import yaml_io
from rpac_ci.bot import Sent
from rpac_ci.cli import bot as cli_bot
from rpac_ci.command_table import VERBS
from rpac_ci.comment_commands import parse_comment
from rpac_ci.functions.notices import EVENT_TYPE
from rpac_ci.github.events import RELEASED_TYPE
from rpac_ci.github.oidc import ENTRANCES
from rpac_ci.github.setup import generated
from rpac_ci.github.setup.sources import HERE, Source
from rpac_ci.jobs import EngineName
from tests.conftest import ROOT

Yaml: TypeAlias = dict[str, Any]

FOLDER = ROOT / ".github" / "workflows"
OURS = ("rpac.yml", "rpac-run.yml", "rpac-validate.yml", "rpac-upkeep.yml")
ALL = tuple(sorted(path.name for path in FOLDER.iterdir()))
ACTION = ROOT / ".github" / "actions" / "rpac" / "action.yml"
PINS = {
    "actions/checkout": ("v7.0.1", "3d3c42e5aac5ba805825da76410c181273ba90b1"),
    "actions/upload-artifact": ("v7.0.0", "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f"),
    "actions/download-artifact": ("v8.0.1", "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c"),
    "actions/setup-python": ("v7.0.0", "5fda3b95a4ea91299a34e894583c3862153e4b97"),
    "actions/attest-build-provenance": ("v4.1.0", "a2bbfa25375fe432b6a289bc6b6cd05ecd0c4c32"),
    "actions/create-github-app-token": ("v3.1.1", "1b10c78c7865c340bc4f6099eb2f838309f1e8c3"),
}
RUN = "20260102T030405Z-0a1b2c3d"


@cache
def load(path: Path) -> Yaml:
    """Read once: no test changes it."""
    value = yaml_io.load(path, shown_as=path.name).value
    assert isinstance(value, dict)
    return value


def workflow(name: str) -> Yaml:
    return load(FOLDER / name)


def jobs(names: tuple[str, ...] = ALL) -> Iterator[tuple[str, Yaml]]:
    for name in names:
        for key, job in workflow(name)["jobs"].items():
            yield f"{name}:{key}", job


def steps(names: tuple[str, ...] = ALL) -> Iterator[tuple[str, Yaml]]:
    for name, job in jobs(names):
        for number, step in enumerate(job.get("steps", ())):
            yield f"{name}:{number}", step
    for number, step in enumerate(load(ACTION)["runs"]["steps"]):
        yield f"action:{number}", step


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from strings(key)
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def test_the_repository_has_exactly_what_init_writes_for_it() -> None:
    for path, text in generated.render(Source(HERE)).items():
        found = (ROOT / path).read_text(encoding="utf-8")
        assert generated.state(found, text) is generated.State.CURRENT, (
            f"{path}: change rpac_ci/github_setup/templates and run: rpac init --upgrade"
        )


def test_only_one_workflow_listens_to_comments_and_none_to_triggers_with_foreign_code() -> None:
    triggers = {name: set(workflow(name)["on"]) for name in ALL}
    assert [name for name in ALL if "issue_comment" in triggers[name]] == ["rpac.yml"]
    assert not set().union(*triggers.values()) & {"pull_request_target", "workflow_run"}
    assert workflow("rpac.yml")["on"]["issue_comment"] == {"types": ["created"]}


@pytest.mark.parametrize("name", ALL)
def test_a_workflow_gives_no_rights_by_itself(name: str) -> None:
    assert workflow(name)["permissions"] == {}
    for key, job in workflow(name)["jobs"].items():
        assert isinstance(job["permissions"], dict), key
        # those that enter a cloud, and those that only hand the right on; images are signed
        known = (
            {"submit", "aws", "azure", "runs"}
            if name in OURS
            else {"publish", *workflow(name)["jobs"]}
        )
        assert "id-token" not in job["permissions"] or key in known, key


def test_what_every_job_may_do() -> None:
    write = {"contents": "write", "pull-requests": "write", "issues": "write", "checks": "write"}
    enter = {"id-token": "write", "packages": "write"}
    assert {name: job["permissions"] for name, job in jobs(OURS)} == {
        "rpac.yml:decide": {**write, "actions": "write"},
        "rpac.yml:runs": {**write, **enter, "actions": "read"},
        "rpac.yml:collect": {"contents": "write"},
        "rpac-run.yml:run": {"contents": "read"},
        "rpac-run.yml:submit": {**enter, "contents": "read"},
        "rpac-run.yml:follow": {
            "contents": "read", "pull-requests": "write", "issues": "write", "actions": "read",
        },
        "rpac-run.yml:commit": write,
        "rpac-validate.yml:validate": {
            "contents": "read", "pull-requests": "read", "checks": "write",
        },
        "rpac-validate.yml:closed": {"contents": "read", "actions": "write"},
        "rpac-upkeep.yml:look": {**write, "actions": "read"},
        "rpac-upkeep.yml:aws": {**enter, "contents": "read"},
        "rpac-upkeep.yml:azure": {**enter, "contents": "read"},
        "rpac-upkeep.yml:tell": write,
        "rpac-upkeep.yml:runs": {**write, **enter, "actions": "read"},
        "rpac-upkeep.yml:collect": {"contents": "write"},
    }  # fmt: skip


def test_images_are_published_by_tags_and_by_hand_with_no_more_rights_than_that_takes() -> None:
    found = workflow("images.yml")
    assert found["on"] == {"push": {"tags": ["v*"]}, "workflow_dispatch": None}
    (job,) = found["jobs"].values()
    assert job["permissions"] == {
        "contents": "read", "packages": "write", "id-token": "write", "attestations": "write",
    }  # fmt: skip
    variants = {(one["image"], one["variant"]) for one in job["strategy"]["matrix"]["include"]}
    assert variants == {(engine.value, "cpu") for engine in EngineName} | {("torchrun", "cuda")}


def test_callers_grant_what_the_called_jobs_take_and_no_more() -> None:
    taken: dict[str, str] = {}
    for _, job in jobs(("rpac-run.yml",)):
        for right, level in job["permissions"].items():
            taken[right] = "write" if "write" in (level, taken.get(right)) else level
    for name in ("rpac.yml", "rpac-upkeep.yml"):
        assert workflow(name)["jobs"]["runs"]["permissions"] == taken, name


def test_callers_hand_over_what_the_called_workflow_declares() -> None:
    called = workflow("rpac-run.yml")["on"]["workflow_call"]
    for name in ("rpac.yml", "rpac-upkeep.yml"):
        caller = workflow(name)["jobs"]["runs"]
        assert caller["uses"] == "./.github/workflows/rpac-run.yml"
        assert set(caller["with"]) == set(called["inputs"])
        assert set(caller["secrets"]) == set(called["secrets"])


def test_the_matrix_is_made_of_what_the_bot_hands_on() -> None:
    known = set(Sent(run=RUN, name="exp-42", minutes=65, cloud="local").to_json())
    for name in ("rpac.yml", "rpac-upkeep.yml"):
        text = (FOLDER / name).read_text()
        assert set(re.findall(r"matrix\.run\.(\w+)", text)) == known


@pytest.mark.parametrize(("place", "step"), [*steps()], ids=[name for name, _ in steps()])
def test_a_step(place: str, step: Yaml) -> None:
    assert "${{" not in step.get("run", ""), "values reach a shell through env alone"
    uses = step.get("uses", "")
    if uses and not uses.startswith("./"):
        action, _, commit = uses.partition("@")
        assert commit == PINS[action][1]
    if uses.startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] is False
        # nothing, or the default branch by name: never a commit of a pull request with our rights
        ours = place.startswith(OURS)
        wanted = (
            {"${{ github.event.repository.default_branch }}"} if "validate" in place else {None}
        )
        assert not ours or step["with"].get("ref") in wanted


def test_pins_say_their_version() -> None:
    for path in (*FOLDER.iterdir(), ACTION):
        found = re.findall(r"uses: ([\w-]+/[\w-]+)@(\S+)(.*)", path.read_text())
        for action, commit, comment in found:
            assert (comment, commit) == (f" # {PINS[action][0]}", PINS[action][1])


def test_every_job_has_an_end() -> None:
    for name, job in jobs():
        if "uses" not in job:
            assert job["timeout-minutes"], name
            assert job["runs-on"] == "ubuntu-latest", name


def test_no_cache_is_restored_and_no_queue_is_asked_for() -> None:
    for name in ALL:
        text = (FOLDER / name).read_text()
        assert "cache" not in set(re.findall(r"^ *(\w+):", text, re.MULTILINE)), name
        assert not re.search(r"^\s*queue:", text, re.MULTILINE), name
        assert "actions/cache" not in text, name


class TestTheJobThatRunsCode:
    job = workflow("rpac-run.yml")["jobs"]["run"]

    def test_it_is_the_only_one(self) -> None:
        running = [name for name, job in jobs() if any("rpac bot run" in s for s in strings(job))]
        assert running == ["rpac-run.yml:run"]

    def test_it_names_no_secret(self) -> None:
        assert [text for text in strings(self.job) if "secrets." in text] == []
        assert "environment" not in self.job

    def test_its_token_ends_with_the_step_that_fetches(self) -> None:
        with_token = [
            step["name"] for step in self.job["steps"] if any("token" in s for s in strings(step))
        ]
        assert with_token == ["Fetch the run"]
        assert self.job["env"] == {"RUN": "${{ inputs.run }}"}

    def test_an_interrupt_reaches_rpac_and_its_results_are_kept(self) -> None:
        run, keep = self.job["steps"][-2:]
        assert run["run"].startswith("exec rpac bot run ")
        assert keep["if"] == "always()"
        assert keep["with"]["include-hidden-files"] is True
        assert keep["with"]["path"] == "${{ runner.temp }}/results"


class TestTheJobThatCommits:
    job = workflow("rpac-run.yml")["jobs"]["commit"]

    def test_it_runs_whatever_became_of_the_run(self) -> None:
        assert self.job["if"] == "always()"
        assert {"run", "submit"} <= set(self.job["needs"])

    def test_it_and_the_timers_alone_name_the_key_of_the_app(self) -> None:
        naming = [
            name
            for name, job in jobs()
            if "uses" not in job and any("RPAC_APP_PRIVATE_KEY" in text for text in strings(job))
        ]
        assert naming == ["rpac-run.yml:commit", "rpac-upkeep.yml:tell"]
        assert self.job["environment"] == "${{ inputs.environment }}"

    def test_what_is_missing_stops_nothing(self) -> None:
        helpers = [step for step in self.job["steps"] if step.get("continue-on-error")]
        assert [step["name"] for step in helpers] == [
            "Take over the results",
            "Ask for the App's token",
        ]

    def test_results_are_taken_by_id_and_out_of_the_way_of_trusted_files(self) -> None:
        taken = next(step for step in self.job["steps"] if "download" in step.get("uses", ""))
        either = "needs.run.outputs.artifact || needs.submit.outputs.artifact"
        assert taken["with"]["artifact-ids"] == f"${{{{ {either} }}}}"
        assert "name" not in taken["with"]
        assert taken["with"]["path"].startswith("${{ runner.temp }}/")


class TestTheJobsThatEnterACloud:
    jobs = tuple((name, job) for name, job in jobs(OURS) if "rpac-cloud" in job.values())

    def test_one_submits_and_one_looks_after_each_cloud_and_none_may_write(self) -> None:
        looking = [f"rpac-upkeep.yml:{cloud}" for cloud in ENTRANCES]
        assert [name for name, _ in self.jobs] == ["rpac-run.yml:submit", *looking]
        for _, job in self.jobs:
            assert job["environment"] == "rpac-cloud"  # which the clouds' trust names
            assert job["permissions"]["contents"] == "read"

    def test_they_know_whom_they_are_where_they_go_and_no_secret(self) -> None:
        for name, job in self.jobs:
            assert [text for text in strings(job) if "secrets." in text] == []
            place = name.rpartition(":")[2]
            there = [place] if place in ENTRANCES else [*ENTRANCES]
            wanted = {v for cloud in there for v in ENTRANCES[cloud].variables}
            given = [step["env"] for step in job["steps"] if "exec rpac" in step.get("run", "")]
            assert [{n for n in env if n.startswith("RPAC_")} for env in given] == [wanted]
            assert all(given[0][name] == f"${{{{ vars.{name} }}}}" for name in wanted)

    def test_the_clouds_have_the_same_job_but_for_their_names(self) -> None:
        found = workflow("rpac-upkeep.yml")["jobs"]

        def neutral(cloud: str) -> list[str]:
            steps = [{**step, "env": None} for step in found[cloud]["steps"]]
            texts = strings([{**found[cloud], "steps": steps}])
            return [re.sub(cloud, "CLOUD", text, flags=re.IGNORECASE) for text in texts]

        assert neutral("aws") == neutral("azure")

    def test_what_they_leave_is_taken_by_id_whichever_of_them_had_something(self) -> None:
        tell = workflow("rpac-upkeep.yml")["jobs"]["tell"]
        assert tell["needs"] == ["look", *ENTRANCES]
        taken = [step for step in tell["steps"] if "download" in step.get("uses", "")]
        assert [step["with"]["artifact-ids"] for step in taken] == [
            f"${{{{ needs.{cloud}.outputs.artifact }}}}" for cloud in ENTRANCES
        ]
        for cloud, step in zip(ENTRANCES, taken, strict=True):
            assert f"needs.{cloud}.outputs.artifact != ''" in step["if"]
            assert f"needs.{cloud}.outputs.artifact != ''" in tell["if"]
        assert tell["steps"][-1]["if"] == "${{ !cancelled() }}"  # the other's, where one is missing

    def test_either_the_one_job_has_a_run_or_the_other(self) -> None:
        found = workflow("rpac-run.yml")["jobs"]
        assert found["run"]["if"] == "inputs.cloud == 'local'"
        assert found["submit"]["if"] == "inputs.cloud != 'local'"

    def test_a_function_in_the_cloud_wakes_the_timers_workflow(self) -> None:
        heard = workflow("rpac-upkeep.yml")["on"]["repository_dispatch"]["types"]
        assert heard == [RELEASED_TYPE] == [EVENT_TYPE]


def test_waiting_drops_nothing_but_what_the_next_one_does_anyway() -> None:
    shared = {"rpac-collect", "rpac-upkeep", "rpac-tell", *(f"rpac-cloud-{c}" for c in ENTRANCES)}
    for name in OURS:
        for group in (workflow(name), *workflow(name)["jobs"].values()):
            found = group.get("concurrency")
            if found is None:
                continue
            if found["group"] not in shared:
                assert re.search(r"run_id|inputs\.run|pull_request\.number", found["group"])
            cancels = found.get("cancel-in-progress", False)
            assert cancels is (name == "rpac-validate.yml"), found


@pytest.mark.parametrize("extra", [{}, {"COMMENT": "12", "CHECK": "34"}], ids=["bare", "with ids"])
def test_rpac_understands_what_the_workflows_tell_it(extra: dict[str, str]) -> None:
    names = {"RUN": RUN, "ENDED": "failure", "COMMENT": "", "CHECK": "", "RUNNER_TEMP": "/a b",
             "DOES": "Submit"}  # fmt: skip
    said = []
    for place, step in steps(OURS):
        if not step.get("run", "").startswith("exec rpac"):
            continue
        script = step["run"].replace("exec rpac", "printf '%s\\n'", 1)
        out = subprocess.run(
            ["bash", "-e", "-c", script], env={"PATH": os.environ["PATH"], **names, **extra},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        command, *words = out.splitlines()
        assert command in {"bot", "collect"}
        if command == "bot" and words:
            name, *arguments = words
            sub = cli_bot.bot.commands[name]
            context = sub.make_context(name, list(arguments), parent=click.Context(cli_bot.bot))
            assert context.params.get("run") in ({None} if "upkeep" in place else {RUN})
            assert context.params.get("out", context.params.get("results")) in {
                None, "/a b/results",
            }  # fmt: skip
            said.append(name)
    assert sorted(said) == [
        "conclude", "conclude", "fetch", "follow", "look-after", "look-after", "run", "submit",
    ]  # fmt: skip


# The condition under which a comment starts a machine, read as GitHub does it.

COMMENT_PART = re.compile(r"github\.event_name != 'issue_comment'(.*)\)", re.DOTALL)


def starts_a_machine(body: str) -> bool:
    condition = workflow("rpac.yml")["jobs"]["decide"]["if"]
    found = COMMENT_PART.search(condition)
    assert found is not None
    calls = re.findall(
        r"(startsWith|contains)\(github\.event\.comment\.body, (.+?)\)(?= |$)", found[1]
    )
    assert len(calls) == found[1].count("||"), "a part of the condition that this test cannot read"
    lowered = body.lower()  # GitHub compares without regard to case
    for function, argument in calls:
        needle = "\n/" if argument.startswith("fromJSON") else argument.strip("'")
        if lowered.startswith(needle) if function == "startsWith" else needle in lowered:
            return True
    return False


@pytest.mark.parametrize(
    ("body", "starts"),
    [
        ("/reproduce exp-42", True),
        ("Thanks!\n/reproduce exp-42", True),
        ("Thanks!\r\n\r\n   /help", True),
        ("\u00a0/reproduce exp-42", True),
        ("/lgtm", True),
        ("Looks good to me.", False),
        ("See https://example.org/a/b and src/main.py", False),
        ("either/or", False),
        ("", False),
    ],
)
def test_which_comments_start_a_machine(body: str, starts: bool) -> None:
    assert starts_a_machine(body) is starts


@pytest.mark.parametrize("before", ["", "text\n\n", "text\r\n\r\n", "  "], ids=repr)
def test_every_comment_with_a_command_starts_a_machine(before: str) -> None:
    examples = [example for verb in VERBS.values() for example in verb.examples]
    bodies = [f"{before}/{example.removeprefix('/')}" for example in examples]
    with_commands = [body for body in bodies if parse_comment(body).commands]
    assert len(with_commands) > len(VERBS) // 2
    assert [body for body in with_commands if not starts_a_machine(body)] == []
