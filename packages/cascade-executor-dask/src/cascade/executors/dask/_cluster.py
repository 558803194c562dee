"""The client of a Dask cluster, and the local cluster if no address is given; both on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from distributed import Client, LocalCluster, Status
from distributed.comm.core import CommClosedError

from cascade.executors.dask._script import REMEDY, script_problem
from cascade.interfaces import ExecutorUnavailable

START_TIMEOUT, CLOSE_TIMEOUT = 60.0, 5.0
_COLLECTED = 0.001  # seconds for which messages to the scheduler are collected
_WORKER_CLOSE_TIMEOUT = 1.0  # seconds that a local worker has to end
# so that a worker that dies costs only one call
_ONE_BY_ONE = {"threads_per_worker": 1}
_QUIET = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
_LOOPBACK = {"host": "127.0.0.1"}


class Cluster:
    """A connection to a cluster; it connects on first use, and again if the connection was lost."""

    def __init__(
        self,
        address: str | None,
        *,
        given: Any = None,
        workers: int | None,
        timeout: float,
        local: dict[str, Any],
    ) -> None:
        self._address = address
        self._given = given
        self._processes = bool(local.get("processes", True))
        self._options = {
            **_QUIET,
            **_ONE_BY_ONE,
            # threads communicate in memory
            **(_LOOPBACK if self._processes else {}),
            **({"n_workers": workers} if workers else {}),
            **local,
        }
        self._timeout = timeout
        self._lock = asyncio.Lock()
        # a Client; Dask's classes are only partly typed
        self._client: Any = None
        # the future of a call that does nothing
        self._asked: Any = None
        self._starting: asyncio.Task[Any] | None = None

    @property
    def client(self) -> Any:
        """The client if it is connected, else None."""
        return self._client if self._client is not None and self._client.status == "running" else None

    async def connected(self) -> Any:
        """Return a client that is connected.

        :raises ExecutorUnavailable: if no cluster answers within the time limit.
        """
        async with self._lock:
            if self.client is None:
                await self.close()
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> Any:
        client: Any = Client(
            await self._target(),
            asynchronous=True,
            set_as_default=False,
            timeout=self._timeout,
            name="cascade",
            security=getattr(self._given, "security", None),
        )
        connected = False
        try:
            # Dask's own limit covers only the TCP connection
            async with asyncio.timeout(self._timeout):
                await client
            # Dask collects what a client sends for 10 ms: as long as a short call takes.
            client.scheduler_comm.interval = _COLLECTED
            connected = True
        except (OSError, ValueError) as exc:
            raise self.unavailable(str(exc) or f"no answer within {self._timeout:g} s") from exc
        finally:
            if not connected:
                await _close(client, 0)
        return client

    async def _target(self) -> Any:
        """Return what a client connects to: an address, or the local cluster."""
        if self._given is None:
            return self._address or await self._local_cluster()
        # Its address, because the object belongs to the event loop of its owner.
        if getattr(self._given, "status", Status.running) is not Status.running:
            raise self.unavailable(f"it is {self._given.status.name}")
        return self._given.scheduler_address

    async def _local_cluster(self) -> Any:
        """Return the local cluster; never cancel its start, because half a cluster cannot be closed."""
        self._starting = asyncio.create_task(self._start_cluster(), name="cascade dask cluster")
        await asyncio.wait({self._starting}, timeout=START_TIMEOUT)
        if not self._starting.done():
            raise self.unavailable(f"it did not start within {START_TIMEOUT:g} s")
        return self._starting.result()

    async def _start_cluster(self) -> Any:
        if self._processes and (problem := script_problem()):
            raise self.unavailable(problem, REMEDY)
        cluster: Any = LocalCluster(asynchronous=True, **self._options)
        try:
            await cluster
        except Exception as exc:
            await _close(cluster, CLOSE_TIMEOUT)
            cause = str(exc).rstrip(".") or type(exc).__name__
            raise self.unavailable(f"it did not start ({cause})") from exc
        return cluster

    def without_starting(self, threads: Mapping[str, int]) -> dict[str, int]:
        """Return the workers without those of a local cluster that have not finished their start.

        The scheduler knows them a moment before: Dask does not replace one that dies in that moment.
        """
        if self._starting is None:  # the cluster is not local
            return dict(threads)
        started = {worker.worker_address for worker in self._starting.result().workers.values()}
        return {address: count for address, count in threads.items() if address in started}

    def ask_for_a_worker(self) -> None:
        """Have a cluster that adapts see that a worker is needed, if it has none: it counts only what was sent."""
        if self._given is not None and self._asked is None:
            self._asked = self.client.submit(_do_nothing, pure=False)

    def stop_asking(self) -> None:
        """Take back what asked for a worker."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.release()

    def replace_lost(self) -> None:
        """Start again the workers that a local cluster has given up.

        Dask gives up a worker whose successor needs more than 15 s for its start, as on a busy machine.
        """
        if self._starting is not None and self._starting.done():
            local = self._starting.result()
            if len(local.workers) < len(local.worker_spec):
                local.scale(len(local.worker_spec))

    async def close(self) -> None:
        """Disconnect, and end a local cluster. Idempotent."""
        self.stop_asking()
        client, self._client = self._client, None
        starting, self._starting = self._starting, None
        if client is not None:
            await _close(client, CLOSE_TIMEOUT)
        if starting is not None:
            # A start cannot be cancelled: a cluster left half started would keep its processes.
            await asyncio.wait({starting}, timeout=START_TIMEOUT)
            if starting.done() and starting.exception() is None:
                await _close_workers(starting.result())
                await _close(starting.result(), CLOSE_TIMEOUT)

    def unavailable(self, cause: str, remedy: str = "") -> ExecutorUnavailable:
        """Return the error that the cluster cannot run tasks."""
        if self._given is not None:
            kind = type(self._given).__name__
            return ExecutorUnavailable(f"the {kind} of cluster=", cause, "give the run a cluster that runs")
        if self._address is None:
            remedy = remedy or "see the messages of Dask and its processes on stderr"
            return ExecutorUnavailable("the local Dask cluster", cause, remedy)
        remedy = "start one there with `dask scheduler` and `dask worker`, or leave out the address"
        return ExecutorUnavailable(f"the Dask cluster at {self._address}", cause, remedy)


