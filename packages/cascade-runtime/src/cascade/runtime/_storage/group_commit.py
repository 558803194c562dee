"""A thread that owns one file and serves all waiting requests at once, so that they share a commit."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from cascade.transport.event_loop import inert_in_children

MAX_BATCH = 1000
"""Requests that one commit serves at most, so that the first of them does not wait long."""


@dataclass(slots=True, eq=False)
class Request:
    """A request to the thread. The store that serves it sets ``result`` or ``error``."""

    result: Any = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)
    future: asyncio.Future[Any] | None = field(default=None, init=False)
    """Gets the result on the caller's event loop; None if the caller does not wait for it."""

    def settle(self) -> None:
        """Set the future's result or error, on its loop; do nothing if the caller was cancelled."""
        if self.future is None or self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


@dataclass(slots=True, eq=False)
class _Stop(Request):
    """Close the store and end the thread."""


RequestT = TypeVar("RequestT", bound=Request)
RequestT_contra = TypeVar("RequestT_contra", bound=Request, contravariant=True)


class Store(Protocol[RequestT_contra]):
    """What the thread calls; nothing else calls it."""

    def serve(self, batch: Sequence[RequestT_contra], /) -> None:
        """Serve requests in their order: set the result or the error of each.

        An exception becomes the error of every request of the batch.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class GroupCommit(Generic[RequestT]):
    """A daemon thread that serves the requests to one store, in the order of their arrival.

    A cancelled caller does not withdraw its request: what was queued is served. Requests are
    bounded by their callers, each of which waits; a batch has at most ``MAX_BATCH``. In a forked
    child the thread does not exist, and every call is refused.

    :param linger: seconds for which requests without a waiting caller may wait for one to share its commit.
    """

    def __init__(self, store: Store[RequestT], *, name: str, linger: float = 0.0) -> None:
        self._store = store
        self._name = name
        self._linger = linger
        self._queue: queue.SimpleQueue[RequestT | _Stop] = queue.SimpleQueue()
        self._ended = False
        inert_in_children(self)
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def waiting(self) -> int:
        """Requests that the thread has not taken yet."""
        return self._queue.qsize()

    def call(self, request: RequestT) -> asyncio.Future[Any]:
        """Queue a request; the future gets its result on the running event loop.

        :raises RuntimeError: after :meth:`stop`, and in a forked child.
        """
        self._check()
        request.future = asyncio.get_running_loop().create_future()
        self._queue.put(request)
        return request.future

    def post(self, request: RequestT) -> None:
        """Queue a request whose result no caller waits for; from any thread.

        :raises RuntimeError: after :meth:`stop`, and in a forked child.
        """
        self._check()
        self._queue.put(request)

    def stop(self) -> asyncio.Future[None]:
        """Serve what is queued, close the store and end the thread; the future completes then.

        :raises RuntimeError: if called twice, and in a forked child.
        """
        self._check()
        self._ended = True
        stop = _Stop()
        stop.future = asyncio.get_running_loop().create_future()
        self._queue.put(stop)
        return stop.future

    def become_inert(self) -> None:
        """Refuse further requests: in a forked child, where the thread does not run."""
        self._ended = True

    def _check(self) -> None:
        if self._ended:
            raise RuntimeError(f"{self._name}: its thread has ended, or belongs to the parent process")

    def _run(self) -> None:
        while self._serve_batch():
            pass

    def _serve_batch(self) -> bool:
        """Serve the waiting requests; return False after a stop.

        A function of its own, so that the thread holds no value while it waits for the next request.
        """
        batch, stop = self._take()
        try:
            if batch:
                self._store.serve(batch)
        except Exception as exc:
            # an internal error, too, must not leave callers waiting for ever
            for request in batch:
                request.error = exc
        if stop is not None:
            self._store.close()
        _settle([*batch, *([] if stop is None else [stop])])
        return stop is None

    def _take(self) -> tuple[list[RequestT], _Stop | None]:
        """Wait for a request; return it with those queued behind it, up to a stop."""
        batch: list[RequestT] = []
        awaited, until = False, 0.0
        while len(batch) < MAX_BATCH:
            try:
                request = self._next(first=not batch, patience=0.0 if awaited else until - time.monotonic())
            except queue.Empty:
                break
            if isinstance(request, _Stop):
                return batch, request
            if not batch:
                until = time.monotonic() + self._linger
            batch.append(request)
            awaited = awaited or request.future is not None
        return batch, None

    def _next(self, *, first: bool, patience: float) -> RequestT | _Stop:
        if first:
            return self._queue.get()
        return self._queue.get(timeout=patience) if patience > 0 else self._queue.get_nowait()


def _settle(batch: Sequence[Request]) -> None:
    """Settle requests on their loops; wake each loop only once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Request]] = {}
    for request in batch:
        if request.future is not None:
            by_loop.setdefault(request.future.get_loop(), []).append(request)
    for loop, requests in by_loop.items():
        # the loop is closed: no caller is left
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_all, requests)


def _settle_all(requests: Sequence[Request]) -> None:
    for request in requests:
        request.settle()
