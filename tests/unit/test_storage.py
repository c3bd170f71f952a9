"""Objects by key, and create-if-absent on a store that fails at the worst moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from rpac_ci import storage as storage_module
from rpac_ci.errors import StorageError
from rpac_ci.storage import Storage
from tests.standins.faulty_s3 import Fault, FaultyS3


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with FaultyS3() as server:
        yield server


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A store of each kind."""
    match request.param:
        case "folder":
            return Storage.at(tmp_path / "store")
        case "memory":
            return Storage("memory:///", backend=MemoryStore())
        case _:
            server: FaultyS3 = request.getfixturevalue("s3")
            return server.storage()


# --- every kind of store ------------------------------------------------------------------------


def test_an_object_is_written_read_replaced_and_removed(store: Storage) -> None:
    store.put("runs/a/log.txt", b"first")
    assert store.get("runs/a/log.txt") == b"first"
    store.put("runs/a/log.txt", b"second, longer")
    assert store.get("runs/a/log.txt") == b"second, longer"
    entry = store.head("runs/a/log.txt")
    assert entry is not None
    assert (entry.key, entry.size) == ("runs/a/log.txt", 14)
    store.delete("runs/a/log.txt", "runs/a/never-there")
    assert store.get("runs/a/log.txt") is None


def test_what_never_changes_is_asked_for_once(store: Storage) -> None:
    assert store.get_fixed("content/a") is None
    store.put("content/a", b"a")
    store.put_fixed("content/b", b"b")
    assert [store.get_fixed(f"content/{name}") for name in "ab"] == [b"a", b"b"]
    store.delete("content/a", "content/b")
    assert [store.get_fixed(f"content/{name}") for name in "ab"] == [b"a", b"b"]
    large = b"x" * 2**17
    store.put_fixed("content/large", large)
    assert store.get_fixed("content/large") == large
    store.delete("content/large")
    assert store.get_fixed("content/large") is None, "it is not kept in memory"


def test_what_is_not_there_is_none_or_empty(store: Storage) -> None:
    assert store.get("no/such") is None
    assert store.get_json("no/such") is None
    assert store.head("no/such") is None
    assert store.list("no/") == []
    assert list(store.names("no/")) == []
    store.delete("no/such")


def test_a_listing_is_sorted_and_stays_in_its_folder(store: Storage) -> None:
    for key in ("open/b", "open/a", "open/sub/c", "opened/x", "ope", "open-too"):
        store.put(key, key.encode())
    assert [entry.key for entry in store.list("open/")] == ["open/a", "open/b", "open/sub/c"]
    assert list(store.names("open/")) == ["a", "b", "sub/c"]
    assert [entry.size for entry in store.list("open/")] == [6, 6, 10]


@pytest.mark.parametrize(
    "key", ["a/ключ.json", "a/日本 語.txt", "a/100 %20 + & ü?.txt", "a/*[x]{y}~^", "a/.hidden"]
)
def test_keys_may_hold_any_words(store: Storage, key: str) -> None:
    assert store.create(key, b"x")
    assert store.get(key) == b"x"
    assert [entry.key for entry in store.list("a/")] == [key]
    store.delete(key)
    assert store.list("a/") == []


def test_the_stores_clock_is_close_and_goes_on(store: Storage) -> None:
    first, second = store.now("clock/1"), store.now("clock/2")
    assert first <= second
    assert abs(datetime.now(UTC) - second) < timedelta(seconds=10)


