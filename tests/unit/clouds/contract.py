"""
What every cloud promises (`clouds.interface`), as tests that each cloud runs against itself.

Subclass `CloudContract` in the cloud's test module and give it a `bench` fixture.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import secrets
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import pytest

from rpac_ci.clouds.interface import Cloud, Leftover
from rpac_ci.errors import CapacityError
from rpac_ci.jobs import PROTOCOL, JobSpec, JobState, Keys, RunId, Waits, content_key
from rpac_ci.storage import Storage
from tests.standins.waiting import until

# short enough for a test, long enough for a busy machine
WAITS = Waits(join=20, prepare=20, ready=10, heartbeat=10, stop=0.5, logs=2)
SLEEP = ("sleep", "600")
# names on a provider are made of run ids: processes that test side by side must not share them
_numbers = itertools.count(secrets.randbelow(16**7))
Needs: TypeAlias = dict[str, Any]


class Bench(Protocol):
    """A cloud to try, and the store that its runs live in."""

    @property
    def storage(self) -> Storage:
        """The store."""
        ...

    def connect(self) -> Cloud:
        """The cloud, as another driver would come to it."""
        ...

    def too_large(self, spec: JobSpec) -> JobSpec:
        """The same job with more than the cloud has."""
        ...


def make_job(
    storage: Storage, command: Sequence[str] = SLEEP, *, nodes: int = 1, **needs: Any
) -> JobSpec:
    """A job without code or data in the store; only its command counts, and what a cloud needs."""
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    archive = buffer.getvalue()
    source = content_key(hashlib.sha256(archive).hexdigest())
    storage.put(source, archive)
    spec = JobSpec(
        run=RunId(f"20260102T030405Z-{next(_numbers):08x}"), attempt=1, experiment="exp",
        engine="process", on_worker_loss="tolerate", command=list(command), args={}, data=[],
        source=source, outputs=["*.txt"], seed=None, nodes=nodes, cpus=1, memory_mib=16,
        time_limit_s=60, waits=WAITS,
    )  # fmt: skip
    spec = replace(spec, **needs)
    storage.create_json(Keys(spec.run).job, spec.to_json())
    return spec


def variables(storage: Storage, spec: JobSpec) -> dict[str, str]:
    """The node contract, as the submit step writes it."""
    return {
        "RPAC_RUN": spec.run,
        "RPAC_ATTEMPT": str(spec.attempt),
        "RPAC_NODES": str(spec.nodes),
        "RPAC_STORE": storage.url,
        "RPAC_PROTOCOL": str(PROTOCOL),
    }


@dataclass
class Started:
    """A job under way."""

    bench: Bench
    spec: JobSpec
    names: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def on(
        cls, bench: Bench, command: Sequence[str] = SLEEP, *, nodes: int = 1, **needs: Any
    ) -> Started:
        """Provision and submit."""
        started = cls(bench, make_job(bench.storage, command, nodes=nodes, **needs))
        bench.connect().provision(started.spec)
        started.names = started.submit()
        return started

    def submit(self) -> dict[str, Any]:
        """Submit it (again), by a driver of its own."""
        contract = variables(self.bench.storage, self.spec)
        return self.bench.connect().submit(self.spec, contract)

    @property
    def goes_on(self) -> bool:
        """Whether the cloud says so."""
        state = self.bench.connect().observe(self.spec, self.names).state
        return state in (JobState.PENDING, JobState.RUNNING)

    @property
    def left(self) -> list[Leftover]:
        """What the cloud still has of it."""
        return [left for left in self.bench.connect().leftovers() if left.run == self.spec.run]

    def await_command(self) -> None:
        """Until main is about to start the command."""
        until(lambda: self.bench.storage.head(Keys(self.spec.run).engine))


class CloudContract:
    """The promises."""

    @pytest.fixture
    def bench(self) -> Bench:
        """Each cloud's tests bring their own."""
        pytest.fail("a contract is not run by itself")

    @pytest.fixture
    def needs(self) -> Needs:
        """What this cloud's jobs need beyond the plainest one, as fields of `JobSpec`."""
        return {}

    def test_provisioning_twice_is_provisioning_once(self, bench: Bench, needs: Needs) -> None:
        job = Started(bench, make_job(bench.storage, nodes=2, **needs))
        first, left = bench.connect().provision(job.spec), job.left
        assert bench.connect().provision(job.spec) == first
        assert job.left == left

    def test_more_than_there_is_leaves_nothing(self, bench: Bench, needs: Needs) -> None:
        job = Started(bench, bench.too_large(make_job(bench.storage, **needs)))
        with pytest.raises(CapacityError) as caught:
            bench.connect().provision(job.spec)
        assert caught.value.hint
        assert job.left == []

    def test_a_job_runs_to_its_end_and_leaves_nothing(self, bench: Bench, needs: Needs) -> None:
        job = Started.on(bench, ["sh", "-c", "echo hello | tee $0/out.txt", "{outputs}"], **needs)
        assert job.goes_on
        until(lambda: not job.goes_on)
        result = bench.storage.get_json(Keys(job.spec.run).result)
        assert (result["reason"], result["exit_code"]) == ("completed", 0)
        assert [output["path"] for output in result["outputs"]] == ["out.txt"]

        released = bench.connect().release(job.spec)

        assert set(released["left"].values()) == {0}
        assert job.left == []
        assert bench.connect().release(job.spec)["left"] == released["left"], "may be repeated"

    def test_submitting_twice_starts_once_and_stopping_ends_it(
        self, bench: Bench, needs: Needs
    ) -> None:
        job = Started.on(bench, nodes=2, **needs)
        assert job.submit() == job.names
        job.await_command()
        assert job.submit() == job.names

        bench.connect().stop(job.spec, grace_s=10)

        assert not job.goes_on
        result = bench.storage.get_json(Keys(job.spec.run).result)
        assert result["reason"] == "cancelled", "the nodes had time to say so"
        bench.connect().stop(job.spec, grace_s=10)
        bench.connect().release(job.spec)
        assert job.left == []

    def test_a_job_that_never_was_is_unknown_and_may_be_stopped(
        self, bench: Bench, needs: Needs
    ) -> None:
        spec, cloud = make_job(bench.storage, **needs), bench.connect()
        assert cloud.observe(spec, {}).state is JobState.UNKNOWN
        assert cloud.node_log(spec, 0) == ""
        cloud.stop(spec, grace_s=10)
        cloud.release(spec)

    def test_leftovers_are_named_and_can_be_discarded(self, bench: Bench, needs: Needs) -> None:
        job = Started.on(bench, **needs)
        assert job.left

        def discarded() -> bool:
            """What a node starts while others are discarded is named the next time."""
            for left in job.left * 2:
                bench.connect().discard(left)
            return not (job.left or job.goes_on)

        until(discarded)

    def test_what_runs_have_made_is_not_idle(self, bench: Bench, needs: Needs) -> None:
        spec = make_job(bench.storage, **needs)
        bench.connect().provision(spec)
        assert bench.connect().idle([]) == []
        bench.connect().release(spec)

    def test_other_runs_are_left_alone(self, bench: Bench, needs: Needs) -> None:
        one, other = Started.on(bench, **needs), Started.on(bench, **needs)
        kinds = {left.kind for left in other.left}
        bench.connect().release(one.spec)
        assert not one.goes_on
        assert other.goes_on
        # of a kind there may be more by now: a node starts processes
        assert {left.kind for left in other.left} == kinds
        bench.connect().release(other.spec)

    def test_another_attempt_of_a_run_is_a_job_of_its_own(self, bench: Bench, needs: Needs) -> None:
        first = Started.on(bench, **needs)
        second = Started(bench, replace(first.spec, attempt=2))
        bench.connect().provision(second.spec)
        second.submit()
        bench.connect().release(first.spec)
        assert second.left
        bench.connect().release(second.spec)
        assert second.left == []
