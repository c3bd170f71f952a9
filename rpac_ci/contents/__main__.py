"""`python -m rpac_ci.contents`: the child of `apart.py`."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import IO

from rpac_ci.contents.compare import compare_files
from rpac_ci.contents.findings import Wanted

GRACE_S = 10  # the parent ends the child at its limit; if that is gone, the child does so itself


def main() -> None:
    """Compare what standard input asks for; say one line for each pair."""
    request = json.load(sys.stdin)
    answers = _answers()
    warnings.simplefilter("ignore")
    if request["memory_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (request["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, reference, observed, wanted in request["pairs"]:
        signal.alarm(math.ceil(min(request["limit_s"], 10**8)) + GRACE_S)
        finding = compare_files(
            Path(reference), Path(observed), Wanted.from_json(wanted), name=name
        )
        answers.write(json.dumps(finding.to_json(), allow_nan=False) + "\n")
        answers.flush()


def _answers() -> IO[str]:
    """The real standard output; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


if __name__ == "__main__":
    main()
