"""
The ZIP file of the functions on Azure: whole, the same each time, and run from by the runtime of
Azure's own Python worker, against the stand-in for Azure.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from rpac_ci.functions import packaging
from rpac_ci.functions.packaging import AZURE, Package
from tests.conftest import campaign
from tests.integration.azure_lab import account_fixture as account_fixture
from tests.integration.azure_lab import lab_fixture as lab_fixture
from tests.integration.azure_lab import server_fixture as server_fixture
from tests.integration.test_azure_functions import BEFORE, ONCE, Story, dispatched, runs_told_of
from tests.integration.test_azure_functions import github as github
from tests.integration.test_azure_functions import story as story
from tests.standins.azure.functions import TIMER, Worker, install_runtime
from tests.standins.azure.rest import Call
from tests.standins.github import GitHubServer
from tests.standins.pythons import another, run_apart
from tests.standins.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = ("RPAC_SITE", "RPAC_GITHUB_REPOSITORY", "RPAC_GITHUB_SECRET", "GITHUB_API_URL")
StartWorker: TypeAlias = Callable[[], Worker]


@dataclass(frozen=True)
class Built:
    """A ZIP file, and what the building said of it."""

    file: Path
    made: Package
    folder: Path  # with its files


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The functions' ZIP file, unpacked."""
    root = tmp_path_factory.mktemp("package")
    made = build(root / "function.zip")
    with zipfile.ZipFile(root / "function.zip") as archive:
        archive.extractall(root / "app")
    return Built(root / "function.zip", made, root / "app")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Azure's worker brings itself."""
    folder = tmp_path_factory.mktemp("worker") / "packages"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
        install_runtime(folder, AZURE.python)
    return folder


