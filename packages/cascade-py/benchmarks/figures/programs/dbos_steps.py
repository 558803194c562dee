"""Do steps that do nothing with DBOS on SQLite; for each line ``SHAPE N`` print the seconds that they took.

Argument: the database's file.
"""

import asyncio
import importlib
import sys
import time
from typing import Any

dbos: Any = importlib.import_module("dbos")


@dbos.DBOS.step()  # type: ignore[untyped-decorator]
async def noop(x: int) -> int:
    """Do nothing."""
    return x


@dbos.DBOS.workflow()  # type: ignore[untyped-decorator]
async def fan(n: int) -> None:
    """Do all steps at once."""
    await asyncio.gather(*[noop(number) for number in range(n)])


@dbos.DBOS.workflow()  # type: ignore[untyped-decorator]
async def chain(n: int) -> None:
    """Do one step after the other."""
    value = 0
    for _ in range(n):
        value = await noop(value)


async def main() -> None:
    """Answer each line until there are no more."""
    dbos.DBOS.launch()
    while line := await asyncio.to_thread(sys.stdin.readline):
        shape, n = line.split()
        began = time.perf_counter()
        await (fan if shape == "fan-out" else chain)(int(n))
        print(time.perf_counter() - began, flush=True)
    dbos.DBOS.destroy()


dbos.DBOS(
    config={
        "name": "figures",
        "system_database_url": f"sqlite:///{sys.argv[1]}",
        "log_level": "ERROR",
        "run_admin_server": False,
    }
)
asyncio.run(main())
