"""What a recorded run is made of, in the places of a plain run's parts."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from cascade.interfaces import TaskStateEvent
from cascade.runtime._graph.node import Kind, Node, Scope
from cascade.runtime._graph.recorded import Recorded, RecordedGraph
from cascade.runtime._recovery.recorder import Recorder
from cascade.runtime._recovery.restorer import Restorer
from cascade.runtime._scheduler.attempts import AttemptContext
from cascade.runtime._scheduler.checkpoints import current
from cascade.runtime._scheduler.expansion import GraphExpansion
from cascade.runtime._scheduler.runner import TaskRunner, Wrapped
from cascade.runtime._support.clock import pause
from cascade.runtime._support.pace import finished
from cascade.runtime._support.returned import with_calls
from cascade.spec import PLAIN, LazyResult, MapCall


class RecordedAttempts(AttemptContext):
    """Records each attempt when it begins, and the delays between them."""

    def __init__(self, *parts: Any, recorder: Recorder, **settings: Any) -> None:
        super().__init__(*parts, **settings)
        self._recorder = recorder

    def begin(self, node: Node) -> None:
        """Record and report that a task's function is about to be called for the first time."""
        self._recorder.started(node)
        super().begin(node)

    def skip(self, node: Node, reason: str) -> None:
        """Note why a task need not run; record its start, so that its row is complete."""
        self._recorder.started(node)
        super().skip(node, reason)

    async def retry(self, node: Node, error: Exception, delay: float, reason: str) -> None:
        """Record and report a failed attempt, wait, and then for permission to try again."""
        if not self._outcome.is_stopped(node):
            self._recorder.retrying(node, error, delay)
        await super().retry(node, error, delay, reason)
        await self._writable()
        self._recorder.started(node)

    def end_expected(self, node: Node) -> TaskStateEvent | None:
        """Return the event that will report the task's end; None if nothing subscribes to it."""
        return self._outcome.end_expected(node)

    async def resume(self, node: Node, *, admitted: bool) -> None:
        """Wait as long as a step's next attempt has to, which a process that was killed had begun to wait for."""
        await self._writable()
        record, retry = self._recorder.interrupted(node), node.call.policies.retry
        if record is None or retry is None:
            return
        node.attempt = min(record.tries + 1, retry.max_attempts)
        current.set((self._checkpoints, node, node.attempt))
        longest = retry.delay_after(record.tries, 1.0)
        delay = min(record.not_before - self._clock.now(), longest)
        if delay <= 0:
            return
        if admitted:
            self._admission.release_between_attempts(node)
        self._wake()
        await pause(self._call_later, delay)
        if admitted:
            await self.admit(node)

    async def _writable(self) -> None:
        """Wait until rows can be written, if they cannot; then start the steps that were held meanwhile."""
        if self._recorder.stalled:
            try:
                await self._recorder.writable()
            finally:
                self._wake()


class RecordedRunner(TaskRunner):
    """Commits what becomes of a task before anything sees it."""

    def __init__(self, *parts: Any, recorder: Recorder, run_attempt: int, **settings: Any) -> None:
        super().__init__(*parts, **settings)
        self.wraps_all = True
        self.run_attempt = run_attempt
        self._recorder = recorder

    def holds(self) -> bool:
        """Return whether no further task should start, because rows cannot be written as fast."""
        return self._recorder.holds()

    async def start(self, node: Node, context: AttemptContext) -> Any:
        """Start a task that is admitted; return its value when that is recorded."""
        return await self._recorded(node, context, super().start, admitted=True)

    async def start_unadmitted(self, node: Node, context: AttemptContext) -> Any:
        """Start a task that has no permission yet; return its value when that is recorded."""
        if node.call.policies.cache is None:
            return await super().start_unadmitted(node, context)
        return await self._recorded(node, context, super().start_unadmitted, admitted=False)

    async def _recorded(
        self,
        node: Node,
        context: AttemptContext,
        start: Callable[[Node, AttemptContext], Awaitable[Any]],
        *,
        admitted: bool,
    ) -> Any:
        assert isinstance(context, RecordedAttempts)
        if self._recorder.continues or self._recorder.stalled:
            await context.resume(node, admitted=admitted)
        try:
            value = await start(node, context)
            if type(value) not in PLAIN:
                value = await with_calls(value)
        except Exception as exc:
            await self._recorder.failed(node, exc)
            raise
        if not isinstance(value, LazyResult):  # calls are recorded when it is known where they are built
            await self._recorder.completed(node, value, context.end_expected)
        return value

    def _innermost(self, node: Node) -> Wrapped:
        call = super()._innermost(node)
        return partial(self._certainly, call) if node.call.policies.at_most_once else call

    async def _certainly(self, call: Wrapped, node: Node, context: AttemptContext) -> Any:
        """Commit the start of an attempt, so that a later process knows that it may have been made."""
        await self._recorder.started_for_certain(node)
        return await call(node, context)


class RecordedExpansion(GraphExpansion):
    """Takes recorded values into each graph before it is built, and commits what tasks return before that is built."""

    def __init__(self, *parts: Any, recorder: Recorder, restorer: Restorer, **settings: Any) -> None:
        super().__init__(*parts, **settings)
        self._recorder = recorder
        self._restorer = restorer

    def expand(self, node: Node) -> None:
        """Have a node take its recorded value, or start to build the calls that it had returned."""
        if node.kind is not Kind.RECORDED:
            super().expand(node)
            return
        recorded, node.value = node.value, None
        assert isinstance(recorded, Recorded)
        assert isinstance(node.scope, RecordedGraph)
        self._outcome.skip_reasons[node] = _reason(recorded.attempt)
        if not recorded.turn:
            self._outcome.complete(node, recorded.value)
        elif self._outcome.finished.done():
            self._outcome.stopped(node)
        else:
            graph = node.scope.continue_at(node, recorded.turn)
            self._start(node, node, partial(super()._continue, node, node, graph, recorded.value))

    async def _continue(
        self, node: Node, continuation_target: Node, graph: Scope, lazy: LazyResult[Any]
    ) -> list[Node]:
        assert isinstance(graph, RecordedGraph)
        await self._recorder.expanded(node, continuation_target, graph, lazy, self._outcome.end_expected)
        return await super()._continue(node, continuation_target, graph, lazy)

    async def _built(self, graph: Scope, lazies: Iterable[LazyResult[Any]]) -> list[Node]:
        assert isinstance(graph, RecordedGraph)
        wanted: Sequence[LazyResult[Any]] = list(lazies)
        await self._restorer.restore(graph, wanted)
        return await super()._built(graph, wanted)

    async def _with_items(self, graph: Scope, node: Node) -> list[Node]:
        columns, lazies = await finished(graph.columns(node), self._clock)
        assert isinstance(graph, RecordedGraph)
        assert isinstance(node.call, MapCall)
        await self._restorer.restore_items(graph, node.call, columns)
        if lazies is not None:
            wanted = list(lazies)
            await self._restorer.restore(graph, wanted)
            return await self._in_turn(graph.build_items(node, columns, iter(wanted), self._check))
        graph.begin_items(node, columns)
        return []


@functools.lru_cache(maxsize=64)
def _reason(attempt: int) -> str:
    """Return why a step need not run: one text for many steps."""
    return f"recorded in attempt {attempt}"
