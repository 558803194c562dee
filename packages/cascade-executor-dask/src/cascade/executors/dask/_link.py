"""The client of a cluster, and the local cluster where there is no address; all on one event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import cloudpickle  # type: ignore[import-untyped]
import dask
from distributed import Client, KilledWorker, LocalCluster, Worker

from cascade.executors.dask._script import REMEDY, problem_of_script
from cascade.interfaces import ExecutorUnavailable, WorkerLostError
from cascade.interfaces.parcels import carry_out

_log = logging.getLogger("cascade.executor")

START_TIMEOUT, CLOSE_TIMEOUT = 60.0, 5.0
_GRACE = 1.0  # seconds that a local worker has to end
_POLL = 0.05  # seconds between two questions to the workers, while settle() waits
_ONE_BY_ONE = {"threads_per_worker": 1}  # a worker that dies takes one call with it
_QUIET = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
_LOOPBACK = {"host": "127.0.0.1"}


class Link:
    """Connects when it is first needed, and again when the connection was lost."""

    def __init__(
        self, address: str | None, *, workers: int | None, timeout: float, cluster: dict[str, Any]
    ) -> None:
        self._address = address
        self._processes = bool(cluster.get("processes", True))
        self._options = {
            **_QUIET,
            **_ONE_BY_ONE,
            **(_LOOPBACK if self._processes else {}),  # threads speak to each other through memory
            **({"n_workers": workers} if workers else {}),
            **cluster,
        }
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._client: Any = None  # a Client; Dask's classes tell their types only in part
        self._starting: asyncio.Task[Any] | None = None
        self._answers: set[asyncio.Task[bytes]] = set()
        self._given_up: set[str] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, **settings: Any) -> AsyncIterator[Self]:
        """Return one that is closed afterwards."""
        link = cls(**settings)
        try:
            yield link
        finally:
            await link._close()

    async def threads(self) -> int:
        """Connect; return how many calls the cluster runs at the same time.

        :raises ExecutorUnavailable: if there is no cluster, within the time limit.
        """
        client = await self._connected()
        return sum((await client.nthreads()).values())

    async def run(self, parcel: bytes, *, key: str, name: str) -> bytes:
        """Have a packed call carried out; when this is cancelled, Dask is told so.

        :raises WorkerLostError: if each worker that began it died.
        :raises ExecutorUnavailable: if there is no cluster, or it goes away.
        """
        future = _submit(await self._connected(), parcel, key)
        answer = asyncio.create_task(_answer_of(future), name=f"cascade dask {key}")
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)
        try:
            # Dask's client fetches many results in one request, which a cancelled waiter would end for all.
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            await future.cancel()  # which ends the answer, too
            raise
        except KilledWorker as exc:
            cause = f"the last one was {exc.last_worker.address}"
            raise WorkerLostError(name, exc.allowed_failures + 1, cause) from exc
        except concurrent.futures.CancelledError as exc:
            raise self._unavailable(f"it has given up task {name!r} ({exc})") from exc

    def give_up(self, key: str) -> None:
        """Count a call that was cancelled for as long as a worker runs it."""
        self._given_up.add(key)

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds until no worker runs a call that was given up; return how many do."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while await self._forget_ended():  # noqa: ASYNC110 - workers are asked; nothing tells
                    await asyncio.sleep(_POLL)
        return len(self._given_up)

    async def _forget_ended(self) -> bool:
        """Ask the workers what they run; return whether there is any of ours left."""
        if self._given_up and self._client is not None and self._client.status == "running":
            running = await self._client.run(_keys_that_run, on_error="ignore")
            self._given_up &= {key for keys in running.values() for key in keys}
        else:
            self._given_up.clear()
        return bool(self._given_up)

    async def _connected(self) -> Any:
        async with self._lock:
            if self._client is None or self._client.status != "running":
                await self._close()
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Any:
        target = self._address or await self._cluster()
        client: Any = Client(
            target, asynchronous=True, set_as_default=False, timeout=self._timeout, name="cascade"
        )
        connected = False
        try:
            async with asyncio.timeout(self._timeout):  # its own limit ends with the TCP connection
                await client
            connected = True
        except (OSError, ValueError) as exc:
            raise self._unavailable(str(exc) or f"no answer within {self._timeout:g} s") from exc
        finally:
            if not connected:
                await _close(client, 0)
        return client

    async def _cluster(self) -> Any:
        """Return the local cluster; its start is not cancelled, for half a cluster cannot be closed."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_cluster(), name="cascade dask cluster")
        await asyncio.wait({self._starting}, timeout=START_TIMEOUT)
        if not self._starting.done():
            raise self._unavailable(f"it did not start within {START_TIMEOUT:g} s")
        if self._starting.exception() is None:
            return self._starting.result()
        failed, self._starting = self._starting, None
        return failed.result()

    async def _start_cluster(self) -> Any:
        if self._processes and (problem := problem_of_script()):
            raise self._unavailable(problem, REMEDY)
        cluster: Any = LocalCluster(asynchronous=True, **self._options)
        try:
            await cluster
        except Exception as exc:
            await _close(cluster, CLOSE_TIMEOUT)
            cause = str(exc).rstrip(".") or type(exc).__name__
            raise self._unavailable(f"it did not start ({cause})") from exc
        return cluster

    async def _close(self) -> None:
        client, self._client = self._client, None
        starting, self._starting = self._starting, None
        self._given_up.clear()
        if client is not None:
            await _close(client, CLOSE_TIMEOUT)
        if starting is not None:
            await asyncio.wait({starting}, timeout=CLOSE_TIMEOUT)
            if starting.done() and starting.exception() is None:
                await _close_workers(starting.result())
                await _close(starting.result(), CLOSE_TIMEOUT)

    def _unavailable(self, cause: str, remedy: str = "") -> ExecutorUnavailable:
        if self._address is None:
            remedy = remedy or "what Dask and its processes say about it is on stderr"
            return ExecutorUnavailable("the local Dask cluster", cause, remedy)
        remedy = "start one there with `dask scheduler` and `dask worker`, or leave the address out"
        return ExecutorUnavailable(f"the Dask cluster at {self._address}", cause, remedy)


def _submit(client: Any, parcel: bytes, key: str) -> Any:
    """Hand a call over as one piece of bytes: Dask looks for nothing in it and takes no keyword out of it."""
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
        return client.submit(carry_out, parcel, cloudpickle.dumps, key=key, pure=False)


async def _answer_of(future: Any) -> bytes:
    try:
        answer: bytes = await future
        return answer
    finally:
        future.release()


async def _close(thing: Any, timeout: float) -> None:
    """Close a client or a cluster, which may be broken, by its time limit and ours."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(timeout + 1):
            await thing.close(timeout=timeout)


async def _close_workers(cluster: Any) -> None:
    """End a local cluster's workers soon, also those that run a call; it would wait for them longer."""
    closing = (worker.close(timeout=_GRACE) for worker in cluster.workers.values())
    await asyncio.gather(*closing, return_exceptions=True)


async def _keys_that_run(dask_worker: Worker) -> list[str]:
    return [str(state.key) for state in dask_worker.state.executing]
