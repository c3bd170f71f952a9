"""One node's part in a run: take a place among the nodes, then lead or follow."""

from __future__ import annotations

import secrets
import signal
import threading
from dataclasses import replace

from rpac_ci.jobs import JobSpec, Keys, NodeExit
from rpac_ci.node import facts, rendezvous
from rpac_ci.node.contract import Contract, own_address
from rpac_ci.node.follower import Follower
from rpac_ci.node.main import Main
from rpac_ci.node.processes import become_subreaper, say
from rpac_ci.storage import Storage


def run(contract: Contract) -> int:
    """
    Take part in a run.

    Returns:
        The process's exit code (`jobs.NodeExit`).
    """
    storage = Storage(contract.store)
    keys = Keys(contract.run, contract.attempt)
    job = storage.get_json(keys.job)
    if job is None:
        say("there is no job in the store")
        return NodeExit.PLAN
    spec = JobSpec.from_json(job)
    become_subreaper()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    nonce = secrets.token_hex(8)
    address = contract.address or own_address()
    try:
        is_main = rendezvous.elect(storage, keys, nonce=nonce, index=contract.index)
        index = rendezvous.register(
            storage, keys, nonce=nonce, nodes=spec.nodes, index=0 if is_main else contract.index,
            facts={**facts.collect(), "address": address},
        )  # fmt: skip
    except rendezvous.StrayNodeError as exc:
        say(str(exc))
        return NodeExit.STRAY
    placed = replace(contract, index=index, address=address)
    return (Main if is_main else Follower)(placed, spec, storage, stop=stop).run()
