"""Recorded runs when the disk fails, is full or damaged: no recorded result is lost, and none is wrong."""

import asyncio
import contextlib
import logging
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import (
    Journal,
    Plan,
    RunInfo,
    RunInUseError,
    RunStatus,
    StateUnavailable,
    UnreadableResultError,
)
from cascade.runtime import SqliteState
from cascade.runtime._durable import journal as journals
from cascade.runtime._durable import writer
from cascade.runtime._durable.results import LARGE
from cascade.runtime._durable.run_file import RunFile
from cascade.testkit.waiting import eventually

pytestmark = pytest.mark.process  # left out of the session unit

RUN = RunInfo("night", "report")
VALUES: dict[str, Any] = {f"f:0[{n}]": [n, "x" * (n * 37 % 900), (n,)] for n in range(40)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SHORTEST_PAUSE", 0.005)


def state_in(folder: Path, **options: Any) -> SqliteState:
    return SqliteState(folder, power_safe=False, **options)


async def complete(journal: Journal, key: str, value: Any) -> bool:
    journal.started(key, name="f", inputs=b"", code=b"")
    return await journal.completed(key, value)


async def recorded(folder: Path) -> None:
    """Record all values, and leave the run interrupted."""
    journal = await state_in(folder).open(RUN)
    for key, value in VALUES.items():
        assert await complete(journal, key, value)
    await journal.close()


class Disk:
    """Fails in the middle of transactions, when everything is written and nothing is committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self.failures = 0
        transact = RunFile.transact

        def fail_or_transact(file: RunFile, write: Callable[[], None]) -> None:
            def write_and_fail() -> None:
                write()
                if self.error is not None:
                    self.failures += 1
                    raise self.error

            transact(file, write_and_fail)

        monkeypatch.setattr(RunFile, "transact", fail_or_transact)

    def fill(self) -> None:
        self.error = sqlite3.OperationalError("database or disk is full")
        self.error.sqlite_errorcode = sqlite3.SQLITE_FULL

    async def full_for_two_tries(self, recording: Coroutine[Any, Any, object]) -> None:
        """Be full while something is recorded, until that has failed two times."""
        self.fill()
        task, failures = asyncio.create_task(recording), self.failures
        await eventually(lambda: self.failures >= failures + 2)
        self.error = None
        await task


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_a_commit_is_tried_again_until_the_disk_works(
    folder: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile the journal is stalled; one warning at once, and one line when it works again."""
    journal = await state_in(folder).open(RUN)
    disk.fill()
    completing = asyncio.create_task(complete(journal, "f:0", 1))
    await eventually(lambda: journal.stalled and disk.failures > 3)
    waiting = asyncio.create_task(journal.writable())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert (
        "database or disk is full; no further step starts, and the commit is tried again for 30 s"
        in caplog.text
    )
    assert not completing.done()
    assert not waiting.done()
    disk.error = None
    assert await completing
    await waiting
    assert journal.stalled is False
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert await complete(journal, "g:0", 2)
    await journal.end(RunStatus.SUCCEEDED)
    assert [step.starts for step in state_in(folder).steps("night")] == [1, 1]


async def test_the_file_of_a_replaced_result_goes_though_the_commit_failed_at_first(
    folder: Path, disk: Disk
) -> None:
    """Of a value that is recorded anew, as of one whose step is deleted."""
    journal = await state_in(folder).open(RUN)
    for key in ("f:0", "g:0"):
        assert await complete(journal, key, key.encode() * LARGE)
    assert len([*folder.glob("*.result")]) == 2
    await disk.full_for_two_tries(complete(journal, "f:0", "small"))
    await disk.full_for_two_tries(journal.discard(["g:0"]))
    assert await journal.load("f:0") == "small"
    assert not [*folder.glob("*.result*")]
    await journal.close()


async def test_a_disk_that_does_not_recover_ends_the_run_resumably(folder: Path, disk: Disk) -> None:
    """Every later row fails at once with the cause; what was recorded before is there."""
    journal = await state_in(folder, retry_for=0.05).open(RUN)
    assert await complete(journal, "f:0", 1)
    disk.fill()
    for _ in range(2):
        with pytest.raises(
            StateUnavailable,
            match=r"night\.db: database or disk is full; tried again for 0\.05 s; free some space",
        ):
            await complete(journal, "g:0", 2)
    failures, disk.error = disk.failures, None
    with pytest.raises(StateUnavailable):
        await journal.writable()
    with pytest.raises(StateUnavailable):
        await journal.end(RunStatus.FAILED)
    assert disk.failures == failures
    await journal.close()
    journal = await state_in(folder).open(RUN)
    assert list(journal.known_keys()) == ["f:0"]
    await journal.close()


async def test_a_large_value_is_whole_though_its_commit_is_tried_again(folder: Path, disk: Disk) -> None:
    """It is written to its own file once, before the first try; no later try takes that for an earlier value's."""
    journal = await state_in(folder).open(RUN)
    await disk.full_for_two_tries(complete(journal, "f:0", "x" * (2 << 20)))
    assert len([*folder.glob("*.result")]) == 1
    assert await journal.load("f:0") == "x" * (2 << 20)
    await journal.close()


async def test_a_large_value_that_cannot_be_written_leaves_no_part_of_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try would leave one, on a disk that may be full."""
    journal = await state_in(folder).open(RUN)
    fails: list[Path] = []

    def fail(path: Path, target: Path) -> None:
        fails.append(path)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", fail)
        completing = asyncio.create_task(complete(journal, "f:0", b"x" * (2 << 20)))
        await eventually(lambda: len(fails) > 2)
        assert not fails[0].exists()
    assert await completing
    assert [path.suffix for path in folder.glob("*.result*")] == [".result"]
    await journal.close()


async def test_a_store_that_is_not_required_lets_the_run_continue(
    folder: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """Unrecorded, with one more warning, also to its end."""
    journal = await state_in(folder, retry_for=0.02, required=False).open(RUN)
    disk.fill()
    for number in range(3):
        assert await complete(journal, f"g:{number}", 2) is False
    await journal.expanded("h:0", Plan([]))
    assert [type(each) for each in await journal.load_all(["f:0", "g:0"])] == [StateUnavailable] * 2
    await journal.end(RunStatus.SUCCEEDED)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "the run continues unrecorded" in caplog.records[1].message


async def test_closing_does_not_wait_for_a_disk_that_hangs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run is free after a limit; what hung is fenced when the disk answers again."""
    monkeypatch.setattr(journals, "CLOSE_TIMEOUT", 0.05)
    answers, transact = threading.Event(), RunFile.transact

    def hang(file: RunFile, write: Callable[[], None]) -> None:
        if (file.attempt == 1 and answers.wait(20)) or file.attempt != 1:
            transact(file, write)

    journal = await state_in(folder).open(RUN)
    assert await complete(journal, "f:0", 1)
    monkeypatch.setattr(RunFile, "transact", hang)
    completing = asyncio.create_task(complete(journal, "g:0", 2))
    await asyncio.sleep(0)
    await journal.close()
    assert "the disk does not answer; what is queued may not be recorded" in caplog.text
    second = await state_in(folder).open(RUN)
    answers.set()
    with pytest.raises(RunInUseError):
        await completing
    assert [step.key for step in state_in(folder).steps("night")] == ["f:0"]
    await second.close()


LIMITED = """
import asyncio, resource, sys
from cascade.interfaces import RunInfo, StateUnavailable
from cascade.runtime import SqliteState

async def main():
    journal = await SqliteState(sys.argv[1], power_safe=False, retry_for=0.1).open(RunInfo("night", "report"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    for number in range(10_000):
        key = f"f:0[{number}]"
        journal.started(key, name="f", inputs=b"", code=b"")
        try:
            await journal.completed(key, "x" * (3_000_000 if number == 5 and len(sys.argv) > 3 else 2000))
        except StateUnavailable as exc:
            print(f"refused {exc}", flush=True)
            break
        print(key, flush=True)
    await journal.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("more", [(), ("large",)], ids=["database", "large result"])
async def test_a_size_limit_of_files_loses_no_recorded_result(more: tuple[str, ...], folder: Path) -> None:
    """A real one of the system: the row that does not fit is refused; without the limit the run goes on."""
    pytest.importorskip("resource")
    command = [sys.executable, "-c", LIMITED, str(folder), "1000000", *more]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    *keys, refused = done.stdout.splitlines()
    assert (done.returncode, refused.split(" ")[0]) == (0, "refused"), done.stderr
    assert len(keys) == 5 if more else len(keys) > 20
    journal = await state_in(folder).open(RUN)
    assert [key for key in keys if await journal.load(key) != "x" * 2000] == []
    assert await complete(journal, "g:0", "x" * 3_000_000)
    assert len(list(folder.glob("*.result*"))) == 1
    await journal.end(RunStatus.SUCCEEDED)


FULL = """
import asyncio, subprocess, sys
from cascade.interfaces import RunInfo, RunStatus, StateUnavailable
from cascade.runtime import SqliteState

folder, keys = sys.argv[1], []

def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)

