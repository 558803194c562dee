"""Telemetry: exact messages, in order, without ever reaching back into the run."""

import asyncio
import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simple_tasks import double

from cascade.interfaces import ConnectorUnavailable, Lifecycle, LifecycleEvent, TaskState, TaskStateEvent
from cascade.runtime import (
    Engine,
    EventBus,
    LocalConnector,
    TelemetrySubscriber,
    ThreadExecutor,
    describe,
    one_line,
)
from cascade.runtime.telemetry import _courier
from cascade.spec import task


class Plain:
    """A connector with the four methods of the protocol and no more."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.sent: list[tuple[str, Mapping[str, Any], int]] = []

    async def connect(self) -> None:
        self.log.append("connect")

    async def disconnect(self) -> None:
        self.log.append("disconnect")

    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        await asyncio.sleep(0)
        self.sent.append((topic, payload, qos))

    async def subscribe(self, topic: str, callback: Any, qos: int = 0) -> Any:
        raise AssertionError("telemetry subscribes to nothing")


@task
async def fail() -> None:
    raise ValueError("no\n[bold]amqp://user:pa55@host/x" + "y" * 1000)


def bodies(connector: Plain) -> list[tuple[str, str]]:
    return [(b["type"], b.get("state") or b["event"]) for b in (m["body"] for _, m, _ in connector.sent)]


async def test_a_run_tells_itself_through_the_smallest_connector() -> None:
    """Connected, told in order with QoS 1 and seq from 0 without a hole, disconnected: four methods suffice."""
    connector = Plain()
    assert await Engine(connector=connector).run(double(1)) == 2
    assert connector.log == ["connect", "disconnect"]
    assert bodies(connector) == [
        ("LifecycleEvent", "ENGINE_STARTED"),
        ("TaskStateEvent", "RUNNING"),
        ("TaskStateEvent", "COMPLETED"),
        ("LifecycleEvent", "ENGINE_STOPPED"),
    ]
    topics = {topic for topic, _, _ in connector.sent}
    (run_id,) = {m["run_id"] for _, m, _ in connector.sent}
    assert topics == {f"cascade/telemetry/local/default/{run_id}/events"}
    assert [m["seq"] for _, m, _ in connector.sent] == [0, 1, 2, 3]
    assert {qos for _, _, qos in connector.sent} == {1}
    assert len({m["event_id"] for _, m, _ in connector.sent}) == 4
    assert {m["source"] for _, m, _ in connector.sent} == {f"{platform.node()}-{os.getpid()}"}


async def test_organisation_and_project_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """CASCADE_ORG_ID and CASCADE_PROJECT_ID name the topic, encoded, and stand in the message as they are."""
    monkeypatch.setenv("CASCADE_ORG_ID", "plant 3")
    monkeypatch.setenv("CASCADE_PROJECT_ID", "a/b")
    connector = Plain()
    await Engine(connector=connector).run(double(1))
    topic, message, _ = connector.sent[0]
    assert topic.startswith("cascade/telemetry/plant%203/a%2Fb/")
    assert (message["org_id"], message["project_id"]) == ("plant 3", "a/b")


async def test_error_text_leaves_on_one_short_line_without_credentials() -> None:
    """Row 31 and the contract: one line, 500 characters, markup left literal, credentials in URLs masked."""
    connector = Plain()
    with pytest.raises(ValueError, match="pa55"):
        await Engine(connector=connector).run(fail())
    (failed,) = [m["body"] for _, m, _ in connector.sent if m["body"].get("state") == "FAILED"]
    stopped = connector.sent[-1][1]["body"]
    for body in (failed, stopped):
        assert body["error"].startswith("ValueError: no [bold]amqp://***@host/x")
        assert len(body["error"]) == 500
        assert "pa55" not in json.dumps(body)
    assert stopped["status"] == "Failed"


async def test_a_connector_that_fails_is_not_felt(caplog: pytest.LogCaptureFixture) -> None:
    """A connector whose every method raises costs one line for each kind of failure, and no run."""

    class Broken(Plain):
        async def connect(self) -> None:
            raise OSError("no route")

        async def disconnect(self) -> None:
            raise OSError("no route")

        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            raise OSError("no route")

    assert await Engine(connector=Broken()).run(double.map(x=list(range(50)))) == [2 * x for x in range(50)]
    assert len(caplog.records) == 3
    assert all("the run goes on" in r.getMessage() or "disconnect" in r.getMessage() for r in caplog.records)


async def test_a_connector_that_is_required_may_refuse_the_run() -> None:
    """ConnectorUnavailable is the caller's own wish: it is raised before anything has run."""

    class Required(Plain):
        async def connect(self) -> None:
            raise ConnectorUnavailable("broker", 1883, "refused")

    connector = Required()
    with pytest.raises(ConnectorUnavailable, match="no connection to broker:1883: refused"):
        await Engine(connector=connector).run(double(1))
    assert not connector.sent
    assert connector.log == ["disconnect"]


