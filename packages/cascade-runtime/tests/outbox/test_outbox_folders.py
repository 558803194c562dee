"""A folder of an outbox: what it has of each sender, what is deleted, and what a named sender takes over."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fake_link import TOPIC, FakeLink, event
from outbox_files import State, change, changing, is_locked, leave, migrate_later, take_lock

from cascade.interfaces import Delivery, OutboxUnavailable
from cascade.runtime import Outbox
from cascade.testkit.waiting import eventually

WRITTEN = """
BEGIN TRANSACTION;
CREATE TABLE message (
    id INTEGER PRIMARY KEY, topic TEXT, payload TEXT, qos INT, stored REAL, event_id TEXT, tries INT, state INT
);
CREATE INDEX message_sent ON message (event_id) WHERE state = 2;
CREATE INDEX message_aside ON message (id) WHERE state = 3;
CREATE TABLE counter (reason TEXT PRIMARY KEY, count INT);
INSERT INTO counter VALUES('outbox full', 4);
INSERT INTO message VALUES(1152921504606846976,'cascade/telemetry/local/default/run/events','{"seq": 0, "token": "t"}',1,4000000000.0,'run-t-0',0,1);
INSERT INTO message VALUES(1152921504606846977,'cascade/telemetry/local/default/run/events','{"seq": 1, "token": "t"}',1,4000000000.0,'run-t-1',0,3);
INSERT INTO message VALUES(1152921504606846978,'cascade/telemetry/local/default/run/events','{"seq": 2, "token": "t"}',1,4000000000.0,'run-t-2',2,1);
COMMIT;
PRAGMA application_id = 1129533250;
PRAGMA user_version = 1;
"""
"""The file of a sender as the first release writes it."""


@pytest.mark.parametrize("sender", ["press", "another"])
async def test_a_file_that_another_release_has_written_is_sent(folder: Path, sender: str) -> None:
    """By the engine of its name, and by another one that adopts it; what was put aside and counted stays known."""
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "press.db").touch(mode=0o600)
    with changing(folder, "press") as connection:
        connection.executescript(WRITTEN)
    (found,) = Outbox(folder).senders()
    assert (found.waiting, found.problem, found.dropped) == (2, "", {"outbox full": 4})
    link = FakeLink(sender)
    async with Outbox(folder).attached(link):
        await eventually(lambda: len(link.taken) == 2)
    assert link.numbers() == [0, 2]
    (left,) = Outbox(folder).senders()
    assert ([json.loads(payload)["seq"] for _, payload in left.aside], left.dropped) == (
        [1],
        {"outbox full": 4},
    )


async def test_what_was_dropped_is_listed_though_nothing_waits(folder: Path) -> None:
    """The file with the counter stays until a person deletes it."""
    link = FakeLink(up=False)
    async with Outbox(folder, max_bytes=1 << 16, delay=0.0).attached(link) as sender:
        for seq in range(300):
            sender.publish(TOPIC, event(seq, pad="x" * 300), 1)
        await eventually(lambda: sender.dropped > 0)
        link.up = True
        link.settle()
        await sender.drain(60.0)
    (left,) = Outbox(folder).senders()
    assert (left.waiting, left.dropped) == (0, {"outbox full": sender.dropped})
    assert Outbox(folder).drop() == 0
    assert [*folder.iterdir()] == []


async def test_what_is_put_aside_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and are counted: otherwise they would take the room of what can be sent."""
    change(monkeypatch, MAX_ASIDE=3)
    link = FakeLink()
    link.verdict = Delivery.REFUSED
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        for seq in range(5):
            sender.publish(TOPIC, event(seq), 1)
            await eventually(partial(lambda dropped: sender.dropped == dropped, seq + 1))
            await sender.reached(60.0)
        await sender.drain(1.0)
    (left,) = Outbox(folder).senders()
    assert [json.loads(payload)["seq"] for _, payload in left.aside] == [2, 3, 4]
    assert left.dropped == {"put aside": 2}


