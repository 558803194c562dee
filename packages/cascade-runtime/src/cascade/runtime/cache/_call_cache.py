"""The cached calls of one run; equal calls at the same time compute once."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from cascade.interfaces import (
    CacheBackend,
    CacheFileError,
    CacheUnavailable,
    Clock,
    Failure,
    Hit,
    UnstorableValueError,
)
from cascade.interfaces.logs import get_logger
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.loop_steps import with_calls
from cascade.runtime.cache._file_target import FileTarget
from cascade.runtime.cache._fingerprint import values_read_by
from cascade.runtime.cache._key import bound_arguments, cache_key
from cascade.runtime.executors import ThreadExecutor
from cascade.spec import LazyResult, TaskDefinition
from cascade.spec.caching import CachePolicy
from cascade.transport.state_log import StateLog

ValueT = TypeVar("ValueT")


class SingleFlight(Generic[ValueT]):
    """Runs one computation per key at a time; each further caller waits with one future, no task."""

    def __init__(self) -> None:
        self._waiters: dict[object, deque[asyncio.Future[ValueT | None]]] = {}

    async def run(self, key: object, compute: Callable[[], Awaitable[ValueT]]) -> tuple[ValueT, bool]:
        """Return the value for ``key``, and whether another caller computed it.

        The first caller computes. If it fails or is cancelled, the caller that has waited longest
        computes next; so each caller only ever fails by its own computation.

        :raises Exception: what this caller's own ``compute()`` raises.
        """
        shared = await self._wait(key)
        if shared is not None:
            return shared, True
        value: ValueT | None = None
        try:
            value = await compute()
            return value, False
        finally:
            self._pass_on(key, value)

    async def _wait(self, key: object) -> ValueT | None:
        """Return another caller's value, or None if this caller has to compute."""
        waiters = self._waiters.get(key)
        if waiters is None:
            self._waiters[key] = deque()
            return None
        waiter: asyncio.Future[ValueT | None] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Cancelled at the moment at which this caller was chosen to compute: choose the next one.
            if not waiter.cancelled() and waiter.result() is None:
                self._pass_on(key, None)
            raise

    def _pass_on(self, key: object, value: ValueT | None) -> None:
        """Give every waiter the value; without one (None), wake only the first, which then computes."""
        waiters = self._waiters[key]
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(value)
                if value is None:
                    return
        del self._waiters[key]


_log = get_logger("cascade.cache")

LARGE_ARGUMENT = 100_000
"""Bytes or items of an argument or a captured value above which a key is computed in a thread, to keep the
event loop responsive."""
_CONTAINERS = (list, tuple, dict)
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)

Prepare = Callable[[], Awaitable[None]]
"""Runs before each attempt of a task."""
Compute = Callable[[Prepare], Awaitable[Any]]
"""Runs the task and returns its value; awaits its argument before each attempt."""


class Answer(NamedTuple):
    """The value of a call."""

    value: Any
    reason: str
    """Why the task did not run; "" if it did."""