async def main():
    mount("size=1m,mode=0700")
    journal = await SqliteState(folder, power_safe=False, retry_for=0.1).open(RunInfo("night", "report"))
    for number in range(10_000):
        key = f"f:0[{number}]"
        journal.started(key, name="f", inputs=b"", code=b"")
        try:
            await journal.completed(key, "x" * (3_000_000 if number == 9 and len(sys.argv) > 2 else 2000))
        except StateUnavailable as exc:
            print(f"refused {exc}", flush=True)
            break
        keys.append(key)
    await journal.close()
    mount("remount,size=10m")
    journal = await SqliteState(folder, power_safe=False).open(RunInfo("night", "report"))
    print("lost", [key for key in keys if await journal.load(key) != "x" * 2000], journal.attempt, flush=True)
    journal.started("g:0", name="g", inputs=b"", code=b"")
    print("kept", await journal.completed("g:0", "x" * 3_000_000), len(keys), flush=True)
    await journal.end(RunStatus.SUCCEEDED)
    mount("remount,ro")
    print("read", [run.status.value for run in SqliteState(folder).runs()], flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("more", [(), ("large",)], ids=["database", "large result"])
async def test_a_full_file_system_loses_no_recorded_result(more: tuple[str, ...], folder: Path) -> None:
    """A real one, in a mount namespace of its own: with more space the run goes on, and a read-only one can be read."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("this system does not permit to mount a file system in a namespace")
    folder.mkdir(parents=True)
    command = [*unshare, sys.executable, "-c", FULL, str(folder), *more]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, lost, kept, read = done.stdout.splitlines()
    assert re.match(r"refused .*night\.db: .*([Nn]o space left on device|is full)", refused), refused
    assert lost == "lost [] 2"
    assert read == "read ['Succeeded']"
    assert kept.startswith("kept True ")
    assert int(kept.split()[-1]) == 9 if more else int(kept.split()[-1]) > 20


# Damaged files


def copy_of(folder: Path, name: str) -> Path:
    copy = folder.with_name(name)
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(mode=0o700)
    for path in folder.iterdir():
        if not path.name.endswith("-shm"):
            shutil.copy2(path, copy)
    return copy


def completed_in(database: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [
            key for (key,) in connection.execute("SELECT key FROM step WHERE state = 3 ORDER BY ended, key")
        ]


@pytest.mark.parametrize("stride", [211, pytest.param(1, marks=pytest.mark.nightly)])
async def test_a_log_cut_anywhere_has_what_was_committed_before_the_cut(stride: int, folder: Path) -> None:
    """As a power cut leaves it: commits that are whole count, a commit that is not whole does not."""
    journal = await state_in(folder).open(RUN)
    log, sizes, keys = folder / "night.db-wal", list[int](), [*VALUES]
    for key in keys[:12]:
        assert await complete(journal, key, VALUES[key])
        sizes.append(log.stat().st_size)
    live, copy = copy_of(folder, "live"), folder.with_name("copy")
    await journal.close()
    content = (live / log.name).read_bytes()
    assert len(content) == sizes[-1]
    for cut in range(sizes[-4 if stride > 1 else -2], sizes[-1] + 1, stride):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(live, copy)
        (copy / log.name).write_bytes(content[:cut])
        whole = sum(size <= cut for size in sizes)
        assert set(completed_in(copy / "night.db")) == set(keys[:whole]), f"cut at {cut}"
    journal = await state_in(copy).open(RUN)
    assert [key for key in journal.known_keys() if await journal.load(key) != VALUES[key]] == []
    await journal.close()


def flipped(path: Path, seeded: random.Random) -> None:
    """Flip some bits of a file."""
    raw = bytearray(path.read_bytes())
    for _ in range(seeded.choice([1, 3, 30])):
        raw[seeded.randrange(len(raw))] ^= 1 << seeded.randrange(8)
    path.write_bytes(raw)


@pytest.mark.parametrize("seeds", [range(25), pytest.param(range(1000), marks=pytest.mark.nightly)], ids=len)
async def test_flipped_bits_give_right_values_or_an_error(
    seeds: range, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the database or in its log: never a wrong value, and the errors are the store's own."""
    journal = await state_in(folder).open(RUN)
    for key, value in VALUES.items():
        assert await complete(journal, key, value)
    live = copy_of(folder, "live")
    await journal.close()
    for seed in seeds:
        seeded = random.Random(seed)
        copy = copy_of(seeded.choice([live, folder]), "copy")
        flipped(seeded.choice([copy / "night.db", *copy.glob("*.db-wal")]), seeded)
        with contextlib.suppress(StateUnavailable):
            list(state_in(copy).steps("night"))
        with contextlib.suppress(StateUnavailable):
            journal = await state_in(copy, retry_for=0.0).open(RUN)
            async for key, value in loaded(journal):
                assert value == VALUES[key], f"seed {seed}"
            with contextlib.suppress(StateUnavailable):
                await complete(journal, "new:0", 1)
            await journal.close()


async def loaded(journal: Journal) -> Any:
    """Yield what can be loaded."""
    for key in [*journal.known_keys()]:
        with contextlib.suppress(UnreadableResultError, StateUnavailable):
            yield key, await journal.load(key)
