"""What programs share that kill themselves at a named moment, and say before what they did."""

import os
import signal
from pathlib import Path

from cascade.runtime._durable import crash_points, results, schema

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


def reach(moment: str) -> None:
    """Reach a moment of the program's own."""
    crash_points.reach(moment)


def keep_apart(size: int) -> None:
    """Give results of more bytes than this files of their own, so that the disk has little to do."""
    results.LARGE = size


def write_version(version: int) -> None:
    """Write recorded runs in a later version of the schema, to which older files are migrated."""
    schema.SCHEMA_VERSION = version
    schema.MIGRATIONS = {n: f"ALTER TABLE attempt ADD COLUMN note{n} TEXT" for n in range(1, version)}
