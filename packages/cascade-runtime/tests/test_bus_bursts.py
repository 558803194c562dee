"""Events of tasks that come in bursts: each handler gets all of them, in order, and the run makes one call for many."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from cascade.interfaces import (
    DataEvent,
    EventBus,
    Lifecycle,
    LifecycleEvent,
    TaskFields,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.events import MOST_WAITING
from cascade.runtime import Engine, LocalConnector, TelemetrySubscriber
from cascade.runtime import EventBus as Bus
from cascade.runtime._control.active_run import ActiveRun
from cascade.runtime._control.run_table import RunTable
from cascade.runtime._scheduler.events import EventEmitter
from cascade.runtime._support.run_facts import RunFacts
from cascade.runtime._support.run_identity import RunIdentity
from cascade.runtime._support.task_fields import subscribe_bursts
from cascade.runtime.bus import AT_ONCE
from cascade.runtime.telemetry.subscriber import DurableEventQueue
from cascade.spec import task
from cascade.testkit import eventually

RUN = "r" * 32
LIMIT = 60.0


def fields_of(number: int, state: TaskState = TaskState.RUNNING) -> TaskFields:
    return TaskStateEvent(RUN, f"t:{number}", "t", state, 1.0, 2.0, token="0" * 8).fields()


def made(count: int, first: int = 0) -> list[TaskFields]:
    return [fields_of(number) for number in range(first, first + count)]


class Heard:
    """Keeps what a handler of bursts gets."""

    def __init__(self, bus: Bus) -> None:
        self.calls: list[Sequence[TaskFields]] = []
        self.stop = bus.subscribe_bursts(self.hear)

    def hear(self, events: Sequence[TaskFields]) -> None:
        self.calls.append(events)

    @property
    def events(self) -> list[TaskFields]:
        return [each for call in self.calls for each in call]


def bound_bus() -> Bus:
    bus = Bus()
    bus.bind(asyncio.get_running_loop())
    return bus


def publish(bus: Bus, events: Sequence[TaskFields]) -> None:
    """Publish as a run does for tasks that begin or complete."""
    for fields in events:
        if bus.waiting is None or len(bus.waiting) >= MOST_WAITING:
            bus.publish_soon(fields)
        else:
            bus.waiting.append(fields)


async def in_burst(bus: Bus, count: int = AT_ONCE) -> list[TaskFields]:
    """Publish so many events that the next one waits."""
    events = made(count)
    publish(bus, events)
    assert bus.waiting == []
    return events


async def test_a_bus_that_two_loops_use_at_once_loses_nothing() -> None:
    """Also an event that one thread adds at the moment in which another one binds the bus; then each comes alone."""
    bus = bound_bus()
    heard, waits = Heard(bus), threading.Event()
    first = await in_burst(bus)
    asked, late = bus.waiting, made(3, first=100)
    assert asked is not None

    async def elsewhere() -> list[TaskFields]:
        bus.bind(asyncio.get_running_loop())
        asked.append(late[0])  # as the first thread does if it stood still until now
        waits.set()
        await eventually(lambda: late[-1] in heard.events)
        own = made(AT_ONCE + 5, first=200)
        publish(bus, own)
        return own

    other = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
    await asyncio.to_thread(waits.wait, LIMIT)
    publish(bus, late[1:])
    own = await other
    await eventually(lambda: len(heard.events) == len(first) + len(late) + len(own))
    assert heard.events[: len(first) + 1] == [*first, late[0]]
    assert [each for each in heard.events if each in late] == late
    assert bus.waiting is None


async def test_the_first_events_of_an_iteration_come_at_once_and_further_ones_together() -> None:
    """A slow run has few events in an iteration: its observers get each one when it happens."""
    bus = bound_bus()
    heard, other = Heard(bus), Heard(bus)
    events = made(AT_ONCE + 40)
    publish(bus, events)
    assert heard.calls == [(each,) for each in events[:AT_ONCE]]
    await asyncio.sleep(0)
    assert heard.calls[AT_ONCE:] == [events[AT_ONCE:]]
    assert other.calls == heard.calls
    for _ in range(2):  # the burst is over after an iteration without an event
        await asyncio.sleep(0)
    publish(bus, made(1, first=1_000))
    assert heard.events[-1] == fields_of(1_000)
    assert len(heard.calls) == AT_ONCE + 2


async def test_a_burst_goes_on_in_the_next_iterations() -> None:
    """All its events come, each in the iteration behind its own, in order."""
    bus = bound_bus()
    heard, events = Heard(bus), list[TaskFields]()
    for number in range(5):
        some = made(100, first=100 * number)
        publish(bus, some)
        events += some
        await asyncio.sleep(0)
        assert heard.events == events
    assert len(heard.calls) == AT_ONCE + 5


async def test_few_events_wait() -> None:
    """However many one iteration makes: memory does not grow with it."""
    bus = bound_bus()
    heard, events = Heard(bus), made(10 * MOST_WAITING)
    publish(bus, events)
    assert len(bus.waiting or []) <= MOST_WAITING
    assert len(heard.events) >= len(events) - MOST_WAITING
    await asyncio.sleep(0)
    assert heard.events == events


def ended_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


OTHERS: list[Callable[[Bus], object]] = [
    lambda bus: bus.publish(LifecycleEvent(RUN, Lifecycle.ENGINE_STOPPED, 2.0)),
    lambda bus: bus.publish(DataEvent(RUN, "t:0", "t", 2.0, "x", 1)),
    lambda bus: bus.publish(TaskStateEvent.of(fields_of(500))),
    lambda bus: bus.publish_fields(fields_of(500)),
    lambda bus: bus.publish_waiting(),
    lambda bus: bus.subscribe(LifecycleEvent, print),
    lambda bus: bus.subscribe_fields(print),
    lambda bus: bus.subscribe_bursts(print),
    lambda bus: bus.bind(ended_loop()),
]


@pytest.mark.parametrize("number", range(len(OTHERS)))
async def test_what_else_happens_on_the_bus_comes_behind_the_events_that_wait(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new handler gets none from before; an ended one gets all of them."""
    bus = bound_bus()
    heard, ends = Heard(bus), Heard(bus)
    order: list[object] = []
    for kind in (LifecycleEvent, DataEvent):
        bus.subscribe(kind, lambda event: order.append(len(heard.events)))
    events = await in_burst(bus)
    publish(bus, some := made(10, first=100))
    OTHERS[number](bus)
    assert heard.events[: AT_ONCE + 10] == events + some
    assert order in ([], [AT_ONCE + 10])
    assert capsys.readouterr().out == ""
    publish(bus, last := made(50, first=200))
    ends.stop()
    assert ends.events[-50:] == last
    publish(bus, made(50, first=300))
    await asyncio.sleep(0)
    assert ends.events[-50:] == last
    assert heard.events[-50:] == made(50, first=300)


