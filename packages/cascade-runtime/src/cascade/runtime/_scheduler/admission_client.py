"""The client of the engine's admission controller: requests the starts of one run's tasks, and releases what they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from cascade.interfaces import (
    Executor,
    RunCancelledError,
    SupportsResize,
    TaskCancelledError,
    TaskState,
    supports,
)
from cascade.interfaces.control_messages import lift_command
from cascade.interfaces.topics import constraint_topic
from cascade.runtime._admission.capacities import ConstraintResolver
from cascade.runtime._admission.request_queues import (
    AdmittedRun,
    BlockReason,
    Covers,
    Demands,
    StartRequest,
    WorkerSlots,
)
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.checkpoints import CheckpointGate
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.run_parts import RunParts
from cascade.spec.policies import NO_POLICIES


class RunAdmission:
    """The admission of one run's tasks.

    A task that nothing can block starts at once, without a request. A task may also run before
    its admission: it looks into its cache, prepares its executor, or waits for its next attempt.
    Such a task holds nothing and calls :meth:`acquire` before it calls its function.

    ``running`` are the asyncio tasks of the run's tasks; None for one whose function is being called without.
    ``launch`` starts a task that was admitted, ``launch_early`` one before its admission. ``proceed`` is called when
    the end of a task that never started may have made others ready.
    """

    def __init__(
        self,
        parts: RunParts,
        *,
        outcome: RunOutcome,
        checkpoints: CheckpointGate,
        running: Mapping[Node, asyncio.Task[None] | None],
        launch: Callable[[Node], None],
        launch_early: Callable[[Node], None],
        proceed: Callable[[], None],
    ) -> None:
        self._controller, self._events = parts.controller, parts.events
        self._outcome, self._checkpoints = outcome, checkpoints
        self._tasks = running
        self._launch, self._launch_early, self._proceed = launch, launch_early, proceed
        self._unwatch: list[Callable[[], None]] = []
        self._run = AdmittedRun(
            parts.run_id,
            workflow=parts.workflow,
            running=self._running,
            start=self._start,
            reject=self._reject,
            report_blocked=self._report_blocked,
            cancel=self._cancel,
            reconsider=checkpoints.reconsider,
            abort=outcome.abort,
        )
        self._resolver = ConstraintResolver(parts.controller.policy.resources)
        self._slots: dict[str, WorkerSlots] = {}  # by mode
        # which tasks of this run use its workers
        self._working: dict[WorkerSlots, set[Node]] = {}
        self._requests: dict[Node, StartRequest] = {}
        # they run, but were not admitted for their next attempt
        self._early: set[Node] = set()
        # done when the attempt's call has finished
        self._abandoned: dict[Node, asyncio.Future[Any]] = {}
        self._acquiring: dict[StartRequest, asyncio.Future[None]] = {}
        # they wait, and were reported as blocked
        self._blocked: set[StartRequest] = set()

    def attach(self) -> None:
        """Begin to be served by the controller."""
        self._controller.attach(self._run)

    def withdraw_all(self) -> list[Node]:
        """Withdraw every request that waits; return the tasks reported as blocked that never started."""
        self._controller.withdraw_all(self._run)
        return [request.subject for request in self._blocked if request not in self._acquiring]

    def detach(self) -> None:
        """Stop being served; a task that cannot be cancelled takes no worker from other runs."""
        for unwatch in self._unwatch:
            unwatch()
        for slots, nodes in self._working.items():
            slots.free += len(nodes)
            nodes.clear()
        self._controller.detach(self._run)

    def check(self, node: Node) -> None:
        """Check early that a task can be admitted at all.

        :raises UsageError: if the engine lacks what the task demands.
        """
        demands = node.call.policies.demands
        if demands:
            # lazy amounts are checked later
            self._resolver.resolve(node.name, demands, lambda amount: 0.0)

    def has_executor(self, mode: str) -> bool:
        """Return whether the executor of this mode is known."""
        return mode in self._slots

    def add_executor(self, mode: str, executor: Executor) -> None:
        """Use the workers of an executor, which is ready, for this mode."""
        slots = self._slots[mode] = self._controller.slots_of(executor)
        self._working.setdefault(slots, set())
        resize = partial(self._resize, executor)
        if supports(executor, SupportsResize):
            self._unwatch.append(executor.watch_workers(resize))

    def _resize(self, executor: Executor) -> None:
        """Use the workers that have joined the executor, and no longer those that have left."""
        self._controller.slots_of(executor)
        self._controller.wake()
        self._proceed()

    def has_room(self, mode: str) -> bool:
        """Return whether it makes sense to submit a task of this mode now.

        If not, a task of this run that ends makes room. While other runs use some of the workers,
        only the controller knows when one is free: then a task is submitted and waits there.
        """
        slots = self._slots.get(mode)
        if slots is None:
            return True
        return slots.free > 0 or not self._controller.idle or len(self._working[slots]) < slots.workers

    def is_open_for(self, node: Node) -> bool:
        """Return whether a task for the event loop may start without being submitted."""
        return node.call.settings.policies is NO_POLICIES and self._controller.policy.idle

    def submit(self, node: Node) -> bool:
        """Return whether a task that is not open may start now; otherwise it starts when the controller admits it.

        A task with a cache, or whose executor is not ready, starts early: it may need no admission.

        :raises UsageError: if the engine lacks what the task demands.
        """
        definition = node.definition
        if node.call.settings.policies.cache is not None or not (
            definition.on_loop or self.has_executor(definition.mode)
        ):
            self._early.add(node)
            self._launch_early(node)
            return False
        demands = self._demands(node)
        if self._admit_at_once(node, demands):
            return True
        self._controller.submit(self._request(node, demands))
        return False

    async def acquire(self, node: Node) -> bool:
        """Wait until a task that started early is admitted; return whether it was reported as blocked.

        :raises UsageError: if the engine lacks what the task demands.
        :raises TaskCancelledError: if a constraint cancels the task while it waits.
        """
        demands = self._demands(node)
        if self._admit_at_once(node, demands):
            self._early.discard(node)
            return False
        return await self._admitted(self._request(node, demands))

    def release_between_attempts(self, node: Node) -> None:
        """Give back all that a task holds; it calls :meth:`acquire` before its next attempt."""
        self._release(node)
        self._early.add(node)

    def abandon(self, node: Node, done: asyncio.Future[Any]) -> None:
        """Note that a call of the task cannot be stopped: its demands stay in use until ``done``."""
        self._abandoned[node] = done

    def forget(self, node: Node) -> None:
        """Give back all that a task holds, because it has ended."""
        if self._early:
            self._early.discard(node)
        if self._slots or self._requests:
            self._release(node)

    def _release(self, node: Node) -> None:
        """Give back all that a task holds. Idempotent.

        If it has abandoned a call, only the worker is given back (its executor has replaced it).
        The rest follows when the call has finished.
        """
        request = self._requests.pop(node, None)
        slots = self._slots_for(node)
        if slots is not None and node in self._working[slots]:
            self._working[slots].discard(node)
            slots.free += 1
        if self._abandoned and (done := self._abandoned.pop(node, None)) is not None:
            self._controller.release_when_done(done, request or self._new_request(node, ()))
        elif request is not None:
            self._controller.release(request)
        elif not self._controller.idle:
            # the free worker may be what another run waits for
            self._controller.wake()

    def _running(self) -> Iterable[StartRequest]:
        """Return a request for each task that runs, including those that started without one."""
        requests = [
            self._requests.get(node) or self._request(node, ())
            for node in self._tasks
            if node not in self._early
        ]
        return requests + self._controller.abandoned(self._run)

    def _start(self, request: StartRequest) -> None:
        """Start the task of a request that was admitted, or continue it if it started early."""
        node: Node = request.subject
        if request.slots is not None:
            self._working[request.slots].add(node)
        acquired = self._acquiring.get(request)
        if self._outcome.is_stopped(node):
            self._release(node)
            return
        self._early.discard(node)
        if acquired is None:
            self._blocked.discard(request)
            self._launch(node)
        elif not acquired.done():
            acquired.set_result(None)

    def _reject(self, request: StartRequest, reason: BlockReason) -> None:
        """Record that a task was cancelled before it, or its next attempt, started."""
        error = TaskCancelledError(request.name, str(reason), run_id=self._run.run_id, by=reason.by)
        acquired = self._acquiring.get(request)
        if acquired is None:
            self._blocked.discard(request)
            self._requests.pop(request.subject, None)
            self._outcome.fail(request.subject, error)
            self._proceed()
        elif not acquired.done():
            acquired.set_exception(error)

    def _report_blocked(self, request: StartRequest, reason: BlockReason) -> None:
        """Publish that a task waits, and why."""
        self._blocked.add(request)
        started = self._outcome.began.get(request.subject, 0.0)
        self._events.task(request.subject, TaskState.BLOCKED, started, reason=str(reason))

    def _cancel(self, reason: BlockReason, covers: Covers | None) -> None:
        """Cancel the covered tasks that run or wait for their next attempt; without ``covers``, the run."""
        if covers is None:
            run_id = self._run.run_id
            self._outcome.abort(RunCancelledError(run_id, _explained(reason, run_id), by=reason.by))
            return
        loop = asyncio.get_running_loop()
        for node in self._tasks:
            if covers(node.name) and self._outcome.request(node, reason):
                # not at once: a task cancelled before its first iteration would end without a record
                loop.call_soon(self._cancel_task, node)
        self._checkpoints.reconsider()

    def _cancel_task(self, node: Node) -> None:
        task = self._tasks.get(node)
        if task is not None:
            task.cancel()

    def _slots_for(self, node: Node) -> WorkerSlots | None:
        return None if node.definition.on_loop else self._slots.get(node.definition.mode)

    def _admit_at_once(self, node: Node, demands: Demands) -> bool:
        """Admit a task without a request if nothing can block it; return whether it was admitted."""
        slots = self._slots_for(node)
        if demands or node.call.settings.policies.rate is not None or not self._controller.idle:
            return False
        if slots is not None and slots.free <= 0:
            return False
        if slots is not None:
            slots.free -= 1
            self._working[slots].add(node)
        return True

    def _demands(self, node: Node) -> Demands:
        declared = node.call.policies.demands
        if not declared:
            return ()
        return self._resolver.resolve(node.name, declared, lambda amount: node.scope.node(amount).value)

    def _request(self, node: Node, demands: Demands) -> StartRequest:
        request = self._requests[node] = self._new_request(node, demands)
        return request

    def _new_request(self, node: Node, demands: Demands) -> StartRequest:
        rate = node.call.settings.policies.rate
        slots = self._slots_for(node)
        return StartRequest(self._run, node.name, demands=demands, slots=slots, rate=rate, subject=node)

    async def _admitted(self, request: StartRequest) -> bool:
        """Submit a request and wait until it is admitted; return whether it was reported as blocked."""
        acquired = self._acquiring[request] = asyncio.get_running_loop().create_future()
        self._controller.submit(request)
        try:
            await acquired
            return request in self._blocked
        finally:
            self._blocked.discard(request)
            self._acquiring.pop(request, None)
            self._controller.withdraw(request)


def _explained(reason: BlockReason, run_id: str) -> str:
    """Return why a run was cancelled, and what that means for the next one."""
    if reason.topic.startswith(constraint_topic(f"run:{run_id}")):
        return f"{reason}; to run it again before that expires: {lift_command(reason.topic, reason.type)}"
    return f"{reason}; it does not concern runs that begin later"
