"""What programs share that kill themselves at a named moment, and say before what they did."""

import os
import signal
from pathlib import Path

from cascade.runtime._durable import crash_points

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
"""In which such a program finds this module and its neighbours."""


def say(line: str) -> None:
    """Print a line at once and whole."""
    os.write(1, f"{line}\n".encode())


def die_at(moment: str, times: int) -> None:
    """Kill this process when it reaches a moment for this time."""
    reached = 0

    def hook(point: str) -> None:
        nonlocal reached
        reached += point == moment
        if point == moment and reached == times:
            os.kill(os.getpid(), signal.SIGKILL)

    crash_points.hook = hook
