"""What the connector logs where logging is not set up."""

from __future__ import annotations

import asyncio
import sys
import textwrap

import pytest

from cascade.testkit import Broker
from cascade.testkit.chaos import ChaosProxy

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
