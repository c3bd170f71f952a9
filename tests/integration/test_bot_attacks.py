"""
Attacks and bad input, as tables: what somebody does, and what comes of it.

Numbers are those of the list of attacks that comment-driven automation has met. Each row is played
on a GitHub with a real repository; afterwards no ref may have moved but what the row means to move,
nothing may have been sent off, and each comment has one answer or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rpac_ci.command_table import help_text
from rpac_ci.comment_commands import is_own
from tests.conftest import QUICK, QUICK_MAIN
from tests.integration.bot_conftest_parts import Reaction, Target
from tests.integration.lab import QUICK_FILES
from tests.standins.github import GitHubServer, Special
from tests.standins.github.bare import Content

DISPATCH = "issue_comment"
EXPERIMENT = "experiments/quick/experiment.yaml"
SPEC = QUICK.format(name="quick")


@pytest.fixture
def lab(hub: GitHubServer, tmp_path: Path) -> Target:
    return Target(hub, tmp_path)


@contextlib.contextmanager
def harmless(lab: Target, *, runs: int = 0, refs: bool = True) -> Iterator[None]:
    """Nothing is sent off but so many runs, and no ref but the ledger moves."""
    before = lab.refs()
    yield
    assert len(lab.dispatched()) == runs
    if refs:
        assert lab.refs() == before


def answered(lab: Target, place: Any, says: str) -> None:
    """One answer that says this; "" means that there is none."""
    found = lab.answers(place)
    if not says:
        assert found == []
        return
    (one,) = found
    assert says in one
    assert is_own(one)


# --- (1) to (23): the text of a comment -----------------------------------------------------------

LONG_SPACE = "word " * 13_000
IGNORED, MISREAD, FAILED = "no-command", "misread", "failed"

TEXTS = [
    # number and name, what a person who may run things writes, reason code, what the answer says
    ("1 fenced block", "```\n/reproduce quick\n```", IGNORED, ""),
    ("1 fence that is not closed", "~~~sh\n/reproduce quick", IGNORED, ""),
    ("1 indented block", "see\n\n    /reproduce quick", IGNORED, ""),
    ("2 quote", "> /reproduce quick", IGNORED, ""),
    ("2 line after a quote", "> so\n/reproduce quick", MISREAD, "without an empty line"),
    ("3 inline code", "try `/reproduce quick`", IGNORED, ""),
    ("3 inline code over lines", "`\n/reproduce quick\n`", IGNORED, ""),
    ("4 HTML comment", "<!--\n/reproduce quick\n-->", IGNORED, ""),
    ("4 details", "<details>\n\n/reproduce quick\n\n</details>", IGNORED, ""),
    ("5 title of a link", '[x](https://a.org "\n/reproduce quick\n")', IGNORED, ""),
    ("5 title of a definition", '[x]: https://a.org "a\n/reproduce quick\n"', IGNORED, ""),
    ("5 description of an image", "![\n/reproduce quick\n](x.png)", IGNORED, ""),
    ("6 the bot's help", help_text(), IGNORED, ""),
    ("6 its help, quoted", "> " + help_text().replace("\n", "\n> "), IGNORED, ""),
    ("6 its own words", "<!-- rpac:answer=1 -->\n/reproduce quick", "own-comment", ""),
    ("7 no-break space", "/reproduce\u00a0quick", MISREAD, "U+00A0"),
    ("7 zero width in the verb", "/repro\u200bduce quick", MISREAD, "U+200B"),
    ("7 zero width in the name", "/reproduce qu\u200bick", MISREAD, "U+200B"),
    ("7 zero width before", "\u200b/reproduce quick", MISREAD, "U+200B"),
    ("8 bidi override", "/reproduce quick \u202eargs.level=8", MISREAD, "U+202E"),
    ("8 homoglyph in the verb", "/r\u0435produce quick", MISREAD, "CYRILLIC"),
    ("8 homoglyph in the name", "/reproduce qu\u0456ck", MISREAD, "CYRILLIC"),
    ("9 65,536 characters", "x" * 65_536, IGNORED, ""),
    ("9 more than GitHub takes", f"{'y' * 65_536}\n\n/reproduce quick", MISREAD, "65536"),
    ("10 thousands of commands", "/reproduce quick\n\n" * 3640, MISREAD, "more than 5 commands"),
    ("11 unclosed quote", '/reproduce quick args.level="7', MISREAD, "a quote is not closed"),
    ("12 duplicate key", "/plan quick args.level=7 args.level=8", MISREAD, "given twice"),
    ("12 duplicate key of the target", "/plan quick nodes=1 nodes=2", MISREAD, "given twice"),
    ("13 empty value", "/reproduce quick args.level=", MISREAD, "the value is empty"),
    ("14 path as a key", "/reproduce exp=../../.github", MISREAD, "expected \\<experiment\\>"),
    ("14 path as an experiment", "/reproduce ../../.github", MISREAD, "expected \\<experiment\\>"),
    ("14 path as a run", "/status ../../main", MISREAD, "expected the id of a run"),
    ("15 absolute path", "/reproduce /etc/passwd", MISREAD, "expected \\<experiment\\>"),
    ("15 NUL", "/reproduce quick\0", "event-malformed", ""),
    ("16 semicolon", "/reproduce quick; touch owned", MISREAD, "quick;"),
    ("16 substitution", "/reproduce quick args.level=$(id>owned)", FAILED, "a whole number"),
    ("16 backticks", "/reproduce quick args.level=`id`", FAILED, "a whole number"),
    ("16 newline", '/reproduce quick "args.level=7\n/cancel x"', MISREAD, "a quote is not closed"),
    ("17 dash as an experiment", "/reproduce -oProxyCommand=id", MISREAD, "-oProxyCommand"),
    ("17 dash as a key", "/reproduce quick --upload-pack=id", MISREAD, "unknown key"),
    ("17 dash as a commit", "/reproduce quick sha=--upload-pack=id", MISREAD, "hex digits"),
    ("17 dash as a run", "/accept --force", MISREAD, "expected the id of a run"),
    ("18 case and space", "/reproduce quick cloud='AZURE '", MISREAD, "a lower-case word"),
    ("19 no such cloud", "/reproduce quick cloud=gcp", FAILED, "there is no cloud 'gcp'"),
    ("20 1e999", "/reproduce quick args.level=1e999", FAILED, "a whole number"),
    ("20 1e999 hours", "/reproduce quick time=1e999h", MISREAD, "expected a duration"),
    ("20 -1", "/reproduce quick nodes=-1", MISREAD, "at least 1"),
    ("20 0x10", "/reproduce quick cpus=0x10", MISREAD, "a whole number"),
    ("20 NaN", "/reproduce quick cost=NaNUSD", MISREAD, "expected a price"),
    ("20 NaN as an argument", "/reproduce quick args.level=NaN", FAILED, "a whole number"),
    ("21 mention", "/reproduce @everyone", MISREAD, "expected \\<experiment\\>"),
    ("21 mention in a topic", "/help @octocat", MISREAD, "there is no help on"),
    ("21 table and link", "/plan quick|x|[a](b)", MISREAD, "quick\\|x\\|\\[a\\](b)"),
    ("21 address", "/plan https://lure.example/login", MISREAD, "lure"),
    ("22 template of Actions", "/reproduce ${{secrets.GITHUB_TOKEN}}", MISREAD, "${{secrets."),
    ("22 template as a value", "/plan quick args.level=${{github.token}}", FAILED, "${{github."),
    ("23 workflow command", "/reproduce ::set-output", MISREAD, "::set-output"),
    ("a slip of another program", "/lgtm\n\n/usr/bin/env", IGNORED, ""),
    ("a slip", "/reproduc quick", MISREAD, "did you mean '/reproduce'"),
    ("a study of many", "/reproduce quick repeat=40", FAILED, "16 are the most in a comment"),
    ("too long for a job", "/reproduce quick time=9h", FAILED, "more than a job here may take"),
    ("an experiment that is not there", "/reproduce quikc", FAILED, "did you mean 'quick'"),
    ("one good, one bad", "/reproduce quick\n\n/reproduce nope", FAILED, "was not run either"),
]  # fmt: skip


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Any]]:
    """A lab and a pull request on which many people talk, for rows that must change neither."""
    root = tmp_path_factory.mktemp("talk")
    with GitHubServer(root / "github") as server:
        lab = Target(server, root)
        yield lab, lab.pull()
        assert not server.violations, "\n".join(map(str, server.violations))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "code", "says"), [row[1:] for row in TEXTS], ids=[row[0] for row in TEXTS]
)
def test_text_of_a_comment_starts_nothing(
    talk: tuple[Target, Any], body: str, code: str, says: str
) -> None:
    lab, pull = talk
    said, asked = len(lab.answers(pull)), len(lab.hub.counted("api"))
    with harmless(lab):
        done = lab.tells(lab.author, pull, body)
    assert code == done.code or done.codes == [code, code]
    assert done.runs == []
    assert lab.ledger() == {}
    answers = lab.answers(pull)[said:]
    assert len(answers) == bool(says)
    for answer in answers:
        assert says in answer
        assert is_own(answer)
        assert "@everyone" not in answer
        assert "@octocat" not in answer
        assert "://lure" not in answer
    assert not any(line.startswith("::") for line in done.log.splitlines())
    assert not list(lab.root.rglob("owned"))
    if code == IGNORED:
        assert len(lab.hub.counted("api")) == asked  # nobody was even asked


MEANT = [
    ("7 CRLF and tabs", "Please\r\n\r\n/reproduce\tquick\r\n"),
    ("7 byte order of Windows", "/reproduce quick\r\nthanks"),
    ("9 at the end of a long comment", f"{LONG_SPACE}\n\n/reproduce quick"),
    ("beside what others read", "/lgtm\n\n/reproduce quick"),
    ("after a quote", "> /cancel x\n\n/reproduce quick"),
]


@pytest.mark.slow
@pytest.mark.parametrize("body", [row[1] for row in MEANT], ids=[row[0] for row in MEANT])
def test_what_is_meant_is_run_once(lab: Target, body: str) -> None:
    pull = lab.pull()
    with harmless(lab, runs=1):
        done = lab.tells(lab.author, pull, body)
    assert done.codes == ["within-limits"]
    answered(lab, pull, "is being reproduced")


@pytest.mark.slow
def test_words_of_a_comment_start_no_workflow_command(lab: Target) -> None:
    """(23) what a job prints is read by the runner."""
    pull = lab.pull()
    payload = lab.runner.said(pull, lab.author, "/reproduce quick\n::error::x\n/plan ::add-mask::x")
    done = lab.runner.handle(DISPATCH, payload)
    assert done.decide.code == 0
    assert "add-mask" in done.decide.out
    assert not any(line.startswith("::") for line in done.decide.out.splitlines())
    assert lab.dispatched() == []


# --- (24) to (34): who, and where -----------------------------------------------------------------

Play: TypeAlias = Callable[[Target], Reaction]


@dataclass(frozen=True)
class Attack:
    """
    One row: what is done, and what comes of it.

    Attributes:
        name: with the number of the list.
        play: does it, on a lab without a pull request.
        code: the reason.
        says: in the one answer; "" means that there is none.
        runs: how many are sent off in all.
    """

    name: str
    play: Play
    code: str
    says: str = ""
    runs: int = 0


def table(rows: list[Attack]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


def play(lab: Target, row: Attack) -> None:
    done = row.play(lab)
    assert row.code in (done.code, *done.codes), done
    assert len(lab.dispatched()) == row.runs
    assert len(done.runs) <= row.runs
    # a report comes with a run's end only, and nothing else is ever written
    assert not any(ref.startswith("refs/heads/rpac") for ref in lab.refs())
    said = [c.body for c in lab.hub.main.comments.values() if is_own(c.body)]
    if row.says:
        assert [a for a in said if row.says in a], said
    else:
        assert said == []
    assert len(said) <= len([c for c in lab.hub.main.comments.values() if not is_own(c.body)])


def by(role: str | None, body: str = "/reproduce quick", **more: Any) -> Play:
    """Somebody with a role comments on an open pull request."""

    def run(lab: Target) -> Reaction:
        return lab.tells(lab.hub.user("somebody", role=role, **more), lab.pull(), body)

    return run


def changed(**values: Any) -> Play:
    """The author asks, on a pull request whose facts are these."""

    def run(lab: Target) -> Reaction:
        pull = lab.pull()
        for name, value in values.items():
            setattr(pull, name, value)
        return lab.tells(lab.author, pull, "/reproduce quick")

    return run


def event(action: str = "created", sender: str = "", **comment: Any) -> Play:
    """The author asks, and the event says something else about it."""

    def run(lab: Target) -> Reaction:
        said = lab.hub.comment(lab.pull(), lab.author, "/reproduce quick")
        who = getattr(lab, sender) if sender else lab.author
        payload = lab.hub.event(DISPATCH, action=action, comment=said, sender=who)
        payload["comment"].update(comment)
        return lab.handle(DISPATCH, payload)

    return run


def fault(kind: str, path: str, method: str = "*", times: int = 1, **more: Any) -> Play:
    """The author asks, and something goes wrong at GitHub."""

    def run(lab: Target) -> Reaction:
        pull = lab.pull()
        lab.hub.faults.add(kind, method=method, path=path, times=times, **more)
        return lab.tells(lab.author, pull, "/reproduce quick")

    return run


def merged(lab: Target) -> Reaction:
    pull = lab.pull()
    lab.hub.merge(pull)
    return lab.tells(lab.author, pull, "/reproduce quick")


def closed(lab: Target) -> Reaction:
    pull = lab.pull()
    lab.hub.close(pull)
    return lab.tells(lab.author, pull, "/reproduce quick")


def deleted(lab: Target) -> Reaction:
    pull = lab.pull()
    said = lab.hub.comment(pull, lab.author, "/reproduce quick")
    payload = lab.hub.event(DISPATCH, comment=said)
    lab.hub.delete_comment(said)
    return lab.handle(DISPATCH, payload)


def recycled(lab: Target) -> Reaction:
    """Somebody gives up a login, and a person with more rights takes it."""
    pull = lab.pull()
    stranger = lab.hub.user("drifter", role=None)
    payload = lab.runner.said(pull, stranger, "/reproduce quick")
    lab.hub.rename(stranger, "drifter-before")
    lab.hub.user("drifter", role="admin")
    return lab.handle(DISPATCH, payload)


def on_an_issue(lab: Target) -> Reaction:
    lab.pull()  # has the experiment; the default branch does not
    return lab.tells(lab.author, lab.hub.open_issue("?", by=lab.author), "/reproduce quick")


def association(lab: Target) -> Reaction:
    """The event calls a stranger a member: that is nobody's role."""
    stranger = lab.hub.user("contributor", role=None)
    said = lab.hub.comment(lab.pull(), stranger, "/reproduce quick")
    payload = lab.hub.event(DISPATCH, comment=said)
    payload["comment"]["author_association"] = "OWNER"
    return lab.handle(DISPATCH, payload)


