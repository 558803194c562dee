"""SqliteCache with several requests at one time, with an odd one in their middle."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import HOUR, FakeClock
from observers import lines_of

from cascade.interfaces import CacheUnavailable, Hit, UnstorableValueError
from cascade.runtime.cache import SqliteCache

Opened = Callable[..., SqliteCache]
REOPEN_AFTER = 5.0
"""Seconds after which a file that could not be used is tried again."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def opened(path: Path, clock: FakeClock) -> AsyncIterator[Opened]:
    """Return a function that makes a cache in the file; all are closed at the end."""
    made: list[SqliteCache] = []

    def make(**settings: Any) -> SqliteCache:
        made.append(SqliteCache(path, clock=clock, max_value_bytes=20_000, **settings))
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


async def put(cache: SqliteCache, *values: tuple[str, Any], ttl: float | None = None) -> list[Any]:
    """Store values at one time; return the error of each."""
    puts = (cache.put(key, value, ttl=ttl) for key, value in values)
    return await asyncio.gather(*puts, return_exceptions=True)


async def get(cache: SqliteCache, *keys: str) -> list[Any]:
    """Look keys up at one time; return the value of each hit, the error, or None for a miss."""
    hits = await asyncio.gather(*map(cache.get, keys), return_exceptions=True)
    return [hit.value if isinstance(hit, Hit) else hit for hit in hits]


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


async def test_each_request_of_a_batch_has_its_own_outcome(path: Path, opened: Opened) -> None:
    """A value that cannot be stored, a key that is not there and a forged row cost no other request."""
    store = opened()
    errors = await put(
        store, ("a", 1), ("b", lambda: 1), ("c", [3]), ("d", b"x" * 30_000), ("e", None), ("f", "6")
    )
    assert [type(error) for error in errors] == [
        type(None), UnstorableValueError, type(None), UnstorableValueError, type(None), type(None)
    ]  # fmt: skip
    in_file(path, "UPDATE entries SET payload = '[4]' WHERE key = 'c'")
    assert await get(store, "f", "b", "a", "c", "a", "d", "f") == ["6", None, 1, None, 1, None, "6"]


async def test_every_request_to_a_required_cache_that_cannot_be_used_fails(
    path: Path, opened: Opened
) -> None:
    """Not only the first of a batch, and in the seconds in which the file is not tried again with the same cause."""
    path.mkdir()
    store = opened(required=True)
    for _ in range(2):
        for error in [*(await get(store, "a", "b", "c")), *(await put(store, ("a", 1), ("b", 2)))]:
            assert isinstance(error, CacheUnavailable)
            assert f"{path} cannot be used: unable to open database file" in str(error)


async def test_a_file_is_tried_again_some_seconds_after_the_last_attempt_whatever_is_asked_meanwhile(
    path: Path, clock: FakeClock, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests in between neither try it nor put the next attempt off; each attempt that fails begins the wait anew."""
    path.mkdir()
    store = opened()
    for _ in range(2):
        assert await get(store, "a") == [None]
        clock.ticks += REOPEN_AFTER
    await put(store, ("a", 1))
    path.rmdir()
    for _ in range(3):
        clock.ticks += REOPEN_AFTER / 4
        await put(store, ("a", 1))
        assert not path.exists()
    clock.ticks += REOPEN_AFTER / 4
    await put(store, ("a", 1))
    assert await get(store, "a") == [1]
    assert [each.levelname for each in lines_of(caplog, "cascade.cache")] == ["WARNING", "INFO"]


@pytest.mark.parametrize("required", [False, True])
async def test_a_damaged_file_stays_unused_until_the_cache_is_closed(
    required: bool, path: Path, clock: FakeClock, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """What was damaged may look well at the next request; deleting the file, as the message says, makes it work."""
    store = opened(required=required)
    await put(store, *((str(i), b"x" * 10_000) for i in range(10)))
    await store.close()
    whole = path.read_bytes()
    spoil(path)
    for _ in range(2):
        (outcome,) = await get(store, "0")
        if required:
            assert isinstance(outcome, CacheUnavailable)
            assert "the file is damaged" in str(outcome)
            assert "delete it, or choose another path" in str(outcome)
        else:
            assert outcome is None
        path.write_bytes(whole)
        clock.ticks += 100 * HOUR
    assert len(lines_of(caplog, "cascade.cache")) == (0 if required else 1)
    await store.close()
    path.unlink()
    assert await put(store, ("0", 2)) == [None]
    assert await get(store, "0") == [2]
    if not required:
        assert [each.levelname for each in lines_of(caplog, "cascade.cache")] == ["WARNING", "INFO"]


async def test_a_full_file_loses_what_has_expired_before_what_has_not(
    path: Path, clock: FakeClock, opened: Opened
) -> None:
    """Even if the live values were used longer ago."""
    store = opened(max_bytes=150_000)
    lasting = [(f"lasting {i}", b"x" * 10_000) for i in range(5)]
    await put(store, *lasting)
    for i in range(30):
        clock.ticks += 20
        assert await put(store, (f"brief {i}", b"x" * 10_000), ttl=10) == [None]
    assert await get(store, *(key for key, _ in lasting)) == [value for _, value in lasting]
    assert await get(store, "brief 29", "brief 28") == [b"x" * 10_000, None]
    assert len(in_file(path, "SELECT key FROM entries")) < 15
