"""Serve two workflows until killed: ``moment`` tells when its step began, ``job`` has steps of 10 ms.

Arguments: the URL of the broker with the name of this service, and a folder that keeps runs, or ``-`` for none.
"""

import asyncio
import sys
import time

import cascade as cs


@cs.task
async def now() -> float:
    """Tell when this began, in seconds since the epoch."""
    return time.time()


@cs.task
async def wait(x: int) -> int:
    """Take 10 ms on the event loop."""
    await asyncio.sleep(0.01)
    return x


@cs.workflow(overlap="queue", answer=True)
def moment() -> cs.LazyResult[float]:
    """Run one step."""
    return now()


@cs.workflow(overlap="queue")
def job(steps: int) -> cs.LazyResult[list[int]]:
    """Run steps of 10 ms, one at a time."""
    return wait.map(x=range(steps)).with_concurrency(1)


if __name__ == "__main__":
    folder = {} if sys.argv[2] == "-" else {"state": sys.argv[2]}
    cs.serve(moment, job, connector=cs.connector(sys.argv[1], required=True), drain=0.0, **folder)  # type: ignore[arg-type]
