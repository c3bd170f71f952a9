"""
What the bot says on GitHub of runs and commands, one function for each situation. Pure.

Whatever comes from people, experiments or jobs is shown as text: it makes no mention, no link, no
table cell of its own, and no command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from rpac_ci.bot.tickets import Dispatch, Ticket
from rpac_ci.bot.wording import as_code, dollars, moment, quiet, short
from rpac_ci.changes import against_reference
from rpac_ci.errors import RpacError
from rpac_ci.formats.markdown import check_table
from rpac_ci.formats.markdown_parts import details, fence, table
from rpac_ci.quantities import count, format_duration
from rpac_ci.records import RunRecord, Status
from rpac_ci.studies import StudyRecord
from rpac_ci.workspace import LOCAL

MAX_CHECKS = 30  # rows of a table in a comment; the report has all
MAX_FIGURES = 4
_SIGN = {
    "reproduced": "✅", "not reproduced": "❌", "compared (variant)": "🔀", "baseline": "🔵",
    "inconclusive": "⚪", "could not run": "⚠️",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Addresses of one run's things; "" where there is none."""

    repository: str  # https://github.com/owner/name
    workflow: str = ""
    log_commit: str = ""  # commit of rpac/log that has the report
    folder: str = ""  # of the report

    def report(self) -> str:
        """Address of the report, for good."""
        return self._file("report.md")

    def _file(self, name: str) -> str:
        if not (self.log_commit and self.folder):
            return ""
        return f"{self.repository}/blob/{self.log_commit}/{quote(f'{self.folder}/{name}')}"

    def figure(self, name: str) -> str:
        """Address of a figure's bytes."""
        return f"{self._file(name)}?raw=true"


def run_marker(run: str) -> str:
    """Hidden first line of the one comment about a run."""
    return f"<!-- rpac:run={run} -->"


def study_marker(study: str) -> str:
    """Hidden first line of the one comment about a study."""
    return f"<!-- rpac:study={study} -->"


def check_name(experiment: str) -> str:
    """Name of the check run of an experiment's runs."""
    return f"rpac: {experiment}"


def answer_marker(comment: int) -> str:
    """Hidden first line of the answer to a comment."""
    return f"<!-- rpac:answer={comment} -->"


# --- one run ------------------------------------------------------------------------------------


def started(
    dispatch: Dispatch, ticket: Ticket, links: Links, phase: str, at: datetime, *, problem: str = ""
) -> str:
    """
    The comment about a run while it goes on.

    Args:
        dispatch: of the run.
        ticket: what it does.
        links: to the job.
        phase: what it is at, for people.
        at: when that was known.
        problem: what keeps it from going on, and needs somebody.
    """
    machines = count(ticket.nodes, "node") + (f", {ticket.machine}" if ticket.machine else "")
    where = ticket.cloud + (f" {ticket.region}" if ticket.region else "")
    facts = [
        ("Run", f"`{dispatch.run}`"),
        ("Now", f"**{quiet(phase)}**"),
        ("Commit", f"`{ticket.head[:12]}`"),
        ("Where", quiet(f"{where}, {machines}")),
        ("Costs at most", dollars(ticket.cost_high)),
        ("Takes at most", format_duration(60 * ticket.minutes)),
        ("Last update", moment(at)),
    ]
    job = f"[the job]({links.workflow})" if links.workflow else "the job"
    watch = f"Watch {job}."
    if ticket.cloud != LOCAL:
        watch = f"Its nodes need nobody who waits; {job} had the last look, and a timer has others."
    sign, alarm = "⏳", []
    if problem:
        sign = "⚠️"
        alarm = ["> [!WARNING]", f"> {quiet(' '.join(problem.split()))}", ""]
    return "\n".join(
        [
            f"### {sign} `{ticket.target}` is being reproduced",
            "",
            *alarm,
            table(("", ""), facts),
            "",
            f"{watch} To stop it:",
            "",
            fence(f"/cancel {dispatch.run}"),
        ]
    )


