"""Row 2 of the faults: connect() is cancelled while a port accepts the connection and does not answer."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import eventually, no_leaks, time_limit

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
