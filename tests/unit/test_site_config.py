"""`rpac.yaml`: defaults that cost nothing, and every mistake told at its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from rpac_ci import schemas, site_config, yaml_io
from rpac_ci.command_table import VERBS, Role
from rpac_ci.errors import ExperimentError, HistoryError, Problem
from rpac_ci.git import Git
from rpac_ci.site_clouds import AwsSite, AzureSite
from rpac_ci.site_config import (
    CLOUDS,
    CONFIG_FILE,
    DEFAULT_ROLES,
    CommitBack,
    Forks,
    Rerun,
    SiteConfig,
    load_site,
    parse_site_config,
    parse_site_text,
    read_site,
)
from rpac_ci.site_problems import FORMS
from rpac_ci.workspace import Workspace
from tests.conftest import ROOT
from tests.conftest import git as shell

CANARY = "AKIA-not-for-anybodys-eyes"

FULL = """\
schema: rpac/site/1
experiments: studies
enabled: true
roles: {reproduce: triage, accept: admin}
auto_approve_below: 0.50 USD
approval: {expires: 2 d, by_author: true}
budgets: {run: 5 USD, month: 100 USD, person: 20 USD, clouds: {aws: 50 USD, azure: 0 USD}}
allow:
  clouds: [aws, local]
  regions: {aws: [us-west-2, eu-central-1]}
  machines: {aws: ["c7i.*", "m[67]i.large"]}
  registries: [ghcr.io/our-lab, "registry.example.org:5000"]
forks: never
commit_back: log
bots: [41898282]
commands_per_comment: 3
rerun:
  - {experiments: ["*"], every: 30 d}
  - {experiments: [exp-42, eddy-census], every: 1 d 12 h, cloud: aws}
clouds:
  aws:
    region: eu-central-1
    name: rpacourlab
    store: s3://our-lab-rpac/runs
    repository: ghcr.io/our-lab/rpac
    subnets: [subnet-0123456789abcdef0]
    private_subnets: [subnet-0123456789abcdef1]
    security_groups: [sg-0123456789abcdef0]
    instance_profile: arn:aws:iam::123456789012:instance-profile/rpac-our-lab
    job_role: arn:aws:iam::123456789012:role/rpac-our-lab-node
    execution_role: arn:aws:iam::123456789012:role/rpac-our-lab-pull
    service_role: arn:aws:iam::123456789012:role/rpac-our-lab-batch
  azure:
    location: westeurope
    name: rpacourlab
    subscription: 01234567-89ab-cdef-0123-456789abcdef
    resource_group: our-lab
    account_url: https://ourlab.westeurope.batch.azure.com
    store: az://ourlabrpac/runs/here
    repository: ourlab.azurecr.io/rpac
    identity: /subscriptions/01234567-89ab-cdef-0123-456789abcdef/resourceGroups/our-lab/providers/\
Microsoft.ManagedIdentity/userAssignedIdentities/rpac-node
    identity_client_id: 89abcdef-0123-4567-89ab-cdef01234567
    subnet: /subscriptions/01234567-89ab-cdef-0123-456789abcdef/resourceGroups/our-lab/providers/\
Microsoft.Network/virtualNetworks/lab/subnets/nodes
    pool_allocation_mode: user_subscription
