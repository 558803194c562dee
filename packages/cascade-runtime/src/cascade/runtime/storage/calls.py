"""Calls of cached tasks within one run: asked for once, computed once, never failed by a cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from cascade.interfaces import (
    CacheBackend,
    CacheFileError,
    CacheUnavailable,
    Clock,
    Hit,
    UnstorableValueError,
)
from cascade.runtime._clock import SystemClock
from cascade.runtime.executors import ThreadExecutor
from cascade.runtime.storage._flights import Flights
from cascade.runtime.storage._health import Health
from cascade.runtime.storage.cache import bound_arguments, cache_key
from cascade.runtime.storage.files import FileTarget
from cascade.spec import LazyResult, TaskDefinition
from cascade.spec.caching import CachePolicy

_log = logging.getLogger("cascade.cache")

LARGE = 100_000
"""Bytes or items from which on the key of an argument is made in a thread."""
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)

Prepare = Callable[[], Awaitable[None]]


class Compute(Protocol):
    """Gets a call's value by running its task."""

    def __call__(self, prepare: Prepare) -> Awaitable[Any]:
        """Return the value, having awaited ``prepare()`` before each attempt."""
        ...


class Answer(NamedTuple):
    """The value of a call."""

    value: Any
    reason: str
    """Why the task did not run; "" if it did."""


class CachedCalls:
    """Answers the calls of cached tasks for one run.

    ``backend`` serves policies that name none of their own.
    """

    def __init__(self, backend: CacheBackend, *, clock: Clock | None = None) -> None:
        self._backend = backend
        self._clock: Clock = clock or SystemClock()
        self._flights: Flights[Answer] = Flights()
        self._used: dict[int, tuple[CacheBackend, Health]] = {}
        self._unstorable: set[str] = set()
        self._threads = ThreadExecutor(1)

    async def call(
        self,
        policy: CachePolicy,
        definition: TaskDefinition,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        compute: Compute,
    ) -> Answer:
        """Return a call's value from its cache, or from ``compute``, which is then kept.

        ``args`` and ``kwargs`` hold values, no lazy results. Of equal calls at the same time
        only one computes, and the others get its value; when it fails or is cancelled, another
        one takes over. Every fault of a cache is logged and otherwise ignored, but for one that
        is required.

        :raises UncacheableArgumentError: if no key can be made of an argument.
        :raises CacheFileError: if the task is cached by a file and did not write it.
        :raises CacheUnavailable: if a cache that is required cannot be used.
        :raises Exception: what ``compute`` raises.
        """
        if policy.file is not None:
            target = FileTarget.of(policy, bound_arguments(definition, args, kwargs), args, kwargs)
            return await self._once(target.path, lambda: self._file(target, definition, compute))
        backend = self._backend if policy.backend is None else policy.backend
        key = await self._key(policy, definition, args, kwargs)
        return await self._once(
            (id(backend), key), lambda: self._value(backend, key, policy, definition, compute)
        )

    async def close(self) -> None:
        """Let every cache that was used free its threads and files. Twice is harmless."""
        used, self._used = self._used, {}
        for backend, health in used.values():
            try:
                await backend.close()
            except Exception as exc:
                health.failed("close", repr(exc))
        await self._threads.close()

    async def _key(
        self,
        policy: CachePolicy,
        definition: TaskDefinition,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> str:
        """Return a call's key; that of a large argument is made in a thread, so that the loop turns."""
        if policy.key is None and any(map(_is_large, (*args, *kwargs.values()))):
            made = await self._threads.run(cache_key, (policy, definition, args, kwargs), {})
            return str(made)
        return cache_key(policy, definition, args, kwargs)

    async def _once(self, key: object, find: Callable[[], Awaitable[Answer]]) -> Answer:
        answer, shared = await self._flights.join(key, find)
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
        hit = await self._guard(backend, "find values", backend.get(key))
        if isinstance(hit, Hit) and (ttl is None or hit.age < ttl):
            return Answer(hit.value, "found in the cache")
        value = await compute(_nothing)
        if not isinstance(value, LazyResult):  # a continuation is no value yet
            kept = self._keep(backend, definition.name, backend.put(key, value, ttl=ttl))
            await self._guard(backend, "keep values", kept)
        return Answer(value, "")

    async def _keep(self, backend: CacheBackend, name: str, operation: Awaitable[None]) -> None:
        try:
            await operation
        except UnstorableValueError as exc:
            if name not in self._unstorable:
                self._unstorable.add(name)
                _log.warning("task %r runs every time, for %r cannot keep its value: %s", name, backend, exc)

    async def _guard(self, backend: CacheBackend, ability: str, operation: Awaitable[Any]) -> Any:
        """Return what a backend answers, or None when it raises what it should not."""
        health = self._health(backend)
        try:
            answer = await operation
        except CacheUnavailable:
            raise
        except Exception as exc:
            health.failed(ability, repr(exc), advice="tasks run as without it")
            return None
        health.worked(ability)
        return answer

    def _health(self, backend: CacheBackend) -> Health:
        known = self._used.get(id(backend))
        if known is None:
            known = self._used[id(backend)] = (backend, Health(_log, repr(backend)))
        return known[1]

    async def _file(self, target: FileTarget, definition: TaskDefinition, compute: Compute) -> Answer:
        reason = await self._threads.run(target.reason, (self._clock.now(),), {})
        if reason:
            return Answer(target.path, reason)
        value = await compute(lambda: self._mark(target, definition.name))
        if not target.is_meant_by(value):
            problem = f"it returned {_brief(value)}: return the file's path, or nothing"
            raise CacheFileError(definition.name, str(target.path), problem)
        if not await self._threads.run(target.finish, (), {}):
            raise CacheFileError(definition.name, str(target.path), "it ended without writing that file")
        return Answer(target.path, "")

    async def _mark(self, target: FileTarget, name: str) -> None:
        try:
            await self._threads.run(target.begin, (), {})
        except OSError as exc:
            _log.warning(
                "the file of task %r may be taken for finished when it is half-made: %s", name, exc.strerror
            )


async def _nothing() -> None:
    """Prepare nothing."""


def _is_large(value: object) -> bool:
    size = getattr(value, "nbytes", None) or (len(value) if isinstance(value, _SIZED) else 0)
    return isinstance(size, int) and size > LARGE


def _brief(value: object) -> str:
    return f"{value}" if isinstance(value, str | os.PathLike) else f"a {type(value).__name__}"
