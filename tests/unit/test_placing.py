"""Where a pipeline goes: a recorded machine, what comes nearest to it, and how near that is."""

from __future__ import annotations

from typing import Any

import pytest

from rpac_ci import catalog
from rpac_ci.catalog.equivalents import differences, nearest
from rpac_ci.catalog.machines import Grade, Machine
from rpac_ci.commands import parse_overrides
from rpac_ci.errors import PipelineError
from rpac_ci.experiment_model import Resources
from rpac_ci.pipeline import MachineChange, Pipeline, compile_pipeline
from rpac_ci.site_config import SiteConfig
from tests.unit.builders import definition

SMALL = Resources(cpus=1, memory=1024)
GPU = Resources(cpus=1, memory=1024, gpus=1)


MACHINES = {**catalog.load("aws").machines, **catalog.load("azure").machines}


def machine(name: str) -> Machine:
    return MACHINES[name]


def past(machine: str, **keys: Any) -> Pipeline:
    """The pipeline of a run on AWS, on this machine."""
    made = on(definition(**keys), "cloud=aws")
    return made.model_copy(update={"target": made.target.model_copy(update={"machine": machine})})


def on(before: Any, *words: str, **settings: Any) -> Pipeline:
    """It with these words, under these settings of the repository."""
    site = SiteConfig.model_validate(settings)
    return compile_pipeline(before, overrides=parse_overrides(words), site=site)


# --- what comes nearest -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "cloud", "need", "found", "grade"),
    [
        ("m6i.xlarge", "azure", SMALL, "Standard_D4s_v5", "A"),
        ("c6i.4xlarge", "azure", SMALL, "Standard_F16s_v2", "A"),
        ("r6i.2xlarge", "azure", SMALL, "Standard_E8s_v5", "A"),
        ("Standard_D64s_v5", "aws", SMALL, "m6i.16xlarge", "A"),
        ("c6i.large", "azure", SMALL, "Standard_D2s_v5", "B"),
        ("g4dn.xlarge", "azure", GPU, "Standard_NC4as_T4_v3", "B"),
        ("g5.xlarge", "azure", GPU, "Standard_NV36ads_A10_v5", "C"),
        ("p5.4xlarge", "azure", GPU, "Standard_NC40ads_H100_v5", "C"),
        ("g6.xlarge", "azure", GPU, "Standard_NV36ads_A10_v5", "D"),
        ("p3.2xlarge", "aws", GPU, "g4dn.4xlarge", "C"),  # retired; the catalog says by what
        ("Standard_NC6s_v3", "azure", GPU, "Standard_NV36ads_A10_v5", "C"),
    ],
)
def test_nearest(recorded: str, cloud: str, need: Resources, found: str, grade: str) -> None:
    choice = nearest(machine(recorded), need, cloud)
    assert (choice.machine.name, choice.grade) == (found, grade)


@pytest.mark.parametrize("cloud", catalog.CLOUDS)
@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_has_a_grade_against_the_best_of_the_other_cloud(
    name: str, cloud: str
) -> None:
    """Or it is told why there is none."""
    recorded = machine(name)
    need = Resources(cpus=1, memory=1024, gpus=recorded.gpus)
    others = catalog.load(cloud).machines.values()
    if not any(one.gpus == need.gpus and not one.retired for one in others):
        with pytest.raises(PipelineError, match=f"no machine of {cloud} has"):
            nearest(recorded, need, cloud)
        return
    choice = nearest(recorded, need, cloud)
    assert not choice.machine.retired
    assert choice.machine.gpus == recorded.gpus
    assert choice.grade == catalog.fidelity(recorded, choice.machine)
    assert (choice.grade is Grade.A) == (not differences(recorded, choice.machine))


def test_what_serves_no_need_is_not_near() -> None:
    more = Resources(cpus=1, memory=16 * 1024)  # which m6i.xlarge had just not
    choice = nearest(machine("m6i.xlarge"), more, "azure")
    assert choice.machine.name == "Standard_E4s_v5"
    assert choice.grade is Grade.B