async def test_a_connector_that_hangs_holds_the_start_no_longer_than_the_limit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A third-party connector that never connects nor disconnects is left alone after the limits."""
    monkeypatch.setattr("cascade.runtime._lease.START_LIMIT", 0.01)
    monkeypatch.setattr("cascade.runtime._lease.STOP_LIMIT", 0.01)

    class Hanging(Plain):
        async def connect(self) -> None:
            await asyncio.Event().wait()

        async def disconnect(self) -> None:
            await asyncio.Event().wait()

    assert await Engine(connector=Hanging()).run(double(1)) == 2
    late, left = (record.getMessage() for record in caplog.records)
    assert "does not connect within" in late
    assert "does not disconnect within" in left


@pytest.mark.parametrize("refused", [False, True])
async def test_a_connector_that_is_a_little_late_tells_why_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: bool
) -> None:
    """The run goes on meanwhile; the engine adds a line only if the connector raises."""
    monkeypatch.setattr("cascade.runtime._lease.START_LIMIT", 0.01)
    started, told = asyncio.Event(), asyncio.Event()

    class Late(Plain):
        async def connect(self) -> None:
            await started.wait()
            told.set()
            if refused:
                raise ConnectorUnavailable("broker", 1883, "silent")

    @task
    async def begun() -> int:
        started.set()
        await told.wait()
        return 1

    assert await Engine(connector=Late()).run(begun()) == 1
    assert [r.getMessage().endswith("no connection to broker:1883: silent") for r in caplog.records] == [
        True
    ] * refused


async def test_a_run_hears_in_its_course_of_a_connector_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not only at its end, and once."""
    monkeypatch.setattr("cascade.runtime._lease.START_LIMIT", 0.01)
    monkeypatch.setattr("cascade.runtime._lease.GRACE", 0.01)

    class Hanging(Plain):
        async def connect(self) -> None:
            await asyncio.Event().wait()

    @task
    async def until_told() -> None:
        while "does not connect within" not in caplog.text:
            await asyncio.sleep(0.01)

    async with asyncio.timeout(5):
        await Engine(connector=Hanging()).run(until_told())
    assert len(caplog.records) == 1


async def test_a_run_waits_for_the_word_of_a_connector_that_requires_its_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long it takes to find out, the run does not go on without the link that it was told to need."""
    monkeypatch.setattr("cascade.runtime._lease.START_LIMIT", 0.01)

    class Required(Plain):
        required = True

        async def connect(self) -> None:
            await asyncio.sleep(0.05)
            raise ConnectorUnavailable("broker", 1883, "silent")

    with pytest.raises(ConnectorUnavailable, match="silent"):
        await Engine(connector=Required()).run(double(1))


async def test_runs_wait_for_a_connector_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that connects for ever nor one that is still leaving holds a run longer than the limit."""
    monkeypatch.setattr("cascade.runtime._lease.START_LIMIT", 0.01)
    leave, waits = asyncio.Event(), 0
    wait = asyncio.wait

    async def counted(*args: Any, timeout: float | None = None) -> Any:
        nonlocal waits
        waits += timeout == 0.01
        return await wait(*args, timeout=timeout)

    class Slow(Plain):
        async def connect(self) -> None:
            await super().connect()
            if self.log.count("connect") == 1:
                return
            await asyncio.Event().wait()

        async def disconnect(self) -> None:
            await super().disconnect()
            await leave.wait()

    connector = Slow()
    first = asyncio.create_task(Engine(connector=connector).run(double(1)))
    while "disconnect" not in connector.log:
        await asyncio.sleep(0)
    monkeypatch.setattr("cascade.runtime._lease.asyncio.wait", counted)
    others = [asyncio.create_task(Engine(connector=connector).run(double(n))) for n in (2, 3)]
    async with asyncio.timeout(5):
        while waits < 2:
            await asyncio.sleep(0)
        assert not first.done()
        leave.set()
        assert await asyncio.gather(first, *others) == [2, 4, 6]


