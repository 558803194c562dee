"""Records a run, or the rest of it, and kills itself at a named moment. Tests start it as a process.

Each line that it prints was true before the next moment: ``done KEY`` means that the result is committed.
"""

import asyncio
import sys
from typing import Any

from dying import die_at, say

from cascade.interfaces import Journal, Plan, RunInfo, RunStatus, StepState
from cascade.runtime import SqliteState
from cascade.runtime._durable import results, schema

STEPS, AT_ONCE = 120, 4
LARGE = 1 << 13
"""Bytes of a result that gets a file of its own here, so that the disk has little to do."""


def value_of(number: int) -> Any:
    """Return what a step computes; some values are large, some are pickled."""
    if number % 9 == 4:
        return number.to_bytes(2, "big") * (LARGE // 2)
    return range(number) if number % 5 == 3 else {"number": number, "text": "é" * number}


async def step(journal: Journal, number: int) -> None:
    """Do one step, unless it is recorded."""
    key = f"f:0[{number}]"
    record = journal.known(key)
    if record is not None and record.state is StepState.COMPLETED:
        if await journal.load(key) != value_of(number):
            say(f"wrong {key}")
        return
    say(f"run {key}")
    if number % 6 == 0:
        await journal.started_for_certain(key, name="f", inputs=b"inputs", code=b"code")
    else:
        journal.started(key, name="f", inputs=b"inputs", code=b"code")
    if number % 4 == 1:
        journal.retrying(key, tries=1, not_before=0.0, error="OSError: not yet")
        journal.started(key, name="f", inputs=b"inputs", code=b"code")
    if not await journal.completed(key, value_of(number)):
        say(f"wrong {key} is not kept")
    say(f"done {key}")


async def turn_of_loop(journal: Journal, number: int) -> None:
    """Do one turn of a loop, which deletes the one before."""
    key = f"loop:0~{number}/f:0"
    journal.started(key, name="f", inputs=b"", code=b"")
    await journal.completed(key, "x" * (LARGE if number % 3 == 0 else 10))
    journal.started("loop:0", name="loop", inputs=b"", code=b"")
    replaces = f"loop:0~{number}/" if number % 4 else None
    await journal.expanded("loop:0", Plan(number + 1), replaces=replaces)
    say(f"turned {number + 1}")


async def first_turn(journal: Journal) -> int:
    """Return the number of turns that are recorded."""
    record = journal.known("loop:0")
    expanded = record is not None and record.state is StepState.EXPANDED
    turns: int = (await journal.load("loop:0")).content if expanded else 0
    say(f"turn {turns}")
    return turns


async def main(folder: str, *, power_safe: bool) -> None:
    """Record what is missing."""
    state = SqliteState(folder, power_safe=power_safe, keep=None, keep_runs=1)
    journal = await state.open(RunInfo("night", "report", {"day": "2026-11-21"}))
    say(f"attempt {journal.attempt}")
    turns = await first_turn(journal)
    for first in range(0, STEPS, AT_ONCE):
        await asyncio.gather(*(step(journal, number) for number in range(first, first + AT_ONCE)))
        if first // AT_ONCE >= turns:
            await turn_of_loop(journal, first // AT_ONCE)
    await journal.end(RunStatus.SUCCEEDED)
    say("ended")


if __name__ == "__main__":
    place, moment, times, version, power_safe = sys.argv[1:]
    die_at(moment, int(times))
    schema.SCHEMA_VERSION = int(version)
    schema.MIGRATIONS = {
        number: f"ALTER TABLE attempt ADD COLUMN note{number} TEXT" for number in range(1, 99)
    }
    results.LARGE = LARGE // 2
    asyncio.run(main(place, power_safe=power_safe == "True"))
