"""SqliteCache: which values it stores and returns, limits, threads, signatures and several processes."""

import asyncio
import contextlib
import logging
import math
import os
import pickle
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock
from observers import lines_of

from cascade.interfaces import (
    CacheBackend,
    CacheUnavailable,
    ConfigurationError,
    Hit,
    UnstorableValueError,
    supports,
)
from cascade.runtime.cache import SqliteCache
from cascade.testkit.leaks import no_leaks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


async def value_of(cache: SqliteCache, key: str) -> Any:
    hit = await cache.get(key)
    assert hit is not None, f"{key} is not there"
    return hit.value


@contextlib.asynccontextmanager
async def opened(path: Path, **options: Any) -> Any:
    cache = SqliteCache(path, **options)
    try:
        yield cache
    finally:
        await cache.close()


def rows(path: Path) -> list[tuple[Any, ...]]:
    """Query the file as any other program would."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM entries ORDER BY key").fetchall()


def change(path: Path, statement: str, *values: object) -> None:
    """Change the file as any other program could."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


# Values


async def test_the_stored_value_is_the_one_at_the_time_of_the_put(path: Path) -> None:
    """A value that the caller changes after the put is found as it was."""
    value = [1]
    async with opened(path) as cache:
        await cache.put("k", value)
        value.append(2)
        assert await value_of(cache, "k") == [1]


# Time and space


async def test_a_value_expires_at_its_ttl_also_for_another_process(path: Path) -> None:
    """Times are those of the wall clock; a hit has its age."""
    clock = FakeClock()
    async with opened(path, clock=clock) as cache:
        await cache.put("k", 1, ttl=10)
    clock.ticks += 9.5
    async with opened(path, clock=clock) as cache:
        assert await cache.get("k") == Hit(1, 9.5)
        clock.ticks += 0.5
        assert await cache.get("k") is None


async def test_a_value_of_a_clock_that_was_set_back_is_older_than_any_ttl(path: Path) -> None:
    """Its age is not known; one without a ttl stays."""
    clock = FakeClock()
    async with opened(path, clock=clock) as cache:
        await cache.put("brief", 1, ttl=10)
        await cache.put("kept", 2)
        clock.ticks -= 86_400
        assert await cache.get("brief") is None
        assert await cache.get("kept") == Hit(2, math.inf)


async def test_the_least_recently_used_values_are_deleted_when_the_file_is_full(path: Path) -> None:
    """The file stays within its limit, and reading counts as use."""
    limit, clock = 400_000, FakeClock()
    async with opened(path, clock=clock, max_bytes=limit) as cache:
        for i in range(100):
            clock.ticks += 4000
            await cache.put(str(i), os.urandom(10_000))
            assert await cache.get("0"), "it was used after each of the others was put"
        there = [i for i in range(100) if await cache.get(str(i))]
    assert there[0] == 0
    assert there[1:] == list(range(there[1], 100))
    assert 25 < len(there) < 40
    assert path.stat().st_size <= limit * 1.1


async def test_of_many_small_values_only_the_oldest_are_deleted(path: Path) -> None:
    """A full file of small values keeps most of them: what a row takes beside its value counts, too."""
    limit, clock = 100_000, FakeClock()
    async with opened(path, clock=clock, max_bytes=limit) as cache:
        for start in range(0, 1000, 20):
            clock.ticks += 4000
            await asyncio.gather(*(cache.put(str(i), i) for i in range(start, start + 20)))
        there = [i for i in range(1000) if await cache.get(str(i))]
    assert there == list(range(there[0], 1000))
    assert 500 < len(there) < 900


async def test_a_value_over_the_limit_is_rejected_with_its_size(path: Path) -> None:
    """The error names both sizes; other values in the same commit are stored."""
    async with opened(path, max_value_bytes=1000) as cache:
        small = asyncio.create_task(cache.put("small", 1))
        with pytest.raises(
            UnstorableValueError,
            match=r"a builtins\.bytes takes 20\d\d bytes, more than max_value_bytes=1000",
        ):
            await cache.put("big", b"x" * 2000)
        await small
        assert await value_of(cache, "small") == 1


