"""Coroutines of tasks with a time limit, which may suppress the cancel at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from cascade.interfaces.forked_children import end_forked_child, generation
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.attempts import AttemptContext
from cascade.runtime._support.loops import abandoned


class LimitedCalls:
    """Awaits the coroutines of one run's tasks; one that goes on after its time limit is left to itself.

    :param left: takes the asyncio tasks of those that are left.
    :param stop_timeout: seconds that a coroutine may take to end after its time limit.
    """

    def __init__(self, left: list[asyncio.Task[Any]], *, stop_timeout: float) -> None:
        self._left = left
        self._stop_timeout = stop_timeout

    async def call(self, node: Node, context: AttemptContext, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return what a coroutine returns.

        It runs in an asyncio task of its own: a coroutine that is awaited can only be waited for.

        :raises asyncio.CancelledError: if it was cancelled, or does not end.
        """
        call = asyncio.get_running_loop().create_task(_ended(coroutine), name=node.label)
        cancelled: asyncio.CancelledError | None = None
        while not call.done():
            over = cancelled is not None and context.is_over_limit(node)
            try:
                await asyncio.wait({call}, timeout=self._stop_timeout if over else None)
            except asyncio.CancelledError as exc:
                cancelled = exc
                call.cancel()
                # the run waits for the step and names it, not for this
                abandoned.add(call)
            else:
                if cancelled is not None and not call.done():
                    self._left.append(call)
                    context.runs_on(node, call)
                    raise cancelled
        value, error = call.result()
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # or its traceback would hold it


async def _ended(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """Return a coroutine's value or its error: asyncio would end the loop with a SystemExit of the task."""
    process = generation()
    try:
        value = await coroutine
        end_forked_child(process)
    except asyncio.CancelledError:
        raise
    except BaseException as exc:
        end_forked_child(process, exc)
        return None, exc
    return value, None