def finished(
    record: RunRecord, links: Links, *, where: str, at: datetime, figures: Sequence[str] = ()
) -> str:
    """
    The comment about a run that is over.

    Args:
        record: with its verdict.
        links: to job, report and figures.
        where: which branches have the report, and why others have not.
        at: when it was written.
        figures: names of those beside the report, such as `figures/map.png`.
    """
    verdict = record.verdict
    assert verdict is not None
    lines = [
        f"### {sign(verdict.outcome)} `{record.experiment}`: {quiet(verdict.outcome)}",
        "",
        quiet(verdict.reason),
    ]
    if record.outcome.status is not Status.SUCCEEDED:
        lines += ["", *_failure(record)]
    checks = [check for check in verdict.checks if check.required] or list(verdict.checks)
    if checks:
        lines += ["", check_table(checks[:MAX_CHECKS], escape=quiet)]
        if len(checks) > MAX_CHECKS:
            lines += ["", f"… and {len(checks) - MAX_CHECKS} more in the report."]
    lines += ["", table(("", ""), _facts(record, links))]
    for name in figures[:MAX_FIGURES]:
        lines += ["", f"![{quiet(name)}]({links.figure(name)})"]
    if rows := _changes(record):
        header = ("", "Reference", "This run", "Could explain another number")
        lines += ["", details(f"{count(len(rows), 'difference')} to the reference",
                              table(header, rows))]  # fmt: skip
    lines += ["", where, "", "To repeat it, here or in a terminal after `rpac`:", ""]
    lines += [fence(f"/reproduce {record.experiment}@{record.run}")]
    lines += ["", f"<sub>Last update {moment(at)}</sub>"]
    return "\n".join(lines)


def sign(outcome: str) -> str:
    """A sign that goes with a verdict."""
    return next((sign for start, sign in _SIGN.items() if outcome.startswith(start)), "⚪")


def _failure(record: RunRecord) -> list[str]:
    outcome = record.outcome
    lines = [f"**What failed:** {quiet(outcome.reason)}: {quiet(outcome.message)}"]
    if outcome.exit_code is not None:
        lines.append(f"**Exit code of the command:** {outcome.exit_code}")
    tried = f"rpac {record.circumstances.rpac} on {record.circumstances.cloud}"
    lines.append(f"**What was tried:** `{as_code(' '.join(record.identity.command))}` with {tried}")
    advice = outcome.hint or "look at the end of the log, mend it, push, and ask again"
    lines.append(f"**What to do:** {quiet(advice)}")
    shown = "  \n".join(lines)
    if not outcome.log_tail:
        return [shown]
    return [shown, "", details("The end of the log", fence(outcome.log_tail))]


def _facts(record: RunRecord, links: Links) -> list[tuple[str, str]]:
    around = record.circumstances
    verdict = record.verdict
    assert verdict is not None
    cost = record.outcome.cost_usd
    facts = [
        ("Run", f"`{record.run}`"),
        ("Compared with", quiet(verdict.reference)),
        ("Where", f"{quiet(around.cloud)}, {count(len(around.nodes), 'node')}"),
        ("Cost", "not known" if cost is None else dollars(cost)),
        ("Pipeline", f"`{record.identity.pipeline}`"),
    ]
    if verdict.grade:
        facts.append(("How firmly it is pinned", f"grade {verdict.grade}"))
    if around.phases:
        total = max(phase.start_s + phase.duration_s for phase in around.phases)
        facts.append(("Took", format_duration(total)))
    if report := links.report():
        facts.append(("Report", f"[report.md]({report})"))
    if links.workflow:
        facts.append(("Job", f"[log and outputs]({links.workflow})"))
    return facts


def _changes(record: RunRecord) -> list[tuple[str, ...]]:
    return [
        (quiet(c.key), quiet(short(c.before)), quiet(short(c.after)), c.effect.value)
        for c in against_reference(record)
    ]


def study_started(
    study: str, words: Sequence[str], runs: int, ticket: Ticket, links: Links, at: datetime
) -> str:
    """The comment about a study while its runs go on."""
    facts = [
        ("Study", f"`{study}`"),
        ("Runs", f"{runs}, side by side as far as there are machines"),
        ("Words", f"`{as_code(' '.join(words))}`"),
        ("Commit", f"`{ticket.head[:12]}`"),
        ("Asked for at", moment(at)),
    ]
    title = f"### ⏳ `{ticket.target}`: a study of {count(runs, 'run')}"
    watch = f"Watch [the jobs]({links.workflow}); `/status` lists them."
    return "\n".join([title, "", table(("", ""), facts), "", watch])


def study_finished(record: StudyRecord, links: Links, *, where: str, at: datetime) -> str:
    """The comment about a study that is over."""
    rows = [
        (
            f"`{member.run}`",
            quiet(" ".join(f"{k}={v}" for k, v in member.changes.items()) or "–"),
            quiet(member.outcome or "–"),
        )
        for member in record.members
    ]
    page = f"{links.repository}/blob/{links.log_commit}/{quote(links.folder)}/study.md"
    return "\n".join(
        [
            f"### {sign(record.outcome)} `{record.experiment}`: study: {quiet(record.outcome)}",
            "",
            quiet(record.reason),
            "",
            table(("Run", "Values", "Verdict"), rows),
            "",
            f"[The page]({page}) has numbers, spread and figures. {where}",
            "",
            f"<sub>Last update {moment(at)}</sub>",
        ]
    )


