"""Events of a burst are encoded behind the tasks that made them: in order, all of them, and at little cost."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cascade.interfaces import (
    Event,
    Lifecycle,
    LifecycleEvent,
    RunStatus,
    TaskFields,
    TaskState,
    TaskStateEvent,
)
from cascade.runtime import EventBus, TelemetrySubscriber
from cascade.runtime.telemetry import _backlog
from cascade.runtime.telemetry._backlog import AT_ONCE, Backlog
from cascade.testkit import eventually

RUN = "r" * 32


def event(number: int, **fields: Any) -> TaskStateEvent:
    return TaskStateEvent(RUN, f"t:{number}", "t", TaskState.COMPLETED, 1.0, 2.0, token="0" * 8, **fields)


def events(count: int) -> list[Event]:
    return [event(number) for number in range(count)]


class Encoder:
    """Takes what a backlog encodes."""

    def __init__(self) -> None:
        self.taken: list[Event] = []
        self.refused: set[str] = set()
        self.backlog = Backlog(self.encode)

    def encode(self, waited: Event | TaskFields) -> None:
        each = TaskStateEvent.of(cast(TaskFields, waited)) if type(waited) is tuple else cast(Event, waited)
        if isinstance(each, TaskStateEvent) and each.task_id in self.refused:
            raise ValueError(each.task_id)
        self.taken.append(each)

    def add(self, *added: Event) -> None:
        for each in added:
            self.backlog.add(each.fields() if isinstance(each, TaskStateEvent) else each)


class TextConnector:
    """Keeps what telemetry publishes."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []

    async def connect(self) -> None: ...
    async def disconnect(self) -> None: ...
    async def subscribe(self, topic: str, callback: Any, qos: int = 0) -> Any: ...
    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None: ...

    def publish_nowait(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        self.published.append((topic, payload))

    def publish_text_nowait(self, topic: str, text: str, qos: int = 0, *, retain: bool = False) -> None:
        self.published.append((topic, text))


async def test_a_few_events_are_encoded_at_once_and_a_burst_behind_it() -> None:
    """In the iteration itself a burst costs the encoding of its first events only; then all of them come."""
    encoder, made = Encoder(), events(500)
    encoder.add(*made)
    assert encoder.taken == made[:AT_ONCE]
    assert len(encoder.backlog) == 500 - AT_ONCE
    await eventually(lambda: len(encoder.taken) == 500)
    assert encoder.taken == made
    await asyncio.sleep(0)
    encoder.add(event(1_000))
    assert encoder.taken[-1] == event(1_000)


async def test_events_of_any_kind_keep_their_order() -> None:
    """An event that comes later waits, too, though it would have been encoded at once alone."""
    encoder, made = Encoder(), events(50)
    made += [
        LifecycleEvent(RUN, Lifecycle.ENGINE_STOPPED, 2.0, RunStatus.SUCCEEDED),
        event(51, item=3, reason="x"),
    ]
    encoder.add(*made)
    await encoder.backlog.drain(5.0)
    assert encoder.taken == made
    assert [type(each) for each in encoder.taken] == [type(each) for each in made]
    assert isinstance(encoder.taken[-1], TaskStateEvent)
    assert encoder.taken[-1].state is TaskState.COMPLETED


async def test_an_event_of_a_later_iteration_waits_behind_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is the first one of its iteration, which is encoded at once else."""
    monkeypatch.setattr(_backlog, "LEAST", 0.0)
    monkeypatch.setattr(_backlog, "SHARE", 0.0)
    encoder, made = Encoder(), events(100)
    encoder.add(*made[:99])
    for _ in range(3):
        await asyncio.sleep(0)
    encoder.add(made[99])
    assert encoder.taken == made[:AT_ONCE]
    encoder.backlog.run_all()
    assert encoder.taken == made


async def test_busy_iterations_save_their_share_until_it_is_worth_a_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An iteration with little else to do encodes at once; one full of tasks only adds to what is owed."""
    now = 0.0

    async def iteration(seconds: float) -> int:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)
        return len(encoder.taken)

    def encode(waited: Event | TaskFields) -> None:
        nonlocal now
        encoder.encode(waited)
        now += cost

    encoder, cost = Encoder(), 0.0
    encoder.backlog = Backlog(encode)
    monkeypatch.setattr(_backlog, "time", SimpleNamespace(monotonic=lambda: now, thread_time=lambda: now))
    monkeypatch.setattr(_backlog, "SHARE", 0.25)
    monkeypatch.setattr(_backlog, "LEAST", 1.0)
    monkeypatch.setattr(_backlog, "LOOP_BUDGET", 8.0)
    encoder.add(*events(200))
    cost = 1.0  # one chunk takes longer than a slice may
    taken = [await iteration(seconds) for seconds in (2.0, 2.0, 2.0, 2.0, 0.5)]
    chunk = _backlog._CHUNK
    assert taken == [AT_ONCE, AT_ONCE + chunk, AT_ONCE + chunk, AT_ONCE + 2 * chunk, AT_ONCE + 3 * chunk]
    encoder.backlog.run_all()


