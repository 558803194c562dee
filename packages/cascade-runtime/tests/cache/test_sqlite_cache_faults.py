"""SqliteCache when the disk or the file fails, or another program uses the file."""

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
from fakes import HOUR, FakeClock
from observers import lines_of

from cascade.interfaces import CacheUnavailable
from cascade.runtime import Engine, SqliteCache
from cascade.spec import task
from cascade.testkit.leaks import no_leaks

pytestmark = pytest.mark.process  # left out of the session unit

VALUES: dict[str, Any] = {f"k{i}": (i, "x" * (i * 37 % 900)) for i in range(60)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


async def fill(path: Path) -> None:
    cache = SqliteCache(path)
    await asyncio.gather(*(cache.put(key, value) for key, value in VALUES.items()))
    await cache.close()


async def count_values(path: Path) -> int:
    """Read every value, fail if one is wrong, store another one; return how many were found."""
    cache = SqliteCache(path)
    async with no_leaks():
        hits = {key: await cache.get(key) for key in VALUES}
        await cache.put("new", 1)
        await cache.close()
    found = {key: hit.value for key, hit in hits.items() if hit is not None}
    assert found == {key: VALUES[key] for key in found}
    return len(found)


def corrupt(path: Path, seed: int) -> None:
    """Overwrite some parts of a file with random bytes."""
    noise, content = random.Random(seed), bytearray(path.read_bytes())
    for _ in range(noise.choice([1, 5, 50])):
        where, length = noise.randrange(len(content)), noise.choice([1, 8, 300])
        content[where : where + length] = noise.randbytes(min(length, len(content) - where))
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(40))
async def test_a_corrupted_file_gives_right_values_or_none(
    seed: int, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No wrong value, no error, at most two log lines, and the file still exists."""
    await fill(path)
    corrupt(path, seed)
    await count_values(path)
    assert path.exists()
    assert len(lines_of(caplog, "cascade.cache")) <= 2, "one row with a wrong signature, then the file"


KILLED = """
import asyncio, json, os, signal, sys
from cascade.runtime.cache import SqliteCache

async def main():
    cache = SqliteCache(sys.argv[1])
    for key, value in json.load(sys.stdin).items():
        await cache.put(key, tuple(value))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_truncated_or_corrupted_log_gives_right_values_or_none(path: Path) -> None:
    """A killed process leaves SQLite's log; wherever it is cut, values committed before the cut are found."""
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
        counts.append(await count_values(copy))
        shutil.copy2(path, copy)
        copy.with_name("cache.db-wal").write_bytes(content)
        corrupt(copy.with_name("cache.db-wal"), part)
        await count_values(copy)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(VALUES))


def no_database(path: Path) -> None:
    path.write_bytes(b"These are notes, not a database.\n" * 100)


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


UNUSABLE: dict[Callable[[Path], None], str] = {
    no_database: "file is not a database.*delete it, or choose another path",
    another_program: "database of another program; choose another path",
    another_application: "database of another program; choose another path",
    newer_version: "cache of version 2, but this Cascade writes version 1; choose another path, or delete the file",
    directory: "unable to open database file",
    below_a_file: "exists|directory",
}


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


