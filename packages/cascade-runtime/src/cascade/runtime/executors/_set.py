"""The executors of one run: those that were given, and its own, each made ready when a task first needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType

from cascade.interfaces import Executor, SupportsStart, supports
from cascade.runtime.executors.thread import ThreadExecutor
from cascade.spec.definition import AUTO

THREAD, PROCESS = "thread", "process"

_log = logging.getLogger("cascade.engine")


class ExecutorSet(Mapping[str, Executor]):
    """Executors by mode; ``auto`` is the one given for it, else threads. Only its own are closed."""

    def __init__(self, default: Executor | None, given: Mapping[str, Executor]) -> None:
        self._given = dict(given)
        if default is not None:
            self._given[AUTO] = default
        self._own: dict[str, Executor] = {}
        self._used: dict[int, Executor] = {}  # by identity
        self._started: set[int] = set()
        self._failures: dict[int, Exception] = {}
        self._starting = asyncio.Lock()

    @property
    def threads(self) -> Executor:
        """Threads for what may block in the run itself."""
        return self[THREAD]

    def __getitem__(self, mode: str) -> Executor:
        """Return the executor of a mode.

        :raises KeyError: if there is none.
        """
        executor = self._given.get(mode)
        if executor is None and mode == AUTO:
            return self[THREAD]
        if executor is None:
            if mode not in self._own:
                self._own[mode] = _MAKERS[mode]()
            executor = self._own[mode]
        self._used[id(executor)] = executor
        return executor

    def __iter__(self) -> Iterator[str]:
        return iter({**_MAKERS, **self._given})

    def __len__(self) -> int:
        return len({**_MAKERS, **self._given})

    async def ready(self, mode: str) -> Executor:
        """Return the executor of a mode, made ready; in each run once, and only if a task needs it.

        :raises ExecutorUnavailable: if what it runs its calls on is not there.
        """
        executor = self[mode]
        if supports(executor, SupportsStart):
            known = self._failures.get(id(executor))
            async with self._starting:
                failure = self._failures.get(id(executor))
                if failure is not None and failure is not known:
                    raise failure  # it was made while we waited: it is as true for us
                await self._start(executor)
        return executor

    async def _start(self, executor: SupportsStart) -> None:
        if id(executor) in self._started:
            return
        try:
            await executor.start()
        except Exception as exc:
            self._failures[id(executor)] = exc
            raise
        self._started.add(id(executor))

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls; return how many still run."""
        running = 0
        for executor in list(self._used.values()):
            try:
                running += await executor.settle(timeout)
            except Exception as exc:  # what a run has found out is not lost to its winding up
                _log.warning(
                    "%r cannot tell whether calls still run: %s: %s", executor, type(exc).__name__, exc
                )
        return running

    async def __aenter__(self) -> ExecutorSet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the run's own executors."""
        async with AsyncExitStack() as closing:
            for executor in self._own.values():
                closing.push_async_callback(executor.close)


def _processes() -> Executor:
    from cascade.runtime.executors.process import (
        ProcessExecutor,  # only runs with such tasks pay for the import
    )

    return ProcessExecutor()


_MAKERS: dict[str, Callable[[], Executor]] = {THREAD: ThreadExecutor, PROCESS: _processes}
