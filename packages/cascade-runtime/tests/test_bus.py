"""The event bus: synchronous, ordered, and deaf to the faults of its observers."""

import asyncio
import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from cascade.interfaces import TaskStateEvent
from cascade.runtime import Engine, EventBus, LocalConnector
from cascade.spec import task
from cascade.testkit import eventually, time_limit
from cascade.wire import View


class Base:
    pass


class Derived(Base):
    pass


def test_a_handler_that_unsubscribes_gets_no_more_events() -> None:
    """Unsubscribing takes effect at once, also from inside a handler, and is idempotent."""
    bus = EventBus()
    heard: list[object] = []

    def once(event: Base) -> None:
        heard.append(event)
        stop()

    stop = bus.subscribe(Base, once)
    assert bus.wants(Derived)
    bus.publish(Base())
    bus.publish(Base())
    stop()
    assert len(heard) == 1
    assert not bus.wants(Derived)


def test_an_observer_that_raises_affects_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Row 28: the others still hear, publish() does not raise, and one line tells of a series of failures."""
    bus = EventBus()
    heard: list[object] = []
    broken = True

    def faulty(event: Base) -> None:
        if broken:
            raise RuntimeError("observer")

    bus.subscribe(Base, faulty)
    bus.subscribe(Base, heard.append)
    for _ in range(3):
        bus.publish(Base())
    assert len(heard) == 3
    assert len(caplog.records) == 1
    broken = False
    bus.publish(Base())
    broken = True
    bus.publish(Base())
    assert len(caplog.records) == 2


async def test_events_from_threads_arrive_on_the_loop_in_order() -> None:
    """Row 29: handlers run in the loop's thread, and one thread's events keep their order."""
    bus = EventBus()
    bus.bind(asyncio.get_running_loop())
    heard: list[tuple[int, int]] = []
    threads_seen: set[int] = set()
    done = asyncio.Event()

    def hear(event: tuple[int, int]) -> None:
        heard.append(event)
        threads_seen.add(threading.get_ident())
        if len(heard) == 400:
            done.set()

    bus.subscribe(tuple, hear)

    def publish(source: int) -> None:
        for number in range(100):
            bus.publish((source, number))

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    async with time_limit(50):
        await done.wait()
    for thread in threads:
        thread.join()
    assert threads_seen == {threading.get_ident()}
    for source in range(4):
        assert [n for s, n in heard if s == source] == list(range(100))


def test_events_after_the_loop_is_closed_are_let_go(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that outlives the loop may still speak; it gets no error."""
    bus = EventBus()
    heard: list[Any] = []
    bus.subscribe(str, heard.append)

    async def bind() -> None:
        bus.bind(asyncio.get_running_loop())

    asyncio.run(bind())
    thread = threading.Thread(target=bus.publish, args=("late",))
    with caplog.at_level(logging.WARNING):
        thread.start()
        thread.join()
    assert not heard
    assert not caplog.records


class Own:
    """A bus of the user's own, with the methods of the protocol only."""

    def __init__(self) -> None:
        self.inner = EventBus()

    def subscribe(self, event_type: type[Any], handler: Any) -> Any:
        return self.inner.subscribe(event_type, handler)

    def wants(self, event_type: type) -> bool:
        return self.inner.wants(event_type)

    def handlers(self) -> list[Any]:
        return self.inner.handlers()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self.inner.bind(loop)

    def publish(self, event: object) -> None:
        self.inner.publish(event)


class Noting(EventBus):
    """A bus of the user's own that sees every event."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def publish(self, event: object) -> None:
        self.seen.append(event)
        super().publish(event)


@pytest.mark.parametrize("bus", [EventBus, Own, Noting])
async def test_a_run_is_observed_through_a_bus_of_any_kind(bus: type[Any]) -> None:
    """Handlers, telemetry and reports get each event of a task, and the same one."""

    @task
    async def double(x: int) -> int:
        return 2 * x

    made, connector = bus(), LocalConnector(source_id="press-line-3")
    heard: list[TaskStateEvent] = []
    made.subscribe(TaskStateEvent, heard.append)
    view = View()
    async with connector:

        async def fold(topic: str, payload: Mapping[str, Any]) -> None:
            view.fold(topic, json.dumps(payload).encode(), now=0.0)

        await connector.subscribe("cascade/#", fold)
        assert await Engine(bus=made, connector=connector).run([double(1), double(2)]) == [2, 4]
        await eventually(lambda: any(run.status for run in view.runs.values()))
    (run,) = view.runs.values()
    assert (run.status, run.missing, run.counts) == ("Succeeded", 0, {"COMPLETED": 2})
    assert [event.state for event in heard] == ["RUNNING", "COMPLETED"] * 2
    assert [event.node for event in heard] == ["double:0", "double:0", "double:1", "double:1"]
    if isinstance(made, Noting):
        assert [event for event in made.seen if isinstance(event, TaskStateEvent)] == heard
    assert made.handlers() == [heard.append]