def forked(lab: Target, files: dict[str, Any] | None = None, **more: Any) -> Any:
    """A pull request from a stranger's fork."""
    outsider = lab.hub.user("contributor", role=None)
    fork = lab.hub.fork(outsider)
    lab.hub.push("idea", files or dict(QUICK_FILES), "Add an experiment", repository=fork)
    return lab.hub.open_pull("idea", by=outsider, fork=fork, **more)


def in_a_fork(body: str = "/reproduce quick", who: str = "author", **more: Any) -> Play:
    return lambda lab: lab.tells(
        getattr(lab, who) if who != "outsider" else lab.hub.user("contributor"),
        forked(lab, **more), body,
    )  # fmt: skip


def fork_deleted(lab: Target) -> Reaction:
    pull = forked(lab)
    lab.hub.delete_repository(pull.head_repository)
    return lab.tells(lab.author, pull, "/reproduce quick")


def through_an_app(lab: Target) -> Reaction:
    lab.hub.token({"issues": "write"}, app="helper")
    return lab.tells(lab.hub.user("helper[bot]"), lab.pull(), "/reproduce quick")


def other_event(name: str) -> Play:
    def run(lab: Target) -> Reaction:
        payload = lab.runner.said(lab.pull(), lab.author, "/reproduce quick")
        return lab.handle(name, payload)

    return run


