"""A service by the clock, in a process of its own: how late a tick starts, and what an idle service costs."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from figures import flushes
from figures.measure import Settings, alternate, run
from figures.table import Row, no_more_than

TITLE = "a service by the clock: from the time of a tick to its first step, and wake-ups while none is due"

_PROGRAM = str(Path(__file__).parent / "programs" / "ticking.py")
_STARTED = 5.0
"""Seconds after which a service has started."""


def rows(settings: Settings) -> Iterator[Row]:
    """Measure ticks that are due four times a second, and a service that has nothing to do."""
    number, rounds = settings.size(400), settings.rounds_or(3)
    late = [_late(number, "-") for _ in range(rounds)]
    yield Row("a tick, its first step runs: p99", "ms", late, target=no_more_than(20))
    # what is temporary is often in memory, where a flush takes no time
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[2]) as folder:
        yield run(_recorded(Path(folder), number, rounds))
    if sys.platform == "linux":
        woken = _wake_ups(3.0 if settings.quick else 120.0)
        yield Row("wake-ups in 30 s of an idle service", "", [woken], target=no_more_than(1))


async def _recorded(folder: Path, number: int, rounds: int) -> Row:
    """Measure ticks whose runs are recorded, beside the flushes of the disk that they need before their first step."""
    fresh = itertools.count()

    async def late() -> float:
        return await asyncio.to_thread(_late, number, str(folder / f"runs{next(fresh)}"))

    times, flushed = await alternate(rounds, late, lambda: flushes.of_a_run(folder, number))
    return Row("- recorded with state=", "ms", times, flushes.NAME, flushed, no_more_than(20))


def _late(number: int, folder: str) -> float:
    """Return the milliseconds by which all but 1 % of the ticks are late at most, without the first second."""
    done = subprocess.run(
        [sys.executable, _PROGRAM, str(number), folder], check=True, stdout=subprocess.PIPE, text=True
    )
    return flushes.p99(json.loads(done.stdout)[4:])


def _wake_ups(seconds: float) -> float:
    """Return how often the threads of an idle service were woken up in 30 s."""
    with subprocess.Popen([sys.executable, _PROGRAM, "0", "-"], stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(_STARTED)
            before = _switches(process.pid)
            time.sleep(seconds)
            return (_switches(process.pid) - before) / seconds * 30
        finally:
            process.kill()


def _switches(pid: int) -> int:
    """Return how often the threads of a process have waited for something."""
    name = "voluntary_ctxt_switches:"
    return sum(
        int(line.removeprefix(name))
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith(name)
    )