async def test_what_a_live_process_uses_is_listed_and_not_deleted(folder: Path) -> None:
    """Whatever the state of its file; the messages of dead processes are deleted."""
    for source in ("box-1", "box-2"):
        await leave(folder, source, State.WAITS)
    (folder / "new.db").touch(mode=0o600)  # its process is about to fill it
    locks = [take_lock(folder, source) for source in ("box-1", "new")]
    found = {each.sender: (each.waiting, each.in_use, each.problem) for each in Outbox(folder).senders()}
    assert found == {"box-1": (1, True, ""), "box-2": (1, False, ""), "new": (0, True, "")}
    assert Outbox(folder).drop() == 1
    assert {each.sender for each in Outbox(folder).senders()} == {"box-1", "new"}
    for lock in locks:
        lock.release()
    assert Outbox(folder).drop() == 1
    assert [*folder.iterdir()] == []


async def test_a_file_of_an_older_version_is_listed_with_what_changes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither migrated nor read as if it were of this version."""
    await leave(folder, "press", State.WAITS)
    before = (folder / "press.db").read_bytes()
    migrate_later(monkeypatch)
    problem = "it is an outbox of version 1, which is migrated when its sender starts"
    (found,) = Outbox(folder).senders()
    assert (found.sender, found.waiting, found.problem) == ("press", 0, problem)
    assert (folder / "press.db").read_bytes() == before


async def test_a_file_that_cannot_be_adopted_keeps_no_other_from_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names it; nothing holds its lock afterwards, so that a person can look into it."""
    await leave(folder, "box-1", State.WAITS)
    await leave(folder, "box-2", State.WAITS)
    await leave(folder, "box-3", State.WAITS)
    caplog.clear()
    (folder / "box-1.db").write_bytes(b"These are notes, not a database.\n" * 200)
    with changing(folder, "box-2") as connection:
        connection.execute("ALTER TABLE message RENAME COLUMN payload TO content")
    link = FakeLink("press")
    async with Outbox(folder).attached(link):
        await eventually(lambda: len(link.taken) == 1)
        for source in ("box-1", "box-2"):
            await eventually(partial(lambda each: not is_locked(folder, each), source))
    assert link.taken[0]["source"] == "box-3"
    assert sorted(record.message.partition(":")[0] for record in caplog.records) == [
        f"outbox {folder / 'box-1.db'} cannot be adopted",
        f"outbox {folder / 'box-2.db'} cannot be adopted",
    ]


def spoiled(folder: Path, source: str) -> None:
    (folder / f"{source}.db").write_bytes(b"These are notes, not a database.\n" * 200)


async def test_what_cannot_be_deleted_is_refused_with_its_cause(folder: Path) -> None:
    """An unknown name, a file of a running process, a file that is not a database: its lock is free afterwards."""
    for source in ("box-1", "box-2"):
        await leave(folder, source, State.WAITS)
    spoiled(folder, "box-2")
    held = take_lock(folder, "box-1")
    held.describe(since=0.0)
    for sender, said in (
        ("press", f"{folder}: sender 'press' does not exist; cascade outbox list shows the senders"),
        ("box-1", rf"box-1\.db: is in use by process {os.getpid()} on .*; end it first"),
        ("box-2", r"box-2\.db: .*not a database"),
    ):
        with pytest.raises(OutboxUnavailable, match=said):
            Outbox(folder).drop(sender)
    held.release()
    assert not is_locked(folder, "box-2")
    assert (folder / "box-2.db").exists()
    assert Outbox(folder).drop("box-1") == 1
    assert [path.name for path in folder.glob("*.db")] == ["box-2.db"]


@pytest.mark.parametrize("use", [Outbox.senders, Outbox.drop], ids=["senders", "drop"])
async def test_a_folder_that_may_not_be_used_is_named_and_not_read(
    folder: Path, use: Callable[[Outbox], object]
) -> None:
    """One that does not exist is not created."""
    with pytest.raises(OutboxUnavailable, match=f"{folder}: the folder does not exist"):
        use(Outbox(folder))
    assert not folder.exists()
    await leave(folder, "press", State.WAITS)
    folder.chmod(0o755)
    with pytest.raises(OutboxUnavailable, match=f"{folder}: can be read by others; chmod 700"):
        use(Outbox(folder))
    folder.chmod(0o700)
    assert [each.waiting for each in Outbox(folder).senders()] == [1]