WHO = [
    Attack("24 person who may read", by("read"), "role-too-low", "needs the role"),
    Attack("24 stranger", by(None), "role-too-low", "needs the role"),
    Attack("24 triage runs nothing", by("triage"), "role-too-low", "needs the role write"),
    Attack("24 write approves nothing", by("write", "/approve 0123456789abcdef"), "role-too-low",
           "needs the role maintain"),
    Attack("24 write accepts nothing", by("write", "/accept 20260101T000000Z-00000000"),
           "role-too-low", "needs the role maintain"),
    Attack("24 stranger cancels nothing", by(None, "/cancel 20260101T000000Z-00000000"),
           "role-too-low", "needs the role"),
    Attack("25 association is no role", association, "role-too-low", "needs the role"),
    Attack("26 edited", event("edited"), "action-not-handled"),
    Attack("26 deleted", event("deleted"), "action-not-handled"),
    Attack("27 edited by a maintainer", event("edited", "maintainer"), "action-not-handled"),
    Attack("27 sender is another one", event("created", "maintainer"), "sender-differs"),
    Attack("29 bot account", by("admin", type="Bot"), "bot"),
    Attack("29 organization", by("admin", type="Organization"), "bot"),
    Attack("29 comment by a GitHub App", through_an_app, "bot"),
    Attack("29 person through a GitHub App", event(performed_via_github_app={"id": 5}), "bot"),
    Attack("30 login has another owner now", recycled, "role-unreadable", "comment again"),
    Attack("31 organization's own role", by("watcher:read"), "role-too-low", "needs the role"),
    Attack("31 permission 404", fault("404", "*/permission"), "role-unreadable", "did not say"),
    Attack("31 permission 403", fault("403", "*/permission"), "role-unreadable", "did not say"),
    Attack("31 permission 500", fault("500", "*/permission", times=9), "role-unreadable",
           "did not say"),
    Attack("31 permission is not JSON", fault("garbage", "*/permission", times=9),
           "role-unreadable", "did not say"),
    Attack("32 plain issue", on_an_issue, "failed", "there is no experiment"),
    Attack("33 closed", closed, "pull-closed", "the pull request is closed"),
    Attack("33 merged", merged, "pull-closed", "the pull request is closed"),
    Attack("33 locked", changed(locked=True), "locked", "locked"),
    Attack("33 draft of a fork", in_a_fork(draft=True), "draft-fork", "a draft from a fork"),
    Attack("34 review comment", other_event("pull_request_review_comment"), "event-not-handled"),
    Attack("34 review", other_event("pull_request_review"), "event-not-handled"),
    Attack("34 comment on a commit", other_event("commit_comment"), "event-not-handled"),
    Attack("34 pull_request_target", other_event("pull_request_target"), "event-not-handled"),
    Attack("fork: its author runs nothing", in_a_fork(who="outsider"), "role-too-low",
           "needs the role"),
    Attack("fork: somebody else's word is needed", in_a_fork(), "from-fork", "It is not run yet"),
    Attack("56 fork is gone", fork_deleted, "head-repository-gone", "is gone"),
]  # fmt: skip


@table(WHO)
@pytest.mark.slow
def test_who_asks_and_where(lab: Target, row: Attack) -> None:
    play(lab, row)


# --- (35) to (47): races and approvals ------------------------------------------------------------

EVIL = {"experiments/quick/main.py": QUICK_MAIN.replace("level", "evil", 1)}


def planned(lab: Target, pull: Any = None, body: str = "/plan quick") -> tuple[Any, str]:
    """A pull request with a plan: the plan's id."""
    pull = pull or lab.pull()
    lab.tells(lab.author, pull, body)
    (ticket,) = [t for t in lab.tickets() if t["pull"] == pull.number]
    return pull, ticket["id"]


def approve(lab: Target, pull: Any, plan: str, who: str = "maintainer", **more: Any) -> Reaction:
    return lab.tells(getattr(lab, who), pull, f"/approve {plan}", **more)


def push_meanwhile(lab: Target, times: int = 1, **where: Any) -> None:
    """A push while GitHub answers what the pull request is now."""
    lab.hub.faults.add(
        "moved", method="GET", path="*/pulls/[0-9]*", times=times,
        action=lambda: lab.hub.push("topic", EVIL, "Sneak in", **where),
    )  # fmt: skip


def pushed_after_the_comment(lab: Target) -> Reaction:
    pull = lab.pull()
    push_meanwhile(lab)
    return lab.tells(lab.author, pull, "/reproduce quick")


def sha_of_before(lab: Target) -> Reaction:
    pull = lab.pull()
    asked = lab.runner.said(pull, lab.author, f"/reproduce quick sha={pull.head_sha}")
    lab.hub.push("topic", EVIL, "Sneak in")
    return lab.handle(DISPATCH, asked)


def pushed_after_the_plan(lab: Target, **how: Any) -> Reaction:
    pull, plan = planned(lab)
    lab.hub.push("topic", EVIL, "Sneak in", **how)
    return approve(lab, pull, plan)


def backdated(lab: Target) -> Reaction:
    return pushed_after_the_plan(lab, author_date=datetime(2001, 1, 1, tzinfo=UTC))


def pushed_while_approving(lab: Target) -> Reaction:
    pull, plan = planned(lab)
    push_meanwhile(lab)
    return approve(lab, pull, plan)


def forced_back(lab: Target) -> Reaction:
    """Whatever was there meanwhile: what is run is what the plan says, and nothing else."""
    pull, plan = planned(lab)
    good = pull.head_sha
    lab.hub.push("topic", EVIL, "Sneak in")
    lab.hub.force("topic", good)
    done = approve(lab, pull, plan)
    (ticket,) = lab.tickets()
    assert ticket["head"] == good
    source = lab.ledger(f"plans/{plan[:2]}/{plan}/source/")
    assert list(source.values()) == [QUICK_MAIN.encode()]
    return done


def retargeted(lab: Target) -> Reaction:
    pull, plan = planned(lab)
    lab.hub.push("release", {"VERSION": "1"}, "Release")
    pull.base_ref = "release"
    return approve(lab, pull, plan)


def approved_by_its_author(lab: Target) -> Reaction:
    lab.author = lab.maintainer
    pull, plan = planned(lab)
    return approve(lab, pull, plan)


def approved_by_who_may_not(lab: Target) -> Reaction:
    return approve(lab, *planned(lab), who="author")


def approved_twice(lab: Target) -> Reaction:
    pull, plan = planned(lab)
    assert approve(lab, pull, plan).codes == ["approved"]
    return approve(lab, pull, plan)


def approved_too_late(lab: Target) -> Reaction:
    pull, plan = planned(lab)
    later = 25 * 3600
    payload = lab.runner.said(pull, lab.maintainer, f"/approve {plan}")
    moment = datetime.now(UTC) + timedelta(seconds=later)
    payload["comment"]["created_at"] = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return lab.handle(DISPATCH, payload, later_s=later)


def elsewhere(lab: Target) -> Reaction:
    _, plan = planned(lab)
    lab.hub.push("other", {"notes.md": "x"}, "Notes")
    return approve(lab, lab.hub.open_pull("other", by=lab.author), plan)


def on_an_issue_instead(lab: Target) -> Reaction:
    _, plan = planned(lab)
    return approve(lab, lab.hub.open_issue("?", by=lab.author), plan)


def with_id(change: Callable[[str], str]) -> Play:
    def run(lab: Target) -> Reaction:
        pull, plan = planned(lab)
        return approve(lab, pull, change(plan))

    return run


def redelivered(lab: Target, **more: Any) -> Reaction:
    payload = lab.runner.said(lab.pull(), lab.author, "/reproduce quick")
    assert lab.handle(DISPATCH, payload).codes == ["within-limits"]
    return lab.handle(DISPATCH, payload, **more)


def weeks_later(lab: Target) -> Reaction:
    payload = lab.runner.said(lab.pull(), lab.author, "/reproduce quick")
    return lab.handle(DISPATCH, payload, later_s=21 * 86_400)


def tampered_ticket(change: dict[str, Any]) -> Play:
    """Somebody who can push to the ledger alters a plan under its id."""

    def run(lab: Target) -> Reaction:
        pull, plan = planned(lab)
        path = f"plans/{plan[:2]}/{plan}/ticket.json"
        ticket = json.loads(lab.ledger(path)[path])
        lab.hub.push("rpac/ledger", {path: json.dumps(ticket | change)}, "Alter")
        return approve(lab, pull, plan)

    return run


