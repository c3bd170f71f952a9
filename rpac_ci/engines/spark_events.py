"""
What applications really ran with and did, by their own event logs.

A command may start several applications, one after another or none at all, and may change any of
the settings it was given. The logs are read on from where they were read last, so that nothing is
read twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PARALLELISM = "spark.default.parallelism"
SHUFFLE = "spark.sql.shuffle.partitions"
ADAPTIVE = "spark.sql.adaptive.enabled"
_RUNNING = ".inprogress"  # how Spark marks the log of an application that has not ended
_TASK_END = b'{"Event":"SparkListenerTaskEnd"'
_SUCCESS = b'"Task End Reason":{"Reason":"Success"}'


@dataclass(slots=True)
class Application:
    """One application as far as its log has been read."""

    offset: int = 0  # of the log, in bytes
    ended: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, set[str]] = field(default_factory=dict)  # all values a query ran with
    cores: dict[str, int] = field(default_factory=dict)  # of each executor it has had
    lost: set[str] = field(default_factory=set)  # executors that went before its end
    tasks: int = 0
    failed: int = 0

    def note(self, line: bytes) -> None:
        """Take in one event."""
        if line.startswith(_TASK_END):  # most events are such, and long
            self.tasks += 1
            self.failed += _SUCCESS not in line
            return
        event: dict[str, Any] = json.loads(line)
        match event["Event"].rpartition(".")[2]:
            case "SparkListenerLogStart":
                self.versions["spark"] = event["Spark Version"]
            case "SparkListenerEnvironmentUpdate":
                self._note_environment(event)
            case "SparkListenerExecutorAdded":
                self.cores[event["Executor ID"]] = event["Executor Info"]["Total Cores"]
            case "SparkListenerExecutorRemoved" if not self.ended:
                self.lost.add(event["Executor ID"])
            case "SparkListenerApplicationEnd":
                self.ended = True
            case "SparkListenerSQLExecutionStart":
                for name, value in (event.get("modifiedConfigs") or {}).items():
                    self.settings.setdefault(name, set()).add(value)
            case _:
                pass

    def _note_environment(self, event: dict[str, Any]) -> None:
        java = event["JVM Information"]
        self.versions["java"] = java["Java Version"].partition(" ")[0]
        self.versions["scala"] = java["Scala Version"].removeprefix("version ")
        for name, value in event["Spark Properties"].items():
            self.settings.setdefault(name, set()).add(value)


class EventLogs:
    """The logs in one folder."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: `spark.eventLog.dir`.
        """
        self._folder = folder
        self._applications: dict[str, Application] = {}

    def read(self) -> list[Application]:
        """All applications in the order of their ids, which is that of their start."""
        for path in self._logs():
            name = path.name.removesuffix(_RUNNING)
            application = self._applications.setdefault(name, Application())
            for line in _lines(path, application):
                application.note(line)
        return [application for _, application in sorted(self._applications.items())]

    def _logs(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [path for path in self._folder.iterdir() if path.is_file() and path.name[0] != "."]


def _lines(path: Path, application: Application) -> Iterator[bytes]:
    """Complete lines that were not read yet."""
    try:
        with path.open("rb") as file:
            file.seek(application.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written
                application.offset += len(line)
                yield line
    except FileNotFoundError:
        return  # it has just got its final name


def facts(applications: list[Application]) -> dict[str, Any]:
    """
    What the record says of a command's applications, all of them together.

    Returns:
        Plain values. A setting that differed between applications or queries has all of its values,
        separated by commas; one that was never set is left out.
    """
    cores = {n for application in applications for n in application.cores.values()}
    settings = {
        "parallelism": _setting(applications, PARALLELISM),
        "shuffle_partitions": _setting(applications, SHUFFLE),
        "adaptive": _setting(applications, ADAPTIVE),
    }
    return {
        "versions": {k: v for application in applications for k, v in application.versions.items()},
        "applications": len(applications),
        "executors": max((len(application.cores) for application in applications), default=0),
        "executors_lost": sum(len(application.lost) for application in applications),
        "threads_per_worker": max(cores, default=0),
        "tasks": sum(application.tasks for application in applications),
        "tasks_failed": sum(application.failed for application in applications),
        **{name: value for name, value in settings.items() if value},
    }


def _setting(applications: list[Application], name: str) -> str:
    values = {value for application in applications for value in application.settings.get(name, ())}
    return ", ".join(sorted(values))
