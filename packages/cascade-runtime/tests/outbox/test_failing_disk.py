"""A disk that fails: what an outbox tries again, when, and what it logs of messages that it could not store."""

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_link import TOPIC, FakeLink, event, settings_of
from fakes import FakeClock

from cascade.interfaces import Delivery
from cascade.runtime import Outbox
from cascade.runtime._outbox import file_thread, open_sender, queue
from cascade.runtime._outbox.file import OutboxFile, Row, Stored
from cascade.runtime._outbox.file_thread import open_file
from cascade.runtime._outbox.schema import State
from cascade.runtime._outbox.settings import Order
from cascade.testkit.waiting import eventually


class FullDisk:
    """Refuses every write while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.refused = 0
        write = OutboxFile.write

        def limited(file: OutboxFile, rows: Sequence[Row], state: State) -> int:
            if self.full:
                self.refused += 1
                raise sqlite3.OperationalError("database or disk is full")
            return write(file, rows, state)

        monkeypatch.setattr(OutboxFile, "write", limited)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """Have a disk that is full, and no second try before the end of a test."""
    monkeypatch.setattr(file_thread, "RETRY_DISK", 3_600.0)
    monkeypatch.setattr(queue, "NO_PROGRESS", 0.05)
    return FullDisk(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "events"


@pytest.mark.parametrize("order", ["oldest", "live-first"])
async def test_the_end_tries_once_more_and_counts_every_message_that_is_lost(
    folder: Path, full_disk: FullDisk, order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that waited for the second try as well as those that came after them; what has arrived is not lost."""
    link = FakeLink(up=False)
    async with Outbox(folder, delay=0.0, order=order).attached(link) as sender:
        for seq in range(3):
            sender.publish(TOPIC, event(seq), 1)
        await eventually(lambda: "disk is full" in caplog.text)
        await eventually(lambda: len(link.held) == 3)
        sender.publish(TOPIC, event(3), 1)
        sender.publish(TOPIC, event(4), 1)
        link.settle(1)
        await link.disconnect()
    assert full_disk.refused > 1
    assert caplog.messages == [
        "database or disk is full; events wait in memory only, and it is tried again",
        f"outbox {folder}: 4 messages are lost; they could not be stored",
    ]


