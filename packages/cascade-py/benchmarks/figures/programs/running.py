"""Run a thousand tasks of 10 ms in a process of its own, and print the moments and the peak memory.

Arguments: how many tasks; the port of the broker on this machine, 0 for none; and how the event loop
waits: ``usual``, or ``exact`` with a selector that does not round a wait up to the next millisecond, as
epoll does. When half of the tasks are done it prints a line that says so.
"""

import asyncio
import dataclasses
import json
import selectors
import sys
import time

from cascade.connectors.mqtt import MqttConnector  # also where it is not used: it weighs 6 MB
from figures.jobs import follow, waits
from figures.memory import peak_memory


async def main(n: int, port: int) -> None:
    """Run and tell."""
    halfway = 0.0

    def note(done: int) -> None:
        nonlocal halfway
        if done == n // 2:
            halfway = time.perf_counter()
            print("half", flush=True)

    connector = MqttConnector("127.0.0.1", port) if port else None
    job = waits(n, note=note)
    began = time.perf_counter()
    moments = await follow(job, connector=connector)
    told = {**dataclasses.asdict(moments), "halfway": halfway - began, "peak": peak_memory()}
    print(json.dumps(told))


def exact_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that waits to the microsecond."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


with asyncio.Runner(loop_factory=exact_loop if sys.argv[3] == "exact" else None) as runner:
    runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
