"""The context of a call: its step, and what a call in another process and its engine report to each other."""

from __future__ import annotations

import asyncio
import enum
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, runtime_checkable


class StepInfo(NamedTuple):
    """One attempt of one step of a run."""

    run_id: str
    key: str
    """Path of declarations, such as ``resize:0[17]``: the same in every run of one declaration."""
    name: str
    """The task's name."""
    attempt: int = 1
    """Attempt of the run, counted from 1; a run that is continued has more than one."""
    start: int = 1
    """Attempt of the step, counted from 1; a retry is the next one."""
    lease_term: int | None = None
    """Term of the lease with which the clock has started the run; None without a lease.

    Send it to a system that refuses what has a lower one: then an earlier holder that woke up late does no harm.
    """
    traceparent: str = ""
    """W3C trace context of the attempt, for a request to another service; empty if no observer traces the run."""

    @property
    def idempotency_key(self) -> str:
        """32 hex digits of ``run_id`` and ``key``: the same in every attempt of the step.

        Send it to a service that drops requests which it has already carried out.
        """
        # OpenSSL takes time to load, and few programs need it
        from hashlib import blake2b

        text = f"{self.run_id}\0{self.key}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16).hexdigest()


step_in_worker: ContextVar[StepInfo | None] = ContextVar("cascade step in a worker", default=None)
"""The step that runs, where its engine is in another process: what calls its function there sets it."""

in_worker: ContextVar[bool] = ContextVar("cascade call in a worker", default=False)
"""Whether a worker of an executor calls the code that asks: then its engine is in another process."""

traceparent: ContextVar[str] = ContextVar("cascade traceparent", default="")
"""The trace context of the attempt that runs, where its engine is in this process."""

Middleware = Callable[[StepInfo, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""An async callable ``around(step, call_next)`` that wraps every attempt of every task.

``await call_next()`` makes the call and returns its value. What the middleware returns is the
value of the task; what it raises is the failure of this attempt. It may skip the call.
"""


class Directive(enum.Enum):
    """What a running call is to do at its checkpoints."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class CallContext(Protocol):
    """The engine's side of one call. Executors may call the methods from any thread, also after the call."""

    @property
    def step(self) -> StepInfo:
        """Which step the call is: it travels with the call."""
        ...

    def progress(self, done: float, total: float | None = None, message: str = "", unit: str = "") -> None:
        """Report how far the call is."""
        ...

    def publish(self, name: str, data: Any) -> None:
        """Publish a value of the call; the call has checked it."""
        ...

    def arrived(self, *, paused: bool) -> None:
        """Report that the call waits at a checkpoint since it was paused, or that it goes on."""
        ...

    def follow(self, notify: Callable[[Directive], None]) -> Callable[[], None]:
        """Call ``notify`` with the directive in force, at once if that is not RUN, and whenever it changes.

        This and ``notify`` are called on the event loop. Return how to stop it.
        """
        ...


@runtime_checkable
class SupportsCallContext(Protocol):
    """Ability of an executor: its calls, in other processes, know their step, report progress and obey pause and cancel.

    A worker offers its end as :data:`in_call`; one that cannot reach its engine leaves that out, and only the step travels
    with the call. An executor in whose workers the engine's own
    context variables are visible, such as one over threads, does not need this.
    """

    async def run_with(
        self,
        context: CallContext,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Do what ``run`` does, with a context.

        A directive reaches the call as long as its worker can be reached; a call that runs again
        elsewhere gets the one in force. After ``arrived(paused=True)`` the call does nothing until
        its directive is RUN.
        """
        ...


class InCall(Protocol):
    """The worker's side of one call; the code of a task uses it through ``cs.checkpoint`` and ``cs.publish``."""

    def checkpoint(self, progress: tuple[float, float | None, str, str] | None) -> None:
        """Report progress if there is any, at most every half second; wait while the call is paused.

        :raises asyncio.CancelledError: if the call is to stop.
        """
        ...

    def publish(self, name: str, data: Any) -> None:
        """Send a value to the engine."""
        ...


in_call: ContextVar[InCall | None] = ContextVar("cascade call", default=None)
"""The worker's side of the call that runs; what runs the call in a worker sets it."""


PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of progress of one call, at the least."""

# seconds after which a paused call checks again whether an engine awaits it
_CHECK_INTERVAL = 1.0


class ReportChannel(Protocol):
    """How one call reaches its engine; called in any thread of the task."""

    def progress(self, done: float, total: float | None, message: str, unit: str) -> None:
        """Send progress; drop it rather than wait."""
        ...

    def publish(self, name: str, data: Any) -> None:
        """Send a value."""
        ...

    def arrived(self, *, paused: bool) -> None:
        """Send that the call waits at a checkpoint, or that it goes on."""
        ...

    def is_awaited(self) -> bool:
        """Return whether an engine still awaits the call, as far as the worker knows."""
        ...


class RunningCall:
    """One call that runs or is about to: the :class:`cascade.interfaces.InCall` of its task."""

    def __init__(self, channel: ReportChannel, directive: Directive = Directive.RUN) -> None:
        self._channel = channel
        self._directive = directive
        self._changed = threading.Condition()
        self._reported = -PROGRESS_INTERVAL
        self.visited = False
        """Whether it has reached a checkpoint."""

    def direct(self, directive: Directive) -> None:
        """Change what the call is to do at its checkpoints; from any thread."""
        with self._changed:
            self._directive = directive
            self._changed.notify_all()

    def checkpoint(self, progress: tuple[float, float | None, str, str] | None) -> None:
        """Report progress, at most every half second; wait while the call is paused.

        :raises asyncio.CancelledError: if the call is to stop.
        """
        self.visited = True
        if progress is not None:
            now = time.monotonic()
            if now - self._reported >= PROGRESS_INTERVAL:
                self._reported = now
                self._channel.progress(*progress)
        if self._directive is not Directive.RUN:
            self._wait()

    def publish(self, name: str, data: Any) -> None:
        """Send a value to the engine."""
        self._channel.publish(name, data)

    def _wait(self) -> None:
        with self._changed:
            if self._is(Directive.PAUSE):
                self._channel.arrived(paused=True)
                while self._is(Directive.PAUSE):
                    if not self._changed.wait(_CHECK_INTERVAL) and not self._channel.is_awaited():
                        raise asyncio.CancelledError
                self._channel.arrived(paused=False)
            if self._is(Directive.CANCEL):
                raise asyncio.CancelledError

    def _is(self, directive: Directive) -> bool:
        return self._directive is directive
