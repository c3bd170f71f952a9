"""Nodes of AWS Batch that are none: what they would leave in the store, written for them."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from rpac_ci.canonical import canonical_json
from rpac_ci.jobs import Keys
from rpac_ci.node import facts
from rpac_ci.storage import Storage
from tests.standins.aws import Call


@dataclass
class Nodes:
    """Writes into the store what one node leaves there, as soon as its job is submitted."""

    storage: Storage
    work: bool = True
    metrics: bytes = json.dumps({"level": 7}).encode()
    jobs: list[str] = field(default_factory=list)  # that were submitted, by name

    def hear(self, call: Call) -> None:
        """One call that AWS has done."""
        if call.action == "submitjob":
            name = json.loads(call.body)["jobName"]
            self.jobs.append(name)
            if self.work:
                self.end(name.partition("-")[2].rpartition("-")[0])

    def end(self, run: str) -> None:
        """From the registration to the last word, see `node.main` and `node.member`."""
        keys, sha256 = Keys(run), hashlib.sha256(self.metrics).hexdigest()
        nonce = secrets.token_hex(8)
        if not self.storage.create_json(keys.main, {"nonce": nonce}):
            return  # a stray: another job's node was first
        about = {**facts.collect(), "index": 0, "address": "10.0.0.5", "nonce": nonce}
        self.storage.create_json(keys.node(0), about)
        self.storage.put(keys.world, canonical_json({"nodes": [about]}))
        self.storage.put(keys.prepared(0), canonical_json({"error": ""}))
        self.storage.put(f"{keys.outputs}{sha256}", self.metrics)
        size = len(self.metrics)
        output = {"path": "metrics.json", "sha256": sha256, "size": size}
        phases = [{"name": "command", "start_s": 0.1, "duration_s": 0.1}]
        result: dict[str, Any] = {
            "reason": "completed", "message": "", "exit_code": 0, "log": "", "phases": phases,
            "determinism": {}, "workers": {}, "engine": {}, "outputs": [output], "extra": [],
        }  # fmt: skip
        self.storage.create_json(keys.result, result)
        self.storage.put(keys.done, b"")
        self.storage.put(keys.final(0), canonical_json({"index": 0}))
