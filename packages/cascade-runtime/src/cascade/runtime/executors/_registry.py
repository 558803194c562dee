"""The executors of one run: the engine's and its own, each started when a task first needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType

from cascade.interfaces import Executor, SupportsStart, supports
from cascade.interfaces.logs import get_logger
from cascade.runtime.executors._thread import ThreadExecutor
from cascade.spec.definition import AUTO

THREAD, PROCESS = "thread", "process"

_log = get_logger("cascade.engine")


class RunExecutors(Mapping[str, Executor]):
    """Executors by mode. Mode ``auto`` is ``default``, or threads without one.

    The run creates the executors that the engine does not have, and closes only those.
    """

    def __init__(self, default: Executor | None, configured: Mapping[str, Executor]) -> None:
        self._configured = dict(configured)
        if default is not None:
            self._configured[AUTO] = default
        self._own: dict[str, Executor] = {}
        self._used: dict[int, Executor] = {}  # by identity
        self._started: set[int] = set()
        self._failures: dict[int, Exception] = {}
        self._starting = asyncio.Lock()

    @property
    def threads(self) -> Executor:
        """Threads for blocking work of the run itself, such as opening resources."""
        return self[THREAD]

    def __getitem__(self, mode: str) -> Executor:
        """Return the executor of a mode; create it if the run has to.

        :raises KeyError: if there is none for this mode.
        """
        executor = self._configured.get(mode)
        if executor is None and mode == AUTO:
            return self[THREAD]
        if executor is None:
            if mode not in self._own:
                self._own[mode] = _FACTORIES[mode]()
            executor = self._own[mode]
        self._used[id(executor)] = executor
        return executor

    def __iter__(self) -> Iterator[str]:
        return iter({**_FACTORIES, **self._configured})

    def __len__(self) -> int:
        return len({**_FACTORIES, **self._configured})

    async def ready(self, mode: str) -> Executor:
        """Return the executor of a mode; start it if the run has not started it yet.

        :raises ExecutorUnavailable: if it cannot run calls, for example because its cluster is down.
        """
        executor = self[mode]
        if supports(executor, SupportsStart):
            earlier = self._failures.get(id(executor))
            async with self._starting:
                failure = self._failures.get(id(executor))
                if failure is not None and failure is not earlier:
                    # another task tried while this one waited: do not try again at once
                    raise failure
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
            except Exception as exc:
                # the run's own result matters more than this count
                _log.warning(
                    "%r cannot report how many calls still run: %s: %s", executor, type(exc).__name__, exc
                )
        return running

    async def __aenter__(self) -> RunExecutors:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the run's own executors, all of them even if closing one fails."""
        async with AsyncExitStack() as stack:
            for executor in self._own.values():
                stack.push_async_callback(executor.close)


def _create_process_executor() -> Executor:
    # imported only by runs that need it
    from cascade.runtime.executors import ProcessExecutor

    return ProcessExecutor()


_FACTORIES: dict[str, Callable[[], Executor]] = {THREAD: ThreadExecutor, PROCESS: _create_process_executor}
