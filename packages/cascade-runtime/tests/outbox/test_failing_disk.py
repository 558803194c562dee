"""A disk that fails: what an outbox tries again, when, and what it logs of messages that it could not store."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_link import TOPIC, FakeLink, event
from outbox_files import FullDisk, change, replace

from cascade.interfaces import Delivery
from cascade.runtime import Outbox
from cascade.testkit.waiting import eventually


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """Have a disk that is full, and no second try before the end of a test."""
    change(monkeypatch, RETRY_DISK=3_600.0, NO_PROGRESS=0.05)
    return FullDisk(monkeypatch)


@pytest.mark.parametrize("order", ["oldest", "live-first"])
async def test_the_end_tries_once_more_and_counts_every_message_that_is_lost(
    folder: Path, full_disk: FullDisk, order: Any, caplog: pytest.LogCaptureFixture
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
        f"outbox {folder}: database or disk is full; events wait in memory only, and it is tried again",
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
    change(monkeypatch, RETRY_DISK=0.01, SLICE=2)
    await leave_five(folder)
    tries: list[int] = []

    def limited(adopt: Callable[..., Any], file: object, rows: Sequence[object]) -> Any:
        tries.append(len(rows))
        adopted = adopt(file, rows) if place == "behind the rows" else None
        if len(tries) in (1, 3, 4):
            raise sqlite3.OperationalError("database or disk is full")
        return adopted or adopt(file, rows)

    replace(monkeypatch, "adopt", limited)
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
    change(monkeypatch, SLICE=2)
    await leave_five(folder)
    caplog.clear()

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    replace(monkeypatch, "_delete_adopted", fail)
    link = FakeLink()
    async with Outbox(folder).attached(link) as sender:
        await eventually(lambda: not sender.adopting)
        await eventually(lambda: len(link.taken) >= 5)
    assert link.numbers() == [0, 1, 2, 3, 4]
    assert caplog.messages == [
        f"messages of outbox {folder / 'box.db'} may be sent twice: database or disk is full"
    ]