def _do_nothing() -> None:
    """Have a scheduler see a call."""


@contextlib.contextmanager
def _quiet_close() -> Iterator[None]:
    """Keep Dask from logging, with a traceback, that what is closed sends nothing more and no longer tries to connect."""
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("client", "batched")]
    for logger in loggers:
        logger.addFilter(_is_no_end)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_no_end)


def _is_no_end(record: logging.LogRecord) -> bool:
    ends = (asyncio.CancelledError, CommClosedError)
    return record.exc_info is None or not isinstance(record.exc_info[1], ends)


async def _close(client_or_cluster: Any, timeout: float) -> None:
    """Close a client or a cluster; ignore errors, because it may be broken."""
    with contextlib.suppress(Exception), _quiet_close():
        # Dask's own limit does not always take effect
        async with asyncio.timeout(timeout + 1):
            await client_or_cluster.close(timeout=timeout)


async def _close_workers(cluster: Any) -> None:
    """End a local cluster's workers, also busy ones; the cluster itself would wait longer for them."""
    closing = (worker.close(timeout=_WORKER_CLOSE_TIMEOUT) for worker in cluster.workers.values())
    await asyncio.gather(*closing, return_exceptions=True)
    # Their scheduler reports each end to the cluster a few milliseconds later, and logs it on stderr if that has closed.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            while cluster.scheduler_info["workers"]:  # noqa: ASYNC110 - Dask has no event for it
                await asyncio.sleep(0.005)