def tampered_source(lab: Target) -> Reaction:
    pull, plan = planned(lab)
    path = f"plans/{plan[:2]}/{plan}/source/main.py"
    lab.hub.push("rpac/ledger", {path: EVIL["experiments/quick/main.py"]}, "Alter")
    return approve(lab, pull, plan)


RACES = [
    Attack("35 push between comment and plan", pushed_after_the_comment, "head-moved",
           "the branch has moved"),
    Attack("35 sha= holds what was meant", sha_of_before, "sha-differs", "names another commit"),
    Attack("36 push between plan and approval", pushed_after_the_plan, "plan-stale",
           "the code has changed"),
    Attack("37 push while it is approved", pushed_while_approving, "head-moved",
           "the branch has moved"),
    Attack("38 force push back to the same commit", forced_back, "approved",
           "is being reproduced", runs=1),
    Attack("39 backdated author date", backdated, "plan-stale", "the code has changed"),
    Attack("40 base branch is another one", retargeted, "base-changed", "goes to another branch"),
    Attack("41 approved twice", approved_twice, "plan-used", "holds once", runs=1),
    Attack("42 approved by the author alone", approved_by_its_author, "own-request",
           "nobody approves their own"),
    Attack("42 approved without the role", approved_by_who_may_not, "role-too-low",
           "needs the role maintain"),
    Attack("43 redelivered", redelivered, "already-handled", "is being reproduced", runs=1),
    Attack("45 run again at once", lambda lab: redelivered(lab, attempt=2), "repeated-attempt",
           "is being reproduced", runs=1),
    Attack("45 run for the first time weeks later", weeks_later, "comment-too-old"),
    Attack("10 approved after its time", approved_too_late, "plan-expired", "is older than"),
    Attack("46 plan of another pull request", elsewhere, "plan-of-another-place",
           "another conversation"),
    Attack("46 plan of a pull request on an issue", on_an_issue_instead, "plan-of-another-place",
           "another conversation"),
    Attack("47 truncated id", with_id(lambda plan: plan[:8]), "misread", "16 lower-case hex"),
    Attack("47 guessed id", with_id(lambda plan: plan[::-1]), "unknown-plan", "no plan with"),
    Attack("47 id as a path", with_id(lambda plan: f"../{plan[3:]}"), "misread", "16 lower-case"),
    Attack("47 id in capitals", with_id(lambda _: "ABCDEF0123456789"), "misread", "16 lower-case"),
    Attack("stored plan altered", tampered_ticket({"cost_high": 0.0, "minutes": 9}), "failed",
           "the ledger has another plan"),
    Attack("stored plan is of a newer version", tampered_ticket({"schema": "rpac/plan/9"}),
           "failed", "cannot be read"),
    Attack("stored code altered", tampered_source, "plan-altered", "is not the one"),
]  # fmt: skip


@table(RACES)
@pytest.mark.slow
def test_races_and_approvals(lab: Target, row: Attack) -> None:
    play(lab, row)


@pytest.mark.slow
def test_a_push_before_the_job_began_is_what_is_run_and_that_is_said(lab: Target) -> None:
    """(35) only people who can push can have moved it; the answer names the commit."""
    pull = lab.pull()
    payload = lab.runner.said(pull, lab.author, "/reproduce quick")
    head = lab.hub.push("topic", {"notes.md": "x"}, "More")
    assert lab.handle(DISPATCH, payload).codes == ["within-limits"]
    answered(lab, pull, head[:12])
    (check,) = lab.hub.checks(head)
    assert check.name == "rpac: quick"


@pytest.mark.slow
def test_a_push_after_the_dispatch_changes_nothing_about_the_run(lab: Target) -> None:
    """(37) the job gets the code that was planned, also when the branch is somewhere else."""
    pull = lab.pull()
    (one,) = lab.tells(lab.author, pull, "/reproduce quick").runs
    lab.hub.push("topic", EVIL, "Sneak in")
    there = lab.fetched(one["run"])
    assert (there / "experiments/quick/main.py").read_text() == QUICK_MAIN


@pytest.mark.slow
def test_a_force_push_after_the_dispatch_changes_nothing_about_the_run(lab: Target) -> None:
    """(37) no branch has the commit any more."""
    pull = lab.pull()
    (one,) = lab.tells(lab.author, pull, "/reproduce quick").runs
    lab.hub.force("topic", lab.hub.push("elsewhere", EVIL, "Sneak in"))
    there = lab.fetched(one["run"])
    assert (there / "experiments/quick/main.py").read_text() == QUICK_MAIN


@pytest.mark.slow
def test_a_plan_that_is_approved_twice_in_one_comment_is_run_once(lab: Target) -> None:
    """(41)"""
    pull, plan = planned(lab)
    done = lab.tells(lab.maintainer, pull, f"/approve {plan}\n\n/approve {plan}")
    assert done.codes == ["approved", "plan-used"]
    assert len(lab.dispatched()) == len(done.runs) == 1


