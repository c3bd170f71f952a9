"""The report of a run as Markdown, for GitHub's pages and any editor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from rpac_ci.changes import against_reference, explanation
from rpac_ci.formats.markdown_parts import code, details, fence, table, text
from rpac_ci.formats.performance import performance_section
from rpac_ci.formats.training import training_section
from rpac_ci.pipeline import Pipeline
from rpac_ci.quantities import count, format_bytes, format_duration, format_usd, format_value
from rpac_ci.records import (
    Agreement,
    Check,
    ReferenceKind,
    RunRecord,
    Status,
)

MARK = {
    Agreement.IDENTICAL: "✓ identical",
    Agreement.SAME_CONTENT: "✓ same content",
    Agreement.WITHIN_TOLERANCE: "✓ within tolerance",
    Agreement.EQUIVALENT: "✓ statistically equivalent",
    Agreement.DIFFERENT: "✗ different",
    Agreement.MISSING: "✗ missing",
    Agreement.EXTRA: "– extra",
    Agreement.NOT_COMPARED: "– not compared",
}
TIMELINE = "figures/timeline.svg"


def report(record: RunRecord, pipeline: Pipeline, *, figures: Sequence[str]) -> str:
    """
    The report of a judged run.

    Args:
        record: with its verdict.
        pipeline: of the run.
        figures: paths of the figures that stand beside the report, the timeline not among them.
    """
    assert record.verdict is not None
    sections = [
        _head(record),
        _failure(record),
        _checks(record),
        _changes(record),
        performance_section(record),
        _grades(record),
        _figures(figures),
        training_section(record.outcome.training, record.outcome.training_problem),
        _phases(record),
        _nodes(record),
        _inputs(record, pipeline),
        _outputs(record),
        _software(record),
        _repeat(record),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _head(record: RunRecord) -> str:
    verdict, around = record.verdict, record.circumstances
    assert verdict is not None
    who = around.requested
    nodes = count(len(around.nodes), "node")
    asked = who.via + (f", account {who.actor}" if who.actor is not None else "")
    facts = [
        ("Run", f"`{record.run}`"),
        ("Compared with", text(verdict.reference)),
        ("Asked by", text(asked) + (f", `{code(who.words)}`" if who.words else "")),
        ("Started", text(around.started)),
        ("Where", text(f"{around.cloud}, {nodes}, engine {record.identity.engine.name}")),
        *[("Machines", text(shown)) for shown in [_placed(record)] if shown],
        ("Pipeline", f"`{record.identity.pipeline}`"),
        ("Science", f"`{record.identity.science}`"),
        ("Code", _source(record)),
        (
            "Cost",
            "unknown" if record.outcome.cost_usd is None else format_usd(record.outcome.cost_usd),
        ),
    ]
    if record.identity.reproduces:
        facts.insert(1, ("Reproduces", f"`{record.identity.reproduces}`"))
    return "\n".join(
        [
            f"# {text(record.experiment)}: {text(verdict.outcome)}",
            "",
            f"{text(record.title)}",
            "",
            f"> **{text(verdict.outcome)}**: {text(verdict.reason)}",
            "",
            table(("", ""), facts),
        ]
    )


def _placed(record: RunRecord) -> str:
    """Which machines of a cloud, and how near they are to those of the run that is repeated."""
    placed = record.circumstances.placement
    if placed is None:
        return ""
    parts = [placed.machine, placed.region, placed.mode, "spot" if placed.spot else None]
    parts += [f"at {placed.endpoint}" if placed.endpoint else None]
    parts += [str(placed.change) if placed.change else None]
    return ", ".join(filter(None, parts))


def _source(record: RunRecord) -> str:
    source = record.identity.source
    where = f"commit `{source.commit[:12]}`" if source.commit else "no commit"
    if source.git:
        where += f" of {text(source.git)}"
    dirty = ", **with changes that were not committed** (`dirty.diff`)" if source.dirty else ""
    return f"{where}, content `{source.sha256[:19]}…`{dirty}"


def _failure(record: RunRecord) -> str:
    outcome = record.outcome
    if outcome.status is Status.SUCCEEDED:
        return ""
    lines = ["## What happened", "", f"{text(outcome.reason)}: {text(outcome.message)}"]
    if outcome.exit_code is not None:
        lines += ["", f"Exit code of the command: {outcome.exit_code}"]
    if outcome.hint:
        lines += ["", f"What to try: {text(outcome.hint)}"]
    if outcome.log_tail:
        lines += ["", "The end of the log:", "", fence(outcome.log_tail)]
    return "\n".join(lines)


def _checks(record: RunRecord) -> str:
    assert record.verdict is not None
    checks = record.verdict.checks
    if not checks:
        return ""
    required = [check for check in checks if check.required]
    others = [check for check in checks if not check.required]
    lines = ["## Checks"]
    ruled = any(check.kind != "output" for check in required)
    note = "For information, not part of the verdict:" if ruled else "No rule, so compared exactly:"
    for title, some in (("", required), (note, others)):
        if some:
            lines += ["", title, ""] if title else [""]
            lines.append(check_table(some))
    if record.outcome.metrics_problem:
        lines += ["", text(record.outcome.metrics_problem)]
    unruled = [n for n in record.outcome.metrics if n not in {check.name for check in checks}]
    if unruled:
        lines += ["", "Other metrics:", ""]
        metrics = record.outcome.metrics
        rows = [(text(n), _number(metrics[n].value, metrics[n].unit)) for n in sorted(unruled)]
        lines.append(table(("Metric", "Value"), rows))
    return "\n".join(lines)


def check_table(checks: Sequence[Check], *, escape: Callable[[str], str] | None = None) -> str:
    """One row for each check; `escape` shows texts of others, by default as `text` does."""
    header = ("Check", "Rule", "Expected", "Observed", "Difference", "")
    return table(header, [_check_row(check, escape or text) for check in checks])


def _check_row(check: Check, escape: Callable[[str], str]) -> tuple[str, ...]:
    mark = MARK[check.agreement] + (f" ({escape(check.note)})" if check.note else "")
    return (
        escape(check.name),
        escape(check.rule),
        _number(check.expected, check.unit),
        _number(check.observed, check.unit),
        "" if check.difference is None else f"{check.difference:+.3g}",
        mark,
    )


def _number(value: float | str | None, unit: str | None) -> str:
    shown = format_value(value, unit)
    return f"`{code(shown)}`" if isinstance(value, str) else text(shown)


def _changes(record: RunRecord) -> str:
    changed = against_reference(record)
    rows = [
        (
            text(change.key),
            text(change.kind),
            f"`{code(_short(change.before))}`",
            f"`{code(_short(change.after))}`",
            change.effect.value,
        )
        for change in changed
    ]
    lines = ["## What changed", ""]
    if rows:
        header = ("", "Kind", "Reference", "This run", "Could explain another number")
        lines.append(table(header, rows))
    elif record.reference.kind is ReferenceKind.NONE:
        lines.append("There is nothing to compare with yet.")
    elif record.reference.kind is ReferenceKind.EXPECT:
        dirty = ", with changes that were not committed" if record.identity.source.dirty else ""
        lines.append(f"Nothing: the experiment was run as it is declared{dirty}.")
    else:
        lines.append("Nothing that is recorded differs from the reference.")
    assert record.verdict is not None
    if why := explanation(changed, record.verdict.checks):
        lines += ["", text(why)]
    if record.reference.rules_changed:
        lines += ["", "Rules that changed since the first result was known:", ""]
        lines += [f"- {text(rule)}" for rule in record.reference.rules_changed]
    remarks = [*record.reference.remarks, *record.circumstances.remarks]
    lines += [f"\n- {text(remark)}" for remark in remarks]
    return "\n".join(lines)


def _grades(record: RunRecord) -> str:
    assert record.verdict is not None
    rows = []
    for name, grade in record.verdict.grades.items():
        letter, _, reason = grade.partition(": ")
        rows.append((text(name), letter, text(reason)))
    return f"## How firmly it is pinned\n\n{table(('', 'Grade', ''), rows)}" if rows else ""


def _figures(figures: Sequence[str]) -> str:
    if not figures:
        return ""
    lines = ["## Figures"]
    for path in figures:
        lines += ["", f"![{text(path)}]({quote(path)})"]
    return "\n".join(lines)


def _phases(record: RunRecord) -> str:
    phases = record.circumstances.phases
    rows = [
        (
            ("&emsp;" if phase.inside else "") + text(phase.name),
            f"{phase.start_s:.1f}",
            format_duration(phase.duration_s),
        )
        for phase in sorted(phases, key=lambda p: (p.start_s, p.inside is not None))
    ]
    numbers = details("Numbers", table(("Phase", "Start (s)", "Duration"), rows))
    return f"## Phases\n\n![timeline of the phases]({TIMELINE})\n\n{numbers}"


def _nodes(record: RunRecord) -> str:
    around = record.circumstances
    if not around.nodes:
        return ""
    header = ("Node", "Processor", "Online", "Memory", "GPUs", "System", "Kernel")
    rows = [
        (
            text(str(node.get("index"))),
            text(str(node.get("cpu"))),
            text(str(node.get("cpus_online"))) + _limit(node, "cpus_limit", "{:g}"),
            format_bytes(int(node.get("memory_total_mib", 0)) << 20)
            + _limit(node, "memory_limit_mib", "{} MiB"),
            text(_gpus(node)),
            text(str(node.get("system"))),
            text(f"{node.get('kernel')} {node.get('machine')}"),
        )
        for node in around.nodes
    ]
    lines = ["## Nodes", "", table(header, rows)]
    if around.workers:
        w = around.workers
        lines += [
            "",
            f"Workers by the engine's own count: {text(str(w.get('asked')))} asked for, "
            f"{text(str(w.get('seen')))} seen, {text(str(w.get('lost')))} lost.",
        ]
    layout = _layout(record)
    return "\n".join([*lines, "", layout] if layout else lines)


def _limit(node: dict[str, Any], key: str, form: str) -> str:
    """What a container may use of it."""
    return f", at most {text(form.format(node[key]))}" if node.get(key) else ""


def _gpus(node: dict[str, Any]) -> str:
    gpus = node.get("gpus") or []
    kinds = {_gpu(gpu) for gpu in gpus}
    return f"{len(gpus)} × {', '.join(sorted(kinds))}" if gpus else "none"


def _gpu(gpu: dict[str, Any]) -> str:
    memory = f"{format_bytes(gpu['memory_mib'] << 20)}, " if gpu.get("memory_mib") else ""
    return f"{gpu.get('name')} ({memory}driver {gpu.get('driver')})"


def _layout(record: RunRecord) -> str:
    """How the engine spread the work, and the switches that make it repeatable."""
    around = record.circumstances
    layout = {
        key.replace("_", " "): value
        for key, value in around.engine.items()
        if key not in ("name", "versions")
    }
    parts = []
    if layout:
        rows = [(text(key), text(str(value))) for key, value in layout.items()]
        parts.append(details("Layout of the engine", table(("", ""), rows)))
    if around.determinism:
        rows = [(text(key), text(value)) for key, value in around.determinism.items()]
        parts.append(details("Switches for repeatable results", table(("", ""), rows)))
    return "\n\n".join(parts)


def _inputs(record: RunRecord, pipeline: Pipeline) -> str:
    rows = []
    for name, data in record.identity.data.items():
        ref = pipeline.data[name]
        terms = "; ".join(filter(None, (ref.license, f"doi:{ref.doi}" if ref.doi else "")))
        rows.append(
            (
                text(name),
                f"`{code(data.uri)}`",
                format_bytes(data.size) if data.size is not None else "–",
                f"`{data.sha256}`" if data.sha256 else "–",
                data.pinned_by,
                text(terms),
            )
        )
    header = ("Input", "Locator", "Size", "SHA-256", "Pinned by", "Terms")
    return f"## Inputs\n\n{table(header, rows)}" if rows else ""


def _outputs(record: RunRecord) -> str:
    rows = [
        (f"`{code(o.path)}`", format_bytes(o.size), f"`{code(o.sha256)}`")
        for o in record.outcome.outputs
    ]
    if not rows:
        return ""
    lines = ["## Outputs", "", table(("File", "Size", "SHA-256"), rows)]
    where = ", where the run was made" if record.circumstances.cloud == "local" else ""
    lines += ["", f"Get them with `rpac fetch {record.run}`{where}."]
    if record.outcome.extra:
        extra = ", ".join(f"`{code(path)}`" for path in record.outcome.extra[:10])
        lines += ["", f"Not declared, so not kept: {extra}"]
    return "\n".join(lines)


def _software(record: RunRecord) -> str:
    around = record.circumstances
    engine = around.engine
    versions = ", ".join(f"{name} {value}" for name, value in engine.get("versions", {}).items())
    lines = [
        "## Software",
        "",
        f"rpac {text(around.rpac)}, Python {text(around.python or 'of the machine')}",
    ]
    if versions:
        lines[-1] += f"; {text(versions)}"
    lock = record.identity.environment
    if lock.lock_sha256:
        lines += ["", f"Lock `{code(lock.lock or '')}`, SHA-256 `{lock.lock_sha256}`"]
    elif lock.image:
        lines += ["", f"Image `{code(lock.image)}`"]
    else:
        whose = "the engine's image" if around.images else "the machine"
        lines += ["", f"No environment is declared: the software is whatever {whose} had."]
    if around.images:
        rows = [(text(name), f"`{code(image)}`") for name, image in around.images.items()]
        lines += ["", table(("Image of", "Id"), rows)]
    if around.packages:
        rows = [(text(name), text(version)) for name, version in sorted(around.packages.items())]
        lines += ["", details(f"{len(rows)} packages", table(("Package", "Version"), rows))]
    return "\n".join(lines)


def _repeat(record: RunRecord) -> str:
    return f"## Repeat it\n\n```sh\nrpac reproduce {record.experiment}@{record.run}\n```"


def _short(value: object) -> str:
    shown = "–" if value is None else str(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
