"""One call of an executor over worker processes."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

from cascade.interfaces import CallContext, Directive
from cascade.interfaces.mailbox import Mailbox
from cascade.interfaces.pickled_calls import name_of, open_answer, pack_call
from cascade.runtime.executors._main_pickling import pack
from cascade.runtime.executors._pipe_frames import DATA, PAUSED, PROGRESS


class ProcessCall:
    """One call. Its outcome is set on its event loop; threads report to that through the mailbox."""

    __slots__ = (
        "_args",
        "_function",
        "_kwargs",
        "_mailbox",
        "_packed",
        "context",
        "directive",
        "ended",
        "is_over",
        "name",
        "number",
        "outcome",
        "times",
    )

    def __init__(
        self,
        mailbox: Mailbox,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: CallContext | None = None,
    ) -> None:
        self._mailbox = mailbox
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._packed: bytes | None = None
        self.context = context
        self.name = name_of(function)
        self.outcome: asyncio.Future[Any] = mailbox.loop.create_future()
        self.ended: asyncio.Future[None] | None = None
        """Done when the call has ended; only after it was abandoned while it ran."""
        # The pool's lock guards the following.
        self.number = 0
        """By which its worker names it; 0 while it is not at a worker."""
        self.times = 1
        """Which attempt this is: a call whose worker was lost may run again."""
        self.is_over = False
        """Whether it was given up, answered or failed: it must no longer start."""
        self.directive = Directive.RUN
        """What it is to do at its checkpoints."""

    def pack(self) -> bytes:
        """Return the call as bytes.

        :raises TaskNotPicklableError: if a part of it cannot be pickled.
        """
        if self._packed is None:
            step = self.context.step if self.context is not None else None
            self._packed = pack_call(self._function, self._args, self._kwargs, pack=pack, step=step)
        return self._packed

    def report(self, kind: bytes, body: bytes | memoryview) -> None:
        """Pass on to the engine what the running call reports."""
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

    def will_end(self) -> asyncio.Future[None]:
        """Return a future that completes when the call, which was abandoned, has ended; on the call's loop."""
        self.ended = self._mailbox.loop.create_future()
        return self.ended

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)
        if self.outcome.done():
            return
        if error is None:
            self.outcome.set_result(value)
        else:
            self.outcome.set_exception(error)
