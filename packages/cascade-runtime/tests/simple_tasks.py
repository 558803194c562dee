"""Tasks that many tests run, none of which does more than its name says."""

import asyncio
from typing import Any

from cascade.spec import task


@task
async def step(x: int = 0) -> int:
    return x


@task
async def double(x: int) -> int:
    return 2 * x


@task
async def hold() -> None:
    await asyncio.Event().wait()


@task
async def fail(text: str = "boom") -> Any:
    raise ValueError(text)


@task(mode="inline")
def give(value: Any) -> Any:
    return value


@task(mode="inline")
def collect(*values: Any) -> list[Any]:
    return list(values)
