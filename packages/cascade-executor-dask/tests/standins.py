"""A cluster without Dask: what it answers is decided by the test, and what it is asked is recorded."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from cascade.executors.dask._call import Call
from cascade.executors.dask._calls import ClusterCalls
from cascade.executors.dask._worker_side import NotStarted
from cascade.interfaces import ExecutorUnavailable


class Future:
    """A Dask future; :meth:`give` and :meth:`fail` end it."""

    def __init__(self, client: StandInClient, number: int) -> None:
        self.client = client
        self.number = number
        self.released = False
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def give(self, answer: bytes | NotStarted = b"") -> None:
        """End with what a worker returns."""
        if not self._done.done():
            self._done.set_result(answer)

    def fail(self, error: Exception) -> None:
        """End with an error of Dask's own."""
        self._done.set_exception(error)

    def __await__(self) -> Any:
        return self._done.__await__()

    def release(self) -> None:
        """Note that nobody wants the result; end as Dask does then."""
        self.released = True
        if not self._done.done():
            self._done.set_exception(concurrent.futures.CancelledError("released"))
            self._done.exception()  # whether or not it is awaited


class StandInClient:
    """The client of a cluster: ``threads`` are its workers."""

    def __init__(self, threads: dict[str, int]) -> None:
        self.threads = threads
        self.broken: dict[str, Exception] = {}
        """What a worker answers to the opening of a session, if it cannot."""
        self.sent: dict[int, Future] = {}
        """By number of the call."""
        self.places: dict[int, str] = {}
        self.requests: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        """By name of the function: the worker's address, and the last argument."""
        self.silent: set[str] = set()
        """Workers that answer nothing."""
        self.handlers: dict[str, Any] = {}
        self.scheduler_requests: list[Any] = []

    async def nthreads(self) -> dict[str, int]:
        """Return the workers."""
        return dict(self.threads)

    def submit(
        self, function: Any, session: str, number: int, *args: Any, workers: list[str], **options: Any
    ) -> Future:
        """Take a call."""
        self.places[number] = workers[0]
        future = self.sent[number] = Future(self, number)
        return future

    async def run(
        self, function: Any, session: str, *args: Any, workers: Iterable[str] = (), on_error: str = "raise"
    ) -> dict[str, Any]:
        """Ask workers."""
        name, found = function.__name__, {}
        for address in workers or self.threads:
            self.requests[name].append((address, args[-1] if args else None))
            if address in self.silent:
                await asyncio.Event().wait()
            if address not in self.threads:
                continue
            found[address] = self.broken.get(address) if name == "open_session" else None
        return found

    def subscribe_topic(self, topic: str, handler: Any) -> None:
        """Have what workers send go to a handler."""
        self.handlers[topic] = handler

    def unsubscribe_topic(self, topic: str) -> None:
        """End that."""
        del self.handlers[topic]

    async def run_on_scheduler(self, function: Any) -> None:
        """Take a function for the scheduler."""
        self.scheduler_requests.append(function)

    def report(self, text: str) -> None:
        """Deliver what a worker reports."""
        for handler in self.handlers.values():
            handler((0.0, text))


class StandInCluster:
    """A connection to a cluster, which may be lost."""

    def __init__(self, **threads: int) -> None:
        self.client = StandInClient(threads)
        self.error: Exception | None = None
        """What a connection attempt raises."""
        self.closed = 0

    async def connected(self) -> StandInClient:
        """Return the client."""
        if self.error is not None:
            raise self.error
        return self.client

    def ask_for_a_worker(self) -> None:
        """Do nothing: it has workers."""

    def stop_asking(self) -> None:
        """Do nothing: it has not asked."""

    def replace_lost(self) -> None:
        """Do nothing: nothing is local."""

    def without_starting(self, threads: dict[str, int]) -> dict[str, int]:
        """Return all workers."""
        return threads

    def unavailable(self, cause: str) -> ExecutorUnavailable:
        """Return an error."""
        return ExecutorUnavailable("the cluster", cause, "start it")

    async def close(self) -> None:
        """Count the ends."""
        self.closed += 1


class Watched(Call):
    """A call that records how it ends."""

    def __init__(self, packed: bytes = b"", **settings: Any) -> None:
        self.log: list[Any] = []
        super().__init__(packed, "work", on_end=self.log.append, **settings)


@asynccontextmanager
async def calls_on(cluster: Any, limit: int | None = None) -> AsyncIterator[tuple[ClusterCalls, list[int]]]:
    """Open calls on a cluster; also return the numbers of threads that they report."""
    reported: list[int] = []
    async with ClusterCalls.open(lambda: cluster, limit=limit, changed=reported.append) as calls:
        yield calls, reported
