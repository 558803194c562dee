"""Calls of synchronous tasks through an executor."""

from __future__ import annotations

import asyncio
from typing import Any

from cascade.interfaces import Executor, SupportsCallContext, SupportsTracking, supports
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.attempts import AttemptContext


class Offloading:
    """How the tasks of a run use one executor; its abilities are looked up once, not for each call."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._with_context = executor if supports(executor, SupportsCallContext) else None
        self._tracking = executor if supports(executor, SupportsTracking) else None

    async def call(
        self, node: Node, context: AttemptContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return what a task's function returns."""
        function = node.definition.function
        try:
            if self._with_context is not None:
                return await self._with_context.run_with(context.call_context(node), function, args, kwargs)
            return await self._executor.run(function, args, kwargs)
        except asyncio.CancelledError:
            self._note_abandoned(node, context)
            raise

    def _note_abandoned(self, node: Node, context: AttemptContext) -> None:
        """Note that a task's call, which was just given up, runs on, if its executor knows that."""
        ended = self._tracking.runs_on() if self._tracking is not None else None
        if ended is not None:
            context.runs_on(node, ended)
