"""An outbox keeps what is not settled, within its bounds, and sends it in order."""

import asyncio
import contextlib
import json
import logging
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from fake_link import TOPIC, FakeLink, event
from outbox_files import acknowledge, change, replace, rows, take_lock

from cascade.interfaces import ConfigurationError, Delivery
from cascade.runtime import Engine, FileConnector, LocalConnector, Outbox
from cascade.spec import task
from cascade.testkit.waiting import eventually


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon, so that no test waits for seconds."""
    change(monkeypatch, RETRY_DISK=0.02, RETRY_LINK=0.02, NO_PROGRESS=0.1, IN_MEMORY=0)


async def leave(outbox: Outbox, link: FakeLink, *, first: int, count: int) -> None:
    """Send events while the other side does not take them, and end as a process does that could not send them."""
    async with outbox.attached(link) as sender:
        for seq in range(first, first + count):
            sender.publish(TOPIC, event(seq, source=link.source_id), 1)
        await sender.drain(0.05)
        await link.disconnect()


async def test_what_waits_is_stored_and_sent_by_the_next_process_in_order(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """More than the connector's window waits: one line says how much and what sends it, and the next sender of the name does."""
    await leave(Outbox(folder), FakeLink(up=False), first=0, count=2_000)
    kept = f"outbox {folder}: 2000 messages are kept in it; the next run with it sends them, or: cascade outbox send {folder}"
    assert caplog.messages == [kept]
    caplog.clear()
    assert [row[0] for row in rows(folder, "event_id")] == [f"run-c41e07d2-{seq}" for seq in range(2_000)]
    link = FakeLink()
    async with Outbox(folder).attached(link):
        await eventually(lambda: len(link.taken) == 2_000)
    assert link.numbers() == [*range(2_000)]
    assert (caplog.messages, [*folder.glob("*.db")]) == ([], [])


async def test_a_disk_that_does_not_answer_holds_no_event_and_an_order_live_first_does_not_wait_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events that it has come when it answers."""
    await leave(Outbox(folder), FakeLink(up=False), first=0, count=2)
    answers = threading.Event()

    def hanging(serve: Callable[..., None], *arguments: object) -> None:
        answers.wait()
        serve(*arguments)

    replace(monkeypatch, "serve", hanging)
    change(monkeypatch, HOLD=0.02)
    link = FakeLink()
    async with Outbox(folder).attached(link) as sender:
        sender.publish(TOPIC, event(2), 1)
        assert link.numbers() == []
        await eventually(lambda: link.numbers() == [2])
        sender.publish(TOPIC, event(3), 1)
        assert link.numbers() == [2, 3]
        answers.set()
        await eventually(lambda: link.numbers() == [2, 3, 0, 1])
    answers.clear()
    async with Outbox(folder, order="live-first").attached(link) as sender:
        sender.publish(TOPIC, event(4), 1)
        assert link.numbers()[4:] == [4]
        answers.set()


async def test_what_the_connector_returns_is_delivered_again(folder: Path) -> None:
    """Its user disconnects and connects again: nothing is missing, and the order stays."""
    link = FakeLink(up=False)
    async with Outbox(folder).attached(link) as sender:
        for seq in range(50):
            sender.publish(TOPIC, event(seq), 1)
        await eventually(lambda: len(link.held) == 50)
        link.settle(10)
        await link.disconnect()
        sender.publish(TOPIC, event(50), 1)
        link.up = True
        await link.connect()
        await eventually(lambda: len(link.taken) == 51)
    assert link.numbers() == [*range(51)]


@pytest.mark.parametrize("verdict", [Delivery.POISON, Delivery.REFUSED])
async def test_what_is_refused_for_good_is_put_aside(
    folder: Path, verdict: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept to look at, one line tells so, and it stops nothing."""
    link = FakeLink()
    link.verdict = verdict
    async with Outbox(folder).attached(link) as sender:
        for seq in range(3):
            sender.publish(TOPIC, event(seq), 1)
        await eventually(lambda: sender.dropped == 3)
        link.verdict = Delivery.TAKEN
        sender.publish(TOPIC, event(3), 1)
        await sender.drain(1.0)
    assert rows(folder, "state") == [(3,), (3,), (3,)]
    assert link.numbers() == [3]
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"is put aside ({verdict.value}); cascade outbox list shows such messages" in line


