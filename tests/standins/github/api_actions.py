"""Check runs, workflows, their runs and settings."""

from __future__ import annotations

import re
from datetime import datetime

from tests.standins.github.api import Answer, Call, RefusedError, invalid, not_found, route
from tests.standins.github.state import Check, Dispatch, Object, Run, Workflow

MAX_BYTES = 65_535
MAX_ANNOTATIONS = 50
MAX_INPUTS = 25

# --- check runs ---------------------------------------------------------------------------------


def _check(call: Call) -> Check:
    check = call.repository.checks.get(call.number("check_run_id"))
    if check is None:
        raise not_found()
    return check


def _moment(body: Object, name: str) -> datetime | None:
    return datetime.fromisoformat(body[name]) if body.get(name) else None


def _fill(call: Call, check: Check) -> None:
    """Take what was sent; annotations are added to those that are there."""
    body = call.body
    output = dict(body.get("output") or {})
    annotations = output.pop("annotations", [])
    output.pop("images", None)
    for name in ("summary", "text"):
        if len((output.get(name) or "").encode()) > MAX_BYTES:
            raise invalid("CheckRun", name, message=f"{name} exceeds a maximum bytesize of 65535")
    if len(annotations) > MAX_ANNOTATIONS:
        raise RefusedError(422, "Invalid request.\n\nNo more than 50 items are allowed.")
    for note in annotations:
        _checked(note)
    conclusion = body.get("conclusion")
    if body.get("status") == "completed" and not (conclusion or check.conclusion):
        raise invalid("CheckRun", "conclusion", code="missing_field")
    check.name = body.get("name", check.name)
    check.external_id = body.get("external_id", check.external_id)
    check.details_url = body.get("details_url", check.details_url)
    check.status = body.get("status", check.status)
    check.started_at = _moment(body, "started_at") or check.started_at
    if conclusion:
        check.status, check.conclusion = "completed", conclusion
        check.completed_at = _moment(body, "completed_at") or call.state.now()
    check.output.update(output)
    check.annotations += annotations


def _checked(note: Object) -> None:
    first, last = note["start_line"], note["end_line"]
    columns = "start_column" in note or "end_column" in note
    if first < 1 or last < first:
        raise invalid("CheckRun", "annotations", message="line numbers are not valid")
    if columns and first != last:
        raise invalid("CheckRun", "annotations", message="columns only on the same line")


@route("POST", "/check-runs", "checks=write")
def create_check(call: Call) -> Answer:
    token = call.token
    if token is None or token.app is None:
        raise RefusedError(403, "You must authenticate via a GitHub App.")
    sha = call.body["head_sha"]
    if not re.fullmatch(r"[0-9a-f]{40}", sha) or not call.repository.bare.has(sha):
        raise RefusedError(422, f"No commit found for SHA: {sha}")
    number = call.state.next_id("check", 30_000_000_001)
    check = Check(number, call.body["name"], sha, token.app, call.state.now())
    _fill(call, check)
    call.repository.checks[check.id] = check
    return Answer(201, call.action_shapes.check(call.repository, check))


@route("PATCH", "/check-runs/{check_run_id}", "checks=write")
def update_check(call: Call) -> Answer:
    check = _check(call)
    if call.token is None or call.token.app is not check.app:
        raise RefusedError(403, "Invalid app_id `1` - check run can only be modified by its app")
    _fill(call, check)
    return Answer(200, call.action_shapes.check(call.repository, check))


@route("GET", "/check-runs/{check_run_id}", "checks=read")
def get_check(call: Call) -> Answer:
    return Answer(200, call.action_shapes.check(call.repository, _check(call)))


@route("GET", "/check-runs/{check_run_id}/annotations", "checks=read")
def list_annotations(call: Call) -> Answer:
    check = _check(call)
    return call.page(
        check.annotations,
        lambda note: call.action_shapes.annotation(call.repository, check, note),
    )


@route("GET", "/commits/{ref}/check-runs", "checks=read")
def list_checks(call: Call) -> Answer:
    sha, name = call.repository.bare.resolve(call.words["ref"]), call.query.get("check_name")
    status = call.query.get("status")
    if sha is None:
        raise RefusedError(422, f"No commit found for SHA: {call.words['ref']}")
    found = [
        check
        for check in reversed(call.repository.checks.values())
        if check.head_sha == sha and name in (None, check.name) and status in (None, check.status)
    ]
    if call.query.get("filter", "latest") == "latest":
        newest: dict[tuple[int, str], Check] = {}
        for check in found:
            newest.setdefault((check.app.id, check.name), check)
        found = list(newest.values())
    return call.page(
        found, lambda check: call.action_shapes.check(call.repository, check), "check_runs"
    )