@pytest.mark.parametrize("kind", ["fields", "events", "any object"])
async def test_other_handlers_get_each_event_at_once(kind: str) -> None:
    """A user's handler sees a task begin when it begins, however many do."""
    bus, each = bound_bus(), list[object]()
    burst = Heard(bus)
    stop = {
        "fields": lambda: bus.subscribe_fields(each.append),
        "events": lambda: bus.subscribe(TaskStateEvent, each.append),
        "any object": lambda: bus.subscribe(object, each.append),
    }[kind]()
    publish(bus, made(100))
    assert len(each) == 100
    assert burst.events == made(100)
    stop()
    publish(bus, made(100))
    assert len(each) == 100
    await asyncio.sleep(0)
    assert burst.events == made(100) * 2


async def test_a_handler_that_fails_affects_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """One line tells of a series of failures, and names the kind of the event."""
    bus = bound_bus()

    def faulty(events: Sequence[TaskFields]) -> None:
        raise RuntimeError("observer")

    bus.subscribe_bursts(faulty)
    heard = Heard(bus)
    publish(bus, made(100))
    await asyncio.sleep(0)
    assert heard.events == made(100)
    (line,) = caplog.records
    assert "failed on TaskStateEvent" in line.message


def test_without_a_loop_that_runs_no_event_waits() -> None:
    """No iteration would come."""
    bus = Bus()
    heard = Heard(bus)
    publish(bus, made(100))
    assert heard.events == made(100)
    loop = asyncio.new_event_loop()
    bus.bind(loop)
    publish(bus, made(100))
    assert heard.events == made(100) * 2
    loop.close()


def test_what_waits_for_a_loop_that_has_ended_comes_with_the_next_one() -> None:
    """And the next loop has bursts of its own."""
    bus = Bus()
    heard = Heard(bus)

    def burst() -> None:
        bus.bind(asyncio.get_running_loop())
        publish(bus, made(100))

    loop = asyncio.new_event_loop()
    loop.call_soon(burst)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert heard.events == made(AT_ONCE)

    async def go_on() -> None:
        burst()
        assert heard.events == made(100) + made(AT_ONCE)
        await asyncio.sleep(0)

    asyncio.run(go_on())
    assert heard.events == made(100) * 2


async def test_events_from_a_thread_come_behind_those_that_wait() -> None:
    """And their handlers run in the loop's thread."""
    bus = bound_bus()
    heard = Heard(bus)
    threads: set[int] = set()
    bus.subscribe_bursts(lambda events: threads.add(threading.get_ident()))
    publish(bus, made(50))
    thread = threading.Thread(target=lambda: bus.publish_fields(fields_of(50)))
    thread.start()
    thread.join()
    await eventually(lambda: len(heard.events) == 51)
    assert heard.events == made(51)
    assert threads == {threading.get_ident()}


