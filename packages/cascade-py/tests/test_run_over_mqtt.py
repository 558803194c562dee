"""Runs over real brokers: everything arrives, and nothing that a broker does is felt."""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, eventually
from cascade.testkit.waiting import busyness
from testing_tools.recorder import Recorder

pytestmark = pytest.mark.broker

TASKS = 10_000


@cs.task
async def noop(x: int) -> int:
    return x


@cs.task(mode="inline")
def total(values: list[int]) -> int:
    return sum(values)


@pytest.fixture(params=["mosquitto", "nats_server"])
def either(request: pytest.FixtureRequest) -> Broker:
    """One broker after the other."""
    broker: Broker = request.getfixturevalue(request.param)
    return broker


@pytest.mark.full
async def test_every_event_of_ten_thousand_tasks_arrives_in_order(
    either: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENGINE_STARTED first, ENGINE_STOPPED last, seq without a hole, two events for each task, none lost."""
    monkeypatch.setenv("CASCADE_ORG_ID", f"tests-{either.port}")
    connector = MqttConnector(
        hostname=either.host,
        port=either.port,
        drain_timeout=60 * busyness(),
        connect_timeout=30,
        required=True,
    )  # a busy machine is slow
    with Recorder(either.host, either.port, f"cascade/telemetry/tests-{either.port}/+/+/events") as recorder:
        result = await cs.Engine(connector=connector).run(total([noop(n) for n in range(TASKS)]))
        assert result == sum(range(TASKS))
        # Messages may come twice, so their number does not show that the last one is there.
        await eventually(lambda: any(b"ENGINE_STOPPED" in m.payload for m in recorder.messages[-400:]), 30)
    messages = recorder.first_copies()
    assert [m["seq"] for m in messages] == list(range(2 * TASKS + 4))
    bodies = [m["body"] for m in messages]
    assert (bodies[0]["event"], bodies[-1]["event"]) == ("ENGINE_STARTED", "ENGINE_STOPPED")
    assert bodies[-1]["status"] == "Succeeded"
    states: dict[str, list[str]] = {}
    for body in bodies[1:-1]:
        states.setdefault(body["task_id"], []).append(body["state"])
    assert set(map(tuple, states.values())) == {("RUNNING", "COMPLETED")}
    assert len(states) == TASKS + 1
    counts = connector.statistics()
    lost = {why: n for why, n in counts.dropped.items() if why != "superseded"}  # a report by its next one
    assert (counts.pending, lost) == (0, {})
    assert counts.accepted - counts.dropped.get("superseded", 0) == counts.sent
    assert counts.sent >= 2 * TASKS + 4  # events, and the reports of control
    assert not connector.connected


def test_the_ten_lines_of_the_readme_work_with_a_url(broker: Broker) -> None:
    """cs.run with a URL as the connector: the shortest way to be seen."""
    with Recorder(broker.host, broker.port, "cascade/telemetry/#") as recorder:
        assert cs.run(total([noop(n) for n in range(3)]), connector=broker.url) == 3
        asyncio.run(eventually(lambda: any(b"ENGINE_STOPPED" in m.payload for m in recorder.messages)))


def test_a_connector_that_an_ended_loop_had_connected_serves_a_run(broker: Broker) -> None:
    """``asyncio.run(connector.connect())``, then ``cs.run(..., connector=connector)``: the run connects it again."""
    connector = MqttConnector(broker.host, broker.port, required=True, connect_timeout=30, drain_timeout=30)
    asyncio.run(connector.connect())
    assert cs.run(total([noop(n) for n in range(3)]), connector=connector) == 3
    counts = connector.statistics()
    assert (counts.connections, counts.pending, connector.connected) == (2, 0, False)
    assert counts.sent >= 2 * 4 + 2


ENDS_BADLY = """
import asyncio
import cascade as cs
from cascade.connectors.mqtt import MqttConnector

@cs.task(mode="inline")
def fine(n):
    return n

@cs.task(mode="inline")
def bad(values):
    raise ValueError("bad")

async def main():
    connector = MqttConnector.from_url({url!r})
    await connector.connect()
    await cs.Engine(connector=connector).run(bad([fine(n) for n in range(40)]))

asyncio.run(main())
"""


def arrived(recorder: Recorder, count: int) -> bool:
    return len(recorder.first_copies()) == count


@pytest.mark.process
async def test_a_program_that_ends_with_the_exception_of_a_run_has_sent_all_its_events(
    broker: Broker,
) -> None:
    """On a connector that it has connected and never disconnects: the run returns when its messages are sent."""
    with Recorder(broker.host, broker.port, "cascade/telemetry/+/+/+/events") as recorder:
        for number in range(1, 4):
            program = [sys.executable, "-c", ENDS_BADLY.format(url=broker.url)]
            ended = await asyncio.to_thread(subprocess.run, program, capture_output=True, check=False)
            assert b"ValueError: bad" in ended.stderr
            await eventually(partial(arrived, recorder, number * 84))
    bodies = [message["body"] for message in recorder.first_copies()]
    assert [body["status"] for body in bodies if body.get("event") == "ENGINE_STOPPED"] == ["Failed"] * 3


class Slow(cs.LocalConnector):
    """A connector whose messages take a while, or that cannot flush."""

    error: Exception | None = None
    flushed: ClassVar[list[str]] = []

    async def flush(self, timeout: float | None = None) -> bool:
        """Yield before all is sent."""
        assert timeout is None
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.flushed.append("all is sent")
        return True


async def test_a_run_flushes_only_a_connector_that_it_did_not_connect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A failing flush is one warning; what the run has connected is disconnected instead."""
    connector = Slow()
    assert await cs.Engine(connector=connector).run(total([noop(1)])) == 1
    assert connector.flushed == []
    async with connector:
        assert await cs.Engine(connector=connector).run(total([noop(1)])) == 1
        assert connector.flushed == ["all is sent"]
        connector.error = OSError("no disk")
        assert await cs.Engine(connector=connector).run(total([noop(1)])) == 1
    assert [
        text for text in warnings_of(caplog) if "failed to send its last messages: OSError: no disk" in text
    ]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as a warning, without what a busy machine adds."""
    late = ("holds the event loop", "constraints are not known yet")
    texts = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [text for text in texts if not any(each in text for each in late)]


@contextmanager
def silent() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("fault", ["refused", "unknown", "silent"])
def test_a_broker_that_is_not_there_is_not_felt(
    fault: str, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows 1 and 2: the result is right with the broker refused, unknown and silent, and one line reports it."""
    with silent() as port:
        target = {
            "refused": {"hostname": "127.0.0.1", "port": closed_port},
            "unknown": {"hostname": "broker.invalid", "port": 1883},
            "silent": {"hostname": "127.0.0.1", "port": port},
        }[fault]
        connector = MqttConnector(connect_timeout=0.5, drain_timeout=0.5, **target)  # type: ignore[arg-type]
        assert cs.run(total([noop(n) for n in range(1000)]), connector=connector) == sum(range(1000))
    warnings = warnings_of(caplog)
    assert str(target["port"]) in warnings[0]
    counts = connector.statistics()
    assert counts.accepted == sum(counts.dropped.values()) >= 2004
    assert len(warnings) <= 2  # why the link failed; what was dropped at the end


@pytest.mark.parametrize("source_id", [None, "press-1"])
async def test_a_user_who_disconnects_after_a_run_reads_no_warning(
    broker: Broker, source_id: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The manager ends with the connection, and publishes nothing that could not be sent."""
    async with MqttConnector(
        broker.host, broker.port, source_id=source_id, connect_timeout=30, required=True
    ) as connector:
        assert await cs.arun(noop(3), connector=connector) == 3
    await eventually(lambda: not [task for task in asyncio.all_tasks() if "constraints" in task.get_name()])
    assert warnings_of(caplog) == []
