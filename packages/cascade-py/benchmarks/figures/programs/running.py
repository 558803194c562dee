"""Run a thousand tasks of 10 ms in a process of its own, and print the moments and the peak memory.

Arguments: how many tasks; the port of the broker on this machine, 0 for none; and whose event loop it is:
``cascade`` for that of ``cs.run``, ``asyncio`` for asyncio's own; how many tasks at a time. When half of the
tasks are done it prints a line that says so.
"""

import asyncio
import dataclasses
import json
import sys
import time

from cascade.connectors.mqtt import MqttConnector  # also where it is not used: it weighs 6 MB
from cascade.runtime import new_event_loop
from figures.jobs import follow, waits
from figures.memory import peak_memory


async def main(n: int, port: int, at_a_time: int) -> None:
    """Run and print."""
    halfway = 0.0

    def note(done: int) -> None:
        nonlocal halfway
        if done == n // 2:
            halfway = time.perf_counter()
            print("half", flush=True)

    connector = MqttConnector("127.0.0.1", port) if port else None
    job = waits(n, at_a_time=at_a_time, note=note)
    began = time.perf_counter()
    moments = await follow(job, connector=connector)
    dropped = connector.statistics().dropped if connector is not None else {}
    lost = sum(
        count for why, count in dropped.items() if why != "superseded"
    )  # a newer report replaced that one
    printed = {**dataclasses.asdict(moments), "halfway": halfway - began, "peak": peak_memory(), "lost": lost}
    print(json.dumps(printed))


with asyncio.Runner(loop_factory=new_event_loop if sys.argv[3] == "cascade" else None) as runner:
    runner.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4])))
