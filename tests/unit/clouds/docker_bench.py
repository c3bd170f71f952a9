"""Containers to try things in, on the engine of this machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rpac_ci.clouds.local.docker_engine import connect
from rpac_ci.clouds.local.driver import LocalCloud
from rpac_ci.jobs import JobSpec, Keys
from rpac_ci.storage import Storage
from tests.standins.waiting import until
from tests.unit.clouds.contract import Needs, Started

MEMORY_MIB = 256  # the node program itself takes about a third of it


@dataclass(frozen=True)
class DockerBench:
    """The local cloud over a folder, its nodes in containers."""

    storage: Storage
    scratch: Path
    image: str

    @property
    def client(self) -> Any:
        """The engine, to look at what is there and to do harm."""
        return connect()

    @property
    def needs(self) -> Needs:
        """What a job needs here."""
        return {"runtime": "docker", "image": self.image, "memory_mib": MEMORY_MIB}

    def connect(self) -> LocalCloud:
        return LocalCloud(self.scratch, self.storage.url)

    def too_large(self, spec: JobSpec) -> JobSpec:
        return replace(spec, memory_mib=10**9)

    def run(self, script: str, *, nodes: int = 1, **needs: Any) -> dict[str, Any]:
        """The result of a job whose command is a shell script with the outputs' folder as `$0`."""
        job = Started.on(self, ["sh", "-c", script, "{outputs}"], nodes=nodes, **self.needs | needs)
        try:
            until(lambda: not job.goes_on, limit_s=60)
            result: dict[str, Any] = self.storage.get_json(Keys(job.spec.run).result)
            return result
        finally:
            self.connect().release(job.spec)

    def output(self, result: dict[str, Any]) -> str:
        """The one output of a job."""
        [output] = result["outputs"]
        [found] = self.scratch.parent.glob(f"store/runs/*/attempt/1/outputs/{output['sha256']}")
        return found.read_text()


def bench_in(folder: Path, image: str) -> Iterator[DockerBench]:
    """A bench; what a failed test has left is removed after it."""
    bench = DockerBench(Storage.at(folder / "store"), folder / "scratch", image)
    yield bench
    for left in bench.connect().leftovers():
        bench.connect().discard(left)


class Derived:
    """Images with more instructions on top of another one; nothing is run to make them."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._made: list[str] = []

    def __call__(self, *instructions: str) -> str:
        """The id of one more."""
        client: Any = connect()
        lines = "\n".join([f"FROM {self._image}", *instructions, 'LABEL rpac.test="yes"'])
        said = client.build(fileobj=io.BytesIO(lines.encode()), rm=True, decode=True, pull=False)
        ids = [answer["aux"]["ID"] for answer in said if "ID" in answer.get("aux", {})]
        self._made.append(ids[-1])
        return self._made[-1]

    def remove(self) -> None:
        """All of them."""
        client: Any = connect()
        for image in set(self._made):
            client.remove_image(image, force=True)
