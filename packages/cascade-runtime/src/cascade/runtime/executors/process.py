"""Synchronous tasks in processes: for work that holds the interpreter, or that may crash.

The pools of the standard library lose all their calls when one worker dies, cannot end a call
that was given up, join their workers when the interpreter exits, and run the program's script
again in each. Here each worker is by itself, and a thread waits for it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from cascade.interfaces import ConfigurationError, ExecutorUnavailable, WorkerLostError
from cascade.interfaces.parcels import name_of, open_answer, pack_call
from cascade.runtime.executors._worker import Worker
from cascade.runtime.executors._worker_main import GRACE
from cascade.runtime.executors.thread import ThreadExecutor, check_workers

_log = logging.getLogger("cascade.executor")


class ProcessExecutor:
    """A :class:`cascade.interfaces.Executor` over at most ``workers`` processes, by default one per core.

    A task's function, its arguments and its result must be picklable; the function lives in a
    module that can be imported. A call that is cancelled is stopped: it has a second for its
    ``finally`` blocks (``SystemExit`` is raised in it), then its process is killed. So is, with
    ``close``, a call that still runs. A call whose worker dies is run again up to ``reruns``
    times. Processes start when they are needed and stay until ``close`` or the end of the program.

    :raises ConfigurationError: if ``workers`` is not a whole number from 1, or ``reruns`` from 0.
    """

    def __init__(self, workers: int | None = None, *, reruns: int = 2) -> None:
        check_workers("ProcessExecutor(workers=)", workers)
        if isinstance(reruns, bool) or not isinstance(reruns, int) or reruns < 0:
            raise ConfigurationError(
                "ProcessExecutor(reruns=)", f"needs a whole number from 0, not {reruns!r}"
            )
        self._workers = workers or os.cpu_count() or 1
        self._reruns = reruns
        self._threads = ThreadExecutor(self._workers)
        self._pool = _Pool()
        self._stopping: set[_Call] = set()

    @property
    def workers(self) -> int:
        """How many calls run at the same time."""
        return self._workers

    def check(self, function: Callable[..., Any]) -> None:
        """Refuse a function that no worker can import.

        :raises TaskNotPicklableError: naming it, with the reason.
        """
        pack_call(function, (), {})

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call returns, or raise what it raises.

        :raises TaskNotPicklableError: if the function, an argument or the outcome cannot travel.
        :raises WorkerLostError: if the call's worker died each time.
        :raises ExecutorUnavailable: if no worker can be started, or the executor is closed meanwhile.
        """
        call = _Call(self._pool, function, args, kwargs, reruns=self._reruns)
        try:
            return await self._threads.run(self._execute, (call,), {})
        except asyncio.CancelledError:
            self._stopping.add(call)
            call.stop()
            raise

    def runs_on(self) -> asyncio.Future[None] | None:
        """Return what is done when the call that this asyncio task gave up last has ended; None if it has."""
        return self._threads.runs_on()

    def _execute(self, call: _Call) -> Any:
        try:
            return call.execute()
        finally:
            self._stopping.discard(call)

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for calls that were given up, then kill them; return how many are left."""
        left = await self._threads.settle(timeout)
        stopping, self._stopping = self._stopping, set()
        if left:
            for call in stopping:
                call.kill()
            left = await self._threads.settle(GRACE)
        return left

    async def close(self) -> None:
        """End all workers, those that run a call too."""
        pool, self._pool = self._pool, _Pool()
        try:
            if pool.used:
                await _for_certain(pool.close, name="cascade closing")
        finally:
            await self._threads.close()


class _Pool:
    """The workers from one use of an executor to its close."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self.used = False
        self.closed = False

    def take(self) -> Worker:
        """Return a worker that nobody else has."""
        with self._lock:
            if self._idle:
                worker = self._idle.pop()
                self._busy.add(worker)
                return worker
            if not self.used:
                atexit.register(self.close)
            self.used = True
        worker = Worker()
        with self._lock:
            self._busy.add(worker)
            closed = self.closed
        if closed:
            worker.stop()
        return worker

    def give_back(self, worker: Worker) -> None:
        """Let others have it."""
        with self._lock:
            self._busy.discard(worker)
            if not self.closed:
                self._idle.append(worker)
                return
        worker.retire()

    def drop(self, worker: Worker) -> str:
        """Do away with a worker; return how it ended."""
        how = worker.retire()
        with self._lock:
            self._busy.discard(worker)
        return how

    def close(self) -> None:
        """End all; the threads that wait for a busy one see it, and drop it."""
        atexit.unregister(self.close)
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for worker in busy:
            worker.stop()
        for worker in idle:
            worker.hang_up()
        for worker in idle:
            worker.retire()
        for worker in busy:
            worker.await_end()


class _Call:
    """One call on its way through a worker; ``execute`` runs in a thread, the rest on the loop."""

    def __init__(
        self,
        pool: _Pool,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        reruns: int,
    ) -> None:
        self._pool = pool
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._reruns = reruns
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._stopped = False

    def execute(self) -> Any:
        """Have the call carried out, again if its worker dies."""
        name = name_of(self._function)
        parcel = pack_call(self._function, self._args, self._kwargs)
        attempt = 1
        worker = self._claim()
        while (answer := worker.call(parcel)) is None:
            self._lost(worker, name, attempt)
            attempt += 1
            worker = self._claim()
        self._release(worker)
        return open_answer(answer, name)

    def stop(self) -> None:
        """Make sure that the call ends soon, or does not begin."""
        with self._lock:
            self._stopped = True
            if self._worker is not None:
                self._worker.stop()

    def kill(self) -> None:
        """End it at once."""
        with self._lock:
            if self._worker is not None:
                self._worker.kill()

    def _given_up(self) -> bool:
        return self._stopped or self._pool.closed

    def _claim(self) -> Worker:
        if self._given_up():
            raise _closed()
        try:
            worker = self._pool.take()
        except OSError as exc:
            raise _not_started(str(exc)) from exc
        with self._lock:
            self._worker = worker
            if self._stopped:
                worker.stop()
        return worker

    def _release(self, worker: Worker) -> None:
        with self._lock:
            self._worker = None
        if self._stopped:  # it has been told to end
            self._pool.drop(worker)
        else:
            self._pool.give_back(worker)

    def _lost(self, worker: Worker, name: str, attempt: int) -> None:
        with self._lock:
            self._worker = None
        how = self._pool.drop(worker)
        if self._given_up():
            raise _closed()
        if not worker.ready:
            raise _not_started(how)
        if attempt > self._reruns:
            raise WorkerLostError(name, attempt, how)
        _log.warning("the worker process of task %r was lost (%s); the task is run again", name, how)


async def _for_certain(work: Callable[[], None], *, name: str) -> None:
    """Do blocking work in a thread, also if the one who awaits it is cancelled at once.

    (What is given to ``asyncio.to_thread`` does not begin then.)
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def do() -> None:
        work()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=do, name=name, daemon=True).start()
    await ended.wait()


def _closed() -> ExecutorUnavailable:
    return ExecutorUnavailable(
        "ProcessExecutor", "it was closed while the task ran", "close it when its runs have ended"
    )


def _not_started(cause: str) -> ExecutorUnavailable:
    remedy = "what the worker itself says is on stderr"
    return ExecutorUnavailable("ProcessExecutor", f"a worker did not start ({cause})", remedy)
