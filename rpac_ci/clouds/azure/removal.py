"""
`rpac setup azure --delete`: everything of a site, in an order that Azure takes.

Rights go first: a role that is still assigned cannot be deleted, and outlives its resource group.
Results stay where nobody names them, and with them their storage account and resource group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rpac_ci.clouds.azure import deployment as deployments
from rpac_ci.clouds.azure.arm import RESOURCES, RIGHTS, Arm, Json, Tell
from rpac_ci.clouds.azure.deployment import Deployment, is_ours, kind_and_name
from rpac_ci.errors import PolicyError, StorageError
from rpac_ci.storage import Storage

MANY = 10  # open runs that are named
CONTAINER = "rpac"  # as in the template
STORE = "microsoft.storage/storageaccounts"
# what watches and calls goes before what is watched and called
_ORDER = (
    "microsoft.insights/metricalerts", "microsoft.insights/actiongroups",
    "microsoft.eventgrid/systemtopics", "microsoft.web/sites", "microsoft.web/serverfarms",
    "microsoft.insights/components", "microsoft.operationalinsights/workspaces",
    "microsoft.batch/batchaccounts", STORE,
    "microsoft.managedidentity/userassignedidentities",
)  # fmt: skip
_FORCED = {"microsoft.operationalinsights/workspaces": {"force": "true"}}  # its name is free again


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """What a subscription has of one site."""

    name: str
    group: str
    group_is_ours: bool
    others: bool  # whether the group has anything else in it
    deployment: Deployment | None
    resources: tuple[str, ...]  # ids, in the order in which they go
    store: str | None  # id of the storage account with results
    assignments: tuple[str, ...]
    roles: tuple[str, ...]
    budget: str | None
    open_runs: tuple[str, ...]  # the first few

    @property
    def none(self) -> bool:
        """Whether there is nothing at all."""
        return not (
            self.deployment or self.resources or self.store or self.roles or self.group_is_ours
        )

    def whole_group(self, *, results: bool) -> bool:
        """Whether the resource group goes as a whole."""
        return self.group_is_ours and not self.others and (results or not self.store)

    def lines(self, *, results: bool) -> Iterator[str]:
        """What would go, and what would stay, for people."""
        for one in self.resources:
            kind, called = kind_and_name(one)
            yield f"remove  {called} ({kind})"
        if self.assignments or self.roles:
            yield f"remove  {len(self.roles)} roles, given {len(self.assignments)} times"
        if self.budget:
            yield "remove  the budget"
        if self.store:
            called = kind_and_name(self.store)[1]
            yield (
                f"remove  storage account {called} with every result in it"
                if results
                else f"keep    storage account {called} with its results (--delete-results "
                "removes it)"
            )
        if self.whole_group(results=results):
            yield f"remove  resource group {self.group}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "group": self.group, "deployment": self.deployment.name if self.deployment else None,
            "resources": list(self.resources), "store": self.store, "roles": list(self.roles),
            "assignments": list(self.assignments), "budget": self.budget,
            "open_runs": list(self.open_runs),
        }  # fmt: skip


def look(
    arm: Arm, name: str, group: str, current: Deployment | None, store_url: str | None
) -> Belongings:
    """
    Find what belongs to a site; nothing is changed.

    Args:
        arm: the subscription.
        name: of the site.
        group: its resource group.
        current: its deployment, from `deployment.settled`.
        store_url: of the results, where something was made as a whole.

    Raises:
        CloudError: Azure cannot be asked.
        PolicyError: nobody can say whether runs are open.
    """
    doing = "looking for what is there"
    place = arm.group(group)
    found = arm.get(place, RESOURCES, doing)
    resources = [] if found is None else list(arm.listed(f"{place}/resources", RESOURCES, doing))
    ours = [one for one in resources if is_ours(one, name)]
    store = next((str(one["id"]) for one in ours if _is_store(one, name)), None)
    roles = [] if found is None else _roles(arm, place, name)
    budget = f"{place}/providers/Microsoft.Consumption/budgets/{deployments.deployment_name(name)}"
    return Belongings(
        name=name, group=group, group_is_ours=found is not None and is_ours(found, name),
        others=len(ours) < len(resources), deployment=current,
        resources=tuple(sorted((str(one["id"]) for one in ours if one["id"] != store), key=_rank)),
        store=store, roles=tuple(roles),
        assignments=tuple(_assignments(arm, place, roles) if roles else ()),
        budget=budget if found and arm.get(budget, deployments.BUDGETS, doing) else None,
        open_runs=tuple(_open_runs(store, store_url)) if store else (),
    )  # fmt: skip


def refuse_open(found: Belongings) -> None:
    """
    Refuse while runs are open: they would lose their machines, and nobody could conclude them.

    Raises:
        PolicyError: with their names.
    """
    if found.open_runs:
        more = " …" if len(found.open_runs) == MANY else ""
        raise PolicyError(
            f"runs are open: {' '.join(found.open_runs)}{more}",
            hint="end them first: rpac cancel RUN, then rpac advance --all",
        )


def remove(
    arm: Arm, found: Belongings, versions: Mapping[str, str], *, results: bool, tell: Tell
) -> None:
    """
    Take it away; may be called again after an interruption, and is silent about what is gone.

    Args:
        arm: the subscription.
        found: from `look`.
        versions: of the API for each kind of resource.
        results: also the storage account, with every version of every object.
        tell: is told of each step.

    Raises:
        CloudError: something cannot be removed; what comes after it was not touched.
        CancelledError: interrupted; what was begun goes on by itself.
    """
    for what, ids in (("assignment of a role", found.assignments), ("role", found.roles)):
        for one in ids:
            tell(f"removing the {what} {one.rpartition('/')[2]}")
            arm.delete(one, RIGHTS, f"removing the {what}")
    if found.budget:
        tell("removing the budget")
        arm.delete(found.budget, deployments.BUDGETS, "removing the budget")
    going = [*found.resources, *([found.store] if found.store and results else [])]
    for one in sorted(going, key=_rank):
        kind, called = kind_and_name(one)
        tell(f"removing {called} ({kind})")
        arm.delete(
            one, versions[kind.lower()], f"removing {called}", **_FORCED.get(kind.lower(), {})
        )
    if found.deployment:
        path = deployments.path_of(arm, found.group, found.name)
        arm.delete(path, deployments.VERSION, "removing the deployment's record")
    if found.whole_group(results=results):
        tell(f"removing the resource group {found.group}")
        arm.delete(arm.group(found.group), RESOURCES, "removing the resource group")


def _is_store(one: Mapping[str, Any], name: str) -> bool:
    """The account with results; the function's own has `fn` behind the name, as in the template."""
    called = str(one["name"])
    return str(one["type"]).lower() == STORE and called.startswith(name[:11]) and not (
        called.startswith(f"{name[:9]}fn") and len(called) == len(name[:9]) + 2 + 13
    )  # fmt: skip


