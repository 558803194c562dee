"""The calls of one executor: each is sent to one worker that has a free thread, and is awaited there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import dask
from distributed import KilledWorker
from distributed.comm.core import CommClosedError

from cascade.executors.dask._call import Call
from cascade.executors.dask._cluster import Cluster
from cascade.executors.dask._latest_messages import LatestMessages
from cascade.executors.dask._reports import Reports
from cascade.executors.dask._sessions import Sessions
from cascade.executors.dask._worker_side import (
    NotStarted,
    Order,
    close_session,
    confirm_values,
    direct_calls,
    run_call,
)
from cascade.interfaces import Directive, ExecutorUnavailable, WorkerLostError

# seconds between two queries which workers there are, while there are calls
_POLL = 0.2
# seconds that a start waits for workers that do not answer; they are used when they do
_START_LIMIT = 5.0
_LEAVING = 3.0  # seconds that a worker which leaves has for its calls, in addition to:
_MISSED = 0.5  # seconds for which a worker is missed before its calls are lost
_CLOSE_LIMIT = 1.0  # seconds to tell the workers that a session is closed


class ClusterCalls:
    """The calls of one executor on its cluster. All methods run on one event loop.

    :param limit: how many calls are sent at the same time; None for ``for_each_thread`` for each thread of the cluster.
    :param changed: called with the number of threads when it may have changed.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        limit: int | None,
        for_each_thread: int = 1,
        changed: Callable[[int], object],
    ) -> None:
        self._cluster = cluster
        self._limit = limit
        self._for_each_thread = for_each_thread
        self._report = changed
        self._sessions = Sessions(f"cascade-{uuid.uuid4().hex}", opened=self._on_opened)
        self._orders = LatestMessages(self._send_orders, what="orders")
        self._confirmations = LatestMessages(self._send_confirmations, what="confirmations")
        self._threads: Mapping[str, int] = {}  # of all workers
        # of those at which the session is open
        self._usable: Mapping[str, int] = {}
        self._unsent: dict[Call, None] = {}  # in the order of their arrival
        self._sent: dict[int, Call] = {}  # by number
        self._futures: dict[int, Any] = {}  # Dask's, by number
        self._receiving: set[asyncio.Task[None]] = set()
        self._count = 0
        self._reports = Reports(self._sessions.name, self._sent, left=self._on_left, answered=self._end)
        # calls that a worker which has left did not start
        self._returned: list[Call] = []
        # when a worker was first missed: the report that it leaves may come later
        self._missed: dict[str, float] = {}
        # workers that leave and are still listed
        self._left: set[str] = set()
        self._following: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

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
        except CommClosedError:
            # its client does not know yet that the connection is lost
            await self._cluster.close()
            await self._refresh(wait=_START_LIMIT)

    def submit(self, call: Call) -> None:
        """Send a call as soon as there is room for it."""
        self._unsent[call] = None
        self._send()
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="cascade dask workers")

    def direct(self, call: Call, directive: Directive) -> None:
        """Tell a call what to do at its checkpoints, wherever it is."""
        call.direct(directive)
        if call.number in self._sent:  # else the order goes with it
            self._orders.put(call.address, call.number, call.order)

    def confirm(self, call: Call, total: int) -> None:
        """Tell a call how much of what it published has been taken."""
        if call.number in self._sent:
            self._confirmations.put(call.address, call.number, total)

    def abandon(self, call: Call) -> None:
        """Give up a call: it is not sent, or does not start, or stops at a checkpoint and counts until it ends."""
        call.abandoned, call.context = True, None
        self._unsent.pop(call, None)
        if call in self._returned:
            self._returned.remove(call)
            call.end(self._given_up(call))
        self.direct(call, Directive.CANCEL)

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls; return how many still run."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._abandoned():
                    self._ended.clear()
                    await self._ended.wait()
        return self._abandoned()

    def _abandoned(self) -> int:
        return sum(call.abandoned for call in self._sent.values())

    def _send(self) -> None:
        """Send calls as long as there is room for them."""
        client = self._cluster.client
        if client is None or not self._usable:
            return
        most = self._limit or sum(self._usable.values()) * self._for_each_thread
        room = most - len(self._sent)
        while self._returned and room > 0:
            self._send_to(client, self._freest(), self._returned.pop(0))
            room -= 1
        while self._unsent and room > 0:
            call = next(iter(self._unsent))
            del self._unsent[call]
            # else it was given up, and the message of that is on its way
            if call.claim():
                self._send_to(client, self._freest(), call)
                room -= 1

    def _freest(self) -> str:
        """Return the address of the worker with the fewest calls for each thread."""
        calls = dict.fromkeys(self._usable, 0)
        for call in self._sent.values():
            if call.address in calls:
                calls[call.address] += 1
        return min(calls, key=lambda address: calls[address] / self._usable[address])

    def _send_to(self, client: Any, address: str, call: Call) -> None:
        """Send a call to one worker: so it does not run again elsewhere if that dies.

        It goes as bytes, so that Dask neither inspects its arguments nor interprets its keywords.
        """
        self._count += 1
        call.number, call.address = self._count, address
        self._sent[call.number] = call
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
            future = client.submit(
                run_call,
                self._sessions.name,
                call.number,
                call.packed,
                call.order,
                key=f"{call.name}-{uuid.uuid4().hex}",
                pure=False,
                workers=[address],
            )
        self._futures[call.number] = future
        task = asyncio.create_task(self._receive(call, call.number, future), name="cascade dask call")
        self._receiving.add(task)
        task.add_done_callback(self._receiving.discard)

    async def _receive(self, call: Call, number: int, future: Any) -> None:
        """End a call with its answer."""
        outcome: bytes | Exception
        try:
            answer = await future
            if answer is NotStarted.LEFT and call.number == number:
                self._return(call)
                self._send()
            if answer is NotStarted.NO_SESSION and call.number == number:
                outcome = self._lose_worker(call)
            elif answer is NotStarted.GIVEN_UP:
                outcome = self._given_up(call)
            else:
                outcome = answer
        except KilledWorker:
            outcome = self._lose_worker(call) if call.number == number else _lost(call)
        except concurrent.futures.CancelledError as exc:
            outcome = self._cluster.unavailable(f"it dropped task {call.name!r} ({exc})")
        except Exception as exc:  # Dask could not run the call at all
            outcome = self._cluster.unavailable(f"it cannot run task {call.name!r} ({exc!r})")
        finally:
            del self._futures[number]
            future.release()
        if call.number == number:  # else it was sent to another worker
            self._end(call, outcome)

    def _given_up(self, call: Call) -> ExecutorUnavailable:
        return self._cluster.unavailable(f"task {call.name!r} was given up")

    def _lose_worker(self, call: Call) -> WorkerLostError:
        """Send no further call to the worker of a call, which is lost; return the error of the call.

        The cluster may still list it, and another process may have taken its address.
        """
        self._sessions.forget(call.address)
        self._use({address: count for address, count in self._threads.items() if address != call.address})
        # at once: what has taken its address must not get them
        self._end_at({call.address}, but=call)
        return _lost(call)

    def _end(self, call: Call, outcome: bytes | Exception) -> None:
        """End a call, unless it has ended, and send others in its place."""
        if self._sent.pop(call.number, None) is None:
            return
        call.end(outcome)
        self._ended.set()
        self._send()

    async def _follow(self) -> None:
        """Follow the cluster's workers as long as there are calls: workers join, and workers are lost."""
        try:
            while self._unsent or self._sent or self._returned:
                await self._refresh()
                self._send()
                await asyncio.sleep(_POLL)
        except Exception as exc:
            self._fail_all(exc)
        finally:
            self._following = None

    def _fail_all(self, error: Exception) -> None:
        unsent, self._unsent = {**dict.fromkeys(self._returned), **self._unsent}, {}
        self._returned.clear()
        for call in [*unsent, *self._sent.values()]:
            known = isinstance(error, ExecutorUnavailable) and call in unsent
            outcome = (
                error if known else self._cluster.unavailable(f"it dropped task {call.name!r} ({error})")
            )
            if call in unsent:
                call.end(outcome)
            else:
                self._end(call, outcome)

    async def _refresh(self, *, wait: float = 0) -> None:
        """Connect if necessary; take over which workers there are, and open the session at the new ones."""
        client = await self._cluster.connected()
        self._reports.subscribe(client)
        self._cluster.replace_lost()
        threads = self._cluster.without_starting(await client.nthreads())
        if threads:
            self._cluster.stop_asking()
        elif self._unsent:
            self._cluster.ask_for_a_worker()
        self._left &= threads.keys()
        # a worker that has taken the address of one that is missed would run the calls of that
        shut = self._left | self._missed.keys()
        self._sessions.open_at(client, [address for address in threads if address not in shut])
        await self._sessions.wait(wait)
        if threads and not self._sessions.among(threads) and (problem := self._sessions.problem()):
            address, exc = problem
            raise self._cluster.unavailable(f"its worker at {address} cannot run calls ({exc!r})")
        self._use(threads)

    def _use(self, threads: Mapping[str, int]) -> None:
        """Take over which workers there are, of those at which the session is open."""
        before, self._usable = self._usable, self._sessions.among(threads)
        self._threads = threads
        for address in before.keys() - self._usable.keys():
            self._orders.drop(address)
            self._confirmations.drop(address)
        now = asyncio.get_running_loop().time()
        missing = {call.address for call in self._sent.values()} - self._usable.keys()
        self._missed = {address: self._missed.get(address, now) for address in missing}
        gone = {address for address, since in self._missed.items() if now - since >= _MISSED}
        self._end_at(gone)
        self._report(sum(self._usable.values()))

    def _end_at(self, addresses: set[str], *, but: Call | None = None) -> None:
        """End the calls at workers that are lost."""
        for call in [call for call in self._sent.values() if call.address in addresses and call is not but]:
            self._end(call, _lost(call))
            # Dask would keep it for a worker that takes this address. To cancel its task instead would
            # cancel the request that fetches the results of other calls with it.
            self._futures[call.number].release()

    def _on_left(self, address: str, running: list[int]) -> None:
        """Send the calls that a worker which leaves has not started, and never will, to others; await those that run."""
        self._left.add(address)
        self._sessions.forget(address)
        self._use(self._threads)
        for number, call in [*self._sent.items()]:
            if call.address == address and number not in running:
                self._return(call)
        if address in self._missed:
            self._missed[address] += _LEAVING
        self._send()

    def _return(self, call: Call) -> None:
        """Take back a call that has not started, for another worker."""
        number = call.number
        if call.abandoned:
            self._end(call, self._given_up(call))
        else:
            del self._sent[number]
            call.number, call.address = 0, ""
            self._returned.append(call)
        if number in self._futures:
            self._futures[number].release()

    def _on_opened(self) -> None:
        """Use a worker whose session is open now."""
        self._use(self._threads)
        self._send()

    async def _send_orders(self, address: str, orders: dict[int, Order]) -> None:
        await self._cluster.client.run(direct_calls, self._sessions.name, orders, workers=[address])

    async def _send_confirmations(self, address: str, totals: dict[int, int]) -> None:
        await self._cluster.client.run(confirm_values, self._sessions.name, totals, workers=[address])

    async def _close(self) -> None:
        """End all calls, and disconnect."""
        tasks = [*self._receiving, *filter(None, [self._following])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._orders.close()
        await self._confirmations.close()
        await self._sessions.close()
        self._usable = {}
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
            self._reports.unsubscribe(client),
            return_exceptions=True,
        )


def _lost(call: Call) -> WorkerLostError:
    return WorkerLostError(call.name, 1, f"the one at {call.address}")
