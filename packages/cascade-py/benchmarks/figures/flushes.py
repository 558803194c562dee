"""What the disk alone takes for the start of a recorded run, which nothing in Cascade can make faster."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import quantiles

NAME = "its 6 flushes alone"
_PAGES, _ADDED = 8, 3
"""Of the file of a recorded run: its pages, and what is added to its log, and to that of the requests, before its first step."""


async def of_a_run(folder: Path, n: int) -> float:
    """Return the milliseconds that the flushes of all but 1 % of such runs take at most.

    Each has two new files, their names in the folder, and what is added to them before its first step.
    """
    return p99([_once(folder) for _ in range(n)])


def _once(folder: Path) -> float:
    names = os.open(folder, os.O_RDONLY)
    began = time.perf_counter()
    for each in (folder / "one", folder / "other"):
        handle = os.open(each, os.O_WRONLY | os.O_CREAT)
        os.write(handle, bytes(_PAGES * 4096))
        os.fdatasync(handle)
        if each.name == "other":
            os.fsync(names)
            for _ in range(_ADDED):
                os.write(handle, bytes(4096))
                os.fdatasync(handle)
        os.close(handle)
    seconds = time.perf_counter() - began
    for each in (folder / "one", folder / "other"):
        each.unlink()
    os.close(names)
    return seconds


def p99(seconds: list[float]) -> float:
    """Return the milliseconds that all but 1 % of some times keep to."""
    return float(quantiles(seconds, n=100, method="inclusive")[-1]) * 1e3
