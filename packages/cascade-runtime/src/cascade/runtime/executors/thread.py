"""Synchronous tasks in threads that can never hold the process.

The pools of the standard library join their threads when the interpreter exits, so that one
task that hangs hangs the exit too; these threads are daemons.
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
from weakref import WeakKeyDictionary

from cascade.interfaces import ConfigurationError, ExecutorUnavailable


def check_workers(setting: str, workers: object) -> None:
    """Refuse a number of workers that makes no sense; None stands for the executor's own choice.

    :raises ConfigurationError: naming the setting.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ConfigurationError(setting, f"needs a whole number from 1, not {workers!r}")


class ThreadExecutor:
    """A :class:`cascade.interfaces.Executor` over at most ``workers`` daemon threads.

    Threads are started when they are needed and end with :meth:`close`. One whose call was given
    up while it ran is no worker any more: another one takes its place, and it ends after its call.

    :raises ConfigurationError: if ``workers`` is not a whole number from 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        check_workers("ThreadExecutor(workers=)", workers)
        self._workers = workers or min(32, (os.cpu_count() or 1) + 4)
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._unfinished = 0  # calls that were not given up
        self._abandoned: set[asyncio.Future[None]] = set()
        self._left_by: WeakKeyDictionary[asyncio.Task[Any], asyncio.Future[None]] = WeakKeyDictionary()

    @property
    def workers(self) -> int:
        """How many calls run at the same time."""
        return self._workers

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call returns, or raise what it raises.

        :raises ExecutorUnavailable: if there is no thread, and the system gives none.
        """
        call = _Call(asyncio.get_running_loop(), function, args, kwargs)
        self._unfinished += 1
        call.ended.add_done_callback(self._count_end)
        self._calls.put(call)
        if not self._have_threads():
            call.withdraw()
            raise ExecutorUnavailable(
                "ThreadExecutor", "the system starts no more threads", "use fewer of them"
            )
        try:
            return await call.outcome
        except asyncio.CancelledError:
            if not call.ended.done():
                self._give_up(call)
            raise

    def runs_on(self) -> asyncio.Future[None] | None:
        """Return what is done when the call that this asyncio task gave up last has ended; None if it has."""
        task = asyncio.current_task()
        return self._left_by.pop(task, None) if task is not None else None

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls; return how many still run."""
        self._abandoned = {ended for ended in self._abandoned if not ended.get_loop().is_closed()}
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=timeout)
        return len(self._abandoned)

    async def close(self) -> None:
        """Let idle threads end; one whose call still runs ends after it."""
        threads, self._threads = self._threads, set()
        for _ in threads:
            self._calls.put(None)
        self._calls = queue.SimpleQueue()
        self._abandoned.clear()
        self._unfinished = 0

    def _count_end(self, ended: asyncio.Future[None]) -> None:
        if ended in self._abandoned:
            self._abandoned.discard(ended)
        else:
            self._unfinished = max(0, self._unfinished - 1)

    def _give_up(self, call: _Call) -> None:
        """Let nobody wait for a call; a thread that it holds must not be missing to others."""
        if call.withdraw():
            return
        self._abandoned.add(call.ended)
        if (task := asyncio.current_task()) is not None:
            self._left_by[task] = call.ended
        self._unfinished = max(0, self._unfinished - 1)
        self._threads -= {call.abandon()}
        self._have_threads()

    def _have_threads(self) -> bool:
        """Start a thread if one is missing; return whether there are any, which serve all in turn."""
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
    """One call on its way through a thread and back."""

    __slots__ = (
        "_args",
        "_context",
        "_function",
        "_given_up",
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
        self._taken = self._given_up = False
        self._thread: threading.Thread | None = None  # while it runs
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def take(self) -> bool:
        """Claim the call; whoever claims it second must leave it alone."""
        with self._lock:
            taken, self._taken = self._taken, True
            if not taken:
                self._thread = threading.current_thread()
            return not taken

    def withdraw(self) -> bool:
        """Return whether the call will never begin."""
        if self.take():
            self.ended.set_result(None)
            return True
        return False

    def abandon(self) -> threading.Thread | None:
        """Return the thread in which the call runs: it works for nobody else from here on."""
        with self._lock:
            self._given_up = self._thread is not None
            return self._thread

    def finish(self) -> bool:
        """Let go of the thread; return whether it may go on to another call."""
        with self._lock:
            self._thread = None
            return not self._given_up

    def execute(self) -> bool:
        """Run the call in this thread and hand its outcome to the loop; return whether the thread may go on."""
        value: Any = None
        error: BaseException | None = None
        try:
            value = self._context.run(self._function, *self._args, **self._kwargs)
        except StopIteration as exc:  # a future cannot carry it (PEP 479)
            error = RuntimeError("the task raised StopIteration")
            error.__cause__ = exc
        except BaseException as exc:
            error = exc
        goes_on = self.finish()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, value, error)
        return goes_on

    def _deliver(self, value: Any, error: BaseException | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self.outcome.done():
            return
        if error is None:
            self.outcome.set_result(value)
        else:
            self.outcome.set_exception(error)


def _work(calls: queue.SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        if call.take() and not call.execute():
            return
        del call  # an idle thread must not keep a task's arguments alive
