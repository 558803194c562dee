"""What has become of one run: its settled nodes, its failures, and whether it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from cascade.interfaces import RunCancelledError, TaskCancelledError, TaskState
from cascade.runtime import _traceback
from cascade.runtime._telling import Teller
from cascade.runtime.constraints import Obstacle
from cascade.runtime.node import Kind, Node, Status
from cascade.runtime.run import RunState

STOPPING = "the run is stopping"
"""Why a task is cancelled that nobody had asked to stop."""


class Outcome:
    """Records how each task of a run ends, tells it, and ends the run when it is time.

    With ``carry_on`` a failure only keeps from running what needs the failed task.
    """

    def __init__(self, run_id: str, state: RunState, teller: Teller, *, carry_on: bool) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing more may start: the run's targets are settled, or it failed, or was cancelled."""
        self.began: dict[Node, float] = {}
        """When tasks that were told as running began, on the monotonic clock."""
        self.spared: dict[Node, str] = {}
        """Why tasks need not run; told when their value is there: what an equal call returned may grow first."""
        self._run_id = run_id
        self._state = state
        self._teller = teller
        self._carry_on = carry_on
        self._errors: list[Exception] = []
        self._to_cancel: dict[Node, str] = {}

    async def wait(self) -> None:
        """Wait until the run is over.

        :raises Exception: what ended it; with ``carry_on`` all failures as one group.
        """
        await self.finished
        if self._errors:
            raise ExceptionGroup(f"{len(self._errors)} of the run's tasks failed", self._errors)

    def close(self) -> None:
        """End the run if nothing else has."""
        if not self.finished.done():
            self.finished.cancel()
        elif not self.finished.cancelled():
            self.finished.exception()  # it may be that nobody came to await it

    def is_stopped(self, node: Node) -> bool:
        """Return whether a task is to stop; from any thread."""
        return self.finished.done() or node in self._to_cancel

    def abort(self, error: BaseException) -> None:
        """End the run with an error that is nobody's failure: a word to the process, a cancel, a fault."""
        if not self.finished.done():
            if self._errors:
                _traceback.add_earlier(error, self._errors)
            self.finished.set_exception(error)

    def complete(self, node: Node, value: Any) -> None:
        """Record a value."""
        if self.began or self.spared:
            self.tell_complete(node)
        self._state.complete(node, value)
        self.conclude()

    def tell_complete(self, node: Node) -> None:
        """Tell that a task gave a value, if it was told as running, or that it need not run."""
        began = self.began.pop(node, None)
        if began is not None:
            self._teller.task(node, TaskState.COMPLETED, began)
        elif (reason := self.spared.pop(node, None)) is not None:
            self._teller.task(node, TaskState.SKIPPED, reason=reason)

    def skip(self, node: Node, reason: str, *, broken: bool) -> None:
        """Record that a node does not run; ``broken`` says that a failure is the reason."""
        if not node.definition.structural and node.kind is not Kind.FORWARD:  # one that has completed itself
            self._teller.task(node, TaskState.SKIPPED, reason=reason)
        self._state.skip(node, broken=broken)
        self.conclude()

    def decline(self, node: Node, judge: Node) -> None:
        """Record that the condition of a node is false."""
        condition = node.call.condition
        assert condition is not None
        reason = f"its condition {judge.task_id} is false"
        if condition.skips:
            self.skip(node, reason, broken=False)
        else:
            if not node.definition.structural:
                self._teller.task(node, TaskState.SKIPPED, reason=reason)
            self.complete(node, condition.otherwise)

    def fail(self, node: Node, error: Exception, *, heir: Node | None = None) -> None:
        """Record a failure; ``heir`` is who would have taken the value, if not the node itself."""
        began = self.began.pop(node, 0.0)
        if isinstance(error, TaskCancelledError) and error.run_id == self._run_id:  # at the turnstile
            self._teller.task(node, TaskState.CANCELLED, began, reason=error.reason)
        else:
            self._teller.task(node, TaskState.FAILED, began, error=error)
        self._give_up(node, error, heir or node)

    def turned_away(self, node: Node, obstacle: Obstacle) -> None:
        """Record that a task was cancelled before it began."""
        self.fail(node, TaskCancelledError(node.name, str(obstacle), run_id=self._run_id))

    def cancelled_by(self, obstacle: Obstacle) -> None:
        """End the run as cancelled from outside."""
        self.abort(RunCancelledError(self._run_id, str(obstacle)))

    def request(self, node: Node, obstacle: Obstacle) -> bool:
        """Record that a task is to stop; return whether that is news."""
        if node in self._to_cancel:
            return False
        self._to_cancel[node] = str(obstacle)
        return True

    def cancelled(self, node: Node, error: asyncio.CancelledError, *, heir: Node | None = None) -> None:
        """Record the end of a task that we cancelled; for any other it is a failure.

        ``heir`` is who would have taken the value of the call that the task had returned.
        """
        requested = self._to_cancel.pop(node, None)
        if requested is None and not self.finished.done():
            failure = TaskCancelledError(node.name, "something that it awaited had been cancelled")
            failure.__cause__ = error
            self.fail(node, failure, heir=heir)
            return
        reason = requested or STOPPING
        if heir is None and not node.definition.on_loop:
            reason += "; what cannot be stopped runs on to its end"
        self._teller.task(node, TaskState.CANCELLED, self.began.pop(node, 0.0), reason=reason)
        if requested is not None:
            cancelled = TaskCancelledError(node.name, requested, run_id=self._run_id)
            self._give_up(node, cancelled, heir or node)

    def stopped(self, node: Node) -> None:
        """Tell that a task came to nothing because the run is over; it means nothing more for the run."""
        self._teller.task(node, TaskState.CANCELLED, self.began.pop(node, 0.0), reason=STOPPING)

    def forsake(self, nodes: Iterable[Node]) -> None:
        """Tell that tasks are waited for no more, and nothing after this."""
        for node in nodes:
            reason = f"{STOPPING}; what does not stop runs on to its end"
            self._teller.task(node, TaskState.CANCELLED, self.began.pop(node, 0.0), reason=reason)
        self._teller.close()

    def interrupted(self, node: Node, error: BaseException) -> None:
        """Record that a task raised what is no failure, such as a word to the process: it ends the run."""
        self._teller.task(node, TaskState.FAILED, self.began.pop(node, 0.0), error=error)
        self.abort(error)

    def conclude(self) -> None:
        """End the run if every target is settled."""
        if self._state.finished and not self.finished.done():
            self.finished.set_result(None)

    def _give_up(self, node: Node, error: Exception, heir: Node) -> None:
        """Record what a task that will give no value means for the run."""
        if self.finished.done():
            return
        _traceback.mark(error, node, self._run_id)
        if not self._carry_on:
            self.finished.set_exception(error)
            return
        self._errors.append(error)
        if heir.status is Status.WAITING:
            self._state.fail(heir)
        self.conclude()