def at_once(*calls: Callable[[], Any]) -> None:
    """Do several things at the same time."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.slow
def test_two_jobs_that_approve_at_once_start_one_run(lab: Target) -> None:
    """(41) one is first, and the other one says so."""
    pull, plan = planned(lab)
    other = lab.hub.user("steward", role="admin")
    said = [lab.runner.said(pull, who, f"/approve {plan}") for who in (lab.maintainer, other)]
    found: list[Any] = []
    at_once(*(lambda p=p: found.append(lab.runner.handle(DISPATCH, p)) for p in said))
    assert len(lab.dispatched()) == 1
    assert sorted(len(one.runs) for one in found) == [0, 1]
    assert any("plan-used" in answer for answer in lab.answers(pull))


@pytest.mark.slow
def test_two_jobs_for_one_comment_start_one_run(lab: Target) -> None:
    """(44) a comment that was delivered twice, at the same time."""
    pull = lab.pull()
    said = lab.runner.said(pull, lab.author, "/reproduce quick")
    at_once(*[lambda: lab.runner.handle(DISPATCH, said)] * 2)
    assert len(lab.dispatched()) == 1
    answered(lab, pull, "is being reproduced")


# --- (48) to (57): what a pull request holds ------------------------------------------------------

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
GENEROUS = """\
roles: {reproduce: read, approve: read, accept: read}
auto_approve_below: 1000 USD
approval: {by_author: true}
allow: {clouds: [local, aws]}
"""

CONTENTS: list[tuple[str, dict[str, Any], str]] = [
    # number and name, what is in the pull request, what the answer says
    ("49 bomb of aliases", {EXPERIMENT: SPEC + BOMB}, "alias"),
    ("49 anchors within themselves", {EXPERIMENT: SPEC + "x: &x [*x]\n"}, EXPERIMENT),
    ("49 nested deeply", {EXPERIMENT: SPEC + "x: " + "[" * 5000 + "]" * 5000 + "\n"}, EXPERIMENT),
    ("50 python object", {EXPERIMENT: SPEC.replace("level: 7\n", "level: !!python/object/apply:"
                          "os.system ['touch owned']\n", 1)}, EXPERIMENT),
    ("51 key stands twice", {EXPERIMENT: SPEC + "title: another\n"}, "title"),
    ("52 sexagesimal", {EXPERIMENT: SPEC.replace("time: 1 min", "time: 1:30")}, EXPERIMENT),
    ("53 specification of 4 MB", {EXPERIMENT: SPEC + "# x\n" * 2**20}, EXPERIMENT),
    ("54 specification is a link outside", {EXPERIMENT: Special("120000", "/etc/passwd")},
     "link"),
    ("54 specification is a link up", {EXPERIMENT: Special("120000", "../../../etc/passwd")},
     "no experiment"),
    ("54 source is a link", {"experiments/quick/x": Special("120000", "/etc/passwd")}, "link"),
    ("54 folder is a link", {EXPERIMENT: None, "experiments/quick/main.py": None,
                             "experiments/quick": Special("120000", "/etc")}, "no experiment"),
    ("55 source is a submodule", {"experiments/quick/lib": Special("160000", "1" * 40)},
     "submodule"),
    ("55 experiment is a submodule", {EXPERIMENT: None, "experiments/quick/main.py": None,
                                      "experiments/quick": Special("160000", "1" * 40)},
     "no experiment"),
    ("57 image without a digest", {EXPERIMENT: SPEC + "environment: {image: python:3.12}\n"},
     "image"),
    ("14 source outside", {EXPERIMENT: SPEC + "source: [../../.github]\n"}, "a path inside"),
    ("14 absolute source", {EXPERIMENT: SPEC + "source: [/etc]\n"}, "a path inside"),
    ("14 output outside", {EXPERIMENT: SPEC.replace("[metrics.json]", "[../x]")}, "a path inside"),
    ("not text", {EXPERIMENT: b"\xff\xfe\0\0"}, EXPERIMENT),
    ("empty", {EXPERIMENT: ""}, EXPERIMENT),
    ("shell instead of a list", {EXPERIMENT: SPEC.replace('[python, main.py, "{args.level}", '
                                 '"{outputs}"]', "touch owned")}, "expected a valid list"),
    ("two experiments with one id", {"experiments/quick.yaml": SPEC}, "also stands in"),
    ("id of another one", {EXPERIMENT: SPEC.replace("id: quick", "id: slow")}, EXPERIMENT),
    ("added and deleted again", {EXPERIMENT: None, "experiments/quick/main.py": None},
     "there is no experiment"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "says"), [row[1:] for row in CONTENTS], ids=[row[0] for row in CONTENTS]
)
def test_contents_of_a_pull_request(lab: Target, files: dict[str, Any], says: str) -> None:
    lab.pull()
    lab.hub.push("topic", files, "Change it")
    (pull,) = lab.hub.main.pulls
    with harmless(lab):
        done = lab.tells(lab.author, pull, "/reproduce quick")
    assert done.codes == ["failed"]
    answered(lab, pull, says)
    assert "root:" not in lab.answers(pull)[0]
    assert not list(lab.root.rglob("owned"))


@pytest.mark.slow
def test_settings_of_a_pull_request_are_shown_and_not_obeyed(lab: Target) -> None:
    """(48)"""
    pull = lab.pull({**QUICK_FILES, "rpac.yaml": GENEROUS})
    checked = lab.handle("pull_request", lab.hub.pull_event(pull, "opened", lab.author))
    assert "until it is merged, the default branch's settings hold" in checked.message
    with harmless(lab):
        assert lab.tells(lab.reader, pull, "/reproduce quick").codes == ["role-too-low"]
        assert lab.tells(lab.author, pull, "/reproduce quick cloud=aws").codes == [
            "cloud-not-allowed"
        ]


@pytest.mark.slow
def test_settings_of_a_fork_are_not_obeyed(lab: Target) -> None:
    """(48)"""
    pull = forked(lab, {**QUICK_FILES, "rpac.yaml": GENEROUS})
    outsider = lab.hub.user("contributor")
    assert lab.tells(outsider, pull, "/reproduce quick").codes == ["role-too-low"]
    _, plan = planned(lab, pull, "/reproduce quick")
    assert lab.tells(outsider, pull, f"/approve {plan}").codes == ["role-too-low"]
    assert lab.dispatched() == []


SETTINGS: list[tuple[str, Content | None, str, str]] = [
    # what rpac.yaml of the default branch is, the reason, what the answer says
    ("77 missing", None, "within-limits", "is being reproduced"),
    ("empty", "", "within-limits", "is being reproduced"),
    ("unknown key", "budget: {run: 5 USD}\n", "settings-unreadable", "budget"),
    ("newer version", "schema: rpac/site/2\n", "settings-unreadable", "or update rpac"),
    ("no mapping", "- a\n", "settings-unreadable", "rpac.yaml"),
    ("key stands twice", "enabled: false\nenabled: true\n", "settings-unreadable", "enabled"),
    ("no text", b"\xff\xfe\0", "settings-unreadable", "rpac.yaml"),
    ("bomb of aliases", BOMB, "settings-unreadable", "rpac.yaml"),
    ("enabled is a word", "enabled: 'no'\n", "settings-unreadable", "enabled"),
    ("roles nobody has", "roles: {reproduce: owner}\n", "settings-unreadable", "reproduce"),
    ("switched off", "enabled: false\n", "disabled", "switched the bot off"),
    ("clouds: none", "allow: {clouds: []}\n", "cloud-not-allowed", "is not allowed here"),
    ("a link", Special("120000", "/etc/passwd"), "settings-unreadable", "rpac.yaml"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code", "says"), [row[1:] for row in SETTINGS], ids=[row[0] for row in SETTINGS]
)
def test_settings_of_the_default_branch(lab: Target, text: Any, code: str, says: str) -> None:
    if text is not None:
        lab.hub.push("main", {"rpac.yaml": text}, "Settings")
    pull = lab.pull()
    with harmless(lab, runs=int(code == "within-limits")):
        assert lab.tells(lab.author, pull, "/reproduce quick").codes == [code]
    answered(lab, pull, says)


@pytest.mark.slow
def test_words_that_yaml_once_took_for_something_else(lab: Target) -> None:
    """(52) Norway stays a country, and a time stays a text."""
    args = "args:\n  level: 7\n  country: no\n  start: 12:30:45\n"
    pull = lab.pull({**QUICK_FILES, EXPERIMENT: SPEC.replace("args:\n  level: 7\n", args)})
    assert lab.tells(lab.author, pull, "/reproduce quick").codes == ["within-limits"]
    (pipeline,) = [c for p, c in lab.ledger("plans/").items() if p.endswith("pipeline.yaml")]
    assert b'"value": "no"' in pipeline or b'"no"' in pipeline
    assert b'"12:30:45"' in pipeline


@pytest.mark.slow
def test_a_source_that_is_too_large_is_refused(lab: Target) -> None:
    """(53)"""
    pull = lab.pull({**QUICK_FILES, "experiments/quick/big.bin": b"\0" * (33 * 2**20)})
    with harmless(lab):
        assert lab.tells(lab.author, pull, "/reproduce quick").codes == ["failed"]
    answered(lab, pull, "33 MiB")


# --- (58) to (60): what a job hands over ----------------------------------------------------------

Tamper: TypeAlias = Callable[[dict[str, Any], Path], None]


@dataclass
class Real:
    """What a real run handed over, as a pattern for those that are tampered with."""

    document: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    root = tmp_path_factory.mktemp("real")
    with GitHubServer(root / "github") as server:
        lab = Target(server, root)
        payload = lab.runner.said(lab.pull(), lab.author, "/reproduce quick")
        (one,) = lab.handle(DISPATCH, payload).runs
        folder = lab.runner.run_job(one["run"], payload, 1)
    assert folder is not None
    return Real(json.loads((folder / "handover.json").read_text()), folder)


def collected(document: dict[str, Any]) -> dict[str, Any]:
    """What the job says of its outputs."""
    found: dict[str, Any] = next(
        event["body"]["result"]
        for event in document["events"]
        if event["kind"] == "done" and event["body"]["step"] == "collect"
    )
    return found


def another_output(path: str, content: bytes = b"x", link: str = "") -> Tamper:
    def tamper(document: dict[str, Any], folder: Path) -> None:
        name = hashlib.sha256(content).hexdigest()
        found = collected(document)
        found["outputs"].append({**found["outputs"][0], "path": path, "sha256": name,
                                 "size": len(content)})  # fmt: skip
        if link:
            (folder / "outputs" / name).symlink_to(link)
        else:
            (folder / "outputs" / name).write_bytes(content)

    return tamper


def with_result(**values: Any) -> Tamper:
    return lambda document, _: collected(document).update(values)


def other_run(document: dict[str, Any], _: Path) -> None:
    document["run"] = "20260101T000000Z-00000000"


def another_event(kind: str, body: dict[str, Any], at: str = "") -> Tamper:
    def tamper(document: dict[str, Any], _: Path) -> None:
        last = document["events"][-1]
        document["events"].append({"kind": kind, "at": at or last["at"], "body": body})

    return tamper


def written(content: bytes) -> Tamper:
    return lambda document, _: document.update(raw=content)


def linked(document: dict[str, Any], _: Path) -> None:
    document["link"] = "/etc/passwd"


def failing(document: dict[str, Any], _: Path) -> None:
    """A log that wants to be more than a log."""
    log = "::add-mask::x\n````\n</details>\n@everyone\n\n/reproduce quick\n"
    collected(document).update(exit_code=3, log_tail=log)
    for event in document["events"]:
        if event["kind"] == "done" and event["body"]["step"] == "watch":
            message = "::set-output::x @everyone | ${{ github.token }} <b>"
            event["body"]["result"].update(reason="command failed", message=message)


SCRIPT = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HANDLER = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>'
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>'
LOST = "runner lost"

HANDOVERS: list[tuple[str, Tamper, str]] = [
    # number and name, what the job's machine does to its results, what the comment says
    ("58 output named ..", another_output(".."), LOST),
    ("58 output outside", another_output("../../../.github/workflows/x.yml"), LOST),
    ("58 absolute output", another_output("/etc/x"), LOST),
    ("58 newline in a name", another_output("a\n::error::b"), LOST),
    ("58 output twice", another_output("metrics.json"), LOST),
    ("59 results of a previous run", other_run, "those of another run"),
    ("59 first event again", another_event("created", {}), "a job cannot say"),
    ("59 end of the run", another_event("committed", {}), "a job cannot say"),
    ("59 verdict of its own", with_result(verdict="reproduced"), "do not fit the schema"),
    ("60 SVG with a script", another_output("figures/a.svg", SCRIPT), "reproduced: identical"),
    ("60 SVG with a handler", another_output("figures/a.SVG", HANDLER), "reproduced: identical"),
    ("output is a link", another_output("figures/a.png", link="/etc/passwd"), "identical"),
    ("22 23 log with commands", failing, "inconclusive (run failed)"),
    ("document is a link", linked, LOST),
    ("more than 8 MiB", written(b" " * (8 * 2**20 + 1)), "more than 8 MiB"),
    ("20 NaN", with_result(metrics={"level": {"value": float("nan")}}), LOST),
    ("66 nested deeply", written(b"[" * 100_000), "not JSON"),
    ("66 key stands twice", written(b'{"run": 1, "run": 2}'), LOST),
    ("not text", written(b"\xff\xfe"), "not JSON"),
    ("76 times of another year", another_event("cancel", {"why": "x"}, "2031-01-01T00:00:00.000Z"),
     "a time that cannot be"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tamper", "says"), [row[1:] for row in HANDOVERS], ids=[row[0] for row in HANDOVERS]
)
def test_what_a_job_hands_over(
    lab: Target, real: Real, tmp_path: Path, tamper: Tamper, says: str
) -> None:
    pull = lab.pull()
    (one,) = lab.tells(lab.author, pull, "/reproduce quick").runs
    before = lab.refs()
    lab.conclude(one, tampered(real, tmp_path, one["run"], tamper))
    answered(lab, pull, says)
    (answer,) = lab.answers(pull)
    assert "\n@everyone" not in answer.replace("\n````\n</details>\n@everyone", "")
    changed_refs = {r for r in {*before, *lab.refs()} if before.get(r) != lab.refs().get(r)}
    assert changed_refs <= {"refs/heads/rpac/log", "refs/heads/topic", "refs/pull/1/head"}
    folder = f"reports/quick/{one['run'][:4]}-{one['run'][4:6]}/{one['run']}/"
    for branch in ("rpac/log", "topic"):
        added = set(lab.hub.files(branch)) - set(QUICK_FILES) - {"README.md"}
        assert added
        assert all(path.startswith(folder) for path in added)
        everything = b"".join(lab.hub.files(branch, folder).values())
        assert b"alert(1)" not in everything
        assert b"root:x:" not in everything


def tampered(real: Real, place: Path, run: str, tamper: Tamper) -> Path:
    """Results of a run, after somebody had them."""
    folder = place / "results"
    (folder / "outputs").mkdir(parents=True)
    for path in (real.folder / "outputs").iterdir():
        (folder / "outputs" / path.name).write_bytes(path.read_bytes())
    document = json.loads(json.dumps(real.document)) | {"run": run}
    tamper(document, folder)
    file = folder / "handover.json"
    if link := document.pop("link", ""):
        file.symlink_to(link)
    else:
        file.write_bytes(document.pop("raw", None) or json.dumps(document).encode())
    return folder


def unchanged(document: dict[str, Any], _: Path) -> None:
    """The job's machine did nothing to its results."""


