"""A cluster without Dask: what it answers is decided by the test, and what it is asked is recorded."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from cascade.executors.dask._calls import ClusterCalls
from cascade.executors.dask._placement import Call
from cascade.interfaces import ExecutorUnavailable
from cascade.interfaces.numbered_calls import UNDERSTANDS_CONFIRMATIONS, Answer, Fate


class Future:
    """A Dask future; :meth:`give` and :meth:`fail` end it."""

    def __init__(self, client: StandInClient, number: int) -> None:
        self.client = client
        self.number = number
        self.released = False
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def give(self, fate: Fate = Fate.DONE, packed: bytes = b"", seconds: float = 0.0) -> None:
        """End with what a worker returns."""
        self.finish((fate.value, seconds, packed))

    def finish(self, answer: Answer) -> None:
        """Do the same."""
        if not self._done.done():
            self._done.set_result(answer)

    def fail(self, error: Exception) -> None:
        """End with an error of Dask's own."""
        self._done.set_exception(error)

    async def exception(self) -> None:
        """Wait for the end; raise as Dask does if the future was cancelled."""
        await asyncio.wait([self._done])

    def __await__(self) -> Any:
        return self._done.__await__()

    def release(self) -> None:
        """Note that nobody wants the result."""
        self.released = True


class StandInClient:
    """The client of a cluster: ``threads`` are its workers."""

    def __init__(self, threads: dict[str, int]) -> None:
        self.threads = threads
        self.versions: dict[str, Any] = {}
        """What a worker answers to the opening of a session, if it is not of this version."""
        self.sent: dict[int, Future] = {}
        """By number of the call."""
        self.places: dict[int, str] = {}
        self.requests: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        """By name of the function: the worker's address, and the last argument."""
        self.started: set[int] = set()
        """Calls that a worker has started, as it answers to a withdrawal."""
        self.silent: set[str] = set()
        """Workers that answer nothing."""
        self.handlers: dict[str, Any] = {}
        self.scheduler_requests: list[Any] = []

    async def nthreads(self) -> dict[str, int]:
        """Return the workers."""
        return dict(self.threads)

    def map(self, function: Any, *columns: Any, workers: list[str], **options: Any) -> list[Future]:
        """Take a graph of calls."""
        for number in columns[1]:
            self.sent[number] = Future(self, number)
            self.places[number] = workers[0]
        return [self.sent[number] for number in columns[1]]

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
            found[address] = self._answer(name, address, args)
        return found

    def _answer(self, name: str, address: str, args: tuple[Any, ...]) -> Any:
        if name == "open_session":
            answer = self.versions.get(address, UNDERSTANDS_CONFIRMATIONS)
            return answer(*args) if callable(answer) else answer
        return sorted(self.started.intersection(args[0])) if name == "withdraw_calls" else None

    def subscribe_topic(self, topic: str, handler: Any) -> None:
        """Have what workers send go to a handler."""
        self.handlers[topic] = handler

    def unsubscribe_topic(self, topic: str) -> None:
        """End that."""
        del self.handlers[topic]

    async def run_on_scheduler(self, function: Any) -> None:
        """Take a function for the scheduler."""
        self.scheduler_requests.append(function)

    async def gather(self, futures: list[Future]) -> list[Any]:
        """Return the results of several futures."""
        return [await future for future in futures]

    def say(self, text: str | bytes) -> None:
        """Deliver what a worker sends."""
        for handler in self.handlers.values():
            handler((0.0, text))

    def answer(self, number: int, packed: bytes = b"", seconds: float = 0.0) -> None:
        """Deliver the answer of a call, before its future is done."""
        self.say(struct.pack("<Qd", number, seconds) + packed)


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
    """A call that records what is reported of it."""

    def __init__(self, packed: bytes = b"", *, ahead: bool = False, **settings: Any) -> None:
        self.log: list[Any] = []
        super().__init__(
            packed,
            "work",
            on_start=lambda: self.log.append("started"),
            on_end=self.log.append,
            withdrawable=ahead,
            **settings,
        )


@asynccontextmanager
async def calls_on(cluster: Any, limit: int | None = None) -> AsyncIterator[tuple[ClusterCalls, list[Any]]]:
    """Open calls on a cluster; also return what they report: numbers of threads and of calls to take ahead."""
    reported: list[Any] = []
    async with ClusterCalls.open(
        lambda: cluster, limit=limit, changed=lambda *counts: reported.append(counts)
    ) as calls:
        yield calls, reported
