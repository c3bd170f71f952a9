"""
Azure Functions as far as our functions see it: events as Event Grid sends them and the timer's,
decoded by Azure's own library and handed over as the worker does.

`Worker` is the runtime of that worker itself (`azure-functions-runtime` from the package index), in
a process of its own with nothing but a function's ZIP file. What is missing is the host around it,
which is on no package index: it would bring the events by gRPC, and start another worker when one
has died.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func
from azure.functions.meta import Datum

from rpac_ci.functions import azure_functions
from rpac_ci.installing import Uv, one_builder
from tests.standins.azure.state import Json, now

RUNTIME = "1.3.0"
HOST = Path(__file__).with_name("functions_host.py")
LIMIT_S = 120.0
# as https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer shows it
TIMER = {
    "Schedule": {"AdjustForDST": True},
    "ScheduleStatus": {
        "Last": "2026-01-02T03:00:00+00:00", "LastUpdated": "2026-01-02T03:00:00+00:00",
        "Next": "2026-01-02T03:10:00+00:00",
    },
    "IsPastDue": False,
}  # fmt: skip


def created(site: Mapping[str, Any], key: str, **changes: Any) -> Json:
    """
    The event of an object in a site's store.

    Source: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
    """
    store = urlsplit(site["store"])
    container, _, prefix = store.path.strip("/").partition("/")
    name = f"{prefix}/{key}" if prefix else key
    topic = (
        f"/subscriptions/{site['subscription']}/resourceGroups/{site['resource_group']}"
        f"/providers/Microsoft.Storage/storageAccounts/{store.netloc}"
    )
    return {
        "topic": topic,
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": {
            "api": "PutBlob", "clientRequestId": "6d79dbfb-0e37-4fc4-981f-442c9ca65760",
            "requestId": "831e1650-001e-001b-66ab-eeb76e000000", "eTag": "\"0x8D4BCC2E4835CD0\"",
            "contentType": "application/octet-stream", "contentLength": 2,
            "blobType": "BlockBlob",
            "url": f"https://{store.netloc}.blob.core.windows.net/{container}/{name}",
            "sequencer": "00000000000004420000000000028963",
            "storageDiagnostics": {"batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0"},
        },
        "dataVersion": "", "metadataVersion": "1", "eventTime": now(), **changes,
    }  # fmt: skip


# by name, as the library indexes them; that it does only once in a process
FUNCTIONS: dict[str, Any] = {
    str(one.get_function_name()): one for one in azure_functions.app.get_functions()
}


def wake(event: Json) -> None:
    """Hand an event to the function that gets those of the store."""
    _call("stored", event)


def tick() -> None:
    """The timer."""
    _call("timer", TIMER)


def decoded(binding: str, value: Any) -> Any:
    """What a function gets for JSON that the host sends."""
    registry: Any = func.get_binding_registry  # which the library does not type
    return registry().get(binding).decode(Datum(json.dumps(value), "json"), trigger_metadata={})


def _call(name: str, value: Any) -> None:
    found = FUNCTIONS[name]
    trigger = found.get_trigger()
    answer = found.get_user_function()(**{trigger.name: decoded(trigger.type, value)})
    assert answer is None, "the worker refuses what a function without an output returns"


class Worker:
    """The runtime of the Python worker with the functions of one ZIP file, unpacked."""

    def __init__(
        self, python: str, app: Path, runtime: Path, environment: Mapping[str, str]
    ) -> None:
        """
        Args:
            python: the interpreter.
            app: folder of the function app.
            runtime: folder of the worker's own packages.
            environment: application settings, and where everything is.
        """
        # as in Azure, the app's packages go before the worker's, and its folder comes last
        paths = [app / ".python_packages" / "lib" / "site-packages", runtime, app]
        self._process = subprocess.Popen(
            [python, "-I", "-S", str(HOST), *map(str, paths)],
            env={"PATH": os.environ["PATH"], **environment}, cwd=app, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.functions: dict[str, list[Json]] = self._answer()  # name -> bindings

    def call(self, function: str, value: Any) -> str:
        """Call a function with JSON; what it raises in one line, empty when all went well."""
        self.begin(function, value)
        return self.end()

    def begin(self, function: str, value: Any) -> None:
        """Call a function without waiting for its end."""
        assert self._process.stdin
        self._process.stdin.write(f"{json.dumps([function, json.dumps(value)])}\n")
        self._process.stdin.flush()

    def end(self) -> str:
        """What a call that was begun has raised."""
        return str(self._answer())

    def kill(self) -> None:
        """As when the machine goes: SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Its exit code once it has ended."""
        return self._process.wait(LIMIT_S)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.kill()
        self._process.wait(LIMIT_S)
        self._process.stdin.close()
        self._process.stdout.close()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the worker has ended with {self._process.wait()}"
        return json.loads(line)


def install_runtime(folder: Path, python: str) -> None:
    """Put the worker's own packages into a folder."""
    with one_builder(folder, None) as held:
        uv = Uv(held, None)
        uv.run(
            ["pip", "install", "--quiet", "--target", str(folder), "--python-version", python,
             "--no-deps", "--only-binary", ":all:", f"azure-functions-runtime=={RUNTIME}"],
            "the runtime of Azure Functions cannot be had",
        )  # fmt: skip
