"""The executors of one run: those that were given, and its own, made when a task first needs one."""

from __future__ import annotations

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

    @property
    def threads(self) -> Executor:
        """Threads for what may block in the run itself."""
        return self[THREAD]

    def __getitem__(self, mode: str) -> Executor:
        """Return the executor of a mode.

        :raises KeyError: if there is none.
        """
        executor = self._given.get(mode)
        if executor is not None:
            return executor
        name = THREAD if mode == AUTO else mode
        if name not in self._own:
            self._own[name] = self._given.get(name) or _MAKERS[name]()
        return self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**_MAKERS, **self._given})

    def __len__(self) -> int:
        return len({**_MAKERS, **self._given})

    async def start(self) -> None:
        """Make ready those that were given, so that what is missing is known before the first task.

        :raises ExecutorUnavailable: if what one of them runs its calls on is not there.
        """
        for executor in self._given.values():
            if supports(executor, SupportsStart):
                await executor.start()

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls; return how many still run."""
        running = 0
        for executor in (*self._given.values(), *self._own.values()):
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
                if executor not in self._given.values():
                    closing.push_async_callback(executor.close)


def _processes() -> Executor:
    from cascade.runtime.executors.process import (
        ProcessExecutor,  # only runs with such tasks pay for the import
    )

    return ProcessExecutor()


_MAKERS: dict[str, Callable[[], Executor]] = {THREAD: ThreadExecutor, PROCESS: _processes}
