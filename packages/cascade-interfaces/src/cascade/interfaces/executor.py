"""The executor: runs the calls of synchronous tasks, and waits for those that were given up while they ran."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary


@runtime_checkable
class Executor(Protocol):
    """Runs the calls of synchronous tasks outside the event loop."""

    @property
    def workers(self) -> int:
        """Number of calls that run at the same time; an engine submits no more than that, over all its runs."""
        ...

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what ``function(*args, **kwargs)`` returns, or raise what it raises.

        When the awaiting task is cancelled, the call is abandoned: its outcome is ignored, a
        call that has not started never starts, and a running one is stopped where that is possible.
        """
        ...

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls to end; return how many still run."""
        ...

    async def close(self) -> None:
        """Free the executor's threads, processes and connections without waiting for running calls. Idempotent.

        A running call is stopped where that is possible; otherwise it runs to its end. Used
        again afterwards, the executor works, or refuses with a ``CascadeError``.
        """
        ...


class AbandonedCalls:
    """The calls of one executor that run on after they were given up, each as a future of its end."""

    def __init__(self) -> None:
        self._ends: set[asyncio.Future[None]] = set()
        # The end of the call that each asyncio task gave up last, for runs_on().
        self._by_task: WeakKeyDictionary[asyncio.Task[Any], asyncio.Future[None]] = WeakKeyDictionary()

    def __contains__(self, ended: object) -> bool:
        return ended in self._ends

    def add(self, ended: asyncio.Future[None]) -> None:
        """Count a call, which the current asyncio task has given up, until it ends."""
        self._ends.add(ended)
        ended.add_done_callback(self._ends.discard)
        if (task := asyncio.current_task()) is not None:
            self._by_task[task] = ended

    def runs_on(self) -> asyncio.Future[None] | None:
        """Return the end of the call that the current asyncio task gave up last; None if it has ended."""
        task = asyncio.current_task()
        ended = self._by_task.pop(task, None) if task is not None else None
        return ended if ended is not None and not ended.done() else None

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for the calls; return how many still run."""
        # In place: the calls take themselves out of this set when they end.
        self._ends -= {ended for ended in self._ends if ended.get_loop().is_closed()}
        if self._ends:
            await asyncio.wait(self._ends, timeout=timeout)
        return sum(not ended.done() for ended in self._ends)

    def forget(self) -> None:
        """Stop counting."""
        self._ends.clear()
