"""The file of a sender: which messages an acknowledgement concerns."""

import contextlib
import datetime as dt
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_link import TOPIC, settings_of
from fakes import FakeClock
from outbox_files import FullDisk

from cascade.runtime._outbox import file_thread
from cascade.runtime._outbox.file import OutboxFile, Row
from cascade.runtime._outbox.file_thread import open_file
from cascade.runtime._outbox.schema import State
from cascade.testkit import eventually

ODD = ["x", "", "7b", "-1", "²"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OutboxFile]:
    file = open_file(settings_of(tmp_path / "events", ack="c-1"), "press", FakeClock())
    yield file
    file.close()


def rows_of(first: int, ends: list[str], series: str = "run-a") -> list[Row]:
    """Return messages whose ``event_id`` have these ends."""
    return [
        Row(first + place, "events", json.dumps({"event_id": f"{series}-{end}"}), 1)
        for place, end in enumerate(ends)
    ]


def test_an_event_without_a_number_is_neither_acknowledged_nor_a_false_claim(file: OutboxFile) -> None:
    """Another program may send such, or a later version: it does not disturb the acknowledgement of others."""
    file.write(rows_of(0, ["0", "1", *ODD]), State.SENT)
    file.write(rows_of(10, ODD), State.WAITS)
    assert not file.has_unsent([(10, 20)], "run-a", 5, missing=(), in_hand=())
    assert file.acknowledge({"run-a": 5}, {}) == 1
    file.send_again()
    left = [json.loads(row.payload)["event_id"] for row in file.page(0, 20, 100)]
    assert left == [f"run-a-{end}" for end in (*ODD, *ODD)]


def test_an_event_that_waits_is_a_false_claim_unless_it_may_have_arrived(file: OutboxFile) -> None:
    """It may if the connector has it, or if it was sent before; what the collector misses it does not claim."""
    file.write(rows_of(3, ["3", "4", "5"]), State.WAITS)
    file.write(rows_of(6, ["0"], series="run-b"), State.WAITS)

    def claimed(
        upto: int, *, missing: tuple[tuple[int, int], ...] = (), in_hand: tuple[int, ...] = ()
    ) -> bool:
        return file.has_unsent([(0, 4), (5, 9)], "run-a", upto, missing=missing, in_hand=in_hand)

    assert not claimed(2)
    assert claimed(3)
    assert not claimed(3, in_hand=(3,))
    assert claimed(4, in_hand=(3,))
    assert not claimed(5, missing=((3, 5),))
    assert claimed(5, missing=((3, 4),))
    assert not claimed(5, missing=((3, 4),), in_hand=(5,))
    assert not file.has_unsent([(0, 2), (6, 9)], "run-a", 5, missing=(), in_hand=())
    file.write(rows_of(3, ["3", "4", "5"]), State.SENT)
    assert not claimed(5)
    file.send_again()
    assert not claimed(5)


@pytest.mark.parametrize(
    ("payload", "series"),
    [
        ('{"event_id": "run-a-0"}', "run-a"),
        ('{"event_id": "run \\"a\\"-0"}', 'run "a"'),
        ('{"event_id": "run\\u00e9-0"}', "runé"),
        ('{"note": {"event_id": "run\\u00e9-0"}}', None),
        ('{"event_id": 7, "note": {"event_id": "run\\u00e9-0"}}', None),
        ('[{"event_id": "run\\u00e9-0"}]', None),
        ('{"event_id": "run\\u00e9-0", }', None),
        ("[" * 100_000 + '"event_id": "run\\u00e9-0"', None),
        ('{"celsius": 21.5}', None),
    ],
    ids=["plain", "quotes", "not ASCII", "inside", "a number", "a list", "no JSON", "too deep", "no event"],
)
def test_a_message_is_acknowledged_by_the_event_id_that_a_collector_reads(
    file: OutboxFile, payload: str, series: str | None
) -> None:
    """However JSON writes it. Other programs may send anything: it is stored, and no acknowledgement concerns it."""
    file.write([Row(0, "events", payload, 1)], State.SENT)
    for other in ("run", "run-", "run-a-0", "7"):
        assert file.acknowledge({other: 9}, {}) is None
    found = [each for each in ("run-a", 'run "a"', "runé") if file.acknowledge({each: 9}, {}) == 0]
    assert found == [series] * (series is not None)
    assert file.is_settled() is (series is not None)


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


async def test_reading_a_full_disk_does_not_show_that_it_works_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It can be read all the time; what it had refused must work."""
    caplog.set_level("INFO", "cascade.outbox")
    full_disk = FullDisk(monkeypatch)
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
