"""
The Python API: what the command line does, as functions for programs and notebooks.

Every function finds the repository from `repository` (a folder in it), raises an `RpacError` with
advice when it cannot do what was asked, and prints nothing. What a program does not use is not
imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rpac_ci.api.past import (
        Acceptance,
        accept,
        compare,
        fetch,
        history,
        logs,
        show,
    )
    from rpac_ci.api.runs import (
        Submitted,
        advance,
        cancel,
        plan,
        reproduce,
        status,
        submit,
        sweep,
        validate,
    )
    from rpac_ci.api.studies import plan_clouds, plan_study, study
    from rpac_ci.api.upkeep import collect, fsck, gc, push
    from rpac_ci.collector import Collected
    from rpac_ci.comparison import RunComparison
    from rpac_ci.conclude import Conclusion
    from rpac_ci.driver import Progress
    from rpac_ci.errors import Problem, RpacError
    from rpac_ci.garbage import Garbage, Kept
    from rpac_ci.inbox import Pushed
    from rpac_ci.log_check import Checked
    from rpac_ci.open_runs import Advanced, OpenRun, Swept
    from rpac_ci.past_runs import PastRun
    from rpac_ci.planning import Plan
    from rpac_ci.records import RunRecord, Verdict
    from rpac_ci.studies import StudyRecord
    from rpac_ci.study_runs import StudyConclusion, StudyPlan

__all__ = [
    "Acceptance",
    "Advanced",
    "Checked",
    "Collected",
    "Conclusion",
    "Garbage",
    "Kept",
    "OpenRun",
    "PastRun",
    "Plan",
    "Problem",
    "Progress",
    "Pushed",
    "RpacError",
    "RunComparison",
    "RunRecord",
    "StudyConclusion",
    "StudyPlan",
    "StudyRecord",
    "Submitted",
    "Swept",
    "Verdict",
    "accept",
    "advance",
    "cancel",
    "collect",
    "compare",
    "fetch",
    "fsck",
    "gc",
    "history",
    "logs",
    "plan",
    "plan_clouds",
    "plan_study",
    "push",
    "reproduce",
    "show",
    "status",
    "study",
    "submit",
    "sweep",
    "validate",
]

_HOMES = {
    "rpac_ci.api.past": ("Acceptance accept compare fetch history logs show"),
    "rpac_ci.api.runs": ("Submitted advance cancel plan reproduce status submit sweep validate"),
    "rpac_ci.api.studies": "plan_clouds plan_study study",
    "rpac_ci.api.upkeep": ("collect fsck gc push"),
    "rpac_ci.collector": "Collected",
    "rpac_ci.comparison": "RunComparison",
    "rpac_ci.conclude": "Conclusion",
    "rpac_ci.driver": "Progress",
    "rpac_ci.errors": "Problem RpacError",
    "rpac_ci.garbage": "Garbage Kept",
    "rpac_ci.inbox": "Pushed",
    "rpac_ci.log_check": "Checked",
    "rpac_ci.open_runs": "Advanced OpenRun Swept",
    "rpac_ci.past_runs": "PastRun",
    "rpac_ci.planning": "Plan",
    "rpac_ci.records": "RunRecord Verdict",
    "rpac_ci.studies": "StudyRecord",
    "rpac_ci.study_runs": "StudyConclusion StudyPlan",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rpac_ci.api' has no attribute {name!r}")
