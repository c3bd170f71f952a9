"""
Files brought to Blob Storage (`uploads`) against the SDK of Azure: a program of a few lines that
uploads what its list of the container lacks, many at once. Blob Storage is Azurite for both, behind
a gate that counts.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.benchmarks.uploads import Remote, measure, python_with
from tests.standins import azure
from tests.standins.azure.blobs import Blobs

SYNC = """\
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient

url, prefix, folder = sys.argv[1:]
client = ContainerClient.from_container_url(url, credential=DefaultAzureCredential())
there = {blob.name: blob.size for blob in client.list_blobs(name_starts_with=prefix)}
files = [path for path in Path(folder).iterdir()
         if there.get(prefix + path.name) != path.stat().st_size]

def upload(path):
    with path.open("rb") as data:
        client.upload_blob(prefix + path.name, data, overwrite=True, max_concurrency=8)

with ThreadPoolExecutor(32) as pool:
    list(pool.map(upload, files))
"""


def main() -> None:
    """Measure it, or say why not."""
    programs = python_with("azure-storage-blob", "azure-identity")
    if programs is None:
        print("blob: azure-storage-blob cannot be installed, skipped")
        return
    blobs, rounds = Blobs(None), 0
    with (
        tempfile.TemporaryDirectory() as folder,
        azure.serve(Path(folder), docker=False, blobs=blobs) as account,
    ):
        url = f"{account.environment['AZURE_STORAGE_ENDPOINT']}/{azure.CONTAINER}"
        container = account.site["store"].rpartition("/")[0]

        def empty() -> None:
            nonlocal rounds
            rounds += 1  # Azurite keeps what was before, elsewhere

        def command(files: Path) -> list[str]:
            return [str(programs / "python"), "-c", SYNC, url, f"theirs/{rounds}/", str(files)]

        def site() -> str:
            return json.dumps({**account.site, "store": f"{container}/ours/{rounds}"})

        measure(
            Remote(
                name="Azurite", tool="SDK", cloud="azure", site=site,
                command=command, environment=account.environment, empty=empty,
                begin=blobs.calls.clear, asked=blobs.count,
                sent=lambda: sum(call.size for call in blobs.calls),
            ),
            times=1,  # Azurite takes minutes for so many files
        )  # fmt: skip
