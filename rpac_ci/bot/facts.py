"""What the policy is told about commands and tickets: from our records to its facts. Pure."""

from __future__ import annotations

from rpac_ci import policy
from rpac_ci.bot.ledger import Spending
from rpac_ci.bot.tickets import Ticket
from rpac_ci.commands import Command, Plan, Reproduce
from rpac_ci.site_config import SiteConfig


def sha_asked(command: Command) -> str | None:
    """The commit that a command names."""
    words = command.words if isinstance(command, Reproduce | Plan) else ()
    return next((w.removeprefix("sha=") for w in words if w.startswith("sha=")), None)


def planned_facts(ticket: Ticket, config: SiteConfig | None) -> policy.Planned:
    """What would run, by its ticket."""
    name, _, digest = (ticket.image or "").partition("@")
    return policy.Planned(
        id=ticket.id, experiment=ticket.experiment, cloud=ticket.cloud, region=ticket.region,
        machine=ticket.machine, registry=name or None,
        image_pinned=not ticket.image or bool(digest), cost_low=ticket.cost_low,
        cost_high=ticket.cost_high, cost_limit=ticket.cost_limit, head_sha=ticket.head,
        changes_target=ticket.cloud != (config.cloud if config else None),
    )  # fmt: skip


def spent(spending: Spending, person: int) -> policy.Spent:
    """What was spent, as it concerns one person."""
    return policy.Spent(
        month=spending.month, person=spending.persons.get(person, 0.0), clouds=spending.clouds
    )
