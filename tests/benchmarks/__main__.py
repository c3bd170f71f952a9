"""
`make bench`: ratios against the bare tools, measured side by side in one run;
`make bench P="engines containers"` measures these parts alone.

Each line is the median of a few repetitions with the smallest and largest in brackets. Nothing is
asserted: a table is for reading.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

RPAC = [sys.executable, "-m", "rpac_ci"]
MAIN = "import pathlib, sys; pathlib.Path(sys.argv[1], 'metrics.json').write_text('{\"one\": 1}')\n"
YAML = """\
id: trivial
title: Nothing but overhead
engine: process
command: [python, main.py, "{outputs}"]
verify: {one: {expect: 1}}
"""


def timed(action: Callable[[], object], times: int = 7) -> list[float]:
    """Seconds of each repetition, after one that does not count."""
    action()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return seconds


def run(*argv: str, cwd: Path | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def show(what: str, ours: list[float], bare: list[float]) -> None:
    def spread(seconds: list[float]) -> str:
        low, high = min(seconds), max(seconds)
        return f"{statistics.median(seconds):7.3f} s [{low:.3f}, {high:.3f}]"

    ratio = statistics.median(ours) / statistics.median(bare)
    more = statistics.median(ours) - statistics.median(bare)
    print(f"{what:<44} {spread(ours):<28} {spread(bare):<28} {ratio:6.2f} {more:+7.3f} s")


def machine() -> str:
    """What was measured on, and when."""
    from rpac_ci.node.facts import collect

    facts = collect()
    memory = f"{facts['memory_total_mib'] / 1024:.0f} GiB"
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{facts['cpu']}, {facts['cpus_online']} cores, {memory}; {facts['kernel']}; "
        f"Python {python}; {time.strftime('%Y-%m-%d', time.gmtime())}; "
        f"load {os.getloadavg()[0]:.1f}"
    )


def main(names: list[str]) -> None:
    """Measure the parts of these names, in the table's order; all of them where none is given."""
    # which need the functions above
    from tests.benchmarks import (
        aws,
        azure,
        blob,
        bot,
        commands,
        compiling,
        containers,
        contents,
        dask,
        engines,
        gpu,
        history,
        policy,
        s3,
    )

    parts: dict[str, Callable[[Path], None]] = {
        "overhead": overhead,
        "staging": staging,
        "dask": dask.main,
        "engines": engines.main,
        "gpu": gpu.main,
        "containers": containers.main,
        "aws": aws.main,
        "azure": azure.main,
        "s3": lambda _: s3.main(),
        "blob": lambda _: blob.main(),
        "history": lambda _: history.main(),
        "contents": lambda _: contents.main(),
        "commands": lambda _: commands.main(),
        "compiling": lambda _: compiling.main(),
        "policy": lambda _: policy.main(),
        "bot": lambda _: bot.main(),
    }
    if unknown := sorted(set(names) - set(parts)):
        sys.exit(f"no such part: {', '.join(unknown)}; there are: {', '.join(parts)}")
    print(machine())
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: bytecode is there
    print(f"{'':<44} {'rpac':<28} {'bare':<28} {'ratio':>6} {'more':>9}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # environments take minutes to make, and are not what is measured
        os.environ["RPAC_CACHE"] = os.environ.get("RPAC_TEST_CACHE") or str(folder / "cache")
        repository = folder / "repository"
        repository.mkdir()
        run("git", "init", "--quiet", cwd=repository)
        for part, measure in parts.items():
            if part in names or not names:
                measure(repository)


def overhead(repository: Path) -> None:
    """What rpac needs itself: its help, and a run of an experiment that does nothing."""
    start = timed(lambda: run(*RPAC, "--help"))
    show("rpac --help, python -c pass", start, timed(lambda: run(sys.executable, "-c", "pass")))
    experiment = commit(repository, "trivial", {"experiment.yaml": YAML, "main.py": MAIN})
    show(
        "trivial experiment, start to commit",
        timed(lambda: run(*RPAC, "reproduce", "trivial", "--quiet", cwd=repository)),
        timed(lambda: run(sys.executable, "main.py", str(repository.parent), cwd=experiment)),
    )


def commit(repository: Path, name: str, files: Mapping[str, str | bytes]) -> Path:
    """The folder of an experiment of these files, committed."""
    folder = repository / "experiments" / name
    folder.mkdir(parents=True)
    for path, content in files.items():
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
    run("git", "add", ".", cwd=repository)
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    run("git", *identity, "commit", "--quiet", "--message", f"add {name}", cwd=repository)
    return folder


def staging(repository: Path) -> None:
    """Hashing and keeping a file, against sha256sum; then again, which reads nothing."""
    from rpac_ci.sources import ContentCache, fetch

    folder = repository.parent
    data = folder / "data.bin"
    with data.open("wb") as file:
        for _ in range(1024):
            file.write(os.urandom(1 << 20))

    def cold() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            fetch("file:data.bin", folder=folder, cache=ContentCache(Path(name)))

    warm = ContentCache(folder / "warm")
    bare = timed(lambda: run("sha256sum", str(data)), 5)
    show("staging 1 GiB, sha256sum", timed(cold, 5), bare)
    again = timed(lambda: fetch("file:data.bin", folder=folder, cache=warm), 5)
    show("staging it a second time, sha256sum", again, bare)


if __name__ == "__main__":
    main(sys.argv[1:])
