"""The graph of one run as it is built: at first, and as maps, choices and tasks turn out to need more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from typing import Any

from cascade.interfaces import Clock
from cascade.runtime._outcome import Outcome
from cascade.runtime._pace import TURN
from cascade.runtime.node import Kind, Node, Scope
from cascade.runtime.run import RunState
from cascade.spec import LazyResult


class Growth:
    """Builds graphs in steps, so that the loop turns every few milliseconds.

    A node that grows is no task that runs: it holds nothing, and no constraint ends it. What it
    grows into asks for permission like any other task.

    ``check`` refuses, before it is their turn, nodes that can never start; ``wake`` is called
    when something may have become ready.
    """

    def __init__(
        self,
        state: RunState,
        outcome: Outcome,
        *,
        clock: Clock,
        check: Callable[[Node], None],
        wake: Callable[[], None],
    ) -> None:
        self._state = state
        self._outcome = outcome
        self._clock = clock
        self._check = check
        self._wake = wake
        self._building = asyncio.Lock()
        self._growing: dict[Node, asyncio.Task[None]] = {}

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return what is at work, to be cancelled."""
        return list(self._growing.values())

    def nodes(self) -> list[Node]:
        """Return the nodes that grow."""
        return list(self._growing)

    def take_unbegun(self) -> list[Node]:
        """Return the nodes whose growing was cancelled before its first step."""
        unbegun = [node for node, task in self._growing.items() if task.done()]
        for node in unbegun:
            del self._growing[node]
        return unbegun

    async def build(self, graph: Scope, lazies: Sequence[LazyResult[Any]]) -> None:
        """Add nodes to a graph, and let them start.

        :raises UsageError: if one of them can never start; then none of them is there.
        """
        await self._admit(await self._built(graph, lazies))

    def grow(self, node: Node) -> None:
        """Begin to build what a map or a choice turned out to need."""
        self._begin(node, node, partial(self._branch, node))

    def follow(self, node: Node, lazy: LazyResult[Any]) -> None:
        """Begin to build the call that a task returned: its value is the task's."""
        if self._outcome.finished.done():  # nobody would wait for it, nor end it
            self._outcome.stopped(node)
            return
        graph, heir = node.scope.continuation(node)
        self._begin(node, heir, partial(self._continue, node, heir, graph, lazy))

    def _begin(self, node: Node, heir: Node, work: Callable[[], Awaitable[list[Node]]]) -> None:
        growing = asyncio.get_running_loop().create_task(self._settle(node, heir, work), name=node.task_id)
        growing.add_done_callback(partial(self._cancelled_unbegun, node, heir))
        self._growing[node] = growing

    async def _settle(self, node: Node, heir: Node, work: Callable[[], Awaitable[list[Node]]]) -> None:
        """Do the work, let what came of it start, or let the run know why nothing did."""
        outcome = self._outcome
        try:
            try:
                if node not in self._growing:  # a task factory that is eager: _begin() comes first
                    await asyncio.sleep(0)
                grown = await work()
            except asyncio.CancelledError as exc:
                outcome.cancelled(node, exc, heir=heir)
            except Exception as exc:
                outcome.fail(node, exc, heir=heir)
            except BaseException as exc:
                outcome.interrupted(node, exc)
            else:
                with suppress(asyncio.CancelledError):  # the node has its word: it waits for them
                    await self._admit(grown)
            finally:
                del self._growing[node]
                self._wake()
        except BaseException as slip:  # nobody awaits this task: the run has to be told
            outcome.abort(slip)

    def _cancelled_unbegun(self, node: Node, heir: Node, growing: asyncio.Task[None]) -> None:
        """Let the run know of one that somebody else has cancelled before its first step: it could not itself."""
        if self._growing.get(node) is growing and not self._outcome.finished.done():
            del self._growing[node]
            self._outcome.cancelled(node, asyncio.CancelledError(), heir=heir)
            self._wake()

    async def _branch(self, node: Node) -> list[Node]:
        graph = node.scope
        if node.kind is Kind.MAP:
            items = graph.items(node)
            return await self._linked(graph, items, lambda: graph.gather(node, items))
        route = graph.route(node)
        return await self._linked(graph, [route], lambda: graph.forward(node, route))

    async def _continue(self, node: Node, heir: Node, graph: Scope, lazy: LazyResult[Any]) -> list[Node]:
        grown = await self._linked(graph, [lazy], lambda: graph.forward(heir, lazy))
        self._outcome.tell_complete(node)
        return grown

    async def _linked(
        self, graph: Scope, lazies: Sequence[LazyResult[Any]], link: Callable[[], Node]
    ) -> list[Node]:
        """Build, and have a node wait for it; return what is still to be admitted."""
        built = await self._built(graph, lazies)
        try:
            self._state.resume(link())
        except BaseException:
            self._state.admit(built)  # others may wait for some of them
            raise
        return built

    async def _built(self, graph: Scope, lazies: Sequence[LazyResult[Any]]) -> list[Node]:
        built: list[Node] = []
        async with self._building:  # two at the same time would meet each other's half-built nodes
            began = self._clock.monotonic()
            with closing(graph.build(lazies, self._check)) as steps:
                for nodes in steps:
                    built += nodes
                    began = await self._turn(began)
        return built

    async def _admit(self, nodes: list[Node]) -> None:
        """Let nodes start: all of them, also if this is cancelled, for others may wait for them."""
        rest = iter(nodes)
        began = self._clock.monotonic()
        try:
            while some := list(islice(rest, _ADMITTED_AT_ONCE)):
                self._state.admit(some)
                began = await self._turn(began)
        finally:
            self._state.admit(rest)

    async def _turn(self, began: float) -> float:
        """Let the loop turn if this has lasted long enough; return when it went on."""
        now = self._clock.monotonic()
        if now - began <= TURN:
            return began
        await asyncio.sleep(0)
        return self._clock.monotonic()


_ADMITTED_AT_ONCE = 1024