async def test_a_run_that_is_cancelled_while_it_leaves_waits_for_the_end_of_that() -> None:
    """Whoever cancels, waits: no task of the connector outlives the run."""

    class Leaving(Plain):
        async def disconnect(self) -> None:
            self.log.append("leaving")
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(50):
                    await asyncio.sleep(0)
                self.log.append("left")

    connector = Leaving()
    run = asyncio.create_task(Engine(connector=connector).run(double(1)))
    while "leaving" not in connector.log:
        await asyncio.sleep(0)
    run.cancel()
    await asyncio.wait({run})
    assert connector.log == ["connect", "leaving", "left"]


async def test_a_connect_that_returns_a_future_is_awaited_like_any_other() -> None:
    """The protocol asks for something to await, not for a coroutine."""

    class Plainer(Plain):
        def connect(self) -> Any:
            return asyncio.ensure_future(super().connect())

        def disconnect(self) -> Any:
            return asyncio.ensure_future(super().disconnect())

    connector = Plainer()
    assert await Engine(connector=connector).run(double(1)) == 2
    assert connector.log == ["connect", "disconnect"]


async def test_what_is_not_taken_in_time_is_dropped_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A publish that never returns costs the run the drain and no more; the rest is counted."""
    monkeypatch.setattr("cascade.runtime.engine.TELEMETRY_DRAIN", 0.01)

    class Stuck(Plain):
        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            await asyncio.Event().wait()

    assert await Engine(connector=Stuck()).run(double(1)) == 2
    assert "3 telemetry messages were not sent in time" in caplog.text


async def test_a_run_that_ends_waits_for_its_own_messages_only() -> None:
    """Another run of the same engine that never pauses neither holds it up nor loses anything for it."""
    connector, stop = Plain(), asyncio.Event()

    @task
    async def busy() -> int:
        for n in range(100_000):
            if stop.is_set():
                break
            bus.publish(TaskStateEvent("noise", f"t-{n}", "t", TaskState.RUNNING, 0.0))
            bus.publish(TaskStateEvent("noise", f"u-{n}", "t", TaskState.RUNNING, 0.0))
            await asyncio.sleep(0)
        return n

    bus = EventBus()
    engine = Engine(connector=connector, bus=bus)
    long = asyncio.create_task(engine.run(busy()))
    while not connector.sent:
        await asyncio.sleep(0)
    assert await engine.run(double(1)) == 2
    assert not long.done()
    stop.set()
    await long
    noise = [m["seq"] for _, m, _ in connector.sent if m["run_id"] == "noise"]
    assert noise == list(range(len(noise)))
    assert len(noise) >= 2


async def test_the_queue_to_a_slow_connector_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the queue is full the oldest message is dropped and counted; seq shows the hole."""
    monkeypatch.setattr(_courier, "CAPACITY", 10)
    connector, bus = Plain(), EventBus()
    subscriber = TelemetrySubscriber(bus, connector)
    for n in range(25):
        bus.publish(TaskStateEvent("r", f"t-{n}", "t", TaskState.RUNNING, 0.0))
    await subscriber.drain(5)
    assert [m["seq"] for _, m, _ in connector.sent] == list(range(15, 25))
    assert (subscriber.produced, subscriber.dropped) == (25, 15)


async def test_one_subscriber_serves_a_bus_and_a_connector() -> None:
    """An engine attaches a subscriber once, and none beside one that its user attached."""
    connector, bus = Plain(), EventBus()
    TelemetrySubscriber(bus, connector, qos=0)
    engine = Engine(connector=connector, bus=bus)
    await engine.run(double(1))
    await engine.run(double(1))
    assert len(connector.sent) == 8
    assert {qos for _, _, qos in connector.sent} == {0}


async def test_no_subscriber_outlives_the_runs_that_needed_it() -> None:
    """Runs with new connectors on one bus leave none behind; two at the same time share one."""
    bus = EventBus()
    for _ in range(3):
        await Engine(connector=Plain(), bus=bus).run(double(1))
    assert bus.handlers() == []
    connector = Plain()
    await asyncio.gather(*(Engine(connector=connector, bus=bus).run(double(n)) for n in range(3)))
    assert len(connector.sent) == 12
    assert bus.handlers() == []


