"""The executor of processes: for code that keeps the GIL, or that may crash.

``concurrent.futures`` loses all calls when one worker dies, cannot stop a call, joins its workers
when the interpreter exits, and runs the program's script again in each worker. Here the workers
are independent of each other, and each is served by a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from cascade.interfaces import CallContext
from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.executor import AbandonedCalls
from cascade.interfaces.mailbox import Mailbox
from cascade.interfaces.pickled_calls import pack_call
from cascade.runtime.executors._main_pickling import pack
from cascade.runtime.executors._process_call import ProcessCall
from cascade.runtime.executors._thread import check_count
from cascade.runtime.executors._worker_main import STOP_TIMEOUT
from cascade.runtime.executors._worker_pool import WorkerPool
from cascade.runtime.executors._worker_thread import WorkerThread


class ProcessExecutor:
    """A :class:`cascade.interfaces.Executor` over at most ``workers`` processes, by default one per core.

    A task's arguments and result must be picklable, and its function must be in a module that
    can be imported, or in a main module with ``if __name__ == "__main__":``. What no worker can
    import from the main module, as in a notebook, is sent by value if cloudpickle is installed.

    A cancelled call is stopped: its next checkpoint raises ``CancelledError``. If it has reached
    none so far, or reaches none within half a second, ``SystemExit`` is raised where it is. It
    has one second for its ``finally`` blocks, then its process is killed. ``close`` does the
    same with the calls that run, and so does the end of the program.

    A call whose worker dies fails; it has begun, so it runs again only with ``reruns``, the
    number of further runs. Processes start when they are needed and stay until ``close`` or the
    end of the program.

    :raises ConfigurationError: if ``workers`` is not a whole number from 1, or ``reruns`` from 0.
    """

    @explains_calls
    def __init__(self, workers: int | None = None, *, reruns: int = 0) -> None:
        if workers is not None:
            check_count("ProcessExecutor(workers=)", workers)
        check_count("ProcessExecutor(reruns=)", reruns, least=0)
        self._workers = workers or os.cpu_count() or 1
        self._reruns = reruns
        self._pool = WorkerPool(self._workers, reruns=reruns, start=WorkerThread)
        # of the event loop that used this last
        self._mailbox: Mailbox | None = None
        self._abandoned = AbandonedCalls()

    def __repr__(self) -> str:
        reruns = f", reruns={self._reruns}" if self._reruns else ""
        return f"ProcessExecutor({self._workers}{reruns})"

    @property
    def workers(self) -> int:
        """How many calls run at the same time."""
        return self._workers

    def check(self, function: Callable[..., Any]) -> None:
        """Check that a worker can import a function.

        :raises TaskNotPicklableError: if it cannot; the error names the function and the reason.
        """
        pack_call(function, (), {}, pack=pack)

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call returns, or raise what it raises.

        :raises TaskNotPicklableError: if the function, an argument or the outcome cannot be pickled.
        :raises WorkerLostError: if the call's worker died in each attempt.
        :raises ExecutorUnavailable: if no worker can be started, or the executor is closed meanwhile.
        """
        return await self._run(ProcessCall(self._own_mailbox(), function, args, kwargs))

    async def run_with(
        self,
        context: CallContext,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Do what ``run`` does; the call obeys pause at its checkpoints, and reports to the context."""
        call = ProcessCall(self._own_mailbox(), function, args, kwargs, context)
        unfollow = context.follow(partial(self._pool.direct, call))
        try:
            return await self._run(call)
        finally:
            unfollow()

    def runs_on(self) -> asyncio.Future[None] | None:
        """Return a future that completes when the call last abandoned by the current asyncio task ends.

        Return None if it has ended.
        """
        return self._abandoned.runs_on()

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls, then kill them; return how many still run."""
        running = await self._abandoned.settle(timeout)
        if running:
            self._pool.kill_leaving()
            running = await self._abandoned.settle(STOP_TIMEOUT)
        return running

    async def close(self) -> None:
        """End all workers; the calls that run are stopped as if they were cancelled. Idempotent."""
        pool, self._pool = self._pool, WorkerPool(self._workers, reruns=self._reruns, start=WorkerThread)
        try:
            if pool.used:
                await _run_to_completion(pool.close, name="cascade closing")
        finally:
            self._abandoned.forget()

    async def _run(self, call: ProcessCall) -> Any:
        pool = self._pool
        pool.submit(call)
        try:
            return await call.outcome
        except asyncio.CancelledError:
            if pool.abandon(call):
                self._abandoned.add(call.will_end())
            raise

    def _own_mailbox(self) -> Mailbox:
        """Return the mailbox of the running event loop."""
        loop = asyncio.get_running_loop()
        if (mailbox := self._mailbox) is None or mailbox.loop is not loop:
            mailbox = self._mailbox = Mailbox(loop)
        return mailbox


async def _run_to_completion(function: Callable[[], None], *, name: str) -> None:
    """Run a blocking function in a thread; it runs to its end even if the caller is cancelled.

    ``asyncio.to_thread`` does not start the function if the caller is cancelled at once.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def run() -> None:
        function()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=run, name=name, daemon=True).start()
    await ended.wait()