@pytest.mark.parametrize("break_file", UNUSABLE, ids=lambda break_file: break_file.__name__)
def test_an_unusable_file_is_one_warning_and_is_not_changed(
    break_file: Callable[[Path], None], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks run without the cache; the file and its folder stay as they were."""
    path = path.parent / "own" / "cache.db"
    path.parent.mkdir()
    break_file(path)
    before = content(path)

    async def use() -> None:
        cache = SqliteCache(path)
        async with no_leaks():
            for key in "abc":
                await cache.put(key, 1)
                assert await cache.get(key) is None
            await cache.close()

    asyncio.run(use())
    lines = [record for record in lines_of(caplog, "cascade.cache") if record.levelno >= logging.WARNING]
    assert ["cannot use its file" in line.message for line in lines] == [True]
    assert "tasks run without it" in lines[0].message
    assert content(path) == before


@pytest.mark.parametrize(
    ("break_file", "words"), UNUSABLE.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_an_unusable_required_file_is_an_error_that_says_what_to_do(
    break_file: Callable[[Path], None], words: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The error names the file, the cause and what to do."""
    path = path.parent / "own" / "cache.db"
    path.parent.mkdir()
    break_file(path)

    async def use() -> None:
        cache = SqliteCache(path, required=True)
        async with no_leaks():
            for operation in (cache.get("k"), cache.put("k", 1)):
                with pytest.raises(CacheUnavailable, match=f"cache {path} cannot be used: .*({words})"):
                    await operation
            await cache.close()

    asyncio.run(use())


@task
async def step(x: int) -> str:
    return "x" * 3000


def limited(pages: int) -> Callable[..., sqlite3.Connection]:
    """Return a ``connect`` whose databases have space for this many pages only."""
    connect = sqlite3.connect

    def connect_limited(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    return connect_limited


async def test_a_full_disk_keeps_stored_values_and_fails_no_task(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 33: tasks run on after one warning; stored values are found; with space again, one line says so."""
    await fill(path)
    monkeypatch.setattr(sqlite3, "connect", limited(path.stat().st_size // 4096 + 2))
    cache = SqliteCache(path)
    engine, cached = Engine(cache_backend=cache), step.with_cache()
    assert await engine.run([cached(x) for x in range(20)]) == ["x" * 3000] * 20
    assert all([await cache.get(key) for key in VALUES])
    (record,) = lines_of(caplog, "cascade.cache")
    assert "cannot store values: database or disk is full; tasks run without it" in record.message
    await cache.close()
    monkeypatch.undo()
    await engine.run(cached(99))
    assert [record.levelname for record in lines_of(caplog, "cascade.cache")] == ["WARNING", "INFO"]


async def test_a_full_disk_is_an_error_if_the_cache_is_required(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No committed value is lost."""
    await fill(path)
    monkeypatch.setattr(sqlite3, "connect", limited(path.stat().st_size // 4096))
    cache = SqliteCache(path, required=True)
    with pytest.raises(CacheUnavailable, match="database or disk is full"):
        await cache.put("big", "x" * 100_000)
    assert all([await cache.get(key) for key in VALUES])
    await cache.close()


async def test_a_file_locked_by_another_program_delays_a_task_by_a_limited_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock is one warning; when it is released, one line says so."""
    connect: Any = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kwargs: connect(*args, **{**kwargs, "timeout": 0.05})
    )
    await fill(path)
    cache = SqliteCache(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await cache.put("a", 1)
        await cache.put("b", 1)
        assert await cache.get("k1"), "reading still works"
        other.execute("ROLLBACK")
    await cache.put("c", 1)
    await cache.close()
    assert ["database is locked" in record.message for record in lines_of(caplog, "cascade.cache")] == [
        True,
        False,
    ]
    assert [record.levelname for record in lines_of(caplog, "cascade.cache")] == ["WARNING", "INFO"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the open files of this process")
async def test_no_attempt_to_open_a_file_leaves_it_open(path: Path) -> None:
    """Neither if the database is unusable, nor if only its signing key is."""

    def open_files() -> list[str]:
        targets = list[str]()
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(
                FileNotFoundError
            ):  # the listing itself, and what a thread has closed meanwhile
                targets.append(str(link.readlink()))
        return [target for target in targets if target.startswith(str(path))]

    for spoil in (
        no_database,
        another_program,
        lambda path: path.with_name("cache.db.key").write_bytes(b"short"),
    ):
        path.unlink(missing_ok=True)
        spoil(path)
        clock = FakeClock()
        cache = SqliteCache(path, clock=clock)
        for _ in range(5):
            clock.ticks += HOUR
            assert await cache.get("k") is None
        assert open_files() == []
        await cache.close()
