"""
Horovod's rendezvous server, as a process on main: `HOSTS RANKS FILE`.

Runs in the experiment's environment, so it imports nothing of rpac_ci. Writes the port it listens
on into FILE, and serves until it is ended.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any


def main(hosts: str, ranks: int, file: Path) -> None:
    """Serve the addresses of `ranks` ranks on `hosts`, a list such as `a:2,b:2`."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.http.http_server import RendezvousServer

    server: Any = RendezvousServer()
    port = server.start()
    server.init(get_host_assignments(parse_hosts(hosts), ranks))
    incoming = file.with_suffix(".new")
    incoming.write_text(json.dumps({"port": port}))
    incoming.replace(file)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
