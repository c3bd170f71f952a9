"""Processes of this machine: what is given up is ended, and so is what it has started."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rpac_ci import processes
from tests.standins.waiting import until

# a shell that waits for a program of its own
PARENT = 'sleep 600 & echo $! > "$1.new" && mv "$1.new" "$1" && wait'


def test_what_a_child_has_started_is_ended_with_it(tmp_path: Path) -> None:
    file, stop = tmp_path / "pid", threading.Event()

    def stop_once_it_runs() -> None:
        until(file.exists)
        stop.set()

    watcher = threading.Thread(target=stop_once_it_runs)
    watcher.start()
    with pytest.raises(processes.StoppedError):
        processes.run(["sh", "-c", PARENT, "sh", str(file)], timeout_s=60, stop=stop)
    watcher.join()
    until(lambda: processes.started(int(file.read_text())) is None)
