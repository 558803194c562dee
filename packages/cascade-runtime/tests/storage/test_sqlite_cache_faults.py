"""SqliteCache when the disk, the file or another program is against it."""

import asyncio
import contextlib
import json
import logging
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import CacheUnavailable
from cascade.runtime.storage import CachedCalls, SqliteCache, _sqlite_file, _sqlite_worker
from cascade.runtime.storage.calls import Prepare
from cascade.spec import task
from cascade.spec.caching import CachePolicy
from cascade.testkit.leaks import no_leaks

pytestmark = pytest.mark.slow  # left out of the session unit

VALUES: dict[str, Any] = {f"k{i}": (i, "x" * (i * 37 % 900)) for i in range(60)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


async def fill(path: Path) -> None:
    cache = SqliteCache(path)
    await asyncio.gather(*(cache.put(key, value) for key, value in VALUES.items()))
    await cache.close()


async def found(path: Path) -> int:
    """Ask for every value, fail if one is wrong, and return how many there are; then put one."""
    cache = SqliteCache(path)
    async with no_leaks():
        hits = {key: await cache.get(key) for key in VALUES}
        await cache.put("new", 1)
        await cache.close()
    there = {key: hit.value for key, hit in hits.items() if hit is not None}
    assert there == {key: VALUES[key] for key in there}
    return len(there)


def garble(path: Path, seed: int) -> None:
    """Overwrite some places of a file with noise."""
    noise, content = random.Random(seed), bytearray(path.read_bytes())
    for _ in range(noise.choice([1, 5, 50])):
        where, length = noise.randrange(len(content)), noise.choice([1, 8, 300])
        content[where : where + length] = noise.randbytes(min(length, len(content) - where))
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(40))
async def test_a_garbled_file_gives_right_values_or_none(
    seed: int, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Never a wrong value, never an error, few lines, and the file is still there."""
    await fill(path)
    garble(path, seed)
    await found(path)
    assert path.exists()
    assert len(caplog.records) <= 2, "one row that is not trusted, then the file"


@pytest.mark.parametrize("length", [0, 1, 50, 100, 4096, 5000])
async def test_a_truncated_file_gives_right_values_or_none(length: int, path: Path) -> None:
    """Whatever is left of it."""
    await fill(path)
    path.write_bytes(path.read_bytes()[:length])
    assert await found(path) < len(VALUES)


KILLED = """
import asyncio, json, os, signal, sys
from cascade.runtime.storage import SqliteCache

async def main():
    cache = SqliteCache(sys.argv[1])
    for key, value in json.load(sys.stdin).items():
        await cache.put(key, tuple(value))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_truncated_or_garbled_log_gives_right_values_or_none(path: Path) -> None:
    """SQLite's log of a killed process, cut anywhere: what was committed before the cut is there."""
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(path)], input=json.dumps(VALUES), text=True
    )
    assert ended.returncode == -9
    log = path.with_name("cache.db-wal")
    size = log.stat().st_size
    assert size > 0
    counts = []
    for part in (0, 1, 33, size // 4, size // 2, size - 1, size):
        copy = path.parent / f"copy {part}" / "cache.db"
        copy.parent.mkdir()
        for each in ("cache.db", "cache.db.key", "cache.db-wal"):
            shutil.copy2(path.with_name(each), copy.with_name(each))
        content = log.read_bytes()
        copy.with_name("cache.db-wal").write_bytes(content[:part])
        counts.append(await found(copy))
        shutil.copy2(path, copy)
        copy.with_name("cache.db-wal").write_bytes(content)
        garble(copy.with_name("cache.db-wal"), part)
        await found(copy)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(VALUES))


def no_database(path: Path) -> None:
    path.write_bytes(b"These are somebody's notes, and no database.\n" * 100)


