"""`rpac setup`: what runs need in the account of a cloud, shown before it is made or taken away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rpac_ci.cli.group import JSON, cli, print_json, show_diff
from rpac_ci.cli.setup_parts import built, identity, may, refuse_silence, tell, write_settings
from rpac_ci.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpac_ci.clouds.aws.clients import Aws
    from rpac_ci.clouds.aws.setup import Wishes
    from rpac_ci.clouds.aws.stack import Stack
    from rpac_ci.site_clouds import AwsSite


@cli.group()
def setup() -> None:
    """Make what runs need in the account of a cloud, or take it away."""


@setup.command()
@click.option(
    "--region",
    metavar="REGION",
    help="Such as us-west-2; else that of rpac.yaml, AWS_REGION or the profile.",
)
@click.option(
    "--name", metavar="NAME", help="Begins the name of all that is made; small letters and digits."
)
@click.option("--repository", metavar="OWNER/REPO", help="On GitHub; else that of `origin`.")
@click.option(
    "--environment", metavar="NAME", help="Of GitHub, whose jobs may enter.  [default: rpac-cloud]"
)
@click.option(
    "--registry", metavar="IMAGES", help="Where nodes pull images.  [default: ghcr.io/OWNER/REPO]"
)
@click.option(
    "--nat/--no-nat",
    default=None,
    help="Private subnets with a NAT gateway, paid by the hour, for multi-node parallel jobs.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="USD",
    help="Mail when the account's month costs 80 % of it.",
)
@click.option(
    "--email", metavar="MAIL", help="Who gets that mail, and those of the function's alarms."
)
@click.option(
    "--function",
    metavar="S3-URL",
    help="ZIP file of the function that goes on with runs; none without it.",
)
@click.option(
    "--build-function",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Only write that ZIP file, to be put into a bucket.",
)
@click.option("--yes", "-y", is_flag=True, help="Apply without asking.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--delete", is_flag=True, help="Take it all away, but for results.")
@click.option(
    "--delete-results", is_flag=True, help="With --delete: also the bucket with every result."
)
@JSON
def aws(
    region: str | None, name: str | None, repository: str | None, environment: str | None,
    registry: str | None, nat: bool | None, budget: float | None, email: str | None,
    function: str | None, build_function: Path | None, yes: bool, dry_run: bool, delete: bool,
    delete_results: bool, as_json: bool,
) -> int:  # fmt: skip
    """
    Make bucket, roles, network and, if asked for, a function in one region of an AWS account.

    Shows who may do what and what would change, asks, applies it, and writes where it is into
    rpac.yaml. Twice does no harm. AWS.md of rpac has the steps before and after, with costs.
    """
    if build_function is not None:
        from rpac_ci.functions.packaging import AWS

        put = f"aws s3 cp {build_function} s3://BUCKET/KEY"
        after = (put, "rpac setup aws --function s3://BUCKET/KEY")
        return built(build_function, AWS, after, as_json=as_json)
    from rpac_ci.clouds.aws.clients import clients, default_region
    from rpac_ci.clouds.site_setup import check_name, usual_name
    from rpac_ci.git import Git
    from rpac_ci.github.doctor import find_repository
    from rpac_ci.site_config import load_site

    if delete_results and not delete:
        raise CommandError("--delete-results goes with --delete")
    git = Git.discover(Path())
    known = load_site(git.root).clouds.aws
    server, origin = find_repository(git, os.environ)
    repository = repository or origin
    name = name or (known.name if known else usual_name(repository))
    check_name(name)
    region = region or (known.region if known else None) or default_region()
    if not region:
        raise CommandError("no region of AWS is set", hint="--region, or AWS_REGION")
    account = clients(region)
    if delete:
        ours = known if known and (known.name, known.region) == (name, region) else None
        return _delete(
            account, name, git.root, ours,
            results=delete_results, yes=yes, dry_run=dry_run, as_json=as_json,
        )  # fmt: skip
    if not repository:
        raise CommandError(
            "it is not known which repository this is", hint="--repository OWNER/REPO"
        )
    if server != "https://github.com":
        raise CommandError(
            f"the template trusts github.com alone, and this is {server}",
            hint="adapt rpac_ci/infrastructure/aws.yaml, and deploy it by hand",
        )
    from rpac_ci.clouds.aws.setup import Wishes

    exact, owner_id, repository_id = identity(git, repository)
    wishes = Wishes(
        name=name, repository=exact, owner_id=owner_id, repository_id=repository_id,
        environment=environment, registry=registry, nat=nat, budget=budget, email=email,
        function=function,
    )  # fmt: skip
    return _make(account, wishes, git.root, yes=yes, dry_run=dry_run, as_json=as_json)


def _make(
    account: Aws, wishes: Wishes, root: Path, *, yes: bool, dry_run: bool, as_json: bool
) -> int:
    from rpac_ci.clouds import site_setup
    from rpac_ci.clouds.aws import setup as setups
    from rpac_ci.clouds.aws import stack as stacks
    from rpac_ci.clouds.aws import template

    text = template.text()
    parsed = template.parse(text)
    current = stacks.settled(account, stacks.stack_name(wishes.name), tell)
    provider = setups.identity_provider(account)
    values = setups.parameters(wishes, parsed, current, provider)
    proposal = stacks.propose(account, wishes.name, text, values, current)
    if not as_json:
        _show_rights(parsed, values)
        click.echo(f"\nstack {proposal.stack} in {account.region}:")
        for change in proposal.changes:
            click.echo(f"  {change}")
        if not proposal.changes:
            only = "no resource changes, only outputs or values do"
            click.echo(f"  {only if proposal.ready else 'nothing to change'}")
    apply = proposal.ready and not dry_run and may(yes, "Apply these changes?", as_json)
    if apply:
        current = stacks.apply(account, proposal, tell)
    elif proposal.ready:
        stacks.discard(account, proposal)
        current = None if proposal.creates else current
    made = setups.site(current.outputs) if current else None
    settings = site_setup.settings_change(root, "aws", made) if made else None
    if settings and not as_json:
        show_diff(settings.diff())
    write = bool(settings) and not dry_run and (apply or may(yes, "Write this?", as_json))
    if write and settings:
        write_settings(root, settings, again="rpac setup aws")
    done = bool(made) and not dry_run and apply >= proposal.ready and write >= bool(settings)
    if as_json:
        print_json(
            {
                "stack": proposal.stack, "region": account.region, "applied": apply,
                "changes": [_change_json(change) for change in proposal.changes],
                "permissions": [grant.to_json() for grant in template.grants(parsed)],
                "parameters": values, "clouds": {"aws": site_setup.block(made)} if made else None,
                "driver_role": current.outputs.get("DriverRole") if current else None,
                "written": write,
            }
        )  # fmt: skip
    elif done and current and made:
        _next_steps(current, made, values)
    refuse_silence(pending=not done, dry_run=dry_run, as_json=as_json, again="rpac setup aws --yes")
    return int(ExitCode.OK)


def _delete(
    account: Aws, name: str, root: Path, ours: AwsSite | None,
    *, results: bool, yes: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    from rpac_ci.clouds import site_setup
    from rpac_ci.clouds.aws import removal
    from rpac_ci.clouds.aws import stack as stacks

    current = stacks.settled(account, stacks.stack_name(name), tell)
    found = removal.look(account, name, current)
    settings = site_setup.settings_change(root, "aws", None) if ours else None
    if not as_json:
        for line in found.lines(results=results):
            click.echo(line)
        if found.none:
            click.echo(f"nothing of {name!r} is in {account.region}")
        if settings:
            show_diff(settings.diff())
    removal.refuse_open(found)
    pending = not found.none or bool(settings)
    go = pending and not dry_run and may(yes, "Take it away?", as_json)
    if go:
        removal.remove(account, found, results=results, tell=tell)
        if settings:
            write_settings(root, settings, again="rpac setup aws")
    if as_json:
        print_json({**found.to_json(), "removed": go, "results_removed": go and results})
    elif go and (provider := current.outputs.get("OidcProvider") if current else None):
        click.echo(
            f"The identity provider {provider} stays, since roles of other repositories may trust "
            "it; by itself it gives nobody a right. If none does: aws iam "
            f"delete-open-id-connect-provider --open-id-connect-provider-arn {provider}"
        )
    refuse_silence(
        pending=pending and not go, dry_run=dry_run, as_json=as_json,
        again="rpac setup aws --delete --yes",
    )  # fmt: skip
    return int(ExitCode.OK)


def _show_rights(parsed: Mapping[str, Any], values: Mapping[str, str]) -> None:
    from rpac_ci.clouds.aws import template

    known = {key: value for key, value in values.items() if value}
    click.echo("who may do what (${…} are resources of the stack):\n")
    click.echo(template.review(parsed, known))


def _next_steps(current: Stack, made: AwsSite, values: Mapping[str, str]) -> None:
    from rpac_ci.github.oidc import AWS_ROLE

    repository = f"{values['GitHubOrg']}/{values['GitHubRepo']}"
    role = current.outputs.get("DriverRole", "")
    click.echo("\nrpac.yaml has where it is. Next, if it is not so yet:")
    click.echo(f"  gh variable set {AWS_ROLE} -R {repository} --body {role}")
    click.echo(
        f"  an environment {values['GitHubEnvironment']!r} of {repository} that only the default "
        "branch may use"
    )
    click.echo("  rpac.yaml: `aws` in allow.clouds, and a budget; commit and push it")
    click.echo(f"  rpac doctor aws     looks at {made.region} and prints the fix of each finding")


def _change_json(change: Any) -> dict[str, str]:
    return {
        "action": change.action, "resource": change.resource, "type": change.kind,
        "replacement": change.replacement,
    }  # fmt: skip
