"""
What an account of Azure Batch does over time: pools that are allocated, or only in part; nodes that
start, or become unusable; jobs and tasks with their states; deletions that take their time.

Codes and messages are those of Microsoft's reference of the Batch service. Not known from there,
and ours: the codes of an image that cannot be pulled, and of a task that ran into its wall clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.standins.azure.state import (
    SIZES,
    Job,
    Json,
    Node,
    Pool,
    RefusedError,
    Settings,
    Task,
    check_id,
    invalid,
    now,
    seconds,
)
from tests.standins.azure.tasks import NODE_ROOT, Execution, Order, Runner

TICK_S = 0.02


class Service:
    """The account."""

    def __init__(
        self, account: str, url: str, runner: Runner, folder: Path, environment: Mapping[str, str]
    ) -> None:
        """
        Args:
            account: its name.
            url: of the data plane.
            runner: of tasks.
            folder: of the nodes' folders.
            environment: of every task beyond its own: how a node finds its machine's identity.
        """
        self.account, self.url = account, url
        self.settings = Settings()
        self.pools: dict[str, Pool] = {}
        self.jobs: dict[str, Job] = {}
        self.strays: list[Execution] = []
        # as the service tells it; None while it does not know yet
        self.exit_code: Callable[[Task, int], int | None] = lambda _, code: code
        self.lock = threading.RLock()
        self.runner, self._folder, self._environment = runner, folder, environment
        self._pulling = ThreadPoolExecutor(4)
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)
        self._clock.start()

    def close(self) -> None:
        """End everything."""
        self._over.set()
        self._clock.join()
        for job in self.jobs.values():
            for task in job.tasks.values():
                if task.running:
                    task.running.kill()
        for stray in self.strays:
            stray.kill()
        self._pulling.shutdown(wait=False, cancel_futures=True)

    # --- pools ------------------------------------------------------------------------------------

    def create_pool(self, name: str, asked: Json) -> Pool:
        """A new pool; its nodes come later."""
        if name in self.pools:
            gone = self.pools[name].state == "deleting"
            raise RefusedError(409, "PoolBeingDeleted" if gone else "PoolExists", f"pool {name}")
        if len(self.pools) >= self.settings.pools:
            raise RefusedError(409, "PoolQuotaReached", "Pool quota for the account was reached.")
        pool = Pool(id=name, asked=asked)
        self._check_pool(pool)
        self.pools[name] = pool
        return pool

    def _check_pool(self, pool: Pool) -> None:
        properties, (dedicated, spot) = pool.asked["properties"], pool.targets
        if properties["vmSize"] not in SIZES:
            raise invalid(f"vmSize {properties['vmSize']} is not supported")
        if spot and self.settings.mode != "UserSubscription":
            raise invalid("low-priority nodes are retired for this pool allocation mode")
        if properties.get("interNodeCommunication") == "Enabled" and dedicated + spot > 100:
            raise invalid("too many nodes for inter-node communication")
        wanted = pool.machine["imageReference"]
        known = [
            one
            for one in self.settings.images
            if one["imageReference"] == wanted
            and one["nodeAgentSKUId"] == pool.machine["nodeAgentSkuId"]
        ]
        if not known:
            raise invalid("imageReference and nodeAgentSKUId are no supported pair")
        if known[0].get("batchSupportEndOfLife", "9") < now():
            raise invalid("the image is past its end of life")
        if "containerConfiguration" in pool.machine and not known[0]["capabilities"]:
            raise invalid("the image cannot run containers")

    def pool(self, name: str) -> Pool:
        """One that is there, or being deleted."""
        found: Pool = _find(self.pools, name, "Pool")
        return found

    def delete_pool(self, name: str) -> None:
        """It is gone after a while."""
        pool = self.pool(name)
        if pool.state == "deleting":
            raise RefusedError(409, "PoolBeingDeleted", f"pool {name} is being deleted")
        pool.become("deleting")
        for node in pool.nodes:
            node.become("leavingpool")
            if node.task and node.task.running:
                node.task.running.kill()
                node.task.running = None
                node.task.become("active")
                node.task.info["requeueCount"] += 1

    # --- jobs -------------------------------------------------------------------------------------

    def create_job(self, asked: Json) -> None:
        """A new job."""
        name = check_id(asked["id"])
        if name in self.jobs:
            gone = self.jobs[name].state == "deleting"
            raise RefusedError(409, "JobBeingDeleted" if gone else "JobExists", f"job {name}")
        open_jobs = sum(job.state not in ("completed", "deleting") for job in self.jobs.values())
        if open_jobs >= self.settings.jobs:
            raise RefusedError(409, "ActiveJobAndScheduleQuotaReached", "too many active jobs")
        self.jobs[name] = Job(asked=asked)

    def job(self, name: str) -> Job:
        """One that is there, or being deleted."""
        found: Job = _find(self.jobs, name, "Job")
        return found

    def open_job(self, name: str) -> Job:
        """One that can be changed."""
        job = self.job(name)
        codes = {"deleting": "JobBeingDeleted", "terminating": "JobBeingTerminated",
                 "completed": "JobCompleted"}  # fmt: skip
        if job.state in codes:
            raise RefusedError(409, codes[job.state], f"job {name} is {job.state}")
        return job

    def terminate_job(self, name: str, reason: str) -> None:
        """It ends with its running tasks; others will never run."""
        self._terminate(self.open_job(name), reason)

    def _terminate(self, job: Job, reason: str) -> None:
        job.become("terminating")
        job.reason = reason
        for task in job.tasks.values():
            self._end(task, "TaskEnded", "Task Was Ended by User Request")

    def delete_job(self, name: str) -> None:
        """It is gone after a while, with its tasks and their files."""
        job = self.job(name)
        if job.state == "deleting":
            raise RefusedError(409, "JobBeingDeleted", f"job {name} is being deleted")
        self._terminate(job, "deleted")
        job.become("deleting")

    # --- tasks ------------------------------------------------------------------------------------

    def create_task(self, job: Job, asked: Json) -> None:
        """A new task."""
        name = check_id(asked["id"])
        if name in job.tasks:
            raise RefusedError(409, "TaskExists", f"task {name}")
        pool = self.pools.get(job.pool)
        if pool and ("containerConfiguration" in pool.machine) != ("containerSettings" in asked):
            raise invalid("containerSettings are for pools with containers, and for these only")
        job.tasks[name] = Task(asked=asked)

    def rerun(self, job: str, task: str, *, alone: bool = True) -> None:
        """
        Start a task again, as after the recovery of its node.

        Args:
            alone: what ran before has ended with its machine; else it still goes on, unseen.
        """
        with self.lock:
            found = self.jobs[job].tasks[task]
            assert found.running
            assert found.node
            if alone:
                found.running.kill()
            self.strays.append(found.running)
            found.running = None
            found.node.task = None
            found.node.become("idle")
            found.info["requeueCount"] += 1
            found.become("active")

    def preempt(self, pool: str) -> None:
        """Azure takes a node of the pool back, whose task waits for another."""
        with self.lock:
            node = self.pools[pool].nodes[0]
            node.become("preempted")
            task, node.task = node.task, None
            if task and task.running:
                task.running.kill()
                task.running = None
                task.info["requeueCount"] += 1
                task.become("active")

    def _end(self, task: Task, code: str, message: str) -> None:
        """End a task that runs."""
        if task.state not in ("running", "preparing"):
            return
        failure = {"category": "usererror", "code": code, "message": message}
        self._complete(task, {"failureInfo": failure, "result": "failure"})

    def _complete(self, task: Task, more: Json) -> None:
        if task.running and task.running.poll() is None:
            task.running.kill()
        task.info = {**task.info, "endTime": now(), **more}
        task.become("completed")
        if task.node and task.node.task is task:
            task.node.task = None
            if task.node.state == "running":
                task.node.become("idle")

    # --- time -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            with self.lock:
                for pool in [*self.pools.values()]:
                    self._go_on_with_pool(pool)
                for job in [*self.jobs.values()]:
                    self._go_on_with_job(job)

    def _go_on_with_pool(self, pool: Pool) -> None:
        if pool.state == "deleting":
            if pool.age_s > self.settings.deletion_s:
                del self.pools[pool.id]
            return
        if pool.allocation.state == "resizing":
            self._allocate(pool)
        for node in pool.nodes:
            self._go_on_with_node(pool, node)

    def _allocate(self, pool: Pool) -> None:
        wanted, passed = sum(pool.targets), pool.allocation.age_s
        if passed < self.settings.allocation_s:
            return
        family, cores = SIZES[pool.asked["properties"]["vmSize"]]
        taken = sum(len(other.nodes) for other in self.pools.values())
        per_family = self.settings.per_family
        most = self.settings.families.get(family, 0) if per_family else self.settings.cores
        limit = most // cores
        for _ in range(min(wanted - len(pool.nodes), min(self.settings.machines, limit) - taken)):
            pool.nodes.append(self._new_node(pool))
        if len(pool.nodes) == wanted:
            pool.allocation.become("steady")
        elif passed > self.settings.resize_s:
            pool.allocation.become("steady")
            quota = limit <= taken
            reached = "AccountVMSeriesCoreQuotaReached" if per_family else "AccountCoreQuotaReached"
            code = reached if quota else "AllocationTimedout"
            said = "Desired number of dedicated nodes could not be allocated"
            pool.errors = [{"code": code, "message": said}]

    def _new_node(self, pool: Pool) -> Node:
        node = Node(stuck=self.settings.stuck > 0, unusable=self.settings.unusable > 0)
        self.settings.stuck = max(0, self.settings.stuck - 1)
        self.settings.unusable = max(0, self.settings.unusable - 1)
        images = pool.machine.get("containerConfiguration", {}).get("containerImageNames", [])
        node.image = self._pulling.submit(self._prepare, images)
        (self._folder / node.id).mkdir(parents=True)
        authority = self._folder.parent / "authority.pem"
        (self._folder / node.id / "authority.pem").write_bytes(authority.read_bytes())
        return node

    def _prepare(self, images: list[str]) -> None:
        for image in images:
            self.runner.prepare(image)

    def _go_on_with_node(self, pool: Pool, node: Node) -> None:
        if node.state == "creating":
            node.become("starting")
        if node.state != "starting" or node.stuck or node.age_s < self.settings.start_s:
            return
        if node.unusable:
            node.error = "The machine did not come up"
        elif node.image is None or not node.image.done():
            return
        elif node.image.exception():
            node.error = f"An image could not be pulled: {node.image.exception()}"
        node.become("unusable" if node.error else "idle")

    def _go_on_with_job(self, job: Job) -> None:
        for task in job.tasks.values():
            self._go_on_with_task(task)
        if job.state == "active":
            self._schedule(job)
            limit = job.asked.get("constraints", {}).get("maxWallClockTime")
            ended = all(task.state == "completed" for task in job.tasks.values())
            if limit and time.monotonic() - job.born > seconds(limit):
                self._terminate(job, "MaxWallClockTimeExpiry")
            elif ended and job.asked.get("onAllTasksComplete") == "terminatejob":
                self._terminate(job, "AllTasksCompleted")
        elif job.state == "terminating":
            job.become("completed")
            job.ended = now()
        elif job.state == "deleting" and job.age_s > self.settings.deletion_s:
            del self.jobs[job.asked["id"]]

    def _schedule(self, job: Job) -> None:
        waiting = [task for task in job.tasks.values() if task.state == "active"]
        pool = self.pools.get(job.pool) if waiting else None
        free = [n for n in pool.nodes if n.state == "idle"] if pool else []
        for task, node in zip(waiting, free, strict=False):
            node.become("running")
            node.task, task.node = task, node
            task.info = {**task.info, "startTime": now()}
            task.running = self.runner.start(self._order(job, task, node))
            task.become("running")

    def _order(self, job: Job, task: Task, node: Node) -> Order:
        settings = task.asked["containerSettings"]
        own = {one["name"]: one["value"] for one in task.asked.get("environmentSettings", [])}
        batch = {
            "AZ_BATCH_ACCOUNT_NAME": self.account, "AZ_BATCH_JOB_ID": job.asked["id"],
            "AZ_BATCH_TASK_ID": task.id, "AZ_BATCH_POOL_ID": job.pool, "AZ_BATCH_NODE_ID": node.id,
            "AZ_BATCH_NODE_ROOT_DIR": NODE_ROOT,
        }  # fmt: skip
        return Order(
            command=task.asked["commandLine"], image=settings["imageName"],
            options=settings.get("containerRunOptions", ""), folder=self._folder / node.id,
            environment={**self._environment, **batch, **own},
        )  # fmt: skip

    def _go_on_with_task(self, task: Task) -> None:
        if task.state != "running" or task.running is None:
            return
        limit = task.asked.get("constraints", {}).get("maxWallClockTime")
        code = task.running.poll()
        code = None if code is None else self.exit_code(task, code)
        if code is None:
            if limit and task.age_s > seconds(limit):
                self._end(task, "TaskEnded", "The task ran into its wall clock limit")
            return
        more: Json = {"exitCode": code, "result": "failure" if code else "success"}
        if code:
            more["failureInfo"] = {
                "category": "usererror", "code": "FailureExitCode",
                "message": "The task exited with an exit code representing a failure",
                "details": [{"name": "Message", "value": f"The task exited with code {code}"}],
            }  # fmt: skip
        self._complete(task, more)

    def live(self) -> Iterator[Task]:
        """Tasks that run now."""
        with self.lock:
            for job in self.jobs.values():
                yield from [t for t in job.tasks.values() if t.state == "running"]


def _find(things: Mapping[str, Any], name: str, kind: str) -> Any:
    for known, thing in things.items():
        if known.lower() == name.lower():
            return thing
    raise RefusedError(404, f"{kind}NotFound", f"The specified {kind.lower()} does not exist.")