async def test_an_iteration_that_waits_for_the_processor_owes_no_encoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other programs use it then: the tasks of this one have not had their part."""
    worked = waited = 0.0

    async def iteration(seconds: float, away: float) -> int:
        nonlocal worked, waited
        worked, waited = worked + seconds, waited + away
        await asyncio.sleep(0)
        return len(encoder.taken)

    encoder = Encoder()
    clocks = SimpleNamespace(monotonic=lambda: worked + waited, thread_time=lambda: worked)
    monkeypatch.setattr(_backlog, "time", clocks)
    monkeypatch.setattr(_backlog, "SHARE", 0.25)
    monkeypatch.setattr(_backlog, "LEAST", 1.0)
    encoder.add(*events(200))
    assert [await iteration(1.5, 100.0) for _ in range(2)] == [AT_ONCE, AT_ONCE]
    assert await iteration(1.5, 0.0) > AT_ONCE
    encoder.backlog.run_all()


async def test_events_that_wait_give_the_garbage_collector_no_work() -> None:
    """Thousands wait in a burst; it would walk through all of them, again and again."""
    encoder = Encoder()
    encoder.add(*events(1_000))
    gc.collect()
    columns = [each for each in gc.get_referents(encoder.backlog) if isinstance(each, deque)]
    waiting = [each for column in columns for each in gc.get_referents(column) if type(each) is tuple]
    assert len(waiting) == 1_000 - AT_ONCE
    assert not [each for each in waiting if gc.is_tracked(each)]


async def test_when_too_many_wait_the_oldest_are_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the memory of a burst is bounded, and nothing is lost."""
    monkeypatch.setattr(_backlog, "CAPACITY", 100)
    encoder, made = Encoder(), events(1_000)
    encoder.add(*made)
    assert len(encoder.backlog) <= 100
    assert encoder.taken == made[: len(encoder.taken)]
    encoder.backlog.run_all()
    assert encoder.taken == made


async def test_a_drain_leaves_time_in_each_iteration_to_what_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connector sends and reads answers in the same iterations: together they must not keep the loop for long."""
    now = 0.0

    def encode(waited: Event | TaskFields) -> None:
        nonlocal now
        encoder.encode(waited)
        now += _backlog.DRAINED / 40

    async def other() -> None:
        while True:
            counts.append(len(encoder.taken))
            await asyncio.sleep(0)

    encoder, counts, made = Encoder(), list[int](), events(2_000)
    encoder.backlog = Backlog(encode)
    monkeypatch.setattr(_backlog, "time", SimpleNamespace(monotonic=lambda: now, thread_time=lambda: now))
    monkeypatch.setattr(_backlog, "LEAST", 0.0)
    encoder.add(*made)
    beside = asyncio.create_task(other())
    await encoder.backlog.drain(5.0)
    beside.cancel()
    assert encoder.taken == made
    assert max(after - before for before, after in pairwise(counts)) <= 40 + 2 * _backlog._CHUNK


async def test_a_drain_without_time_encodes_everything() -> None:
    """Its time limit is for the connector: an event that is made already costs microseconds."""
    encoder, made = Encoder(), events(1_000)
    encoder.add(*made)
    await encoder.backlog.drain(0.0)
    assert encoder.taken == made


async def test_an_event_that_cannot_be_encoded_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line until one has worked again."""
    encoder, made = Encoder(), events(100)
    encoder.refused = {"t:40", "t:41", "t:60"}
    encoder.add(*made)
    encoder.backlog.run_all()
    assert encoder.taken == [each for each in made if each.task_id not in encoder.refused]  # type: ignore[union-attr]
    assert [line.message.split(";")[0] for line in caplog.records] == ["an event is not sent"] * 2


