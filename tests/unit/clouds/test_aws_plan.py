"""AWS plans: the machine for a need, what AWS would accept and never start, requests in symbols."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.session import Session
from botocore.validate import ParamValidator

from rpac_ci.clouds import planner
from rpac_ci.clouds.aws.requests import Shape
from rpac_ci.commands import parse_overrides
from rpac_ci.errors import PipelineError
from rpac_ci.experiment_model import Mode
from rpac_ci.jobs import EngineName
from rpac_ci.pipeline import Pipeline, compile_pipeline
from rpac_ci.site_clouds import AwsSite
from rpac_ci.site_config import SiteConfig
from tests.conftest import asset
from tests.unit.builders import definition

GROUP, SUBNET = "sg-0123456789abcdef0", "subnet-0123456789abcdef0"
ROLE = "arn:aws:iam::123456789012:role/rpac-node"
ACCOUNT = {
    "region": "eu-central-1", "name": "rpaclab", "store": "s3://lab-rpac/runs",
    "repository": "ghcr.io/lab/rpac", "subnets": [SUBNET], "security_groups": [GROUP],
    "instance_profile": "arn:aws:iam::123456789012:instance-profile/rpac", "job_role": ROLE,
}  # fmt: skip


def site(**keys: Any) -> SiteConfig:
    """Settings with an account."""
    return SiteConfig.model_validate({"clouds": {"aws": ACCOUNT}, **keys})


def plan(*words: str, site: SiteConfig | None = None, **keys: Any) -> Pipeline:
    """A pipeline for AWS."""
    asked = {"engine": "dask", "environment": {"lock": "requirements.lock"}, **keys}
    overrides = parse_overrides(["cloud=aws", *words])
    return compile_pipeline(definition(**asked), overrides=overrides, site=site)


# --- what is settled ----------------------------------------------------------------------------


def test_the_smallest_machine_that_serves_is_taken_in_the_account_s_region() -> None:
    target = plan("nodes=2", "cpus=4", "memory=8GiB", site=site()).target
    assert (target.cloud, target.runtime, target.region) == ("aws", "docker", "eu-central-1")
    assert target.machine == "m6i.xlarge", "8 GiB do not fit into a machine of 8 GiB"
    assert target.mode is Mode.GANG
    assert not target.spot


def test_a_command_s_word_goes_before_the_author_s_and_both_before_the_catalog() -> None:
    author: dict[str, Any] = {"clouds": {"aws": {"machine": "r6i.xlarge", "spot": True}}}
    assert plan("cpus=2", **author).target.machine == "r6i.xlarge"
    assert plan("cpus=2", **author).target.spot
    assert not plan("cpus=2", "spot=false", **author).target.spot
    assert plan("machine=c6i.4xlarge", **author).target.machine == "c6i.4xlarge"


def test_nodes_on_spot_machines_are_a_gang() -> None:
    made = plan("nodes=2", "spot=true", site=site())
    assert made.target.mode is Mode.GANG
    resources = made.requests[0]["create_compute_environment"]["computeResources"]
    assert resources["type"] == "SPOT"
    assert made.requests[1]["submit_job"]["arrayProperties"] == {"size": 2}


@pytest.mark.parametrize(
    ("words", "keys", "settings", "said"),
    [
        (["spot=true"], {"clouds": {"aws": {"mode": "mnp"}}}, {}, "spot machines never start"),
        ([], {"clouds": {"aws": {"mode": "mnp"}}}, {}, "needs a private subnet"),
        (["runtime=process"], {}, {}, "cloud=aws cannot meet runtime=process"),
        (["region=us-west-2"], {}, {}, "region=us-west-2 is not where this repository"),
        ([], {}, {"allow": {"regions": {"aws": ["us-east-1"]}}}, "eu-central-1 is not allowed"),
        (["machine=c6i.large"], {}, {"allow": {"machines": {"aws": ["m6i.*"]}}}, "not allowed"),
        (["machine=c6i.lrge"], {}, {}, "did you mean 'c6i.large'"),
        (["gpus=3"], {}, {}, "no machine of aws has"),
        (["cpus=900"], {}, {}, "no machine of aws has"),
        (["nodes=1024"], {}, {}, "1024 nodes in one job of AWS Batch"),
    ],
)  # fmt: skip
def test_what_aws_cannot_do_is_refused_before_it_costs_anything(
    words: list[str], keys: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(PipelineError, match=said) as caught:
        plan(*words, site=site(**settings), **keys)
    assert caught.value.hint


def test_a_past_run_keeps_its_machine_until_the_need_is_another() -> None:
    past = plan("machine=c6i.4xlarge", site=site())
    again = compile_pipeline(past, overrides=parse_overrides([]), site=site())
    assert again.target == past.target
    assert again.requests == past.requests
    other = compile_pipeline(past, overrides=parse_overrides(["cpus=2"]), site=site())
    assert other.target.machine != "c6i.4xlarge"
    here = compile_pipeline(past, overrides=parse_overrides(["cloud=local"]), site=site())
    assert (here.target.machine, here.target.runtime) == (None, "process")


def test_a_plan_needs_no_account_and_says_nothing_of_one() -> None:
    without, within = plan("nodes=2").to_bytes(), plan("nodes=2", site=site()).to_bytes()
    assert within == without.replace(b"us-east-1", b"eu-central-1")
    for secret in ("rpaclab", "lab-rpac", "ghcr.io/lab", SUBNET, GROUP, "123456789012"):
        assert secret.encode() not in within


def test_the_price_is_from_a_minute_to_the_limit_or_not_known() -> None:
    made = plan("machine=m6i.large", "nodes=2", "time=1h")
    least, most = planner("aws").price(made) or (0, 0)
    hourly = 0.096  # USD, of m6i.large in us-east-1
    assert least == pytest.approx(2 * hourly / 60, rel=1e-6)
    assert 2 * hourly < most < 5 * hourly
    assert planner("aws").price(plan("machine=m6i.large", site=site())) is None, "another region"


# --- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("engine", EngineName)
def test_requests_are_those_of_the_golden_file(engine: EngineName, mode: Mode) -> None:
    nodes = 1 if engine is EngineName.PROCESS else 2
    made = plan(
        f"nodes={nodes}", "cpus=2", "memory=4GiB", engine=engine.value,
        clouds={"aws": {"mode": mode.value}},
    )  # fmt: skip
    shown = json.dumps(made.requests, indent=1, sort_keys=True) + "\n"
    assert shown == asset(f"aws/{engine.value}-{mode.value}.json").read_text()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("spot", [False, True])
def test_what_is_sent_fits_the_api(mode: Mode, spot: bool) -> None:
    from rpac_ci.clouds.aws.plan import job_of
    from rpac_ci.pipeline import Target

    more = {"private_subnets": [SUBNET], "execution_role": ROLE, "service_role": ROLE}
    account = AwsSite.model_validate({**ACCOUNT, **more})
    target = Target(cloud="aws", runtime="docker", machine="g4dn.xlarge", mode=mode, spot=spot)
    need = definition(resources={"nodes": 3, "cpus": 4, "memory": "8 GiB", "gpus": 1}).resources
    job = job_of(
        need, target, run="20260102T030405Z-0a1b2c3d", attempt="1", image="ghcr.io/x@sha256:0",
        limit_s=60, environment={"RPAC_RUN": "x"},
    )  # fmt: skip
    shape = Shape(machine="g4dn.xlarge", mode=mode, spot=spot)
    name = shape.name(account)
    environment = shape.environment(account)
    assert fits("CreateComputeEnvironment", computeEnvironmentName=name, **environment)
    assert fits("CreateJobQueue", jobQueueName=name, **shape.queue(account, name))
    assert fits("RegisterJobDefinition", **job.definition(account))
    assert fits("SubmitJob", **job.submission(account, name))


def fits(operation: str, **body: Any) -> bool:
    """Whether botocore's own model of the API takes a request."""
    shape = Session().get_service_model("batch").operation_model(operation).input_shape
    assert shape is not None
    report = ParamValidator().validate(body, shape)
    assert not report.has_errors(), report.generate_report()
    return True


def test_a_name_says_what_a_shape_is() -> None:
    account = AwsSite.model_validate(ACCOUNT)
    other = AwsSite.model_validate({**ACCOUNT, "security_groups": ["sg-0123456789abcdef1"]})
    shape = Shape(machine="m6i.large", mode=Mode.GANG, spot=False)
    names = [
        shape.name(account), shape.name(other), replace(shape, spot=True).name(account),
        replace(shape, machine="m6i.xlarge").name(account),
    ]  # fmt: skip
    assert len(set(names)) == 4
    assert replace(shape).name(account) == names[0]
    assert all(len(name) <= 128 for name in names)
