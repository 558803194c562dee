"""Drives one run on the event loop: starts what is ready, records what ends."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cascade.interfaces import Clock, TaskState
from cascade.runtime._batches import Batches
from cascade.runtime._calling import Caller
from cascade.runtime._course import Course
from cascade.runtime._entrance import Entrance
from cascade.runtime._growth import Growth
from cascade.runtime._holds import Holds
from cascade.runtime._outcome import Outcome
from cascade.runtime._steps import Steps
from cascade.runtime._tasks import cancel
from cascade.runtime._telling import Teller
from cascade.runtime.checkpoint import current
from cascade.runtime.constraints import Obstacle, Turnstile
from cascade.runtime.graph import Graph
from cascade.runtime.needs import inputs_among, walk
from cascade.runtime.node import Kind, Node
from cascade.runtime.run import RunState
from cascade.spec import LazyResult, read_inputs


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
        teller: Teller,
        clock: Clock,
        caller: Caller,
        turnstile: Turnstile,
        params: Mapping[str, Any],
        carry_on: bool,
    ) -> None:
        self._caller = caller
        self._params = params
        self._teller = teller
        self._entrance = Entrance(run_id, self, turnstile)
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # what one task sets, the next one must not see
        self._graph = Graph()
        self._state = RunState()
        self.running: dict[Node, asyncio.Task[None]] = {}
        """The tasks that run, look into their cache, or wait between two attempts."""
        self._outcome = Outcome(run_id, self._state, teller, carry_on=carry_on)
        self._steps = Steps(self._graph, self._outcome, params)
        self._batches = Batches(
            self._state,
            self._outcome,
            clock=clock,
            context=self._context,
            has_room=self._entrance.has_room,
            start=self._start,
        )
        wake = self._batches.wake
        self._growth = Growth(self._state, self._outcome, clock=clock, check=self._check, wake=wake)
        self._holds = Holds(self._loop, turnstile, teller, run_id, clock=clock, stopped=self._is_over)
        self._course = Course(
            self._entrance, self._outcome, self._holds, teller, clock=clock, ready=caller.ready, wake=wake
        )

    async def run(self, targets: Sequence[LazyResult[Any]]) -> list[Any]:
        """Return the values of the targets; that of a target which was skipped is None.

        :raises InputsError: once for all inputs from outside that are missing or wrong.
        :raises ExecutorUnavailable: if what a task should run on is not there.
        :raises Exception: what the first task that failed had raised, with a note that names it.
        :raises ExceptionGroup: with ``carry_on``, of all failures.
        :raises RunCancelledError: if a constraint has cancelled the run.
        :raises TaskCancelledError: if a constraint has cancelled a task that the run cannot do without.
        """
        self._entrance.open()
        await self._growth.build(self._graph, targets)
        if self._graph.dynamic or self._params:
            inputs = inputs_among(walk(targets))
            self._graph.values = read_inputs(inputs, self._params, os.environ)
        for mode in self._caller.modes():
            await self._course.lead_to(mode)
        nodes = [self._graph.node(lazy) for lazy in targets]
        self._state.aim(nodes)
        self._outcome.conclude()
        self._batches.wake()
        await self._outcome.wait()
        return [node.value for node in nodes]

    async def stop(self, timeout: float) -> list[str]:
        """Cancel what still runs, wait up to ``timeout`` seconds, and return who would not end."""
        self._outcome.close()
        self._batches.stop()
        unbegun: deque[Node] = deque()
        try:
            unbegun += self._entrance.withdraw()  # before the slots of those who are cancelled let others in
            self._holds.reconsider()
            tasks = [*self.running.values(), *self._growth.tasks()]
            stubborn = await cancel(tasks, timeout=timeout)
            unbegun += self._forget_unbegun()
            await self._tell_stopped(unbegun)
        finally:
            for node in unbegun:  # somebody was in a hurry
                self._outcome.stopped(node)
            self._outcome.forsake([*self.running, *self._growth.nodes()])
            self._entrance.close()
            self._graph.clear()
        return sorted(task.get_name() for task in stubborn)

    def is_stopped(self, node: Node) -> bool:
        """Return whether a task is to stop, or not to start; from any thread."""
        return self._outcome.is_stopped(node)

    def abort(self, error: Exception) -> None:
        """End the run with a fault that is no task's."""
        self._outcome.abort(error)

    def launch(self, node: Node, *, outside: bool = False) -> None:
        """Start a task now, in the run's own context: another task's end may be what made room for it."""
        work, context = self._execute(node, outside), self._context.copy()
        self.running[node] = self._loop.create_task(work, name=node.task_id, context=context)

    def turned_away(self, node: Node, obstacle: Obstacle) -> None:
        """Record that a task was cancelled before it began."""
        self._outcome.turned_away(node, obstacle)
        self._batches.proceed()

    def told_blocked(self, node: Node, obstacle: Obstacle) -> None:
        """Tell that a task waits for permission."""
        began = self._outcome.began.get(node, 0.0)
        self._teller.task(node, TaskState.BLOCKED, began, reason=str(obstacle))

    def cancel_run(self, obstacle: Obstacle) -> None:
        """End the run as cancelled."""
        self._outcome.cancelled_by(obstacle)

    def cancel_tasks(self, covers: Callable[[str], bool], obstacle: Obstacle) -> None:
        """Cancel the tasks of such names that run or wait between two attempts."""
        for node in self.running:
            if covers(node.name) and self._outcome.request(node, obstacle):
                self._loop.call_soon(self._cancel, node)
        self._holds.reconsider()

    def reconsider(self) -> None:
        """Look again whether tasks that are held at a checkpoint may go on."""
        self._holds.reconsider()

    def _check(self, node: Node) -> None:
        """Refuse a task that can never start, before it is its turn."""
        if node.call.policies.demands:
            self._entrance.check(node)
        if not node.definition.on_loop or node.definition.injections:
            self._caller.check(node)

    def _is_over(self, node: Node) -> bool:
        """Return whether what a task has called is to stop; from any thread."""
        return self._outcome.is_stopped(node) or node not in self.running

    def _cancel(self, node: Node) -> None:
        """Cancel a task; not before its first step, or it would end without a word, nor after its last one."""
        task = self.running.get(node)
        if task is not None:
            task.cancel()

    def _forget_unbegun(self) -> list[Node]:
        """Return the tasks that were cancelled before their first step, now that nobody else gives back what they hold."""
        unbegun = [node for node, task in self.running.items() if task.done()]
        for node in unbegun:
            del self.running[node]
            self._entrance.ended(node)
        return unbegun + self._growth.take_unbegun()

    async def _tell_stopped(self, nodes: deque[Node]) -> None:
        """Tell that tasks will not begin, letting the loop turn in between; take out whom it was told of."""
        while nodes:
            self._outcome.stopped(nodes.popleft())
            if not len(nodes) % _TOLD_AT_ONCE:
                await asyncio.sleep(0)

    def _start(self, node: Node) -> None:
        if (node.troubled or node.call.condition is not None) and self._steps.refuse(node):
            self._batches.proceed()
        elif node.kind is Kind.CALL and not node.definition.structural:
            try:
                self._entrance.offer(node)
            except Exception as exc:  # a demand that is no amount, or too much
                self._outcome.fail(node, exc)
                self._batches.proceed()
        elif node.kind is Kind.MAP or node.kind is Kind.ROUTE:
            self._growth.grow(node)
        else:
            self._steps.take(node)
            self._batches.proceed()

    async def _execute(self, node: Node, outside: bool) -> None:
        """Run one task through all its attempts."""
        current.set((self._holds, node, 0))
        outcome = self._outcome
        try:
            try:
                if node not in self.running:  # a task factory that is eager: launch() comes first
                    await asyncio.sleep(0)
                value = await (self._caller.look if outside else self._caller.start)(node, self._course)
            except asyncio.CancelledError as exc:
                outcome.cancelled(node, exc)
            except Exception as exc:
                outcome.fail(node, exc)
            except BaseException as exc:
                outcome.interrupted(node, exc)
            else:
                if isinstance(value, LazyResult):
                    self._growth.follow(node, value)
                else:
                    outcome.complete(node, value)
            finally:
                self._left(node)
        except BaseException as exc:  # a fault of ours: the run has to be told
            outcome.abort(exc)

    def _left(self, node: Node) -> None:
        """Give back what a task holds, and let others have it."""
        del self.running[node]
        self._entrance.ended(node)
        if self._holds.visited:
            self._holds.ended(node)
        if self._batches.due is None and (not node.definition.on_loop or self._state.ready):
            self._batches.wake()


_TOLD_AT_ONCE = 64
