"""Event loop that ``cs.run`` uses, and how asyncio tasks on any loop end. Timers are exact, and it closes within a limit."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, cast
from weakref import WeakSet

from cascade.interfaces.logs import get_logger

abandoned: WeakSet[asyncio.Task[Any]] = WeakSet()
"""Tasks that were cancelled, did not end in time, and were named in a log: no task waits for them."""


async def cancel(tasks: Collection[asyncio.Task[Any]], *, timeout: float) -> set[asyncio.Task[Any]]:
    """Cancel tasks, wait up to ``timeout`` seconds for them, and return those that are still running."""
    if not tasks:
        return set()
    for task in tasks:
        task.cancel()
    _, still_running = await asyncio.wait(tasks, timeout=timeout)
    return still_running


async def finish(
    future: asyncio.Future[Any], *, timeout: float | None = None
) -> asyncio.CancelledError | None:
    """Wait up to ``timeout`` seconds for a future, even if this task is cancelled meanwhile.

    Return that cancellation, or None. The caller raises it when it has nothing left to wait for.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        try:
            await asyncio.wait({future}, timeout=left)
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled


T = TypeVar("T")
_ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

_log = get_logger("cascade.engine")

if sys.platform == "linux":
    import select
    import selectors

    class ExactSelector(selectors.EpollSelector):
        """Waits to the microsecond; ``epoll_wait`` waits for whole milliseconds, and Python rounds up.

        Without it, each time that something else wakes the loop (such as an answer of the broker),
        tasks that sleep would sleep up to a millisecond longer.
        """

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Return the files that are ready, after at most ``timeout`` seconds; see ``BaseSelector.select``."""
            if timeout is not None and timeout > 0:
                select.select([self], (), (), timeout)
                timeout = 0
            return super().select(timeout)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop to run on: ``asyncio.Runner(loop_factory=cs.new_event_loop)``.

    The loop comes from asyncio, or from another event loop policy if one is set (uvloop). On Windows it can
    watch sockets, which MQTT needs. On Linux, timers of asyncio's loop are exact to the microsecond and not
    rounded up to whole milliseconds.
    """
    if sys.platform == "win32":
        return asyncio.SelectorEventLoop()
    loop = asyncio.new_event_loop()
    if sys.platform == "linux" and _is_plain_asyncio(loop):
        selector = ExactSelector()
        if selector.fileno() < _SELECTABLE:
            loop.close()
            return asyncio.SelectorEventLoop(selector)
        selector.close()
    return loop


def run_on_loop(
    work: Callable[[], Coroutine[Any, Any, T]],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    close_timeout: float,
) -> T:
    """Run a coroutine on an event loop of its own, as ``asyncio.run`` does, and close the loop within a limit.

    The first Ctrl-C cancels the coroutine, a second one is raised at once. Then asyncio tasks that are left
    are cancelled, asynchronous generators are closed, and calls in the loop's own threads are waited for:
    for ``close_timeout`` seconds in all. What still runs then is named in one warning and abandoned.
    """
    # never closed: it would wait without a limit
    runner = asyncio.Runner(loop_factory=loop_factory)
    loop = runner.get_loop()
    ended: list[tuple[T | None, BaseException | None]] = []

    async def run() -> None:
        # The value and the error stay here: asyncio would print what its task returns, and the user may
        # have written that __repr__.
        try:
            ended.append((await work(), None))
        except asyncio.CancelledError:
            raise  # asyncio turns it into KeyboardInterrupt
        except BaseException as exc:
            ended.append((None, exc))

    try:
        runner.run(run())
    except (KeyboardInterrupt, SystemExit):
        loop.set_exception_handler(_silent_of_signals(loop.get_exception_handler()))
        raise
    finally:
        try:
            loop.run_until_complete(_end_all(loop, close_timeout))
        finally:
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined] # the warning has named it
            loop.close()
    value, error = ended.pop()
    if error is not None:
        try:
            raise error
        finally:
            del error  # or its traceback would hold it
    return cast(T, value)


def _silent_of_signals(handler: _ExceptionHandler | None) -> _ExceptionHandler:
    """Return a handler that reports all but a signal that was raised in some asyncio task: it ends the program, and is known."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), KeyboardInterrupt | SystemExit):
            return
        loop.default_exception_handler(context) if handler is None else handler(loop, context)

    return handle


async def _end_all(loop: asyncio.AbstractEventLoop, timeout: float) -> None:
    """End what is left on a loop, within ``timeout`` seconds, and log what does not end."""
    deadline = time.monotonic() + timeout
    left = asyncio.all_tasks() - {asyncio.current_task()} - set(abandoned)
    still_running = await cancel(left, timeout=timeout)
    _report_errors(loop, left - still_running)
    names = sorted(f"task {task.get_name()}" for task in still_running)
    generators = asyncio.ensure_future(loop.shutdown_asyncgens())
    await asyncio.wait({generators}, timeout=max(deadline - time.monotonic(), 0.0))
    if not generators.done():
        generators.cancel()
        names.append("an asynchronous generator")
    # another policy's loop closes its own without a wait
    executor = getattr(loop, "_default_executor", None)
    if executor is not None and not await _shut_down(executor, loop, deadline - time.monotonic()):
        names.append("a call in a thread (asyncio.to_thread)")
    if names:
        _log.warning(
            "the event loop is closed %g s after it cancelled what was left, but these still run: %s; "
            "they must not suppress asyncio.CancelledError, and threads must return",
            timeout,
            ", ".join(names),
        )


def _report_errors(loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[Any]]) -> None:
    """Pass the errors of tasks that were cancelled at the end to the loop, as ``asyncio.run`` does."""
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            message = "unhandled exception while the event loop was closed"
            loop.call_exception_handler({"message": message, "exception": error, "task": task})


async def _shut_down(executor: Executor, loop: asyncio.AbstractEventLoop, timeout: float) -> bool:
    """Wait up to ``timeout`` seconds for the calls of an executor; return whether all have returned.

    ``loop.shutdown_default_executor()`` has no limit in Python 3.11.
    """
    ended = loop.create_future()

    def finish() -> None:
        if not ended.done():
            ended.set_result(None)

    def shut_down() -> None:
        executor.shutdown(wait=True)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(finish)

    threading.Thread(target=shut_down, name="cascade loop closing", daemon=True).start()
    await asyncio.wait({ended}, timeout=max(timeout, 0.0))
    return ended.done()


def _is_plain_asyncio(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether a loop is asyncio's own and unchanged: a policy may have made or configured it."""
    configured = loop.get_task_factory() or loop.get_exception_handler()
    return type(loop) is asyncio.SelectorEventLoop and not configured


_SELECTABLE = 1024
"""``select`` accepts only lower file descriptors: FD_SETSIZE in select(2)."""
