"""Lines that a connector logs, and those that it does not: a refusal of MQTT 5, a cancelled connect, a lost link without logging set up."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import textwrap
from collections.abc import Iterator

import aiomqtt
import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, Mosquitto, eventually, no_leaks, time_limit
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.recorder import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("patient")]


@pytest.mark.parametrize("qos", [1, 2])
async def test_row_11_what_the_access_list_forbids_is_counted_and_said(
    caplog: pytest.LogCaptureFixture, qos: int
) -> None:
    """The link stays, and what is allowed arrives."""
    require_mosquitto()
    with (
        # 2.0.11 with no limit (0) cuts the link after each refusal: 0 packets waiting are not fewer than 0
        Mosquitto(acl=["topic readwrite open/#"], max_queued_messages=1_000) as broker,
        Recorder(broker.host, broker.port, "open/#") as recorder,
    ):
        connector = MqttConnector(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5)
        async with connector:
            for number in range(20):
                await connector.publish("open/a", {"n": number}, qos)
                await connector.publish("closed/a", {"n": number}, qos)
            assert await connector.flush(600)
            counts = connector.statistics()
            assert (counts.sent, counts.dropped, counts.connections) == (20, {"refused by the broker": 20}, 1)
            await eventually(lambda: len(recorder.messages) == 20)
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    refused, lost = said
    assert "access list" in refused
    assert "20 refused by the broker" in lost


BOUND = 60.0


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_connect_that_is_cancelled_at_once_says_nothing(
    silent_port: int, caplog: pytest.LogCaptureFixture, turns: int
) -> None:
    """The client's own logger does not call it an error that its connection is no longer wanted."""
    async with time_limit(BOUND), no_leaks(BOUND):
        connecting = asyncio.create_task(MqttConnector("127.0.0.1", silent_port).connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait({connecting})
        await eventually(
            lambda: not any(task.get_name() == "cascade-enter" for task in asyncio.all_tasks()), BOUND
        )
    assert not caplog.records


PROGRAM = """
    import asyncio, sys
    from cascade.connectors.mqtt import MqttConnector
    from cascade.testkit import eventually

    async def main(port):
        async with MqttConnector("127.0.0.1", port, connect_timeout=600, required=True) as connector:
            print("linked", flush=True)
            await eventually(lambda: connector.statistics().connections == 2)

    asyncio.run(main(int(sys.argv[1])))
"""


@pytest.mark.full
@pytest.mark.broker
async def test_without_logging_set_up_a_lost_link_is_one_line_on_stderr(broker: Broker) -> None:
    """Python's last resort prints the connector's warning; the client library adds no line of its own."""
    async with ChaosProxy(broker.port) as proxy:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(PROGRAM), str(proxy.port)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert program.stdout is not None
        assert await program.stdout.readline() == b"linked\n"
        await proxy.reset()
        _, said = await program.communicate()
    assert program.returncode == 0
    (line,) = said.decode().splitlines()
    assert line.startswith(f"lost the connection to {proxy.host}:{proxy.port}: ")
