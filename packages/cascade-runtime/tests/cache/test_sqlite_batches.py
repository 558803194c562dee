"""What the thread of an SQLite cache does with several requests at one time, with an odd one in their middle."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import HOUR, FakeClock
from observers import lines_of

from cascade.interfaces import CacheUnavailable, Hit, UnstorableValueError
from cascade.interfaces.logs import get_logger
from cascade.runtime.cache import _sqlite_file
from cascade.runtime.cache._sqlite_thread import REOPEN_AFTER, CacheStore, Get, Put, SqliteSettings
from cascade.transport.state_log import StateLog

Opened = Callable[..., CacheStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def opened(path: Path, clock: FakeClock) -> Iterator[Opened]:
    """Return a function that makes a store for the file; all are closed at the end."""
    state_log = StateLog(get_logger("cascade.cache"))
    with contextlib.ExitStack() as stack:

        def make(*, max_bytes: int = 1 << 30, required: bool = False) -> CacheStore:
            settings = SqliteSettings(path, max_bytes, max_value_bytes=20_000, required=required)
            store = CacheStore(settings, name="<cache>", clock=clock, state_log=state_log)
            stack.callback(store.close)
            return store

        yield make


def put(store: CacheStore, *values: tuple[str, Any], ttl: float | None = None) -> list[Exception | None]:
    """Store values in one batch; return the error of each."""
    puts = [Put(key, value, ttl) for key, value in values]
    store.serve(puts)
    return [each.error for each in puts]


def get(store: CacheStore, *keys: str) -> list[Any]:
    """Look keys up in one batch; return the value of each hit, and None for each miss."""
    gets = [Get(key) for key in keys]
    store.serve(gets)
    return [each.result.value if isinstance(each.result, Hit) else each.error for each in gets]


def in_file(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Query or change the file as any other program could."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def spoil(path: Path) -> None:
    """Overwrite all of a database but its first page, which has the schema."""
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def test_each_request_of_a_batch_has_its_own_outcome(path: Path, opened: Opened) -> None:
    """A value that cannot be stored, a key that is not there and a forged row cost no other request."""
    store = opened()
    errors = put(store, ("a", 1), ("b", lambda: 1), ("c", [3]), ("d", b"x" * 30_000), ("e", None), ("f", "6"))
    assert [type(error) for error in errors] == [
        type(None), UnstorableValueError, type(None), UnstorableValueError, type(None), type(None)
    ]  # fmt: skip
    in_file(path, "UPDATE entries SET payload = '[4]' WHERE key = 'c'")
    assert get(store, "f", "b", "a", "c", "a", "d", "f") == ["6", None, 1, None, 1, None, "6"]


def test_a_batch_is_served_with_its_reads_before_its_writes(opened: Opened) -> None:
    """A batch with both has both done, whichever came first."""
    store = opened()
    put(store, ("a", 1))
    batch = [Put("a", 2, None), Get("a"), Put("b", 3, None), Get("a")]
    store.serve(batch)
    assert [each.result for each in batch if isinstance(each, Get)] == [Hit(1, 0.0)] * 2
    assert get(store, "a", "b") == [2, 3]


def test_every_request_to_a_required_cache_that_cannot_be_used_fails(path: Path, opened: Opened) -> None:
    """Not only the first of a batch, and in the seconds in which the file is not tried again with the same cause."""
    path.mkdir()
    store = opened(required=True)
    for _ in range(2):
        batch = [Get("a"), Put("a", 1, None), Get("b"), Put("b", 2, None), Get("c")]
        store.serve(batch)
        for each in batch:
            assert isinstance(each.error, CacheUnavailable)
            assert f"{path} cannot be used: unable to open database file" in str(each.error)


def test_a_file_is_tried_again_some_seconds_after_the_last_attempt_whatever_is_asked_meanwhile(
    path: Path, clock: FakeClock, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests in between neither try it nor put the next attempt off; each attempt that fails begins the wait anew."""
    path.mkdir()
    store = opened()
    for _ in range(2):
        assert get(store, "a") == [None]
        clock.ticks += REOPEN_AFTER
    put(store, ("a", 1))
    path.rmdir()
    for _ in range(3):
        clock.ticks += REOPEN_AFTER / 4
        put(store, ("a", 1))
        assert not path.exists()
    clock.ticks += REOPEN_AFTER / 4
    put(store, ("a", 1))
    assert get(store, "a") == [1]
    assert [each.levelname for each in lines_of(caplog, "cascade.cache")] == ["WARNING", "INFO"]


