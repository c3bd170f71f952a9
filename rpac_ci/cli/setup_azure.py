"""`rpac setup azure`: what runs need in a subscription of Azure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rpac_ci.cli.group import JSON, print_json, show_diff
from rpac_ci.cli.setup import setup
from rpac_ci.cli.setup_parts import built, identity, may, refuse_silence, tell, write_settings
from rpac_ci.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from rpac_ci.clouds.azure.arm import Arm
    from rpac_ci.clouds.azure.deployment import Deployment, WhatIf
    from rpac_ci.clouds.azure.setup import Wishes
    from rpac_ci.site_clouds import AzureSite

_AGAIN = "rpac setup azure"


@setup.command()
@click.option("--location", metavar="LOCATION", help="Such as eastus; else that of rpac.yaml.")
@click.option(
    "--subscription", metavar="ID",
    help="Else that of rpac.yaml, AZURE_SUBSCRIPTION_ID, or the only one.",
)  # fmt: skip
@click.option(
    "--name", metavar="NAME", help="Begins the name of all that is made; small letters and digits."
)
@click.option(
    "--resource-group", metavar="GROUP",
    help="One that is there already; else rpac-NAME is made, for this alone.",
)  # fmt: skip
@click.option("--repository", metavar="OWNER/REPO", help="On GitHub; else that of `origin`.")
@click.option(
    "--environment", metavar="NAME", help="Of GitHub, whose jobs may enter.  [default: rpac-cloud]"
)
@click.option(
    "--registry", metavar="IMAGES", help="Where nodes pull images.  [default: ghcr.io/OWNER/REPO]"
)
@click.option(
    "--operator", metavar="OBJECT-ID",
    help="Who may drive runs from a terminal.  [default: who sets up]",
)  # fmt: skip
@click.option(
    "--own-machines",
    "key_vault",
    metavar="KEY-VAULT",
    help="Machines are of this subscription, with spot; names the Key Vault that Batch may use.",
)
@click.option("--subnet", metavar="ID", help="Of the nodes; else Azure Batch brings the network.")
@click.option(
    "--budget", type=click.FloatRange(min=0, min_open=True), metavar="AMOUNT",
    help="Mail when the resource group's month costs 80 % of it.",
)  # fmt: skip
@click.option(
    "--email", metavar="MAIL", help="Who gets that mail, and those of the function's alerts."
)
@click.option(
    "--function", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="ZIP file of the function that goes on with runs; none without it.",
)  # fmt: skip
@click.option(
    "--build-function",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Only write that ZIP file.",
)
@click.option(
    "--github-secret",
    metavar="URL",
    help="Of a secret in a Key Vault: a token with which the function tells GitHub of runs.",
)
@click.option("--yes", "-y", is_flag=True, help="Apply without asking.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--delete", is_flag=True, help="Take it all away, but for results.")
@click.option(
    "--delete-results", is_flag=True,
    help="With --delete: also the storage account with every result.",
)  # fmt: skip
@JSON
def azure(
    location: str | None, subscription: str | None, name: str | None, resource_group: str | None,
    repository: str | None, environment: str | None, registry: str | None, operator: str | None,
    key_vault: str | None, subnet: str | None, budget: float | None, email: str | None,
    function: Path | None, build_function: Path | None, github_secret: str | None, yes: bool,
    dry_run: bool, delete: bool, delete_results: bool, as_json: bool,
) -> int:  # fmt: skip
    """
    Make store, Batch account, identities, roles and, if asked for, a function in a subscription.

    Shows who may do what and what would change, asks, applies it, and writes where it is into
    rpac.yaml. Twice does no harm. AZURE.md of rpac has the steps before and after, with costs.
    """
    if build_function is not None:
        from rpac_ci.functions.packaging import AZURE

        after = (f"rpac setup azure --function {build_function}",)
        return built(build_function, AZURE, after, as_json=as_json)
    from rpac_ci.clouds.azure import deployment as deployments
    from rpac_ci.clouds.azure.arm import Arm
    from rpac_ci.clouds.azure.setup import Wishes, only_subscription
    from rpac_ci.clouds.site_setup import check_name, usual_name
    from rpac_ci.git import Git
    from rpac_ci.github.doctor import find_repository
    from rpac_ci.site_config import load_site

    if delete_results and not delete:
        raise CommandError("--delete-results goes with --delete")
    git = Git.discover(Path())
    known = load_site(git.root).clouds.azure
    server, origin = find_repository(git, os.environ)
    repository = repository or origin
    name = name or (known.name if known else usual_name(repository))
    check_name(name)
    ours = known if known and known.name == name else None
    subscription = (
        subscription or (ours.subscription if ours else None)
        or os.environ.get("AZURE_SUBSCRIPTION_ID") or only_subscription(Arm(""))
    )  # fmt: skip
    arm = Arm(subscription)
    group = resource_group or (ours.resource_group if ours else deployments.deployment_name(name))
    if not deployments.GROUP.fullmatch(group):
        raise CommandError(f"{group[:100]!a} cannot be a resource group's name")
    if delete:
        return _delete(
            arm, name, group, git.root, ours,
            results=delete_results, yes=yes, dry_run=dry_run, as_json=as_json,
        )  # fmt: skip
    if not repository:
        raise CommandError(
            "it is not known which repository this is", hint="--repository OWNER/REPO"
        )
    if server != "https://github.com":
        raise CommandError(
            f"the template trusts github.com alone, and this is {server}",
            hint="adapt rpac_ci/infrastructure/azure.json, and deploy it by hand",
        )
    exact, owner_id, repository_id = identity(git, repository)
    wishes = Wishes(
        name=name, repository=exact, location=location or (ours.location if ours else None),
        owner_id=owner_id, repository_id=repository_id, environment=environment, registry=registry,
        operator=operator, key_vault=key_vault, subnet=subnet, budget=budget, email=email,
        function=function, github_secret=github_secret,
    )  # fmt: skip
    return _make(arm, wishes, group, git.root, yes=yes, dry_run=dry_run, as_json=as_json)


def _make(
    arm: Arm, wishes: Wishes, group: str, root: Path, *, yes: bool, dry_run: bool, as_json: bool
) -> int:
    from rpac_ci.clouds import site_setup
    from rpac_ci.clouds.azure import deployment as deployments
    from rpac_ci.clouds.azure import setup as setups
    from rpac_ci.clouds.azure import template

    parsed = template.parse(template.text())
    content, digest = setups.code_of_function(wishes.function) if wishes.function else (b"", None)
    tenant = str(setups.the_subscription(arm)["tenantId"])
    current = deployments.settled(arm, group, wishes.name, tell)
    before = current.parameters if current else None
    values = setups.parameters(wishes, parsed, before, arm.caller(), digest=digest)
    if not values.get("location"):
        raise CommandError("no location of Azure is set", hint="--location, such as eastus")
    missing = setups.unregistered(arm, setups.providers(values))
    usual = group == deployments.deployment_name(wishes.name)
    fresh = deployments.ensure_group(arm, group, values["location"], wishes.name, ours=usual)
    apply = False
    try:
        found = deployments.what_if(arm, group, wishes.name, parsed, values)
        ready = bool(found.changes) or current is None or not current.done or before != values
        if not as_json:
            _show(template.review(template.parts(parsed, values), values), group, found,
                  missing, fresh=fresh, ready=ready)  # fmt: skip
        apply = ready and not dry_run and may(yes, "Apply these changes?", as_json)
    finally:
        if fresh and not apply:
            deployments.discard_group(arm, group)
    if apply:
        setups.register(arm, missing, tell)
        current = _deploy(arm, group, wishes.name, parsed, values, current, content)
    made = setups.site(current.outputs) if current and current.done else None
    settings = site_setup.settings_change(root, "azure", made) if made else None
    if settings and not as_json:
        show_diff(settings.diff())
    write = bool(settings) and not dry_run and (apply or may(yes, "Write this?", as_json))
    if write and settings:
        write_settings(root, settings, again=_AGAIN)
    done = bool(made) and not dry_run and apply >= ready and write >= bool(settings)
    if as_json:
        parts = template.parts(parsed, values)
        print_json(
            {
                "deployment": deployments.deployment_name(wishes.name), "resource_group": group,
                "subscription": arm.subscription, "tenant": tenant, "applied": apply,
                "changes": [_change_json(one) for one in (*found.changes, *found.uncertain)],
                "registers": missing,
                "permissions": [grant.to_json() for grant in template.grants(parts)],
                "subjects": template.subjects(parts, values), "parameters": values,
                "clouds": {"azure": site_setup.block(made)} if made else None,
                "jobs_client_id": current.outputs.get("jobsClientId") if made and current else None,
                "written": write,
            }
        )  # fmt: skip
    elif done and current and made:
        _next_steps(current, made, values, tenant)
    refuse_silence(pending=not done, dry_run=dry_run, as_json=as_json, again=f"{_AGAIN} --yes")
    return int(ExitCode.OK)


def _deploy(
    arm: Arm, group: str, name: str, parsed: dict[str, Any], values: dict[str, Any],
    current: Deployment | None, content: bytes,
) -> Deployment:  # fmt: skip
    """
    Deploy, and give a function its code in between.

    Azure takes a subscription to events only when the function that it calls is there, and an app
    has to be there to get it: one without code is made first, and named so until it has it.
    """
    from rpac_ci.clouds.azure import deployment as deployments
    from rpac_ci.clouds.azure import setup as setups
    from rpac_ci.clouds.azure import template

    if content:
        if not (current and current.done and current.outputs.get("app")):
            bare = {**values, "function": setups.UNPUBLISHED, "events": False}
            current = deployments.apply(arm, group, name, parsed, bare, tell)
        if current.parameters.get("function") != values["function"]:
            kind = "Microsoft.Web/sites"
            path = f"{arm.group(group)}/providers/{kind}/{current.outputs['app']}"
            setups.publish(arm, path, template.version_of(kind), content, tell)
    return deployments.apply(arm, group, name, parsed, values, tell)


def _delete(
    arm: Arm, name: str, group: str, root: Path, ours: AzureSite | None,
    *, results: bool, yes: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    from rpac_ci.clouds import site_setup
    from rpac_ci.clouds.azure import deployment as deployments
    from rpac_ci.clouds.azure import removal, template
    from rpac_ci.clouds.azure import setup as setups

    current = deployments.settled(arm, group, name, tell)
    store = ours.store if ours else None
    if store is None and current and current.done:
        store = setups.site(current.outputs).store
    found = removal.look(arm, name, group, current, store)
    settings = site_setup.settings_change(root, "azure", None) if ours else None
    if not as_json:
        for line in found.lines(results=results):
            click.echo(line)
        if found.none:
            click.echo(f"nothing of {name!r} is in {group}")
        if settings:
            show_diff(settings.diff())
    removal.refuse_open(found)
    pending = not found.none or bool(settings)
    go = pending and not dry_run and may(yes, "Take it away?", as_json)
    if go:
        versions = template.versions(template.parse(template.text()))
        removal.remove(arm, found, versions, results=results, tell=tell)
        if settings:
            write_settings(root, settings, again=f"{_AGAIN} --delete")
    if as_json:
        print_json({**found.to_json(), "removed": go, "results_removed": go and results})
    refuse_silence(
        pending=pending and not go, dry_run=dry_run, as_json=as_json,
        again=f"{_AGAIN} --delete --yes",
    )  # fmt: skip
    return int(ExitCode.OK)


def _show(
    rights: str, group: str, found: WhatIf, missing: list[str], *, fresh: bool, ready: bool
) -> None:
    click.echo("who may do what (resources by their names in the template):\n")
    click.echo(rights)
    click.echo(f"\nresource group {group}{', which is made' if fresh else ''}:")
    for one in missing:
        click.echo(f"  register {one} with the subscription")
    for change in (*found.changes, *found.uncertain):
        click.echo(f"  {change}")
    if not found.changes:
        only = "no resource changes, only outputs or values do"
        click.echo(f"  {only if ready else 'nothing to change'}")


def _next_steps(current: Deployment, made: AzureSite, values: dict[str, Any], tenant: str) -> None:
    from rpac_ci.github import oidc

    repository = values["repository"]
    client = current.outputs.get("jobsClientId", "")
    click.echo("\nrpac.yaml has where it is. Next, if it is not so yet:")
    for variable, value in (
        (oidc.AZURE_CLIENT, client),
        (oidc.AZURE_TENANT, tenant),
    ):
        click.echo(f"  gh variable set {variable} -R {repository} --body {value}")
    click.echo(
        f"  an environment {values['environment']!r} of {repository} that only the default "
        "branch may use"
    )
    if made.registry.endswith(".azurecr.io"):
        click.echo(
            f"  az role assignment create --assignee {made.identity_client_id} --role AcrPull "
            f"--scope $(az acr show -n {made.registry.partition('.')[0]} --query id -o tsv)"
        )
    click.echo("  rpac.yaml: `azure` in allow.clouds, and a budget; commit and push it")
    click.echo(f"  rpac doctor azure     looks at {made.resource_group} and prints each fix")


def _change_json(change: Any) -> dict[str, Any]:
    return {
        "action": change.action, "resource": change.resource, "type": change.kind,
        "details": list(change.details),
    }  # fmt: skip
