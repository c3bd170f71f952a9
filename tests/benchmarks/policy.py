"""
`python -m tests.benchmarks.policy`: decisions a second, for requests that end early and late.

Each line is the median of a few repetitions. Nothing is asserted: a table is for reading.
"""

from __future__ import annotations

import statistics

from rpac_ci.policy import decide
from rpac_ci.site_config import parse_site_text
from tests.benchmarks.__main__ import timed
from tests.unit.policy_cases import FORK, FREE, approve, ask, paid

TIMES = 5_000
SETTINGS = b"""\
roles: {reproduce: triage}
auto_approve_below: 0.50 USD
budgets: {run: 5 USD, month: 100 USD}
allow: {clouds: [local, aws], regions: {aws: [us-west-2]}, machines: {aws: ["c7i.*"]}}
rerun: [{experiments: ["*"], every: 30 d}]
"""


def main() -> None:
    """Print one line for each kind of request."""
    cases = {
        "a bot": ask(person_kind="Bot"),
        "a role that is too low": ask(person_role="read"),
        "proceeds": FREE,
        "from a fork, asks": ask(**FORK),
        "costs money": paid(),
        "an approval": approve(),
    }
    for name, facts in cases.items():
        seconds = timed(lambda facts=facts: [decide(facts) for _ in range(TIMES)])  # type: ignore[misc]
        print(f"decisions, {name:<30} {TIMES / statistics.median(seconds):>10,.0f} a second")
    seconds = timed(lambda: parse_site_text(SETTINGS))
    print(f"reading rpac.yaml {statistics.median(seconds) * 1000:>31.2f} ms")


if __name__ == "__main__":
    main()
