"""SqliteState: what it refuses and how it says so, files and permissions, retention, migration, readers, forks."""

import asyncio
import contextlib
import datetime as dt
import errno
import fcntl
import hashlib
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock

from cascade.interfaces import (
    ConfigurationError,
    Journal,
    Plan,
    RecordedStatus,
    RunInfo,
    RunInUseError,
    RunStatus,
    StateUnavailable,
    StepState,
    UnreadableResultError,
)
from cascade.runtime import SqliteState
from cascade.testkit.leaks import no_leaks
from cascade.testkit.waiting import eventually

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


def clock_set_by(difference: dt.timedelta) -> FakeClock:
    """Return a clock that was set to another time."""
    clock = FakeClock()
    clock.put_forward = time.time() - clock.now() + difference.total_seconds()
    return clock


def change(database: Path, statement: str, *values: object) -> None:
    """Change a file as any other program could."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# What is refused


def foreign(database: Path) -> None:
    database.unlink()
    change(database, "CREATE TABLE mine (x)")


def newer(database: Path) -> None:
    change(database, "PRAGMA user_version = 3")


def no_database(database: Path) -> None:
    database.write_bytes(b"These are notes, not a database.\n" * 200)


def zeroed(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:4096] + bytes(database.stat().st_size - 4096))


UNUSABLE: dict[Callable[[Path], None], str] = {
    foreign: "state {database}: it is a database of another program",
    newer: "state {database}: it is a run of version 3, and this Cascade writes 1; upgrade Cascade",
    no_database: "state {database}: is damaged (file is not a database); nothing could be read; start a new run",
    zeroed: "state {database}: is damaged (database disk image is malformed); ",
}


@pytest.mark.parametrize("spoil", UNUSABLE, ids=lambda spoil: spoil.__name__)
async def test_an_unusable_file_is_refused_with_its_cause_and_not_changed(
    spoil: Callable[[Path], None], folder: Path
) -> None:
    """The message names the file; the run is free afterwards, and others can be used."""
    await recorded(folder)
    database = folder / "night.db"
    spoil(database)
    before = database.read_bytes()[100:]  # SQLite's header counts changes of the journal mode
    async with no_leaks():
        with pytest.raises(StateUnavailable) as refused:
            await state_in(folder).open(RUN)
    assert str(refused.value).startswith(UNUSABLE[spoil].format(database=database))
    assert database.read_bytes()[100:] == before
    await (await state_in(folder).open(RunInfo("other", "report"))).close()


async def test_what_can_be_read_of_a_damaged_file_is_saved(folder: Path) -> None:
    """Rows on pages that are whole, from both ends of a table."""
    journal = await state_in(folder).open(RUN)
    for number in range(300):
        assert await complete(journal, f"f:0[{number}]", "x" * 1000)
    await journal.close()
    database = folder / "night.db"
    raw = bytearray(database.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 4096 * 4] = b"\xee" * 4096 * 4
    database.write_bytes(raw)
    journal = await state_in(folder).open(RUN)
    loads = await asyncio.gather(
        *(journal.load(f"f:0[{number}]") for number in range(300)), return_exceptions=True
    )
    await journal.close()
    failed = next(each for each in loads if isinstance(each, StateUnavailable))
    assert "is damaged (database disk image is malformed); what could be read is in night.db.rescue; " in str(
        failed
    )
    with contextlib.closing(sqlite3.connect(folder / "night.db.rescue")) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM result").fetchone()
        assert 100 < rows < 300


def open_to_group(folder: Path) -> None:
    folder.chmod(0o750)


def writable_by_all(folder: Path) -> None:
    folder.chmod(0o777)


def not_a_folder(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("notes")


def readable_key(folder: Path) -> None:
    key = folder / "_secret"
    key.write_bytes(bytes(32))
    key.chmod(0o644)


FOLDERS: dict[Callable[[Path], None], str] = {
    open_to_group: "state {folder}: can be read by others; chmod 700 {folder}",
    writable_by_all: "state {folder}: can be written by others; chmod 700 {folder}",
    not_a_folder: "state {folder}: is not a folder; name another one",
    readable_key: "state {folder}: other users can read or write {folder}/_secret; ",
}


@pytest.mark.parametrize("spoil", FOLDERS, ids=lambda spoil: spoil.__name__)
async def test_an_unsafe_folder_is_refused_with_what_to_do(
    spoil: Callable[[Path], None], folder: Path
) -> None:
    folder.mkdir(mode=0o700)
    spoil(folder)
    with pytest.raises(StateUnavailable) as refused:
        await state_in(folder).open(RUN)
    assert str(refused.value).startswith(FOLDERS[spoil].format(folder=folder))


async def test_a_folder_on_a_full_disk_asks_for_space(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(StateUnavailable) as refused:
        await state_in(folder).open(RUN)
    assert (
        str(refused.value)
        == f"state {folder}: cannot be used as a folder: No space left on device; free some space"
    )


async def test_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(StateUnavailable, match="belongs to another user"):
        await state_in(folder).open(RUN)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_value_bytes": 0},
        {"max_value_bytes": True},
        {"keep_runs": 0},
        {"keep_runs": 1.5},
        {"retry_for": -1},
        {"retry_for": float("nan")},
        {"keep": 30},
        {"keep": dt.timedelta(days=-1)},
    ],
    ids=repr,
)
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, Any], folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"SqliteState.{next(iter(settings))}="):
        SqliteState(folder, **settings)
    assert not folder.exists()


async def test_a_store_that_is_not_required_is_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run continues, nothing is known and nothing is kept."""
    folder.write_text("in the way")
    journal = await state_in(folder, required=False).open(RUN)
    assert await complete(journal, "f:0", 1) is False
    await journal.started_for_certain("g:0", name="g", inputs=b"", code=b"")
    journal.retrying("g:0", tries=1, not_before=0.0, error="")
    await journal.expanded("h:0", Plan([]))
    await journal.failed("g:0", "")
    await journal.discard(["g:0"])
    await journal.writable()
    assert (journal.known("f:0"), list(journal.known_keys()), journal.earlier) == (None, [], None)
    with pytest.raises(UnreadableResultError):
        await journal.load("f:0")
    await journal.end(RunStatus.SUCCEEDED)
    await journal.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "is not a folder" in record.message
    assert "the run continues unrecorded" in record.message