def _rank(resource: str) -> tuple[int, str]:
    kind = kind_and_name(resource)[0].lower()
    return (_ORDER.index(kind) if kind in _ORDER else -1, resource)


def _roles(arm: Arm, place: str, name: str) -> list[str]:
    doing = "looking for roles"
    found = arm.listed(
        f"{place}/providers/Microsoft.Authorization/roleDefinitions", RIGHTS, doing,
        **{"$filter": "type eq 'CustomRole'"},
    )  # fmt: skip
    return [
        str(one["id"]) for one in found
        if one["properties"]["roleName"].startswith(f"rpac {name} ")
        and [scope.lower() for scope in one["properties"]["assignableScopes"]] == [place.lower()]
    ]  # fmt: skip


def _assignments(arm: Arm, place: str, roles: list[str]) -> Iterator[str]:
    """Those of our roles in the resource group, whoever made them."""
    numbers = {one.rpartition("/")[2].lower() for one in roles}
    path = f"{place}/providers/Microsoft.Authorization/roleAssignments"
    for one in arm.listed(path, RIGHTS, "looking for assignments of roles"):
        properties: Json = one["properties"]
        if properties["roleDefinitionId"].rpartition("/")[2].lower() in numbers:
            yield str(one["id"])


def _open_runs(account: str, known: str | None) -> list[str]:
    try:
        found = Storage(known or f"az://{kind_and_name(account)[1]}/{CONTAINER}").names("open/")
        return [name for name, _ in zip(found, range(MANY), strict=False)]
    except StorageError as exc:
        if known is None:  # never made as a whole: nobody could be told of it, or run anything
            return []
        raise PolicyError(
            f"it is not known whether runs are open: {exc.message}",
            hint="look with the right to read its blobs: rpac setup azure --operator OBJECT-ID "
            "gives it to somebody",
        ) from exc