@pytest.mark.parametrize("value", [lambda: 1, sys, [{"a": lambda: 1}]])
async def test_a_value_that_cannot_be_pickled_is_rejected_with_the_reason(value: object, path: Path) -> None:
    """The error names the type and pickle's reason."""
    async with opened(path) as cache:
        with pytest.raises(UnstorableValueError, match=f"a .*{type(value).__name__} cannot be pickled: .+"):
            await cache.put("k", value)


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_bytes": True}, {"max_value_bytes": 1.5}])
def test_an_invalid_limit_is_rejected(limits: dict[str, Any], path: Path) -> None:
    """The message names the setting, and no file is created."""
    with pytest.raises(ConfigurationError, match=f"SqliteCache.{next(iter(limits))}="):
        SqliteCache(path, **limits)
    assert not path.exists()


# Several calls at the same time


async def test_close_frees_thread_and_files_and_the_next_use_opens_again(path: Path) -> None:
    """After each close no thread and no file is left; requests that wait at the close are served first."""
    cache = SqliteCache(path)
    for i in range(3):
        async with no_leaks():
            puts = asyncio.gather(*(cache.put(f"{i} {j}", j) for j in range(50)))
            await asyncio.sleep(0)
            await cache.close()
            await puts
    assert await value_of(cache, "2 49") == 49
    await cache.close()
    await cache.close()
    assert sorted(each.name for each in path.parent.iterdir()) == ["cache.db", "cache.db.key"]


