"""The executor of daemon threads, which never block the end of the program.

``concurrent.futures`` joins its threads when the interpreter exits, so that one task that hangs
also blocks the exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from cascade.interfaces import ConfigurationError, ExecutorUnavailable
from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.executor import AbandonedCalls
from cascade.interfaces.forked_children import end_forked_child, generation


def check_count(setting: str, value: object, *, least: int = 1) -> None:
    """Check a number of workers or of calls.

    :raises ConfigurationError: if it is not a whole number from ``least``; the error names the setting.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(setting, f"needs a whole number from {least}, not {value!r}")


class ThreadExecutor:
    """A :class:`cascade.interfaces.Executor` over at most ``workers`` daemon threads.

    Threads start when they are needed and end with :meth:`close`. Python cannot stop a thread: if
    its call is abandoned while it runs, another thread replaces it, and it ends after the call.

    :raises ConfigurationError: if ``workers`` is not a whole number from 1.
    """

    @explains_calls
    def __init__(self, workers: int | None = None) -> None:
        if workers is not None:
            check_count("ThreadExecutor(workers=)", workers)
        self._workers = workers or min(32, (os.cpu_count() or 1) + 4)
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._unfinished = 0  # calls that were not abandoned
        self._abandoned = AbandonedCalls()

    def __repr__(self) -> str:
        return f"ThreadExecutor({self._workers})"

    @property
    def workers(self) -> int:
        """How many calls run at the same time."""
        return self._workers

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call returns, or raise what it raises.

        :raises ExecutorUnavailable: if no thread runs and the system cannot start one.
        """
        call = _Call(asyncio.get_running_loop(), function, args, kwargs)
        self._unfinished += 1
        call.ended.add_done_callback(self._count_end)
        self._calls.put(call)
        if not self._ensure_threads():
            call.withdraw()
            remedy = "use fewer threads, or raise the system's limit"
            raise ExecutorUnavailable("ThreadExecutor", "the system cannot start more threads", remedy)
        try:
            return await call.outcome
        except asyncio.CancelledError:
            if not call.ended.done():
                self._abandon(call)
            raise

    def runs_on(self) -> asyncio.Future[None] | None:
        """Return a future that completes when the call last abandoned by the current asyncio task ends.

        Return None if it has ended.
        """
        return self._abandoned.runs_on()

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls; return how many still run."""
        return await self._abandoned.settle(timeout)

    async def close(self) -> None:
        """End idle threads; a thread whose call still runs ends after it. Idempotent."""
        threads, self._threads = self._threads, set()
        for _ in threads:
            self._calls.put(None)
        self._calls = queue.SimpleQueue()
        self._abandoned.forget()
        self._unfinished = 0

    def _count_end(self, ended: asyncio.Future[None]) -> None:
        if ended not in self._abandoned:
            self._unfinished = max(0, self._unfinished - 1)

    def _abandon(self, call: _Call) -> None:
        """Stop waiting for a call; if it runs, replace its thread, so that other calls do not wait for it."""
        if call.withdraw():
            return
        self._abandoned.add(call.ended)
        self._unfinished = max(0, self._unfinished - 1)
        self._threads -= {call.abandon()}
        self._ensure_threads()

    def _ensure_threads(self) -> bool:
        """Start a thread if there are too few for the waiting calls; return whether there are any.

        If the system starts no more, the existing threads serve all calls one after the other.
        """
        if len(self._threads) < min(self._unfinished, self._workers):
            with contextlib.suppress(RuntimeError):  # "can't start new thread"
                self._start_thread()
        return bool(self._threads)

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=_work, args=(self._calls,), name=f"cascade worker {len(self._threads)}", daemon=True
        )
        thread.start()
        self._threads.add(thread)


class _Call:
    """One call: queued on the event loop, run in a thread; its outcome is set on the event loop."""

    __slots__ = (
        "_abandoned",
        "_args",
        "_context",
        "_function",
        "_kwargs",
        "_lock",
        "_loop",
        "_taken",
        "_thread",
        "ended",
        "outcome",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._loop = loop
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._taken = self._abandoned = False
        self._thread: threading.Thread | None = None  # while it runs
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def take(self) -> bool:
        """Claim the call; return False if another thread claimed it or the call was withdrawn."""
        with self._lock:
            taken, self._taken = self._taken, True
            if not taken:
                self._thread = threading.current_thread()
            return not taken

    def withdraw(self) -> bool:
        """Take the call out of the queue; return False if it has started."""
        if self.take():
            self.ended.set_result(None)
            return True
        return False

    def abandon(self) -> threading.Thread | None:
        """Return the thread in which the call runs; that thread takes no further call."""
        with self._lock:
            self._abandoned = self._thread is not None
            return self._thread

    def execute(self) -> bool:
        """Run the call in this thread and pass its outcome to the loop; return False if it was abandoned."""
        value, error = outcome_of(self._context, self._function, self._args, self._kwargs)
        with self._lock:
            self._thread = None
            abandoned = self._abandoned
        # the loop was closed meanwhile: no caller is left
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, value, error)
        return not abandoned

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self.outcome.done():
            return
        if error is None:
            self.outcome.set_result(value)
        else:
            self.outcome.set_exception(error)


def outcome_of(
    context: contextvars.Context,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, BaseException | None]:
    """Run a call in this thread; return its value, and the error that it raised or None."""
    value: Any = None
    error: BaseException | None = None
    began = generation()
    try:
        value = context.run(function, *args, **kwargs)
    except StopIteration as exc:  # a future cannot hold it (PEP 479)
        error = RuntimeError("the task raised StopIteration")
        error.__cause__ = exc
    except BaseException as exc:
        error = exc
    end_forked_child(began, error)
    return value, error


def _work(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        if call.take() and not call.execute():
            return
        del call  # otherwise an idle thread would keep the arguments alive