@pytest.mark.slow
def test_a_still_drawing_is_kept(lab: Target, real: Real, tmp_path: Path) -> None:
    """(60) the other side of the rule."""
    (one,) = lab.tells(lab.author, lab.pull(), "/reproduce quick").runs
    lab.conclude(
        one, tampered(real, tmp_path, one["run"], another_output("figures/a.svg", DRAWING))
    )
    assert DRAWING in lab.hub.files("rpac/log").values()


@pytest.mark.slow
def test_a_run_is_judged_once(lab: Target, real: Real, tmp_path: Path) -> None:
    """(59) a second conclusion, with better results, changes nothing."""
    (one,) = lab.tells(lab.author, lab.pull(), "/reproduce quick").runs
    lab.conclude(one, None)
    before = lab.hub.files("rpac/log")
    lab.conclude(one, tampered(real, tmp_path, one["run"], unchanged))
    assert lab.hub.files("rpac/log") == before
    assert "could not run" in lab.answers(lab.hub.main.pulls[0])[0]


@pytest.mark.slow
def test_a_job_does_not_say_what_it_cost(lab: Target, real: Real, tmp_path: Path) -> None:
    """A price would let it eat up everybody's budget."""

    def expensive(document: dict[str, Any], _: Path) -> None:
        document["events"][-1]["body"]["result"]["cost_usd"] = 1e6

    (one,) = lab.tells(lab.author, lab.pull(), "/reproduce quick").runs
    lab.conclude(one, tampered(real, tmp_path, one["run"], expensive))
    (settled,) = [c for p, c in lab.ledger("runs/").items() if p.endswith("settled.json")]
    assert json.loads(settled)["cost_usd"] == 0.0


# --- (65), (66): the event's file -----------------------------------------------------------------

