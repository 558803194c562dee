"""What the collector does with its link: which session it asks for, in which order, and whom it acknowledges."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from collectors import event, kept
from ops_modules import BACKLOG, Collector, SqliteFile, collector_module

from cascade.cli import main
from cascade.cli.link import Address
from cascade.interfaces.errors import ConnectorUnavailable
from cascade.interfaces.topics import ack_topic, matches, status_topic, telemetry_topic
from cascade.testkit import eventually
from cascade.wire import EventMessage

Callback = Callable[[str, dict[str, Any]], Awaitable[None]]


class ScriptedSubscription:
    """Notes its end."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls

    async def unsubscribe(self) -> None:
        self._calls.append("unsubscribe")


class ScriptedLink:
    """Notes what the collector calls, in order; the test delivers messages by hand."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.acks: list[tuple[str, dict[str, Any]]] = []
        self.callbacks: dict[str, Callback] = {}
        self.on_connect: Callable[[], Awaitable[None]] | None = None
        self.on_disconnect: Callable[[], Awaitable[None]] | None = None

    async def connect(self) -> None:
        self.calls.append("connect")
        if self.on_connect is not None:
            await self.on_connect()

    async def disconnect(self) -> None:
        self.calls.append("disconnect")
        if self.on_disconnect is not None:
            await self.on_disconnect()

    async def subscribe(self, topic_filter: str, callback: Callback, qos: int) -> ScriptedSubscription:
        assert qos == (not topic_filter.endswith("/progress")), "only so the broker keeps them for a session"
        self.calls.append("subscribe")
        self.callbacks[topic_filter] = callback
        return ScriptedSubscription(self.calls)

    async def publish(self, topic: str, payload: dict[str, Any], qos: int, *, retain: bool) -> None:
        assert (qos, retain) == (1, True), "an engine that starts later reads it"
        self.acks.append((topic, payload))

    def expect_backlog(self, messages: int) -> None:
        self.calls.append(f"backlog {messages}")

    def keep(self, name: str, stored: Callable[[], Awaitable[None]]) -> None:
        self.calls.append(f"keep {name}")
        self.stored = stored

    async def deliver(self, topic: str, content: dict[str, Any]) -> None:
        for topic_filter, callback in self.callbacks.items():
            if matches(topic_filter, topic):
                await callback(topic, content)

    async def birth(self, source: str) -> None:
        await self.deliver(status_topic(source), {"status": "online", "session": "a"})

    async def sends(self, source: str, seq: int, *, run_id: str = "run", kind: str = "events") -> None:
        content = {
            **event(seq, source=source, kind=kind),
            "run_id": run_id,
            "event_id": f"{source}-{run_id}-{kind}-{seq}",
        }
        await self.deliver(telemetry_topic("local", "default", run_id, kind), content)

    def acked(self) -> dict[str, dict[str, int]]:
        """The latest acknowledgement of each source: the highest number by series."""
        return {topic: content["upto"] for topic, content in self.acks}


class CollectorPlant:
    """A collector whose link and file belong to the test."""

    def __init__(self, path: Path, *, name: str | None = "collector-1") -> None:
        self.link, self.file = ScriptedLink(), SqliteFile(path)
        self.observed: list[EventMessage] = []
        self.notes: list[str] = []
        self.collector = Collector(
            self.link,  # type: ignore[arg-type]
            self.file,
            name=name,
            note=self.notes.append,
            observe=self.observed.append,
        )

    async def store(self, total: int) -> None:
        """Collect until so many messages are stored in all."""
        await self.collector.run(until=lambda: self.collector.stored >= total)


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorPlant]:
    """A collector that commits at once."""
    monkeypatch.setattr(collector_module, "GATHER", 0.0)
    found = CollectorPlant(tmp_path / "all.sqlite")
    yield found
    found.file.close()


async def test_each_engine_of_a_batch_is_acknowledged_except_one_without_a_presence(
    plant: CollectorPlant,
) -> None:
    """It stands in the middle; when its presence comes, it gets what it had missed, and only once."""
    await plant.collector.subscribe()
    for source in ("a", "c", "idle"):
        await plant.link.birth(source)
    for source, seq in (("a", 0), ("b", 0), ("c", 0), ("b", 1), ("a", 1)):
        await plant.link.sends(source, seq)
    await plant.store(5)
    series = "run-c41e07d2"
    assert plant.link.acked() == {ack_topic("a"): {series: 1}, ack_topic("c"): {series: 0}}
    for _ in range(2):
        await plant.link.birth("b")
    await plant.link.birth("a")
    assert [topic for topic, _ in plant.link.acks] == [ack_topic(each) for each in ("a", "c", "b")]
    assert plant.link.acked()[ack_topic("b")] == {series: 1}


async def test_a_second_copy_is_acknowledged_and_observed_too(plant: CollectorPlant, tmp_path: Path) -> None:
    """The engine sends again because it has no acknowledgement; the observer knows copies by their id."""
    await plant.collector.subscribe()
    await plant.link.birth("a")
    for total in (1, 2):
        await plant.link.sends("a", 0)
        await plant.store(total)
    assert [topic for topic, _ in plant.link.acks] == [ack_topic("a")] * 2
    assert [each.event_id for each in plant.observed] == ["a-run-events-0"] * 2
    assert len(kept(tmp_path / "all.sqlite")) == 1


async def test_data_and_logs_are_stored_and_what_is_no_telemetry_is_left_out(
    plant: CollectorPlant, tmp_path: Path
) -> None:
    """Those have no acknowledgement: no hole in their numbers is a loss. The odd message is in the middle."""
    await plant.collector.subscribe()
    await plant.link.birth("a")
    await plant.link.sends("a", 0, kind="data")
    await plant.link.deliver(telemetry_topic("local", "default", "run"), {"odd": 1})
    await plant.link.sends("a", 5, kind="logs")
    await plant.store(2)
    assert [each.kind for each in plant.observed] == ["data", "logs"]
    assert plant.link.acks == []


async def test_what_comes_when_the_link_has_ended_is_stored_and_not_acknowledged(
    plant: CollectorPlant, tmp_path: Path
) -> None:
    """And a collector whose stop has come before the first message stores what has arrived."""
    await plant.collector.subscribe()
    await plant.link.birth("a")
    await plant.link.sends("a", 0)
    await plant.collector.run(until=lambda: True)
    assert len(plant.link.acks) == 1
    await plant.link.sends("a", 1)
    await plant.collector.store_rest()
    assert (len(plant.link.acks), plant.collector.stored) == (1, 2)
    assert len(kept(tmp_path / "all.sqlite")) == 2


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "wss", "nats", "tls"])
def test_the_session_is_that_of_the_file_and_is_ready_before_the_link(
    scheme: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The broker keeps events for it, so that a subscription after the link would miss the first ones."""
    found, keywords = ScriptedLink(), list[dict[str, Any]]()

    async def fails() -> None:
        raise ConnectorUnavailable("plant", 1883, "it is gone")

    found.on_connect = fails

    def connector(_address: Address, **words: Any) -> ScriptedLink:
        keywords.append(words)
        return found

    monkeypatch.setattr(Address, "connector", connector)
    path = tmp_path / "all.sqlite"
    url = f"{scheme}://plant"
    assert main(["collect", "--broker", url, "--to", str(path), "--name", "night"]) == 3
    assert keywords == [{"presence": False, "required": True}]
    first, *_ = found.calls
    assert first == f"backlog {BACKLOG}"
    file = SqliteFile(path)
    assert found.calls[1:] == [f"keep cascade-collect-{file.session}", *["subscribe"] * 8, "connect"]
    file.close()
    assert set(found.callbacks) == {
        "cascade/status/+",
        "cascade/constraints/#",
        "cascade/state/+/ended",
        "cascade/state/+/runs",
        *(f"cascade/telemetry/+/+/+/{kind}" for kind in ("events", "data", "logs", "progress")),
    }
    assert capsys.readouterr().err.startswith("cascade: ")


