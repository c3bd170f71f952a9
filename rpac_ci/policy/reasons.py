"""Reason codes of the policy, part of the public contract, and what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REASONS: Mapping[str, str] = MappingProxyType(
    {
        # --- ignored, without an answer
        "action-not-handled": "only new comments, dispatches and schedules are requests",
        "repeated-attempt": "a workflow that is run again is the same request, not a new one",
        "bot": "bots are not listened to, unless rpac.yaml names them",
        "sender-differs": "the event was not caused by the comment's author",
        # --- who asks, where, for what
        "unknown-command": "there is no such command",
        "archived": "the repository is archived, so nothing can be written to it",
        "comment-too-old": "the comment is too old to be sure that it was not handled before",
        "role-unreadable": "GitHub did not say which role this account has here",
        "role-unknown": "GitHub named a role that is not one of its own",
        "role-too-low": "the account's role does not allow this command",
        "settings-unreadable": "rpac.yaml of the default branch cannot be used",
        "disabled": "rpac.yaml has switched the bot off; what runs can be cancelled",
        "locked": "the conversation is locked, so nothing new is started from it",
        "pull-merged": "the pull request is merged",
        "pull-closed": "the pull request is closed",
        "head-repository-gone": "the repository that the pull request came from is gone",
        "head-unknown": "it could not be found out which commit the pull request is at",
        "files-unreadable": "the files that the pull request changes could not all be read",
        "forks-never": "rpac.yaml allows no runs of code from forks",
        "draft-fork": "a draft from a fork is not run",
        # --- approvals
        "unknown-plan": "there is no plan with this id; an id is given in full",
        "plan-altered": "the stored plan is not the one that was shown under this id",
        "plan-of-another-place": "the plan was made in another conversation",
        "plan-used": "the plan has been approved already; an approval holds once",
        "plan-expired": "the plan has waited too long for its approval",
        "plan-stale": "the code has changed since the plan was made",
        "base-changed": "the pull request goes to another branch than when the plan was made",
        "own-request": "nobody approves their own request",
        # --- what would run, and what it may cost
        "plan-missing": "no plan could be made",
        "head-moved": "the branch has moved while the request was handled",
        "sha-differs": "the commit is not the one that was asked for",
        "cloud-not-allowed": "the cloud is not allowed here",
        "region-not-allowed": "the region is not allowed here",
        "machine-not-allowed": "the machine is not allowed here",
        "image-not-pinned": "the image has no digest, so it may be another one tomorrow",
        "registry-not-allowed": "images of this registry are not allowed here",
        "price-unknown": "nothing is known of the price, and nothing limits it",
        "price-implausible": "the price is not an amount of money",
        "cost-limit-too-low": "the run would be stopped by its own cost limit",
        "no-budget": "it costs money, and rpac.yaml names no budget for that",
        "ledger-unreadable": "what has been spent so far could not be read",
        "over-run-budget": "at worst it costs more than one run may",
        "over-cloud-budget": "at worst it costs more than is left for the cloud this month",
        "over-person-budget": "at worst it costs more than is left for the person this month",
        "over-month-budget": "at worst it costs more than is left this month",
        # --- waits for an approval
        "planned": "the plan was asked for; nothing runs",
        "from-fork": "code from a fork runs after an approval",
        "price-open": "the price is not known; the cost limit stands in for it",
        "cost-above-limit": "it may cost more than is spent without an approval",
        "other-cloud": "another cloud than the repository's own was asked for",
        # --- goes ahead
        "admitted": "nothing stands against the request",
        "within-limits": "role, place and cost allow it without an approval",
        "approved": "exactly the plan that was shown is run",
    }
)