class CallCache:
    """Answers the calls of cached tasks for one run.

    ``backend`` is used for policies that name none of their own.
    """

    def __init__(self, backend: CacheBackend, *, clock: Clock | None = None) -> None:
        self._backend = backend
        self._clock: Clock = clock or SystemClock()
        self._single_flight: SingleFlight[Answer] = SingleFlight()
        self._used: dict[int, CacheBackend] = {}  # by identity
        self._state_log = StateLog(_log)
        self._threads = ThreadExecutor(1)

    async def call(
        self,
        policy: CachePolicy,
        definition: TaskDefinition,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        compute: Compute,
    ) -> Answer:
        """Return a call's value from its cache; otherwise run ``compute`` and store its value.

        ``args`` and ``kwargs`` hold values, no lazy results. If several equal calls wait at the
        same time, one computes and all get its value; if it fails or is cancelled, the next one
        computes. A failing cache is logged once and otherwise ignored, unless it is required.
        A call that takes a kept failure is computed and not stored: other runs may have the value that is missing here.

        :raises UncacheableArgumentError: if no key can be computed for an argument.
        :raises CacheFileError: if the task is cached by a file and did not write it.
        :raises CacheUnavailable: if a required cache cannot be used.
        :raises Exception: what ``compute`` raises.
        """
        incomplete = any(map(_holds_failure, (*args, *kwargs.values())))
        if policy.file is not None:
            target = FileTarget.of(policy, bound_arguments(definition, args, kwargs), args, kwargs)
            return await self._share(
                target.path, lambda: self._file(target, definition, compute, finishes=not incomplete)
            )
        if incomplete:
            return Answer(await compute(_prepare_nothing), "")
        backend = self._backend if policy.backend is None else policy.backend
        key = await self._key(policy, definition, args, kwargs)
        return await self._share(
            (id(backend), key), lambda: self._value(backend, key, policy, definition, compute)
        )

    async def close(self) -> None:
        """Close every cache that was used, so that it frees its threads and files. Idempotent."""
        used, self._used = self._used, {}
        for backend in used.values():
            try:
                await backend.close()
            except Exception as exc:
                self._state_log.failed((id(backend), "close"), "%r cannot be closed: %r", backend, exc)
        await self._threads.close()

    async def _key(
        self,
        policy: CachePolicy,
        definition: TaskDefinition,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> str:
        arguments = (*args, *kwargs.values()) if policy.key is None else ()
        if any(map(_is_large, (*arguments, *values_read_by(definition.function)))):
            key = await self._threads.run(cache_key, (policy, definition, args, kwargs), {})
            return str(key)
        return cache_key(policy, definition, args, kwargs)

    async def _share(self, key: object, find: Callable[[], Awaitable[Answer]]) -> Answer:
        answer, shared = await self._single_flight.run(key, find)
        if shared and not answer.reason:
            return Answer(answer.value, "computed by an equal call at the same time")
        return answer

    async def _value(
        self,
        backend: CacheBackend,
        key: str,
        policy: CachePolicy,
        definition: TaskDefinition,
        compute: Compute,
    ) -> Answer:
        ttl = policy.ttl
        hit = await self._tolerant(backend, "read", backend.get(key))
        if isinstance(hit, Hit) and (ttl is None or hit.age < ttl):
            return Answer(hit.value, "found in the cache")
        value = await with_calls(await compute(_prepare_nothing))
        # A task that returned calls has no value yet; the returned calls are cached by their own policies.
        if not isinstance(value, LazyResult):
            stored = self._store(backend, definition.name, backend.put(key, value, ttl=ttl))
            await self._tolerant(backend, "store", stored)
        return Answer(value, "")

    async def _store(self, backend: CacheBackend, name: str, operation: Awaitable[None]) -> None:
        try:
            await operation
        except UnstorableValueError as exc:
            message = "task %r runs every time, because %r cannot store its value: %s"
            self._state_log.failed(("unstorable", name), message, name, backend, exc)

    async def _tolerant(self, backend: CacheBackend, verb: str, operation: Awaitable[Any]) -> Any:
        """Return what a backend's operation returns, or None if it fails; log only the first failure."""
        self._used[id(backend)] = backend
        try:
            answer = await operation
        except CacheUnavailable:
            raise
        except Exception as exc:
            message = "%r cannot %s values: %r; tasks run without it"
            self._state_log.failed((id(backend), verb), message, backend, verb, exc)
            return None
        self._state_log.works((id(backend), verb), "%r can %s values again", backend, verb)
        return answer

    async def _file(
        self, target: FileTarget, definition: TaskDefinition, compute: Compute, *, finishes: bool
    ) -> Answer:
        """Answer by the existence of a file; without ``finishes`` it is written, and the next run writes it again."""
        if finishes and (reason := await self._threads.run(target.skip_reason, (self._clock.now(),), {})):
            return Answer(target.path, reason)
        value = await compute(lambda: self._mark_unfinished(target, definition.name))
        if not target.is_result(value):
            problem = f"it returned {_brief(value)}: return the file's path, or None"
            raise CacheFileError(definition.name, str(target.path), problem)
        written = target.mark_finished if finishes else target.path.exists
        if not await self._threads.run(written, (), {}):
            problem = "it ended without writing that file: write it, or remove file= from with_cache()"
            raise CacheFileError(definition.name, str(target.path), problem)
        return Answer(target.path, "")

    async def _mark_unfinished(self, target: FileTarget, name: str) -> None:
        try:
            await self._threads.run(target.mark_unfinished, (), {})
        except OSError as exc:
            _log.warning(
                "cannot mark the file of task %r as unfinished: %s; if this attempt fails, "
                "delete the file before the next run, or a partly written file counts as finished",
                name,
                exc.strerror,
            )


async def _prepare_nothing() -> None:
    """Do nothing: a value in a backend needs no preparation."""


def _holds_failure(value: object) -> bool:
    """Return whether a kept failure is an argument, or stands in its lists, tuples and dicts."""
    stack: list[Any] = [value]
    # a list may hold itself
    seen: set[int] = set()
    while stack:
        each = stack.pop()
        kind = type(each)
        if kind is Failure:
            return True
        if kind in _CONTAINERS and id(each) not in seen:
            seen.add(id(each))
            stack += each.values() if kind is dict else each
    return False


def _is_large(value: object) -> bool:
    if isinstance(value, _SIZED):
        return len(value) > LARGE_ARGUMENT
    # arrays, tables
    measure = next((name for name in ("nbytes", "size") if hasattr(type(value), name)), "")
    size = getattr(value, measure) if measure else 0
    return isinstance(size, int) and size > LARGE_ARGUMENT


def _brief(value: object) -> str:
    return f"{value}" if isinstance(value, str | os.PathLike) else f"a {type(value).__name__}"