async def test_the_oldest_are_dropped_when_the_file_is_too_large_and_the_next_message_says_so(
    folder: Path,
) -> None:
    """``lost`` in the next envelope is the number of messages that were dropped; the newest are kept."""
    link = FakeLink(up=False)
    async with Outbox(folder, max_bytes=1 << 17, delay=0.0).attached(link) as sender:
        for seq in range(2_000):
            sender.publish(TOPIC, event(seq, pad="x" * 300), 1)
        await eventually(lambda: sender.dropped > 0)
        before = sender.dropped
        sender.publish(TOPIC, event(2_000), 1)
        await eventually(lambda: any('"lost"' in row[0] for row in rows(folder, "payload")))
        await link.disconnect()
        await sender.drain(0.05)
    kept = rows(folder, "payload")
    assert f'"lost": {before}}}' in kept[-1][0]
    assert '"seq": 1999,' in kept[-2][0]
    assert len(kept) == 2_001 - before
    assert sum(path.stat().st_size for path in folder.glob("*.db")) < 1 << 18


def _make_foreign(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "press.db")) as connection:
        connection.execute("CREATE TABLE theirs (a)")


def _make_newer(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "press.db")) as connection:
        connection.executescript(
            f"PRAGMA application_id = {0x43534F42}; PRAGMA user_version = 7; CREATE TABLE a (a)"
        )