@pytest.fixture
def worker(
    story: Story, github: GitHubServer, built: Built, runtime: Path, tmp_path: Path
) -> Iterator[StartWorker]:
    """Starts a worker with the functions' settings."""
    python, started = another(AZURE.python), list[Worker]()
    settings = {name: os.environ[name] for name in SETTINGS}
    settings |= {**story.account.environment, "TMPDIR": str(tmp_path), "RPAC_TEST_LEASE_S": "1"}

    def start() -> Worker:
        started.append(Worker(python, built.folder, runtime, settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


def build(file: Path) -> Package:
    with pytest.MonkeyPatch.context() as patch:
        # wheels of another Python than this one may be on another index of this machine
        patch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
        return packaging.build(file, AZURE)


def test_it_is_whole_and_the_same_each_time(built: Built, tmp_path: Path) -> None:
    again = build(tmp_path / "again.zip")
    assert again == built.made
    assert (tmp_path / "again.zip").read_bytes() == built.file.read_bytes()
    assert built.made.size == built.file.stat().st_size < 50 * 2**20
    assert built.made.unpacked < 150 * 2**20
    with zipfile.ZipFile(built.file) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == sorted(archive.namelist())
    names = {path.relative_to(built.folder).as_posix() for path in built.folder.rglob("*")}
    assert sum(path.stat().st_size for path in built.folder.rglob("*") if path.is_file()) == (
        built.made.unpacked
    )
    assert {name for name in names if "/" not in name} == {
        ".python_packages", "function_app.py", "host.json"
    }  # fmt: skip
    assert json.loads((built.folder / "host.json").read_text())["version"] == "2.0"
    packages = ".python_packages/lib/site-packages"
    pure = {name.split("/")[3] for name in names if name.startswith(f"{packages}/")}
    assert {"rpac_ci", "azure", "obstore", "psutil", "pydantic", "ruamel", "msal"} <= pure
    assert {"boto3", "click", "docker", "github", "uv", "numpy"} & pure == set()
    # the platform looks after its own worker
    assert {"azure_functions_runtime", "azure_functions_worker", "grpc"} & pure == set()
    assert f"{packages}/rpac_ci/functions/azure_functions.py" in names
    assert [one for one in names if "__pycache__" in one or one.endswith(".pyc")] == []
    native = [one for one in names if one.startswith(f"{packages}/pydantic_core/")]
    assert any("cpython-313-x86_64-linux-gnu.so" in one for one in native)


def test_it_needs_nothing_but_its_own_packages(built: Built) -> None:
    packages = built.folder / ".python_packages" / "lib" / "site-packages"
    code = f"""
import sys
sys.path[:0] = [{str(packages)!r}, {str(built.folder)!r}]
import function_app, json
print(json.dumps([one.get_function_name() for one in function_app.app.get_functions()]))
import rpac_ci.clouds.azure.driver, azure.batch, azure.identity, azure.mgmt.batch
import obstore.auth.azure, psutil
from rpac_ci import clouds, driver, engines, output_comparisons
from rpac_ci.jobs import EngineName
for name in EngineName:
    engines.load(name.value)
foreign = [
    name for name, module in sys.modules.items()
    if "site-packages" in (getattr(module, "__file__", None) or "")
    and not module.__file__.startswith({str(packages)!r})
]
assert not foreign, foreign
"""
    done = run_apart(another(AZURE.python), code)
    assert (done.stdout, done.returncode) == ('["stored", "timer"]\n', 0), done.stderr


# --- in the runtime of Azure's worker -------------------------------------------------------------


def test_the_runtime_of_azures_worker_takes_a_run_to_its_release(
    story: Story, github: GitHubServer, worker: StartWorker
) -> None:
    first, second = story.submit(), story.submit()
    azure = worker()
    assert azure.functions == {
        "stored": [{"direction": "IN", "type": "eventGridTrigger", "name": "event"}],
        "timer": [{"direction": "IN", "type": "timerTrigger", "name": "timer",
                   "schedule": "0 */10 * * * *"}],
    }  # fmt: skip
    event = story.done(first)
    assert azure.call("stored", {**event, "eventType": "Microsoft.Storage.BlobDeleted"}) == ""
    assert story.steps(first) == BEFORE

    assert azure.call("stored", event) == ""
    assert story.steps(first) == ONCE
    assert azure.call("stored", event) == ""

    # the second's event is lost
    story.ended(second)
    denied = {"status": 403, "code": "AuthorizationFailed", "message": "no right"}
    story.lab.fails("DeletePool", **denied, times=4)
    assert azure.call("timer", TIMER) == f"CloudError: could not go on: {second}"
    story.lab.mend()
    assert azure.call("timer", TIMER) == ""
    assert story.steps(second) == ONCE
    assert runs_told_of(github) == sorted([first, second])
    for run in (first, second):
        assert story.concluded(run).code == 0
    story.nothing_left()


@pytest.mark.parametrize("action", campaign(["DeletePool", "DeleteJob", "ListTasks"], every=3))
def test_a_worker_that_is_killed_half_way_is_healed_by_the_timer(
    story: Story, github: GitHubServer, worker: StartWorker, action: str
) -> None:
    run = story.submit()
    event = story.done(run)
    azure = worker()

    def kill(call: Call) -> None:
        if call.action == action:
            story.account.api.after = lambda _: None
            azure.kill()

    story.account.api.after = kill  # it was done, and nobody hears of that
    azure.begin("stored", event)
    assert azure.wait() == -9
    assert story.steps(run)["release"] == 0
    assert dispatched(github) == []

    healed = worker()

    def released() -> bool:
        assert healed.call("timer", TIMER) == ""
        return story.steps(run) == ONCE

    until(released)  # once the dead one's lease is over
    assert runs_told_of(github) == [run]
    assert story.concluded(run).code == 0
    story.nothing_left()


@pytest.mark.nightly  # as threads of one worker they are at it in `test_azure_functions`
def test_two_workers_at_once(story: Story, github: GitHubServer, worker: StartWorker) -> None:
    run = story.submit()
    event = story.done(run)
    two = [worker(), worker()]
    for one in two:
        one.begin("stored", event)
    assert [one.end() for one in two] == ["", ""]
    assert story.steps(run) == ONCE
    assert runs_told_of(github) == [run]
    assert story.concluded(run).code == 0
    story.nothing_left()


def test_settings_that_are_missing_are_told_by_the_runtime(
    story: Story, built: Built, runtime: Path
) -> None:
    azure = Worker(another(AZURE.python), built.folder, runtime, {})
    try:
        said = azure.call("timer", TIMER)
    finally:
        azure.close()
    assert said.startswith("CommandError: RPAC_SITE is not clouds.azure as JSON")
