"""
The Dask engine: one scheduler on main, one worker on every node, TLS with keys of this run.

The command finds the cluster by `DASK_SCHEDULER_ADDRESS` and the keys by Dask's own configuration
variables, so `distributed.Client()` without arguments is enough. A plugin in the scheduler
(`inside/dask_preload.py`) writes down every worker that comes and goes: that list, not the request,
is what the record counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpac_ci.engines.interface import EngineDefaults, NodeContext, Role

_PRELOAD = Path(__file__).parent / "inside" / "dask_preload.py"


class DaskEngine(EngineDefaults):
    """See `engines.interface.Engine`."""

    packages = ("distributed",)

    def new_secret(self) -> dict[str, str]:
        """A certificate that signs itself, and its key: only holders of both can connect."""
        return _self_signed()

    def main_roles(self, node: NodeContext) -> list[Role]:
        """The scheduler, on a free port of main's address."""
        argv = [
            node.interpreter, "-m", "distributed.cli.dask_scheduler",
            "--protocol", "tls", "--host", node.address, "--port", "0",
            "--scheduler-file", str(_scheduler_file(node)),
            "--no-dashboard", "--no-show", "--preload", str(_PRELOAD),
            *_tls_options(node),
        ]  # fmt: skip
        environment = {**_tls_environment(node), "RPAC_DASK_EVENTS": str(_events_file(node))}
        return [Role(name="scheduler", argv=argv, environment=environment)]

    def announce(self, node: NodeContext) -> dict[str, Any] | None:
        """The scheduler's address, once it has written it."""
        try:
            address = json.loads(_scheduler_file(node).read_text())["address"]
        except (OSError, ValueError, KeyError):
            return None
        return {"address": address}

    def worker_roles(self, node: NodeContext, announced: Mapping[str, Any]) -> list[Role]:
        """One worker with a nanny, as many threads as the node has cpus."""
        spec = node.spec
        argv = [
            node.interpreter, "-m", "distributed.cli.dask_worker", announced["address"],
            "--name", f"node-{node.index}", "--nworkers", "1", "--nthreads", str(spec.cpus),
            "--memory-limit", f"{_worker_memory_mib(spec.memory_mib)}MiB",
            "--host", node.address, "--no-dashboard",
            "--local-directory", str(node.folder / "spill"),
            "--death-timeout", str(int(spec.waits.ready)),
            *_tls_options(node),
        ]  # fmt: skip
        return [Role(name="worker", argv=argv, environment=_tls_environment(node))]

    def ready(self, node: NodeContext) -> bool:
        """As many workers as nodes have connected."""
        return bool(self.workers(node)["alive"] >= node.spec.nodes)

    def workers(self, node: NodeContext) -> Mapping[str, Any]:
        """Counted from the scheduler's own events."""
        alive: set[str] = set()
        seen: set[str] = set()
        lost = 0
        for event in _events(node):
            if event["event"] == "add":
                alive.add(event["address"])
                seen.add(event["address"])
            elif event["event"] == "remove" and event["address"] in alive:
                alive.discard(event["address"])
                lost += 1
        return {"asked": node.spec.nodes, "seen": len(seen), "alive": len(alive), "lost": lost}

    def command_environment(
        self, node: NodeContext, announced: Mapping[str, Any]
    ) -> dict[str, str]:
        """Enough for `distributed.Client()`."""
        return {"DASK_SCHEDULER_ADDRESS": announced["address"], **_tls_environment(node)}

    def facts(self, node: NodeContext) -> dict[str, Any]:
        """Versions by the scheduler's account, and the layout."""
        starts = [e["versions"] for e in _events(node) if e["event"] == "start"]
        threads = [e["nthreads"] for e in _events(node) if e["event"] == "add"]
        return {
            "name": "dask",
            "versions": starts[0] if starts else {},
            "threads_per_worker": max(threads, default=0),
            "protocol": "tls",
        }


def _worker_memory_mib(node_mib: int) -> int:
    """
    What a worker may hold before Dask spills and, at last, ends it.

    Less than the node has: a container that is full is ended by the kernel, who spills nothing and
    asks nobody. The rest is for the node program, the nanny and, on main, scheduler and command.
    """
    return node_mib - min(256, node_mib // 4)


def _scheduler_file(node: NodeContext) -> Path:
    return node.folder / "scheduler.json"


def _events_file(node: NodeContext) -> Path:
    return node.folder / "workers.jsonl"


def _events(node: NodeContext) -> list[dict[str, Any]]:
    try:
        lines = _events_file(node).read_text().split("\n")[:-1]  # the last one may be half written
    except OSError:
        return []
    return [json.loads(line) for line in lines]


def _key_files(node: NodeContext) -> tuple[Path, Path]:
    paths = node.folder / "tls.crt", node.folder / "tls.key"
    for path, name in zip(paths, ("certificate", "key"), strict=True):
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(node.secret[name])
    return paths


def _tls_options(node: NodeContext) -> list[str]:
    certificate, key = map(str, _key_files(node))
    return ["--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key]


def _tls_environment(node: NodeContext) -> dict[str, str]:
    certificate, key = map(str, _key_files(node))
    prefix = "DASK_DISTRIBUTED__COMM__"
    return {
        f"{prefix}REQUIRE_ENCRYPTION": "True",
        f"{prefix}TLS__CA_FILE": certificate,
        **{
            f"{prefix}TLS__{role}__{part}": path
            for role in ("SCHEDULER", "WORKER", "CLIENT")
            for part, path in (("CERT", certificate), ("KEY", key))
        },
    }


def _self_signed() -> dict[str, str]:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rpac run")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of nodes may be off
        .not_valid_after(now + timedelta(days=60))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return {
        "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    }


ENGINE = DaskEngine()
