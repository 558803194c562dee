"""Sends calls to the workers of a cluster, a few of them ahead, and receives their answers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

from distributed import KilledWorker
from distributed.comm.core import CommClosedError

from cascade.executors.dask._cluster import Cluster
from cascade.executors.dask._latest_messages import LatestMessages
from cascade.executors.dask._line import ExecutorLine
from cascade.executors.dask._placement import Call, Placement
from cascade.executors.dask._results import Results
from cascade.executors.dask._sending import graphs, send_graph
from cascade.executors.dask._sessions import OldWorkers, Sessions
from cascade.interfaces import Directive, ExecutorUnavailable, WorkerLostError
from cascade.interfaces.ahead import CallWithdrawn
from cascade.interfaces.numbered_calls import (
    RUN,
    Fate,
    Order,
    SentAnswer,
    close_session,
    confirm_values,
    direct_calls,
    withdraw_calls,
)

_POLL = 0.2  # seconds between two queries which workers there are, while there are calls
_START_LIMIT = 5.0  # seconds that a start waits for workers that do not answer; they are used when they do
_CLOSE_LIMIT = 1.0  # seconds to tell the workers that a session is closed


class ClusterCalls:
    """The calls of one executor on its cluster. All methods run on the event loop of the portal.

    :param limit: how many calls are sent at the same time; None for one for each thread of the cluster.
    :param changed: called with the number of threads, and of calls to take ahead, when they may have changed.
    """

    def __init__(self, cluster: Cluster, *, limit: int | None, changed: Callable[[int, int], object]) -> None:
        self._cluster = cluster
        self._limit = limit
        self._report = changed
        self._sessions = Sessions(f"cascade-{uuid.uuid4().hex}", opened=self._on_opened)
        self._placement = Placement()
        self._orders = LatestMessages(self._send_orders, what="orders")
        self._confirmations = LatestMessages(self._send_confirmations, what="confirmations")
        self._old_workers = OldWorkers()
        self._threads: Mapping[str, int] = {}  # of all workers
        self._sent: dict[int, Call] = {}  # by number
        self._line = ExecutorLine(self._sessions.name, self._sent, answered=self._take_answer)
        self._answered: dict[int, str] = {}  # addresses of workers whose answer is here, by number
        self._sending = False
        self._count = 0
        self._unsent: dict[Call, None] = {}  # in the order of their arrival
        self._receiving: dict[int, asyncio.Task[None]] = {}  # by number
        self._withdrawing: set[asyncio.Task[None]] = set()
        self._moving = False
        self._following: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._results = Results()

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
        try:
            await self._refresh(wait=_START_LIMIT)
        except CommClosedError:  # its client does not know yet that the connection is lost
            await self._cluster.close()
            await self._refresh(wait=_START_LIMIT)

    def submit(self, call: Call) -> None:
        """Send a call as soon as there is room for it."""
        self._unsent[call] = None
        self._send_soon()
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="cascade dask workers")

    def direct(self, call: Call, directive: Directive) -> None:
        """Tell a call what to do at its checkpoints, wherever it is."""
        call.direct(directive)
        if call.worker is None:
            return  # the order goes with it
        if self._sessions.understands_orders(call.worker.address):
            self._orders.put(call.worker.address, call.number, call.order)
        else:
            self._old_workers.warn(call.worker.address)

    def confirm(self, call: Call, total: int) -> None:
        """Tell a call how much of what it published has been taken."""
        if call.worker is None or call.number not in self._sent:
            return
        if self._sessions.understands_confirmations(call.worker.address):
            self._confirmations.put(call.worker.address, call.number, total)

    def abandon(self, call: Call) -> None:
        """Withdraw a call if it has not started; else have it stop at a checkpoint, and count it until it ends."""
        call.abandoned, call.context = True, None
        if call in self._unsent:
            del self._unsent[call]
            call.end(CallWithdrawn())
        elif call.worker is not None:
            self.direct(call, Directive.CANCEL)
            if call.started is None:
                self._spawn(self._withdraw([call]))

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

    def _send_soon(self) -> None:
        """Send calls when this turn of the loop ends: what comes until then goes with them."""
        if not self._sending:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        """Send calls as long as there is room for them."""
        self._sending = False
        client = self._cluster.client
        if client is None or not self._placement.workers:
            return
        there: dict[str, list[Call]] = {}
        room = self._room() - self._placement.count()
        while self._unsent and room > 0:
            call = next(iter(self._unsent))
            del self._unsent[call]
            if not (call.number or call.claim()):
                call.end(CallWithdrawn())  # it was given up, and the message of that is on its way
                continue
            self._count += 1
            call.number = self._count
            self._sent[call.number] = call
            worker = self._placement.place(call, time.monotonic())
            there.setdefault(worker.address, []).append(call)
            room -= 1
        for address, calls in there.items():
            self._send_to(client, address, calls)

    def _send_to(self, client: Any, address: str, calls: list[Call]) -> None:
        with_orders = self._sessions.understands_orders(address)
        if not with_orders and any(call.order != RUN for call in calls):
            self._old_workers.warn(address)
        for graph in graphs(calls):
            futures = send_graph(client, self._sessions.name, graph, address, with_orders=with_orders)
            for call, future in zip(graph, futures, strict=True):
                self._receiving[call.number] = asyncio.create_task(
                    self._receive(call, call.number, future), name="cascade dask call"
                )

    def _room(self) -> int:
        threads = self._placement.threads
        if self._limit is not None and self._limit < threads:
            return self._limit
        return max(threads + self._placement.ahead, self._limit or 0)

    async def _receive(self, call: Call, number: int, future: Any) -> None:
        """End a call with its answer, unless it was withdrawn, or its worker has sent the answer already."""
        outcome: bytes | Exception | None = None
        try:
            await future.exception()  # only waits until it is done
            if number in self._answered:
                return
            fate, duration, packed = await self._results.fetch(future)
            if fate == Fate.DONE.value:
                outcome = packed
                self._placement.learn(duration)
            elif fate == Fate.NO_SESSION.value:
                outcome = self._lose_worker(call, number)
            else:
                self._place_again(call, number)
        except KilledWorker:
            outcome = self._lose_worker(call, number)
        except concurrent.futures.CancelledError as exc:
            outcome = self._cluster.unavailable(f"it dropped task {call.name!r} ({exc})")
        except Exception as exc:  # Dask could not run the call at all
            outcome = self._cluster.unavailable(f"it cannot run task {call.name!r} ({exc!r})")
        finally:
            del self._receiving[number]
            self._sent.pop(number, None)
            self._answered.pop(number, None)
            future.release()
        if outcome is not None and call.worker is not None and call.number == number:
            self._end(call, outcome)

    def _lose_worker(self, call: Call, number: int) -> WorkerLostError:
        """Send no further call to the worker of a call, which is lost; return the error of the call.

        The cluster may still list it, and another process may have taken its address.
        """
        error = _lost(call)
        if call.worker is not None and call.number == number:  # it was not withdrawn and sent elsewhere
            lost = call.worker.address
            self._sessions.forget(lost)
            self._use({address: count for address, count in self._threads.items() if address != lost})
        return error

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
        self._send_soon()

    def _place_again(self, call: Call, number: int) -> None:
        """Take back a call that was withdrawn, if the answer to its withdrawal has been lost."""
        if call.worker is None or call.number != number:
            return
        self._take_back(call, send_again=not call.withdrawable)
        self._changed()

    def _take_back(self, call: Call, *, send_again: bool) -> None:
        self._placement.remove(call, time.monotonic())
        if send_again and not call.abandoned:
            self._unsent[call] = None
        else:
            call.end(CallWithdrawn())

    async def _withdraw(self, calls: list[Call], *, send_again: bool = False) -> None:
        """Withdraw calls that have not started; their workers decide which have."""
        there: dict[str, list[Call]] = {}
        for call in calls:
            if call.worker is not None and call.started is None:
                there.setdefault(call.worker.address, []).append(call)
        await asyncio.gather(
            *(self._withdraw_at(address, asked, send_again=send_again) for address, asked in there.items())
        )

    async def _withdraw_at(self, address: str, calls: list[Call], *, send_again: bool) -> None:
        asked = {call.number: call for call in calls}
        found = await self._cluster.client.run(
            withdraw_calls, self._sessions.name, [*asked], workers=[address], on_error="ignore"
        )
        if address not in found:
            return  # the worker is lost
        for number, call in asked.items():
            if call.worker is None or call.number != number:
                continue  # it has ended meanwhile
            if number not in found[address]:
                self._take_back(call, send_again=send_again)
                continue
            call.start(time.monotonic())
            if call.early is not None:
                self._end(call, call.early)
        self._changed()

    async def _follow(self) -> None:
        """Follow the cluster's workers as long as there are calls: workers join, and workers are lost."""
        try:
            while self._unsent or self._placement.count():
                await self._refresh()
                self._send_soon()
                misplaced = self._placement.misplaced(time.monotonic())
                if misplaced and not self._moving:
                    self._spawn(self._move(misplaced))
                await asyncio.sleep(_POLL)
        except Exception as exc:
            self._fail_all(exc)
        finally:
            self._following = None

    async def _move(self, calls: list[Call]) -> None:
        """Send calls to another worker that wait behind long ones."""
        self._moving = True
        try:
            await self._withdraw(calls, send_again=True)
        finally:
            self._moving = False

    def _spawn(self, withdrawal: Coroutine[Any, Any, None]) -> None:
        """Withdraw calls without waiting: a worker that does not answer delays no other."""
        task = asyncio.create_task(withdrawal, name="cascade dask withdrawal")
        self._withdrawing.add(task)
        task.add_done_callback(self._withdrew)

    def _withdrew(self, task: asyncio.Task[None]) -> None:
        self._withdrawing.discard(task)
        if not task.cancelled():
            task.exception()  # the connection is lost: the next query for workers reports that

    def _fail_all(self, error: Exception) -> None:
        unsent, self._unsent = self._unsent, {}
        for call in [*unsent, *self._placement.calls()]:
            known = isinstance(error, ExecutorUnavailable)
            cause = f"it dropped task {call.name!r} ({error})"
            self._end(call, error if known and call in unsent else self._cluster.unavailable(cause))

    async def _refresh(self, *, wait: float = 0) -> None:
        """Connect if necessary; take over which workers there are, and open the session at the new ones."""
        client = await self._cluster.connected()
        self._line.subscribe(client)
        self._cluster.replace_lost()
        threads = self._cluster.without_starting(await client.nthreads())
        self._sessions.open_at(client, threads)
        await self._sessions.wait(wait)
        if threads and not self._sessions.among(threads) and (problem := self._sessions.problem()):
            address, exc = problem
            raise self._cluster.unavailable(f"its worker at {address} cannot run calls ({exc!r})")
        self._use(threads)

    def _take_answer(self, call: Call, answer: SentAnswer) -> None:
        """End a call with the answer that its worker has sent; its Dask future is done a little later."""
        if call.worker is None or call.number != answer.number:
            return
        self._answered[answer.number] = call.worker.address
        self._placement.learn(answer.seconds)
        self._end(call, answer.packed)

    def _use(self, threads: Mapping[str, int]) -> None:
        """Take over which workers there are, of those at which the session is open."""
        self._threads = threads
        before = {*self._placement.workers}
        gone = self._placement.update(self._sessions.among(threads))
        lost = before.difference(self._placement.workers)
        for address in lost:
            self._orders.drop(address)
            self._confirmations.drop(address)
        self._stop_receiving(call.number for call in gone)
        self._stop_receiving([number for number, address in self._answered.items() if address in lost])
        for call in gone:
            if call.worker is not None:  # else it has ended with the answer that had come early
                call.start(time.monotonic())
                self._end(call, call.early or _lost(call))
        self._report(self._placement.threads, self._placement.ahead)

    def _stop_receiving(self, numbers: Iterable[int]) -> None:
        """Release the futures of calls at lost workers, or Dask would keep them for workers of these addresses."""
        for number in numbers:
            receiving = self._receiving.get(number)
            if receiving is not None and receiving is not asyncio.current_task():
                receiving.cancel()

    def _on_opened(self) -> None:
        """Use a worker whose session is open now."""
        self._use(self._threads)
        self._send_soon()

    async def _send_orders(self, address: str, orders: dict[int, Order]) -> None:
        await self._cluster.client.run(direct_calls, self._sessions.name, orders, workers=[address])

    async def _send_confirmations(self, address: str, totals: dict[int, int]) -> None:
        await self._cluster.client.run(confirm_values, self._sessions.name, totals, workers=[address])

    async def _close(self) -> None:
        """End all calls, and disconnect."""
        tasks = [*self._receiving.values(), *self._withdrawing, *filter(None, [self._following])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._orders.close()
        await self._confirmations.close()
        await self._sessions.close()
        self._fail_all(self._cluster.unavailable("the executor was closed"))
        if (client := self._cluster.client) is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_LIMIT):
                    await self._end_session(client)
        await self._cluster.close()

    async def _end_session(self, client: Any) -> None:
        """Have the calls that run stop at a checkpoint, and the scheduler forget what they reported."""
        await asyncio.gather(
            client.run(close_session, self._sessions.name, on_error="ignore"),
            self._line.unsubscribe(client),
            return_exceptions=True,
        )


def _lost(call: Call) -> WorkerLostError:
    where = call.worker.address if call.worker is not None else "its address"
    return WorkerLostError(call.name, 1, f"the one at {where}")
