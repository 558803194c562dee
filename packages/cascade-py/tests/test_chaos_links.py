"""Runs whose broker or network fails: rows 1, 2, 5, 6, 7, 9 and 10, none of which affects a run."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import pytest_asyncio
from long_limits import PATIENT

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, eventually, no_leaks
from cascade.testkit.chaos import ChaosProxy, Direction
from cascade.testkit.waiting import time_limit
from testing_tools.recorder import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("patient")]

EVENTS = "cascade/telemetry/+/+/+/events"
BOUND = 20.0


@cs.task
async def work(gate: int, number: int) -> int:
    await asyncio.sleep(0)
    return number


class Gated:
    """A run of two halves: the second one waits until the test opens the gate, the end for another."""

    def __init__(self, connector: MqttConnector, *, tasks: int = 200) -> None:
        self.connector = connector
        self.tasks = tasks
        self.half_way = asyncio.Event()
        self.gate = asyncio.Event()
        self.end = asyncio.Event()
        self.end.set()
        self.bus = cs.EventBus()
        self.telemetry = cs.TelemetrySubscriber(self.bus, connector)

    def begin(self) -> asyncio.Task[int]:
        """Start the run, which belongs to the test."""

        @cs.task
        async def opened(values: Sequence[int]) -> int:
            self.half_way.set()
            await self.gate.wait()
            return 0

        @cs.task
        async def total(values: Sequence[int]) -> int:
            await self.end.wait()
            return sum(values)

        first = [work(0, number) for number in range(self.tasks)]
        half = opened(first)
        second = [work(half, number) for number in range(self.tasks)]
        return asyncio.create_task(
            cs.Engine(connector=self.connector, bus=self.bus).run(total([*first, *second]))
        )

    @property
    def value(self) -> int:
        """What the run gives."""
        return 2 * sum(range(self.tasks))

    def balanced(self) -> bool:
        """Whether every message is accounted for, and none waits."""
        counts = self.connector.statistics()
        return counts.accepted == counts.sent + sum(counts.dropped.values()) > 4 * self.tasks


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what Cascade logged as a warning or worse."""
    found = [each for each in caplog.records if each.levelno >= logging.WARNING]
    return [each.getMessage() for each in found if each.name.startswith(("cascade", "asyncio"))]


async def whole(recorder: Recorder, run: Gated) -> list[str]:
    """Wait until every event has arrived, see that first copies are in order; return all their ids."""
    await eventually(lambda: len(recorder.first_copies()) == run.telemetry.produced, BOUND)
    assert [m["seq"] for m in recorder.first_copies()] == list(range(run.telemetry.produced))
    return [m.json()["event_id"] for m in recorder.messages]


@pytest.fixture
def recorder(fresh_broker: Broker) -> Iterator[Recorder]:
    with Recorder(fresh_broker.host, fresh_broker.port, EVENTS) as started:
        yield started


@pytest_asyncio.fixture
async def proxy(fresh_broker: Broker) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy(fresh_broker.port) as made:
        yield made


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a connector give up soon on a link that carries nothing, when it is to leave."""
    monkeypatch.setattr("cascade.transport.waiting.NO_PROGRESS", 0.2)
    monkeypatch.setattr("cascade.transport.link.LEAVE_TIMEOUT", 0.2)


async def test_row_1_a_broker_that_comes_during_the_run_hears_all_of_it(
    proxy: ChaosProxy, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused at the start, the run goes on at once; ENGINE_STARTED and all the rest arrive later."""
    await proxy.down()
    run = Gated(MqttConnector(proxy.host, proxy.port, **PATIENT))
    running = run.begin()
    await eventually(run.half_way.is_set, BOUND)
    assert not run.connector.statistics().linked
    await proxy.up()
    await eventually(lambda: run.connector.statistics().linked, BOUND)
    run.gate.set()
    assert await running == run.value
    await whole(recorder, run)
    assert dict(run.connector.statistics().dropped).keys() <= {"superseded"}
    (line,) = warnings_of(caplog)
    assert f"127.0.0.1:{proxy.port}" in line


async def test_row_2_a_run_that_waits_for_a_silent_broker_can_be_cancelled(proxy: ChaosProxy) -> None:
    """Cancelled while it connects, a run ends at once and leaves no task, thread or socket."""
    proxy.stall()
    run = Gated(MqttConnector(proxy.host, proxy.port, **PATIENT))
    async with time_limit(BOUND), no_leaks(BOUND):
        running = run.begin()
        await eventually(lambda: proxy.accepted, BOUND)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        await proxy.cut()


