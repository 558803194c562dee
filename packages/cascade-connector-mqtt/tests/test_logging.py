"""What the connector says, and to whom."""

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
        async with MqttConnector("127.0.0.1", port) as connector:
            print("linked", flush=True)
            await eventually(lambda: not connector.statistics().linked)

    asyncio.run(main(int(sys.argv[1])))
"""


@pytest.mark.broker
async def test_without_logging_set_up_a_lost_link_leaves_no_line_on_the_screen(broker: Broker) -> None:
    """A program that asked for no log gets none, not even the client library's through logging's last resort."""
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
    assert (program.returncode, said) == (0, b"")
