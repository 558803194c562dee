"""The expansion of a run's graph: its first build, then maps, routes and returned calls."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from cascade.interfaces import Clock
from cascade.runtime._graph.items import MapItems, Recorded
from cascade.runtime._graph.node import Kind, Node, Scope
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.state import RunState
from cascade.runtime._support.loop_steps import LoopShare, emptied, finished, turn
from cascade.spec import LazyResult, MapCall

if TYPE_CHECKING:  # only recorded runs import it
    from cascade.runtime._scheduler.recording import Recording


class GraphExpansion:
    """Builds graphs in steps, so that the loop runs other callbacks every few milliseconds.

    A node that expands is not a running task: it holds nothing, and no constraint cancels it.
    The nodes that it expands into ask for admission like all others.

    ``check`` raises for a new node that can never start; ``wake`` is called when a node may
    have become ready; ``report`` with new nodes, and with a map or route that has expanded.
    """

    def __init__(
        self,
        state: RunState,
        outcome: RunOutcome,
        *,
        clock: Clock,
        check: Callable[[Node], None],
        wake: Callable[[], None],
        report: Callable[[Sequence[Node], Node | None], None],
        recording: Recording | None,
    ) -> None:
        self._state = state
        self._outcome = outcome
        self._clock = clock
        self._check = check
        self._wake = wake
        self._report = report
        self._recording = recording
        self._building = asyncio.Lock()
        self._expanding: dict[Node, asyncio.Task[None]] = {}

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the asyncio tasks of expansions, to be cancelled."""
        return list(self._expanding.values())

    def nodes(self) -> list[Node]:
        """Return the nodes that are being expanded."""
        return list(self._expanding)

    def take_never_started(self) -> list[Node]:
        """Return the nodes whose expansion was cancelled before it first ran."""
        never_started = [node for node, task in self._expanding.items() if task.done()]
        for node in never_started:
            del self._expanding[node]
        return never_started

    async def build(self, graph: Scope, lazies: Sequence[LazyResult[Any]]) -> None:
        """Add nodes to a graph and admit them to the run.

        :raises UsageError: if one of them can never start; then none of them is there.
        """
        await self._admit(await self._built(graph, lazies))

    def expand(self, node: Node) -> None:
        """Start to find the items of a map or to collect their values, or to build a chosen route or what replaces a call.

        A node whose value is recorded takes it.
        """
        if node.kind is Kind.RECORDED:
            self._take_recorded(node)
        else:
            self._start(node, node, partial(self._branch, node))

    def continue_with(self, node: Node, lazy: LazyResult[Any]) -> None:
        """Start to build the call that a task returned: its value becomes the task's."""
        # nothing would wait for the expansion, nor cancel it
        if self._outcome.finished.done():
            self._outcome.stopped(node)
            return
        graph, continuation_target = node.scope.continuation(node)
        self._start(
            node, continuation_target, partial(self._continue, node, continuation_target, graph, lazy)
        )

    def _take_recorded(self, node: Node) -> None:
        """Have a node take its recorded value, or start to build the calls that it had returned."""
        from cascade.interfaces import Failure

        recorded: Recorded = node.value
        node.value = None
        failure = recorded.value
        if isinstance(failure, Failure) and failure.task_id == node.key:
            self._outcome.failed_before(node, failure, f"its failure was kept in attempt {recorded.attempt}")
            return
        self._outcome.skip_reasons[node] = _reason(recorded.attempt)
        if not recorded.turn:
            self._outcome.complete(node, recorded.value)
        elif self._outcome.finished.done():
            self._outcome.stopped(node)
        else:
            graph = node.scope.continue_at(node, recorded.turn)
            self._start(node, node, partial(self._forward, node, node, graph, recorded.value))

    def _start(
        self, node: Node, continuation_target: Node, work: Callable[[], Awaitable[list[Node]]]
    ) -> None:
        expanding = asyncio.get_running_loop().create_task(
            self._settle(node, continuation_target, work), name=node.label
        )
        expanding.add_done_callback(partial(self._cancelled_before_start, node, continuation_target))
        self._expanding[node] = expanding

    async def _settle(
        self, node: Node, continuation_target: Node, work: Callable[[], Awaitable[list[Node]]]
    ) -> None:
        """Do the work and admit the nodes that it built, or record why there are none."""
        outcome = self._outcome
        try:
            try:
                # an eager task factory runs this before _start() has recorded it
                if node not in self._expanding:
                    await asyncio.sleep(0)
                built = await work()
            except asyncio.CancelledError as exc:
                outcome.cancelled(node, exc, continuation_target=continuation_target)
            except Exception as exc:
                outcome.fail(node, exc, continuation_target=continuation_target)
            except BaseException as exc:
                outcome.interrupted(node, exc, continuation_target=continuation_target)
            else:
                # the nodes are linked, so they are admitted nevertheless
                with suppress(asyncio.CancelledError):
                    await self._admit(built)
            finally:
                del self._expanding[node]
                self._wake()
        except BaseException as error:
            # nothing awaits this task, so the run must end here
            outcome.abort(error)

    def _cancelled_before_start(
        self, node: Node, continuation_target: Node, expanding: asyncio.Task[None]
    ) -> None:
        """Record an expansion that other code cancelled before it first ran: it could not record this itself."""
        if self._expanding.get(node) is expanding and not self._outcome.finished.done():
            del self._expanding[node]
            self._outcome.cancelled(node, asyncio.CancelledError(), continuation_target=continuation_target)
            self._wake()

    async def _branch(self, node: Node) -> list[Node]:
        graph = node.scope
        if isinstance(node.items, MapItems):
            self._outcome.complete(node, await finished(node.items.collect(), self._clock))
            return []
        if node.kind is Kind.MAP:
            built = await self._with_items(graph, node)
            self._state.resume(node)
        else:
            route = graph.route(node)
            built = await self._linked(graph, route, lambda: graph.forward(node, route))
            self._outcome.report_complete(node)
        self._report((), node)
        return built

    async def _with_items(self, graph: Scope, node: Node) -> list[Node]:
        """Turn a map into the gathering of its items; return the nodes that it needs for that already."""
        columns, lazies = await finished(graph.columns(node), self._clock)
        if self._recording is not None:
            assert isinstance(node.call, MapCall)
            await self._recording.recorded_items(graph, node.call, columns)
            if lazies is not None:
                wanted = list(lazies)
                await self._recording.recorded_values(graph, wanted)
                lazies = iter(wanted)
        if lazies is not None:
            return await self._in_turn(graph.build_items(node, columns, lazies, self._check))
        graph.begin_items(node, columns)
        return []

    async def _continue(
        self, node: Node, continuation_target: Node, graph: Scope, lazy: LazyResult[Any]
    ) -> list[Node]:
        if self._recording is not None:
            await self._recording.before_expand(node, continuation_target, graph, lazy)
        return await self._forward(node, continuation_target, graph, lazy)

    async def _forward(
        self, node: Node, continuation_target: Node, graph: Scope, lazy: LazyResult[Any]
    ) -> list[Node]:
        built = await self._linked(graph, lazy, lambda: graph.forward(continuation_target, lazy))
        self._outcome.report_complete(node)
        return built

    async def _linked(self, graph: Scope, lazy: LazyResult[Any], link: Callable[[], Node]) -> list[Node]:
        """Build nodes and have a node wait for them; return those that are still to be admitted."""
        built = await self._built(graph, [lazy])
        try:
            self._state.resume(link())
        except BaseException:
            self._state.admit(built)  # others may wait for some of them
            raise
        return built

    async def _built(self, graph: Scope, lazies: Sequence[LazyResult[Any]]) -> list[Node]:
        if self._recording is not None:
            await self._recording.recorded_values(graph, lazies)
        return await self._in_turn(graph.build(lazies, self._check))

    async def _in_turn(self, build: Generator[list[Node], None, None]) -> list[Node]:
        """Return what a build gives; no other one of the run goes on meanwhile."""
        built: list[Node] = []
        # a second build would find half-built nodes of the first one
        async with self._building:
            with closing(build), LoopShare.taken() as share:
                began = self._clock.monotonic()
                try:
                    for nodes in build:
                        built += nodes
                        self._report(nodes, None)
                        began = await turn(began, share, self._clock)
                except (Exception, asyncio.CancelledError) as exc:
                    await finished(_undone(build, exc, built), self._clock)
                    raise
        return built

    async def _admit(self, nodes: list[Node]) -> None:
        """Admit nodes to the run: all of them, also if this is cancelled, because others may wait for them."""
        rest = iter(nodes)
        try:
            with LoopShare.taken() as share:
                began = self._clock.monotonic()
                while some := list(islice(rest, _ADMITTED_AT_ONCE)):
                    self._state.admit(some)
                    began = await turn(began, share, self._clock)
        finally:
            if not self._outcome.finished.done():  # otherwise no task starts
                self._state.admit(rest)


def _undone(
    build: Generator[list[Node], None, None], error: BaseException, built: list[Node]
) -> Generator[None, None, None]:
    """Have a build that is cancelled, or has failed, remove its nodes in steps."""
    with suppress(type(error)):  # raised again by the build
        build.throw(error)
        yield
        for _ in build:
            yield
    yield from emptied(built)


@functools.lru_cache(maxsize=64)
def _reason(attempt: int) -> str:
    """Return why a step need not run: one text for many steps."""
    return f"recorded in attempt {attempt}"


_ADMITTED_AT_ONCE = 1024
