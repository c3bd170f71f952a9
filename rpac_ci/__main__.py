"""Entry point of the `rpac` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; errors of our own become one message and an exit code."""
    from rpac_ci.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