# --- answers ------------------------------------------------------------------------------------


def problem(words: str, error: RpacError) -> str:
    """A command that could not be done."""
    hint = f"\n\n{quiet(error.hint)}" if error.hint else ""
    return f"`{as_code(words)}` could not be done:\n\n{fence(error.message)}{hint}"


def broken(error: RpacError, workflow: str, going_on: Sequence[str] = ()) -> str:
    """A comment that could not be handled, but for the runs that go on."""
    hint = f"{quiet(error.hint)}  \n" if error.hint else ""
    return (
        f"This could not be handled:\n\n{fence(error.message)}\n\n{hint}"
        f"[The job]({workflow}) has more. "
        + (
            f"These runs go on: {', '.join(f'`{run}`' for run in going_on)}."
            if going_on
            else "When the cause is mended, comment again."
        )
    )


def not_again() -> str:
    """A comment whose job was started again, and that nobody has answered."""
    return (
        "The job for this comment ended before it could answer, and no comment is handled twice. "
        "Comment again to have it done."
    )


def refused(words: str, code: str, message: str, hint: str = "") -> str:
    """A command that the policy does not allow."""
    advice = f" {quiet(hint)}" if hint else ""
    return f"`{as_code(words)}` is not run: {quiet(message)} (`{code}`){advice}"


def misread(problems: Sequence[str], hints: Sequence[str] = ()) -> str:
    """A comment with mistakes: nothing of it is done."""
    rows = "\n".join(f"- {quiet(line)}" for line in problems)
    advice = "".join(f"{quiet(hint)}  \n" for hint in hints)
    return (
        f"Nothing was done, since this is not clear:\n\n{rows}\n\n{advice}"
        "`/help` explains the commands."
    )


def held_back(words: str) -> str:
    """A command that is clear, of a comment in which another one is not."""
    return f"`{as_code(words)}` was not run either: first mend the rest of the comment."


def statuses(rows: Sequence[Mapping[str, str]]) -> str:
    """Runs that were asked for on this pull request."""
    if not rows:
        return "No run was asked for here yet."
    keys = ("run", "experiment", "state", "at")
    cells = [tuple(quiet(row[key]) for key in keys) for row in rows]
    return table(("Run", "Experiment", "State", "Asked for at"), cells)


def block(title: str, content: str) -> str:
    """Plain text of a terminal, below a title."""
    return f"{title}\n\n{fence(content)}"


def not_recorded(run: str, error: RpacError) -> str:
    """A run that is over and in no log."""
    hint = f"\n\n{quiet(error.hint)}" if error.hint else ""
    return (
        f"### ⚠️ Run `{run}` is over, but could not be recorded\n\n{fence(error.message)}{hint}\n\n"
        "Its results are among the job's artifacts; run that job again when the cause is mended."
    )


def accepted(run: str, where: str) -> str:
    """A run that is a reference from now on."""
    return f"Run `{run}` is a reference from now on. {where}"


def cancelling(run: str, others: Sequence[str]) -> str:
    """A run that was told to stop."""
    told = f"Run `{run}` is told to stop; its comment says when everything is released."
    if others:
        names = ", ".join(f"`{name}`" for name in others)
        told += f" {names} of the same comment end with it."
    return told


def verdict_changed(record: RunRecord, before: str, links: Links, at: datetime) -> tuple[str, str]:
    """Title and body of the issue that a scheduled run opens when its verdict is another one."""
    assert record.verdict is not None
    title = f"{record.experiment}: {record.verdict.outcome}, was {before}"
    body = (
        f"A scheduled run of `{record.experiment}` came out otherwise than the one before.\n\n"
        f"{finished(record, links, where='', at=at)}"
    )
    return title, body


def where_it_is(links: Links, branch: str, commit: str | None, why: str) -> str:
    """Which branches have the report, and why the pull request's has not."""
    if not links.log_commit:
        return f"The report is not on `rpac/log` yet: {quiet(why)}"
    if commit:
        return f"Report and pipeline are on `{as_code(branch)}` ({commit[:12]}) and on `rpac/log`."
    return f"Report and pipeline are on `rpac/log` only: {quiet(why)}."
