"""Sends calls to the workers of a cluster, a few of them ahead, and receives their answers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import cloudpickle  # type: ignore[import-untyped]
import dask
from distributed import KilledWorker, Worker

from cascade.executors.dask._cluster import Cluster
from cascade.executors.dask._placement import Call, Placement
from cascade.interfaces import ExecutorUnavailable, WorkerLostError
from cascade.interfaces.ahead import CallWithdrawn
from cascade.interfaces.numbered_calls import (
    Answer,
    Fate,
    close_session,
    open_session,
    run_numbered,
    withdraw_calls,
)

_POLL = 0.2  # seconds between two queries which workers there are, while there are calls


class ClusterCalls:
    """The calls of one executor on its cluster. All methods run on the event loop of the portal.

    :param limit: how many calls are sent at the same time; None for one for each thread of the cluster.
    :param changed: called with the number of threads, and of calls to take ahead, when they may have changed.
    """

    def __init__(self, cluster: Cluster, *, limit: int | None, changed: Callable[[int, int], object]) -> None:
        self._cluster = cluster
        self._limit = limit
        self._report = changed
        self._session = uuid.uuid4().hex
        self._placement = Placement()
        self._count = 0
        self._unsent: dict[Call, None] = {}  # in the order of their arrival
        self._receiving: dict[int, asyncio.Task[None]] = {}  # by number
        self._withdrawing: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._results = _Results()

    @classmethod
    @asynccontextmanager
    async def open(cls, cluster: Callable[[], Cluster], **settings: Any) -> AsyncIterator[Self]:
        """Return calls on a cluster that is closed at the end of the context."""
        calls = cls(cluster(), **settings)
        try:
            yield calls
        finally:
            await calls._close()

    async def start(self) -> None:
        """Connect, and find out which workers there are.

        :raises ExecutorUnavailable: if no cluster answers within the time limit.
        """
        await self._refresh()

    def submit(self, call: Call) -> None:
        """Send a call as soon as there is room for it."""
        self._unsent[call] = None
        self._send()
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="cascade dask workers")

    def abandon(self, call: Call) -> None:
        """Withdraw a call if it has not started; else count it until it ends."""
        call.abandoned = True
        if call in self._unsent:
            del self._unsent[call]
        elif call.worker is not None and call.started is None:
            task = asyncio.create_task(self._withdraw([call]), name="cascade dask withdrawal")
            self._withdrawing.add(task)
            task.add_done_callback(self._withdrawing.discard)

    async def withdraw(self) -> None:
        """Withdraw every call that was taken ahead and has not started; return when that is certain."""
        for call in [call for call in self._unsent if call.withdrawable]:
            del self._unsent[call]
            call.end(CallWithdrawn())
        await self._withdraw([call for call in self._placement.calls() if call.withdrawable])

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls; return how many still run."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._abandoned():
                    self._ended.clear()
                    await self._ended.wait()
        return self._abandoned()

    def _abandoned(self) -> int:
        return sum(call.abandoned for call in self._placement.calls())

    def _send(self) -> None:
        """Send calls as long as there is room for them."""
        client = self._cluster.client
        if client is None or not self._placement.workers:
            return
        room = self._room() - self._placement.count()
        while self._unsent and room > 0:
            call = next(iter(self._unsent))
            del self._unsent[call]
            self._count += 1
            call.number = self._count
            worker = self._placement.place(call, time.monotonic())
            future = _submit(client, self._session, call, worker.address)
            self._receiving[call.number] = asyncio.create_task(
                self._receive(call, call.number, future), name="cascade dask call"
            )
            room -= 1

    def _room(self) -> int:
        threads = self._placement.threads
        if self._limit is not None and self._limit < threads:
            return self._limit
        return max(threads + self._placement.ahead, self._limit or 0)

    async def _receive(self, call: Call, number: int, future: Any) -> None:
        """End a call with its answer, unless it was withdrawn."""
        outcome: bytes | Exception | None = None
        try:
            await (
                future.exception()
            )  # only waits until it is done: the result is fetched together with others
            fate, duration, packed = await self._results.fetch(future)
            if fate == Fate.DONE.value:
                outcome = packed
                self._placement.learn(duration)
            elif fate == Fate.NO_SESSION.value:
                outcome = _lost(call)
        except KilledWorker:
            outcome = _lost(call)
        except concurrent.futures.CancelledError as exc:
            outcome = self._cluster.unavailable(f"it dropped task {call.name!r} ({exc})")
        except Exception as exc:  # Dask could not run the call at all
            outcome = self._cluster.unavailable(f"it cannot run task {call.name!r} ({exc!r})")
        finally:
            del self._receiving[number]
            future.release()
        if outcome is not None and call.worker is not None and call.number == number:
            self._end(call, outcome)

    def _end(self, call: Call, outcome: bytes | Exception) -> None:
        """End a call, and start and send others in its place."""
        if isinstance(outcome, bytes) and call.started is None:
            call.early = outcome  # the answer of a call before it is still on its way
            return
        worker = call.worker
        call.end(outcome)  # first: the next call starts in its place
        self._placement.remove(call, time.monotonic())
        for next_call in [] if worker is None else [*worker.calls.values()]:
            if next_call.early is not None and next_call.started is not None:
                early, next_call.early = next_call.early, None
                self._end(next_call, early)
        self._changed()

    def _changed(self) -> None:
        self._ended.set()
        self._report(self._placement.threads, self._placement.ahead)
        self._send()

    async def _withdraw(self, calls: list[Call], *, send_again: bool = False) -> None:
        """Withdraw calls that have not started; their workers decide which have."""
        numbers: dict[str, list[int]] = {}
        for call in calls:
            if call.worker is not None and call.started is None:
                numbers.setdefault(call.worker.address, []).append(call.number)
        asked = {number for asked in numbers.values() for number in asked}
        if not asked:
            return
        client = self._cluster.client
        started = await client.run(
            _withdraw_at, self._session, numbers, workers=[*numbers], on_error="ignore"
        )
        answered = {number for address in started for number in numbers[address]}
        running = {number for found in started.values() for number in found}
        now = time.monotonic()
        for call in calls:
            if call.worker is None or call.number not in asked & answered:
                continue  # it has ended meanwhile, or its worker is lost
            if call.number in running:
                call.start(now)
                if call.early is not None:
                    self._end(call, call.early)
                continue
            self._placement.remove(call, now)
            if send_again and not call.abandoned:
                self._unsent[call] = None
            else:
                call.end(CallWithdrawn())
        self._changed()

    async def _follow(self) -> None:
        """Follow the cluster's workers as long as there are calls: workers join, and workers are lost."""
        try:
            while self._unsent or self._placement.count():
                await self._refresh()
                self._send()
                await self._withdraw(self._placement.misplaced(time.monotonic()), send_again=True)
                await asyncio.sleep(_POLL)
        except Exception as exc:
            self._fail_all(exc)
        finally:
            self._following = None

    def _fail_all(self, error: Exception) -> None:
        unsent, self._unsent = self._unsent, {}
        for call in [*unsent, *self._placement.calls()]:
            known = isinstance(error, ExecutorUnavailable)
            cause = f"it dropped task {call.name!r} ({error})"
            self._end(call, error if known and call in unsent else self._cluster.unavailable(cause))

    async def _refresh(self) -> None:
        """Connect if necessary; take over which workers there are, and open the session at the new ones."""
        client = await self._cluster.connected()
        threads = self._cluster.without_starting(await client.nthreads())
        new = [address for address in threads if address not in self._placement.workers]
        if new:
            opened = await client.run(open_session, self._session, workers=new, on_error="return")
            failed = {address: exc for address, exc in opened.items() if isinstance(exc, Exception)}
            if failed and len(failed) == len(threads):
                address, exc = failed.popitem()
                raise self._cluster.unavailable(f"its worker at {address} cannot run calls ({exc!r})")
            threads = {address: count for address, count in threads.items() if address not in failed}
        for call in self._placement.update(threads):
            if (receiving := self._receiving.get(call.number)) is not None:
                receiving.cancel()  # or Dask would keep the call for a worker of this address
            call.start(time.monotonic())
            self._end(call, call.early or _lost(call))
        self._report(self._placement.threads, self._placement.ahead)

    async def _close(self) -> None:
        """End all calls, and disconnect."""
        tasks = [*self._receiving.values(), *self._withdrawing, *filter(None, [self._following])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_all(self._cluster.unavailable("the executor was closed"))
        if (client := self._cluster.client) is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await client.run(close_session, self._session, on_error="ignore")
        await self._cluster.close()


class _Results:
    """Fetches the results of calls, in one request those that are there when the previous one has ended."""

    def __init__(self) -> None:
        self._wanted: list[tuple[Any, asyncio.Future[Answer | None]]] = []
        self._fetching: asyncio.Task[None] | None = None

    async def fetch(self, future: Any) -> Answer:
        """Return the result of a Dask future that is done.

        :raises Exception: what Dask raises for it.
        """
        fetched: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._wanted.append((future, fetched))
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_all(), name="cascade dask results")
        if (answer := await fetched) is not None:
            return answer
        result: Answer = await future
        return result

    async def _fetch_all(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, []
            futures = [future for future, _ in wanted]
            answers: list[Answer | None] = [None] * len(wanted)
            with contextlib.suppress(Exception):  # one of them failed: each fetches its own
                answers = await futures[0].client.gather(futures)
            for (_, fetched), answer in zip(wanted, answers, strict=True):
                if not fetched.done():
                    fetched.set_result(answer)
        self._fetching = None


def _lost(call: Call) -> WorkerLostError:
    where = call.worker.address if call.worker is not None else "its address"
    return WorkerLostError(call.name, 1, f"the one at {where}")


def _submit(client: Any, session: str, call: Call, address: str) -> Any:
    """Send a call as bytes, so that Dask neither inspects its arguments nor interprets its keywords."""
    key = f"{call.name}-{uuid.uuid4().hex}"
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
        return client.submit(
            run_numbered,
            session,
            call.number,
            call.packed,
            cloudpickle.dumps,
            key=key,
            pure=False,
            workers=[address],
            fifo_timeout=0,  # otherwise calls of the same 100 ms have no order
        )


def _withdraw_at(session: str, numbers: dict[str, list[int]], dask_worker: Worker) -> list[int]:
    return withdraw_calls(session, numbers[dask_worker.address])