@pytest.mark.parametrize("size", [0, 1, 6 * 2**20], ids=["empty", "a byte", "in parts"])
def test_files_go_in_and_come_out(store: Storage, tmp_path: Path, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "in").write_bytes(content[:size])
    store.put_file("outputs/x", tmp_path / "in")
    assert store.get_file("outputs/x", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content[:size]
    assert not store.get_file("outputs/y", tmp_path / "other")


def test_a_file_that_cannot_be_read_or_written_is_an_error(store: Storage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="writing x"):
        store.put_file("x", tmp_path / "missing")
    store.put("x", b"1")
    with pytest.raises(StorageError, match="reading x"):
        store.get_file("x", tmp_path / "no such folder" / "out")


def test_json_comes_back_and_other_bytes_are_refused(store: Storage) -> None:
    assert store.create_json("a.json", {"b": [1, None], "a": "é"})
    assert store.get("a.json") == '{"a":"é","b":[1,null]}\n'.encode()
    assert store.get_json("a.json") == {"a": "é", "b": [1, None]}
    store.put("b.json", b"<html>")
    with pytest.raises(StorageError, match="is not JSON"):
        store.get_json("b.json")


@pytest.mark.parametrize("size", [1, 6 * 2**20], ids=["small", "larger than one part"])
def test_a_key_is_created_once(store: Storage, size: int) -> None:
    mine, yours = b"m" * size, b"y" * size
    assert store.create("key", mine)
    assert not store.create("key", yours)
    assert store.get("key") == mine
    assert store.create("key", mine), "my own bytes are there: I have won before"


def test_of_sixteen_at_once_one_creates_the_key(store: Storage) -> None:
    barrier = threading.Barrier(16)

    def create(writer: int) -> bool:
        barrier.wait()
        return store.create("key", f"nonce {writer}".encode())

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert store.get("key") == f"nonce {won.index(True)}".encode()


# --- a store that fails -------------------------------------------------------------------------


@pytest.mark.parametrize("client_retries", [0, 2])
@pytest.mark.parametrize("fault", list(Fault))
def test_mine_is_there_whatever_the_server_said(
    s3: FaultyS3, fault: Fault, client_retries: int
) -> None:
    store = s3.storage(client_retries=client_retries)
    s3.fail(fault)
    assert store.create("key", b"mine")
    assert store.get("key") == b"mine"


@pytest.mark.parametrize("fault", list(Fault))
def test_anothers_is_there_whatever_the_server_said(s3: FaultyS3, fault: Fault) -> None:
    store = s3.storage()
    store.put("key", b"another's")
    s3.fail(fault)
    assert not store.create("key", b"mine")
    assert store.get("key") == b"another's"


def test_a_write_that_is_known_to_be_stored_is_not_repeated(s3: FaultyS3) -> None:
    store = s3.storage()
    s3.fail(Fault.STORE_THEN_DROP)
    assert store.create("key", b"mine")
    assert s3.writes == 1


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.REFUSE_412])
def test_nothing_stored_and_no_end_of_it_is_an_error(
    s3: FaultyS3, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(storage_module, "_CREATE_TRIES", 2)
    store = s3.storage()
    s3.fail(always=fault)
    with pytest.raises(StorageError, match="creating key in s3://"):
        store.create("key", b"mine")
    assert s3.writes == 2
    assert store.get("key") is None


def test_a_server_that_answers_nothing_is_an_error_for_every_operation(
    s3: FaultyS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(storage_module, "_CREATE_TRIES", 1)
    store = s3.storage()
    s3.fail(always=Fault.ERROR_500, reads=99)
    (tmp_path / "file").write_bytes(b"x")
    for operation in (
        lambda: store.get("key"),
        lambda: store.put("key", b"x"),
        lambda: store.put_file("key", tmp_path / "file"),
        lambda: store.get_file("key", tmp_path / "out"),
        lambda: store.create("key", b"x"),
        lambda: store.list("key"),
        lambda: store.head("key"),
        lambda: store.delete("key"),
        lambda: store.now("key"),
    ):
        with pytest.raises(StorageError, match="key in s3://bucket"):
            operation()


def test_stored_although_the_read_back_failed_too_is_found_at_the_next_try(s3: FaultyS3) -> None:
    store = s3.storage()
    s3.fail(Fault.STORE_THEN_500, reads=1)
    assert store.create("key", b"mine")
    assert s3.writes == 2


# --- where stores are ---------------------------------------------------------------------------


def test_a_store_in_a_folder_is_made_and_opened_again(tmp_path: Path) -> None:
    folder = tmp_path / "a new" / "störe"
    Storage.at(folder).put("key", b"x")
    again = Storage(folder.as_uri())
    assert again.get("key") == b"x"
    assert Storage.at(folder).url == again.url


@pytest.mark.parametrize("url", ["ftp://host/x", "not a url", "s3://"])
def test_a_store_of_no_known_kind_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        Storage(url)


# --- links in a folder ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["logs/00000/command/000000.txt", "logs/00000", "logs"])
def test_a_link_that_a_node_left_leads_nowhere(tmp_path: Path, place: str) -> None:
    """A container may write its part of the store; the driver reads it with rights of its own."""
    secret = tmp_path / "elsewhere"
    (secret / "00000" / "command").mkdir(parents=True)
    (secret / "000000.txt").write_text("secret")
    (secret / "00000" / "command" / "000000.txt").write_text("secret")
    storage = Storage.at(tmp_path / "store")
    key = "logs/00000/command/000000.txt"
    link = tmp_path / "store" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(secret / "000000.txt" if place == key else secret)
    for action in (storage.get, storage.head, lambda k: storage.put(k, b"mine")):
        with pytest.raises(StorageError, match="leads through a link"):
            action(key)
    with pytest.raises(StorageError, match="leads through a link"):
        storage.get_file(key, tmp_path / "copy")
    assert (secret / "000000.txt").read_text() == "secret"


def test_listing_follows_no_link_also_not_in_a_circle(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path / "store")
    storage.put("runs/one/a", b"1")
    (tmp_path / "store" / "runs" / "one" / "circle").symlink_to(tmp_path / "store" / "runs")
    (tmp_path / "store" / "runs" / "one" / "outside").symlink_to("/etc/hostname")
    assert [entry.key for entry in storage.list("runs/")] == ["runs/one/a"]