def another_program(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE entries (key TEXT, payload BLOB)")


def another_application(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA application_id = 12345")


def newer_version(path: Path) -> None:
    asyncio.run(fill(path))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")


def directory(path: Path) -> None:
    path.mkdir()


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("not a folder")


OBSTACLES: dict[Callable[[Path], None], str] = {
    no_database: "file is not a database.*delete it, or name another path",
    another_program: "database of another program; name another path",
    another_application: "database of another program; name another path",
    newer_version: "cache of version 2, and this Cascade writes version 1; name another path, or delete it",
    directory: "unable to open database file",
    below_a_file: "exists|directory",
}


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.__name__)
def test_a_file_that_cannot_be_used_is_one_warning_and_left_alone(
    obstacle: Callable[[Path], None], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks run as without a cache; the file and its folder are as they were."""
    path = path.parent / "own" / "cache.db"
    path.parent.mkdir()
    obstacle(path)
    before = content(path)

    async def use() -> None:
        cache = SqliteCache(path)
        async with no_leaks():
            for key in "abc":
                await cache.put(key, 1)
                assert await cache.get(key) is None
            await cache.close()

    asyncio.run(use())
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ["cannot use its file" in line.message for line in lines] == [True]
    assert "tasks run as without it" in lines[0].message
    assert content(path) == before


@pytest.mark.parametrize(
    ("obstacle", "words"), OBSTACLES.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_required_file_that_cannot_be_used_is_an_error_in_words(
    obstacle: Callable[[Path], None], words: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the file, the cause and what to do."""
    path = path.parent / "own" / "cache.db"
    path.parent.mkdir()
    obstacle(path)

    async def use() -> None:
        cache = SqliteCache(path, required=True)
        async with no_leaks():
            for operation in (cache.get("k"), cache.put("k", 1)):
                with pytest.raises(CacheUnavailable, match=f"cache {path} cannot be used: .*({words})"):
                    await operation
            await cache.close()

    asyncio.run(use())


@task
async def step(x: int) -> int:
    return x


def limited(pages: int) -> Callable[..., sqlite3.Connection]:
    """Connect to a disk on which a database has room for so many pages."""
    connect = sqlite3.connect

    def tiny(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    return tiny


async def test_a_full_disk_keeps_what_it_has_and_fails_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 33: steps go on with one warning; old values are still found; with room again, one line says so."""
    await fill(path)
    monkeypatch.setattr(sqlite3, "connect", limited(path.stat().st_size // 4096 + 2))
    cache = SqliteCache(path)
    calls = CachedCalls(cache)
    policy = CachePolicy()

    async def compute(prepare: Prepare) -> str:
        return "x" * 3000

    for x in range(20):
        answer = await calls.call(policy, step._definition, (x,), {}, compute)
        assert answer.value == "x" * 3000
    assert all([await cache.get(key) for key in VALUES])
    (record,) = caplog.records
    assert "cannot keep values: database or disk is full; tasks run as without it" in record.message
    await calls.close()
    monkeypatch.undo()
    await calls.call(policy, step._definition, (99,), {}, compute)
    await calls.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_full_disk_is_an_error_where_the_cache_is_required(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was committed is lost."""
    await fill(path)
    monkeypatch.setattr(sqlite3, "connect", limited(path.stat().st_size // 4096))
    cache = SqliteCache(path, required=True)
    with pytest.raises(CacheUnavailable, match="database or disk is full"):
        await cache.put("big", "x" * 100_000)
    assert all([await cache.get(key) for key in VALUES])
    await cache.close()


async def test_a_disk_that_is_full_at_the_first_use_is_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even the schema has room."""
    monkeypatch.setattr(sqlite3, "connect", limited(1))
    cache = SqliteCache(path)
    assert await cache.get("k") is None
    await cache.close()
    assert "database or disk is full" in caplog.text


async def test_a_file_that_another_program_holds_delays_a_step_by_a_limited_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A writer that does not let go is a warning; when it has, one line says so."""
    monkeypatch.setattr(_sqlite_file, "BUSY_TIMEOUT", 0.05)
    await fill(path)
    cache = SqliteCache(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await cache.put("a", 1)
        await cache.put("b", 1)
        assert await cache.get("k1"), "reading goes on"
        other.execute("ROLLBACK")
    await cache.put("c", 1)
    await cache.close()
    assert ["locked" in record.message for record in caplog.records] == [True, False]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_file_that_was_mended_is_used_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unusable file is tried again after a while, without a new run."""
    monkeypatch.setattr(_sqlite_worker, "REOPEN_AFTER", 0.0)
    no_database(path)
    cache = SqliteCache(path)
    await cache.put("k", 1)
    path.unlink()
    await cache.put("k", 1)
    assert await cache.get("k")
    await cache.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_an_unusable_file_is_not_tried_at_every_step(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand steps do not open it a thousand times."""
    no_database(path)
    opened = 0
    prepare = _sqlite_file.SqliteFile.__init__

    def counted(self: _sqlite_file.SqliteFile, path: Path, *, max_bytes: int) -> None:
        nonlocal opened
        opened += 1
        prepare(self, path, max_bytes=max_bytes)

    monkeypatch.setattr(_sqlite_file.SqliteFile, "__init__", counted)
    cache = SqliteCache(path)
    for i in range(50):
        await cache.get(str(i))
    await cache.close()
    assert opened == 1
