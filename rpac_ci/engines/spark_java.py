"""Java: which one runs Spark, and how its daemons are started quickly."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from rpac_ci.errors import CloudError

OLDEST = 17  # what Spark 4 runs on
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
# Daemons do little, so they get little: a small heap, one collector thread, quick compilation. That
# halves the processor time until they listen; executors and the driver keep Java's own choices.
_DAEMON = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


def find(variables: Mapping[str, str] = os.environ) -> str:
    """
    The `java` that Spark's own scripts would take: JAVA_HOME, else PATH.

    Raises:
        CloudError: there is none on this node, or it is too old.
    """
    home = variables.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else "java"
    version = _version(program)
    if version >= OLDEST:
        return program
    found = f"Java {version}" if version else "no Java"
    raise CloudError(
        f"engine spark needs Java {OLDEST} or later on every node, and {program!r} is {found}",
        hint=f"install one, such as Debian's openjdk-{OLDEST}-jre-headless, or set JAVA_HOME",
    )


@lru_cache
def _version(program: str) -> int:
    """The feature version of a `java`; 0 when it cannot be started."""
    try:
        done = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = _VERSION.search(done.stderr)
    return int(found[1]) if found else 0


def daemon(
    java: str, home: Path, scratch: Path, main_class: str, arguments: Sequence[str]
) -> list[str]:
    """
    Start one of Spark's daemons, without the script that would start Java twice.

    Args:
        java: the program.
        home: SPARK_HOME.
        scratch: folder for what Java unpacks.
        main_class: of the daemon.
        arguments: for it.
    """
    classes = ["-cp", str(home / "jars" / "*"), f"-Djava.io.tmpdir={scratch}"]
    return [java, *_DAEMON, *classes, main_class, *arguments]
