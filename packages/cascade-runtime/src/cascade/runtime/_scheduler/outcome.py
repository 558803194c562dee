"""The outcome of a run: how its tasks end, and when the run is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cascade.interfaces import TaskCancelledError, TaskState, TaskStateEvent, UsageError
from cascade.runtime._admission.request_queues import BlockReason
from cascade.runtime._graph.node import Kind, Node, Status
from cascade.runtime._scheduler.events import EventEmitter
from cascade.runtime._scheduler.state import RunState
from cascade.spec import LazyResult

if TYPE_CHECKING:
    from cascade.interfaces import Failure

STOPPING = "the run is stopping"
"""Reason of a task that is cancelled because the run ends."""


class RunOutcome:
    """Records and reports how each task of a run ends, and ends the run after the last target or a failure.

    With ``continue_on_failure`` a failure does not end the run: only tasks that need the failed one are skipped.
    ``failures`` collects all of them.
    """

    def __init__(
        self,
        run_id: str,
        state: RunState,
        events: EventEmitter,
        *,
        continue_on_failure: bool,
        failures: list[Failure] | None = None,
    ) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing more may start: the run's targets are settled, or it failed, or was cancelled."""
        self.began: dict[Node, float] = {}
        """When tasks that were reported as running began, on the monotonic clock."""
        self.skip_reasons: dict[Node, str] = {}
        """Why tasks need not run; reported with their value, for which an expansion may have to run first."""
        self._run_id = run_id
        self._state = state
        self._events = events
        self._continue_on_failure = continue_on_failure
        self._errors: list[Exception] = []
        self._first_failed: Node | None = None
        self._first_error: Exception | None = None
        self._failed_of_map = 0
        """How many tasks failed that are items of the same map as the first."""
        self._failures = failures
        self._kept: dict[Node, Failure] = {}
        """Calls that will have a value although a task failed which they returned, with that failure."""
        self._to_cancel: dict[Node, BlockReason] = {}

    async def wait(self) -> None:
        """Wait until the run is over.

        :raises Exception: what ended it; with ``continue_on_failure`` all failures as one group.
        """
        await self.finished
        if self._errors:
            raise ExceptionGroup(f"{len(self._errors)} of the run's tasks failed", self._errors)

    def cause(self, error: Exception) -> str:
        """Return why the run failed, for watchers: the first task that failed, its error, and how many failed.

        :param error: what the run raises.
        """
        from cascade.runtime._scheduler.kept_failures import cause_of

        if isinstance(error, ExceptionGroup) and self._errors:
            failed, of_map = len(self._errors), self._failed_of_map
            return cause_of(self._errors[0], self._first_failed, failed=failed, of_map=of_map)
        return cause_of(error, self._first_failed if error is self._first_error else None)

    def close(self) -> None:
        """End the run if nothing else has."""
        if not self.finished.done():
            self.finished.cancel()
        elif not self.finished.cancelled():
            # the error counts as retrieved, also if the run did not await it
            self.finished.exception()

    def is_stopped(self, node: Node) -> bool:
        """Return whether a task is to stop; from any thread."""
        return self.finished.done() or node in self._to_cancel

    def abort(self, error: BaseException) -> None:
        """End the run with an error that is not a task's failure: KeyboardInterrupt, a cancel, an internal error."""
        if not self.finished.done():
            if self._errors:
                from cascade.runtime._scheduler.tracebacks import add_earlier

                add_earlier(error, self._errors)
            self.finished.set_exception(error)

    def complete(self, node: Node, value: Any) -> None:
        """Record a value."""
        if self.began or self.skip_reasons:
            self.report_complete(node)
        self._state.complete(node, value)
        if not self._state.targets:
            self.conclude()

    def report_complete(self, node: Node) -> None:
        """Report that a task gave a value, if it was reported as running, or that it need not run."""
        began = self.began.pop(node, None)
        if began is not None:
            self._events.task(node, TaskState.COMPLETED, began)
        elif (reason := self.skip_reasons.pop(node, None)) is not None:
            self._events.task(node, TaskState.SKIPPED, reason=reason)

    def end_expected(self, node: Node, error: Exception | None = None) -> TaskStateEvent | None:
        """Return the event that would report the end of a task now; None if there would be none.

        :param error: why the task failed; without it, it gave a value.
        """
        if node in self.began:
            state = TaskState.COMPLETED if error is None else TaskState.FAILED
            return self._events.made(node, state, self.began[node], error=error)
        if node in self.skip_reasons and self._events.wants_tasks():
            return self._events.made(node, TaskState.SKIPPED, reason=self.skip_reasons[node])
        return None

    def skip(self, node: Node, reason: str, *, by_failure: bool) -> None:
        """Record that a node does not run; ``by_failure`` says that a failure is the reason."""
        if by_failure and (failure := self._kept.pop(node, None)) is not None:
            self._complete_failed(node, node, failure)
            return
        # a forwarding node was reported when its call ended
        if not node.definition.structural and node.kind is not Kind.FORWARD:
            self._events.task(node, TaskState.SKIPPED, reason=reason)
        self._state.skip(node, by_failure=by_failure)
        self.conclude()

    def decline(self, node: Node, condition_node: Node) -> bool:
        """Record that the condition of a node is false; return whether another call has to run for its value."""
        condition = node.call.condition
        assert condition is not None
        reason = f"its condition {condition_node.key} is false"
        if condition.skips:
            self.skip(node, reason, by_failure=False)
            return False
        if not node.definition.structural:
            self.skip_reasons[node] = reason
        if isinstance(condition.otherwise, LazyResult):
            node.kind = Kind.OTHERWISE
            return True
        self.complete(node, condition.otherwise)
        return False

    def fail(self, node: Node, error: Exception, *, continuation_target: Node | None = None) -> None:
        """Record a failure; ``continuation_target`` is the node that would have taken the value, if it is another one."""
        began = self.began.pop(node, 0.0)
        # before it started
        if isinstance(error, TaskCancelledError) and error.run_id == self._run_id:
            self._events.task(node, TaskState.CANCELLED, began, reason=error.reason)
        else:
            self._events.task(node, TaskState.FAILED, began, error=error)
        self._give_up(node, error, continuation_target or node)

    def failed_before(self, node: Node, failure: Failure, reason: str) -> None:
        """Record a failure that an earlier attempt of the run has kept: it is final."""
        self._events.task(node, TaskState.SKIPPED, reason=reason)
        if self.finished.done():
            return
        if self._failures is not None:
            self._failures.append(failure)
        if (keeper := _keeper_of(node)) is not None:
            self._keep(node, node, keeper, failure)
            return
        problem = f"{failure}: an earlier attempt kept this failure; restore keep_failures() or or_else(), or start a new run"
        self._give_up(node, UsageError(problem), node)

    def raised(self, node: Node, error: BaseException, *, continuation_target: Node | None = None) -> None:
        """Record what a task raised, of whatever kind: a failure, a cancel or an interrupt."""
        if isinstance(error, asyncio.CancelledError):
            self.cancelled(node, error, continuation_target=continuation_target)
        elif isinstance(error, Exception):
            self.fail(node, error, continuation_target=continuation_target)
        else:
            self.interrupted(node, error, continuation_target=continuation_target)

    def request(self, node: Node, block_reason: BlockReason) -> bool:
        """Record that a task is to stop; return False if it was recorded before."""
        if node in self._to_cancel:
            return False
        self._to_cancel[node] = block_reason
        return True

    def cancelled(
        self, node: Node, error: asyncio.CancelledError, *, continuation_target: Node | None = None
    ) -> None:
        """Record the end of a task that the run cancelled; if the run did not, it is a failure.

        ``continuation_target`` is the node that would have taken the value of the call that the task returned.
        """
        requested = self._to_cancel.pop(node, None)
        if requested is None and not self.finished.done():
            self.fail(node, own_cancel(node, error), continuation_target=continuation_target)
            return
        reason = STOPPING if requested is None else str(requested)
        if continuation_target is None and not node.definition.on_loop:
            reason += "; what cannot be stopped runs on to its end"
        self._events.task(node, TaskState.CANCELLED, self.began.pop(node, 0.0), reason=reason)
        if requested is not None:
            cancelled = TaskCancelledError(node.name, str(requested), run_id=self._run_id, by=requested.by)
            self._give_up(node, cancelled, continuation_target or node)

    def stopped(self, node: Node) -> None:
        """Report a task as cancelled because the run is over."""
        self._events.task(node, TaskState.CANCELLED, self.began.pop(node, 0.0), reason=STOPPING)

    def abandon(self, nodes: Iterable[Node]) -> None:
        """Report tasks that are still running as cancelled, and nothing after this."""
        for node in nodes:
            reason = f"{STOPPING}; what does not stop runs on to its end"
            self._events.task(node, TaskState.CANCELLED, self.began.pop(node, 0.0), reason=reason)
        self._events.close()

    def interrupted(
        self, node: Node, error: BaseException, *, continuation_target: Node | None = None
    ) -> None:
        """End the run because a task raised KeyboardInterrupt or the like, unless it is a failure of the task."""
        if (failure := as_failure(error)) is not None:
            self.fail(node, failure, continuation_target=continuation_target)
            return
        self._events.task(node, TaskState.FAILED, self.began.pop(node, 0.0), error=error)
        self.abort(error)

    def conclude(self) -> None:
        """End the run if every target is settled."""
        if self._state.finished and not self.finished.done():
            self.finished.set_result(None)

    def _give_up(self, node: Node, error: Exception, continuation_target: Node) -> None:
        """End the run, or with ``continue_on_failure`` fail the node, because a task will give no value."""
        if self.finished.done():
            return
        if self._failures is not None:
            self._failures.append(_failure_of(node, error))
        if (keeper := _keeper_of(node, error)) is not None:
            self._keep(node, continuation_target, keeper, _failure_of(node, error, keeper))
            return
        # a run without failures does not need it
        from cascade.runtime._scheduler.tracebacks import mark

        mark(error, node, self._run_id)
        if self._first_failed is None:
            self._first_failed, self._first_error = node, error
        self._failed_of_map += node.origin is self._first_failed.origin
        if not self._continue_on_failure:
            self.finished.set_exception(error)
            return
        self._errors.append(error)
        if continuation_target.status is Status.WAITING:
            self._state.fail(continuation_target)
        self.conclude()

    def _keep(self, node: Node, continuation_target: Node, keeper: Node, failure: Failure) -> None:
        """Give ``keeper`` a value although a task failed.

        A call that returned the task gets it when everything that it needs is settled.
        """
        if keeper in (node, continuation_target):
            self._complete_failed(keeper, continuation_target, failure)
            return
        self._kept.setdefault(keeper, failure)
        if continuation_target.status is Status.WAITING:
            self._state.fail(continuation_target)
        self.conclude()

    def _complete_failed(self, keeper: Node, continuation_target: Node, failure: Failure) -> None:
        """Give a node the value that ``keeper`` has in place of its own."""
        from cascade.runtime._scheduler.kept_failures import value_of

        if continuation_target.status is Status.WAITING:
            self._state.complete(continuation_target, value_of(keeper, failure))
        self.conclude()