@pytest.mark.parametrize("required", [False, True])
def test_a_damaged_file_stays_unused_until_the_cache_is_closed(
    required: bool, path: Path, clock: FakeClock, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """What was damaged may look well at the next request; deleting the file, as the message says, makes it work."""
    store = opened(required=required)
    put(store, *((str(i), b"x" * 10_000) for i in range(10)))
    store.close()
    whole = path.read_bytes()
    spoil(path)
    for _ in range(2):
        (outcome,) = get(store, "0")
        if required:
            assert isinstance(outcome, CacheUnavailable)
            assert "the file is damaged" in str(outcome)
            assert "delete it, or choose another path" in str(outcome)
        else:
            assert outcome is None
        path.write_bytes(whole)
        clock.ticks += 100 * HOUR
    assert len(lines_of(caplog, "cascade.cache")) == (0 if required else 1)
    path.unlink()
    later = opened(required=required)
    assert put(later, ("0", 2)) == [None]
    assert get(later, "0") == [2]
    if not required:
        assert [each.levelname for each in lines_of(caplog, "cascade.cache")] == ["WARNING", "INFO"]


def test_a_read_notes_the_use_of_the_rows_whose_last_one_is_long_ago(
    path: Path, clock: FakeClock, opened: Opened
) -> None:
    """All of them, and only them: a read within the hour does not write."""
    store = opened()
    put(store, ("a", 1), ("c", 3))
    clock.ticks += HOUR
    put(store, ("b", 2))
    between = clock.now()
    clock.ticks += HOUR / 2
    assert get(store, "a", "b", "c") == [1, 2, 3]
    noted = clock.now()
    clock.ticks += HOUR / 4
    assert get(store, "c", "a") == [3, 1]
    assert in_file(path, "SELECT key, used FROM entries ORDER BY key") == [
        ("a", noted), ("b", between), ("c", noted)
    ]  # fmt: skip


def test_values_are_read_while_another_program_locks_the_file(
    path: Path,
    clock: FakeClock,
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That a use cannot be noted costs neither the value nor a warning, and the next write works."""
    monkeypatch.setattr(_sqlite_file, "BUSY_TIMEOUT", 0.01)
    store = opened()
    put(store, ("a", 1), ("b", 2))
    clock.ticks += 2 * HOUR
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert get(store, "a", "b") == [1, 2]
        other.execute("ROLLBACK")
    put(store, ("c", 3))
    assert get(store, "a", "b", "c") == [1, 2, 3]
    assert not lines_of(caplog, "cascade.cache")


def test_a_full_file_loses_what_has_expired_before_what_has_not(
    path: Path, clock: FakeClock, opened: Opened
) -> None:
    """Even if the live values were used longer ago."""
    store = opened(max_bytes=150_000)
    lasting = [(f"lasting {i}", b"x" * 10_000) for i in range(5)]
    put(store, *lasting)
    for i in range(30):
        clock.ticks += 20
        assert put(store, (f"brief {i}", b"x" * 10_000), ttl=10) == [None]
    assert get(store, *(key for key, _ in lasting)) == [value for _, value in lasting]
    assert get(store, "brief 29", "brief 28") == [b"x" * 10_000, None]
    assert len(in_file(path, "SELECT key FROM entries")) < 15


def test_what_has_expired_is_deleted_by_the_first_commit_that_succeeds(
    path: Path, clock: FakeClock, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit before it failed after the deletion: nothing of it counts."""
    put(opened(), ("old", 1), ttl=10)
    clock.ticks += 20
    store = opened()

    def fail(file: _sqlite_file.SqliteFile) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(_sqlite_file.SqliteFile, "used_bytes", fail)
        put(store, ("new", 2))
    assert in_file(path, "SELECT key FROM entries") == [("old",)]
    put(store, ("new", 2))
    assert in_file(path, "SELECT key FROM entries") == [("new",)]