# Values


async def test_without_pickle_a_value_that_needs_it_is_not_kept(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for each task, with the type; recorded pickles are not loaded."""
    await recorded(folder)
    journal = await state_in(folder, pickle=False).open(RUN)
    for number in range(3):
        assert await complete(journal, f"f:0[{number}]", range(number)) is False
    assert await complete(journal, "g:0", (1, {2})) is True
    with pytest.raises(UnreadableResultError, match="pickle=False"):
        await journal.load("b:0")
    assert await journal.load("a:0") == 1
    await journal.close()
    (record,) = caplog.records
    assert "task task: its result is not recorded, so the step runs again on resume" in record.message
    assert "builtins.range" in record.message


async def test_a_value_of_the_largest_size_is_kept(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its size is that of its JSON; with one more character it is too large."""
    journal = await state_in(folder, max_value_bytes=1000).open(RUN)
    assert await complete(journal, "f:0", "x" * 998) is True
    assert caplog.records == []
    assert await complete(journal, "g:0", "x" * 999) is False
    await journal.close()
    assert "takes 1001 bytes, more than max_value_bytes=1000" in caplog.text


FORGERIES = {
    "a payload": ("UPDATE result SET payload = ? WHERE key = 'a:0'", b"2"),
    "a row of another step": (
        "UPDATE result SET (encoding, payload, mac) = (SELECT encoding, payload, mac FROM result WHERE key = ?) WHERE key = 'a:0'",
        "b:0",
    ),
    "an encoding": ("UPDATE result SET encoding = ? WHERE key = 'a:0'", "pickle"),
    "no signature": ("UPDATE result SET mac = ? WHERE key = 'a:0'", None),
    "a text for a payload": ("UPDATE result SET payload = ? WHERE key = 'a:0'", "x"),
    "another file": ("UPDATE result SET file = ? WHERE key = 'a:0'", "_secret"),
    "a blob for a file": ("UPDATE result SET file = ? WHERE key = 'a:0'", b"x"),
    "a missing file": ("UPDATE result SET file = ? WHERE key = 'a:0'", "gone"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_result_is_unreadable(forgery: str, folder: Path) -> None:
    """The error names the step; others are read."""
    await recorded(folder)
    change(folder / "night.db", *FORGERIES[forgery])
    journal = await state_in(folder).open(RUN)
    with pytest.raises(UnreadableResultError, match="step 'a:0' cannot be read: "):
        await journal.load("a:0")
    assert await journal.load("b:0") == range(3)
    await journal.close()


# Files


async def test_only_the_owner_can_access_the_files(folder: Path) -> None:
    """Whatever the umask."""
    before = os.umask(0)
    try:
        journal = await state_in(folder).open(RUN)
        assert await complete(journal, "f:0", b"x" * (2 << 20))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        await journal.close()
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert {"night.db", "night.db-wal", "night.lock", "_secret"} <= modes.keys()
    assert sum(name.endswith(".result") for name in modes) == 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_an_ended_run_is_one_file_that_can_be_copied(folder: Path, tmp_path: Path) -> None:
    """With the key, if results are to be read there."""
    await recorded(folder)
    assert sorted(path.suffix for path in folder.iterdir() if path.name != "_secret") == [
        ".db",
        ".lock",
        ".result",
    ]
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
        (copy / path.name).chmod(0o600)
    journal = await state_in(copy).open(RUN)
    assert await journal.load("c:0") == b"x" * (2 << 20)
    await journal.close()


@pytest.mark.parametrize(
    "run_id",
    ["../../etc/passwd", "a.db", ".", "_secret", "x" * 200, "ä" * 200, "a\\b:c*?[x]", "night/1", "%2E"],
)
async def test_any_run_id_has_files_of_its_own_in_the_folder(run_id: str, folder: Path) -> None:
    """Their name is neither a path nor a pattern nor too long, and it is found again."""
    run = RunInfo(run_id, "report")
    await recorded(folder, run=run)
    await recorded(folder, run=RunInfo(f"{run_id}~" if len(run_id) < 200 else run_id[:-1], "report"))
    assert {path.parent for path in folder.parent.rglob("*.db")} == {folder}
    assert max(len(path.name) for path in folder.iterdir()) < 200
    assert [step.key for step in state_in(folder).steps(run_id)] == ["a:0", "b:0", "c:0"]
    await state_in(folder).forget(run_id)
    assert len(state_in(folder).runs()) == 1
    assert sorted(path.suffix for path in folder.iterdir() if path.name != "_secret") == [
        ".db",
        ".lock",
        ".result",
    ]


async def test_a_file_that_holds_another_run_is_not_taken_for_this_one(folder: Path) -> None:
    """A person has renamed it: its values are not those of the run that is asked for."""
    await recorded(folder)
    (folder / "night.db").rename(folder / "day.db")
    with pytest.raises(StateUnavailable, match="it holds the run 'night'; give another run_id"):
        await state_in(folder).open(RunInfo("day", "report"))
    (folder / "day.db").rename(folder / "night.db")
    assert [run.attempts for run in state_in(folder).runs()] == [1]


# Retention


async def test_old_runs_are_deleted_when_a_run_ends(folder: Path) -> None:
    """With all their files; interrupted ones stay, however old."""
    await recorded(folder, run=RunInfo("old", "report"))
    await recorded(folder, RunStatus.FAILED, run=RunInfo("failed", "report"))
    await recorded(folder, None, run=RunInfo("interrupted", "report"))
    clock = clock_set_by(dt.timedelta(days=31))
    journal = await state_in(folder, clock=clock, keep=dt.timedelta(days=30)).open(RUN)
    await journal.end(RunStatus.SUCCEEDED)
    assert {run.run_id for run in state_in(folder).runs()} == {"night", "interrupted"}
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == {"night", "interrupted", "_secret"}


async def test_the_runs_of_other_processes_count_within_an_hour(folder: Path) -> None:
    """Until then, those that this process has seen or recorded do; a run that is continued is as young as its last end."""
    clock = FakeClock()
    state = state_in(folder, keep=None, keep_runs=2, clock=clock)

    async def kept(run_id: str) -> set[str]:
        await (await state.open(RunInfo(run_id, "report"))).end(RunStatus.SUCCEEDED)
        return {run.run_id for run in state.runs()}

    assert await kept("a") == {"a"}
    await recorded(folder, run=RunInfo("other", "report"))
    os.utime(folder / "other.db", (1e9, 1e9))
    await kept("b")
    assert await kept("a") == {"a", "b", "other"}
    assert await kept("c") == {"a", "c", "other"}
    clock.ticks += 3600.0
    assert await kept("c") == {"a", "c"}


async def test_a_run_of_a_live_process_is_not_deleted(folder: Path) -> None:
    """Although an earlier attempt has ended long ago."""
    await recorded(folder, run=RunInfo("old", "report"))
    live = await state_in(folder).open(RunInfo("old", "report"))
    os.utime(folder / "old.db", (1e9, 1e9))
    assert await state_in(folder, keep=dt.timedelta(0), keep_runs=1).prune() == 0
    assert await live.load("a:0") == 1
    await live.close()


async def test_the_runs_beyond_a_number_are_deleted_however_young_they_are(folder: Path) -> None:
    """Both limits count, as by default: it is enough to be beyond one of them."""
    for number in range(3):
        await recorded(folder, run=RunInfo(f"run {number}", "report"))
        os.utime(folder / f"run%20{number}.db", (1e9 + number, 1e9 + number))
    assert await state_in(folder, keep=dt.timedelta(days=30), keep_runs=1).prune() == 2
    assert [run.run_id for run in state_in(folder).runs()] == ["run 2"]


async def test_files_that_cannot_be_read_do_not_keep_old_runs_from_being_deleted(folder: Path) -> None:
    """A damaged file, and one of a newer version, stay."""
    spoiled = {"damaged": no_database, "newer": newer}
    for run_id in ("a", *spoiled, "z"):
        await recorded(folder, run=RunInfo(run_id, "report"))
        if spoil := spoiled.get(run_id):
            spoil(folder / f"{run_id}.db")
    assert await state_in(folder, keep=dt.timedelta(0)).prune() == 2
    assert sorted(path.stem for path in folder.glob("*.db")) == ["damaged", "newer"]


async def test_an_old_run_that_a_process_has_locked_is_left_to_it(folder: Path) -> None:
    """It may be about to continue the run; the others are deleted."""
    for run_id in ("a", "b", "c"):
        await recorded(folder, run=RunInfo(run_id, "report"))
    lock = os.open(folder / "b.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert await state_in(folder, keep=dt.timedelta(0)).prune() == 2
    assert [run.run_id for run in state_in(folder).runs()] == ["b"]
    os.close(lock)
    assert await state_in(folder, keep=dt.timedelta(0)).prune() == 1


async def test_a_deletion_whose_process_died_is_finished(folder: Path) -> None:
    """Large results and the lock are left of the run, and no database."""
    await recorded(folder)
    (folder / "night.db").unlink()
    assert await state_in(folder).prune() == 0
    assert [path.name for path in folder.iterdir()] == ["_secret"]


async def test_a_disk_that_refuses_to_delete_does_not_fail_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object, **options: object) -> int:
        raise OSError(30, "Read-only file system")

    journal = await state_in(folder).open(RUN)
    monkeypatch.setattr(Path, "glob", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    await journal.end(RunStatus.SUCCEEDED)
    assert "old runs cannot be deleted: [Errno 30] Read-only file system" in caplog.text


async def test_what_is_left_of_a_deleted_run_is_not_taken_for_a_new_ones(folder: Path) -> None:
    """A log whose database is gone would be read as the new one's."""
    journal = await state_in(folder).open(RUN)
    assert await complete(journal, "f:0", b"x" * (2 << 20))
    log = (folder / "night.db-wal").read_bytes()
    await journal.close()
    (folder / "night.db").unlink()
    (folder / "night.db-wal").write_bytes(log)
    journal = await state_in(folder).open(RUN)
    assert (journal.attempt, list(journal.known_keys())) == (1, [])
    assert list(folder.glob("*.result")) == []
    await journal.close()


# Readers


async def test_a_reader_changes_nothing(folder: Path) -> None:
    """Neither an ended run nor an interrupted one, nor the log of a live one."""
    await recorded(folder)
    live = await state_in(folder).open(RunInfo("live", "report"))
    assert await complete(live, "f:0", 1)
    before = {name: digest for name, digest in content(folder).items() if not name.endswith("-shm")}
    reader = state_in(folder)
    assert len(reader.runs()) == 2
    assert len(list(reader.steps("night"))) == 3
    after = content(folder)
    assert {name: after.get(name) for name in before} == before
    assert await complete(live, "g:0", 1)
    await live.close()


# Processes


@pytest.mark.parametrize(
    "seconds", [0, pytest.param(60, marks=[pytest.mark.nightly, pytest.mark.timeout(180)])]
)
async def test_a_run_that_another_process_has_is_refused_with_its_name(seconds: float, folder: Path) -> None:
    """With the time since when, and a paused process has it too; after its death it is free at once."""
    other = await asyncio.to_thread(hold, folder)
    try:
        with pytest.raises(RunInUseError) as refused:
            await state_in(folder).open(RUN)
        assert refused.value.pid == other.pid
        with pytest.raises(RunInUseError):
            await state_in(folder).forget("night")
        other.send_signal(19)  # SIGSTOP
        await asyncio.sleep(seconds)  # however long: the lock does not expire
        with pytest.raises(RunInUseError):
            await state_in(folder).open(RUN)
        (run,) = state_in(folder).runs()
        assert run.status is RecordedStatus.RUNNING
    finally:
        other.kill()
        other.communicate()
    journal = await state_in(folder).open(RUN)
    assert (journal.attempt, await journal.load("f:0")) == (2, "from the other one")
    await journal.close()


HOLDER = """
import asyncio, sys
from cascade.interfaces import RunInfo
from cascade.runtime import SqliteState

async def main():
    journal = await SqliteState(sys.argv[1]).open(RunInfo("night", "report"))
    journal.started("f:0", name="f", inputs=b"", code=b"")
    await journal.completed("f:0", "from the other one")
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


RACER = """
import asyncio, sys
from cascade.interfaces import RunInfo, RunInUseError
from cascade.runtime import SqliteState

async def main():
    sys.stdin.readline()
    try:
        journal = await SqliteState(sys.argv[1], power_safe=False).open(RunInfo("night", "report"))
    except RunInUseError as exc:
        print("refused", exc.pid, flush=True)
    else:
        print("has it", flush=True)
        sys.stdin.readline()
        await journal.close()

asyncio.run(main())
"""


@pytest.mark.full
@pytest.mark.parametrize(
    "rounds", [1, pytest.param(30, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]
)
def test_of_three_processes_one_has_the_run(rounds: int, tmp_path: Path) -> None:
    """They start at one moment; the others learn which one it is."""
    command = [sys.executable, "-c", RACER, str(tmp_path / "runs")]
    for _ in range(rounds):
        racers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        try:
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write("go\n")
                racer.stdin.flush()
            answers = [racer.stdout.readline().split() for racer in racers if racer.stdout]
        finally:
            for racer in racers:
                racer.communicate("stop\n")
        (winner,) = [racer for racer, answer in zip(racers, answers, strict=True) if answer == ["has", "it"]]
        assert sorted(answers) == [["has", "it"], *[["refused", str(winner.pid)]] * 2]


async def test_a_key_of_another_size_is_refused(folder: Path) -> None:
    """An editor has added a newline: no other process could read values that are signed with only the beginning of the key."""
    await recorded(folder)
    with (folder / "_secret").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(StateUnavailable, match="_secret is not a key of 32 bytes"):
        await state_in(folder).open(RUN)


async def test_a_fenced_journal_writes_nothing_more(folder: Path) -> None:
    """Another process has the run although this one did not die: the lock's file was deleted by hand."""
    journal = await state_in(folder).open(RUN)
    assert await complete(journal, "f:0", 1)
    (folder / "night.lock").unlink()
    second = await state_in(folder).open(RUN)
    assert second.attempt == 2
    for _ in range(2):
        with pytest.raises(RunInUseError, match=f"held by process {os.getpid()} on "):
            await complete(journal, "g:0", 1)
    with pytest.raises(RunInUseError):
        await journal.end(RunStatus.SUCCEEDED)
    assert [step.key for step in state_in(folder).steps("night")] == ["f:0"]
    await journal.close()
    await second.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_forked_child_does_not_hold_the_run(folder: Path) -> None:
    """It is free as soon as the parent has closed it, though the child lives; the child's use is refused."""
    journal = await state_in(folder).open(RUN)
    assert await complete(journal, "f:0", 1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        refused = 1
        try:
            journal.started("g:0", name="g", inputs=b"", code=b"")
        except RuntimeError:
            refused = 7
        with contextlib.suppress(StopIteration):
            journal.close().send(None)  # it returns at once
            refused = 2
        os.read(read, 1)  # until the parent closes its end
        os._exit(refused)
    os.close(read)
    await journal.close()
    journal = await state_in(folder).open(RUN)
    assert journal.attempt == 2
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert await complete(journal, "g:0", 1)
    await journal.close()


async def test_a_caller_cancelled_while_it_opens_leaves_nothing_behind(folder: Path) -> None:
    """The run is free again."""
    state = state_in(folder)
    await (await state.open(RunInfo("warm up", "report"))).close()
    async with no_leaks():
        opening = asyncio.create_task(state.open(RUN))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    await (await state.open(RUN)).close()


async def test_a_start_is_committed_although_no_other_row_comes(folder: Path) -> None:
    """Otherwise a step that kills its process would never be counted."""
    journal = await state_in(folder).open(RUN)
    journal.started("f:0", name="f", inputs=b"", code=b"")
    reader = state_in(folder)
    await eventually(lambda: [step.starts for step in reader.steps("night")] == [1])
    await journal.close()


async def test_a_cancelled_completion_is_committed(folder: Path) -> None:
    """A run that stops still records what was done."""
    journal = await state_in(folder).open(RUN)
    journal.started("f:0", name="f", inputs=b"", code=b"")
    completing = asyncio.create_task(journal.completed("f:0", 1))
    await asyncio.sleep(0)
    completing.cancel()
    await journal.end(RunStatus.CANCELLED)
    (step,) = state_in(folder).steps("night")
    assert step.state is StepState.COMPLETED