EVENTS = [
    ("65 unknown event", "workflow_run", b"{}", "event-not-handled"),
    ("65 push", "push", b"{}", "event-not-handled"),
    ("66 empty", DISPATCH, b"", "event-not-json"),
    ("66 no JSON", DISPATCH, b"{", "event-not-json"),
    ("66 no text", DISPATCH, b"\xff\xfe", "event-not-json"),
    ("66 NaN", DISPATCH, b'{"action": NaN}', "event-not-json"),
    ("66 list", DISPATCH, b"[]", "event-malformed"),
    ("66 nested deeply", DISPATCH, b"[" * 200_000, "event-too-deep"),
    ("66 key stands twice", DISPATCH, b'{"action": "x", "action": "created"}',
     "event-duplicate-key"),
    ("66 number of many digits", DISPATCH, b'{"action": ' + b"9" * 5000 + b"}", "event-not-json"),
    ("64 30 MB", DISPATCH, b" " * 30_000_000, "event-too-large"),
    ("63 form", DISPATCH, b"payload=%7B%7D", "event-not-json"),
    ("no comment", DISPATCH, b'{"action": "created"}', "event-malformed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "raw", "code"), [row[1:] for row in EVENTS], ids=[row[0] for row in EVENTS]
)
def test_events_of_every_shape(talk: tuple[Target, Any], name: str, raw: bytes, code: str) -> None:
    lab, pull = talk
    said, asked = len(lab.answers(pull)), len(lab.hub.counted())
    with harmless(lab):
        done = lab.handle(name, lab.hub.schedule_event(), raw=raw)
    assert done.code == code
    assert len(lab.answers(pull)) == said
    assert len([r for r in lab.hub.counted("api")[asked:] if r]) == 0


def dispatched_by(role: str | None, command: str = "reproduce quick", **more: Any) -> Play:
    """A command without a comment, by somebody with a role."""

    def run(lab: Target) -> Reaction:
        lab.hub.push("main", dict(QUICK_FILES), "Add an experiment")
        who = lab.hub.user("somebody", role=role)
        event = lab.hub.dispatch_event(command, sender=who, **more)
        return lab.handle("workflow_dispatch" if "payload" not in more else "repository_dispatch",
                          event)  # fmt: skip

    return run


DISPATCHES = [
    Attack("role too low", dispatched_by("read"), "role-too-low"),
    Attack("another branch", dispatched_by("admin", ref="refs/heads/topic"), "not-default-branch"),
    Attack("other type", dispatched_by("admin", payload={"command": "help"}, event_type="x"),
           "action-not-handled"),
    Attack("more than a command", dispatched_by("admin", payload={"command": "help", "sha": "1"}),
           "event-malformed"),
    Attack("not a command", dispatched_by("admin", "rm -rf /"), "misread"),
    Attack("no words", dispatched_by("admin", " "), "event-malformed"),
    Attack("two lines", dispatched_by("admin", "help\nreproduce quick"), "misread"),
]  # fmt: skip


@table(DISPATCHES)
@pytest.mark.slow
def test_commands_without_a_comment(lab: Target, row: Attack) -> None:
    play(lab, row)


# --- (68) to (79): GitHub and git that fail -------------------------------------------------------


def unstored(lab: Target) -> Reaction:
    pull = lab.pull()
    lab.hub.faults.add("push-rejected", times=5)
    done = lab.tells(lab.author, pull, "/plan quick")
    assert "/approve" not in done.message
    return done


def moved_ledger(lab: Target) -> Reaction:
    """Five other writers are first, one after the other."""
    pull = lab.pull()
    lab.hub.push("rpac/ledger", {"comments/2026-01/1.json": "{}"}, "Another writer")
    numbers = iter(range(2, 100))

    def another() -> None:
        lab.hub.push("rpac/ledger", {f"comments/2026-01/{next(numbers)}.json": "{}"}, "Again")

    lab.hub.faults.add("moved", method="GET", path="*/info/refs", times=5, skip=1, action=another)
    return lab.tells(lab.author, pull, "/reproduce quick")


def unreadable_entry(lab: Target) -> Reaction:
    """The ledger has something under this comment that is no document."""
    pull = lab.pull()
    said = lab.hub.comment(pull, lab.author, "/reproduce quick")
    path = f"comments/{said.created_at:%Y-%m}/{said.id}.json"
    lab.hub.push("rpac/ledger", {path: "garbage"}, "Garbage")
    return lab.handle(DISPATCH, lab.hub.event(DISPATCH, comment=said))


def clock(seconds: float) -> Play:
    return lambda lab: lab.tells(lab.author, lab.pull(), "/reproduce quick", later_s=seconds)


def cancelling(kind: str) -> Play:
    def run(lab: Target) -> Reaction:
        pull = lab.pull()
        (one,) = lab.tells(lab.author, pull, "/reproduce quick").runs
        lab.hub.faults.add(kind, path="*/cancel", times=9)
        return lab.tells(lab.author, pull, f"/cancel {one['run']}")

    return run


FAULTS = [
    Attack("68 502 after the comment was made", fault("502-after", "*/issues/*/comments", "POST"),
           "within-limits", "is being reproduced", runs=1),
    Attack("68 hung up after the comment was made", fault("drop-after", "*/issues/*/comments",
           "POST"), "within-limits", "is being reproduced", runs=1),
    Attack("68 502 after the answer was made",
           lambda lab: (lab.hub.faults.add("502-after", path="*/comments", method="POST"),
                        by("write", "/help")(lab))[1], "admitted", "/reproduce"),
    Attack("68 502 after the check was made", fault("502-after", "*/check-runs", "POST"),
           "within-limits", "is being reproduced", runs=1),
    Attack("69 secondary limit at the comment", fault("403-secondary", "*/comments", "POST", 2),
           "within-limits", "is being reproduced", runs=1),
    Attack("69 comment cannot be made at all", fault("500", "*/issues/*/comments", times=9),
           "within-limits", runs=1),
    Attack("70 reaction 403", fault("403", "*/reactions"), "within-limits", "is being reproduced",
           runs=1),
    Attack("70 reaction 500", fault("500", "*/reactions", times=9), "within-limits",
           "is being reproduced", runs=1),
    Attack("pull request 500", fault("500", "*/pulls/1", times=9), "failed", "500"),
    Attack("pull request is not JSON", fault("garbage", "*/pulls/1", times=9), "failed",
           "not JSON"),
    Attack("71 ledger is refused", fault("push-rejected", "*", times=5), "failed", "refuses"),
    Attack("71 plan that could not be stored is not offered", unstored, "failed", "refuses"),
    Attack("71 ledger moves five times", moved_ledger, "within-limits", "is being reproduced",
           runs=1),
    Attack("71 git is not there", fault("500", "*/info/refs", times=9, skip=1), "failed",
           "could not be done"),
    Attack("72 entry of the ledger that cannot be read", unreadable_entry, "failed",
           "cannot be read"),
    Attack("74 the ledger's answer is lost", fault("drop-after", "*/git-receive-pack"),
           "within-limits", "is being reproduced", runs=1),
    Attack("75 cancelling is denied", cancelling("403"), "failed", "403", runs=1),
    Attack("76 clock 2 minutes behind", clock(-120), "within-limits", "is being reproduced",
           runs=1),
    Attack("76 clock 10 minutes behind", clock(-600), "comment-too-old"),
    Attack("76 clock 3 days ahead", clock(3 * 86_400), "comment-too-old"),
]  # fmt: skip


@pytest.mark.slow
@table(FAULTS)
def test_github_and_git_that_fail(lab: Target, row: Attack) -> None:
    play(lab, row)


ENDS = [
    ("69 secondary limit at the update", "403-secondary", "*/issues/comments/*", "PATCH", 2),
    ("68 502 after the update", "502-after", "*/issues/comments/*", "PATCH", 1),
    ("check 500", "500", "*/check-runs/*", "PATCH", 9),
    ("pull request 500", "500", "*/pulls/1", "GET", 9),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", ENDS, ids=[row[0] for row in ENDS])
def test_the_end_of_a_run_is_told_whatever_fails(lab: Target, row: tuple[Any, ...]) -> None:
    pull = lab.pull()
    (one,) = lab.tells(lab.author, pull, "/reproduce quick").runs
    _, kind, path, method, times = row
    lab.hub.faults.add(kind, path=path, method=method, times=times)
    lab.conclude(one, None)
    answered(lab, pull, "could not run")
    assert any(one["run"] in path for path in lab.hub.files("rpac/log"))


@pytest.mark.slow
def test_a_comment_that_was_deleted_is_written_again(lab: Target) -> None:
    pull = lab.pull()
    (one,) = lab.tells(lab.author, pull, "/reproduce quick").runs
    (said,) = [c for c in lab.hub.comments(pull) if is_own(c.body)]
    lab.hub.delete_comment(said)
    lab.conclude(one, None)
    answered(lab, pull, "could not run")


@pytest.mark.slow
def test_a_comment_that_is_deleted_before_the_job_begins_is_answered_once(lab: Target) -> None:
    """(28) it was asked for by somebody who may; the answer says what goes on."""
    assert deleted(lab).codes == ["within-limits"]
    (pull,) = lab.hub.main.pulls
    answered(lab, pull, "is being reproduced")


@pytest.mark.slow
def test_two_timers_conclude_a_lost_run_once(lab: Target) -> None:
    """(79)"""
    pull = lab.pull()
    lab.tells(lab.author, pull, "/reproduce quick")
    timer = lab.hub.schedule_event()
    at_once(*[lambda: lab.runner.handle("schedule", timer, later_s=100_000)] * 2)
    answered(lab, pull, "could not run")
    assert len([p for p in lab.hub.files("rpac/log") if p.endswith("record.json")]) == 1


RIGHTS = [
    # right that the job's token lacks, what the answer or the job's log says
    ("contents", "contents"),
    ("pull_requests", "pull-requests"),
    ("checks", "checks: write"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("right", "says"), RIGHTS, ids=[row[0] for row in RIGHTS])
def test_a_right_that_is_missing_is_named(lab: Target, right: str, says: str) -> None:
    lab.runner.rights = {**lab.runner.rights, right: "read"}
    if right == "pull_requests":
        lab.runner.rights["issues"] = "read"
    pull = lab.pull()
    done = lab.tells(lab.author, pull, "/reproduce quick")
    assert says in "\n".join([done.message, done.log, *lab.answers(pull)])


# --- (81): forged records -------------------------------------------------------------------------


def concluded(lab: Target) -> tuple[str, str]:
    """A run that is in the log, and its folder."""
    (one,) = lab.tells(lab.author, lab.pull(), "/reproduce quick").runs
    lab.conclude(one, None)
    run = one["run"]
    return run, f"reports/quick/{run[:4]}-{run[4:6]}/{run}"


def forge(lab: Target, ref: str, files: dict[str, Any], *, parent: bool = False) -> None:
    """Somebody who can push puts files into the inbox, as a commit of its own."""
    bare = lab.hub.main.bare
    author = ("Forger", "forger@example.org")
    if not parent:
        tree = bare.git("hash-object", "-t", "tree", "-w", "--stdin").decode().strip()
        root = bare.git("commit-tree", tree, "-m", "x").decode().strip()
        bare.set_ref("refs/heads/forged", root)
    bare.write("forged", files, "Forged", author, datetime.now(UTC), bare.ref("refs/heads/main"))
    made = bare.ref("refs/heads/forged")
    assert made is not None
    if not parent:
        tree = bare.git("rev-parse", f"{made}^{{tree}}").decode().strip()
        made = bare.git("commit-tree", tree, "-m", "Forged").decode().strip()
    bare.set_ref(ref, made)
    bare.set_ref("refs/heads/forged", None)


def better(content: bytes) -> bytes:
    """The record of a run that could not run, as its author would like it."""
    return content.replace(b'"could not run"', b'"reproduced: identical"')


FORGED = [
    ("81 record of another verdict", "refs/rpac/conflict/"),
    ("81 paths outside", "refs/rpac/quarantine/"),
    ("81 workflow among the files", "refs/rpac/quarantine/"),
    ("81 commit with parents", "refs/rpac/quarantine/"),
    ("81 file that is a link", "refs/rpac/quarantine/"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kept"), FORGED, ids=[row[0] for row in FORGED])
def test_forged_records_in_the_inbox(lab: Target, name: str, kept: str) -> None:
    run, folder = concluded(lab)
    before = lab.hub.files("rpac/log")
    files: dict[str, Any] = {p: c for p, c in before.items() if p.startswith(folder)}
    files[f"{folder}/record.json"] = better(before[f"{folder}/record.json"])
    assert files[f"{folder}/record.json"] != before[f"{folder}/record.json"]
    if name == "81 paths outside":
        files = {"README.md": "x"}
    elif name == "81 workflow among the files":
        files[".github/workflows/x.yml"] = "on: push\n"
    elif name == "81 file that is a link":
        files[f"{folder}/report.md"] = Special("120000", "/etc/passwd")
    forge(lab, f"refs/rpac/inbox/{run}", files, parent="parents" in name)
    lab.handle("schedule", lab.hub.schedule_event())
    assert lab.hub.files("rpac/log") == before
    assert lab.hub.main.bare.refs(kept)
    assert not lab.hub.main.bare.refs("refs/rpac/inbox/")


@pytest.mark.slow
def test_a_forged_run_is_called_unverified(lab: Target) -> None:
    """(81) a run that was never sent off may be there, but not as one of the bot's."""
    run, folder = concluded(lab)
    other = f"{run[:-8]}{'0' * 8}"
    copied = {
        path.replace(run, other): content.replace(run.encode(), other.encode())
        for path, content in lab.hub.files("rpac/log").items()
        if path.startswith(folder)
    }
    forge(lab, f"refs/rpac/inbox/{other}", copied)
    lab.handle("schedule", lab.hub.schedule_event())
    terminal = lab.clone()
    terminal("fetch")
    rows = {r["run"]: r["origin"] for r in terminal("history", "--json").json}
    assert rows == {run: "bot", other: "unverified"}


REPORTS = [
    # what a pull request does below reports/, what the check says
    ("81 invents a run", "{folder}0/record.json", "{}", "no run in the log has this file"),
    ("81 alters a record", "{folder}/record.json", "{}", "this is not what the log has"),
    ("81 alters a report", "{folder}/report.md", "fine", "this is not what the log has"),
    ("81 removes a record", "{folder}/record.json", None, "a report of the log is removed"),
    ("81 links", "{folder}/report.md", Special("120000", "/etc/passwd"), "not a regular file"),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", REPORTS, ids=[row[0] for row in REPORTS])
def test_forged_reports_in_a_pull_request(lab: Target, row: tuple[Any, ...]) -> None:
    _, folder = concluded(lab)
    (pull,) = lab.hub.main.pulls
    lab.hub.merge(pull)
    _, path, content, says = row
    lab.hub.push("forge", {path.format(folder=folder): content}, "Forge")
    forged = lab.hub.open_pull("forge", by=lab.author)
    done = lab.handle("pull_request", lab.hub.pull_event(forged, "opened", lab.author))
    assert done.code == "invalid"
    assert says in done.message
    (check,) = lab.hub.checks(forged.head_sha)
    assert check.conclusion == "failure"


# --- what else a repository may be ----------------------------------------------------------------


@pytest.mark.slow
def test_many_files_are_all_looked_at(lab: Target) -> None:
    """300 files on several pages; the experiment is among the last."""
    files: dict[str, Any] = {f"a/{number:03}.txt": "x" for number in range(300)}
    pull = lab.pull({**files, **QUICK_FILES})
    done = lab.handle("pull_request", lab.hub.pull_event(pull, "opened", lab.author))
    assert done.code == "valid"
    assert "/reproduce quick" in done.message
    assert lab.tells(lab.author, pull, "/reproduce quick").codes == ["within-limits"]


@pytest.mark.slow
def test_an_experiment_that_is_added_and_deleted_again(lab: Target) -> None:
    lab.pull()
    lab.hub.push("topic", {EXPERIMENT: None, "experiments/quick/main.py": None}, "No, rather not")
    (pull,) = lab.hub.main.pulls
    done = lab.handle("pull_request", lab.hub.pull_event(pull, "synchronize", lab.author))
    assert (done.code, done.message) == ("valid", "No experiment is changed.")


@pytest.mark.slow
def test_two_experiments_with_one_id_are_told_by_the_check(lab: Target) -> None:
    pull = lab.pull({**QUICK_FILES, "experiments/quick.yaml": SPEC})
    done = lab.handle("pull_request", lab.hub.pull_event(pull, "opened", lab.author))
    assert done.code == "invalid"
    assert "also stands in" in done.message


@pytest.mark.slow
def test_a_branch_that_is_deleted_while_the_run_goes_on(
    lab: Target, real: Real, tmp_path: Path
) -> None:
    pull = lab.pull()
    (one,) = lab.tells(lab.author, pull, "/reproduce quick").runs
    lab.hub.delete_branch("topic")
    lab.conclude(one, tampered(real, tmp_path, one["run"], unchanged))
    answered(lab, pull, "on `rpac/log` only: the pull request is closed")
    assert lab.hub.sha("topic") is None


@pytest.mark.slow
def test_a_default_branch_of_another_name(lab: Target) -> None:
    lab.hub.rename_default_branch("trunk")
    lab.hub.push("trunk", {"rpac.yaml": "commands_per_comment: 1\n"}, "Settings")
    pull = lab.pull()
    assert lab.tells(lab.author, pull, "/reproduce quick\n\n/help").code == "misread"
    assert lab.tells(lab.author, pull, "/reproduce quick").codes == ["within-limits"]
    done = lab.handle("pull_request", lab.hub.pull_event(pull, "opened", lab.author))
    assert done.code == "valid"


@pytest.mark.slow
def test_an_archived_repository(lab: Target) -> None:
    """Nothing can be written, also no answer: the job says why."""
    pull = lab.pull()
    payload = lab.runner.said(pull, lab.author, "/reproduce quick")
    payload["repository"]["archived"] = lab.hub.main.archived = True
    with harmless(lab):
        done = lab.handle(DISPATCH, payload)
    assert done.runs == []
    assert "archived" in done.message
    assert lab.answers(pull) == []


@pytest.mark.slow
def test_a_fork_of_a_private_repository(tmp_path: Path) -> None:
    with GitHubServer(tmp_path / "github", private=True) as hub:
        lab = Target(hub, tmp_path)
        outsider = hub.user("contributor", role="read")
        fork = hub.fork(outsider)
        hub.push("idea", dict(QUICK_FILES), "Add an experiment", repository=fork)
        pull = hub.open_pull("idea", by=outsider, fork=fork)
        assert lab.tells(outsider, pull, "/reproduce quick").codes == ["role-too-low"]
        assert lab.tells(lab.author, pull, "/reproduce quick").codes == ["from-fork"]
        (ticket,) = lab.tickets()
        assert approve(lab, pull, ticket["id"]).codes == ["approved"]
        assert not hub.violations
