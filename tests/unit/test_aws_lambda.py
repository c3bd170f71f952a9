"""The function on AWS: which runs an event means, what it imports, what the stack tells it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from rpac_ci.clouds.aws import template
from rpac_ci.errors import CommandError
from rpac_ci.functions.aws_lambda import runs_meant, site_of
from rpac_ci.run import new_run_id
from rpac_ci.site_clouds import AwsSite

RUN = "20260102T030405Z-0a1b2c3d"
# what a terminal and a checkout need, and the function's package does not have
ABSENT = (
    "click", "cryptography", "docker", "github", "h5py", "markdown_it", "numpy", "packaging",
    "pip", "requests", "rich", "urllib3", "uv",
)  # fmt: skip


def batch(name: object, kind: str = "Batch Job State Change", **detail: object) -> dict[str, Any]:
    """
    Source: https://docs.aws.amazon.com/batch/latest/userguide/batch_job_events.html and
    batch-job-queue-blocked-events.html
    """
    arn = "arn:aws:batch:us-east-1:123456789012"
    return {
        "version": "0", "id": "c8f9c4b5-76e5-d76a-f980-7011e206042b", "detail-type": kind,
        "source": "aws.batch", "account": "123456789012", "time": "2026-01-02T03:10:40Z",
        "region": "us-east-1",
        "resources": [f"{arn}:job/4c7599ae-0a82-49aa-ba5a-4727fcce14a8"],
        "detail": {
            "jobArn": f"{arn}:job/4c7599ae-0a82-49aa-ba5a-4727fcce14a8",
            "jobName": name, "jobId": "4c7599ae-0a82-49aa-ba5a-4727fcce14a8",
            "jobQueue": f"{arn}:job-queue/lab-m6i-large-gang", "status": "SUCCEEDED",
            "attempts": [], "createdAt": 1641944200058, "dependsOn": [],
            "jobDefinition": f"{arn}:job-definition/lab-x:1", **detail,
        },
    }  # fmt: skip


def stored(key: object) -> dict[str, Any]:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html"""
    return {
        "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created", "source": "aws.s3", "account": "123456789012",
        "time": "2026-01-02T03:10:40Z", "region": "us-east-1",
        "resources": ["arn:aws:s3:::rpac-lab-bucket"],
        "detail": {
            "version": "0", "bucket": {"name": "rpac-lab-bucket"},
            "object": {
                "key": key, "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184",
                "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
                "sequencer": "00617F08299329D189",
            },
            "request-id": "N4N7GDK58NMKJ12R", "requester": "123456789012",
            "source-ip-address": "1.2.3.4", "reason": "PutObject",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "event",
    [
        batch(f"lab-{RUN}-1"),
        batch(f"lab-{RUN}-2", status="FAILED", arrayProperties={"index": 1}),
        batch(f"lab-{RUN}-1", "Batch Job Queue Blocked", status="RUNNABLE",
              statusReason="CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - …"),
        stored(f"runs/{RUN}/attempt/1/done"),
        stored(f"runs/{RUN}/cancel.json"),
        stored(f"runs/{RUN}/notices/spot.json"),
        stored(f"some/prefix/runs/{RUN}/attempt/12/done"),
    ],
)  # fmt: skip
def test_an_event_names_its_run(event: dict[str, Any]) -> None:
    assert runs_meant(event) == {RUN}
    assert runs_meant(json.loads(json.dumps(event))) == {RUN}


@pytest.mark.parametrize(
    "event",
    [
        {"source": "rpac.timer"}, {}, None, [], "text", 7, {"Records": [{"eventSource": "aws:s3"}]},
        {"source": "aws.batch"}, {"source": "aws.batch", "detail": "text"}, batch(None),
        batch("someone-elses-job"), batch(f"lab-{RUN}"), batch(["lab"]), stored(None),
        stored("control/x"), stored(f"runs/{RUN}/attempt/1/result.json"),
        stored(f"runs/{RUN}\n/cancel.json"), stored("runs/../cancel.json"),
        {"source": "aws.s3", "detail": {"object": "text"}},
        {"source": "aws.ec2", "detail": {"jobName": f"lab-{RUN}-1"}},
    ],
)  # fmt: skip
def test_what_does_not_say_could_be_any_run(event: object) -> None:
    assert runs_meant(event) is None


def test_ids_that_are_made_are_ids_that_are_known() -> None:
    run = new_run_id()
    assert runs_meant(batch(f"lab-{run}-1")) == {run}


VALUES = {
    "AWS::Region": "us-west-2", "Name": "lab", "Bucket": "rpac-lab-bucket-1",
    "ImageRepository": "ghcr.io/lab/rpac", "PublicA": "subnet-00000001",
    "PublicB": "subnet-00000002", "NodeGroup.GroupId": "sg-00000001",
    "InstanceProfile.Arn": "arn:aws:iam::123456789012:instance-profile/x",
    "JobRole.Arn": "arn:aws:iam::123456789012:role/job",
    "ExecutionRole.Arn": "arn:aws:iam::123456789012:role/execution",
    "ServiceRole.Arn": "arn:aws:iam::123456789012:role/service",
}  # fmt: skip


@pytest.mark.parametrize("private", ["", '"subnet-00000003", "subnet-00000004"'])
def test_the_stack_tells_the_function_every_field_of_its_site(private: str) -> None:
    function = template.parse(template.text())["Resources"]["Function"]["Properties"]
    text, _ = function["Environment"]["Variables"]["RPAC_SITE"]["Fn::Sub"]
    values = {**VALUES, "Private": private}
    filled = re.sub(r"\$\{([^}]+)\}", lambda found: values[found[1]], text)
    site = site_of({"RPAC_SITE": filled})
    assert set(json.loads(filled)) == set(AwsSite.model_fields)
    assert site.store == "s3://rpac-lab-bucket-1"
    assert len(site.private_subnets) == (2 if private else 0)
    assert function["Handler"] == "rpac_ci.functions.aws_lambda.handler"


@pytest.mark.parametrize("value", [None, "", "{}", "[]", '{"region": "us-west-2"}'])
def test_a_site_that_is_not_told_is_an_error(value: str | None) -> None:
    with pytest.raises(CommandError, match="RPAC_SITE is not"):
        site_of({} if value is None else {"RPAC_SITE": value})


def test_the_handler_needs_nothing_that_its_package_does_not_have() -> None:
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ImportError(name + " is not in the package")
sys.meta_path.insert(0, Absent())
from rpac_ci import engines
from rpac_ci.functions import aws_lambda
from rpac_ci.jobs import EngineName
for name in EngineName:
    engines.load(name.value)
from rpac_ci import clouds, output_comparisons, training
import rpac_ci.clouds.aws.driver
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
