"""Runs synchronous tasks on a Dask cluster."""

from __future__ import annotations

import asyncio
import atexit
import functools
import io
import os
import pickle
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from cascade.executors.dask._call import Call
from cascade.executors.dask._calls import ClusterCalls
from cascade.executors.dask._cluster import CLOSE_TIMEOUT, Cluster
from cascade.executors.dask._loop_thread import LoopThread
from cascade.interfaces import CallContext, ConfigurationError, Directive
from cascade.interfaces.executor import AbandonedCalls
from cascade.interfaces.mailbox import Mailbox
from cascade.interfaces.pickled_calls import name_of, open_answer, pack_call, task_function


class DaskExecutor:
    """A :class:`cascade.interfaces.Executor` on the Dask cluster at ``address``, on a ``cluster``, or on a local one.

    A ``cluster`` object, such as a ``LocalCluster``, one of dask-jobqueue or one on Kubernetes, is used and left as it is: it
    is neither scaled nor closed. Twice as many calls as it has threads are sent, at least one, so that a cluster that adapts
    sees that there is more to do; ``workers`` sets another number.

    Without either, a cluster of ``workers`` processes on this machine (by default one per
    core) starts with the first run that has a task for it; other keywords are those of
    ``distributed.LocalCluster``. It listens on loopback only. With an address, ``workers`` is the
    number of calls that are submitted at the same time; by default as many as the cluster has
    threads when such a run starts.

    The Dask client runs in a thread of its own. So several runs, each with its own event loop,
    share one connection, and a task that blocks an event loop does not break it. Workers need
    cascade-executor-dask and the modules of the tasks; functions of the main script, lambdas and
    nested functions are pickled by value. A call that is abandoned before it starts never
    starts; one that runs stops at its next checkpoint, else it goes on to its end, and
    ``settle`` counts it until then. A call is sent to one worker; if that dies, it fails and
    does not run again.

    :raises ConfigurationError: if a setting is invalid.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        cluster: Any = None,
        workers: int | None = None,
        connect_timeout: float = 10.0,
        **local: Any,
    ) -> None:
        _check(address, cluster, workers, connect_timeout, local)
        self._workers = workers
        self._cluster_threads = 0  # known after start()
        self._leaves = cluster is not None
        self._count = 0  # calls that are awaited
        self._calls_for_each_thread = 1 if cluster is None else 2
        self._expected_threads = 1 if address or cluster is not None else _expected_threads(workers, local)
        connection = functools.partial(
            Cluster, address, given=cluster, workers=workers, timeout=connect_timeout, local=local
        )
        self._open_calls = functools.partial(
            ClusterCalls.open,
            connection,
            limit=workers,
            for_each_thread=self._calls_for_each_thread,
            changed=self._on_change,
        )
        self._thread: LoopThread[ClusterCalls] | None = None
        # runs in several threads may need it, and count their calls, at the same time
        self._opening = threading.Lock()
        # of the event loop that used this last
        self._mailbox: Mailbox | None = None
        self._abandoned = AbandonedCalls()
        self._watchers: dict[object, tuple[Mailbox, Callable[[], None]]] = {}

    @property
    def workers(self) -> int:
        """How many calls run at the same time; an estimate until ``start``."""
        return self._workers or self._cluster_threads * self._calls_for_each_thread or self._expected_threads

    async def start(self) -> None:
        """Connect; start the local cluster first if no address was given.

        :raises ExecutorUnavailable: if no cluster answers within ``connect_timeout`` seconds.
        """
        await self._opened().call(ClusterCalls.start)

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the call returns, or raise what it raises.

        :raises TaskNotPicklableError: if the function, an argument or the outcome cannot be pickled.
        :raises WorkerLostError: if the worker to which the call was sent died; it does not run again.
        :raises ExecutorUnavailable: if the cluster cannot be reached, or stops during the call.
        """
        return await self._run(function, args, kwargs)

    async def run_with(
        self,
        context: CallContext,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Do what ``run`` does; the call obeys pause at its checkpoints, and reports to the context."""
        return await self._run(function, args, kwargs, context)

    def watch_workers(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` on this event loop after ``workers`` has changed; return how to stop that."""
        key = object()
        self._watchers[key] = (self._own_mailbox(), changed)
        return lambda: self._watchers.pop(key, None) and None

    def runs_on(self) -> asyncio.Future[None] | None:
        """Return a future that completes when the call last abandoned by the current asyncio task ends.

        Return None if it has ended.
        """
        return self._abandoned.runs_on()

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls; return how many still run.

        Without a call, disconnect from a ``cluster`` object: its owner may close it before the next run.
        """
        if self._thread is None:
            return 0
        left = await self._thread.call(lambda calls: calls.settle(timeout))
        if self._leaves and not left and not self._count:
            await self.close()
        return left

    async def close(self) -> None:
        """Disconnect; a local cluster ends, with the calls that still run. Idempotent."""
        with self._opening:
            thread, self._thread = self._thread, None
        if thread is not None:
            atexit.unregister(thread.close_at_exit)
            await thread.close()
            self._abandoned.forget()

    async def _run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: CallContext | None = None,
    ) -> Any:
        with self._opening:
            self._count += 1
        try:
            return await self._send(function, args, kwargs, context)
        finally:
            with self._opening:
                self._count -= 1

    async def _send(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: CallContext | None,
    ) -> Any:
        name = name_of(function)
        step = context.step if context is not None else None
        packed = pack_call(function, args, kwargs, pack=_pack, step=step)
        thread = self._opened()
        await thread.opened()
        post = self._own_mailbox().post

        def on_received(total: int) -> None:
            # when this loop has taken what came
            post(thread.post, ClusterCalls.confirm, call, total)

        awaited = _Awaited(asyncio.get_running_loop())
        call = Call(
            packed,
            name,
            on_end=functools.partial(post, awaited.settle),
            context=context,
            on_received=on_received,
        )
        unfollow = _follow(context, thread, call)
        thread.post(ClusterCalls.submit, call)
        try:
            answer = await awaited.outcome
        except asyncio.CancelledError:
            if not call.claim() and not awaited.has_ended:
                self._abandoned.add(awaited.watch_end())
            thread.post(ClusterCalls.abandon, call)
            raise
        finally:
            unfollow()
        if isinstance(answer, Exception):
            raise answer
        return open_answer(answer, name)

    def _on_change(self, threads: int) -> None:
        """Note how many threads the cluster has; called in the thread of its client."""
        changed, self._cluster_threads = threads != self._cluster_threads, threads
        if changed:
            for mailbox, callback in [*self._watchers.values()]:
                mailbox.post(callback)

    def _own_mailbox(self) -> Mailbox:
        """Return the mailbox of the running event loop."""
        loop = asyncio.get_running_loop()
        if (mailbox := self._mailbox) is None or mailbox.loop is not loop:
            mailbox = self._mailbox = Mailbox(loop)
        return mailbox

    def _opened(self) -> LoopThread[ClusterCalls]:
        with self._opening:
            if self._thread is None:
                self._thread = LoopThread(self._open_calls, name="cascade dask")
                atexit.register(self._thread.close_at_exit, 2 * CLOSE_TIMEOUT)
            return self._thread


def _nothing() -> None:
    """Stop nothing: a call without a context follows no directives."""


def _follow(context: CallContext | None, thread: LoopThread[ClusterCalls], call: Call) -> Callable[[], None]:
    """Pass on the directives to a call; return how to stop that."""
    if context is None:
        return _nothing

    def notify(directive: Directive) -> None:
        thread.post(ClusterCalls.direct, call, directive)

    return context.follow(notify)


class _Awaited:
    """What the caller of one call waits for; on the caller's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.outcome: asyncio.Future[bytes | Exception] = loop.create_future()
        self.has_ended = False
        self._end: asyncio.Future[None] | None = None

    def watch_end(self) -> asyncio.Future[None]:
        """Return what is done when the call, which was given up, has ended."""
        self._end = self.loop.create_future()
        return self._end

    def settle(self, value: bytes | Exception) -> None:
        """End the call with its packed outcome or an error."""
        self.has_ended = True
        if self._end is not None and not self._end.done():
            self._end.set_result(None)
        if not self.outcome.done():
            self.outcome.set_result(value)


class _TaskPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles a task's function by the name of its task; functions without a name by value."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, FunctionType) and (reduced := task_function(obj)):
            return reduced
        return super().reducer_override(obj)


def _pack(value: object) -> bytes:
    buffer = io.BytesIO()
    _TaskPickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def _expected_threads(workers: int | None, local: dict[str, Any]) -> int:
    processes = workers or local.get("n_workers") or os.cpu_count() or 1
    return int(processes * (local.get("threads_per_worker") or 1))


def _check(
    address: object, cluster: object, workers: object, connect_timeout: float, local: dict[str, Any]
) -> None:
    if cluster is not None and (isinstance(cluster, type) or not hasattr(cluster, "scheduler_address")):
        problem = f"needs a cluster object of Dask, such as LocalCluster(), not {cluster!r:.80}"
        raise ConfigurationError("DaskExecutor(cluster=)", problem)
    if address is not None and cluster is not None:
        problem = "are two ways to name one cluster; leave out either"
        raise ConfigurationError("DaskExecutor(address=, cluster=)", problem)
    if address is not None and not (isinstance(address, str) and address.strip()):
        raise ConfigurationError(
            "DaskExecutor(address=)", f"needs a text like tcp://host:8786, not {address!r}"
        )
    if (address is not None or cluster is not None) and local:
        other = "address" if address is not None else "cluster"
        problem = f"is for a local cluster; leave out either it or the {other}"
        raise ConfigurationError(f"DaskExecutor({', '.join(local)}=)", problem)
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ConfigurationError("DaskExecutor(workers=)", f"needs a whole number from 1, not {workers!r}")
    if not connect_timeout > 0:
        raise ConfigurationError(
            "DaskExecutor(connect_timeout=)", f"needs seconds above 0, not {connect_timeout!r}"
        )
