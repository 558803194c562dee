"""Serve a workflow by the clock, and print how late the first step of each tick began, in seconds.

Arguments: how many ticks, and a folder that keeps runs, or ``-`` for none. With 0 ticks, one is due next year: the service is idle.
"""

import asyncio
import json
import sys
import time
from datetime import datetime

import cascade as cs

PERIOD = 0.25
"""Seconds between two ticks of a clock whose minutes are so short."""
LATE: list[float] = []
ENOUGH = asyncio.Event()


class ShortMinutes:
    """A clock that leaves out the first 59.75 s of each minute; timers take the time that they should."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        # near the machine's own time, by which old runs are deleted
        self.base = time.time() // 60 * 60

    def now(self) -> float:
        minutes, seconds = divmod(time.monotonic() - self.began, PERIOD)
        return self.base + 60 * minutes + 60 - PERIOD + seconds

    def monotonic(self) -> float:
        return time.monotonic()

    def due(self, tick: str) -> float:
        """Return when a tick was due, by the monotonic clock."""
        return self.began + (datetime.fromisoformat(tick).timestamp() - self.base) / 60 * PERIOD


CLOCK = ShortMinutes()


@cs.task
async def note() -> None:
    """Note how late this is."""
    now = time.monotonic()
    LATE.append(now - CLOCK.due(cs.step().run_id.partition("~")[2]))
    if len(LATE) == int(sys.argv[1]):
        ENOUGH.set()


@cs.workflow(cron="* * * * *", tz="UTC", overlap="allow")
def often() -> cs.LazyResult[None]:
    """Run at each minute of the clock."""
    return note()


@cs.workflow(cron="0 3 1 1 *", tz="UTC")
def yearly() -> cs.LazyResult[None]:
    """Run once a year."""
    return note()


async def main(number: int, folder: str) -> None:
    """Serve until so many ticks have run, or until killed."""
    settings = {} if folder == "-" else {"state": folder}
    if not number:
        await cs.aserve(yearly, **settings)  # type: ignore[arg-type]
    serving = asyncio.create_task(cs.aserve(often, clock=CLOCK, **settings))  # type: ignore[arg-type]
    await ENOUGH.wait()
    print(json.dumps(LATE[:number]))
    serving.cancel()
    await asyncio.wait({serving})


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
