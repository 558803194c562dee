"""Drives one run on the event loop: starts what is ready, records what ends, stops at a failure."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from types import CoroutineType
from typing import Any

from cascade.interfaces import Clock, EventBus, Executor, TaskCancelledError, TaskState, TaskStateEvent
from cascade.interfaces.errors import TaskTimeoutError
from cascade.runtime._pace import TARGET, Pace
from cascade.runtime._tasks import cancel
from cascade.runtime.graph import Graph, Kind, Node
from cascade.runtime.run import RunState, gathered
from cascade.runtime.telemetry.redaction import describe
from cascade.spec import LazyResult
from cascade.spec.policies import NO_POLICIES

_log = logging.getLogger("cascade.engine")


class Driver:
    """One run, from its lazy results to their values.

    A task starts as soon as its own inputs are done. The first failure stops the run: tasks
    that are running are cancelled, others do not start.
    """

    def __init__(
        self, run_id: str, *, bus: EventBus, executor: Executor, clock: Clock, stop_timeout: float
    ) -> None:
        self._run_id = run_id
        self._bus = bus
        self._executor = executor
        self._clock = clock
        self._stop_timeout = stop_timeout
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # what one task sets, the next one must not see
        self._graph = Graph()
        self._state = RunState()
        self._running: dict[Node, asyncio.Task[None]] = {}
        self._offloaded = 0
        self._pace = Pace()
        self._turn: asyncio.Handle | None = None
        self._turn_began = 0.0  # when a turn that started a full batch began, else 0
        self._finished: asyncio.Future[None] = self._loop.create_future()

    async def run(self, targets: Sequence[LazyResult[Any]]) -> list[Any]:
        """Return the values of the targets.

        :raises Exception: what the first task that failed had raised, with a note that names it.
        """
        try:
            await self._build(targets)
            nodes = [self._graph.node(lazy) for lazy in targets]
            self._state.aim(node for node in nodes if not node.done)
            self._conclude()
            self._wake()
            await self._finished
            return [node.value for node in nodes]
        finally:
            await self._stop()

    async def _build(self, lazies: Sequence[LazyResult[Any]]) -> None:
        """Add nodes to the graph, letting the loop turn every few milliseconds."""
        began = self._clock.monotonic()
        for nodes in self._graph.build(lazies):
            self._state.admit(nodes)
            if self._clock.monotonic() - began > TARGET:
                await asyncio.sleep(0)
                began = self._clock.monotonic()

    def _wake(self) -> None:
        """Start what is ready in the next turn of the loop."""
        if self._turn is None and not self._finished.done():
            self._turn = self._loop.call_soon(self._start_ready, context=self._context)

    def _start_ready(self) -> None:
        now = self._clock.monotonic()
        if self._turn_began:
            self._pace.learn(now - self._turn_began)
        self._turn = None
        started = self._start_batch()
        full = started >= self._pace.batch
        self._turn_began = now if full else 0.0
        if full:
            self._wake()

    def _start_batch(self) -> int:
        on_loop, offloaded = self._state.on_loop, self._state.offloaded
        started = 0
        while offloaded and self._offloaded < self._executor.workers and started < self._pace.batch:
            self._offloaded += 1
            self._start(offloaded.popleft())
            started += 1
        while on_loop and started < self._pace.batch:
            self._start(on_loop.popleft())
            started += 1
        return started

    def _start(self, node: Node) -> None:
        if node.kind is Kind.GATHER:
            self._complete(node, gathered(node))
            return
        work = self._expand(node) if node.kind is Kind.MAP else self._execute(node)
        self._running[node] = self._loop.create_task(work, name=node.task_id)

    def _complete(self, node: Node, value: Any) -> None:
        state = self._state
        state.complete(node, value)
        if state.finished:
            self._conclude()
        elif self._turn is None and (state.on_loop or state.offloaded):
            self._wake()

    def _conclude(self) -> None:
        if self._state.finished and not self._finished.done():
            self._finished.set_result(None)

    async def _expand(self, node: Node) -> None:
        """Grow a map whose iterables have arrived."""
        try:
            calls = self._graph.expand(node)
            await self._build(calls)
            self._graph.gather(node, calls)
        except Exception as exc:
            self._fail(node, exc, began=self._clock.monotonic())
        else:
            if not node.waiting:
                self._complete(node, gathered(node))
            self._wake()
        finally:
            del self._running[node]

    async def _execute(self, node: Node) -> None:
        """Run one task through all its attempts."""
        began = self._clock.monotonic()
        observed = self._bus.wants(TaskStateEvent)
        if observed:
            self._tell(node, TaskState.RUNNING)
        try:
            if node.lazy.policies is NO_POLICIES:
                value = await self._call(node)
            else:
                value = await self._attempts(node, began)
        except asyncio.CancelledError as exc:
            self._cancelled(node, exc, began)
        except Exception as exc:
            self._fail(node, exc, began)
        else:
            if observed:
                self._tell(node, TaskState.COMPLETED, began)
            self._complete(node, value)
        finally:
            del self._running[node]
            if not node.definition.on_loop:
                self._offloaded -= 1
                self._wake()

    async def _call(self, node: Node) -> Any:
        definition = node.definition
        args, kwargs = self._graph.arguments(node)
        if definition.is_async:
            return await definition.function(*args, **kwargs)
        if definition.on_loop:
            value = definition.function(*args, **kwargs)
        else:
            value = await self._executor.run(definition.function, args, kwargs)
        return await value if type(value) is CoroutineType else value

    async def _attempts(self, node: Node, began: float) -> Any:
        """Try as often as the task's policies allow."""
        policies = node.lazy.policies
        retry = policies.retry
        attempt = 1
        while True:
            try:
                return await self._attempt(node, policies.timeout)
            except Exception as exc:
                if retry is None or attempt >= retry.max_attempts:
                    raise
                delay = retry.delay_after(attempt)
                reason = (
                    f"attempt {attempt} of {retry.max_attempts} failed; the next one comes in {delay:g} s"
                )
                self._tell(node, TaskState.RETRYING, began, error=exc, reason=reason)
            await asyncio.sleep(delay)
            attempt += 1

    async def _attempt(self, node: Node, timeout: float | None) -> Any:
        if timeout is None:
            return await self._call(node)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._call(node)
        except TimeoutError as exc:
            if limit.expired():
                raise TaskTimeoutError(node.name, timeout) from exc
            raise

    def _cancelled(self, node: Node, error: asyncio.CancelledError, began: float) -> None:
        """Record the end of a task that we cancelled; for any other it is a failure."""
        if not self._finished.done():
            failure = TaskCancelledError(node.name)
            failure.__cause__ = error
            self._fail(node, failure, began)
            return
        self._tell(node, TaskState.CANCELLED, began)

    def _fail(self, node: Node, error: Exception, began: float) -> None:
        self._tell(node, TaskState.FAILED, began, error=error)
        if not self._finished.done():
            error.add_note(f"in task {node.name!r} ({node.task_id}) of run {self._run_id}")
            self._finished.set_exception(error)

    def _tell(
        self,
        node: Node,
        state: TaskState,
        began: float = 0.0,
        *,
        error: Exception | None = None,
        reason: str = "",
    ) -> None:
        if not self._bus.wants(TaskStateEvent):
            return
        self._bus.publish(
            TaskStateEvent(
                self._run_id,
                node.task_id,
                node.definition.name,
                state,
                self._clock.now(),
                round((self._clock.monotonic() - began) * 1000, 3) if began else 0.0,
                describe(error) if error is not None else "",
                reason,
            )
        )

    async def _stop(self) -> None:
        """Cancel what still runs and wait for it, for a limited time."""
        if not self._finished.done():
            self._finished.cancel()
        if self._turn is not None:
            self._turn.cancel()
        stubborn = await cancel(list(self._running.values()), timeout=self._stop_timeout)
        threads = await self._executor.settle(self._stop_timeout)
        if stubborn or threads:
            names = ", ".join(sorted(task.get_name() for task in stubborn))
            _log.warning(
                "run %s ended, but %d tasks refuse to be cancelled (%s) and %d run on in threads, "
                "which cannot be stopped",
                self._run_id,
                len(stubborn),
                names or "none",
                threads,
            )
