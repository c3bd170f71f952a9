"""
One stack of CloudFormation: looked at, changed by a change set that is shown first, deleted.

AWS goes on by itself whoever watches, so whatever is interrupted here is taken up by the next call:
it waits for what is under way and then looks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rpac_ci.clouds.aws.errors import code_of, translated
from rpac_ci.errors import CancelledError, CloudError, ProvisioningError

if TYPE_CHECKING:
    from rpac_ci.clouds.aws.clients import Aws

TAG = "rpac:name"
CAPABILITIES = ["CAPABILITY_IAM"]  # roles, none of them with a name of its own
POLL_S = 3.0
LIMIT_S = 3600.0  # a NAT gateway and an empty network take minutes
# from these nothing can be changed any more: the first creation did not succeed
BROKEN = {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"}
# made by a change set that nobody applied
EMPTY = "REVIEW_IN_PROGRESS"
_NOTHING = ("didn't contain changes", "no updates are to be performed")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack as AWS describes it."""

    name: str
    status: str
    reason: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def under_way(self) -> bool:
        """Whether AWS is at work on it."""
        return self.status.endswith("_IN_PROGRESS") and self.status != EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceChange:
    """What would become of one resource; `replacement` is True, False, Conditional or empty."""

    action: str
    resource: str
    kind: str
    replacement: str = ""

    def __str__(self) -> str:
        replaced = {"True": ", replaced", "Conditional": ", perhaps replaced"}
        return f"{self.action:<7} {self.resource} ({self.kind}{replaced.get(self.replacement, '')})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """What a stack would become; `ready` to be applied, or gone because nothing would change."""

    stack: str
    id: str
    creates: bool
    ready: bool
    changes: tuple[ResourceChange, ...]  # none where only outputs or values change


def stack_name(name: str) -> str:
    """The stack of a site's name."""
    return f"rpac-{name}"


def find(aws: Aws, stack: str) -> Stack | None:
    """
    A stack; None where there is none.

    Raises:
        CloudError: AWS cannot be asked.
    """
    try:
        with translated(f"looking at the stack {stack}"):
            answer = aws.cloudformation.describe_stacks(StackName=stack)
    except CloudError as exc:
        if code_of(exc) == "ValidationError" and "does not exist" in exc.message:
            return None
        raise
    if not answer["Stacks"]:
        return None
    found = answer["Stacks"][0]
    return Stack(
        name=stack,
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        parameters={
            one["ParameterKey"]: one.get("ParameterValue", "")
            for one in found.get("Parameters", [])
        },
        outputs={one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])},
    )


def settled(aws: Aws, stack: str, tell: Tell) -> Stack | None:
    """
    A stack when nothing is under way any more; waits for that, and tells of it.

    Raises:
        CloudError: AWS cannot be asked, or it takes longer than an hour.
        CancelledError: interrupted; the stack goes on by itself.
    """
    found = find(aws, stack)
    if found is None or not found.under_way:
        return found
    tell(f"{stack} is at {found.status}; waiting")
    return _watch(aws, stack, tell, seen=set())


def refuse_broken(stack: Stack) -> None:
    """
    Say what to do about a stack that cannot be changed.

    Raises:
        ProvisioningError: it is such a stack.
    """
    if stack.status in BROKEN:
        raise ProvisioningError(
            f"the stack {stack.name} is at {stack.status}: it was never made as a whole"
            f"{f' ({stack.reason})' if stack.reason else ''}",
            hint="take it away with `rpac setup aws --delete`, then set it up again",
        )
    if stack.status == "UPDATE_ROLLBACK_FAILED":
        raise ProvisioningError(
            f"the stack {stack.name} is at {stack.status}: change and undoing both failed"
            f"{f' ({stack.reason})' if stack.reason else ''}",
            hint="repair what the reason names, then: "
            f"aws cloudformation continue-update-rollback --stack-name {stack.name}",
        )


def propose(
    aws: Aws,
    name: str,
    template: str,
    parameters: Mapping[str, str],
    current: Stack | None,
) -> ChangeSet:
    """
    Have AWS say what applying a template would change; nothing is changed.

    Args:
        aws: clients.
        name: of the site, also the value of the tag.
        template: its text.
        parameters: every value.
        current: from `settled`.

    Raises:
        ProvisioningError: AWS refuses the template or the values, or the stack is broken.
        CloudError: AWS cannot be asked.
    """
    if current is not None:
        refuse_broken(current)
    creates = current is None or current.status == EMPTY
    stack = stack_name(name)
    with translated(f"proposing changes of the stack {stack}"):
        made = aws.cloudformation.create_change_set(
            StackName=stack,
            ChangeSetName=f"rpac-{datetime.now(UTC):%Y%m%dT%H%M%S%f}",
            ChangeSetType="CREATE" if creates else "UPDATE",
            TemplateBody=template,
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            Capabilities=CAPABILITIES,
            Tags=[{"Key": TAG, "Value": name}],
        )
        proposal = ChangeSet(stack=stack, id=made["Id"], creates=creates, ready=False, changes=())
        answer = _described(aws, proposal)
    if answer["Status"] == "FAILED":
        discard(aws, proposal)
        reason = str(answer.get("StatusReason", ""))
        if any(words in reason.lower() for words in _NOTHING):
            return proposal
        raise ProvisioningError(f"AWS refuses the changes of the stack {stack}: {reason}")
    changes = tuple(_change(one["ResourceChange"]) for one in answer["Changes"])
    return replace(proposal, ready=True, changes=changes)


