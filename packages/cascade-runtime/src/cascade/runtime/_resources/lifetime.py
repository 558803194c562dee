"""One open resource: its generator, and the asyncio task that opens and closes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any, NamedTuple

from cascade.interfaces import Executor, ResourceFailedError, UsageError
from cascade.runtime._support.loops import finish
from cascade.spec import LazyResult, Resource

_END: Any = object()
_CANCELLED = "was cancelled while it was opened"


class CloseTimeouts(NamedTuple):
    """How long closing a resource may take, in seconds."""

    close: float = 30.0
    """Until it is cancelled."""
    cancel: float = 2.0
    """After it was cancelled, until the run goes on without it."""


class OpenResource:
    """A resource from its opening to its end, in an asyncio task of its own.

    The same task opens and closes it, so that a time limit or a task group can surround its ``yield``.
    """

    def __init__(
        self, resource: Resource, values: dict[str, Any], threads: Executor, timeouts: CloseTimeouts
    ) -> None:
        loop = asyncio.get_running_loop()
        self.close_error: BaseException | None = None
        """The error that closing it raised."""
        self._resource = resource
        self._timeouts = timeouts
        self._opened: asyncio.Future[Any] = loop.create_future()
        self._close_requested: asyncio.Future[None] = loop.create_future()
        steps = (
            _AsyncSteps(resource, values) if resource.is_async else _ThreadSteps(resource, values, threads)
        )
        self.task = loop.create_task(self._run(steps), name=f"cascade resource {resource.name}")
        """The asyncio task that opens and closes it."""
        self.task.add_done_callback(self._ended)

    @property
    def failed(self) -> bool:
        """Whether it could not be opened."""
        return self._opened.done() and self._opened.exception() is not None

    async def value(self) -> Any:
        """Return the yielded value; cancelling this call does not stop the opening.

        :raises ResourceFailedError: if the opening was cancelled.
        :raises BaseException: what the resource raised when it was opened.
        """
        await asyncio.wait({self._opened})
        return self._opened.result()

    async def close(self) -> asyncio.CancelledError | None:
        """Run the generator to its end, or cancel it if it is still opening. Idempotent.

        If the caller is cancelled meanwhile, this closes the resource all the same and then
        returns the cancellation, for the caller to raise.
        """
        limit = self._timeouts.cancel
        if self._opened.done():
            limit += self._timeouts.close
        elif not self._close_requested.done():
            self.task.cancel()
        if not self._close_requested.done():
            self._close_requested.set_result(None)
        cancelled = await finish(self.task, timeout=limit)
        if not self.task.done():
            problem = (
                f"is still running {self._timeouts.cancel:g} s after it was cancelled; "
                "it must not suppress asyncio.CancelledError"
            )
            self.close_error = self._failure(problem)
        return cancelled

    async def _run(self, steps: _AsyncSteps | _ThreadSteps) -> None:
        if await self._open(steps):
            # Ignores a cancellation from outside: the run decides when, and in which order, to close.
            await finish(self._close_requested)
            await self._close(steps)

    async def _open(self, steps: _AsyncSteps | _ThreadSteps) -> bool:
        try:
            value = await steps.next()
            if value is _END:
                raise UsageError(f"resource {self._resource.name!r} yields nothing; it must yield one value")
            if isinstance(value, LazyResult):
                raise UsageError(
                    f"resource {self._resource.name!r} yields a lazy result, which no task would wait for; "
                    "make the call an argument of the task"
                )
        except asyncio.CancelledError as exc:
            self._opened.set_exception(self._failure(_CANCELLED, exc))
        except GeneratorExit as exc:
            # this coroutine, which was abandoned, is freed
            if self._opened.get_loop().is_closed():
                raise
            self._opened.set_exception(self._failure("raised GeneratorExit while it was opened", exc))
        except BaseException as exc:
            # KeyboardInterrupt and SystemExit too: value() raises them in the run
            self._opened.set_exception(exc)
        else:
            self._opened.set_result(value)
            return True
        return False

    async def _close(self, steps: _AsyncSteps | _ThreadSteps) -> None:
        limit = asyncio.timeout(self._timeouts.close)
        try:
            async with limit:
                if await steps.next() is not _END:
                    name = self._resource.name
                    raise UsageError(f"resource {name!r} yields more than once; it must yield one value")
        except asyncio.CancelledError as exc:
            self.close_error = self._failure("was cancelled while it was closed", exc)
        except GeneratorExit as exc:
            self.close_error = self._failure("raised GeneratorExit while it was closed", exc)
        except BaseException as exc:  # as above
            if limit.expired():
                problem = (
                    f"did not close within {self._timeouts.close:g} s and was cancelled; "
                    "make it close faster, or raise close_timeout="
                )
                self.close_error = self._failure(problem, exc)
            else:
                self.close_error = exc

    def _ended(self, task: asyncio.Task[None]) -> None:
        # the task was cancelled before it first ran
        if not self._opened.done():
            self._opened.set_exception(self._failure(_CANCELLED))
        # marks it as retrieved: perhaps no task waits for the value
        self._opened.exception()

    def _failure(self, problem: str, cause: BaseException | None = None) -> ResourceFailedError:
        error = ResourceFailedError(self._resource.name, problem)
        error.__cause__ = cause
        return error


class _AsyncSteps:
    """An asynchronous generator, step by step."""

    def __init__(self, resource: Resource, values: dict[str, Any]) -> None:
        self._generator: AsyncGenerator[Any, None] = resource.function(**values)

    async def next(self) -> Any:
        return await anext(self._generator, _END)


class _ThreadSteps:
    """A synchronous generator, step by step in threads, because opening may block.

    A step cannot be stopped. If the opening was cancelled meanwhile, the value that the step
    yields is closed at once, in the same thread.
    """

    def __init__(self, resource: Resource, values: dict[str, Any], threads: Executor) -> None:
        self._generator: Generator[Any, None, None] = resource.function(**values)
        self._threads = threads
        self._lock = threading.Lock()
        self._handed_over = self._abandoned = False

    async def next(self) -> Any:
        self._handed_over = False
        try:
            return await self._threads.run(self._step, (), {})
        except asyncio.CancelledError:
            with self._lock:
                self._abandoned = True
            # the step ended at the moment of the cancellation
            if self._handed_over:
                await self._threads.run(self._generator.close, (), {})
            raise

    def _step(self) -> Any:
        value = next(self._generator, _END)
        with self._lock:
            self._handed_over = not self._abandoned
        if not self._handed_over:
            self._generator.close()
        return value
