"""
rpac_ci makes a computational result reproducible: one command, or one pull-request comment.

Data flows one way: words of a command (`commands`) and an experiment's YAML (`experiments`) become
a pinned pipeline (`pipeline`); a run of it (`run`, `driver`, `steps`) goes through a cloud
(`clouds`) and an engine (`engines`) and leaves a record (`records`), a verdict (`verdict`), a
report (`formats`) and a commit (`history`).

The same core for programs and notebooks:

    import rpac_ci

    result = rpac_ci.reproduce("eddy-census", {"nodes": 2})
    print(result.verdict.outcome, result.record.outcome.metrics)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rpac_ci.api import (
        Acceptance,
        Advanced,
        Checked,
        Collected,
        Conclusion,
        Garbage,
        Kept,
        OpenRun,
        PastRun,
        Plan,
        Problem,
        Progress,
        Pushed,
        RpacError,
        RunComparison,
        RunRecord,
        StudyConclusion,
        StudyPlan,
        StudyRecord,
        Submitted,
        Swept,
        Verdict,
        accept,
        advance,
        cancel,
        collect,
        compare,
        fetch,
        fsck,
        gc,
        history,
        logs,
        plan,
        plan_study,
        push,
        reproduce,
        show,
        status,
        study,
        submit,
        sweep,
        validate,
    )

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
    "__version__",
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


def __getattr__(name: str) -> Any:
    """Import the API when it is first used, so that `rpac --help` stays quick."""
    if name in __all__:
        from rpac_ci import api

        return getattr(api, name)
    raise AttributeError(f"module 'rpac_ci' has no attribute {name!r}")