"""


def parse(text: str) -> SiteConfig:
    return parse_site_text(text.encode())


def problems(text: str) -> list[str]:
    """Problems of a file, without its name."""
    with pytest.raises(ExperimentError) as caught:
        parse(text)
    return [str(problem).removeprefix("rpac.yaml:") for problem in caught.value.problems]


# --- what it says -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "{}\n", "null\n"])
def test_an_empty_file_means_defaults(text: str) -> None:
    assert parse(text) == SiteConfig()


def test_the_defaults_cost_nothing_and_trust_nobody_else() -> None:
    config = SiteConfig()
    assert config.enabled
    assert config.auto_approve_below == 0
    assert config.allow.clouds == ["local"]
    assert config.cloud == "local"
    assert config.forks is Forks.ASK
    assert config.approval.expires == 24 * 3600
    assert not config.approval.by_author
    assert config.bots == []
    assert config.rerun == []
    assert config.commit_back is CommitBack.AUTO
    assert config.commands_per_comment == 5


def test_every_key_is_read() -> None:
    config = parse(FULL)
    assert config.experiments == "studies"
    assert config.auto_approve_below == 0.5
    assert (config.approval.expires, config.approval.by_author) == (2 * 86400, True)
    assert (config.budgets.run, config.budgets.month, config.budgets.person) == (5, 100, 20)
    assert config.budgets.clouds == {"aws": 50, "azure": 0}
    assert config.cloud == "aws", "the first cloud is the site's own"
    assert config.allow.regions == {"aws": ["us-west-2", "eu-central-1"]}
    assert config.allow.machines == {"aws": ["c7i.*", "m[67]i.large"]}
    assert config.allow.registries == ["ghcr.io/our-lab", "registry.example.org:5000"]
    assert (config.forks, config.commit_back) == (Forks.NEVER, CommitBack.LOG)
    assert config.bots == [41898282]
    assert config.commands_per_comment == 3
    assert config.rerun == [
        Rerun.model_validate({"experiments": ["*"], "every": "30 d"}),
        Rerun.model_validate(
            {"experiments": ["exp-42", "eddy-census"], "every": "36 h", "cloud": "aws"}
        ),
    ]
    assert config.rerun[1].every == 129_600
    aws = config.clouds.aws
    assert aws is not None
    assert (aws.region, aws.name, aws.store) == (
        "eu-central-1", "rpacourlab", "s3://our-lab-rpac/runs"
    )  # fmt: skip
    azure = config.clouds.azure
    assert azure is not None
    assert (azure.location, azure.account, azure.registry, azure.store) == (
        "westeurope", "ourlab", "ourlab.azurecr.io", "az://ourlabrpac/runs/here"
    )  # fmt: skip
    assert config.clouds.configured == {"aws": aws, "azure": azure}


def test_every_key_has_an_example_above() -> None:
    config = parse(FULL)
    assert config.model_fields_set == set(SiteConfig.model_fields)
    assert config.clouds.aws is not None
    assert config.clouds.aws.model_fields_set == set(AwsSite.model_fields)
    assert config.clouds.azure is not None
    assert config.clouds.azure.model_fields_set == set(AzureSite.model_fields)


def test_roles_are_merged_over_the_defaults() -> None:
    assert parse(FULL).roles == {
        **DEFAULT_ROLES,
        "reproduce": Role.TRIAGE,
        "accept": Role.ADMIN,
    }
    assert parse("roles: {}").roles == DEFAULT_ROLES


def test_every_command_of_a_comment_has_a_role() -> None:
    assert set(DEFAULT_ROLES) == {name for name, verb in VERBS.items() if verb.comment}
    assert DEFAULT_ROLES["approve"] is Role.MAINTAIN


def test_no_cloud_at_all_is_possible() -> None:
    config = parse("allow: {clouds: []}")
    assert config.allow.clouds == []
    assert config.cloud is None


def test_the_file_of_this_repository_is_valid() -> None:
    assert load_site(ROOT).experiments == "experiments"


# --- mistakes -----------------------------------------------------------------------------------

MONEY = "expected a price such as '5 USD'"
ROLES = "one of read, triage, write, maintain, admin"

# the file, then each problem as `line:column: what, right`
BAD: dict[str, tuple[str, list[str]]] = {
    # --- shape
    "a list": ("- a\n", ["1:1: not settings, a mapping such as {experiments: experiments}"]),
    "a word": ("yes\n", ["1:1: not settings, a mapping such as {experiments: experiments}"]),
    "a folder for settings": (
        "allow: []\n",
        ["1:1: 'allow' has no valid value, expected a mapping such as {clouds: [local]}"],
    ),
    # --- keys
    "misspelt": (
        "experimentz: x\nbudget: {}\n",
        [
            "1:1: unknown key 'experimentz', did you mean 'experiments'?",
            "2:1: unknown key 'budget', did you mean 'budgets'?",
        ],
    ),
    "from nowhere": (
        "zzz: 1\n",
        [
            "1:1: unknown key 'zzz', known are allow, approval, auto_approve_below, bots, budgets, "
            "clouds, commands_per_comment, commit_back, enabled, experiments, forks, rerun, roles, "
            "schema",
        ],
    ),
    "inner": ("approval: {expire: 1 h}\n", ["1:12: unknown key 'expire', did you mean 'expires'?"]),
    "inner of a list": (
        "rerun:\n  - {experiments: [x], every: 1 d, clowd: local}\n",
        ["2:36: unknown key 'clowd', did you mean 'cloud'?"],
    ),
    "long": (f"{'k' * 200}: 1\n", [f"1:1: unknown key '{'k' * 39}…', known are allow, "]),
    "missing": (
        "rerun: [{}]\n",
        [
            "1:9: the key 'every' is missing, add 'every: …'",
            "1:9: the key 'experiments' is missing, add 'experiments: …'",
        ],
    ),
    # --- roles
    "a command that is none": (
        "roles: {approv: write}\n",
        ["1:9: unknown key 'approv', did you mean 'approve'?"],
    ),
    "a command of the terminal": ("roles: {sweep: write}\n", ["1:9: unknown key 'sweep', known"]),
    "a role that is none": (
        "roles: {plan: owner, cancel: 3, help: }\n",
        [
            f"1:9: 'roles.plan' has no valid value, expected {ROLES}",
            f"1:22: 'roles.cancel' has no valid value, expected {ROLES}",
            f"1:33: 'roles.help' has no valid value, expected {ROLES}",
        ],
    ),
    # --- money and time
    "money without a unit": (
        "auto_approve_below: 5\nbudgets: {run: -5 USD, month: 5 EUR, person: .nan, clouds: 3}\n",
        [
            f"1:1: 'auto_approve_below' has no valid value, {MONEY}",
            f"2:11: 'budgets.run' has no valid value, {MONEY}",
            f"2:24: 'budgets.month' has no valid value, {MONEY}",
            f"2:38: 'budgets.person' has no valid value, {MONEY}",
            "2:52: 'budgets.clouds' has no valid value, expected a mapping such as {aws: 50 USD}",
        ],
    ),
    "nothing where a limit should be": (
        "budgets: {run: , month: null, clouds: {aws: }}\nallow: {registries: , machines: }\n",
        [
            f"1:11: 'budgets.run' has no valid value, {MONEY}",
            f"1:18: 'budgets.month' has no valid value, {MONEY}",
            f"1:40: 'budgets.clouds.aws' has no valid value, {MONEY}",
            "2:9: 'allow.registries' has no valid value, expected a list such as ",
            "2:23: 'allow.machines' has no valid value, expected a mapping such as ",
        ],
    ),
    "a duration": (
        "approval: {expires: 10 s}\nrerun: [{experiments: [x], every: 5 min}]\n",
        [
            "1:12: 'approval.expires' has no valid value, expected a duration from '1 min' to ",
            "2:28: 'rerun.0.every' has no valid value, expected a duration from '1 h' to '366 d', ",
        ],
    ),
    "for ever": ("approval: {expires: 366 d}\n", ["1:12: 'approval.expires' has no valid value"]),
    # --- clouds
    "a cloud that is none": (
        "allow: {clouds: [loca], regions: {gcp: [x]}, machines: {awss: [x]}}\n"
        "budgets: {clouds: {azur: 5 USD}}\n",
        [
            "1:18: 'allow.clouds.0' has no valid value, expected one of aws, azure, local",
            "1:35: unknown key 'gcp', known are aws, azure, local",
            "1:57: unknown key 'awss', did you mean 'aws'?",
            "2:20: unknown key 'azur', did you mean 'azure'?",
        ],
    ),
    "patterns": (
        "allow:\n  regions: {aws: us-west-2, azure: [West US]}\n  machines: {aws: [-x, '']}\n"
        "  registries: ['https://ghcr.io', 'GHCR.io', 'ghcr.io/']\n",
        [
            "2:13: 'allow.regions.aws' has no valid value, expected a list such as [us-west-2]",
            "2:37: 'allow.regions.azure.0' has no valid value, expected a region such as us-west-2",
            "3:20: 'allow.machines.aws.0' has no valid value, expected a machine or a pattern",
            "3:24: 'allow.machines.aws.1' has no valid value",
            "4:16: 'allow.registries.0' has no valid value, expected a registry such as ghcr.io",
            "4:35: 'allow.registries.1' has no valid value",
            "4:46: 'allow.registries.2' has no valid value",
        ],
    ),
    "reruns where nothing may run": (
        "rerun: [{experiments: [x], every: 1 d, cloud: aws}]\n",
        ["1:40: reruns on the cloud 'aws', which is not allowed, one of allow.clouds"],
    ),
    # --- the rest
    "words of YAML 1.1": (
        "enabled: no\nforks: off\napproval: {by_author: yes}\n",
        [
            "1:1: 'enabled' has no valid value, expected true or false",
            "2:1: 'forks' has no valid value, expected one of ask, never",
            "3:12: 'approval.by_author' has no valid value, expected true or false",
        ],
    ),
    "nothing for the switch": ("enabled:\n", ["1:1: 'enabled' has no valid value"]),
    "a folder that leaves": (
        "experiments: ../x\n",
        ["1:1: 'experiments' has no valid value, expected a folder of this repository"],
    ),
    "bots": (
        "bots: [octocat, true, 0, 1.5]\n",
        [f"1:{at}: 'bots.{n}' has no valid value" for n, at in enumerate((8, 17, 23, 26))],
    ),
    "numbers": (
        "commands_per_comment: 0\ncommit_back: main\n",
        [
            "1:1: 'commands_per_comment' has no valid value, expected a whole number from 1 to 20",
            "2:1: 'commit_back' has no valid value, expected one of auto, head, log",
        ],
    ),
    "experiments": (
        "rerun:\n  - {experiments: [], every: 1 d}\n  - {experiments: [A/b], every: 1 d}\n  - 7\n",
        [
            "2:6: 'rerun.0.experiments' has no valid value, expected a list of ids such as",
            "3:20: 'rerun.1.experiments.0' has no valid value, expected an experiment's id, or '*'",
            "4:5: 'rerun.2' has no valid value, expected a mapping such as {experiments: [exp-42]",
        ],
    ),
    # --- versions
    "a later version": (
        "schema: rpac/site/2\nkeys: of that version\n",
        ["1:1: written for a newer rpac, expected 'rpac/site/1', or update rpac"],
    ),
    "no version": (
        "schema: rpac/experiment/1\n",
        ["1:1: 'schema' has no valid value, expected 'rpac/site/1'"],
    ),
    "version zero": ("schema: rpac/site/0\n", ["1:1: 'schema' has no valid value"]),
    # --- what the reader refuses
    "duplicate key": (
        "enabled: false\nenabled: true\n",
        ["2:1: duplicate key 'enabled', each key once"],
    ),
    "alias": ("a: &x 1\nb: *x\n", ["2:4: an alias, write the value out"]),
    "tag": ("forks: !!python/object:os.system {}\n", ["1:8: the tag "]),
    "no YAML": ("allow: [\n", ["2:1: not YAML"]),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD)
def test_every_mistake_is_told_at_its_place(text: str, expected: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(expected), found
    for problem, start in zip(found, expected, strict=True):
        assert problem.startswith(start)


def test_an_alias_bomb_and_a_huge_file_are_refused_before_they_are_built() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)
    )
    assert any("an alias, write the value out" in problem for problem in problems(bomb))
    with pytest.raises(ExperimentError, match="at most 262144 bytes of YAML"):
        parse_site_text(b"# \n" * (17 * 1024 * 1024))


SECRETS = [
    "schema: {0}", "experiments: [{0}]", "enabled: {0}", "roles: {{plan: {0}}}", "bots: [{0}]",
    "auto_approve_below: {0}", "budgets: {{run: {0}}}", "budgets: {{clouds: {{aws: {0}}}}}",
    "approval: {{expires: {0}}}", "allow: {{clouds: [{0}]}}", "allow: {{regions: {{aws: [{0}]}}}}",
    "allow: {{machines: {{aws: [{0} x]}}}}", "allow: {{registries: [{0}]}}", "forks: {0}",
    "commit_back: {0}", "commands_per_comment: {0}", "rerun: [{{experiments: [{0}], every: {0}}}]",
    "token: {0}", "{0}",
]  # fmt: skip


@pytest.mark.parametrize("line", SECRETS)
def test_a_value_is_never_repeated_in_a_message(line: str) -> None:
    assert CANARY not in "".join(problems(line.format(CANARY)))


def places(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every place of a document where a value stands, with `*` for any key or item."""
    for name, field in model.model_fields.items():
        yield from _places(field.annotation, f"{prefix}{field.alias or name}")


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and not get_args(kind) and issubclass(kind, BaseModel)


