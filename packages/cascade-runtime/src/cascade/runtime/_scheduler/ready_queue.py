"""The queue of ready nodes, started in one batch for each loop iteration, so that the loop stays responsive."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

from cascade.interfaces import Clock
from cascade.runtime._graph.node import Kind, Node
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.state import RunState
from cascade.runtime._support.loop_steps import BatchSize
from cascade.transport.event_loop import LOOP_BUDGET


class ReadyQueue:
    """Starts the nodes of one run that are ready, until the run is over.

    All nodes are started in ``context``, because :meth:`wake` may be called in the context of a task.
    ``has_room`` returns whether it makes sense to start a call of a mode now, ``is_blocked`` whether to start nothing until
    :meth:`wake` is called again; ``start`` starts one node.
    """

    def __init__(
        self,
        state: RunState,
        outcome: RunOutcome,
        *,
        clock: Clock,
        context: contextvars.Context,
        has_room: Callable[[str], bool],
        is_blocked: Callable[[], bool],
        start: Callable[[Node], None],
    ) -> None:
        self.due: asyncio.Handle | None = None
        """The callback that will start the next batch."""
        self._state = state
        self._abort = outcome.abort
        self._over = outcome.finished.done
        self._clock = clock
        self._has_room = has_room
        self._is_blocked = is_blocked
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._batch_size = BatchSize(_MOST_AT_ONCE)
        # when the last full batch was started, if it was the last one, else 0
        self._full_since = 0.0

    def wake(self) -> None:
        """Start ready nodes in the next iteration of the loop."""
        if self.due is None and not self._over():
            self.due = self._loop.call_soon(self._turn, context=self._context)

    def go_on(self) -> None:
        """Start the only ready node now if it gets an asyncio task; if others are ready, wake.

        In a chain, one iteration of the loop less for each task. This is called by the end of a
        task, so no other code of the user may run here: it would run as a part of that task.
        """
        on_loop, offloaded = self._state.on_loop, any(self._state.offloaded.values())
        if not on_loop and not offloaded:
            return
        if len(on_loop) == 1 and not offloaded and _is_async_call(on_loop[0]) and not self._over():
            self._start(on_loop.popleft())
        else:
            self.wake()

    def proceed(self) -> None:
        """Wake if a node is ready."""
        if self.due is None and self._state.ready:
            self.wake()

    def _turn(self) -> None:
        now = self._clock.monotonic()
        if self._full_since:
            self._batch_size.learn(now - self._full_since)
        self.due = None
        try:
            full = self._start_batch(now + LOOP_BUDGET)
        except BaseException as exc:
            # no caller awaits this callback, so the run must end here
            self._abort(exc)
            return
        self._full_since = now if full else 0.0
        if full:
            self.wake()

    def _start_batch(self, deadline: float) -> bool:
        """Start up to a batch of ready nodes, until the deadline; return whether there may be more.

        A node may end at once, and so make others ready.
        """
        if self._is_blocked():
            return False
        most, started = self._batch_size.batch, 0.0
        start, over = self._start, self._over
        for mode, queue in self._state.offloaded.items():
            while queue and started < most and not over() and self._has_room(mode):
                start(queue.popleft())
                started += 1
        on_loop = self._state.on_loop
        now = self._clock.monotonic
        while on_loop and started < most and not over():
            node = on_loop.popleft()
            start(node)
            started += _INLINE if node.definition.inline else 1
            if now() >= deadline:
                return True
        return started >= most


def _is_async_call(node: Node) -> bool:
    """Return whether starting a node does no more than to create an asyncio task or to ask for admission."""
    return (
        node.definition.is_async
        and node.kind is _CALL
        and not node.input_failed
        and node.call.settings.condition is None
    )


_CALL = Kind.CALL

_MOST_AT_ONCE = 64
"""Started in one iteration at most. A task in flight is about eight objects that Python's garbage collector
tracks: of more tasks than this, they would be the 700 after which it runs, and each batch would make it run."""
_INLINE = 0.25
"""What an inline call counts for in a batch: it is over at once, so none of its objects stays in flight."""