class Noting(Bus):
    """A bus of the user's own that sees every event."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def publish(self, event: object) -> None:
        self.seen.append(event)
        super().publish(event)


async def test_a_bus_that_sees_every_event_sees_it_at_once() -> None:
    """Its author expects publish() to be called for each."""
    bus = Noting()
    bus.bind(asyncio.get_running_loop())
    heard = Heard(bus)
    publish(bus, made(100))
    assert bus.seen == [TaskStateEvent.of(each) for each in made(100)]
    assert heard.events == made(100)


class Plain:
    """A bus of the user's own, with the methods of the protocol only."""

    def __init__(self) -> None:
        self.inner = Bus()
        self.bind, self.handlers = self.inner.bind, self.inner.handlers
        self.subscribe, self.wants, self.publish = self.inner.subscribe, self.inner.wants, self.inner.publish


def test_a_handler_of_bursts_works_with_every_bus() -> None:
    """It gets each event alone."""
    bus, heard = Plain(), list[Sequence[TaskFields]]()
    stop = subscribe_bursts(cast(EventBus, bus), heard.append)
    bus.publish(TaskStateEvent.of(fields_of(0)))
    stop()
    bus.publish(TaskStateEvent.of(fields_of(1)))
    assert heard == [(fields_of(0),)]


async def test_what_reports_read_has_every_event_so_far() -> None:
    """Though the reports have not got all of them yet."""
    bus, table, facts = bound_bus(), RunTable(), RunFacts()
    EventEmitter(RunIdentity(RUN, "", {}), bus, _Clock(), facts=facts)
    run = ActiveRun(RUN, "t", 0.0, facts=facts)
    table.begin(run)
    bus.subscribe_bursts(table.count_all)
    publish(bus, [fields_of(n, s) for n in range(100) for s in (TaskState.RUNNING, TaskState.COMPLETED)])
    assert bus.waiting
    assert run.counts() == {"COMPLETED": 100}
    publish(bus, made(100))
    assert [len(each.running) for each in table.active()] == [100]
    publish(bus, made(100, first=100))
    assert len(cast(ActiveRun, table.get(RUN)).running) == 200


class _Clock:
    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0


class _Queue:
    """A queue that keeps messages on disk, but for the disk."""

    dropped = 0
    takes_text = True

    def __init__(self) -> None:
        self.texts: list[str] = []

    def publish(self, topic: str, payload: Any, qos: int = 0) -> None:
        raise AssertionError("it takes text")

    def publish_text(self, topic: str, text: str, qos: int = 0, *, on_safe: Any = None) -> None:
        self.texts.append(text)

    async def drain(self, timeout: float) -> None: ...


async def test_a_queue_on_disk_gets_each_event_at_once() -> None:
    """It keeps what a killed process has made."""
    bus, queue = bound_bus(), _Queue()
    subscriber = TelemetrySubscriber(bus, LocalConnector(), queue=cast(DurableEventQueue, queue))
    publish(bus, made(100))
    assert len(queue.texts) == 100
    subscriber.close()


class Texts(LocalConnector):
    """Takes JSON that telemetry has encoded, as the connectors of a network do."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def publish_text_nowait(self, topic: str, text: str, qos: int = 0, *, retain: bool = False) -> None:
        self.texts.append(text)

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        if topic.startswith("cascade/telemetry/"):
            self.texts.append(json.dumps(payload))


@task
async def quick(x: int) -> int:
    return x


@task
async def failing(x: int) -> int:
    raise ValueError(x)


@pytest.mark.parametrize("plain_handler", [False, True])
async def test_the_messages_of_a_run_are_the_same_with_and_without_bursts(
    plain_handler: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Each task begins before it ends, with numbers without a gap, whatever else happens in between."""
    caplog.set_level(logging.CRITICAL)
    bus, connector = Bus(), Texts()
    if plain_handler:  # every event at once
        bus.subscribe(TaskStateEvent, lambda event: None)
    targets = [quick(n) for n in range(300)] + [failing(n) for n in range(3)]
    engine = Engine(bus=bus, connector=connector)
    with pytest.raises(ExceptionGroup):
        await engine.run(targets, on_failure="continue")
    messages = [json.loads(text) for text in connector.texts]
    bodies = [each["body"] for each in messages]
    assert [each["seq"] for each in messages] == list(range(len(messages)))
    assert [bodies[0]["event"], bodies[-1]["event"]] == ["ENGINE_STARTED", "ENGINE_STOPPED"]
    states: dict[str, list[str]] = {}
    for body in bodies[1:-1]:
        states.setdefault(body["task_id"], []).append(body["state"])
    ends = {"quick": "COMPLETED", "failing": "FAILED"}
    assert states == {
        f"{name}:{n}": ["RUNNING", end]
        for name, end in ends.items()
        for n in range(300 if name == "quick" else 3)
    }
