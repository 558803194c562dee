"""Run one step after another for some seconds as a named engine; print the CPU time of this process meanwhile.

Arguments: the URL of the broker with the name of this engine, and the seconds.
"""

import asyncio
import json
import sys
import time

import cascade as cs

STEP = 0.05
"""Seconds of each step."""


@cs.task
async def wait(x: int) -> int:
    """Take a while on the event loop."""
    await asyncio.sleep(STEP)
    return x


def main(url: str, seconds: float) -> None:
    """Run, and print when the run has ended."""
    work = wait.map(x=range(round(seconds / STEP))).with_concurrency(1)
    began, cpu = time.perf_counter(), time.process_time()
    cs.run(work, connector=cs.connector(url, required=True), require_control=True)
    print(json.dumps({"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - began}))


main(sys.argv[1], float(sys.argv[2]))
