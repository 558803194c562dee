"""Calls of synchronous tasks through an executor."""

from __future__ import annotations

import asyncio
from functools import partial
from types import CoroutineType
from typing import Any

from cascade.interfaces import Executor, SupportsCallContext, SupportsTracking, supports
from cascade.interfaces.ahead import CallWithdrawn, SupportsAhead
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.attempts import AttemptContext


class Offloading:
    """How the tasks of a run use one executor; its abilities are looked up once, not for each call."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._ahead = executor if supports(executor, SupportsAhead) else None
        self._with_context = executor if supports(executor, SupportsCallContext) else None
        self._tracking = executor if supports(executor, SupportsTracking) else None

    @property
    def takes_ahead(self) -> bool:
        """Whether :meth:`call_ahead` may be used."""
        return self._ahead is not None

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

    async def call_ahead(self, node: Node, context: AttemptContext) -> Any:
        """Return the value of a task that only calls its function; the executor may take the call ahead.

        The task runs from the start of its call.
        """
        args, kwargs = node.scope.arguments(node)
        started = partial(context.begin, node)
        function = node.definition.function
        assert self._ahead is not None
        while True:
            try:
                if self._with_context is not None:
                    call = context.call_context(node)
                    value = await self._with_context.run_with(call, function, args, kwargs, started)
                else:
                    value = await self._ahead.run_ahead(function, args, kwargs, started)
            except CallWithdrawn:
                await context.admit_again(node)
            except asyncio.CancelledError:
                self._note_abandoned(node, context)
                raise
            else:
                return await value if type(value) is CoroutineType else value

    def _note_abandoned(self, node: Node, context: AttemptContext) -> None:
        """Note that a task's call, which was just given up, runs on, if its executor knows that."""
        ended = self._tracking.runs_on() if self._tracking is not None else None
        if ended is not None:
            context.runs_on(node, ended)
