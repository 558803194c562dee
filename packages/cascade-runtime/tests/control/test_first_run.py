"""What the first run under control costs the program beside it."""

import json
import subprocess
import sys
from itertools import pairwise

import pytest

from cascade.runtime._control.engine_control import _PARTS
from cascade.testkit.waiting import busyness

_HEAVY = ("msgspec", "cascade.runtime._control.constraint_manager")

PROGRAM = """
import asyncio, json, sys
import cascade.runtime
from cascade.runtime import Engine, LocalConnector
from cascade.spec import task

@task
async def noop():
    pass

async def neighbour(seen):
    while True:
        seen.append([each for each in json.loads(sys.argv[1]) if each in sys.modules])
        await asyncio.sleep(0)

async def main():
    seen = []
    living = asyncio.create_task(neighbour(seen))
    await asyncio.sleep(0)
    await Engine(connector=LocalConnector()).run(noop())
    living.cancel()
    await asyncio.wait({living})
    return seen

print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.process
def test_the_first_run_imports_what_control_needs_one_module_in_each_iteration_of_the_loop() -> None:
    """Together they take longer than a program's other tasks should wait."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(_PARTS)],
        capture_output=True,
        text=True,
        timeout=30 * busyness(),
        check=True,
    )
    seen = json.loads(done.stdout)
    assert set(_HEAVY).isdisjoint(seen[0])
    assert sorted(seen[-1]) == sorted(_PARTS)
    added = [len(after) - len(before) for before, after in pairwise(seen)]
    assert max(added) == 1
    # a task that sleeps goes on in the second iteration after its time is over
    assert [1, 1] not in [[*two] for two in pairwise(added)]