def test_without_a_running_loop_every_event_is_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No iteration will come; what waits of a loop that is over goes first."""
    monkeypatch.setattr(_backlog, "LEAST", 0.0)
    monkeypatch.setattr(_backlog, "SHARE", 0.0)
    encoder, made = Encoder(), events(200)

    async def burst() -> None:
        encoder.add(*made[:100])

    encoder.add(*made[100:150])
    assert encoder.taken == made[100:150]
    encoder.taken.clear()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(burst())
    loop.close()
    assert encoder.taken == made[:AT_ONCE]
    encoder.add(*made[100:])
    assert encoder.taken == made
    asyncio.run(burst())
    encoder.backlog.run_all()
    assert encoder.taken == made + made[:100]


async def test_the_messages_of_a_burst_are_those_of_single_events() -> None:
    """The same text, in order, and the number of each message goes on; nothing stays behind at close()."""
    sent = []
    for pause in (True, False):
        bus, connector = EventBus(), TextConnector()
        subscriber = TelemetrySubscriber(bus, connector)
        bus.publish(LifecycleEvent(RUN, Lifecycle.ENGINE_STARTED, 0.5, token="0" * 8))
        for number in range(60):
            bus.publish(event(number, error="password=hunter2" if number == 40 else ""))
            if pause:
                await asyncio.sleep(0)
        bus.publish(LifecycleEvent(RUN, Lifecycle.ENGINE_STOPPED, 2.0, RunStatus.SUCCEEDED, token="0" * 8))
        assert subscriber.produced == 62
        subscriber.close()
        sent.append(connector.published)
    assert sent[0] == sent[1]
    assert len(sent[0]) == 62
    assert "hunter2" not in str(sent)


def fields_of(made: list[Event]) -> list[Event | TaskFields]:
    return [each.fields() if isinstance(each, TaskStateEvent) else each for each in made]


async def test_events_that_come_together_wait_where_single_ones_would() -> None:
    """A few are encoded at once, a burst behind it, and those that come behind a burst wait, in order."""
    encoder, made = Encoder(), events(600)
    encoder.backlog.extend(fields_of(made[:200]))
    assert encoder.taken == made[:AT_ONCE]
    encoder.backlog.extend(fields_of(made[200:201]))
    encoder.backlog.extend(fields_of(made[201:400]))
    encoder.backlog.extend([])
    assert (encoder.taken, len(encoder.backlog)) == (made[:AT_ONCE], 400 - AT_ONCE)
    await eventually(lambda: len(encoder.taken) == 400)
    encoder.backlog.extend(fields_of(made[400:]))
    await eventually(lambda: len(encoder.taken) == 600)
    assert encoder.taken == made


async def test_when_too_many_come_together_the_oldest_are_encoded_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory has a bound, and no event is lost for it."""
    monkeypatch.setattr(_backlog, "CAPACITY", 100)
    encoder, made = Encoder(), events(500)
    encoder.backlog.extend(fields_of(made[:90]))
    assert (encoder.taken, len(encoder.backlog)) == (made[:AT_ONCE], 90 - AT_ONCE)
    encoder.backlog.extend(fields_of(made[90 : 100 + AT_ONCE]))
    assert (encoder.taken, len(encoder.backlog)) == (made[:AT_ONCE], 100)
    encoder.backlog.extend(fields_of(made[100 + AT_ONCE :]))
    assert (encoder.taken, len(encoder.backlog)) == (made[:400], 100)
    encoder.backlog.run_all()
    assert encoder.taken == made


def test_events_that_come_together_wait_for_no_loop_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits goes first, and then all of them; the next loop has its own burst."""
    monkeypatch.setattr(_backlog, "LEAST", 0.0)
    monkeypatch.setattr(_backlog, "SHARE", 0.0)
    encoder, made = Encoder(), events(300)

    async def burst() -> None:
        encoder.backlog.extend(fields_of(made[:100]))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(burst())
    loop.close()
    assert encoder.taken == made[:AT_ONCE]
    encoder.backlog.extend(fields_of(made[100:200]))
    assert encoder.taken == made[:200]

    async def another() -> None:
        encoder.backlog.extend(fields_of(made[200:]))
        assert encoder.taken == made[: 200 + AT_ONCE]
        await encoder.backlog.drain(60.0)

    asyncio.run(another())
    assert encoder.taken == made


async def test_another_loop_takes_over_what_waits_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a program that runs one loop in a thread after the other: the events of both come in order."""
    monkeypatch.setattr(_backlog, "LEAST", 0.0)
    monkeypatch.setattr(_backlog, "SHARE", 0.0)
    encoder, made = Encoder(), events(200)

    async def burst(some: list[Event]) -> None:
        encoder.backlog.extend(fields_of(some))

    first = asyncio.new_event_loop()
    await asyncio.to_thread(first.run_until_complete, burst(made[:100]))
    assert len(encoder.backlog) == 100 - AT_ONCE
    monkeypatch.undo()
    encoder.backlog.extend(fields_of(made[100:]))
    await eventually(lambda: len(encoder.taken) == 200)
    assert encoder.taken == made
    first.close()
