"""Where things stand in the reproduction log."""

from __future__ import annotations

from dataclasses import dataclass, field

LOG_REF = "refs/heads/rpac/log"
REPORTS = "reports"


@dataclass(frozen=True, slots=True, order=True)
class RunPath:
    """Where a run stands in the log; sorts by time."""

    run: str
    experiment: str
    ref: str
    tree: str = field(default="", compare=False)  # git's id of the folder
    refs: tuple[str, ...] = field(default=(), compare=False)  # every log that has the run

    @property
    def folder(self) -> str:
        """The run's folder, from the top of the repository."""
        return run_folder(self.experiment, self.run)

    @property
    def place(self) -> str:
        """How git's object names of the folder's files begin; shortest where the tree is known."""
        return f"{self.tree}:" if self.tree else f"{self.ref}:{self.folder}/"


def run_folder(experiment: str, run: str) -> str:
    """`reports/<experiment>/<yyyy-mm>/<run>`; the month is the run id's own."""
    return f"{REPORTS}/{experiment}/{run[:4]}-{run[4:6]}/{run}"
