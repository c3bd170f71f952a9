"""Entry point of the node program."""

from __future__ import annotations

import sys

from rpac_ci.node.agent import run
from rpac_ci.node.contract import Contract, ContractError


def main() -> int:
    """Read the contract from the environment and take part in the run."""
    try:
        contract = Contract.from_environment()
    except ContractError as exc:
        print(f"rpac node: {exc}", file=sys.stderr)
        return exc.exit_code
    return run(contract)


if __name__ == "__main__":
    sys.exit(main())