async def test_folders_are_created_and_a_relative_path_does_not_move(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path refers to the working directory at construction."""
    monkeypatch.chdir(path.parent)
    cache = SqliteCache("deep/er.db")
    (path.parent / "elsewhere").mkdir()
    monkeypatch.chdir(path.parent / "elsewhere")
    await cache.put("k", 1)
    await cache.close()
    assert cache.path == path.parent / "deep" / "er.db"
    assert cache.path.exists()
    assert repr(cache) == f"<SqliteCache {cache.path}>"
    assert supports(cache, CacheBackend)


# Permissions and signatures


async def test_only_the_owner_can_access_the_files(path: Path) -> None:
    """Other users cannot read values and key, whatever the umask."""
    before = os.umask(0)
    try:
        async with opened(path) as cache:
            await cache.put("k", 1)
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert {"cache.db", "cache.db-wal", "cache.db.key"} <= modes.keys()


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


async def filled(path: Path) -> None:
    async with opened(path) as cache:
        await cache.put("a", (1,))
        await cache.put("b", (2,))
        await cache.put("c", 3, ttl=1e9)


FORGERIES = {
    "a payload": ("UPDATE entries SET payload = ? WHERE key = 'a'", pickle.dumps((9,))),
    "a row of another key": (
        "UPDATE entries SET (payload, mac, created) = (SELECT payload, mac, created FROM entries WHERE key = ?) WHERE key = 'a'",
        "b",
    ),
    "another encoding": ("UPDATE entries SET encoding = ? WHERE key = 'a'", "json"),
    "another expiry": ("UPDATE entries SET expires = ? WHERE key = 'a'", 9e9),
    "another age": ("UPDATE entries SET created = ? WHERE key = 'a'", 9e9),
    "no signature": ("UPDATE entries SET mac = ? WHERE key = 'a'", b""),
    "a text for a signature": ("UPDATE entries SET mac = ? WHERE key = 'a'", "é"),
    "a number for a payload": ("UPDATE entries SET payload = ? WHERE key = 'a'", 5),
    "a text for an age": ("UPDATE entries SET created = ? WHERE key = 'a'", "old"),
    "a blob for an encoding": ("UPDATE entries SET encoding = ? WHERE key = 'a'", b"pickle"),
    "a text for an expiry": ("UPDATE entries SET expires = ? WHERE key = 'a'", "never"),
    "bytes that are not text": ("UPDATE entries SET encoding = CAST(? AS TEXT) WHERE key = 'a'", b"\xff\xfe"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_row_is_a_miss(forgery: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, however often it is read; other rows are found; the next put replaces it."""
    await filled(path)
    change(path, *FORGERIES[forgery])
    async with opened(path) as cache:
        for _ in range(3):
            assert await cache.get("a") is None
            assert await value_of(cache, "b") == (2,)
        assert [record.levelname for record in lines_of(caplog, "cascade.cache")] == ["WARNING"]
        await cache.put("a", (1,))
        assert await value_of(cache, "a") == (1,)


async def test_a_forged_pickle_is_never_loaded(path: Path, tmp_path: Path) -> None:
    """A user who can write the file but not read the key cannot run code here."""
    await filled(path)
    touched = tmp_path / "touched"
    change(path, "UPDATE entries SET payload = ?, encoding = 'pickle'", pickle.dumps(Bomb(touched)))
    async with opened(path) as cache:
        assert [await cache.get(key) for key in "abc"] == [None] * 3
    assert not touched.exists()
    pickle.loads(pickle.dumps(Bomb(touched)))
    assert touched.exists()


async def test_with_a_new_key_all_old_values_are_misses(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A lost key costs the values, not the run; values are written again with the new key."""
    await filled(path)
    path.with_name("cache.db.key").unlink()
    async with opened(path) as cache:
        assert [await cache.get(key) for key in "abc"] == [None] * 3
        assert len(lines_of(caplog, "cascade.cache")) == 1
        await cache.put("a", (1,))
    async with opened(path) as cache:
        assert await value_of(cache, "a") == (1,)


@pytest.mark.parametrize("damage", ["readable", "short", "long", "link"])
async def test_a_key_that_cannot_be_trusted_is_not_used(
    damage: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Readable by others, a link, or of the wrong size: one warning with the file's name."""
    await filled(path)
    key = path.with_name("cache.db.key")
    if damage == "readable":
        key.chmod(0o640)
    elif damage == "link":
        key.rename(path.with_name("moved"))
        key.symlink_to("moved")
    else:
        key.write_bytes(b"x" * (31 if damage == "short" else 33))
    async with opened(path) as cache:
        assert await cache.get("a") is None
        assert await cache.get("b") is None
    (record,) = lines_of(caplog, "cascade.cache")
    assert str(key) in record.message


@pytest.mark.skipif(os.name != "posix", reason="Windows has no user ids")
@pytest.mark.parametrize("planted", ["", "-wal", "-journal", "folder", "link", "writable"])
async def test_a_database_that_another_user_planted_is_not_opened(
    planted: str, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 56: its triggers would copy every value: the file, its companions, a link to it, and a folder that others can write."""
    await filled(path)
    target = path.parent if planted == "folder" else path
    if planted == "link":
        path.rename(path.with_name("planted"))
        path.symlink_to("planted")
    elif planted == "writable":
        path.chmod(0o666)
    elif planted.startswith("-"):
        target = path.with_name(f"{path.name}{planted}")
        target.touch()
    if planted != "writable":
        owners = owned_by_another(target)
        monkeypatch.setattr(Path, "lstat", owners(Path.lstat))
        monkeypatch.setattr(Path, "stat", owners(Path.stat))
    async with opened(path) as cache:
        assert await cache.get("a") is None
        await cache.put("a", "secret")
    (record,) = lines_of(caplog, "cascade.cache")
    assert str(target) in record.message
    with pytest.raises(CacheUnavailable, match=r"another user|by others"):
        async with opened(path, required=True) as cache:
            await cache.get("a")


def owned_by_another(path: Path) -> Callable[[Callable[..., os.stat_result]], Callable[..., os.stat_result]]:
    """Have a file appear to belong to another user."""

    def changed(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def other(self: Path, **keywords: Any) -> os.stat_result:
            found = list(look(self, **keywords))
            found[stat.ST_UID] = 4711 if self == path else found[stat.ST_UID]
            return os.stat_result(found)

        return other

    return changed


class Leaving:
    """A class that its module loses during a test."""


async def test_a_value_whose_class_was_removed_is_a_miss(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that cannot be loaded is a miss with one warning."""
    async with opened(path) as cache:
        await cache.put("k", Leaving())
        monkeypatch.delattr(sys.modules[__name__], "Leaving")
        assert await cache.get("k") is None
        assert await cache.get("k") is None
    assert [record.levelno for record in lines_of(caplog, "cascade.cache")] == [logging.WARNING]


# Several processes

WRITER = """
import asyncio, sys
from cascade.runtime.cache import SqliteCache, _sqlite_file

_sqlite_file.BUSY_TIMEOUT = 60.0  # on a busy machine the others may hold the lock for long

async def main(path, name, count):
    cache = SqliteCache(path)
    for i in range(count):
        await asyncio.gather(*(cache.put(f"{name} {i} {j}", (name, i, j)) for j in range(10)))
        print(i, flush=True)
    await cache.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


OPENERS = """
import asyncio, multiprocessing, sys
from collections.abc import Callable
from pathlib import Path
from cascade.runtime import SqliteCache
from cascade.runtime.cache import _sqlite_file

_sqlite_file.BUSY_TIMEOUT = 60.0  # on a busy machine the others may hold the lock for long

async def use(path, name):
    cache = SqliteCache(path, required=True)
    try:
        await cache.put(name, name)
        hit = await cache.get(name)
        return None if hit and hit.value == name else f"{hit} instead of {name}"
    except Exception as exc:
        return str(exc)
    finally:
        await cache.close()

def open_all(folder, barrier, problems, name):
    for number in range(int(sys.argv[2])):
        barrier.wait(600)
        problems.put(asyncio.run(use(folder / f"{number}.db", name)))

if __name__ == "__main__":
    processes = multiprocessing.get_context("fork")
    count = int(sys.argv[3])
    barrier, problems = processes.Barrier(count), processes.Queue()
    for i in range(count):
        processes.Process(target=open_all, args=(Path(sys.argv[1]), barrier, problems, f"value {i}"), daemon=True).start()
    for _ in range(count * int(sys.argv[2])):
        problem = problems.get(timeout=600)
        if problem:
            print(problem)
"""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, so that the processes start at one moment")
@pytest.mark.parametrize("files", [20, pytest.param(200, marks=pytest.mark.nightly)])
def test_several_processes_may_create_a_file_at_one_moment(files: int, tmp_path: Path) -> None:
    """Each of eight processes finds the file usable, whichever of them creates it."""
    command = [sys.executable, "-c", OPENERS, str(tmp_path), str(files), "8"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.process
async def test_a_value_survives_kill_9_once_put_has_returned(path: Path) -> None:
    """A process that is killed while it writes loses no value whose put had returned."""
    process = writer(path, "a", 100_000)
    assert process.stdout is not None
    written = -1
    # To the end by line: communicate() would begin behind what readline() has read ahead, amid a line.
    while (line := await asyncio.to_thread(process.stdout.readline)).endswith("\n"):
        written = int(line)
        if written == 25:
            process.kill()
    _, errors = await asyncio.to_thread(process.communicate)
    assert written >= 25, errors
    async with opened(path) as cache:
        for i in range(written + 1):
            for j in range(10):
                assert await value_of(cache, f"a {i} {j}") == ("a", i, j)
        await cache.put("k", 1)


FORKS = """
import asyncio, os, sys
from cascade.runtime.cache import SqliteCache

cache = SqliteCache(sys.argv[1])

async def once(key, value):
    await cache.put(key, value)
    hit = await cache.get("parent")
    return hit.value

async def parent():
    await cache.put("parent", 1)
    child = os.fork()
    if child == 0:
        asyncio.set_event_loop(None)
        asyncio._set_running_loop(None)
        os._exit(asyncio.run(once("child", 7)))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1, status
    assert (await cache.get("child")).value == 7
    await cache.close()

asyncio.run(parent())
"""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_forked_child_uses_a_connection_of_its_own(path: Path) -> None:
    """Neither process hangs, and each finds the values of the other."""
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "ignore", "-c", FORKS, str(path)],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