def _places(kind: Any, name: str) -> Iterator[str]:
    yield name
    if is_model(kind):
        yield from places(kind, f"{name}.")
        return
    if str(kind).startswith(("list[", "dict[")):
        yield from _places(get_args(kind)[-1], f"{name}.*")
        return
    for part in get_args(kind):  # of a union, or what is annotated
        if str(part).startswith("list[") or is_model(part):
            yield from list(_places(part, name))[1:]


def test_every_place_has_words_for_what_is_right() -> None:
    assert set(FORMS) == set(places(SiteConfig))


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["5 USD", "1 d", "local", "aws", "write", "*", "exp-42", "rpac/site/1"])
)  # fmt: skip
words = st.sampled_from(
    sorted(
        {part for form in FORMS for part in form.split(".")} | {"plan", "aws", "local", "", "[key]"}
    )
)
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4)
)


def settings_or_problems(document: yaml_io.Document) -> SiteConfig | list[Problem]:
    try:
        return parse_site_config(document)
    except ExperimentError as exc:
        return exc.problems


@given(documents)
def test_any_document_is_settings_or_a_list_of_problems(value: Any) -> None:
    document = yaml_io.Document(CONFIG_FILE, value, {(): (1, 1)})
    found: SiteConfig | list[Problem] = settings_or_problems(document)
    if isinstance(found, SiteConfig):
        assert set(found.roles) == set(DEFAULT_ROLES)
        assert 0 <= found.auto_approve_below < float("inf")
    else:
        assert found
        assert all(problem.what and problem.right for problem in found)