async def test_an_executor_that_cannot_settle_does_not_cost_the_result(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a run has found out is not lost to its winding up; one line says what went wrong."""

    class Unsettled(ThreadExecutor):
        async def settle(self, timeout: float) -> int:
            raise OSError("gone")

    @task
    def offloaded() -> int:
        return 2

    executor = Unsettled(1)
    assert await Engine(executor=executor).run(offloaded()) == 2
    assert "OSError: gone" in caplog.text
    await executor.close()


async def test_a_connector_that_the_user_connected_stays_connected() -> None:
    """run() leaves a connector as it found it."""
    connector = LocalConnector()
    await connector.connect()
    await Engine(connector=connector).run(double(1))
    assert connector.connected
    await connector.disconnect()
    await Engine(connector=connector).run(double(1))
    assert not connector.connected


async def test_a_connector_may_say_by_an_attribute_that_it_is_connected() -> None:
    """What the user connected is never disconnected, also when its type has no property for that."""

    class Telling(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.connected = False

        async def connect(self) -> None:
            await super().connect()
            self.connected = True

        async def disconnect(self) -> None:
            await super().disconnect()
            self.connected = False

    connector = Telling()
    await connector.connect()
    await Engine(connector=connector).run(double(1))
    assert connector.log == ["connect"]
    await connector.disconnect()
    await Engine(connector=connector).run(double(1))
    assert connector.log == ["connect", "disconnect"] * 2


async def test_what_a_mock_answers_is_no_word_that_it_is_connected() -> None:
    """A stand-in that has every attribute is connected and left like one that cannot be asked."""

    class Mock(Plain):
        def __getattr__(self, name: str) -> object:
            return object()

    connector = Mock()
    await Engine(connector=connector).run(double(1))
    assert connector.log == ["connect", "disconnect"]


async def test_the_last_run_of_any_engine_disconnects() -> None:
    """Runs of two engines share a connector: it is connected once, and left when the last run ends."""
    connector = Plain()
    first_done = asyncio.Event()

    @task
    async def short() -> int:
        return 1

    @task
    async def long() -> list[str]:
        await first_done.wait()
        return list(connector.log)

    slow = asyncio.create_task(Engine(connector=connector).run(long()))
    assert await Engine(connector=connector).run(short()) == 1
    first_done.set()
    assert await slow == ["connect"]
    assert connector.log == ["connect", "disconnect"]
    await Engine(connector=connector).run(short())
    assert connector.log == ["connect", "disconnect"] * 2


async def test_a_named_connector_names_the_source() -> None:
    """source in every message is the connector's source_id where it has one."""
    bus, hub = EventBus(), LocalConnector(source_id="press 3")
    seen: list[dict[str, Any]] = []

    async def hear(topic: str, data: dict[str, Any]) -> None:
        seen.append(data)

    await hub.connect()
    await hub.subscribe("cascade/telemetry/#", hear)
    await Engine(bus=bus, connector=hub).run(double(1))
    await hub.disconnect()
    assert [m["source"] for m in seen] == ["press 3"] * 4


def test_closing_stops_listening() -> None:
    """A closed subscriber produces nothing more."""
    bus = EventBus()
    subscriber = TelemetrySubscriber(bus, Plain())
    subscriber.close()
    bus.publish(LifecycleEvent("r", Lifecycle.ENGINE_STARTED, 0.0))
    assert subscriber.produced == 0


@given(st.text(st.characters(), max_size=3000))
def test_any_text_becomes_one_line(text: str) -> None:
    """Whatever a message holds, what leaves is one line of printable text of up to 500 characters."""
    line = one_line(text)
    assert len(line) <= 500
    assert line.isprintable() or not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in line)
    assert len(line.splitlines()) <= 1
    line.encode()


@given(st.text("abc:/", max_size=40), st.integers(0, 3000), st.text("xyz", min_size=6, max_size=12))
def test_no_cut_shows_a_password(before: str, padding: int, password: str) -> None:
    """Credentials in a URL never show, wherever in the text they stand and wherever it is cut."""
    text = before + " " * padding + f"amqp://user:{password}@host/path"
    assert password not in one_line(text)
    assert password[:4] not in one_line(text)


def test_an_error_whose_message_cannot_be_made_is_still_told() -> None:
    """A __str__ that raises does not replace the failure."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert describe(Odd()) == "Odd: <its message could not be made>"
    assert describe(ValueError()) == "ValueError"