def test_what_comes_before_the_broker_has_answered_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session may bring more than may wait unacknowledged; the answer stands behind it."""
    found = ScriptedLink()

    async def answers_behind_it() -> None:
        await found.sends("a", 0)
        await asyncio.wait_for(found.stored(), 30)
        raise ConnectorUnavailable("plant", 1883, "the test is over")

    found.on_connect = answers_behind_it
    monkeypatch.setattr(Address, "connector", lambda _address, **_words: found)
    path = tmp_path / "all.sqlite"
    assert main(["collect", "--broker", "mqtt://plant", "--to", str(path)]) == 3
    assert len(kept(path)) == 1


@pytest.mark.parametrize("ack", [False, True])
def test_a_disk_that_fails_ends_the_command_after_its_link(
    ack: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the file; with and without --ack nothing was acknowledged, and what follows is tried once more."""
    found, batches = ScriptedLink(), list[int]()

    async def arrives() -> None:
        await found.birth("a")
        await found.sends("a", 0)

    async def comes_late() -> None:
        await found.sends("a", 1)

    def fails(_file: SqliteFile, batch: list[Any], _changes: list[Any]) -> None:
        batches.append(len(batch))
        raise OSError(5, "Input/output error")

    found.on_connect, found.on_disconnect = arrives, comes_late
    monkeypatch.setattr(Address, "connector", lambda _address, **_words: found)
    monkeypatch.setattr(SqliteFile, "store", fails)
    path = tmp_path / "all.sqlite"
    command = ["collect", "--broker", "mqtt://plant", "--to", str(path), *(["--ack"] if ack else [])]
    assert main(command) == 1
    assert capsys.readouterr().err == (
        f"cascade: {path} cannot be written: [Errno 5] Input/output error; "
        "what is not stored is not acknowledged\n"
    )
    assert (batches, found.acks, found.calls[-1]) == ([1, 1], [], "disconnect")


