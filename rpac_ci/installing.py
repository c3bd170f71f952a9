"""
How rpac installs packages: uv with the index settings of pip, and one builder at a time.

uv needs seconds where pip needs a minute; the package index is the one that pip is configured
for, so a mirror that works for pip works here.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rpac_ci import processes
from rpac_ci.errors import EnvironmentBuildError

BUILD_TIMEOUT_S = 7200.0  # of one command: compilers on a busy machine
# what an installer may know of our environment: no credentials of clouds or services
_ALLOWED = re.compile(
    r"PATH|HOME|LANG|LC_.*|TMPDIR|XDG_.*|PIP_.*|UV_.*|SSL_.*|.*_proxy", re.IGNORECASE
)


@contextmanager
def one_builder(folder: Path, stop: threading.Event | None) -> Iterator[int]:
    """
    Keep others from building the same folder; the kernel frees the lock when all holders have died.

    Raises:
        EnvironmentBuildError: `stop` was set while another one was building.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if (stop or threading.Event()).wait(0.2):
                    raise EnvironmentBuildError("the environment was given up") from None
        yield file.fileno()


class Uv:
    """uv, which holds the lock too: it may outlive us, and nobody must build beside it."""

    def __init__(self, held: int, stop: threading.Event | None) -> None:
        """
        Args:
            held: what `one_builder` gave.
            stop: set it to give the work up.
        """
        self._held = held
        self._stop = stop
        mine = {name: value for name, value in os.environ.items() if _ALLOWED.fullmatch(name)}
        self.environment = {
            "UV_LOCK_TIMEOUT": "1800",  # another process may be building the same package
            **mine,
            **_index_settings(),
            "NO_COLOR": "1",
        }

    def run(
        self, arguments: Sequence[str], failure: str, extra: Mapping[str, str] | None = None
    ) -> None:
        """Run one uv command; see `call`."""
        from uv import find_uv_bin

        self.call([find_uv_bin(), *arguments], failure, extra)

    def call(
        self, argv: Sequence[str], failure: str, extra: Mapping[str, str] | None = None
    ) -> str:
        """
        Run a command and return what it printed.

        Args:
            argv: the command.
            failure: what to say when it fails, before its own last words.
            extra: variables beside the ones every installer gets.

        Raises:
            EnvironmentBuildError: it failed, took too long, or `stop` was set.
        """
        try:
            done = processes.run(
                argv, timeout_s=BUILD_TIMEOUT_S, stop=self._stop,
                environment={**self.environment, **(extra or {})}, pass_fds=(self._held,),
            )  # fmt: skip
        except (TimeoutError, processes.StoppedError, OSError) as exc:
            raise EnvironmentBuildError(f"{failure}: {exc}") from exc
        if done.code:
            # compilers complain on one, and those who called them on the other
            texts = (done.out.strip()[-2000:], done.err.strip()[-1500:])
            raise EnvironmentBuildError("\n".join([f"{failure}:", *filter(None, texts)]))
        return done.out


def _index_settings() -> dict[str, str]:
    """What pip is configured for, in uv's words; what the user set for uv itself stays."""
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        out = processes.run(argv, timeout_s=60).out
    except (TimeoutError, OSError):
        return {}
    settings = {"UV_SYSTEM_CERTS": "1"}
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX",
             "find-links": "UV_FIND_LINKS"}  # fmt: skip
    for line in out.splitlines():
        key, _, value = line.partition("=")
        if key.endswith(".no-index") and value.strip("'\"").lower() in ("1", "true", "yes", "on"):
            settings["UV_NO_INDEX"] = "1"
        name = names.get(key.rpartition(".")[2])
        if name and name not in os.environ:
            words = value.strip("'\"").replace("\\n", " ").split()
            settings[name] = ("," if name == "UV_FIND_LINKS" else " ").join(words)
    return settings
