"""The policy: who may do what, where, and at what cost; one line for each way to try it on."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import pytest

from rpac_ci.command_table import Role
from rpac_ci.policy import REASONS, SCHEDULE, Facts, Kind, Spent, admit, decide
from rpac_ci.policy import plans as policy_plans
from rpac_ci.policy import rules as policy_rules
from rpac_ci.site_config import DEFAULT_ROLES, SiteConfig
from tests.unit.policy_cases import (
    APPROVAL,
    AUTHOR,
    AWS,
    FORK,
    FREE,
    HEAD,
    MONEY,
    NOW,
    OCTOCAT,
    OTHER,
    PLAN,
    allowing,
    approve,
    ask,
    paid,
    site,
)

NAN, INFINITE = float("nan"), float("inf")

# --- who may do what ----------------------------------------------------------------------------

# command -> roles that may use it in a public repository with the default settings
PERMITTED = {
    "reproduce": "write maintain admin",
    "plan": "write maintain admin",
    "approve": "maintain admin",
    "accept": "maintain admin",
    "cancel": "write maintain admin",
    "status": "read triage write maintain admin",
    "history": "read triage write maintain admin",
    "compare": "read triage write maintain admin",
    "help": "read triage write maintain admin",
}


def test_every_command_is_in_the_table_of_permissions() -> None:
    assert set(PERMITTED) == set(DEFAULT_ROLES)


@pytest.mark.parametrize("role", [*Role, None, "none", "owner", "WRITE", "write ", ""])
@pytest.mark.parametrize("verb", PERMITTED)
def test_permissions(verb: str, role: str | None) -> None:
    facts = ask(approve(), verb=verb, person_role=role, planned=PLAN)
    admitted, decided = admit(facts), decide(facts)
    if role is not None and role in PERMITTED[verb].split():
        assert (admitted.kind, admitted.code) == (Kind.PROCEED, "admitted")
        assert decided.kind is (Kind.ASK if verb == "plan" else Kind.PROCEED)
        return
    known = role in list(Role)
    code = "role-unreadable" if role is None else "role-too-low" if known else "role-unknown"
    assert (admitted.kind, admitted.code) == (Kind.REFUSE, code)
    assert decided == admitted


def test_a_refusal_for_the_role_says_which_one_is_needed_and_held() -> None:
    decision = admit(ask(person_role="read"))
    assert decision.message == "/reproduce needs the role write, and this account has read"
    assert "write" in decision.hint


# settings, role, private repository -> code
ROLES: dict[str, tuple[dict[str, str], str, bool, str]] = {
    "raised": ({"reproduce": "admin"}, "maintain", False, "role-too-low"),
    "lowered": ({"reproduce": "triage"}, "triage", False, "admitted"),
    "read is everybody in a public repository": (
        {"reproduce": "read"}, "read", False, "role-too-low",
    ),
    "triage is granted also there": ({"reproduce": "read"}, "triage", False, "admitted"),
    "read is granted in a private repository": ({"reproduce": "read"}, "read", True, "admitted"),
}  # fmt: skip


@pytest.mark.parametrize(("roles", "role", "private", "code"), ROLES.values(), ids=ROLES)
def test_roles_of_the_settings(roles: dict[str, str], role: str, private: bool, code: str) -> None:
    facts = ask(config=site(roles=roles), person_role=role, repository_private=private)
    assert admit(facts).code == code


def test_looking_is_for_everybody_and_cancelling_is_not() -> None:
    everybody = site(roles=dict.fromkeys(DEFAULT_ROLES, "read"))
    may = {
        verb
        for verb in DEFAULT_ROLES
        if admit(ask(config=everybody, verb=verb, person_role="read")).kind is Kind.PROCEED
    }
    assert may == {"status", "history", "compare", "help"}


# --- attacks ------------------------------------------------------------------------------------

BOT: dict[str, Any] = {"person_kind": "Bot", "person_login": "helper[bot]", "person_id": 44}
MERGED: dict[str, Any] = {"pull_state": "closed", "pull_merged": True}

NO_FORKS = site(forks="never")

# what is tried (number in the list of attacks) -> facts, code
ATTACKS: dict[str, tuple[Facts, str]] = {
    # --- identity
    "24 somebody who can only read": (ask(person_role="read"), "role-too-low"),
    "25 a member whose role nobody told": (ask(person_role=None), "role-unreadable"),
    "25 an association in place of a role": (ask(person_role="CONTRIBUTOR"), "role-unknown"),
    "25 a custom role": (ask(person_role="release-manager"), "role-unknown"),
    "26 an edited comment": (ask(action="edited"), "action-not-handled"),
    "27 a stranger's comment, edited by a maintainer": (
        ask(action="edited", sender_is_author=False, person_role="admin"), "action-not-handled",
    ),
    "27 an event that another one caused": (ask(sender_is_author=False), "sender-differs"),
    "28 a deleted comment": (ask(action="deleted"), "action-not-handled"),
    "29 a bot": (ask(**BOT, person_role="admin"), "bot"),
    "29 a bot by its login alone": (ask(person_login="helper[bot]"), "bot"),
    "29 a bot that the settings name, without a role": (
        ask(**BOT, config=site(bots=[44]), person_role=None), "role-unreadable",
    ),
    "29 a bot that the settings name": (
        ask(**BOT, config=site(bots=[44]), person_role="write"), "within-limits",
    ),
    "29 an organization": (ask(person_kind="Organization"), "bot"),
    "29 a bot, while the settings cannot be read": (ask(**BOT, config=None), "bot"),
    "30 another id under a login with rights": (ask(person_role=None), "role-unreadable"),
    "31 no answer about the role": (ask(person_role=None), "role-unreadable"),
    "31 an answer of another kind": (ask(person_role=""), "role-unknown"),
    "a person who calls itself the schedule": (
        ask(person=SCHEDULE), "action-not-handled",
    ),
    "a comment that calls itself scheduled": (
        ask(action="scheduled", pull=None), "action-not-handled",
    ),
    "a schedule that approves": (
        ask(approve(), action="scheduled", person=SCHEDULE, pull=None), "action-not-handled",
    ),
    "a schedule on a pull request": (
        ask(action="scheduled", person=SCHEDULE), "action-not-handled",
    ),
    # --- place
    "32 an issue": (ask(pull=None), "within-limits"),
    "32 an issue, with a plan from a pull request": (approve(pull=None), "plan-of-another-place"),
    "33 a closed pull request": (ask(pull_state="closed"), "pull-closed"),
    "33 a state nobody knows": (ask(pull_state="odd"), "pull-closed"),
    "33 a merged pull request": (ask(**MERGED), "pull-merged"),
    "33 an approval after the merge": (approve(**MERGED), "pull-merged"),
    "33 accepting after the merge": (
        ask(**MERGED, verb="accept", person_role="maintain"), "admitted",
    ),
    "33 cancelling after the merge": (ask(**MERGED, verb="cancel"), "admitted"),
    "33 a locked conversation": (ask(pull_locked=True), "locked"),
    "33 accepting in a locked conversation": (
        ask(pull_locked=True, verb="accept", person_role="admin"), "locked",
    ),
    "33 cancelling in a locked conversation": (ask(pull_locked=True, verb="cancel"), "admitted"),
    "33 a draft of the repository": (ask(pull_draft=True), "within-limits"),
    "33 a draft from a fork": (ask(**FORK, pull_draft=True), "draft-fork"),
    "33 an approved draft from a fork": (approve(**FORK, pull_draft=True), "draft-fork"),
    "56 a fork that is gone": (
        ask(pull_fork=True, pull_head_repository=None), "head-repository-gone",
    ),
    "56 gone, and not marked as a fork": (ask(pull_head_repository=None), "head-repository-gone"),
    "a fork where none are run": (ask(**FORK, config=NO_FORKS), "forks-never"),
    "an approved fork where none are run": (approve(**FORK, config=NO_FORKS), "forks-never"),
    "a branch where no forks are run": (ask(config=NO_FORKS), "within-limits"),
    "cancelling on a fork where none are run": (
        ask(**FORK, config=NO_FORKS, verb="cancel"), "admitted",
    ),
    "an archived repository": (ask(repository_archived=True), "archived"),
    "files that could not all be read": (ask(pull_files_readable=False), "files-unreadable"),
    "a head that is no commit": (ask(pull_head_sha=""), "head-unknown"),
    "a head with something behind it": (ask(pull_head_sha=HEAD + "\n"), "head-unknown"),
    # --- race
    "35 a push between comment and plan": (ask(planned_head_sha=OTHER), "head-moved"),
    "35 a push, and the commit was named": (ask(sha_asked=OTHER[:12]), "sha-differs"),
    "35 the commit was named": (ask(sha_asked=HEAD[:7]), "within-limits"),
    "35 a name too short to name one": (ask(sha_asked=HEAD[:6]), "sha-differs"),
    "35 no name at all": (ask(sha_asked=""), "sha-differs"),
    "35 a plan without a commit": (ask(planned_head_sha="main"), "head-moved"),
    "35 a plan without a commit, on an issue": (
        ask(pull=None, planned_head_sha="main"), "head-moved",
    ),
    "36 a push between plan and approval": (approve(approval_stale=True), "plan-stale"),
    "36 a push of reports alone": (approve(plan_head_sha=OTHER), "approved"),
    "37 a push between approval and dispatch": (approve(head_moved=True), "head-moved"),
    "37 a push between plan and dispatch": (ask(head_moved=True), "head-moved"),
    "38 a push, and back to the same commit": (ask(head_moved=False), "within-limits"),
    "40 another base branch": (approve(approval_base_changed=True), "base-changed"),
    "41 the second of two approvals": (approve(approval_used=True), "plan-used"),
    "42 the author alone": (approve(person_id=AUTHOR), "own-request"),
    "42 the author alone, on an issue": (
        approve(pull=None, approval_pull=None, person_id=OCTOCAT), "own-request",
    ),
    "42 the author alone, where that is allowed": (
        approve(person_id=AUTHOR, config=site(approval={"by_author": True})), "approved",
    ),
    "42 the author, who may not approve": (
        approve(person_id=AUTHOR, person_role="write"), "role-too-low",
    ),
    "42 a maintainer asked, and approves": (approve(person_id=OCTOCAT), "approved"),
    "45 the workflow run again": (ask(attempt=2), "repeated-attempt"),
    "45 an attempt that is none": (ask(attempt=0), "repeated-attempt"),
    "45 weeks later": (ask(comment_age_s=15 * 86400.0), "comment-too-old"),
    "45 two days": (ask(comment_age_s=48 * 3600.0), "within-limits"),
    "45 two days, and a second": (ask(comment_age_s=48 * 3600 + 1.0), "comment-too-old"),
    "76 a clock that is a little behind": (ask(comment_age_s=-60.0), "within-limits"),
    "76 a clock that is five minutes behind": (ask(comment_age_s=-300.0), "within-limits"),
    "76 a clock that is more behind": (ask(comment_age_s=-300.1), "comment-too-old"),
    "76 a comment from the future": (ask(comment_age_s=-3600.0), "comment-too-old"),
    "76 no age at all": (ask(comment_age_s=NAN), "comment-too-old"),
    "46 the plan of another pull request": (approve(approval_pull=8), "plan-of-another-place"),
    "46 a plan from an issue": (approve(approval_pull=None), "plan-of-another-place"),
    "47 a plan that is none": (approve(approval_plan=None), "unknown-plan"),
    "47 no plan": (approve(approval=None), "unknown-plan"),
    "47 an id with another content": (approve(approval_digest_ok=False), "plan-altered"),
    "a day later, to the second": (
        approve(approval_made_at=NOW - timedelta(days=1)), "plan-expired",
    ),
    "a plan from the future": (approve(approval_made_at=NOW + timedelta(hours=1)), "plan-expired"),
    "a plan without a time zone": (
        approve(approval_made_at=NOW.replace(tzinfo=None)), "plan-expired",
    ),
    "a clock without a time zone": (approve(now=NOW.replace(tzinfo=None)), "plan-expired"),
    "a plan from five minutes ahead": (
        approve(approval_made_at=NOW + timedelta(minutes=5)), "approved",
    ),
    "a plan from a little more ahead": (
        approve(approval_made_at=NOW + timedelta(minutes=5, milliseconds=1)), "plan-expired",
    ),
    "a plan in another time zone": (
        approve(approval_made_at=NOW.astimezone(timezone(timedelta(hours=-11)))), "approved",
    ),
    "an approval where a plan should be": (
        ask(approval=APPROVAL, planned=None), "plan-missing",
    ),
    # --- repository content
    "48 settings of the pull request": (
        # what it raises is not in these facts: they hold the default branch's word
        paid(config=site(allow={"clouds": ["local", "aws"]}, budgets={"run": "1 USD"})),
        "over-run-budget",
    ),
    "48 settings that cannot be used": (ask(config=None), "settings-unreadable"),
    "48 help about settings that cannot be used": (ask(config=None, verb="help"), "admitted"),
    "57 a tag without a digest": (ask(planned_image_pinned=False), "image-not-pinned"),
    "57 approved, a tag without a digest": (approve(plan_image_pinned=False), "image-not-pinned"),
    # --- budget
    "77 the ledger cannot be read": (paid(spent=None), "ledger-unreadable"),
    "77 and it costs nothing": (ask(spent=None), "within-limits"),
    "77 the ledger says nonsense": (paid(spent_month=NAN), "ledger-unreadable"),
    "77 the ledger pays out": (paid(spent_clouds={"azure": -1000.0}), "ledger-unreadable"),
    "78 nothing is known of the price": (paid(None), "price-unknown"),
    "78 approved, and nothing is known": (
        approve(plan_cost_high=None, config=site(**MONEY)), "price-unknown",
    ),
    "78 a limit stands in": (paid(None, planned_cost_limit=2.0), "price-open"),
    "78 a limit above the budget": (paid(None, planned_cost_limit=11.0), "over-run-budget"),
    "78 a limit below the least": (paid(None, 3.0, planned_cost_limit=2.0), "cost-limit-too-low"),
    "78 a limit that is the least": (paid(None, 2.0, planned_cost_limit=2.0), "price-open"),
    "78 a negative price": (paid(-1.0), "price-implausible"),
    "78 a negative least": (paid(low=-1.0), "price-implausible"),
    "78 no number": (paid(NAN), "price-implausible"),
    "78 no number for the least": (paid(low=NAN), "price-implausible"),
    "78 no number for the limit": (paid(planned_cost_limit=NAN), "price-implausible"),
    "78 without end": (paid(INFINITE), "price-implausible"),
    "78 a worst case below the least": (paid(0.0, 99.0), "over-run-budget"),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "code"), ATTACKS.values(), ids=ATTACKS)
def test_what_is_tried_and_what_comes_of_it(facts: Facts, code: str) -> None:
    decision = decide(facts)
    assert decision.code == code
    passes = {"admitted", "within-limits", "approved"}
    assert (decision.kind is Kind.PROCEED) == (code in passes)
    assert decision.message


TABLES: list[policy_rules.Rule[Any]] = [
    *policy_rules.ADMISSION, *policy_rules.APPROVAL, *policy_plans.PLAN, *policy_plans.QUESTIONS,
]  # fmt: skip
SILENT = {"action-not-handled", "repeated-attempt", "bot", "sender-differs"}


def test_only_what_is_no_request_goes_without_an_answer() -> None:
    assert {rule.code for rule in TABLES if rule.kind is Kind.IGNORE} == SILENT
    assert {rule.kind for rule in policy_plans.QUESTIONS} == {Kind.ASK}


# --- ask or proceed, and what it costs ----------------------------------------------------------


def from_registry(*names: str) -> SiteConfig:
    return site(allow={"registries": list(names)})


# facts -> code
COSTS: dict[str, tuple[Facts, str]] = {
    "free, on a branch": (FREE, "within-limits"),
    "free, on an issue": (ask(pull=None), "within-limits"),
    "free, dispatched": (ask(pull=None, action="dispatched"), "within-limits"),
    "free, by schedule": (
        ask(pull=None, action="scheduled", person=SCHEDULE, sender_is_author=False),
        "within-limits",
    ),
    "by schedule, on a cloud that the settings name": (
        ask(pull=None, action="scheduled", person=SCHEDULE, planned_changes_target=True),
        "within-limits",
    ),
    "by schedule, too dear": (
        paid(6.0, pull=None, action="scheduled", person=SCHEDULE), "cost-above-limit",
    ),
    "by schedule, switched off": (
        ask(pull=None, action="scheduled", person=SCHEDULE, config=site(enabled=False)), "disabled",
    ),
    "free, from a fork": (ask(**FORK), "from-fork"),
    "from a fork, approved": (approve(**FORK), "approved"),
    "plan": (ask(verb="plan"), "planned"),
    "plan from a fork": (ask(**FORK, verb="plan"), "planned"),
    "plan of what is not allowed": (ask(verb="plan", planned_cloud="aws"), "cloud-not-allowed"),
    "at the limit": (paid(5.0), "within-limits"),
    "above the limit": (paid(5.01), "cost-above-limit"),
    "above the default limit": (paid(0.01, 0.0, config=site(**MONEY)), "cost-above-limit"),
    "above, approved": (
        approve(config=site(**MONEY), plan_cloud="aws", plan_cost_high=9.0), "approved",
    ),
    "another cloud": (paid(planned_changes_target=True), "other-cloud"),
    "another cloud, approved": (
        approve(config=site(**MONEY), plan_cloud="aws", plan_changes_target=True), "approved",
    ),
    # --- budgets
    "no budget": (paid(config=site(allow=AWS, auto_approve_below="9 USD")), "no-budget"),
    "only persons have one": (
        paid(config=site(allow=AWS, budgets={"person": "50 USD"})), "no-budget",
    ),
    "another cloud has one": (
        paid(config=site(allow=AWS, budgets={"clouds": {"azure": "50 USD"}})), "no-budget",
    ),
    "the cloud has one": (
        paid(config=site(allow=AWS, budgets={"clouds": {"aws": "5 USD"}})), "cost-above-limit",
    ),
    "no budget, approved": (
        approve(config=site(allow=AWS), plan_cloud="aws", plan_cost_high=1.0), "no-budget",
    ),
    "one run": (paid(10.01), "over-run-budget"),
    "one run, exactly": (paid(10.0), "cost-above-limit"),
    "the month": (paid(5.0, spent_month=95.01), "over-month-budget"),
    "the month, exactly": (paid(5.0, spent_month=95.0), "within-limits"),
    "the month, in dimes": (
        paid(0.1, 0.1, spent_month=0.2, config=site(allow=AWS, auto_approve_below="1 USD",
                                                    budgets={"month": "0.3 USD"})),
        "within-limits",
    ),
    "the person": (paid(5.0, spent_person=45.01), "over-person-budget"),
    "the person, exactly": (paid(5.0, spent_person=45.0), "within-limits"),
    "the cloud": (
        paid(5.0, spent_clouds={"aws": 45.01},
             config=site(allow=AWS, budgets={"clouds": {"aws": "50 USD"}})),
        "over-cloud-budget",
    ),
    "spent on another cloud": (
        paid(5.0, spent_clouds={"azure": 45.01},
             config=site(allow=AWS, auto_approve_below="5 USD",
                         budgets={"clouds": {"aws": "5 USD"}})),
        "within-limits",
    ),
    "spent since it was planned": (
        approve(config=site(**MONEY), plan_cloud="aws", plan_cost_high=9.0, spent_month=99.0),
        "over-month-budget",
    ),
    "free, when all is spent": (
        ask(config=site(**MONEY), spent=Spent(month=999.0, person=999.0)), "within-limits",
    ),
    # --- where
    "a cloud that is not allowed": (ask(planned_cloud="aws"), "cloud-not-allowed"),
    "no cloud is allowed": (ask(config=site(allow={"clouds": []})), "cloud-not-allowed"),
    "not allowed any more": (approve(plan_cloud="aws"), "cloud-not-allowed"),
    "any region": (paid(planned_region="mars-1"), "within-limits"),
    "a region that is allowed": (
        paid(
            planned_region="eu-1",
            config=site(budgets=MONEY["budgets"], allow={**AWS, "regions": {"aws": ["eu-1"]}}),
        ),
        "cost-above-limit",
    ),
    "a region that is not": (
        paid(planned_region="eu-11", config=allowing(regions={"aws": ["eu-1"]})),
        "region-not-allowed",
    ),
    "no region, where there are some": (
        paid(config=allowing(regions={"aws": ["eu-1"]})), "region-not-allowed",
    ),
    "a region of another cloud": (
        ask(config=site(allow={"regions": {"aws": ["eu-1"]}})), "within-limits",
    ),
    "no region is allowed": (
        paid(planned_region="eu-1", config=allowing(regions={"aws": []})),
        "region-not-allowed",
    ),
    "a machine that fits": (
        paid(planned_machine="c7i.large", config=site(allow={**AWS, "machines": {"aws": ["c7i.*"]}},
                                                      budgets={"run": "9 USD"})),
        "cost-above-limit",
    ),
    "a machine that does not": (
        paid(planned_machine="p5.48xlarge", config=allowing(machines={"aws": ["c7i.*"]})),
        "machine-not-allowed",
    ),
    "no machine, where there are some": (
        paid(config=allowing(machines={"aws": ["*"]})), "machine-not-allowed",
    ),
    "any registry": (ask(planned_registry="docker.io/library/python"), "within-limits"),
    "a registry that is allowed": (
        ask(planned_registry="ghcr.io/lab/eddy", config=from_registry("ghcr.io/lab")),
        "within-limits",
    ),
    "the name of a registry alone": (
        ask(planned_registry="ghcr.io", config=from_registry("ghcr.io")),
        "within-limits",
    ),
    "a registry that begins alike": (
        ask(planned_registry="ghcr.io/laboratory/x", config=from_registry("ghcr.io/lab")),
        "registry-not-allowed",
    ),
    "a host that begins alike": (
        ask(planned_registry="ghcr.io.example.org/x", config=from_registry("ghcr.io")),
        "registry-not-allowed",
    ),
    "no registry is allowed": (
        ask(planned_registry="ghcr.io/lab/x", config=from_registry()),
        "registry-not-allowed",
    ),
    "no image, where no registry is allowed": (
        ask(config=from_registry()), "within-limits",
    ),
    # --- switched off
    "switched off": (ask(config=site(enabled=False)), "disabled"),
    "plan, switched off": (ask(config=site(enabled=False), verb="plan"), "disabled"),
    "approve, switched off": (approve(config=site(enabled=False)), "disabled"),
    "accept, switched off": (
        ask(config=site(enabled=False), verb="accept", person_role="admin"), "disabled",
    ),
    "cancel, switched off": (ask(config=site(enabled=False), verb="cancel"), "admitted"),
    "status, switched off": (ask(config=site(enabled=False), verb="status"), "admitted"),
    # --- words
    "a word that is no command": (ask(verb="sweep"), "unknown-command"),
    "no word": (ask(verb=""), "unknown-command"),
    "another spelling": (ask(verb="Reproduce"), "unknown-command"),
    "no plan could be made": (ask(planned=None), "plan-missing"),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "code"), COSTS.values(), ids=COSTS)
def test_what_it_costs_and_where_it_goes(facts: Facts, code: str) -> None:
    assert decide(facts).code == code


def test_every_reason_has_a_line_in_the_tables_above() -> None:
    told = {code for _, code in [*ATTACKS.values(), *COSTS.values()]}
    assert told == set(REASONS)


def test_codes_are_kebab_case_and_no_rule_is_without_a_meaning() -> None:
    codes = [rule.code for rule in TABLES]
    assert set(codes) <= set(REASONS)
    assert len(set(codes)) == len(codes)
    for code, meaning in REASONS.items():
        assert code == code.lower()
        assert code.replace("-", "").isalpha()
        assert meaning.endswith(tuple("abcdefghijklmnopqrstuvwxyz"))


# --- order: strangers learn nothing, and the first reason is the one to begin with ---------------

BOTH: dict[str, tuple[Facts, str]] = {
    "a stranger, settings broken": (ask(person_role="read", config=None), "role-too-low"),
    "a stranger, over budget": (paid(99.0, person_role="read"), "role-too-low"),
    "a stranger, a plan that is none": (approve(approval=None, person_role="read"), "role-too-low"),
    "a bot, too old": (ask(**BOT, comment_age_s=1e9), "bot"),
    "merged and closed": (ask(**MERGED), "pull-merged"),
    "altered and used": (approve(approval_digest_ok=False, approval_used=True), "plan-altered"),
    "a fork, over budget": (paid(99.0, **FORK), "over-run-budget"),
    "a fork, unknown price": (paid(None, **FORK), "price-unknown"),
}


@pytest.mark.parametrize(("facts", "code"), BOTH.values(), ids=BOTH)
def test_of_two_reasons_one_comes_first(facts: Facts, code: str) -> None:
    assert decide(facts).code == code


def test_refusals_say_the_amounts() -> None:
    assert decide(paid(12.0)).message == "12.00 USD at worst is more than one run may cost"
    assert decide(paid(6.0)).message == (
        "it may cost 6.00 USD, and without an approval at most 5.00 USD are spent"
    )
    assert "0.004 USD" in decide(paid(0.004, 0.0, config=site(**MONEY))).message
    assert "24 h" in decide(approve(approval_made_at=NOW - timedelta(days=2))).message
    assert (
        "rpac.yaml:3:1: unknown"
        in decide(ask(config=None, config_problem="rpac.yaml:3:1: unknown key")).message
    )


@pytest.mark.parametrize("name", ["region", "machine", "registry"])
def test_what_no_list_names_may_be_anything(name: str) -> None:
    changes: dict[str, Any] = {f"planned_{name}": "x"}
    assert decide(ask(**changes)).kind is Kind.PROCEED
