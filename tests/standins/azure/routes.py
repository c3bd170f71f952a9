"""The requests that the stand-in for Azure knows, with the models of their bodies in the SDK."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from azure.batch import models as data
from azure.batch.models import _models as private
from azure.mgmt.batch import models as managed


@dataclass(frozen=True)
class Route:
    """What a method on a path does."""

    action: str
    method: str
    path: str  # with {names}
    takes: type[Any] | None = None
    gives: type[Any] | None = None
    listed: bool = False
    status: int = 200
    query: frozenset[str] = frozenset({"api-version"})

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The names in the path, when it is this one."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path, re.IGNORECASE) if method == self.method else None
        return {k: unquote(v) for k, v in found.groupdict().items()} if found else None


_LIST = frozenset({"api-version", "$filter", "$select", "maxresults", "$skiptoken"})
_ONE = frozenset({"api-version", "$select"})
_RESOURCE = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Batch/"
ROUTES = (
    Route("ListImages", "GET", "/supportedimages", None, data.BatchSupportedImage, True,
          query=_LIST),
    Route("ListPools", "GET", "/pools", None, data.BatchPool, True, query=_LIST),
    Route("CountNodes", "GET", "/nodecounts", None, data.BatchPoolNodeCounts, True,
          query=_LIST - {"$select"}),
    Route("GetPool", "GET", "/pools/{pool}", None, data.BatchPool, query=_ONE),
    Route("DeletePool", "DELETE", "/pools/{pool}", status=202),
    Route("ListNodes", "GET", "/pools/{pool}/nodes", None, data.BatchNode, True, query=_LIST),
    Route("ListJobs", "GET", "/jobs", None, data.BatchJob, True, query=_LIST),
    Route("CreateJob", "POST", "/jobs", data.BatchJobCreateOptions, status=201),
    Route("GetJob", "GET", "/jobs/{job}", None, data.BatchJob, query=_ONE),
    Route("UpdateJob", "PATCH", "/jobs/{job}", data.BatchJobUpdateOptions),
    Route("TerminateJob", "POST", "/jobs/{job}/terminate", private.BatchJobTerminateOptions,
          status=202),
    Route("DeleteJob", "DELETE", "/jobs/{job}", status=202),
    Route("CreateTasks", "POST", "/jobs/{job}/addtaskcollection", data.BatchTaskGroup,
          data.BatchCreateTaskCollectionResult),
    Route("ListTasks", "GET", "/jobs/{job}/tasks", None, data.BatchTask, True, query=_LIST),
    Route("GetFile", "GET", "/jobs/{job}/tasks/{task}/files/{file}"),
)  # fmt: skip
MANAGED = (
    Route("CreatePool", "PUT", _RESOURCE + "batchAccounts/{account}/pools/{pool}", managed.Pool,
          managed.Pool),
    Route("GetAccount", "GET", _RESOURCE + "batchAccounts/{account}", None, managed.BatchAccount),
    Route("ListSizes", "GET", "/subscriptions/{subscription}/providers/Microsoft.Batch/locations/"
          "{location}/virtualMachineSkus", None, managed.SupportedSku, True),
)  # fmt: skip
