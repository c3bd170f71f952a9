"""
Python imports this first of all where `PYTHONPATH` names this folder, so a real process of rpac can
be given faults without a line for them in the product. See `tests/standins/faults.py`.
"""

import os
import sys

# a driver or a node; not what they start, which has no part in it
if os.environ.get("RPAC_TEST_FAULTS") and sys.orig_argv[1:3] in (
    ["-m", "rpac_ci"],
    ["-m", "rpac_ci.node"],
):
    from tests.standins.faults import install_from_environment

    install_from_environment()
