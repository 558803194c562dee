"""Drives one run on the event loop: starts what is ready, records what ends."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Mapping, Sequence
from typing import Any

from cascade.interfaces import Clock, EventBus, TaskState, TaskStateEvent
from cascade.interfaces.topics import parse_constraint_topic
from cascade.runtime._calling import Caller
from cascade.runtime._entrance import Entrance
from cascade.runtime._holds import Holds
from cascade.runtime._outcome import Outcome
from cascade.runtime._pace import TARGET, Pace
from cascade.runtime._tasks import cancel
from cascade.runtime._telling import Teller
from cascade.runtime.checkpoint import current
from cascade.runtime.constraints import Obstacle, Turnstile
from cascade.runtime.graph import Graph, Kind, Node, Status, inputs_among
from cascade.runtime.needs import walk
from cascade.runtime.run import RunState, gathered, why_skipped
from cascade.spec import Input, InputCall, LazyResult, read_inputs


class Driver:
    """One run, from its lazy results to their values.

    A task starts as soon as its own inputs are done and the engine's turnstile lets it pass.
    The first failure stops the run: tasks that are running are cancelled, others do not start.
    With ``carry_on`` only what needs the failed task is skipped, and the failures are raised as
    one group at the end.
    """

    def __init__(
        self,
        run_id: str,
        *,
        bus: EventBus,
        clock: Clock,
        caller: Caller,
        turnstile: Turnstile,
        params: Mapping[str, Any],
        carry_on: bool,
    ) -> None:
        self._run_id = run_id
        self._bus = bus
        self._clock = clock
        self._caller = caller
        self._params = params
        self._teller = Teller(run_id, bus, clock)
        self._entrance = Entrance(run_id, self, turnstile, workers=caller.workers)
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # what one task sets, the next one must not see
        self._graph = Graph()
        self._state = RunState()
        self.running: dict[Node, asyncio.Task[None]] = {}
        """The tasks that run or wait between two attempts."""
        self._outcome = Outcome(run_id, self._state, self._teller, carry_on=carry_on)
        self._pace = Pace()
        self._turn: asyncio.Handle | None = None
        self._turn_began = 0.0  # when a turn that started a full batch began, else 0
        self._holds = Holds(self._loop, turnstile, self._teller, run_id, stopped=self._outcome.is_stopped)

    async def run(self, targets: Sequence[LazyResult[Any]]) -> list[Any]:
        """Return the values of the targets; that of a target which was skipped is None.

        :raises InputsError: once for all inputs from outside that are missing or wrong.
        :raises Exception: what the first task that failed had raised, with a note that names it.
        :raises ExceptionGroup: with ``carry_on``, of all failures.
        :raises RunCancelledError: if a constraint has cancelled the run.
        """
        self._entrance.open()
        await self._build(self._graph, targets)
        if self._graph.dynamic or self._params:
            inputs = inputs_among(walk(targets))
            self._graph.values = read_inputs(inputs, self._params, os.environ)
        nodes = [self._graph.node(lazy) for lazy in targets]
        self._state.aim(nodes)
        self._outcome.conclude()
        self._wake()
        await self._outcome.wait()
        return [node.value for node in nodes]

    async def stop(self, timeout: float) -> list[str]:
        """Cancel what still runs, wait up to ``timeout`` seconds, and return who would not end."""
        self._outcome.close()
        if self._turn is not None:
            self._turn.cancel()
        self._holds.reconsider()
        stubborn = await cancel(list(self.running.values()), timeout=timeout)
        for node, task in self.running.items():
            if task.done():  # cancelled before its first step, so that nobody gave back what it was given
                self._entrance.ended(node)
        self._entrance.close()
        self._graph.clear()
        return sorted(task.get_name() for task in stubborn)

    def launch(self, node: Node) -> None:
        """Start a task now, in the run's own context: another task's end may be what made room for it."""
        work, context = self._execute(node), self._context.copy()
        self.running[node] = self._loop.create_task(work, name=node.task_id, context=context)

    def turned_away(self, node: Node, obstacle: Obstacle) -> None:
        """Record that a task was cancelled before it began."""
        if parse_constraint_topic(obstacle.topic) == (f"run:{self._run_id}", "cancel"):
            self._outcome.cancelled_by(obstacle)
            return
        self._outcome.turned_away(node, obstacle)
        self._proceed()

    def told_blocked(self, node: Node, obstacle: Obstacle) -> None:
        """Tell that a task waits for permission."""
        began = self._outcome.began.get(node, 0.0)
        self._teller.task(node, TaskState.BLOCKED, began, reason=str(obstacle))

    def cancel_run(self, obstacle: Obstacle) -> None:
        """End the run as cancelled."""
        self._outcome.cancelled_by(obstacle)

    def cancel_tasks(self, name: str, obstacle: Obstacle) -> None:
        """Cancel the running tasks of this name."""
        for node, task in self.running.items():
            if node.name == name:
                self._outcome.request(node, task, obstacle)
        self._holds.reconsider()

    def reconsider(self) -> None:
        """Look again whether tasks that are held at a checkpoint may go on."""
        self._holds.reconsider()

    def begin(self, node: Node) -> None:
        """Tell that a task's function is about to be called for the first time."""
        if self._bus.wants(TaskStateEvent):
            self._outcome.began[node] = self._clock.monotonic()
            self._teller.task(node, TaskState.RUNNING)

    def spare(self, node: Node, reason: str) -> None:
        """Tell that a task need not run."""
        self._teller.task(node, TaskState.SKIPPED, reason=reason)

    async def again(self, node: Node, error: Exception, delay: float, reason: str) -> None:
        """Tell that an attempt failed, and wait until the next one may begin."""
        began = self._outcome.began.get(node, 0.0)
        self._teller.task(node, TaskState.RETRYING, began, error=error, reason=reason)
        self._wake()  # the worker that it gives back may be what another task needs
        if await self._entrance.again(node, delay):
            self._teller.task(node, TaskState.RUNNING, began)

    async def _build(self, graph: Graph, lazies: Sequence[LazyResult[Any]]) -> None:
        """Add nodes to a graph, letting the loop turn every few milliseconds."""
        began = self._clock.monotonic()
        for nodes in graph.build(lazies):
            for node in nodes:
                if not node.definition.on_loop or node.call.policies.demands:
                    self._entrance.check(node)
                if not node.definition.on_loop or node.definition.injections:
                    self._caller.check(node)
            self._state.admit(nodes)
            if self._clock.monotonic() - began > TARGET:
                await asyncio.sleep(0)
                began = self._clock.monotonic()

    def _wake(self) -> None:
        """Start what is ready in the next turn of the loop."""
        if self._turn is None and not self._outcome.finished.done():
            self._turn = self._loop.call_soon(self._start_ready, context=self._context)

    def _proceed(self) -> None:
        if self._turn is None and self._state.ready:
            self._wake()

    def _start_ready(self) -> None:
        now = self._clock.monotonic()
        if self._turn_began:
            self._pace.learn(now - self._turn_began)
        self._turn = None
        try:
            full = self._start_batch() >= self._pace.batch
        except Exception as exc:  # nobody awaits this callback: the run has to be told
            self._outcome.abort(exc)
            return
        self._turn_began = now if full else 0.0
        if full:
            self._wake()

    def _start_batch(self) -> int:
        """Start up to a batch of what is ready; return how many."""
        most, started, finished = self._pace.batch, 0, self._outcome.finished
        for mode, queue in self._state.offloaded.items():
            while queue and started < most and not finished.done() and self._entrance.has_room(mode):
                self._start(queue.popleft())
                started += 1
        on_loop = self._state.on_loop
        while on_loop and started < most and not finished.done():
            self._start(on_loop.popleft())
            started += 1
        return started

    def _start(self, node: Node) -> None:
        if (node.troubled or node.call.condition is not None) and self._refused(node):
            return
        kind = node.kind
        if kind is Kind.CALL and not node.definition.structural:
            try:
                self._entrance.offer(node)
            except Exception as exc:  # a demand that is no amount, or too much
                self._fail(node, exc)
        elif kind is Kind.MAP or kind is Kind.ROUTE:
            self.running[node] = self._loop.create_task(self._grow(node), name=node.task_id)
        else:
            self._step(node)

    def _refused(self, node: Node) -> bool:
        """Settle a node that must not run, and tell why."""
        if node.call.condition is not None and node.kind in _CONDITIONAL:
            judge = node.inputs[0]
            try:
                if judge.status is Status.DONE and not judge.value:
                    self._outcome.decline(node, judge)
                    self._proceed()
                    return True
            except Exception as exc:  # a value that has no truth, such as an array
                self._fail(node, exc)
                return True
        why = why_skipped(node)
        if why is not None:
            reason, broken = why
            self._outcome.skip(node, reason, broken=broken)
            self._proceed()
        return why is not None

    def _step(self, node: Node) -> None:
        """Take a step of the graph itself, which needs no task."""
        try:
            if node.kind is Kind.GATHER:
                value: Any = gathered(node)
            elif node.kind is Kind.FORWARD:
                value = node.inputs[0].value
            elif isinstance(node.call, InputCall):
                value = self._input(node.call.source)
            else:
                args, kwargs = node.scope.arguments(node)
                value = node.definition.function(*args, **kwargs)
        except Exception as exc:
            self._fail(node, exc)
        else:
            self._complete(node, value)

    def _input(self, source: Input) -> Any:
        values = self._graph.values
        if source not in values:  # one that a task has returned
            known = () if source.from_environment else self._params.keys() & {source.name}
            values |= read_inputs([source], {name: self._params[name] for name in known}, os.environ)
        return values[source]

    def _complete(self, node: Node, value: Any) -> None:
        self._outcome.complete(node, value)
        self._proceed()

    def _fail(self, node: Node, error: Exception) -> None:
        self._outcome.fail(node, error)
        self._proceed()

    async def _grow(self, node: Node) -> None:
        """Build what a map or a choice turned out to need."""
        try:
            graph = node.scope
            if node.kind is Kind.MAP:
                items = graph.items(node)
                await self._build(graph, items)
                graph.gather(node, items)
            else:
                route = graph.route(node)
                await self._build(graph, [route])
                graph.forward(node, route)
            self._state.resume(node)
        except Exception as exc:
            self._fail(node, exc)
        finally:
            del self.running[node]
            self._wake()

    async def _execute(self, node: Node) -> None:
        """Run one task through all its attempts."""
        current.set((self._holds, node))
        outcome = self._outcome
        try:
            value = await self._caller.start(node, self)
        except asyncio.CancelledError as exc:
            outcome.cancelled(node, exc)
            self._proceed()
        except (SystemExit, KeyboardInterrupt) as exc:
            outcome.abort(exc)  # the run ends in good order, and then this is raised
        except Exception as exc:
            self._fail(node, exc)
        else:
            began = outcome.began.get(node)
            if began is not None:
                self._teller.task(node, TaskState.COMPLETED, began)
            if isinstance(value, LazyResult):
                await self._continue(node, value)
            else:
                self._complete(node, value)
        finally:
            del self.running[node]
            outcome.began.pop(node, None)
            self._entrance.ended(node)
            if not node.definition.on_loop:
                self._wake()

    async def _continue(self, node: Node, lazy: LazyResult[Any]) -> None:
        """Go on with the call that a task returned: its value is the task's."""
        graph, heir = node.scope.continuation(node)
        try:
            await self._build(graph, [lazy])
            graph.forward(heir, lazy)
        except Exception as exc:
            self._fail(heir, exc)
        else:
            self._state.resume(heir)
            self._wake()


_CONDITIONAL = frozenset({Kind.CALL, Kind.MAP, Kind.ROUTE, Kind.INPUT})
