"""Run a thousand tasks of 10 ms in a process of its own, and print the moments and the peak memory.

Arguments: how many tasks, and the port of the broker on this machine, 0 for none. When half of
the tasks are done it prints a line that says so.
"""

import asyncio
import dataclasses
import json
import sys

from cascade.connectors.mqtt import MqttConnector  # also where it is not used: it weighs 6 MB
from figures.jobs import follow, waits
from figures.memory import peak_memory


async def main(n: int, port: int) -> None:
    """Run and tell."""

    def note(done: int) -> None:
        if done == n // 2:
            print("half", flush=True)

    connector = MqttConnector("127.0.0.1", port) if port else None
    moments = await follow(waits(n, note=note), connector=connector)
    print(json.dumps({**dataclasses.asdict(moments), "peak": peak_memory()}))


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