@given(st.dictionaries(words, documents, max_size=3), words, words)
def test_what_is_deep_in_a_document_is_told_as_well(
    inner: dict[str, Any], key: str, outer: str
) -> None:
    value: Any = {outer: {key: inner}, "rerun": [inner]}
    found = settings_or_problems(yaml_io.Document(CONFIG_FILE, value, {(): (1, 1)}))
    assert isinstance(found, SiteConfig) or all(problem.right for problem in found)


# --- where it is read from ----------------------------------------------------------------------


def commit(root: Path, text: str | None) -> str:
    """Commit a file of settings, or its absence; returns the commit."""
    path = root / CONFIG_FILE
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text)
    shell(root, "add", "--all")
    shell(root, "commit", "--quiet", "--allow-empty", "--message", "settings")
    return shell(root, "rev-parse", "HEAD")


def test_a_commit_says_what_stood_in_it(repository: Path) -> None:
    git = Git(repository)
    without = shell(repository, "rev-parse", "HEAD")
    strict = commit(repository, "forks: never\n")
    loose = commit(repository, "forks: ask\nauto_approve_below: 1000 USD\n")
    (repository / CONFIG_FILE).write_text("enabled: false\n")
    assert read_site(git, without) == SiteConfig()
    assert read_site(git, strict).forks is Forks.NEVER
    assert read_site(git, loose).auto_approve_below == 1000
    assert not load_site(repository).enabled
    assert Workspace.open(repository).config == load_site(repository)


