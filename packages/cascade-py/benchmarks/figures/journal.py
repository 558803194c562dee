"""The cost of recording a step: the journal alone, without an engine, beside one flush of the disk.

Each step records its start and its value. In a chain a step begins when the value of the one before is
committed; in a fan-out all steps begin at once, so that they share commits. FULL survives a power cut,
NORMAL a killed process.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from cascade.interfaces import Journal, RunInfo, RunStatus
from cascade.runtime._durable.sqlite_state import SqliteState
from figures.measure import Settings, alternate, run
from figures.table import Row, at_most

TITLE = "milliseconds of a recorded step: start and value, small, committed before the next one of a chain"

_PROGRAM = Path(__file__).with_name("programs") / "dbos_steps.py"
_DIGEST = bytes(16)
_FLUSHES = 50
_BLOCK = bytes(8192)  # two pages

Record = Callable[[Journal, int], Awaitable[None]]


def rows(settings: Settings) -> Iterator[Row]:
    """Measure both shapes in both modes in the same rounds; with other libraries, DBOS on SQLite, too."""
    n, rounds = settings.size(1_000), settings.rounds_or(9)
    cases = [(shape, full) for shape in (_fan, _chain) for full in (True, False)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_on_disk())))
        sides = [partial(_recorded, folder, shape, n, power_safe=full) for shape, full in cases]
        if settings.peers:
            peer = stack.enter_context(_peer(folder))
            sides += [partial(_ask, peer, shape, max(1, n // 10)) for shape in ("fan-out", "chain")]
        flush, *measured = run(alternate(rounds, partial(_flush, folder), *sides))
    names = [f"{_NAMES[shape]} {n:,}, {'FULL' if full else 'NORMAL'}" for shape, full in cases]
    for name, ours in zip(names, measured, strict=False):
        yield Row(name, "ms", ours, "fdatasync of 8 KiB", flush)
    for name, ours, theirs, times in zip(names[::2], measured[:4:2], measured[4:], (40, 10), strict=False):
        yield Row(name, "ms", ours, "DBOS, SQLite", theirs, at_most(1 / times))


async def _recorded(folder: Path, record: Record, n: int, *, power_safe: bool) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        journal = await SqliteState(Path(place) / "runs", power_safe=power_safe).open(
            RunInfo("run", "target")
        )
        began = time.perf_counter()
        await record(journal, n)
        took = time.perf_counter() - began
        await journal.end(RunStatus.SUCCEEDED)
    return took / n * 1e3


async def _fan(journal: Journal, n: int) -> None:
    await asyncio.gather(*[_step(journal, f"noop:0[{number}]") for number in range(n)])


async def _chain(journal: Journal, n: int) -> None:
    for number in range(n):
        await _step(journal, f"noop:{number}")


_NAMES: dict[Record, str] = {_fan: "fan-out", _chain: "chain"}


async def _step(journal: Journal, key: str) -> None:
    journal.started(key, name="noop", inputs=_DIGEST, code=_DIGEST)
    await journal.completed(key, 1)


async def _flush(folder: Path) -> float:
    """Return the milliseconds of one flush: SQLite makes one for each commit in FULL."""
    handle = os.open(folder / "flushed", os.O_WRONLY | os.O_CREAT)
    try:
        took = 0.0
        for number in range(_FLUSHES):
            os.pwrite(handle, _BLOCK, number * len(_BLOCK))
            began = time.perf_counter()
            os.fdatasync(handle)
            took += time.perf_counter() - began
    finally:
        os.close(handle)
    return took / _FLUSHES * 1e3


def _on_disk() -> Path:
    """Return a folder on a disk: what is temporary is often in memory, where a flush takes no time."""
    return Path(__file__).parents[2]


def _peer(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(_PROGRAM), str(folder / "dbos.sqlite")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def _ask(peer: subprocess.Popen[str], shape: str, n: int) -> float:
    """Have DBOS do so many steps, and return the milliseconds of one."""
    if peer.stdin is None or peer.stdout is None:
        raise RuntimeError("the program has no pipes")
    peer.stdin.write(f"{shape} {n}\n")
    peer.stdin.flush()
    return float(await asyncio.to_thread(peer.stdout.readline)) / n * 1e3