def own_cancel(node: Node, error: asyncio.CancelledError) -> TaskCancelledError:
    """Return the failure of a task that was cancelled, and not by its run."""
    failure = TaskCancelledError(node.name, "something that it awaited had been cancelled")
    failure.__cause__ = error
    return failure


def as_failure(error: BaseException) -> Exception | None:
    """Return a task's failure in place of an error that would end the program; None if it must end it.

    A task that calls ``sys.exit`` has failed: nobody reads its status. So has a coroutine that raises
    GeneratorExit: it could not clean up.
    """
    if isinstance(error, SystemExit):
        code = "" if error.code is None else f"{error.code!r}"
        problem = f"the task called sys.exit({code}); raise an exception to fail it, or return to end it"
        return RuntimeError(problem).with_traceback(error.__traceback__)
    if isinstance(error, GeneratorExit):
        failure = RuntimeError("the task raised GeneratorExit")
        failure.__cause__ = error
        return failure
    return None


def _keeper_of(node: Node, error: Exception | None = None) -> Node | None:
    # a run without failures does not need it
    from cascade.runtime._scheduler.kept_failures import keeper_of

    return keeper_of(node, error)


def _failure_of(node: Node, error: Exception, keeper: Node | None = None) -> Failure:
    from cascade.runtime._scheduler.kept_failures import failure_of

    return failure_of(node, error, keeper)
