"""The template of `rpac setup aws`: least rights, this repository alone, nothing open."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rpac_ci
from rpac_ci import yaml_io
from rpac_ci.clouds import site_setup
from rpac_ci.clouds.aws import setup as setups
from rpac_ci.clouds.aws import template
from rpac_ci.clouds.aws.doctor import MNP_ENDPOINTS, VCPU_QUOTAS, _principal
from rpac_ci.clouds.aws.stack import Stack
from rpac_ci.clouds.aws.template import shown
from rpac_ci.errors import CommandError, ExperimentError
from rpac_ci.site_clouds import AwsSite
from tests.standins.aws_account import UNSUPPORTED, supported

FILE = Path(rpac_ci.__file__).parent / "infrastructure" / "aws.yaml"
TEMPLATE = template.parse(template.text())
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
GRANTS = list(template.grants(TEMPLATE))
# AWS knows no narrower resource for these; each only reads, or fetches a token
ANYWHERE = {
    "batch:DescribeComputeEnvironments", "batch:DescribeJobDefinitions",
    "batch:DescribeJobQueues", "batch:DescribeJobs", "batch:ListJobs",
    "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes", "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplates", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets", "ec2:DescribeVpcEndpoints",
    "ecr:GetAuthorizationToken",
}  # fmt: skip
OF_AWS = {
    "InstanceRole": "AmazonEC2ContainerServiceforEC2Role",
    "ServiceRole": "AWSBatchServiceRole",
}


def of(role: str) -> Iterator[tuple[str, str, Any]]:
    """Each action of a role with each resource, and the conditions."""
    for grant in GRANTS:
        if grant.who == role:
            for action in grant.actions:
                for resource in grant.resources:
                    yield action, resource, grant.conditions


@pytest.mark.slow
def test_cfn_lint_has_nothing_to_say() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), "--template", str(FILE)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("", 0)


def test_it_fits_what_aws_takes() -> None:
    assert len(template.text().encode()) <= 51_200  # of TemplateBody
    policy = RESOURCES["DriverPolicy"]["Properties"]["PolicyDocument"]
    places = 25 * json.dumps(policy).count("${")  # what names become longer by
    assert len(json.dumps(policy, separators=(",", ":"))) + places <= 6_144


def test_nobody_may_do_everything_or_anything_anywhere() -> None:
    for grant in GRANTS:
        for action in grant.actions:
            if grant.why == "of AWS":
                continue
            assert "*" not in action, grant
            if "*" in grant.resources:
                assert action in ANYWHERE, grant


def test_policies_that_aws_writes_are_two() -> None:
    found = {grant.who: grant.resources[0].rpartition("/")[2] for grant in GRANTS
             if grant.why == "of AWS"}  # fmt: skip
    assert found == OF_AWS


def test_nodes_write_their_runs_and_nothing_else() -> None:
    rights = list(of("JobRole"))
    writing = {(action, resource) for action, resource, _ in rights if "Get" not in action
               and "List" not in action}  # fmt: skip
    assert writing == {
        ("s3:PutObject", "${Bucket.Arn}/runs/*"),
        ("s3:AbortMultipartUpload", "${Bucket.Arn}/runs/*"),
    }
    reading = {resource for action, resource, _ in rights if action == "s3:GetObject"}
    assert reading == {"${Bucket.Arn}/runs/*", "${Bucket.Arn}/content/*"}
    assert {action.partition(":")[0] for action, _, _ in rights} == {"s3"}
    for name in ("InstanceRole", "ExecutionRole", "TimerRole"):
        assert not any(action.startswith("s3:") for action, _, _ in of(name))


def test_drivers_alone_may_remove_objects() -> None:
    deleting = {grant.who for grant in GRANTS if "s3:DeleteObject" in grant.actions}
    assert deleting == {"DriverRole", "FunctionRole"}
    assert not any("s3:DeleteObjectVersion" in grant.actions for grant in GRANTS)


@pytest.mark.parametrize("role", ["DriverRole", "FunctionRole"])
def test_drivers_hand_on_four_roles(role: str) -> None:
    passed = [(resource, conditions) for action, resource, conditions in of(role)
              if action == "iam:PassRole"]  # fmt: skip
    assert {resource for resource, _ in passed} == {
        "${JobRole.Arn}", "${InstanceRole.Arn}", "${ExecutionRole.Arn}", "${ServiceRole.Arn}",
    }  # fmt: skip
    assert all("iam:PassedToService" in one["StringEquals"] for _, one in passed)
    assert {action for action, _, _ in of(role) if action.startswith("iam:")} == {"iam:PassRole"}


def test_drivers_change_what_has_the_sites_name() -> None:
    for action, resource, conditions in of("DriverRole"):
        if action.startswith("batch:") and action not in ANYWHERE:
            if resource.endswith(":job/*"):
                named = json.dumps(conditions)
                assert "aws:ResourceTag/rpac:name" in named, action
            else:
                assert resource.endswith("/${Name}-*"), (action, resource)
        if action.startswith("ssm:"):
            assert resource.endswith(":parameter/rpac/${Name}/*")
    # so that no name is the beginning of another's
    pattern = TEMPLATE["Parameters"]["Name"]["AllowedPattern"]
    assert pattern == site_setup.NAME.pattern
    assert "-" not in pattern.replace("a-z", "").replace("0-9", "")


def test_only_one_environment_of_one_repository_enters() -> None:
    (statement,) = RESOURCES["DriverRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert list(statement["Condition"]) == ["StringEquals"]  # whole words, no wildcard
    issuer = "token.actions.githubusercontent.com"
    equals = statement["Condition"]["StringEquals"]
    assert equals[f"{issuer}:aud"] == "sts.amazonaws.com"
    condition, both, classic = equals[f"{issuer}:sub"]["Fn::If"]
    environment = "environment:${GitHubEnvironment}"
    assert condition == "WithIds"
    names = f"repo:${{GitHubOrg}}/${{GitHubRepo}}:{environment}"
    ids = "repo:${GitHubOrg}@${GitHubOwnerId}/${GitHubRepo}@${GitHubRepositoryId}:" + environment
    assert [one["Fn::Sub"] for one in both] == [names, ids]
    assert [one["Fn::Sub"] for one in classic] == [names]
    # as GitHub itself writes them
    from rpac_ci.github.oidc import Subjects
    from tests.unit.test_doctor import REPOSITORY

    given = Subjects.of(REPOSITORY, None, server_url="https://github.com", environment="rpac-cloud")
    values = {
        "GitHubOrg": "Lab", "GitHubRepo": "experiments", "GitHubOwnerId": "7",
        "GitHubRepositoryId": "42", "GitHubEnvironment": "rpac-cloud",
    }  # fmt: skip
    assert template.filled(names, values) == given.classic
    assert template.filled(ids, values) == given.immutable


def test_services_are_trusted_one_each() -> None:
    trusted = dict(template.trusts(TEMPLATE))
    assert {name: words.rpartition(" ")[2] for name, words in trusted.items()
            if words.startswith("the service")} == {
        "JobRole": "ecs-tasks.amazonaws.com", "ExecutionRole": "ecs-tasks.amazonaws.com",
        "InstanceRole": "ec2.amazonaws.com", "ServiceRole": "batch.amazonaws.com",
        "FunctionRole": "lambda.amazonaws.com", "TimerRole": "scheduler.amazonaws.com",
    }  # fmt: skip


def test_the_bucket_is_closed_versioned_encrypted_and_outlives_the_stack() -> None:
    bucket = RESOURCES["Bucket"]
    properties = bucket["Properties"]
    assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["BucketEncryption"]
    rules = properties["LifecycleConfiguration"]["Rules"]
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
    assert any(rule.get("ExpiredObjectDeleteMarker") for rule in rules)
    (deny,) = RESOURCES["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (deny["Effect"], deny["Condition"]) == (
        "Deny", {"Bool": {"aws:SecureTransport": "false"}},
    )  # fmt: skip


def test_nodes_are_reached_by_nodes_alone() -> None:
    inbound = [one for one in RESOURCES.values() if one["Type"] == "AWS::EC2::SecurityGroupIngress"]
    (rule,) = inbound
    assert rule["Properties"]["SourceSecurityGroupId"] == rule["Properties"]["GroupId"]
    assert "SecurityGroupIngress" not in RESOURCES["NodeGroup"]["Properties"]
    disk = RESOURCES["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["BlockDeviceMappings"][0]
    assert disk["Ebs"]["Encrypted"] is True


def test_what_costs_by_the_hour_is_asked_for() -> None:
    for kind in ("AWS::EC2::NatGateway", "AWS::EC2::EIP"):
        found = [one for one in RESOURCES.values() if one["Type"] == kind]
        assert [one["Condition"] for one in found] == ["WithNat"]
    assert TEMPLATE["Parameters"]["Nat"]["Default"] == "no"
    for name in ("Function", "DeadLetters", "JobRule", "StoreRule", "Timer", "FunctionRole"):
        assert RESOURCES[name]["Condition"] == "WithFunction"


def test_events_are_those_of_the_sites_queues() -> None:
    first, second = RESOURCES["JobRule"]["Properties"]["EventPattern"]["$or"]
    for pattern in (first, second):
        queue = pattern["detail"]["jobQueue"][0]["prefix"]["Fn::Sub"]
        assert queue.endswith(":job-queue/${Name}-")
    assert first["detail"]["status"] == ["SUCCEEDED", "FAILED"]
    assert second["detail-type"] == ["Batch Job Queue Blocked"]


def test_alarms_are_of_the_function_and_of_its_dead_letters_and_tell_somebody() -> None:
    alarms = {
        (one["Properties"]["Namespace"], one["Properties"]["MetricName"]): one
        for one in RESOURCES.values()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert set(alarms) == {
        ("AWS/Lambda", "Errors"), ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
    }  # fmt: skip
    for alarm in alarms.values():
        properties = alarm["Properties"]
        assert properties["AlarmActions"] == [{"Ref": "Alarms"}]
        assert properties["AlarmName"]["Fn::Sub"].startswith("${Name}-")
        assert properties["TreatMissingData"] == "notBreaching", "silence is no fault"
        [dimension] = properties["Dimensions"]
        assert dimension["Value"] in ({"Ref": "Function"},
                                      {"Fn::GetAtt": ["DeadLetters", "QueueName"]})  # fmt: skip
    topic = RESOURCES["Alarms"]["Properties"]
    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": {"Ref": "BudgetEmail"}}]
    (publish,) = RESOURCES["AlarmsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert publish["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert publish["Action"] == "sns:Publish"
    assert shown(publish["Condition"]["ArnLike"]["aws:SourceArn"]).endswith(":alarm:${Name}-*")
    assert shown(publish["Condition"]["StringEquals"]["aws:SourceAccount"]) == "${AWS::AccountId}"
    # what tells nobody would only cost
    named = ("Alarms", "AlarmsPolicy", "FunctionAlarm", "DeadLetterAlarm")
    assert {RESOURCES[name]["Condition"] for name in named} == {"WithAlarms"}
    function, told = TEMPLATE["Conditions"]["WithAlarms"]["Fn::And"]
    assert function == {"Condition": "WithFunction"}
    assert told == {"Fn::Not": [{"Fn::Equals": [{"Ref": "BudgetEmail"}, ""]}]}


def test_everything_that_can_be_is_tagged() -> None:
    tagged = {"Key": "rpac:name", "Value": {"Ref": "Name"}}
    kinds = {
        one["Type"] for one in RESOURCES.values() if tagged in one["Properties"].get("Tags", [])
    }
    for name, one in RESOURCES.items():
        if one["Type"] in kinds:
            assert tagged in one["Properties"].get("Tags", []), name
    assert {"AWS::S3::Bucket", "AWS::IAM::Role", "AWS::EC2::VPC", "AWS::Lambda::Function"} <= kinds


def test_every_field_of_a_site_is_an_output() -> None:
    wanted = {"".join(part.capitalize() for part in field.split("_"))
              for field in AwsSite.model_fields}  # fmt: skip
    assert wanted <= set(TEMPLATE["Outputs"])


def test_the_stand_ins_account_lacks_exactly_what_is_listed() -> None:
    kept = {one["Type"] for one in template.parse(supported(template.text()))["Resources"].values()}
    assert {one["Type"] for one in RESOURCES.values()} - kept == UNSUPPORTED


def test_parameters_keep_what_nobody_asks_to_change() -> None:
    wishes = setups.Wishes(name="lab", repository="Lab/Exp", owner_id=7, repository_id=42)
    first = setups.parameters(wishes, TEMPLATE, None, "arn:provider")
    assert set(first) == set(TEMPLATE["Parameters"])
    assert (first["GitHubOrg"], first["GitHubOwnerId"], first["OidcProviderArn"]) == (
        "Lab", "7", "arn:provider",
    )  # fmt: skip
    assert first["ImageRepository"] == "ghcr.io/lab/exp"
    stack = Stack(name="rpac-lab", status="CREATE_COMPLETE", parameters={**first, "Nat": "yes"})
    later = setups.parameters(
        setups.Wishes(name="lab", repository="lab/exp", budget=20.0, email="a@b.example"),
        TEMPLATE, stack, "arn:other",
    )  # fmt: skip
    assert (later["Nat"], later["OidcProviderArn"], later["GitHubRepositoryId"]) == (
        "yes", "arn:provider", "42",
    )  # fmt: skip
    assert later["BudgetUsd"] == "20"
    alarms = setups.parameters(
        setups.Wishes(name="lab", repository="lab/exp", email="a@b.example"), TEMPLATE, None, ""
    )
    assert (alarms["BudgetUsd"], alarms["BudgetEmail"]) == ("0", "a@b.example")


@pytest.mark.parametrize(
    "wrong",
    [
        {"environment": "a:b"}, {"name": "lab-2"}, {"name": "Lab"}, {"name": "2lab"}, {"name": "l"},
        {"repository": "lab"}, {"repository": "lab/a:b"}, {"repository": "lab/*"},
        {"budget": 5.0}, {"function": "https://b/k"},
    ],
)  # fmt: skip
def test_wishes_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        setups.Wishes(**{"name": "lab", "repository": "Lab/exp", **wrong})


@pytest.mark.parametrize(
    ("repository", "name"),
    [("Lab/My-Exp_2", "myexp2"), ("Lab/42", "rpac"), ("Lab/x", "rpac"), ("", "rpac"),
     ("Lab/" + "a" * 60, "a" * 24)],
)  # fmt: skip
def test_a_name_is_made_of_the_repositorys(repository: str, name: str) -> None:
    assert site_setup.usual_name(repository) == name
    site_setup.check_name(name)


def test_callers_are_told_by_their_role() -> None:
    assert _principal("arn:aws:sts::123456789012:assumed-role/driver/session") == (
        "arn:aws:iam::123456789012:role/driver"
    )
    assert _principal("arn:aws:iam::123456789012:user/ada") == "arn:aws:iam::123456789012:user/ada"
    assert _principal("arn:aws:iam::123456789012:root") is None
    assert len(VCPU_QUOTAS) == 2
    assert "logs" in MNP_ENDPOINTS


BLOCK = {"region": "us-west-2", "subnets": ["subnet-1", "subnet-2"]}
PLACE = ("clouds", "aws")


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing yet\n", "a: 1", "a: 1\n# last", "a: {b: 1,  # one\n    c: 2}\n\n# later\n",
        "clouds: # ours\n  # note\n  other: 1\na: 1\n", "clouds: {other: 1}\n# end\n",
    ],
)  # fmt: skip
def test_a_value_comes_into_a_file_and_leaves_it(text: str) -> None:
    with_it = yaml_io.with_value(text, PLACE, BLOCK, file="x")
    assert yaml_io.loads(with_it.encode(), file="x").value["clouds"]["aws"] == BLOCK  # type: ignore[index,call-overload]
    assert yaml_io.with_value(with_it, PLACE, BLOCK, file="x") == with_it
    for line in text.splitlines():
        if "#" in line:
            assert line[line.index("#") :] in with_it
    without = yaml_io.with_value(with_it, PLACE, None, file="x")
    if "clouds" not in text and text.endswith("\n"):
        assert without == text


def test_comments_in_the_block_stay() -> None:
    text = "clouds:\n  aws:\n    region: us-east-1 # near\n    # both\n    subnets: [subnet-1]\n"
    after = yaml_io.with_value(text, PLACE, BLOCK, file="x")
    assert "region: us-west-2 # near" in after
    assert "# both" in after


@pytest.mark.parametrize("text", ["{a: 1}\n", "- a\n", "clouds: 1\nx: {\n"])
def test_a_file_that_cannot_be_changed_in_place_is_left(text: str) -> None:
    with pytest.raises(ExperimentError):
        yaml_io.with_value(text, PLACE, BLOCK, file="x")
