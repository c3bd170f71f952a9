"""
One table of the commands: what a comment and a terminal have in common.

It feeds the parser (`commands.py`), `/help`, the help texts of the command line, the README's
tables and the permissions (`role` is the default of the site configuration). Nothing heavy is
imported: `rpac --help` reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from rpac_ci.command_keys import KEY_WORDS, KEYS
from rpac_ci.errors import CommandError

KEYS_TOPIC = "keys"  # `/help keys`
_NEAR = 0.7  # of difflib: how much alike a word must be to be taken for a slip


class Role(StrEnum):
    """What GitHub grants a person in a repository, the least first."""

    READ = "read"
    TRIAGE = "triage"
    WRITE = "write"
    MAINTAIN = "maintain"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether whoever has this role may do what the other one allows."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)


class Kind(StrEnum):
    """What an argument is, and so what form it must have."""

    TARGET = "<experiment>[@<run>]"
    EXPERIMENT = "<experiment>"
    RUN = "<run>"
    PLAN = "<plan>"
    TOPIC = "<command>"
    OVERRIDES = "key=value …"
    FILTERS = "filter …"
    UNFAIR = "unfair=true"

    @property
    def takes_the_rest(self) -> bool:
        """Whether it is all words that are left, none included."""
        return self in (Kind.OVERRIDES, Kind.FILTERS)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command, in its place."""

    kind: Kind
    required: bool = True

    def __str__(self) -> str:
        return self.kind.value if self.required else f"[{self.kind.value}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command."""

    name: str
    arguments: tuple[Argument, ...]
    description: str  # one sentence
    details: tuple[str, ...] = ()  # paragraphs of Markdown
    examples: tuple[str, ...]
    role: Role  # that may use it in a comment, unless the site configuration says otherwise
    comment: bool = True
    terminal: bool = True

    @property
    def usage(self) -> str:
        """`reproduce <experiment>[@<run>] [key=value …]`."""
        return " ".join([self.name, *map(str, self.arguments)])


# --- commands -----------------------------------------------------------------------------------

_CHANGES = (
    f"`key=value` puts changes on top: `{KEY_WORDS}`. Lists (`nodes=1,2 args.trees=50,150`) "
    "and `repeat=N` make a study: all those runs, side by side as far as there is room, and a page "
    "over them."
)
_FILTER_KEYS = (
    "verdict status grade cloud engine runtime nodes seed since until commit reproduces study "
    "origin actor via cost duration args.<name> data.<name> metric.<name>"
)
_TARGET, _OVERRIDES = Argument(Kind.TARGET), Argument(Kind.OVERRIDES, required=False)
_RUN = Argument(Kind.RUN)

VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        verb.name: verb
        for verb in (
            Verb(
                name="reproduce",
                arguments=(_TARGET, _OVERRIDES),
                description="Run an experiment, or a past run exactly, and judge the result.",
                details=(_CHANGES,),
                examples=(
                    "reproduce eddy-census",
                    "reproduce eddy-census@20260102T030405Z-0a1b2c3d",
                    "reproduce eddy-census nodes=1,2 repeat=3 time=30min",
                ),
                role=Role.WRITE,
            ),
            Verb(
                name="plan",
                arguments=(_TARGET, _OVERRIDES),
                description="Show what `reproduce` would do and what differs from the reference, "
                "without doing it.",
                details=(
                    "It takes the same words as `reproduce`. Several clouds (`cloud=aws,local`) "
                    "are shown side by side: machines and how alike they are, prices, costs; one "
                    "that cannot serve says why.",
                ),
                examples=("plan eddy-census nodes=2", "plan eddy-census cloud=aws,azure,local"),
                role=Role.WRITE,
            ),
            Verb(
                name="approve",
                arguments=(Argument(Kind.PLAN),),
                description="Run exactly what a plan says.",
                details=(
                    "A plan can be approved once, until it expires, as long as nobody has pushed "
                    "anything but reports. Its id stands in the answer that shows the plan.",
                ),
                examples=("approve 0123456789abcdef",),
                role=Role.MAINTAIN,
                terminal=False,  # who can type there can start the run
            ),
            Verb(
                name="accept",
                arguments=(_RUN,),
                description="Accept a run, or the runs of a study, as a reference for later ones.",
                examples=("accept 20260102T030405Z-0a1b2c3d",),
                role=Role.MAINTAIN,
            ),
            Verb(
                name="status",
                arguments=(Argument(Kind.RUN, required=False),),
                description="Show how far a run is, or every open run.",
                examples=("status", "status 0a1b2c3d"),
                role=Role.READ,
            ),
            Verb(
                name="cancel",
                arguments=(_RUN,),
                description="Stop a run; it is released and recorded as cancelled.",
                examples=("cancel 20260102T030405Z-0a1b2c3d",),
                role=Role.WRITE,
            ),
            Verb(
                name="history",
                arguments=(
                    Argument(Kind.EXPERIMENT, required=False),
                    Argument(Kind.FILTERS, required=False),
                ),
                description="List past runs, newest first.",
                details=(
                    "A filter is `key=value`; also `!= > >= < <=` and `~` (contains). All must "
                    "hold; what a run does not have never matches. In a shell, words with `>` or "
                    "`<` need quotes.",
                    f"Keys: `{_FILTER_KEYS}`.",
                ),
                examples=(
                    "history eddy-census verdict=reproduced since=7d",
                    "history args.trees=150 'metric.accuracy>0.9'",
                ),
                role=Role.READ,
            ),
            Verb(
                name="compare",
                arguments=(_RUN, _RUN, Argument(Kind.UNFAIR, required=False)),
                description="Put two runs side by side: what differs, what that could explain, "
                "numbers and files, time and cost.",
                details=(
                    "Ratios of times and costs are left out, with the reasons, where they are not "
                    "fair: other machines (grade C or D), prices of other days, a stand-in of a "
                    "cloud. `unfair=true` shows them all the same.",
                ),
                examples=(
                    "compare 20260102T030405Z-0a1b2c3d 4e5f6071",
                    "compare 0a1b2c3d 4e5f6071 unfair=true",
                ),
                role=Role.READ,
            ),
            Verb(
                name="help",
                arguments=(Argument(Kind.TOPIC, required=False),),
                description="Explain the commands, one command, or the keys.",
                examples=("help", "help reproduce", "help keys"),
                role=Role.READ,
                terminal=False,  # there it is --help
            ),
        )
    }
)

