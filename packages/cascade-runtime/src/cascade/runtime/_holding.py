"""One open resource: its generator, and the asyncio task that opens and closes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Any

from cascade.interfaces import Executor, ResourceFailedError, UsageError
from cascade.runtime._tasks import finish
from cascade.spec import Resource

_END: Any = object()
_CANCELLED = "was cancelled while it was opened"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the end of resources may take, in seconds."""

    closing: float = 30.0
    """What one may take to close, before it is cancelled."""
    cancelled: float = 2.0
    """What one that was cancelled may take to end, before it is left alone."""


class Holding:
    """A resource from its opening to its end, in one asyncio task of its own.

    So what it yields may stand inside a time limit or a task group of its own.
    """

    def __init__(
        self, resource: Resource, values: dict[str, Any], threads: Executor, patience: Patience
    ) -> None:
        loop = asyncio.get_running_loop()
        self.trouble: BaseException | None = None
        """What went wrong when it was closed."""
        self._resource = resource
        self._patience = patience
        self._opened: asyncio.Future[Any] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()
        steps = _AsyncSteps(resource, values) if resource.is_async else _Steps(resource, values, threads)
        self._task = loop.create_task(self._hold(steps), name=f"cascade resource {resource.name}")
        self._task.add_done_callback(self._ended)

    @property
    def failed(self) -> bool:
        """Whether it could not be opened."""
        return self._opened.done() and self._opened.exception() is not None

    async def value(self) -> Any:
        """Return what the resource yields; who is cancelled meanwhile does not stop the opening.

        :raises ResourceFailedError: if the opening was cancelled.
        """
        await asyncio.wait({self._opened})
        return self._opened.result()

    async def close(self) -> asyncio.CancelledError | None:
        """Let the generator run on to its end; one that is still opening is cancelled. Twice is harmless.

        Who is cancelled meanwhile gets that back when it is closed.
        """
        limit = self._patience.cancelled
        if self._opened.done():
            limit += self._patience.closing
        elif not self._over.done():
            self._task.cancel()
        if not self._over.done():
            self._over.set_result(None)
        cancelled = await finish(self._task, timeout=limit)
        if not self._task.done():
            self.trouble = self._failure("does not end though it was cancelled, and is left alone")
        return cancelled

    async def _hold(self, steps: _AsyncSteps | _Steps) -> None:
        if await self._open(steps):
            await finish(self._over)  # whoever cancels: it is for the run to say when, and in what order
            await self._close(steps)

    async def _open(self, steps: _AsyncSteps | _Steps) -> bool:
        try:
            value = await steps.next()
            if value is _END:
                raise UsageError(f"resource {self._resource.name!r} yields nothing")
        except asyncio.CancelledError as exc:
            self._opened.set_exception(self._failure(_CANCELLED, exc))
        except BaseException as exc:  # also a word to the process: it is for those who wait to hear it
            self._opened.set_exception(exc)
        else:
            self._opened.set_result(value)
            return True
        return False

    async def _close(self, steps: _AsyncSteps | _Steps) -> None:
        limit = asyncio.timeout(self._patience.closing)
        try:
            async with limit:
                if await steps.next() is not _END:
                    raise UsageError(f"resource {self._resource.name!r} yields more than once")
        except asyncio.CancelledError as exc:
            self.trouble = self._failure("was cancelled while it was closed", exc)
        except BaseException as exc:  # as above
            if limit.expired():
                problem = f"did not close within {self._patience.closing:g} s and was cancelled"
                self.trouble = self._failure(problem, exc)
            else:
                self.trouble = exc

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not self._opened.done():  # cancelled before its first step
            self._opened.set_exception(self._failure(_CANCELLED))
        self._opened.exception()  # it may be that nobody waits for it any more

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


class _Steps:
    """A synchronous generator, step by step in threads, because opening may block.

    A step cannot be stopped. What it opens when nobody waits for it any more is closed at once.
    """

    def __init__(self, resource: Resource, values: dict[str, Any], threads: Executor) -> None:
        self._generator: Generator[Any, None, None] = resource.function(**values)
        self._threads = threads
        self._lock = threading.Lock()
        self._arrived = self._given_up = False

    async def next(self) -> Any:
        self._arrived = False
        try:
            return await self._threads.run(self._step, (), {})
        except asyncio.CancelledError:
            with self._lock:
                self._given_up = True
            if self._arrived:  # at the same moment
                await self._threads.run(self._generator.close, (), {})
            raise

    def _step(self) -> Any:
        value = next(self._generator, _END)
        with self._lock:
            self._arrived = not self._given_up
        if not self._arrived:
            self._generator.close()
        return value
