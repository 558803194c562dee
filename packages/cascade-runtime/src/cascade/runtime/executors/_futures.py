"""The executor over a pool that the program has: any object whose ``submit`` returns a future.

Such pools differ in what they do with a call that waits, with a worker that dies, and with a future that is cancelled.
So the pool gets no more calls than it has workers, and only bytes: every error of its future is then one of the pool.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from cascade.interfaces import CallContext, ConfigurationError, ExecutorUnavailable, WorkerLostError
from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.executor import AbandonedCalls
from cascade.interfaces.pickled_calls import name_of, open_answer, pack_call
from cascade.runtime.executors._pool_pickling import pack, run_in_pool
from cascade.runtime.executors._thread import check_count, outcome_of

_SIZES = ("max_workers", "num_workers", "_max_workers")
"""Attributes of pools that hold their number of workers: executorlib; mpi4py; ``concurrent.futures`` and loky."""


class Pool(Protocol):
    """What :class:`FuturesExecutor` needs of a pool."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Return at once a future of ``function(*args)``: an object with ``result()``."""
        ...


class FuturesExecutor:
    """A :class:`cascade.interfaces.Executor` over a pool of the program, which stays the program's.

    ``cs.executor("futures", pool)``: the pool is any object whose ``submit(function, *args)`` returns a
    ``concurrent.futures.Future``, such as those of loky, mpi4py, ipyparallel, executorlib, or ``client.get_executor()`` of
    Dask; a future without callbacks, such as the job of submitit, is awaited in a thread of its own. The executor never
    starts or closes the pool.

    In a ``ThreadPoolExecutor`` calls run as in Cascade's own threads. Any other pool gets a pickled call: the function must be
    in a module that the workers can import, or cloudpickle must be installed on both sides, and the workers need
    cascade-runtime. ``cs.step`` works there; ``cs.checkpoint`` reports nothing and does not wait, and ``cs.publish`` raises.

    A call that is abandoned before the pool has it never starts; one that the pool has goes on to its end, and ``settle`` counts
    it until then.

    :param workers: how many calls the pool gets at the same time; by default the size that the pool states, or one for each
        core of this machine.
    :raises ConfigurationError: if ``pool`` has no ``submit``, or ``workers`` is not a whole number from 1.
    """

    @explains_calls
    def __init__(self, pool: Pool, *, workers: int | None = None) -> None:
        if isinstance(pool, type) or not callable(getattr(pool, "submit", None)):
            problem = "needs a pool, such as concurrent.futures.ProcessPoolExecutor(4)"
            raise ConfigurationError("FuturesExecutor(pool=)", f"{problem}, not {pool!r:.80}")
        if workers is not None:
            check_count("FuturesExecutor(workers=)", workers)
        self._pool = pool
        self._workers = workers or _size_of(pool) or os.cpu_count() or 1
        self._in_memory = isinstance(pool, concurrent.futures.ThreadPoolExecutor)
        self._slots = _Slots(self._workers)
        self._abandoned = AbandonedCalls()

    def __repr__(self) -> str:
        return f"FuturesExecutor({_name(self._pool)}, workers={self._workers})"

    @property
    def workers(self) -> int:
        """How many calls the pool gets at the same time."""
        return self._workers

    def check(self, function: Callable[..., Any]) -> None:
        """Check that a worker can have a function.

        :raises TaskNotPicklableError: if it cannot; the error names the function and the reason.
        """
        if not self._in_memory:
            pack_call(function, (), {}, pack=pack)

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call returns, or raise what it raises.

        :raises TaskNotPicklableError: if the function, an argument or the outcome cannot be pickled.
        :raises WorkerLostError: if the pool lost the call; it does not run again.
        :raises ExecutorUnavailable: if the pool refuses the call, or its owner cancels it.
        """
        return await self._run(None, function, args, kwargs)

    async def run_with(
        self,
        context: CallContext,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Do what ``run`` does; the call knows its step, and nothing else of the context reaches it."""
        return await self._run(context, function, args, kwargs)

    def runs_on(self) -> asyncio.Future[None] | None:
        """Return a future that completes when the call last abandoned by the current asyncio task ends.

        Return None if it has ended.
        """
        return self._abandoned.runs_on()

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls; return how many still run."""
        return await self._abandoned.settle(timeout)

    async def close(self) -> None:
        """Forget the calls that still run; the pool stays as it is. Idempotent."""
        self._abandoned.forget()

    async def _run(
        self,
        context: CallContext | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        name = name_of(function)
        if self._in_memory:
            value, error = await self._result(
                name, outcome_of, contextvars.copy_context(), function, args, kwargs
            )
            if error is not None:
                raise error
            return value
        step = context.step if context is not None else None
        packed = pack_call(function, args, kwargs, pack=pack, step=step)
        return open_answer(await self._result(name, run_in_pool, packed), name)

    async def _result(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Return what the pool's future holds."""
        await self._slots.take()
        call = _PoolCall(asyncio.get_running_loop(), self._slots.free)
        try:
            future = self._submit(function, *args)
        except BaseException:
            self._slots.free()
            raise
        _watch(future, call.settle)
        try:
            result, error = await call.outcome
        except asyncio.CancelledError:
            # The pool's own cancel is not used: its queue is short, and executorlib's scheduler does not survive one.
            if not call.ended.done():
                self._abandoned.add(call.ended)
            raise
        if error is None:
            return result
        if isinstance(error, concurrent.futures.CancelledError | asyncio.CancelledError):
            raise self._unavailable("its owner has cancelled the call")
        raise WorkerLostError(name, 1, f"{_name(self._pool)}: {type(error).__name__}: {error}") from error

    def _submit(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            future = self._pool.submit(function, *args)
        except Exception as exc:
            raise self._unavailable(f"{type(exc).__name__}: {exc}") from exc
        if not callable(getattr(future, "result", None)):
            raise self._unavailable(f"submit() returned {future!r:.80}, and not a future")
        return future

    def _unavailable(self, cause: str) -> ExecutorUnavailable:
        remedy = "give the run a pool that is open and works, and close it only after the run"
        return ExecutorUnavailable(_name(self._pool), cause, remedy)


class _PoolCall:
    """What one call waits for; the pool ends it in any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, free: Callable[[], None]) -> None:
        self._loop = loop
        self._free = free
        self.outcome: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def settle(self, future: Any) -> None:
        """Pass the outcome of the pool's future to the loop."""
        self._free()
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = future.result(), None
        except BaseException as exc:
            outcome = None, exc
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: no caller is left
            self._loop.call_soon_threadsafe(self._end, outcome)

    def _end(self, outcome: tuple[Any, BaseException | None]) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class _Slots:
    """How many further calls the pool may get; taken on any event loop, freed in any thread."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a slot, in the order of the calls."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # it had got the slot at the same moment
                self.free()
            raise

    def free(self) -> None:
        """Give a slot to the one who waits longest."""
        with self._lock:
            while self._waiting:
                waiter = self._waiting.popleft()
                with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                    waiter.get_loop().call_soon_threadsafe(self._grant, waiter)
                    return
            self._free += 1

    def _grant(self, waiter: asyncio.Future[None]) -> None:
        if waiter.done():
            self.free()
        else:
            waiter.set_result(None)


def _watch(future: Any, ended: Callable[[Any], None]) -> None:
    """Call ``ended(future)`` in some thread once it is done."""
    if callable(getattr(future, "add_done_callback", None)):
        future.add_done_callback(ended)
        return

    def wait() -> None:
        with contextlib.suppress(BaseException):
            future.result()
        ended(future)

    threading.Thread(target=wait, name="cascade future", daemon=True).start()


def _size_of(pool: Pool) -> int | None:
    for attribute in _SIZES:
        size = getattr(pool, attribute, None)
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return size
    return None


def _name(pool: Pool) -> str:
    kind = type(pool)
    return f"{kind.__module__.partition('.')[0]}'s {kind.__qualname__}"
