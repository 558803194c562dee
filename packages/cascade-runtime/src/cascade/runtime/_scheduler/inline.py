"""Call plain synchronous functions on the event loop, without an asyncio task for each."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.attempts import AttemptContext
from cascade.runtime._scheduler.checkpoints import CheckpointGate, current
from cascade.runtime._scheduler.expansion import GraphExpansion
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._support.loop_lag import LoopLagMonitor
from cascade.spec import PLAIN, LazyResult, may_hold_lazies


class _Called:
    """Names the task whose function is called, for the thread that monitors the event loop."""

    __slots__ = ("node",)

    def __init__(self) -> None:
        self.node: Node | None = None

    def __call__(self) -> str:
        """Return the task's label; empty if it has just ended."""
        node = self.node
        return node.label if node is not None else ""


class InlineCalls:
    """Runs the tasks of one run that only call a synchronous function on the event loop.

    Such a function never awaits, so it needs no asyncio task: none could be cancelled while it
    runs. Each call has a copy of the run's context, as an asyncio task has.

    While a function is called, its task is in ``running`` without an asyncio task. ``finish_in_task``
    starts one for what has to await after the call; otherwise ``release`` is called at the end.
    """

    def __init__(
        self,
        context: contextvars.Context,
        running: dict[Node, asyncio.Task[None] | None],
        *,
        outcome: RunOutcome,
        expansion: GraphExpansion,
        checkpoints: CheckpointGate,
        attempts: AttemptContext,
        monitor: LoopLagMonitor,
        finish_in_task: Callable[[Node, Any], None],
        release: Callable[[Node], None],
    ) -> None:
        self._context = context
        self._running = running
        self._outcome = outcome
        self._expansion = expansion
        self._checkpoints = checkpoints
        self._attempts = attempts
        self._monitor = monitor
        self._called = _Called()
        self._finish_in_task = finish_in_task
        self._release = release

    def call(self, node: Node) -> None:
        """Run a task, which was admitted, to its end."""
        self._running[node] = None
        self._context.copy().run(self._call, node)

    def _call(self, node: Node) -> None:
        """Call the function of a task in this context, and record how the task ends."""
        current.set((self._checkpoints, node, node.attempt))
        self._called.node = node
        self._monitor.inline = self._called
        try:
            try:
                self._attempts.begin(node)
                args, kwargs = node.scope.arguments(node)
                value = node.definition.function(*args, **kwargs)
                needs_task = type(value) not in PLAIN and _has_to_await(value)
            except BaseException as exc:
                self._outcome.raised(node, exc)
            else:
                if needs_task:
                    self._finish_in_task(node, value)
                elif isinstance(value, LazyResult):
                    self._expansion.continue_with(node, value)
                else:
                    self._outcome.complete(node, value)
        finally:
            self._monitor.inline = self._called.node = None
            if self._running[node] is None:
                self._release(node)


def _has_to_await(value: object) -> bool:
    """Return whether a value is a coroutine, or a container that has to be searched in steps."""
    return type(value) is CoroutineType or may_hold_lazies(value)
