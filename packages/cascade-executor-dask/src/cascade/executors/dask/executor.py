"""An executor of Cascade on top of Dask's scheduler."""

from __future__ import annotations

import asyncio
import atexit
import functools
import io
import os
import pickle
import uuid
from collections.abc import Callable
from types import FunctionType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from cascade.executors.dask._link import CLOSE_TIMEOUT, Link
from cascade.executors.dask._portal import Portal
from cascade.interfaces import ConfigurationError
from cascade.interfaces.parcels import inside_task, name_of, open_answer, pack_call


class DaskExecutor:
    """A :class:`cascade.interfaces.Executor` on the Dask cluster at ``address``, or on a local one.

    Without an address a cluster of ``workers`` processes on this machine (one per core by
    default) starts with the first run that has a task for it; other keywords are those of
    ``distributed.LocalCluster``. It listens on loopback only. With an address, ``workers`` says
    how many calls are handed over at a time; by default as many as the cluster has threads when
    such a run starts.

    The client lives in a thread of its own, so that several runs, each with an event loop of
    its own, share one connection, and a task that blocks the loop does not cost it. Workers
    need cascade-interfaces, and the modules that the tasks are in; functions of the script
    itself, lambdas and nested functions travel whole. A call that is given up before it has
    begun does not begin; one that runs goes on to its end, and ``settle`` counts it.

    :raises ConfigurationError: if a setting cannot work.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        workers: int | None = None,
        connect_timeout: float = 10.0,
        **cluster: Any,
    ) -> None:
        _check(address, workers, connect_timeout, cluster)
        self._workers = workers
        self._found = 0
        self._inside = functools.partial(
            Link.open, address=address, workers=workers, timeout=connect_timeout, cluster=cluster
        )
        self._threads_at_first = _threads(workers, cluster) if address is None else 1
        self._portal: Portal[Link] | None = None

    @property
    def workers(self) -> int:
        """How many calls run at the same time; known exactly after ``start``."""
        return self._workers or self._found or self._threads_at_first

    async def start(self) -> None:
        """Connect, and start the local cluster if there is no address.

        :raises ExecutorUnavailable: if there is no cluster within ``connect_timeout`` seconds.
        """
        self._found = await self._opened().call(Link.threads)

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call returns, or raise what it raises.

        :raises TaskNotPicklableError: if the function, an argument or the outcome cannot travel.
        :raises WorkerLostError: if each worker that began it died.
        :raises ExecutorUnavailable: if there is no cluster, or it goes away.
        """
        name = name_of(function)
        parcel = pack_call(function, args, kwargs, pack=_pack)
        key = f"{name}-{uuid.uuid4().hex}"
        portal = self._opened()
        try:
            answer = await portal.call(lambda link: link.run(parcel, key=key, name=name))
        except asyncio.CancelledError:
            portal.post(lambda link: link.give_up(key))
            raise
        return open_answer(answer, name)

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for calls that were given up; return how many still run."""
        if self._portal is None:
            return 0
        return await self._portal.call(lambda link: link.settle(timeout))

    async def close(self) -> None:
        """Leave the cluster; the local one ends, with the calls that still run."""
        if self._portal is not None:
            portal, self._portal = self._portal, None
            atexit.unregister(portal.close_at_exit)
            await portal.close()

    def _opened(self) -> Portal[Link]:
        if self._portal is None:
            self._portal = Portal(self._inside, name="cascade dask")
            atexit.register(self._portal.close_at_exit, 2 * CLOSE_TIMEOUT)
        return self._portal


class _WithTasks(cloudpickle.Pickler):  # type: ignore[misc]
    """Sends a task's function as the name of the task where there is one, else whole."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, FunctionType) and (reduced := inside_task(obj)):
            return reduced
        return super().reducer_override(obj)


def _pack(value: object) -> bytes:
    buffer = io.BytesIO()
    _WithTasks(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def _threads(workers: int | None, cluster: dict[str, Any]) -> int:
    processes = workers or cluster.get("n_workers") or os.cpu_count() or 1
    return int(processes * (cluster.get("threads_per_worker") or 1))


def _check(address: object, workers: object, connect_timeout: float, cluster: dict[str, Any]) -> None:
    if address is not None and not (isinstance(address, str) and address.strip()):
        raise ConfigurationError(
            "DaskExecutor(address=)", f"needs a text like tcp://host:8786, not {address!r}"
        )
    if address is not None and cluster:
        problem = "is for a local cluster; leave it out, or the address"
        raise ConfigurationError(f"DaskExecutor({', '.join(cluster)}=)", problem)
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ConfigurationError("DaskExecutor(workers=)", f"needs a whole number from 1, not {workers!r}")
    if not connect_timeout > 0:
        raise ConfigurationError(
            "DaskExecutor(connect_timeout=)", f"needs seconds above 0, not {connect_timeout!r}"
        )