async def test_what_a_disk_refused_is_stored_at_the_end_if_it_works_again(
    folder: Path, full_disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of a run does not wait for the time of the next try, and the next process sends everything in order."""
    link = FakeLink(up=False)
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        for seq in range(3):
            sender.publish(TOPIC, event(seq), 1)
        await eventually(lambda: "disk is full" in caplog.text)
        await eventually(lambda: len(link.held) == 3)
        sender.publish(TOPIC, event(3), 1)
        await link.disconnect()
        full_disk.full = False
    assert [each.waiting for each in Outbox(folder).senders()] == [4]
    assert "lost" not in caplog.text
    link = FakeLink()
    async with Outbox(folder).attached(link):
        await eventually(lambda: link.numbers() == [0, 1, 2, 3])


async def test_messages_of_a_full_disk_wait_in_memory_and_are_not_given_to_it(
    folder: Path, full_disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """They are bounded there; what the other side takes meanwhile is never written."""
    link = FakeLink(up=False)
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        sender.publish(TOPIC, event(0), 1)
        await eventually(lambda: "disk is full" in caplog.text)
        await eventually(lambda: link.held)
        for seq in range(1, 4):
            sender.publish(TOPIC, event(seq), 1)
            await sender.drain(5.0)  # it ends where no message moves, and when the disk has answered
        assert full_disk.refused == 1
        link.settle()
        assert link.numbers() == [0, 1, 2, 3]
        full_disk.full = False
    assert not [*folder.glob("*.db")]


async def test_what_is_refused_while_the_disk_fails_is_put_aside_when_it_works(
    folder: Path, full_disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """A person can still look at it; the recovery is logged."""
    caplog.set_level("INFO", "cascade.outbox")
    link = FakeLink(up=False)
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        sender.publish(TOPIC, event(0), 1)
        await eventually(lambda: "disk is full" in caplog.text)
        await eventually(lambda: link.held)
        link.verdict = Delivery.REFUSED
        link.settle()
        full_disk.full = False
    (left,) = Outbox(folder).senders()
    assert (left.waiting, len(left.aside)) == (0, 1)
    assert caplog.messages[-1] == f"outbox {folder} can be written again"


async def test_reading_a_full_disk_does_not_show_that_it_works_again(
    folder: Path, full_disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """It can be read all the time; what it had refused must work."""
    caplog.set_level("INFO", "cascade.outbox")
    store = file_thread.FileThread(
        settings_of(folder),
        "me",
        FakeClock(),
        written=lambda _: None,
        on_works=lambda: None,
        on_fails=lambda: None,
    )
    store.post(lambda file: file.write([], State.WAITS))
    await eventually(lambda: store.failing)
    read: list[object] = []
    store.post(OutboxFile.waiting, read.append)
    await eventually(lambda: read)
    assert "disk is full" in caplog.text
    assert "can be written again" not in caplog.text
    full_disk.full = False
    store.try_again()
    await store.reached(60.0)
    await eventually(lambda: "can be written again" in caplog.text)
    if (stopped := store.stop()) is not None:
        await stopped


async def leave_five(folder: Path) -> None:
    """Leave five messages of a dead process."""
    dead = FakeLink("box", up=False)
    async with Outbox(folder).attached(dead, adopt=False) as sender:
        for seq in range(5):
            sender.publish(TOPIC, event(seq, source="box"), 1)
        await sender.drain(0.05)
        await dead.disconnect()


@pytest.mark.parametrize("place", ["before the rows", "behind the rows"])
async def test_a_full_disk_loses_no_message_of_a_dead_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A part that could not be committed to the new file stays in the old one, and is taken over by the next try."""
    monkeypatch.setattr(file_thread, "RETRY_DISK", 0.01)
    monkeypatch.setattr(open_sender, "SLICE", 2)
    await leave_five(folder)
    adopt, tries = OutboxFile.adopt, list[int]()

    def limited(file: OutboxFile, rows: Sequence[tuple[object, ...]]) -> Stored:
        tries.append(len(rows))
        adopted = adopt(file, rows) if place == "behind the rows" else None
        if len(tries) in (1, 3, 4):
            raise sqlite3.OperationalError("database or disk is full")
        return adopted or adopt(file, rows)

    monkeypatch.setattr(OutboxFile, "adopt", limited)
    link = FakeLink()
    async with Outbox(folder).attached(link) as sender:
        await eventually(lambda: not sender.adopting)
        await eventually(lambda: sender.complete)
        assert await sender.finish(60.0)
    await eventually(lambda: not [*folder.iterdir()])
    assert link.numbers() == [0, 1, 2, 3, 4]
    assert tries == [2, 2, 2, 2, 2, 1]


async def test_messages_that_cannot_be_deleted_from_their_old_file_are_adopted_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next process may send them again; a warning says so."""
    monkeypatch.setattr(open_sender, "SLICE", 2)
    await leave_five(folder)

    def fail(orphan: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("cascade.runtime._outbox.open_sender._Orphan._delete_adopted", fail)
    link = FakeLink()
    async with Outbox(folder).attached(link) as sender:
        await eventually(lambda: not sender.adopting)
        await eventually(lambda: len(link.taken) >= 5)
    assert link.numbers() == [0, 1, 2, 3, 4]
    assert caplog.messages == [
        f"messages of outbox {folder / 'box.db'} may be sent twice: database or disk is full"
    ]


async def test_the_time_of_messages_follows_a_clock_that_was_set_while_the_disk_failed(folder: Path) -> None:
    """The next commit moves it: otherwise they would be dropped as too old."""
    clock = FakeClock()
    file = open_file(settings_of(folder), "press", clock)
    with file.transact():
        file.write([Row(0, TOPIC, "{}", 1)], State.WAITS)
    clock.put_forward += dt.timedelta(days=40).total_seconds()
    with contextlib.suppress(sqlite3.OperationalError), file.transact():
        file.write([Row(1, TOPIC, "{}", 1)], State.WAITS)
        raise sqlite3.OperationalError("database or disk is full")
    with file.transact():
        assert file.write([Row(1, TOPIC, "{}", 1)], State.WAITS) == 0
    assert file.unsettled() == 2
    file.close()
