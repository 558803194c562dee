"""One call on its way through the worker processes of an executor."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

from cascade.interfaces import CallContext, Directive
from cascade.interfaces.ahead import CallWithdrawn
from cascade.interfaces.mailbox import Mailbox
from cascade.interfaces.pickled_calls import name_of, open_answer, pack_call
from cascade.runtime.executors._frames import DATA, PAUSED, PROGRESS
from cascade.runtime.executors._main_pickling import pack


class ProcessCall:
    """One call. Its outcome is set on its event loop; threads report to that through the mailbox.

    :param started: called on the loop when the call starts; None if it may not be withdrawn.
    """

    __slots__ = (
        "_args",
        "_function",
        "_is_posted",
        "_kwargs",
        "_mailbox",
        "_started",
        "context",
        "directive",
        "ended",
        "has_begun",
        "is_over",
        "is_reported",
        "name",
        "number",
        "outcome",
        "packed",
        "start",
        "times",
    )

    def __init__(
        self,
        mailbox: Mailbox,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        started: Callable[[], None] | None = None,
        context: CallContext | None = None,
    ) -> None:
        self._mailbox = mailbox
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._started = started
        self.context = context
        self.name = name_of(function)
        self.outcome: asyncio.Future[Any] = mailbox.loop.create_future()
        self.ended: asyncio.Future[None] | None = None
        """Done when the call has ended; only after it was abandoned while it ran."""
        self.start: asyncio.Future[None] | None = None
        """Done when the start was reported, or the outcome returned; only after :meth:`watch_start`."""
        self.has_begun = started is None
        """Whether the start was reported on the loop."""
        self._is_posted = False
        # The pool's lock guards the following.
        self.number = 0
        """By which its worker names it; 0 while it is not at a worker."""
        self.times = 1
        """Which attempt this is: a call whose worker was lost may run again."""
        self.is_over = False
        """Whether it was given up, withdrawn or answered: it must no longer start."""
        self.is_reported = False
        """Whether its start is reported, or about to be: it is no longer withdrawn."""
        self.packed: bytes | None = None
        self.directive = Directive.RUN
        """What it is to do at its checkpoints."""

    @property
    def may_be_withdrawn(self) -> bool:
        """Whether it was taken ahead, and its start was not reported."""
        return self._started is not None and not self.is_reported

    def pack(self) -> bytes:
        """Return the call as bytes.

        :raises TaskNotPicklableError: if a part of it cannot be pickled.
        """
        if self.packed is None:
            step = self.context.step if self.context is not None else None
            self.packed = pack_call(self._function, self._args, self._kwargs, pack=pack, step=step)
        return self.packed

    def report_start(self) -> None:
        """Report that it starts, after the outcome of the call whose place it takes. Idempotent."""
        if self._started is not None and not self._is_posted:
            self._is_posted = True
            self._mailbox.post(self._mailbox.loop.call_soon, self._begin)

    def hear(self, kind: bytes, body: bytes | memoryview) -> None:
        """Pass on to the engine what the running call says."""
        if self.context is None:
            return
        if kind == PROGRESS:
            self.context.progress(*pickle.loads(body))
        elif kind == DATA:
            self.context.publish(*pickle.loads(body))
        else:
            self.context.arrived(paused=kind == PAUSED)

    def answer(self, answer: bytes | memoryview) -> None:
        """End the call with what its worker has answered."""
        try:
            self.finish(open_answer(answer, self.name))
        except BaseException as exc:
            self.fail(exc)

    def finish(self, value: Any) -> None:
        """End the call with a value."""
        self._mailbox.post(self._settle, value, None)

    def fail(self, error: BaseException) -> None:
        """End the call with an error."""
        self._mailbox.post(self._settle, None, error)

    def withdraw(self) -> None:
        """End the call without a start."""
        self.fail(CallWithdrawn())

    def watch_start(self) -> asyncio.Future[None]:
        """Return what is done when the start was reported, or the outcome returned; on the call's loop."""
        if self.start is None:
            self.start = self._mailbox.loop.create_future()
        return self.start

    def end_watch(self) -> None:
        """End what :meth:`watch_start` has returned; on the call's loop."""
        if self.start is not None and not self.start.done():
            self.start.set_result(None)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop on which its outcome is awaited."""
        return self._mailbox.loop

    def _begin(self) -> None:
        self.has_begun = True
        if self._started is not None:
            self._started()
        self.end_watch()

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)
        if self.outcome.done():
            return
        if error is None:
            self.outcome.set_result(value)
        else:
            self.outcome.set_exception(error)