@pytest.mark.parametrize("how", ["terminate", "kill"])
async def test_row_5_a_broker_that_restarts_during_the_run_misses_nothing(
    how: str, fresh_broker: Broker, proxy: ChaosProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """What happened while it was away arrives in order when it is back, and one line reported the outage."""
    run = Gated(MqttConnector(proxy.host, proxy.port, **PATIENT))
    running = run.begin()
    await eventually(run.half_way.is_set, BOUND)
    await eventually(lambda: run.connector.statistics().linked, BOUND)
    before = (
        2 * run.tasks + 2
    )  # its start, both events of each task, and the first one of the task that waits
    await eventually(lambda: run.telemetry.produced == before, BOUND)
    await run.telemetry.drain(BOUND)  # events of a burst are encoded after it
    assert await run.connector.flush(BOUND)
    await asyncio.to_thread(getattr(fresh_broker, how))
    await eventually(lambda: not run.connector.statistics().linked, BOUND)
    fresh_broker.restart()
    with Recorder(fresh_broker.host, fresh_broker.port, EVENTS) as recorder:
        await eventually(lambda: run.connector.statistics().linked, BOUND)
        run.gate.set()
        assert await running == run.value
        await eventually(lambda: len(recorder.first_copies()) == run.telemetry.produced - before, BOUND)
        seqs = [m["seq"] for m in recorder.first_copies()]
        assert seqs == list(range(before, run.telemetry.produced))
    assert run.connector.statistics().connections == 2
    assert len(warnings_of(caplog)) == 1


def shorten_keepalive(connector: MqttConnector) -> None:
    """Set the keepalive time of the link to a second, but only in its client.

    The broker knows the long one, and the next link has it: a process that stands still loses no link.
    """
    connector._client._client._keepalive = 1


@pytest.mark.full
async def test_row_6_a_half_open_link_is_replaced_during_the_run(
    proxy: ChaosProxy, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A link that no longer carries anything is given up after two keepalive times; nothing is lost."""
    run = Gated(MqttConnector(proxy.host, proxy.port, **PATIENT))
    running = run.begin()
    await eventually(run.half_way.is_set, BOUND)
    await eventually(lambda: run.connector.statistics().linked, BOUND)
    proxy.stall()
    shorten_keepalive(run.connector)
    await eventually(lambda: not run.connector.statistics().linked, BOUND)
    await proxy.cut()
    proxy.resume()
    await eventually(lambda: run.connector.statistics().linked, BOUND)
    run.gate.set()
    assert await running == run.value
    await whole(recorder, run)
    assert run.connector.statistics().connections == 2
    assert len(warnings_of(caplog)) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("keywords", [{"window": 20}, {}], ids=["window of 20", "default window"])
async def test_row_7_a_broker_that_does_not_read_is_not_felt(
    keywords: dict[str, int], fresh_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """The outbox stays within its bounds, what is dropped is counted and logged once, the run ends."""
    connector = MqttConnector(
        fresh_broker.host, fresh_broker.port, outbox_messages=100, **PATIENT, **keywords
    )
    run = Gated(connector, tasks=2_000)
    most = window = 0

    async with time_limit(BOUND), no_leaks():
        running = run.begin()
        await eventually(run.half_way.is_set, BOUND)
        fresh_broker.freeze()
        run.gate.set()
        # Events may be encoded after the tasks: the outbox fills while the run ends.
        while not running.done():
            counts = connector.statistics()
            most, window = max(most, counts.pending), max(window, counts.window_limit)
            await asyncio.sleep(0.001)
        assert await running == run.value
    fresh_broker.thaw()
    counts = run.connector.statistics()
    assert counts.dropped["outbox full"] > 1_000
    assert window == keywords.get("window", 400)
    assert 100 <= most <= 100 + window + 10  # what waits, what is in flight, and the lane
    assert run.balanced()
    lines = Counter(line.split(" ", 1)[1].lstrip("0123456789") for line in warnings_of(caplog))
    assert max(lines.values()) == 1


@pytest.mark.usefixtures("impatient")
async def test_row_9_messages_that_a_stalled_link_did_not_take_are_reported_once(
    proxy: ChaosProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """The run gives up draining in time, keeps its result, and logs how many were lost."""
    run = Gated(MqttConnector(proxy.host, proxy.port, **PATIENT))
    async with time_limit(BOUND), no_leaks():
        running = run.begin()
        await eventually(run.half_way.is_set, BOUND)
        assert await run.connector.flush(BOUND)
        proxy.stall()
        run.gate.set()
        assert await running == run.value
        await proxy.cut()
    lost = run.connector.statistics().dropped["unsent at disconnect"]
    assert lost >= 2 * run.tasks
    assert run.balanced()
    (line,) = warnings_of(caplog)
    assert f"{lost} unsent at disconnect" in line


async def test_row_10_events_in_flight_are_sent_again_with_the_same_id(
    proxy: ChaosProxy, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker got them and could not acknowledge them: they come twice, with equal event_ids, and none is lost."""
    run = Gated(MqttConnector(proxy.host, proxy.port, **PATIENT))
    run.end.clear()
    running = run.begin()
    await eventually(run.half_way.is_set, BOUND)
    assert await run.connector.flush(BOUND)
    await eventually(lambda: len(recorder.first_copies()) == run.telemetry.produced, BOUND)
    before = len(recorder.messages)
    proxy.stall(Direction.DOWN)
    run.gate.set()
    await eventually(lambda: len(recorder.messages) >= before + 10, BOUND)
    await proxy.reset()
    proxy.resume()
    await eventually(lambda: run.connector.statistics().connections == 2, BOUND)
    run.end.set()
    assert await running == run.value
    ids = await whole(recorder, run)
    assert len(ids) > len(set(ids))
    assert run.connector.statistics().connections == 2
    assert len(warnings_of(caplog)) == 1