# --- texts --------------------------------------------------------------------------------------


def near(word: str, known: Collection[str]) -> str | None:
    """Which known word somebody may have meant, whatever the case."""
    import difflib

    return next(iter(difflib.get_close_matches(word.lower(), known, n=1, cutoff=_NEAR)), None)


def topic_of(word: str) -> str:
    """
    What `/help <word>` is about: a command, with or without its slash, or the keys.

    Raises:
        CommandError: there is no such topic.
    """
    topics = [*VERBS, KEYS_TOPIC]
    if (name := word.removeprefix("/")) in topics:
        return name
    meant = near(name[:80], topics)
    raise CommandError(
        f"there is no help on {word[:80]!r}" + (f", did you mean {meant!r}?" if meant else ""),
        hint=f"topics: {' '.join(topics)}",
    )


def terminal_help(name: str) -> str:
    """What `rpac <name> --help` says, as click wants it."""
    verb = VERBS[name]
    told = "\n\n".join([verb.description, *verb.details]).replace("`", "")
    return "\n  ".join([f"{told}\n\n\b\nFor example:", *(f"rpac {e}" for e in verb.examples)])


def help_text(topic: str | None = None, *, roles: Mapping[str, str] | None = None) -> str:
    """
    The answer to `/help`, in Markdown.

    No line of it starts with a slash outside code, so whoever quotes or copies it runs nothing.

    Args:
        topic: as `topic_of` gives it; None for all commands.
        roles: verb -> role of the site configuration, where it differs from the table's.

    Raises:
        CommandError: there is no such topic.
    """
    name = topic_of(topic) if topic is not None else None
    if name is None:
        text = [
            "A command is a line of its own that starts with a slash: not in code, a quote or a "
            "list.",
            verbs_table(roles),
            "For more: `/help <command>`; `/help keys` for what may stand behind an experiment.",
            _code("/reproduce eddy-census nodes=2", "/help reproduce"),
        ]
    elif name == KEYS_TOPIC:
        text = ["Keys of `reproduce` and `plan`:", keys_table()]
    else:
        verb = VERBS[name]
        role = (roles or {}).get(name, verb.role)
        text = [
            f"`/{verb.usage}` · who: {role}",
            verb.description,
            *verb.details,
            "For example:",
            _code(*(f"/{example}" for example in verb.examples)),
        ]
    return "\n\n".join(text) + "\n"


def _code(*lines: str) -> str:
    return "\n".join(["```text", *lines, "```"])


def verbs_table(roles: Mapping[str, str] | None = None) -> str:
    """The commands of a comment as a Markdown table."""
    given = roles or {}
    rows = [
        f"| `/{verb.usage}` | {given.get(verb.name, verb.role)} | {verb.description} |"
        for verb in VERBS.values()
        if verb.comment
    ]
    return "\n".join(["| Command | Who | What it does |", "| --- | --- | --- |", *rows])


def keys_table() -> str:
    """The keys as a Markdown table."""
    rows = [
        f"| `{name}` | {key.description} | `{key.shown_example}` |" for name, key in KEYS.items()
    ]
    return "\n".join(["| Key | What it means | Example |", "| --- | --- | --- |", *rows])
