"""Steering runs over real brokers: what an outside program writes is obeyed, whatever happens to the link."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import TaskState
from cascade.testing import Recorder as Events
from cascade.testkit import Broker, eventually, unique_topic
from cascade.testkit.chaos import ChaosProxy

pytestmark = pytest.mark.broker

EVENTS = "cascade/telemetry/+/+/+/events"
BOUND = 50.0


class Operator:
    """An outside program in plain paho: it writes retained messages and reads what one engine publishes."""

    def __init__(self, broker: Broker, source: str) -> None:
        self.source = source
        self.reports: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._written: set[str] = set()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(broker.host, broker.port)
        self._client.subscribe([(f"cascade/state/{source}/constraints", 1), (EVENTS, 1)])
        self._client.loop_start()
        assert self._subscribed.wait(BOUND)

    def _hear(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        if not message.payload:
            return
        message_body = json.loads(message.payload)
        if message_body["source"] == self.source:
            (self.reports if message.topic.startswith("cascade/state/") else self.events).append(message_body)

    def put(self, topic: str, **message: Any) -> None:
        """Write a register, and wait until the broker has it."""
        self._written.add(topic)
        self._client.publish(topic, json.dumps(message), qos=1, retain=True).wait_for_publish(BOUND)

    def clear(self, topic: str) -> None:
        """Clear a register, and wait until the broker has done so."""
        self._written.discard(topic)
        self._client.publish(topic, b"", qos=1, retain=True).wait_for_publish(BOUND)

    def status(self, topic: str) -> str:
        """Return the last report's entry of a register."""
        entry = self.reports[-1]["applied"].get(topic, {}) if self.reports else {}
        return str(entry.get("status", ""))

    def effective(self) -> list[dict[str, Any]]:
        """Return what the last report lists as in force; nothing if there was none."""
        return list(self.reports[-1]["effective"]) if self.reports else []

    def close(self) -> None:
        """Leave nothing retained behind."""
        for topic in [
            *self._written,
            f"cascade/state/{self.source}/constraints",
            f"cascade/state/{self.source}/runs",
        ]:
            self.clear(topic)
        self.clear(f"cascade/status/{self.source}")
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def source() -> str:
    return unique_topic().replace("/", "-")


@pytest.fixture
def operator(fresh_broker: Broker, source: str) -> Iterator[Operator]:
    outside = Operator(fresh_broker, source)
    yield outside
    outside.close()


class Steps:
    """Tasks that wait until they are released."""

    def __init__(self) -> None:
        self.started = self.running = self.most = 0
        self.gate = asyncio.Event()
        self.task = cs.task(name="step")(self._step)

    async def _step(self, x: int) -> int:
        self.started += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)  # so that those who start together are seen together
        finally:
            self.running -= 1
        return x


async def test_row_27_a_run_is_cancelled_by_a_register(fresh_broker: Broker, operator: Operator) -> None:
    """Tasks get CancelledError, resources are torn down in reverse order, ENGINE_STOPPED has the status Cancelled."""
    log: list[str] = []

    @cs.resource
    async def outer() -> Any:
        yield "outer"
        log.append("outer closed")

    @cs.resource
    async def inner(base: Any = cs.inject(outer)) -> Any:  # noqa: B008 - that is how it is declared
        yield base
        log.append("inner closed")

    @cs.task
    async def hang(value: Any = cs.inject(inner)) -> None:  # noqa: B008
        try:
            log.append("task runs")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("task cancelled")
            raise

    engine = cs.Engine(
        connector=MqttConnector(fresh_broker.host, fresh_broker.port, source_id=operator.source)
    )
    events = Events(engine.bus)
    run = asyncio.create_task(engine.run(hang()))
    await eventually(lambda: log)
    operator.put(f"cascade/constraints/run/{events.lifecycle[0].run_id}/@cancel", type="cancel")
    with pytest.raises(cs.RunCancelledError, match="@cancel"):
        await run
    assert log == ["task runs", "task cancelled", "inner closed", "outer closed"]
    assert [e.status and e.status.value for e in events.lifecycle] == [None, "Cancelled"]


async def test_row_27_a_run_is_cancelled_from_python(fresh_broker: Broker, operator: Operator) -> None:
    """The same if run() itself is cancelled, and the last event of the run reaches those who listen."""
    steps = Steps()
    engine = cs.Engine(
        connector=MqttConnector(fresh_broker.host, fresh_broker.port, source_id=operator.source)
    )
    events = Events(engine.bus)
    run = asyncio.create_task(engine.run(steps.task(1)))
    await eventually(lambda: steps.running)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert steps.running == 0
    assert [e.status and e.status.value for e in events.lifecycle] == [None, "Cancelled"]
    expected = len(events.lifecycle) + len(events.tasks)
    await eventually(lambda: len({each["event_id"] for each in operator.events[:]}) == expected)
    last = operator.events[-1]["body"]
    assert (last["event"], last["status"]) == ("ENGINE_STOPPED", "Cancelled")


