"""Fill an outbox on disk without a link. Arguments: its folder, the name of the sender, how many messages."""

import asyncio
import sys

from cascade.connectors.mqtt import MqttConnector
from cascade.runtime import Outbox

UNUSED_PORT = 9
AT_ONCE = 10_000


async def main(folder: str, source: str, count: int) -> None:
    """Send messages for which there is no broker."""
    async with (
        MqttConnector("127.0.0.1", UNUSED_PORT, source_id=source) as connector,
        Outbox(folder, max_bytes=4 << 30).sender(connector) as sender,
    ):
        for number in range(count):
            sender.send("bench/outbox", {"pad": "x" * 150}, 1)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0.25)  # until they are on the disk


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
