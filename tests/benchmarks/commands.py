"""The parser of comments: how many it reads in a second, and what the longest ones take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from rpac_ci.comment_commands import MAX_COMMENT, parse_comment

REVIEW = """\
Thanks, this looks good to me! Some remarks on the retrieval:

- the threshold in `retrieve.py` could come from the configuration
- 5 < 6, see [the paper](https://example.org/paper "title") and /usr/share/doc

> quoted from above: /plan exp-42

```sh
rpac plan exp-42 nodes=2
```

What do you think, @octocat? {0}
"""
ASKED = "The numbers of {0} look odd.\n\n/reproduce exp-42 nodes=2 args.trees='150'\n\nThanks!\n"
SEVERAL = "/plan exp-42 nodes=1,2,4 repeat=3\n/status\n/history exp-42 since=7d\n"
KINDS = {
    "without a command": REVIEW,
    "with a command": REVIEW + "\n/reproduce exp-42 nodes=2\n",
    "short, with a command": ASKED,
    "with three commands": SEVERAL,
}
LONGEST = {
    "10,000 commands": "/help\n" * 10_000,
    "brackets": ("[" * 10 + "](a)" * 10) * 1_300 + "\n/help",
    "tables": "a|b\n-|-\n" * 8_000 + "\n/help",
}


def per_second(bodies: Sequence[str], times: int = 5) -> list[float]:
    """Comments a second in each repetition, after one that does not count."""
    found = []
    for _ in range(times + 1):
        began = time.perf_counter()
        for body in bodies:
            parse_comment(body)
        found.append(len(bodies) / (time.perf_counter() - began))
    return found[1:]


def main() -> None:
    for what, text in KINDS.items():
        rates = per_second([text.format(n) if "{0}" in text else text for n in range(500)])
        spread = f"[{min(rates):,.0f}, {max(rates):,.0f}]"
        print(f"{f'comment {what}':<44} {statistics.median(rates):7,.0f} a second {spread}")
    for what, text in LONGEST.items():
        rates = per_second([text[-MAX_COMMENT:]], times=3)
        print(f"{f'longest comment, {what}':<44} {1 / statistics.median(rates):7.3f} s")


if __name__ == "__main__":
    main()