def discard(aws: Aws, proposal: ChangeSet) -> None:
    """Take a change set back, and the empty stack that came with it."""
    with translated("taking the change set back"):
        aws.cloudformation.delete_change_set(ChangeSetName=proposal.id, StackName=proposal.stack)
        if proposal.creates:
            aws.cloudformation.delete_stack(StackName=proposal.stack)


def apply(aws: Aws, proposal: ChangeSet, tell: Tell) -> Stack:
    """
    Make the changes, and tell of each resource.

    Raises:
        ProvisioningError: AWS could not; it has gone back to what was there before.
        CancelledError: interrupted; the stack goes on by itself.
    """
    seen = _seen(aws, proposal.stack)
    with translated(f"changing the stack {proposal.stack}"):
        aws.cloudformation.execute_change_set(ChangeSetName=proposal.id, StackName=proposal.stack)
    stack = _watch(aws, proposal.stack, tell, set(seen))
    if stack is None or stack.status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        status = stack.status if stack else "gone"
        why = "; ".join(_failures(aws, proposal.stack, seen)) or (stack.reason if stack else "")
        hint = (
            "take it away with `rpac setup aws --delete`, repair the reason, then set it up again"
            if proposal.creates
            else "what was there before is there again; repair the reason, then set it up again"
        )
        raise ProvisioningError(
            f"the stack {proposal.stack} is at {status}: {why or 'AWS names no reason'}", hint=hint
        )
    return stack


def delete(aws: Aws, stack: str, tell: Tell) -> None:
    """
    Delete a stack and wait until it is gone; silent when there is none.

    Raises:
        ProvisioningError: something of it could not be deleted.
        CancelledError: interrupted; the deletion goes on by itself.
    """
    if find(aws, stack) is None:
        return
    seen = _seen(aws, stack)
    with translated(f"deleting the stack {stack}"):
        aws.cloudformation.delete_stack(StackName=stack)
    left = _watch(aws, stack, tell, set(seen))
    if left is not None and left.status != "DELETE_COMPLETE":
        why = "; ".join(_failures(aws, stack, seen)) or left.reason
        raise ProvisioningError(
            f"the stack {stack} is at {left.status}: {why or 'AWS names no reason'}",
            hint="remove what the reason names, then again: rpac setup aws --delete",
        )


def wait(what: str, done: Callable[[], bool], *, limit_s: float = LIMIT_S) -> None:
    """
    Wait until something is so.

    Raises:
        CloudError: it was not so after `limit_s` seconds.
    """
    end = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > end:
            raise CloudError(f"still not so after {limit_s:.0f} s: {what}", transient=True)
        _pause(POLL_S)


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _described(aws: Aws, proposal: ChangeSet) -> dict[str, Any]:
    """The change set when AWS has finished with it, with the changes of all pages."""
    answer: dict[str, Any] = {}

    def finished() -> bool:
        answer.update(
            aws.cloudformation.describe_change_set(
                ChangeSetName=proposal.id, StackName=proposal.stack
            )
        )
        return not str(answer["Status"]).endswith(("_PENDING", "_IN_PROGRESS"))

    wait(f"the change set of {proposal.stack} is ready", finished, limit_s=300)
    changes = list(answer.get("Changes", []))
    while token := answer.get("NextToken"):
        answer = dict(
            aws.cloudformation.describe_change_set(
                ChangeSetName=proposal.id, StackName=proposal.stack, NextToken=token
            )
        )
        changes += answer.get("Changes", [])
    return {**answer, "Changes": changes}


def _change(change: Mapping[str, Any]) -> ResourceChange:
    return ResourceChange(
        action=str(change["Action"]).lower(),
        resource=change["LogicalResourceId"],
        kind=change["ResourceType"],
        replacement=change.get("Replacement", ""),
    )


def _watch(aws: Aws, stack: str, tell: Tell, seen: set[str]) -> Stack | None:
    """The stack when AWS has finished; None when it is gone."""
    last: list[Stack | None] = [None]

    def finished() -> bool:
        found = find(aws, stack)
        if found is not None:
            for event in _events(aws, stack, seen):
                tell(f"{event['ResourceStatus']:<20} {event['LogicalResourceId']}")
        last[0] = found
        return found is None or not found.under_way

    try:
        wait(f"the stack {stack} is as it should be", finished)
    except KeyboardInterrupt as exc:
        raise CancelledError(
            f"interrupted; AWS goes on with the stack {stack} by itself",
            hint="the same command again waits for it and goes on from there",
        ) from exc
    return last[0]


def _seen(aws: Aws, stack: str) -> set[str]:
    seen: set[str] = set()
    for _ in _events(aws, stack, seen):
        pass
    return seen


def _events(aws: Aws, stack: str, seen: set[str]) -> Iterable[Mapping[str, Any]]:
    """Events that were not seen yet, oldest first; they are seen then."""
    fresh: list[Mapping[str, Any]] = []
    try:
        with translated(f"reading events of the stack {stack}"):
            for page in aws.cloudformation.get_paginator("describe_stack_events").paginate(
                StackName=stack
            ):
                new = [one for one in page["StackEvents"] if one["EventId"] not in seen]
                fresh += new
                if len(new) < len(page["StackEvents"]):
                    break  # the rest is older
    except CloudError as exc:
        if code_of(exc) != "ValidationError":  # gone between two questions
            raise
    seen.update(one["EventId"] for one in fresh)
    return fresh[::-1]


def _failures(aws: Aws, stack: str, before: set[str]) -> list[str]:
    """What failed first, and why; what AWS gave up because of that is left out."""
    told = [
        f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
        for event in _events(aws, stack, set(before))
        if event["ResourceStatus"].endswith("_FAILED")
        and "cancelled" not in event.get("ResourceStatusReason", "cancelled").lower()
    ]
    return told[:3]