# --- workflows ----------------------------------------------------------------------------------


def _workflow(call: Call) -> Workflow:
    wanted = call.words["workflow_id"]
    for workflow in call.repository.workflows:
        if wanted in (str(workflow.id), workflow.path.rpartition("/")[2]):
            return workflow
    raise not_found()


@route("GET", "/actions/workflows", "actions=read")
def list_workflows(call: Call) -> Answer:
    return call.page(
        call.repository.workflows,
        lambda workflow: call.action_shapes.workflow(call.repository, workflow),
        "workflows",
    )


@route("POST", "/actions/workflows/{workflow_id}/dispatches", "actions=write")
def dispatch_workflow(call: Call) -> Answer:
    assert call.token is not None
    workflow, ref = _workflow(call), call.body["ref"]
    inputs, bare = call.body.get("inputs") or {}, call.repository.bare
    sha = bare.resolve(ref)
    if sha is None:
        raise RefusedError(422, f"No ref found for: {ref}")
    if workflow.state != "active":
        raise RefusedError(422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow")
    if len(inputs) > MAX_INPUTS:
        raise RefusedError(422, f"you may only define up to {MAX_INPUTS} `inputs`")
    token = call.token
    call.repository.dispatches.append(
        Dispatch("workflow_dispatch", workflow.path, inputs, token.user, ref)
    )
    number = call.state.next_id("run", 20_000_000_001)
    run = Run(number, 1 + len(call.repository.runs), workflow, "workflow_dispatch", ref, sha,
              call.state.now(), token.user, "queued")  # fmt: skip
    call.repository.runs[run.id] = run
    if not call.body.get("return_run_details"):
        return Answer(204)
    shown = call.action_shapes.run(call.repository, run)
    return Answer(200, {
        "workflow_run_id": run.id, "run_url": shown["url"], "html_url": shown["html_url"],
    })  # fmt: skip


def _run(call: Call) -> Run:
    run = call.repository.runs.get(call.number("run_id"))
    if run is None:
        raise not_found()
    return run


@route("GET", "/actions/runs/{run_id}", "actions=read")
def get_run(call: Call) -> Answer:
    return Answer(200, call.action_shapes.run(call.repository, _run(call)))


@route("GET", "/actions/runs/{run_id}/jobs", "actions=read")
def list_jobs(call: Call) -> Answer:
    run = _run(call)
    return call.page(
        run.jobs, lambda job: call.action_shapes.job(call.repository, run, job), "jobs"
    )


@route("POST", "/actions/runs/{run_id}/cancel", "actions=write")
def cancel_run(call: Call) -> Answer:
    number = call.number("run_id")
    run = call.repository.runs.get(number)
    if run is None and call.state.only_known_runs:
        raise not_found()
    if run is not None and run.status == "completed":
        raise RefusedError(409, "Cannot cancel a workflow run that is completed.")
    call.state.cancelled.append(number)
    return Answer(202, {})


# --- settings -----------------------------------------------------------------------------------


@route("GET", "/actions/oidc/customization/sub", "actions=read")
def get_oidc(call: Call) -> Answer:
    return Answer(200, dict(call.repository.actions.oidc))


@route("GET", "/environments/{environment_name}", "actions=read")
def get_environment(call: Call) -> Answer:
    name = call.words["environment_name"]
    if name not in call.repository.actions.environments:
        raise not_found()
    policy = call.repository.actions.environments[name]
    address = f"{call.shapes.root(call.repository)}/environments/{name}"
    return Answer(200, {
        "id": 1, "node_id": "EN_1", "name": name, "url": address, "html_url": address,
        "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
        "protection_rules": [], "deployment_branch_policy": policy,
    })  # fmt: skip


@route("GET", "/actions/variables/{name}", "variables=read")
def get_variable(call: Call) -> Answer:
    name = call.words["name"]
    value = call.repository.actions.variables.get(name)
    if value is None:
        raise not_found()
    return Answer(200, {
        "name": name, "value": value,
        "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
    })  # fmt: skip


@route("GET", "/actions/permissions", "administration=read")
def get_actions(call: Call) -> Answer:
    enabled = call.repository.actions.enabled
    return Answer(200, {"enabled": enabled, **({"allowed_actions": "all"} if enabled else {})})


@route("GET", "/actions/permissions/workflow", "administration=read")
def get_workflow_rights(call: Call) -> Answer:
    settings = call.repository.actions
    return Answer(200, {
        "default_workflow_permissions": settings.default_permissions,
        "can_approve_pull_request_reviews": settings.can_approve,
    })  # fmt: skip
