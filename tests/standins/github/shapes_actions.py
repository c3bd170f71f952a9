"""JSON as GitHub writes it: check runs, workflows, their runs and jobs."""

from __future__ import annotations

from tests.standins.github.shapes import Shapes, time
from tests.standins.github.shapes_pulls import GitShapes
from tests.standins.github.state import Check, Job, Object, Repository, Run, Workflow


class ActionShapes:
    """Shapes of what runs."""

    def __init__(self, shapes: Shapes, git: GitShapes) -> None:
        self.base, self.git = shapes, git

    def check(self, repository: Repository, check: Check) -> Object:
        """A check run."""
        address = f"{self.base.root(repository)}/check-runs/{check.id}"
        page = f"{self.base.page(repository)}/runs/{check.id}"
        pulls = [
            self.git.minimal_pull(pull)
            for pull in repository.pulls
            if pull.state == "open" and not pull.fork and pull.head_sha == check.head_sha
        ]
        return {
            "id": check.id,
            "name": check.name,
            "node_id": f"CR_{check.id}",
            "head_sha": check.head_sha,
            "external_id": check.external_id,
            "url": address,
            "html_url": page,
            "details_url": check.details_url or page,
            "status": check.status,
            "conclusion": check.conclusion,
            "started_at": time(check.started_at),
            "completed_at": time(check.completed_at),
            "output": {
                "title": check.output.get("title"),
                "summary": check.output.get("summary"),
                "text": check.output.get("text"),
                "annotations_count": len(check.annotations),
                "annotations_url": f"{address}/annotations",
            },
            "check_suite": {"id": 70_000_000 + check.app.id},
            "app": self.base.app(check.app),
            "pull_requests": pulls,
        }

    def annotation(self, repository: Repository, check: Check, annotation: Object) -> Object:
        """A remark on lines of a file."""
        names = ("start_column", "end_column", "title", "raw_details")
        page, path = self.base.page(repository), annotation["path"]
        return {
            **dict.fromkeys(names),
            **annotation,
            "blob_href": f"{page}/blob/{check.head_sha}/{path}",
        }

    def workflow(self, repository: Repository, workflow: Workflow) -> Object:
        """A workflow."""
        page, file = self.base.page(repository), workflow.path.rpartition("/")[2]
        return {
            "id": workflow.id,
            "node_id": f"W_{workflow.id}",
            "name": workflow.name,
            "path": workflow.path,
            "state": workflow.state,
            "created_at": time(repository.created_at),
            "updated_at": time(repository.created_at),
            "url": f"{self.base.root(repository)}/actions/workflows/{workflow.id}",
            "html_url": f"{page}/blob/{repository.default_branch}/{workflow.path}",
            "badge_url": f"{page}/workflows/{file}/badge.svg",
        }

    def run(self, repository: Repository, run: Run) -> Object:
        """A run of a workflow."""
        address = self.run_address(repository, run)
        home = self.base.minimal_repository(repository)
        return {
            "id": run.id,
            "name": run.workflow.name,
            "node_id": f"WFR_{run.id}",
            "head_branch": run.head_branch,
            "head_sha": run.head_sha,
            "path": run.workflow.path,
            "display_title": run.workflow.name,
            "run_number": run.number,
            "run_attempt": run.attempt,
            "event": run.event,
            "status": run.status,
            "conclusion": run.conclusion,
            "workflow_id": run.workflow.id,
            "url": address,
            "html_url": f"{self.base.page(repository)}/actions/runs/{run.id}",
            "pull_requests": [],
            "created_at": time(run.created_at),
            "updated_at": time(run.created_at),
            "run_started_at": time(run.created_at),
            "actor": self.base.user(run.actor),
            "triggering_actor": self.base.user(run.actor),
            "jobs_url": f"{address}/jobs",
            "logs_url": f"{address}/logs",
            "check_suite_url": f"{self.base.root(repository)}/check-suites/{run.id}",
            "artifacts_url": f"{address}/artifacts",
            "cancel_url": f"{address}/cancel",
            "rerun_url": f"{address}/rerun",
            "workflow_url": f"{self.base.root(repository)}/actions/workflows/{run.workflow.id}",
            "head_commit": None,
            "repository": home,
            "head_repository": home,
        }

    def run_address(self, repository: Repository, run: Run) -> str:
        """The API's address of a run."""
        return f"{self.base.root(repository)}/actions/runs/{run.id}"

    def job(self, repository: Repository, run: Run, job: Job) -> Object:
        """A job with its steps."""
        page = f"{self.base.page(repository)}/actions/runs/{run.id}/job/{job.id}"
        begun = job.started_at or run.created_at
        steps = [
            {"started_at": None, "completed_at": None, "conclusion": None, **step, "number": number}
            for number, step in enumerate(job.steps, 1)
        ]
        return {
            "id": job.id,
            "run_id": run.id,
            "workflow_name": run.workflow.name,
            "head_branch": run.head_branch,
            "run_url": self.run_address(repository, run),
            "run_attempt": run.attempt,
            "node_id": f"J_{job.id}",
            "head_sha": run.head_sha,
            "url": f"{self.base.root(repository)}/actions/jobs/{job.id}",
            "html_url": page,
            "status": job.status,
            "conclusion": job.conclusion,
            "created_at": time(run.created_at),
            "started_at": time(begun),
            "completed_at": time(job.completed_at),
            "name": job.name,
            "steps": steps,
            "check_run_url": f"{self.base.root(repository)}/check-runs/{job.id}",
            "labels": ["ubuntu-latest"],
            "runner_id": None,
            "runner_name": None,
            "runner_group_id": None,
            "runner_group_name": None,
        }
