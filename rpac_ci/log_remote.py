"""The log of a remote: what is there, what is fetched from it, and what is pushed to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rpac_ci.errors import HistoryError
from rpac_ci.git import Git, GitError, TreeEntry
from rpac_ci.log_entries import is_document
from rpac_ci.log_paths import LOG_REF

INBOX = "refs/rpac/inbox/"
CONFLICT = "refs/rpac/conflict/"
QUARANTINE = "refs/rpac/quarantine/"
TRANSFER_S = 900.0
BATCH = 500  # refs in one push: a command line has its limits
# what a server says when another writer was first; all other refusals will not change by themselves
_RACE = (
    "stale info", "fetch first", "non-fast-forward", "already exists", "failed to update ref",
    "failed to lock", "cannot lock ref", "incorrect old value", "remote ref updated",
    "atomic push fail", "atomic transaction failed", "failed to start transaction",
    "needs force", "transaction",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The refs of a remote that matter here; names of entries -> object ids."""

    log: str | None
    inbox: Mapping[str, str]
    conflict: Mapping[str, str]
    quarantine: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Update:
    """
    A ref to push: made or moved to `new`, removed where that is None.

    With `expected` the server refuses when the ref is not there any more; "" means no such ref.
    """

    ref: str
    new: str | None
    expected: str | None = None


class LogRemote:
    """One remote of a repository."""

    def __init__(self, git: Git, name: str) -> None:
        """
        Find a remote.

        Raises:
            HistoryError: the repository has no remote of this name.
        """
        self.name = name
        self._git = git
        if not name or git.maybe("config", "--get", f"remote.{name}.url") is None:
            raise HistoryError(
                f"there is no remote {name!r}",
                hint="'git remote' lists them; git remote add NAME ADDRESS makes one",
            )

    @property
    def tracking_ref(self) -> str:
        """Where the log of the remote stands locally."""
        return f"refs/remotes/{self.name}/rpac/log"

    def listing(self) -> Listing:
        """
        What the remote has.

        Raises:
            HistoryError: it cannot be read.
        """
        out = self._ask("ls-remote", "--quiet", "--refs", self.name, LOG_REF, "refs/rpac/*")
        refs = {ref: oid for oid, _, ref in (line.partition("\t") for line in out.splitlines())}
        below = {
            prefix: {r.removeprefix(prefix): oid for r, oid in refs.items() if r.startswith(prefix)}
            for prefix in (INBOX, CONFLICT, QUARANTINE)
        }
        return Listing(
            log=refs.get(LOG_REF), inbox=below[INBOX], conflict=below[CONFLICT],
            quarantine=below[QUARANTINE],
        )  # fmt: skip

    def fetch(self, refs: Iterable[str]) -> bool:
        """
        Get the objects of these refs, without writing a ref, a tag or FETCH_HEAD.

        Returns:
            False when one of the refs is gone.

        Raises:
            HistoryError: the remote cannot be read.
        """
        stdin = "".join(f"{ref}\n" for ref in refs).encode()
        if not stdin:
            return True
        try:
            self._git.run(
                "fetch", "--quiet", "--no-tags", "--no-prune", "--no-write-fetch-head", "--refmap=",
                "--recurse-submodules=no", "--stdin", self.name,
                stdin=stdin, timeout_s=TRANSFER_S,
            )  # fmt: skip
        except GitError as exc:
            if "couldn't find remote ref" in exc.err or "not our ref" in exc.err:
                return False
            raise self._refusal(exc) from exc
        return True

    def fetch_branches(self, *refs: str) -> None:
        """
        Bring the branches below `rpac/` up to date here, and other refs in the same go.

        A repository that is shallow stays so; one that is whole stays whole.

        Args:
            refs: refspecs, such as `+refs/pull/7/head:refs/rpac/pull/7`.

        Raises:
            HistoryError: the remote cannot be read, or has no such ref.
        """
        shallow = self._git.text("rev-parse", "--is-shallow-repository") == "true"
        try:
            self._git.run(
                "fetch", "--quiet", "--no-tags", "--no-prune", "--no-write-fetch-head",
                "--no-auto-gc", "--recurse-submodules=no", *(["--depth=1"] if shallow else []),
                self.name, f"+refs/heads/rpac/*:refs/remotes/{self.name}/rpac/*", *refs,
                timeout_s=TRANSFER_S,
            )  # fmt: skip
        except GitError as exc:
            if refs or exc.err.strip():
                raise self._refusal(exc) from exc
            # a shallow fetch of a pattern that no ref matches fails without a word

    def push(self, updates: Sequence[Update], *, atomic: bool) -> dict[str, str]:
        """
        Push refs; none is ever overwritten that is not as expected.

        Returns:
            The refs that another writer was first with -> what the remote said.

        Raises:
            HistoryError: the remote cannot be reached, or refuses for good.
        """
        leases = [
            f"--force-with-lease={update.ref}:{update.expected}"
            for update in updates
            if update.expected is not None
        ]
        try:
            self._ask(
                "push", "--porcelain", "--no-follow-tags", "--recurse-submodules=no",
                *(["--atomic"] if atomic else []), *leases, self.name,
                *(f"{update.new or ''}:{update.ref}" for update in updates),
            )  # fmt: skip
        except HistoryError as exc:
            cause = exc.__cause__
            refused = _refused(cause.out) if isinstance(cause, GitError) else {}
            if not refused:
                raise
            self._raise_if_final(refused, cause.err if isinstance(cause, GitError) else "")
            return refused
        return {}

    def _raise_if_final(self, refused: Mapping[str, str], err: str) -> None:
        final = {ref: why for ref, why in refused.items() if not any(w in why for w in _RACE)}
        if final:
            ref, why = next(iter(final.items()))
            more = f", and {len(final) - 1} more" if len(final) > 1 else ""
            raise HistoryError(
                f"{self.name} refuses {ref}{more}: {why}{_said(err)}",
                hint="nothing is lost; whoever keeps the remote has to allow refs/rpac/* and "
                "additions to rpac/log",
            )

    def _ask(self, *argv: str) -> str:
        try:
            return self._git.run(*argv, timeout_s=TRANSFER_S).decode("utf-8", "replace")
        except GitError as exc:
            raise self._refusal(exc) from exc

    def _refusal(self, exc: GitError) -> HistoryError:
        return HistoryError(
            f"{self.name} cannot be used: {exc.message}{_said(exc.err)}",
            hint=f"nothing is lost; see whether 'git ls-remote {self.name}' works",
        )


def _refused(porcelain: str) -> dict[str, str]:
    """`!\\t<from>:<to>\\t[rejected] (why)` -> {to: why}."""
    found = {}
    for line in porcelain.splitlines():
        flag, _, rest = line.partition("\t")
        if flag == "!":
            refs, _, why = rest.partition("\t")
            found[refs.rpartition(":")[2]] = why
    return found


def _said(err: str) -> str:
    """What the remote's hooks said, as far as it can be shown."""
    lines = [line.removeprefix("remote:").strip() for line in err.splitlines() if "remote:" in line]
    text = " ".join(line for line in lines if line and line.isprintable())
    return f" ({text[:300]})" if text else ""


def same_documents(git: Git, one: str, other: str, files: Iterable[TreeEntry]) -> bool:
    """Whether two commits have the same documents among these files."""
    paths = [file.path for file in files if is_document(file.path)]
    ones = git.objects(f"{one}:{path}" for path in paths)
    return ones == git.objects(f"{other}:{path}" for path in paths)