def test_a_pull_request_that_raises_its_budget_is_not_obeyed(repository: Path) -> None:
    base = commit(repository, "budgets: {run: 1 USD}\n")
    shell(repository, "checkout", "--quiet", "-b", "proposal")
    commit(repository, "budgets: {run: 9999 USD}\nauto_approve_below: 9999 USD\n")
    assert read_site(Git(repository), base).budgets.run == 1


@pytest.mark.parametrize("name", ["HEAD", "main", "", "--help", "0" * 39, "0" * 41, "A" * 40])
def test_settings_are_read_by_the_full_id_of_a_commit(repository: Path, name: str) -> None:
    with pytest.raises(HistoryError, match="by its full id"):
        read_site(Git(repository), name)


def test_a_commit_that_is_not_here_is_not_one_without_settings(repository: Path) -> None:
    with pytest.raises(HistoryError):
        read_site(Git(repository), "0" * 40)


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_settings_that_are_no_file_are_refused(repository: Path, kind: str) -> None:
    path = repository / CONFIG_FILE
    if kind == "link":
        (repository / "other.yaml").write_text("forks: ask\n")
        path.symlink_to("other.yaml")
    else:
        path.mkdir()
        (path / "x").write_text("")
    shell(repository, "add", "--all")
    shell(repository, "commit", "--quiet", "--message", "odd")
    with pytest.raises(ExperimentError, match="not a regular file"):
        read_site(Git(repository), shell(repository, "rev-parse", "HEAD"))