def full_database() -> sqlite3.Error:
    """The error that SQLite raises when the disk is full."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA max_page_count = 1")
        try:
            connection.execute("CREATE TABLE t (a)")
        except sqlite3.Error as exc:
            return exc
    raise AssertionError("there was room")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "[Errno 122] Disk quota exceeded"),
        (full_database(), "database or disk is full"),
    ],
    ids=["full", "quota", "SQLite"],
)
@pytest.mark.parametrize("ends", [False, True], ids=["room again", "stopped meanwhile"])
async def test_a_full_disk_is_waited_for(
    error: Exception,
    text: str,
    ends: bool,
    plant: CollectorPlant,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line says so, and one that it is over. Nothing is acknowledged meanwhile, and a stop ends the wait.

    Afterwards what is retained is read again: the broker's queue for the collector has a bound.
    """
    monkeypatch.setattr(collector_module, "RETRY_SECONDS", 3600.0 if ends else 0.01)
    store, attempts = plant.file.store, list[int]()

    def fails(*batch: Any) -> Any:
        attempts.append(len(plant.link.acks))
        if ends or len(attempts) < 4:
            raise error
        return store(*batch)

    plant.file.store = fails  # type: ignore[method-assign, assignment]
    await plant.collector.subscribe()
    await plant.link.birth("a")
    await plant.link.sends("a", 0)
    collecting = asyncio.create_task(plant.store(2))
    if ends:
        await eventually(lambda: plant.notes)
        collecting.cancel()
        with pytest.raises(type(error), match=re.escape(text)):
            await collecting
        assert plant.link.acks == []
        return
    await eventually(lambda: plant.link.calls[8:] == [*["subscribe"] * 4, *["unsubscribe"] * 4])
    await plant.link.sends("a", 1)
    await collecting
    assert attempts == [0] * 4 + [1]
    assert plant.notes == [f"cannot be written now: {text}; the broker keeps what comes", "is written again"]
    assert len(plant.link.acks) == len(kept(tmp_path / "all.sqlite")) == 2


@pytest.mark.parametrize(
    ("options", "by"), [([], None), (["--ack"], "collector-1"), (["--ack", "--name", "n"], "n")]
)
def test_only_with_ack_the_collector_acknowledges_and_with_its_name(
    options: list[str], by: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine waits for the acknowledgement of this name."""
    found = ScriptedLink()

    async def arrives() -> None:
        await found.birth("a")
        await found.sends("a", 0)

    async def ends(_collector: Collector, **_: Any) -> None:
        await _collector._store()

    found.on_connect = arrives
    monkeypatch.setattr(Address, "connector", lambda _address, **_words: found)
    monkeypatch.setattr(Collector, "run", ends)
    path = tmp_path / "all.sqlite"
    assert main(["collect", "--broker", "mqtt://plant", "--to", str(path), *options]) == 0
    assert [content["by"] for _, content in found.acks] == ([] if by is None else [by])
    assert len(kept(path)) == 1
    assert json.loads(json.dumps(found.acked())) == (
        {} if by is None else {ack_topic("a"): {"run-c41e07d2": 0}}
    )
