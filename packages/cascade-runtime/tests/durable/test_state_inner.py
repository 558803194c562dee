"""SqliteState where only its inner parts can be reached: mounted file systems, older schemas, and locks that other processes hold or delete."""

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.interfaces import (
    Journal,
    RunInfo,
    RunStatus,
    StateUnavailable,
)
from cascade.runtime import SqliteState
from cascade.runtime._durable import schema
from cascade.runtime._storage import private_files as folders
from cascade.runtime._storage import process_lock

RUN = RunInfo("night", "report")

pytestmark = pytest.mark.process  # left out of the session unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def state_in(folder: Path, **options: Any) -> SqliteState:
    return SqliteState(folder, power_safe=False, **options)


async def complete(journal: Journal, key: str, value: Any) -> bool:
    journal.started(key, name="task", inputs=b"", code=b"")
    return await journal.completed(key, value)


async def recorded(folder: Path, status: RunStatus | None = RunStatus.SUCCEEDED, run: RunInfo = RUN) -> None:
    """Record a run with three values, one of them pickled and one large; None: it is interrupted."""
    journal = await state_in(folder).open(run)
    for key, value in {"a:0": 1, "b:0": range(3), "c:0": b"x" * (2 << 20)}.items():
        assert await complete(journal, key, value)
    await (journal.close() if status is None else journal.end(status))


async def test_a_folder_on_a_network_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "file_system", lambda place: "nfs4")
    with pytest.raises(
        StateUnavailable, match="is on nfs4, where SQLite's WAL is not safe; name a local folder"
    ):
        await state_in(folder).open(RUN)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:25 / /mnt rw - tmpfs tmpfs rw
31 30 0:26 / /mnt/my\\040share rw,relatime shared:9 - nfs4 server:/x rw
32 31 0:27 / /mnt/my\\040share/local rw - xfs /dev/sdb rw
33 22 0:28 / /data rw - ext4 /dev/sdc rw
34 33 0:29 / /data rw - fuse.sshfs me@there: rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/me", "ext4"),
        ("/mnt/my share/runs", "nfs4"),
        ("/mnt/my share/local/runs", "xfs"),
        ("/mnt/my shared", "tmpfs"),
        ("/data/runs", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_longest_mount(
    place: str, kind: str, tmp_path: Path
) -> None:
    """Of two mounts at one place the later one counts; where nothing is listed, it is unknown."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert folders.file_system(Path(place), mounts) == kind
    assert folders.file_system(Path(place), tmp_path / "missing") == ""


# Migration


@pytest.fixture
def version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: "ALTER TABLE attempt ADD COLUMN note TEXT"})


async def test_an_older_run_is_migrated_after_a_copy_was_made(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    """Its values are there, and the copy is the file as it was; a reader does not migrate."""
    await recorded(folder, None)
    request.getfixturevalue("version_2")
    reader = state_in(folder)
    assert reader.runs() == []
    with pytest.raises(StateUnavailable, match="is migrated when the run is resumed"):
        list(reader.steps("night"))
    journal = await state_in(folder).open(RUN)
    assert await journal.load("a:0") == 1
    await journal.close()
    assert [run.attempts for run in reader.runs()] == [2]
    with contextlib.closing(sqlite3.connect(folder / "night.db.v1")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM result").fetchone() == (3,)
    assert stat.S_IMODE((folder / "night.db.v1").stat().st_mode) == 0o600
    await reader.forget("night")
    assert [path.name for path in folder.iterdir()] == ["_secret"]


async def test_a_migration_that_fails_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one transaction."""
    await recorded(folder)
    with monkeypatch.context() as changed:
        changed.setattr(schema, "SCHEMA_VERSION", 2)
        changed.setattr(schema, "MIGRATIONS", {1: "DROP TABLE step; DROP TABLE nonsense"})
        with pytest.raises(StateUnavailable, match="no such table: nonsense"):
            await state_in(folder).open(RUN)
    journal = await state_in(folder).open(RUN)
    assert await journal.load("a:0") == 1
    await journal.close()


def test_a_lock_on_a_file_that_was_deleted_meanwhile_does_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening it and locking it, another process has deleted the run; a third one may have it anew."""
    folder.mkdir()
    path, flock, calls = folder / "night.lock", fcntl.flock, list[int]()

    def delete_and_lock(handle: int, operation: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            path.unlink()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", delete_and_lock)
    taken = process_lock.take(path)
    assert len(calls) == 2
    assert process_lock.is_held(path)
    taken.release()
    assert not process_lock.is_held(path)


@contextlib.contextmanager
def ended_later(held: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close a lock of another process after longer than a held lock is waited for, by a clock of its own."""
    seconds = [0.0]

    def sleep(pause: float) -> None:
        seconds[0] += pause
        if seconds[0] > 2 * process_lock._PATIENCE and held:
            os.close(held.pop())

    with monkeypatch.context() as changed:
        clock = SimpleNamespace(monotonic=lambda: seconds[0], sleep=sleep, time=time.time)
        changed.setattr("cascade.runtime._storage.process_lock.time", clock)
        yield


@pytest.mark.parametrize("how", ["a reader", "a holder that has not described itself"])
def test_a_lock_that_is_held_for_an_instant_is_waited_for(
    how: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its process is not scheduled meanwhile: neither has the run, nor could the refusal name it."""
    folder.mkdir()
    path = folder / "night.lock"
    process_lock.take(path).release()
    if how != "a reader":
        path.write_bytes(b"")
    handle = os.open(path, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_SH if how == "a reader" else fcntl.LOCK_EX)
    held = [handle]
    with ended_later(held, monkeypatch):
        taken = process_lock.take(path)
    assert held == []
    taken.release()


def test_a_lock_that_cannot_be_described_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: this process and others can take it when there is room."""
    folder.mkdir()

    def fail(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", fail)
        with pytest.raises(OSError, match="No space left"):
            process_lock.take(folder / "night.lock")
    assert not process_lock.is_held(folder / "night.lock")


def test_a_lock_whose_file_is_deleted_meanwhile_is_not_held(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is deleted while its folder is listed."""
    monkeypatch.setattr(Path, "exists", lambda path: True)
    assert not process_lock.is_held(folder / "night.lock")