def _make_readable_by_others(folder: Path) -> None:
    folder.chmod(0o755)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_make_foreign, "press.db: it is a database of another program"),
        (_make_readable_by_others, "events: can be read by others; chmod 700"),
    ],
)
async def test_a_folder_that_cannot_be_used_is_one_warning_and_the_events_are_sent(
    folder: Path, spoil: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program's file, a folder that others can read: nothing in it is changed."""
    folder.mkdir(mode=0o700)
    spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*.db")}
    link = FakeLink()
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        for seq in range(20):
            sender.publish(TOPIC, event(seq), 1)
        await sender.drain(1.0)
        await eventually(lambda: message in caplog.text)
    assert link.numbers() == [*range(20)]
    assert {path.name: path.read_bytes() for path in folder.glob("*.db")} == before
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


async def test_a_file_of_a_later_version_is_left_alone_and_events_are_kept_beside_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a downgrade: no event is lost, and each version sends what its file holds."""
    folder.mkdir(mode=0o700)
    _make_newer(folder)
    before = (folder / "press.db").read_bytes()
    link = FakeLink(up=False)
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        for seq in range(9):
            sender.publish(TOPIC, event(seq), 1)
        await sender.drain(0.5)
        await eventually(lambda: len(rows(folder, source="press.v1")) == 9)
        link.settle()
    assert link.numbers() == [*range(9)]
    assert (folder / "press.db").read_bytes() == before
    assert (
        f"outbox {folder / 'press.db'} is of version 7, and this Cascade writes 1: events are kept beside it, in press.v1.db"
    ) in caplog.messages


async def test_a_second_process_of_the_name_is_refused_by_its_holder(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its events wait in memory; the warning names the process that has the file."""
    folder.mkdir(mode=0o700)
    held = take_lock(folder, "press")
    held.describe(since=0.0)
    link = FakeLink(up=False)
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        sender.publish(TOPIC, event(0), 1)
        await eventually(
            lambda: "give each process an engine name (source_id) or a folder of its own" in caplog.text
        )
        assert "is in use by process" in caplog.text
        held.release()
        await eventually(lambda: len(rows(folder)) == 1)
        link.settle()
    assert link.numbers() == [0]


async def test_a_damaged_file_is_kept_and_a_new_one_begun(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the copy."""
    folder.mkdir(mode=0o700)
    (folder / "press.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    link = FakeLink(up=False)
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        sender.publish(TOPIC, event(0), 1)
        await eventually(lambda: len(rows(folder)) == 1)
        await eventually(lambda: link.held)
        link.settle()
    assert (folder / "press.db.damaged").exists()
    assert "is kept as press.db.damaged" in caplog.text


@task
async def double(x: int) -> int:
    return 2 * x


@pytest.mark.full
async def test_an_engine_sends_its_events_through_its_outbox(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose connector takes nothing leaves its events in the folder; the next run sends them first."""
    connector = LocalConnector(source_id="press")
    monkeypatch.setattr(
        LocalConnector,
        "deliver_nowait",
        lambda self, topic, payload, qos=1, *, settled: settled(Delivery.RETURNED),
    )
    assert await Engine(connector=connector, outbox=Outbox(folder)).run([double(n) for n in range(3)]) == [
        0,
        2,
        4,
    ]
    stored = 8
    # with its last reports behind them
    assert rows(folder, "state") == [(1,)] * stored + [(4,)] * 6
    monkeypatch.undo()
    seen: list[dict[str, Any]] = []

    async def collect(topic: str, data: dict[str, Any]) -> None:
        seen.append(data)

    async with connector:
        await connector.subscribe("cascade/telemetry/+/+/+/events", collect)
        await Engine(connector=connector, outbox=Outbox(folder)).run(double(4))
        await eventually(lambda: len(seen) == stored + 4)
    assert [each["seq"] for each in seen if each["run_id"] == seen[0]["run_id"]] in (
        [*range(stored)],
        [*range(4)],
    )
    await eventually(lambda: not rows(folder))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Engine(outbox=Outbox("events")),
            r"run\(outbox=\): needs a connector, through which the events leave",
        ),
        (
            lambda: Engine(outbox=cast("Any", "events")),
            r"Engine\(outbox=\): takes cs.Outbox\('events'\), not 'events'",
        ),
        (
            lambda: Engine(connector=FileConnector("run.jsonl"), outbox=Outbox("e")),
            r"run\(outbox=\): needs a connector with deliver_nowait, such as MqttConnector, not <FileConnector",
        ),
        (
            lambda: Engine(connector=LocalConnector(), outbox=Outbox("e", ack="c")),
            r"Outbox\(ack=\): needs an engine name; pass the connector source_id=",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_refused(make: Any, message: str) -> None:
    """When the object is made, with what to write instead."""
    with pytest.raises(ConfigurationError, match=message):
        make()


# A collector's acknowledgements


async def test_an_event_is_kept_until_the_collector_has_it(folder: Path) -> None:
    """Not the broker's word counts but the collector's, and holes below its mark are kept."""
    link = FakeLink()
    async with Outbox(folder, ack="c-1").attached(link) as sender:
        for seq in range(10):
            sender.publish(TOPIC, event(seq), 1)
        await eventually(lambda: rows(folder, "state") == [(2,)] * 10)
        await acknowledge(link, 99, by="another")
        await acknowledge(link, 6, [[2, 3]])
        await eventually(lambda: len(rows(folder)) == 5)
    assert [row[0] for row in rows(folder, "event_id")] == [f"run-c41e07d2-{seq}" for seq in (2, 3, 7, 8, 9)]


async def test_what_the_collector_does_not_acknowledge_is_sent_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker took it and has lost it: the same event_id comes again, and its tries are counted."""
    change(monkeypatch, RESEND_AFTER=0.05)
    link = FakeLink()
    async with Outbox(folder, ack="c-1", delay=0.0).attached(link) as sender:
        sender.publish(TOPIC, event(0), 1)
        sender.publish(TOPIC, {"note": "no event"}, 1)
        await eventually(lambda: len(link.taken) >= 3)
        assert link.taken[2]["event_id"] == link.taken[0]["event_id"]
        # The pauses double: at last one is longer than the disk takes, whatever has been sent again until then.
        await eventually(lambda: rows(folder, "tries, state") == [(len(link.taken) - 2, 2)])
        await acknowledge(link, 0)
        await eventually(lambda: rows(folder) == [])


@pytest.fixture
def never_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no event sent again because time has passed."""
    change(monkeypatch, RESEND_AFTER=3_600.0)


async def test_what_was_sent_before_a_stored_event_is_lost_and_sent_again_at_once(
    folder: Path, never_by_time: None
) -> None:
    """Events arrive in order. Those that are under way again behind others are not lost because of these."""
    link, lost = FakeLink(), [[1, 2]]
    async with Outbox(folder, ack="c-1", delay=0.0).attached(link) as sender:
        for seq in range(6):
            sender.publish(TOPIC, event(seq), 1)
        await eventually(lambda: rows(folder, "state") == [(2,)] * 6)
        await acknowledge(link, 4, lost)
        await eventually(lambda: rows(folder, "tries, state") == [(1, 2), (1, 2), (0, 2)])
        assert link.numbers() == [*range(6), 1, 2]
        await acknowledge(link, 5, lost)
        await eventually(lambda: len(rows(folder)) == 2)
        assert rows(folder, "tries, state") == [(1, 2), (1, 2)]
        sender.publish(TOPIC, event(6), 1)
        await eventually(lambda: rows(folder, "state") == [(2,)] * 3)
        await acknowledge(link, 6, lost)
        await eventually(lambda: rows(folder, "tries, state") == [(1, 2), (1, 2)])
        assert link.numbers() == [*range(6), 1, 2, 6]
        await acknowledge(link, 6)
        await eventually(lambda: rows(folder) == [])


async def test_an_acknowledgement_of_what_was_never_sent_is_one_warning_and_loses_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that wait in the file stay there whatever a collector claims."""
    link = FakeLink(up=False)
    async with Outbox(folder, ack="c-1", delay=0.0).attached(link) as sender:
        for seq in range(1_000):
            sender.publish(TOPIC, event(seq), 1)
        await eventually(lambda: sender.stored_ranges == [(801, 1_000)])
        await acknowledge(link, 5_000)
        await acknowledge(link, 5_000)
        await eventually(lambda: "that were never sent; they are kept" in caplog.text)
        await link.disconnect()
    assert len(rows(folder)) == 1_000
    false, kept = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert "that were never sent; they are kept" in false
    assert "1000 messages are kept in it" in kept


async def test_another_program_sends_through_an_outbox(folder: Path) -> None:
    """``sender(connector).send``: stored, sent, and flushed at the end."""
    link = FakeLink(up=False)
    async with Outbox(folder).sender(link) as sender:
        sender.send("plant/line-3", {"seq": 1})
        await eventually(lambda: link.held)
        asyncio.get_running_loop().call_soon(link.settle)
        assert await sender.flush(5.0)
    assert link.numbers() == [1]
    with pytest.raises(RuntimeError, match="write: async with"):
        sender.send("plant/line-3", {"seq": 2})


@pytest.mark.parametrize("verdict", [Delivery.TAKEN, Delivery.REFUSED])
async def test_a_message_is_safe_when_the_other_side_has_decided(folder: Path, verdict: Delivery) -> None:
    """No disk is needed for that."""
    link, safe = FakeLink(up=False), list[int]()
    link.verdict = verdict
    async with Outbox(folder, delay=60.0).attached(link) as sender:
        for number in range(2):
            sender.publish_text(TOPIC, json.dumps(event(number)), 1, on_safe=partial(safe.append, number))
        await eventually(lambda: len(link.held) == 2)
        assert safe == []
        link.settle(1)
        assert safe == [0]
        link.settle()
        assert safe == [0, 1]


async def test_a_message_that_awaits_a_collector_is_safe_when_it_is_on_disk(folder: Path) -> None:
    """The broker's word does not count: it may lose the message."""
    link, states = FakeLink(), list[list[Any]]()
    async with Outbox(folder, ack="c-1", delay=0.0).attached(link) as sender:
        sender.publish_text(
            TOPIC, json.dumps(event(0)), 1, on_safe=lambda: states.append(rows(folder, "state"))
        )
        await eventually(lambda: link.taken)
        await eventually(lambda: states)
    assert states == [[(2,)]]


async def test_a_message_that_is_dropped_and_counted_is_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that keeps it until it is safe need not keep it for ever."""
    change(monkeypatch, CAPACITY=1)
    link, safe = FakeLink(up=False), list[int]()
    await link.disconnect()
    async with Outbox(folder, delay=60.0).attached(link) as sender:
        for number in range(3):
            sender.publish_text(TOPIC, json.dumps(event(number)), 1, on_safe=partial(safe.append, number))
        assert safe == [0, 1]
        assert sender.dropped == 2