def test_what_the_settings_do_not_allow_is_not_near() -> None:
    choice = nearest(machine("m6i.large"), SMALL, "azure", allowed=["Standard_E*"])
    assert choice.machine.name == "Standard_E4s_v5"


def test_differences_are_in_words() -> None:
    assert differences(machine("g5.xlarge"), machine("Standard_NV36ads_A10_v5")) == [
        "cpus 4 → 36", "memory 16 GiB → 440 GiB",
        "GPUs 1 × A10G of 22.3516 GiB → 1 × A10 of 22.3516 GiB",
    ]  # fmt: skip


def test_a_machine_of_another_cloud_is_answered_with_what_comes_nearest() -> None:
    with pytest.raises(PipelineError, match="aws has no machine 'Standard_D4s_v5'") as caught:
        on(definition(), "cloud=aws", "machine=Standard_D4s_v5")
    assert caught.value.hint == (
        "it is a machine of azure; what comes nearest to it is machine=m6i.xlarge, grade A"
    )


# --- a past run's machine -----------------------------------------------------------------------


def test_an_exact_reproduction_keeps_its_machine_and_says_nothing_of_it() -> None:
    made = on(past("c6i.4xlarge"))
    assert made.target.machine == "c6i.4xlarge"
    assert made.lineage.machine is None
    assert "machine" not in made.to_json()["lineage"]  # type: ignore[operator]


def test_a_retired_machine_is_substituted_and_marked() -> None:
    made = on(past("p3.2xlarge", resources={"gpus": 1}))
    assert made.target.machine == "g4dn.4xlarge"
    change = made.lineage.machine
    assert change is not None
    assert (change.grade, change.substituted, change.recorded) == ("C", True, "aws p3.2xlarge")
    assert str(change).startswith("grade C, substitutes the retired aws p3.2xlarge: cpus 8 → 16")


def test_a_retired_machine_that_somebody_names_is_refused_not_replaced() -> None:
    with pytest.raises(PipelineError, match="is retired"):
        on(definition(resources={"gpus": 1}), "cloud=aws", "machine=p3.2xlarge")


def test_another_machine_by_word_is_graded_against_the_recorded_one() -> None:
    made = on(past("m6i.large"), "machine=m6i.xlarge")
    assert made.lineage.machine == MachineChange(
        recorded="aws m6i.large", grade="D", differs=["cpus 2 → 4", "memory 8 GiB → 16 GiB"]
    )
    same = on(past("m6i.large"), "machine=m7i.large").lineage.machine
    assert same == MachineChange(recorded="aws m6i.large", grade="A")


def test_another_need_finds_another_machine() -> None:
    made = on(past("c6i.4xlarge"), "cpus=2")
    assert made.target.machine == "c6i.large"
    assert made.lineage.machine
    assert made.lineage.machine.grade == "D"


@pytest.mark.parametrize(
    ("before", "word", "recorded"),
    [
        (past("m6i.large"), "cloud=local", "aws m6i.large"),
        (on(definition()), "cloud=aws", "local"),
    ],
)
def test_this_machine_is_alike_to_none(before: Pipeline, word: str, recorded: str) -> None:
    change = on(before, word).lineage.machine
    assert change == MachineChange(
        recorded=recorded, grade="D", differs=["cloud=local has whatever machine is there"]
    )


def test_a_machine_that_the_catalog_has_forgotten_is_no_obstacle_elsewhere() -> None:
    forgotten = past("x1.mini")
    assert on(forgotten, "cloud=local").lineage.machine == MachineChange(
        recorded="aws x1.mini",
        grade="D",
        differs=[
            "x1.mini is not in the catalog of aws",
            "cloud=local has whatever machine is there",
        ],
    )
    with pytest.raises(PipelineError, match=r"has no machine 'x1\.mini'"):
        on(forgotten)


def test_the_change_is_no_part_of_what_differs_in_the_definition() -> None:
    from rpac_ci.pipeline import differences as of_pipelines

    before = past("m6i.large")
    after = on(before, "machine=m7i.large")
    assert of_pipelines(before, after) == {"target.machine": ("m6i.large", "m7i.large")}
