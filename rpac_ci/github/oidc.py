"""
What a cloud has to be told so that jobs of one environment may enter it, and nobody else.

GitHub knows two forms of the subject. The classic one has names, which can be given to others; the
immutable one, of repositories made or renamed since 15 July 2026, has ids beside them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rpac_ci.errors import CommandError

if TYPE_CHECKING:
    from rpac_ci.canonical import Json
    from rpac_ci.github.answers import OidcSubject, RepositoryInfo

AWS_AUDIENCE = "sts.amazonaws.com"
AWS_ROLE = "RPAC_AWS_ROLE"  # variable of the repository that tells its jobs their role
AZURE_AUDIENCE = "api://AzureADTokenExchange"
AZURE_CLIENT = "RPAC_AZURE_CLIENT_ID"  # the same on Azure: the identity that they act as,
AZURE_TENANT = "RPAC_AZURE_TENANT_ID"  # and the directory that knows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """What a job needs to enter a cloud, and what the cloud's SDK calls it."""

    audience: str  # that the job's token is for
    file: str  # variable of the SDK with the token's path
    variables: Mapping[str, str]  # of the repository, and under which name the SDK knows them
    whom: str  # they say, for people


ENTRANCES: Mapping[str, Entrance] = MappingProxyType(
    {
        "aws": Entrance(
            audience=AWS_AUDIENCE, file="AWS_WEB_IDENTITY_TOKEN_FILE",
            variables={AWS_ROLE: "AWS_ROLE_ARN"}, whom="their role on AWS",
        ),
        "azure": Entrance(
            audience=AZURE_AUDIENCE, file="AZURE_FEDERATED_TOKEN_FILE",
            variables={AZURE_CLIENT: "AZURE_CLIENT_ID", AZURE_TENANT: "AZURE_TENANT_ID"},
            whom="the identity that they act as on Azure",
        ),
    }
)  # fmt: skip
_PUBLIC = "token.actions.githubusercontent.com"
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,254}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """Both forms of the subject; `active` names the one in use, None when GitHub does not tell."""

    issuer: str  # without https://
    classic: str
    immutable: str
    active: str | None
    custom: tuple[str, ...] = ()  # claims that the owner put in its place

    @classmethod
    def of(
        cls,
        repository: RepositoryInfo,
        form: OidcSubject | None,
        *,
        server_url: str,
        environment: str,
    ) -> Subjects:
        """
        The subjects of jobs of one environment.

        Args:
            repository: as GitHub writes it: clouds compare letter by letter.
            form: what GitHub says about the form, None when it cannot be asked.
            server_url: of GitHub.
            environment: whose jobs are meant.

        Raises:
            CommandError: no environment can have this name.
        """
        check_environment(environment)
        owner, _, name = repository.full_name.partition("/")
        with_ids = f"repo:{owner}@{repository.owner_id}/{name}@{repository.id}"
        custom = form.claims if form is not None and not form.use_default else ()
        return cls(
            issuer=issuer(server_url),
            classic=f"repo:{repository.full_name}:environment:{environment}",
            immutable=f"{with_ids}:environment:{environment}",
            active=_active(form, with_ids, f"repo:{repository.full_name}"),
            custom=custom,
        )

    def aws(self, subject: str) -> dict[str, Json]:
        """The trust policy of a role in AWS; every value is compared as a whole."""
        return {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {
                        "Federated": f"arn:aws:iam::<ACCOUNT>:oidc-provider/{self.issuer}"
                    },
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Condition": {
                        "StringEquals": {
                            f"{self.issuer}:aud": AWS_AUDIENCE,
                            f"{self.issuer}:sub": subject,
                        }
                    },
                }
            ],
        }

    def azure(self, subject: str) -> dict[str, Json]:
        """The federated credential of an application or identity in Azure."""
        return {
            "name": "rpac",
            "issuer": f"https://{self.issuer}",
            "subject": subject,
            "audiences": [AZURE_AUDIENCE],
        }

    def text(self) -> str:
        """For a terminal."""
        lines = [
            "",
            "For clouds (OIDC): who may enter is decided by the subject of the job's token.",
        ]
        if self.custom:
            lines.append(f"The owner has put claims of their own there: {', '.join(self.custom)}.")
        for form, subject in (("classic", self.classic), ("immutable", self.immutable)):
            use = {form: " (in use here)", None: " (GitHub does not tell which one is in use)"}
            lines += [
                f"\n{form} form{use.get(self.active, ' (not in use here)')}: {subject}",
                "AWS, trust policy of the role:",
                json.dumps(self.aws(subject), indent=2),
                "Azure, federated credential:",
                json.dumps(self.azure(subject), indent=2),
            ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Json]:
        """For programs."""
        forms: dict[str, Json] = {
            form: {"subject": subject, "aws": self.aws(subject), "azure": self.azure(subject)}
            for form, subject in (("classic", self.classic), ("immutable", self.immutable))
        }
        return {**forms, "active": self.active, "custom_claims": list(self.custom)}


def check_environment(name: str) -> None:
    """
    Refuse what would change the meaning of a subject.

    Raises:
        CommandError: no environment can have this name.
    """
    if not _ENVIRONMENT.fullmatch(name):
        raise CommandError(
            f"{name[:80]!a} is no name of an environment",
            hint="letters, digits, spaces, '.', '_' and '-'; a ':' would change the subject",
        )


def issuer(server_url: str) -> str:
    """Who signs the tokens: GitHub itself, or an Enterprise server of one's own."""
    host = urlsplit(server_url).netloc.lower()
    if host in {"github.com", ""}:
        return _PUBLIC
    if host.endswith(".ghe.com"):
        return f"token.actions.{host}"
    return f"{host}/_services/token"


def _active(form: OidcSubject | None, immutable: str, classic: str) -> str | None:
    if form is None:
        return None
    if form.prefix:  # the beginning of every subject, as GitHub itself builds it
        known = {immutable: "immutable", classic: "classic"}
        return known.get(form.prefix.removesuffix(":"))
    if form.immutable is None:
        return None
    return "immutable" if form.immutable else "classic"
