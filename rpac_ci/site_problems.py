"""Every mistake in `rpac.yaml` in words: what is wrong, what would be right, where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from rpac_ci import yaml_io
from rpac_ci.command_table import Role
from rpac_ci.errors import Problem
from rpac_ci.site_clouds import MAX_GROUPS, AwsSite, AzureSite, SiteClouds
from rpac_ci.site_config import (
    CLOUDS,
    DEFAULT_ROLES,
    MAX_COMMANDS,
    SCHEMA,
    Allow,
    Approval,
    Budgets,
    CommitBack,
    Forks,
    Rerun,
    SiteConfig,
)

_ROLE = "the ARN of a role such as arn:aws:iam::123456789012:role/rpac-node"
_UUID = "an id such as 01234567-89ab-cdef-0123-456789abcdef"
_MONEY = "a price such as '5 USD'"
_CLOUD = f"one of {', '.join(CLOUDS)}"
# what is right at each place, for people; `*` stands for any key or item
FORMS: Mapping[str, str] = MappingProxyType(
    {
        "schema": repr(SCHEMA),
        "experiments": "a folder of this repository",
        "enabled": "true or false",
        "roles": "a mapping such as {approve: maintain}",
        "roles.*": f"one of {', '.join(Role)}",
        "auto_approve_below": _MONEY,
        "approval": "a mapping such as {expires: 24 h}",
        "approval.expires": "a duration from '1 min' to '30 d', such as '24 h'",
        "approval.by_author": "true or false",
        "budgets": "a mapping such as {run: 5 USD, month: 100 USD}",
        "budgets.run": _MONEY,
        "budgets.month": _MONEY,
        "budgets.person": _MONEY,
        "budgets.clouds": "a mapping such as {aws: 50 USD}",
        "budgets.clouds.*": _MONEY,
        "allow": "a mapping such as {clouds: [local]}",
        "allow.clouds": "a list such as [local, aws]",
        "allow.clouds.*": _CLOUD,
        "allow.regions": "a mapping such as {aws: [us-west-2]}",
        "allow.regions.*": "a list such as [us-west-2]",
        "allow.regions.*.*": "a region such as us-west-2",
        "allow.machines": "a mapping such as {aws: ['c7i.*']}",
        "allow.machines.*": "a list such as ['c7i.*']",
        "allow.machines.*.*": "a machine or a pattern such as 'c7i.*'",
        "allow.registries": "a list such as [ghcr.io/our-lab]",
        "allow.registries.*": "a registry such as ghcr.io or ghcr.io/our-lab",
        "forks": f"one of {', '.join(Forks)}",
        "commit_back": f"one of {', '.join(CommitBack)}",
        "bots": "a list of numeric ids such as [41898282]",
        "bots.*": "a bot's numeric id",
        "commands_per_comment": f"a whole number from 1 to {MAX_COMMANDS}",
        "rerun": "a list such as [{experiments: [exp-42], every: 30 d}]",
        "rerun.*": "a mapping such as {experiments: [exp-42], every: 30 d}",
        "rerun.*.experiments": "a list of ids such as [exp-42], or ['*'] for all",
        "rerun.*.experiments.*": "an experiment's id, or '*'",
        "rerun.*.every": "a duration from '1 h' to '366 d', such as '30 d'",
        "rerun.*.cloud": _CLOUD,
        "clouds": "a mapping such as {aws: {region: us-west-2, …}} (rpac setup aws prints it)",
        "clouds.aws": "a mapping such as {region: us-west-2, …} (rpac setup aws prints it)",
        "clouds.aws.region": "a region such as us-west-2",
        "clouds.aws.name": "2 to 24 lower-case letters and digits, the first a letter",
        "clouds.aws.store": "a bucket, with a prefix or without, such as s3://our-lab-rpac/runs",
        "clouds.aws.repository": "a repository of images such as ghcr.io/our-lab/rpac",
        "clouds.aws.subnets": "a list such as [subnet-0123456789abcdef0]",
        "clouds.aws.subnets.*": "the id of a subnet such as subnet-0123456789abcdef0",
        "clouds.aws.private_subnets": "a list such as [subnet-0123456789abcdef0]",
        "clouds.aws.private_subnets.*": "the id of a subnet such as subnet-0123456789abcdef0",
        "clouds.aws.security_groups": f"one to {MAX_GROUPS} ids such as [sg-0123456789abcdef0]",
        "clouds.aws.security_groups.*": "the id of a security group such as sg-0123456789abcdef0",
        "clouds.aws.instance_profile": "the ARN of an instance profile",
        "clouds.aws.job_role": _ROLE,
        "clouds.aws.execution_role": _ROLE,
        "clouds.aws.service_role": _ROLE,
        "clouds.azure": "a mapping such as {location: westeurope, …} (rpac setup azure prints it)",
        "clouds.azure.location": "a location such as westeurope",
        "clouds.azure.name": "2 to 24 lower-case letters and digits, the first a letter",
        "clouds.azure.subscription": _UUID,
        "clouds.azure.resource_group": "the name of a resource group such as our-lab",
        "clouds.azure.account_url": (
            "a Batch account's address such as https://ourlab.westeurope.batch.azure.com"
        ),
        "clouds.azure.store": (
            "a container, with a prefix or without, such as az://ourlabrpac/runs"
        ),
        "clouds.azure.repository": "a repository of images such as ourlab.azurecr.io/rpac",
        "clouds.azure.identity": "the resource id of a user-assigned identity",
        "clouds.azure.identity_client_id": _UUID,
        "clouds.azure.subnet": "the resource id of a subnet",
        "clouds.azure.pool_allocation_mode": "one of batch_service, user_subscription",
    }
)


def _names(model: type[BaseModel]) -> Sequence[str]:
    return sorted(field.alias or name for name, field in model.model_fields.items())


# keys at each place that has some
_KEYS: Mapping[str, Sequence[str]] = {
    "": _names(SiteConfig),
    "roles": sorted(DEFAULT_ROLES),
    "approval": _names(Approval),
    "budgets": _names(Budgets),
    "budgets.clouds": CLOUDS,
    "allow": _names(Allow),
    "allow.regions": CLOUDS,
    "allow.machines": CLOUDS,
    "rerun.*": _names(Rerun),
    "clouds": _names(SiteClouds),
    "clouds.aws": _names(AwsSite),
    "clouds.azure": _names(AzureSite),
}


def explain(document: yaml_io.Document, error: ErrorDetails) -> Problem:
    """One mistake, at its place."""
    place, unknown = error["loc"], error["type"] == "extra_forbidden"
    if not unknown and place[-1] == "[key]" and place not in document.positions:
        place, unknown = place[:-1], True  # a mapping with fixed keys, as pydantic names its keys
    if unknown:
        return document.problem(place, f"unknown key {_short(place[-1])}", _known(place))
    if error["type"] == "missing":
        return document.problem(place, f"the key {place[-1]!r} is missing", f"add '{place[-1]}: …'")
    what = f"{_short('.'.join(map(str, place)))} has no valid value"
    return document.problem(place, what, f"expected {FORMS[_find(FORMS, place)]}")


def _known(place: tuple[int | str, ...]) -> str:
    """What is right instead of an unknown key."""
    known = _KEYS[_find(_KEYS, place[:-1])]
    near = difflib.get_close_matches(str(place[-1])[:60], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def _find(names: Iterable[str], place: tuple[int | str, ...]) -> str:
    """The name, with `*` for any key or item, of a place."""
    for name in names:
        parts = name.split(".") if name else []
        if len(parts) == len(place) and all(
            part in ("*", key) for part, key in zip(parts, place, strict=True)
        ):
            return name
    raise LookupError(f"no form is known for {len(place)} levels below {place[:1]}")


def _short(key: object) -> str:
    text = str(key)
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
