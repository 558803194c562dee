"""The event bus: synchronous, ordered, and deaf to the faults of its observers."""

import asyncio
import dataclasses
import json
import logging
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from cascade.interfaces import LifecycleEvent, TaskFields, TaskState, TaskStateEvent
from cascade.interfaces.wire.read import View
from cascade.runtime import Engine, EventBus, LocalConnector
from cascade.spec import task
from cascade.testkit import eventually, time_limit


class Base:
    pass


class Derived(Base):
    pass


def test_a_handler_gets_the_type_that_it_subscribed_to() -> None:
    """Subtypes are heard too, other types are not, in the order of the events."""
    bus = EventBus()
    heard: list[object] = []
    bus.subscribe(Base, heard.append)
    events = [Base(), Derived(), Base()]
    for event in events:
        bus.publish(event)
    bus.publish("something else")
    assert heard == events


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


def test_an_observer_that_cannot_be_hashed_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    """Row 28 for a plain dataclass, which has no hash; of two that are equal, each is itself."""

    @dataclasses.dataclass
    class Observer:
        heard: int = dataclasses.field(default=0, compare=False)

        def __call__(self, event: Base) -> None:
            self.heard += 1
            raise RuntimeError("observer")

    bus = EventBus()
    first, second = Observer(), Observer()
    bus.subscribe(Base, first)
    stop = bus.subscribe(Base, second)
    bus.publish(Base())
    stop()
    bus.publish(Base())
    assert (first.heard, second.heard) == (2, 1)
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


FIELDS = TaskStateEvent(
    "r", "a:0", "a", TaskState.FAILED, 1.5, 2.5, "ValueError: x", "why", 2, "p", 3, "a:0", "t" * 8, 4
).fields()


@pytest.mark.parametrize("published", ["fields", "event"])
def test_fields_and_events_of_tasks_reach_the_handlers_of_both(published: str) -> None:
    """However they are published: at once, and the event is made only if a handler of events is there."""
    bus = EventBus()
    assert not bus.wants(TaskStateEvent)
    fields: list[object] = []
    stop = bus.subscribe_fields(fields.append)
    assert bus.wants(TaskStateEvent)
    assert not bus.wants(LifecycleEvent)
    events: list[object] = []
    publish: dict[str, Any] = {
        "fields": lambda: bus.publish_fields(FIELDS),
        "event": lambda: bus.publish(TaskStateEvent.of(FIELDS)),
    }
    publish[published]()
    assert events == []
    bus.subscribe(TaskStateEvent, events.append)
    publish[published]()
    assert fields == [FIELDS, FIELDS]
    assert events == [TaskStateEvent.of(FIELDS)]
    assert (type(fields[0]), type(events[0])) == (tuple, TaskStateEvent)
    assert len(bus.handlers()) == 2
    stop()
    publish[published]()
    assert (len(fields), len(events)) == (2, 2)
    assert len(bus.handlers()) == 1


@pytest.mark.parametrize("published", ["fields", "event"])
def test_a_handler_of_fields_that_raises_affects_no_other(
    published: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line tells of a series of failures, and names the kind of the event."""
    bus, heard = EventBus(), list[object]()

    def faulty(fields: TaskFields) -> None:
        raise ValueError(fields)

    bus.subscribe_fields(faulty)
    bus.subscribe_fields(heard.append)
    bus.subscribe(TaskStateEvent, heard.append)
    for _ in range(2):
        if published == "fields":
            bus.publish_fields(FIELDS)
        else:
            bus.publish(TaskStateEvent.of(FIELDS))
    assert heard == [FIELDS, TaskStateEvent.of(FIELDS)] * 2
    (line,) = caplog.records
    assert "failed on TaskStateEvent" in line.message


def test_a_series_of_failures_on_fields_ends_with_a_success(caplog: pytest.LogCaptureFixture) -> None:
    """And with the end of the subscription: the next failure is told again."""
    bus, faults = EventBus(), iter([True, False, True, True])

    def faulty(fields: TaskFields) -> None:
        if next(faults):
            raise ValueError(fields)

    stop = bus.subscribe_fields(faulty)
    for _ in range(3):
        bus.publish_fields(FIELDS)
    assert len(caplog.records) == 2
    stop()
    bus.subscribe_fields(faulty)
    bus.publish_fields(FIELDS)
    assert len(caplog.records) == 3


@pytest.mark.parametrize("published", ["fields", "event"])
def test_handlers_of_fields_are_called_in_the_order_of_their_subscription(published: str) -> None:
    """And one that unsubscribes takes no other with it."""
    bus, heard = EventBus(), list[str]()

    def note(name: str, fields: TaskFields) -> None:
        heard.append(name)

    stops = [bus.subscribe_fields(partial(note, name)) for name in "abc"]

    def publish() -> str:
        heard.clear()
        if published == "fields":
            bus.publish_fields(FIELDS)
        else:
            bus.publish(TaskStateEvent.of(FIELDS))
        return "".join(heard)

    assert publish() == "abc"
    stops[1]()
    assert publish() == "ac"


def test_a_handler_of_fields_that_is_subscribed_twice_is_called_twice() -> None:
    """Each subscription ends on its own, and ending it again ends no other."""
    bus, heard = EventBus(), list[object]()
    hear = heard.append
    stops = [bus.subscribe_fields(hear) for _ in range(2)]
    assert repr(bus) == "<EventBus with 2 handlers>"
    bus.publish_fields(FIELDS)
    assert len(heard) == 2
    for _ in range(2):
        stops[0]()
    bus.publish_fields(FIELDS)
    assert len(heard) == 3
    stops[1]()
    assert not bus.wants(TaskStateEvent)


async def test_fields_from_a_thread_arrive_on_the_loop_behind_its_events() -> None:
    """In one order for each thread, whichever form an event has; the loop is busy until the thread has ended."""
    bus, heard, threads = EventBus(), list[float](), set[int]()

    def hear(fields: TaskFields) -> None:
        heard.append(fields[4])
        threads.add(threading.get_ident())

    bus.subscribe_fields(hear)
    bus.bind(asyncio.get_running_loop())

    def work() -> None:
        for number in range(10):
            event = TaskStateEvent.of(FIELDS)._replace(timestamp=float(number))
            if number % 2:
                bus.publish(event)
            else:
                bus.publish_fields(event.fields())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == []
    await eventually(lambda: len(heard) == 10)
    assert heard == list(range(10))
    assert threads == {threading.get_ident()}


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


class Texts(LocalConnector):
    """Takes JSON that telemetry has encoded, as the connectors of a network do."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def publish_text_nowait(self, topic: str, text: str, qos: int = 0, *, retain: bool = False) -> None:
        self.texts.append(text)


async def test_a_run_makes_no_events_of_tasks_for_telemetry_and_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They take the fields: a run of many small tasks does not wait for objects that no handler reads."""
    made: list[TaskFields] = []
    monkeypatch.setattr(TaskStateEvent, "of", made.append)

    @task(mode="inline")
    def nothing(x: int) -> int:
        return x

    connector = Texts()
    assert await Engine(connector=connector).run(nothing.map(x=range(100))) == list(range(100))
    states = [json.loads(text)["body"].get("state") for text in connector.texts]
    assert [state for state in states if state] == ["RUNNING", "COMPLETED"] * 100
    assert made == []