@pytest.mark.full
async def test_row_18_a_pause_that_was_cleared_while_the_engine_was_away_is_gone(
    fresh_broker: Broker, operator: Operator
) -> None:
    """The engine is cut off, the pause is cleared, no message reports it: after the next sync the run goes on."""
    steps = Steps()
    steps.gate.set()
    topic = "cascade/constraints/task/step/@pause"
    async with ChaosProxy(fresh_broker.port) as proxy:
        operator.put(topic, type="pause")
        connector = MqttConnector(proxy.host, proxy.port, source_id=operator.source)
        engine = cs.Engine(
            connector=connector, require_control=True
        )  # the pause is known, however late it comes
        run = asyncio.create_task(engine.run(steps.task.map(x=list(range(100)))))
        await eventually(lambda: operator.status(topic) == "applied")
        await proxy.down()
        operator.clear(topic)
        assert steps.started == 0
        await proxy.up()
        assert await run == list(range(100))


async def test_i10_a_map_under_concurrency_1_runs_one_item_after_the_other(
    fresh_broker: Broker, operator: Operator
) -> None:
    """The map occupies no slot that its items need; raising the limit frees the waiting at once (I9), lowering it drains."""
    steps = Steps()
    topic = "cascade/constraints/global/@concurrency"
    operator.put(topic, type="concurrency", params={"limit": 1})
    connector = MqttConnector(fresh_broker.host, fresh_broker.port, source_id=operator.source)
    engine = cs.Engine(connector=connector, require_control=True)  # the limit is known, however late it comes
    run = asyncio.create_task(engine.run(steps.task.map(x=list(range(8)))))
    await eventually(lambda: steps.running == 1)
    operator.put(topic, type="concurrency", params={"limit": 5})
    await eventually(lambda: steps.running == 5)
    await eventually(lambda: operator.effective() == [limit_of(5)])
    operator.put(topic, type="concurrency", params={"limit": 1})
    await eventually(lambda: operator.effective() == [limit_of(1)])
    steps.most = 0
    steps.gate.set()
    assert await run == list(range(8))
    assert steps.started == 8
    assert steps.most == 1


def limit_of(number: int) -> dict[str, Any]:
    """Return the row of a report that contains this limit."""
    return {
        "scope": "global",
        "type": "concurrency",
        "params": {"limit": number},
        "topic": "cascade/constraints/global/@concurrency",
        "id": "concurrency-global",
        "expires_at": None,
    }


async def test_i8_a_report_claims_only_what_is_in_force(fresh_broker: Broker, operator: Operator) -> None:
    """A message that names another scope than its topic is rejected with the reason, and blocks nothing."""
    steps = Steps()
    foreign, real = "cascade/constraints/task/other/@pause", "cascade/constraints/task/step/@pause"
    operator.put(foreign, type="pause", scope="task:step")
    engine = cs.Engine(
        connector=MqttConnector(fresh_broker.host, fresh_broker.port, source_id=operator.source)
    )
    events = Events(engine.bus)
    first = asyncio.create_task(engine.run(steps.task(1)))
    await eventually(lambda: operator.status(foreign) == "rejected")
    assert "the payload names the scope 'task:step'" in operator.reports[-1]["applied"][foreign]["reason"]
    assert operator.effective() == []
    await eventually(lambda: steps.running == 1)
    operator.put(real, type="pause")
    await eventually(lambda: operator.status(real) == "applied")
    second = asyncio.create_task(engine.run(steps.task(2)))  # not before the engine has the pause
    steps.gate.set()
    assert await first == 1
    await eventually(lambda: events.count(TaskState.BLOCKED))
    assert steps.started == 1
    operator.clear(real)
    assert await second == 2


@pytest.mark.full
@pytest.mark.parametrize("kind", ["mosquitto", "nats_server"])
async def test_two_processes_of_one_name_say_so_in_both_reports(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Row 20: from the second take-over on; which of them obeys a pause is not known then."""
    either: Broker = request.getfixturevalue(kind)
    source = unique_topic().replace("/", "-")
    operator = Operator(either, source)
    twins = [MqttConnector(either.host, either.port, source_id=source, drain_timeout=1.0) for _ in range(2)]
    hold = asyncio.Event()

    @cs.task
    async def waits() -> None:
        await hold.wait()

    runs = [asyncio.create_task(cs.Engine(connector=twin).run(waits())) for twin in twins]
    try:
        await eventually(
            lambda: len({r["session"] for r in operator.reports if r.get("contested")}) == 2, BOUND
        )
    finally:
        hold.set()
        await asyncio.gather(*runs)
        operator.close()


async def test_a_process_takes_over_that_its_name_is_shared_whatever_the_clocks(
    fresh_broker: Broker, operator: Operator
) -> None:
    """The others may wait for half a minute before they connect again: until then nothing else shows them."""
    steps = Steps()
    left = {
        "v": "1",
        "source": operator.source,
        "session": "another",
        "presence": "another",
        "sync": "synced",
    }
    runs = {"ts": "1970-01-01T00:00:08+00:00", "contested": True, "runs": [], "recent": []}
    operator.put(f"cascade/status/{operator.source}", status="offline", session="another")
    operator.put(f"cascade/state/{operator.source}/runs", **left, **runs)
    connector = MqttConnector(fresh_broker.host, fresh_broker.port, source_id=operator.source)
    run = asyncio.create_task(cs.Engine(connector=connector).run(steps.task(1)))
    await eventually(lambda: any(report["sync"] == "synced" for report in operator.reports))
    steps.gate.set()
    await run
    assert all(report.get("contested") for report in operator.reports if report["sync"] == "synced")
