"""Tasks that wait for each other's slots share no context."""

import asyncio
import contextvars

from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import task

colour = contextvars.ContextVar("colour", default="clean")


@task
async def paint(number: int) -> str:
    seen = colour.get()
    colour.set(f"painted by {number}")
    await asyncio.sleep(0)
    return seen


async def test_a_task_does_not_see_context_variables_of_the_task_before_it(no_leaks: None) -> None:
    """Under a limit, a task starts in the run's context, not in the context of the task that freed its slot."""
    hub = LocalHub()
    limit = b'{"type":"concurrency","params":{"limit":1}}'
    hub.publish("cascade/constraints/global", limit, retain=True)
    colour.set("set by the caller")
    engine = Engine(connector=LocalConnector(hub))
    assert await engine.run(paint.map(number=range(5))) == ["set by the caller"] * 5
