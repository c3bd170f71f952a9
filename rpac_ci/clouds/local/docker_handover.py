"""
What the containers of a run get of this machine: its folders and files, made ready for their user.

That user is the one who runs rpac, or, where that is root, `NOBODY`: then the folders are given to
it. Links are never followed, since a container may have made them.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from rpac_ci.clouds.local import containers
from rpac_ci.clouds.local.containers import Node, Site
from rpac_ci.clouds.local.folders import RunFolders
from rpac_ci.errors import ProvisioningError
from rpac_ci.jobs import JobSpec, Keys
from rpac_ci.sources import ContentCache

NOBODY = 10001  # user and group of nodes that root starts


def store_folder(url: str) -> Path:
    """
    The folder that a store is.

    Raises:
        ProvisioningError: it is on a server, which the nodes' network does not reach.
    """
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise ProvisioningError(
            f"runtime=docker needs a store in a folder, and this one is {parts.scheme}://…",
            hint="take runtime=process",
        )
    return Path(url2pathname(parts.path))


def site_of(spec: JobSpec, *, folder: Path, store_url: str, cache: Path, owner: str) -> Site:
    """
    The values of this machine and run for `containers.container`.

    Args:
        spec: the job.
        folder: of the run.
        store_url: a `file:` URL.
        cache: which holds the inputs since they were staged.
        owner: the store's word in labels.

    Raises:
        ProvisioningError: an input is gone, and nodes cannot fetch it.
    """
    inputs = sorted({item.sha256 for item in spec.data})
    for sha256 in inputs:
        if ContentCache(cache).find(sha256) is None:
            raise ProvisioningError(
                f"the input with sha256 {sha256} is no longer in the cache {cache}",
                hint="give the command again: then it is fetched again",
            )
    return Site(
        run=spec.run,
        attempt=str(spec.attempt),
        owner=owner,
        image=spec.image or "",
        user=f"{NOBODY}:{NOBODY}" if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}",
        scratch=str(folder),
        store=str(store_folder(store_url)),
        cache=str(cache),
        source=spec.source.rpartition("/")[2],
        inputs=inputs,
    )


def node_of(spec: JobSpec, index: int, folders: RunFolders, contract: dict[str, str]) -> Node:
    """One node's share, and its variables: the contract without what means this machine's files."""
    promise = folders.promise(folders.run(spec).name)
    variables = {name: text for name, text in contract.items() if name != "RPAC_ENVIRONMENT"}
    return Node(
        index=str(index),
        cpus=min(spec.cpus, os.cpu_count() or spec.cpus),  # Docker refuses more than there are
        memory_mib=spec.memory_mib,
        gpus=promise.gpus_of(spec, index) if promise else (),
        environment=variables,
    )


def hand_over(spec: JobSpec, site: Site) -> None:
    """
    Make folders and files of the run what its containers' user can write, or read.

    Raises:
        ProvisioningError: it cannot be done.
    """
    folder, store = Path(site.scratch), Path(site.store)
    try:
        _write_passwd(folder / "passwd", site.user)
        for index in range(spec.nodes):
            (folder / f"node-{index}" / "tmp").mkdir(exist_ok=True)
        if os.getuid() == 0:
            for own in (*folder.glob("node-*"), store / Keys(spec.run).run_folder):
                _give(own, NOBODY)
            source = store / spec.source
            source.chmod(source.stat().st_mode | 0o444)
    except OSError as exc:
        raise ProvisioningError(f"the nodes' folders cannot be made ready: {exc}") from exc


def _write_passwd(path: Path, user: str) -> None:
    """A user without a name is more than Java and Python's `getpass` can bear."""
    path.write_text(
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"rpac:x:{user}:rpac:{containers.SCRATCH}:/usr/sbin/nologin\n"
    )
    path.chmod(0o644)


def _give(folder: Path, owner: int) -> None:
    os.chown(folder, owner, owner, follow_symlinks=False)
    for parent, names, files in os.walk(folder):
        for name in (*names, *files):
            os.chown(Path(parent, name), owner, owner, follow_symlinks=False)
