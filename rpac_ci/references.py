"""What a result will be compared with, as the log in git has it; writes nothing."""

from __future__ import annotations

from typing import Any

from rpac_ci.canonical import canonical_json
from rpac_ci.driver import load_pipeline
from rpac_ci.errors import HistoryError, RpacError
from rpac_ci.experiment_model import Rule
from rpac_ci.log_paths import RunPath
from rpac_ci.pipeline import Definition, science
from rpac_ci.records import Reference, ReferenceKind, ReferenceRun, RunRecord, Status, as_reference
from rpac_ci.reproduction_log import ReproductionLog
from rpac_ci.workspace import Workspace

FEW = 3  # reference runs whose packages are kept one by one
MAX_ACCEPTED, MAX_REFERENCE_BYTES = 30, 48 * 1024
MAX_EARLIER = 200  # runs that are searched for the first result


def accepted_or_declared(
    workspace: Workspace, experiment: str, definition: Definition
) -> Reference:
    """
    Declared values, else the accepted runs, else none; never silently the last run.

    Args:
        workspace: the repository.
        experiment: its id.
        definition: what will be run, with its rules.
    """
    history = ReproductionLog(workspace.git)
    paths = history.accepted(experiment)[-MAX_ACCEPTED:]
    few = len(paths) <= FEW
    records = zip(paths, history.records(paths), strict=True)
    accepted = _newest(
        [as_reference(parse_record(raw, path.run), packages=few) for path, raw in records]
    )
    changed = _rules_changed(history, experiment, definition)
    if any(rule.declares for rule in definition.verify.values()):
        own = science(definition).digest
        same = [run for run in accepted if run.science == own]
        return Reference(kind=ReferenceKind.EXPECT, science=own, runs=same, rules_changed=changed)
    if accepted:
        return Reference(kind=ReferenceKind.ACCEPTED, runs=accepted, rules_changed=changed)
    return Reference(kind=ReferenceKind.NONE)


def _newest(runs: list[ReferenceRun]) -> list[ReferenceRun]:
    """The newest runs that together are small enough to be kept in each record."""
    sizes = [len(canonical_json(run.to_json())) for run in runs]
    while len(runs) > 1 and sum(sizes[-len(runs) :]) > MAX_REFERENCE_BYTES:
        runs = runs[1:]
    return runs


def _rules_changed(history: ReproductionLog, experiment: str, definition: Definition) -> list[str]:
    """
    Rules that were written or changed when a result of the same science was known already.

    A tolerance that is chosen after the result proves little, so readers must see it.
    """
    own = science(definition).digest
    paths = history.runs(experiment)[:MAX_EARLIER]  # oldest first
    for path, record in zip(paths, history.records(paths), strict=True):
        first = record.get("identity", {}).get("science") == own
        if not first or record.get("outcome", {}).get("status") != Status.SUCCEEDED:
            continue
        try:
            before = load_pipeline(history.read(path, "pipeline.yaml")).verify
        except (RpacError, ValueError):
            continue  # of another schema
        after = definition.verify
        names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        return [_rule_change(name, before.get(name), after.get(name)) for name in names]
    return []


def _rule_change(name: str, before: Rule | None, after: Rule | None) -> str:
    if before is None or after is None:
        return f"{name} {'added' if before is None else 'removed'}"
    old = before.model_dump(mode="json")
    new = after.model_dump(mode="json")
    parts = [
        f"{key} {old.get(key)} → {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    return f"{name}: {', '.join(parts)}"


def read_record(history: ReproductionLog, path: RunPath) -> RunRecord:
    """
    The record of a run in the log.

    Raises:
        HistoryError: it does not fit the schema, for instance since a newer rpac wrote it.
    """
    raw = next(history.records([path]))
    return parse_record(raw, path.run)


def parse_record(raw: dict[str, Any], run: str) -> RunRecord:
    """A record from its JSON; see `read_record`."""
    from pydantic import ValidationError

    try:
        return RunRecord.model_validate(raw)
    except ValidationError as exc:
        schema = raw.get("schema")
        raise HistoryError(
            f"the record of {run} (schema {schema}) cannot be read: {exc.errors()[0]['msg']}",
            hint="a newer version of rpac may have written it",
        ) from exc
