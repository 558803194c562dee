"""A service by the clock, in a process of its own: how late a tick starts, and what an idle service costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from figures.measure import Settings
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
    with tempfile.TemporaryDirectory() as folder:
        late = [_late(number, f"{folder}/{each}") for each in range(rounds)]
    yield Row("- recorded with state=", "ms", late, target=no_more_than(20))
    if sys.platform == "linux":
        woken = _wake_ups(3.0 if settings.quick else 120.0)
        yield Row("wake-ups in 30 s of an idle service", "", [woken], target=no_more_than(1))


def _late(number: int, folder: str) -> float:
    """Return the milliseconds by which all but 1 % of the ticks are late at most, without the first second."""
    done = subprocess.run(
        [sys.executable, _PROGRAM, str(number), folder], check=True, stdout=subprocess.PIPE, text=True
    )
    times = json.loads(done.stdout)
    return float(quantiles(times[4:], n=100, method="inclusive")[-1]) * 1e3


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