def test_mistakes_in_a_commit_are_told_like_those_in_a_file(repository: Path) -> None:
    with pytest.raises(ExperimentError, match=r"rpac\.yaml:1:1: unknown key 'enabledd'"):
        read_site(Git(repository), commit(repository, "enabledd: false\n"))
    with pytest.raises(ExperimentError, match=r"rpac\.yaml:1:1: unknown key 'enabledd'"):
        load_site(repository)


def test_a_link_to_nowhere_is_not_a_missing_file(repository: Path) -> None:
    (repository / CONFIG_FILE).symlink_to("nowhere")
    with pytest.raises(ExperimentError, match="cannot be read"):
        load_site(repository)


# --- schema -------------------------------------------------------------------------------------


def wrong(text: str) -> list[str]:
    """Where a file does not fit the committed schema."""
    schema = json.loads((schemas.FOLDER / "site.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    value = yaml_io.loads(text.encode(), file="").value
    errors = Draft202012Validator(schema).iter_errors(value)
    return sorted("/".join(map(str, error.absolute_path)) for error in errors)


def test_the_committed_schema_is_up_to_date() -> None:
    committed = json.loads((schemas.FOLDER / "site.schema.json").read_bytes())
    assert committed == json.loads(json.dumps(site_config.json_schema()))
    assert committed["$id"] == "rpac/site/1"


def test_what_the_model_accepts_the_schema_accepts() -> None:
    assert wrong(FULL) == []
    assert wrong((ROOT / CONFIG_FILE).read_text()) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("experimentz: x", ""),
        ("enabled: no", "enabled"),
        ("roles: {approv: write}", "roles"),
        ("roles: {plan: owner}", "roles/plan"),
        ("auto_approve_below: 5", "auto_approve_below"),
        ("budgets: {run: }", "budgets/run"),
        ("budgets: {clouds: {gcp: 5 USD}}", "budgets/clouds"),
        ("allow: {clouds: [gcp]}", "allow/clouds/0"),
        ("allow: {registries: }", "allow/registries"),
        ("rerun: [{experiments: [x]}]", "rerun/0"),
        ("bots: [0]", "bots/0"),
        ("commands_per_comment: 21", "commands_per_comment"),
        ("schema: rpac/site/2", "schema"),
    ],
)
def test_what_the_model_refuses_the_schema_refuses_at_the_same_place(text: str, where: str) -> None:
    with pytest.raises(ExperimentError):
        parse(text)
    assert wrong(text) == [where]


def test_clouds_that_can_be_allowed_are_those_that_rpac_knows() -> None:
    from rpac_ci.clouds import PLANNERS

    assert set(PLANNERS) <= set(CLOUDS)
