"""Run many named engines, each with one task that goes on until this process is killed.

Arguments: host and port of the broker, the beginning of the engines' names, and how many there are.
"""

import asyncio
import logging
import sys

from cascade.connectors.mqtt import MqttConnector
from cascade.runtime import Engine
from cascade.spec import task


@task
async def work() -> None:
    """Go on."""
    await asyncio.get_running_loop().create_future()


async def main(host: str, port: int, name: str, count: int) -> None:
    """Begin all runs at once."""
    connectors = (MqttConnector(host, port, source_id=f"{name}-{number}") for number in range(count))
    await asyncio.gather(*[Engine(connector=connector).run(work()) for connector in connectors])


logging.disable(logging.WARNING)  # that the broker is late, by each engine; an error still shows
asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
