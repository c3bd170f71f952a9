"""
Runs in the Python of Azure Functions, with no packages but those of the folders it is told: loads
the function app by the worker's own runtime and calls functions as the host asks for it.

The messages are plain objects where the real ones come from gRPC. One line of JSON on standard
output for every answer; what functions log goes to standard error.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
import uuid
from types import SimpleNamespace
from typing import Any


def message(name: str, **constants: int) -> type[SimpleNamespace]:
    """A kind of message that keeps what it is made with."""
    return type(name, (SimpleNamespace,), constants)


PROTOS = SimpleNamespace(
    BindingInfo=message("BindingInfo", undefined=0, inout=2, out=1),
    StatusResult=message("StatusResult", Failure=0, Success=1),
    **{
        name: message(name)
        for name in (
            "FunctionLoadResponse", "FunctionMetadataResponse", "InvocationResponse",
            "RpcException", "RpcFunctionMetadata", "RpcRetryOptions", "WorkerInitResponse",
            "WorkerMetadata",
        )
    },
)  # fmt: skip


class Data(SimpleNamespace):
    """A value of one of several kinds."""

    def WhichOneof(self, _: str) -> str:  # noqa: N802 - as gRPC has it
        """The kind."""
        [kind] = [name for name in ("data", "json") if hasattr(self, name)]
        return kind


def request(kind: str, **values: Any) -> SimpleNamespace:
    """One message of the host."""
    return SimpleNamespace(
        request=SimpleNamespace(**{kind: SimpleNamespace(**values)}),
        properties={"host": "127.0.0.1", "protos": PROTOS},
    )


def problem(result: Any) -> str:
    """What went wrong, in one line; empty when nothing did."""
    return "" if result.status == PROTOS.StatusResult.Success else str(result.exception.message)


async def main(app: str) -> None:
    """Load the functions; then call one for each line of input."""
    runtime = importlib.import_module("azure_functions_runtime")  # there, and nowhere else
    said = sys.stdout
    sys.stdout = sys.stderr  # what functions print
    runtime.start_threadpool_executor()
    made = await runtime.worker_init_request(
        request("worker_init_request", capabilities={}, function_app_directory=app)
    )
    if failed := problem(made.result):
        raise SystemExit(failed)
    metadata = await runtime.functions_metadata_request(request("functions_metadata_request"))
    found = {one.name: one for one in metadata.function_metadata_results}
    bindings = {name: [json.loads(b) for b in one.raw_bindings] for name, one in found.items()}
    print(json.dumps(bindings), file=said, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, value = json.loads(line)
        [parameter] = found[name].bindings
        answer = await runtime.invocation_request(
            request(
                "invocation_request", invocation_id=str(uuid.uuid4()),
                function_id=found[name].function_id, trigger_metadata={},
                input_data=[Data(name=parameter, data=Data(json=value))],
                trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
                retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
            )
        )  # fmt: skip
        print(json.dumps(problem(answer.result)), file=said, flush=True)


if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:3]
    sys.path.append(sys.argv[3])
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if lease_s := os.environ.get("RPAC_TEST_LEASE_S"):
        from rpac_ci import driver

        vars(driver)["LEASE_S"] = float(lease_s)
    asyncio.run(main(sys.argv[3]))
