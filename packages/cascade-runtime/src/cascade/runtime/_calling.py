"""Calls one task: its arguments, its executor, its resources, its cache, its attempts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any

from cascade.interfaces import (
    CacheBackend,
    Clock,
    ConfigurationError,
    Executor,
    SupportsCheck,
    SupportsTracking,
    supports,
)
from cascade.interfaces.errors import TaskTimeoutError
from cascade.runtime._course import Course
from cascade.runtime.executors._set import ExecutorSet
from cascade.runtime.node import Node
from cascade.runtime.resources import Scope
from cascade.spec.definition import AUTO, TaskDefinition
from cascade.spec.policies import NO_POLICIES, RetryPolicy

if TYPE_CHECKING:
    from cascade.runtime.storage import CachedCalls
    from cascade.runtime.storage.calls import Prepare


class Caller:
    """Runs tasks for one run, on the loop or through executors, as often as their policies say."""

    def __init__(
        self,
        executors: ExecutorSet,
        resources: Scope,
        *,
        cache_backend: Callable[[], CacheBackend],
        clock: Clock,
    ) -> None:
        self._executors = executors
        self._resources = resources
        self._cache_backend = cache_backend
        self._clock = clock
        self._cached: CachedCalls | None = None
        self._checked: set[TaskDefinition] = set()

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Let caches that were used free their threads and files."""
        if self._cached is not None:
            await self._cached.close()

    def modes(self) -> set[str]:
        """Return the modes of the tasks that have been checked and need a worker."""
        return {definition.mode for definition in self._checked}

    async def ready(self, mode: str) -> Executor:
        """Return the executor of a mode, made ready for calls.

        :raises ExecutorUnavailable: if what it runs its calls on is not there.
        """
        return await self._executors.ready(mode)

    def check(self, node: Node) -> None:
        """Refuse, before anything runs, a task whose function, resources or executor the run cannot have.

        :raises ConfigurationError: if the engine has no such executor.
        :raises TaskNotPicklableError: if the function cannot be sent where it should run.
        :raises ResourceNotFoundError: if the run lacks a resource that the task asks for.
        """
        definition = node.definition
        if definition.injections:
            self._resources.check(node.call)
        if definition.on_loop or definition in self._checked:
            return
        self._checked.add(definition)
        executor = self._executor(definition.mode)
        if supports(executor, SupportsCheck):
            executor.check(definition.function)

    async def look(self, node: Node, course: Course) -> Any:
        """Begin a task that has no permission yet: look into its cache, and ask if it has to run."""
        if node.call.policies.cache is not None:
            return await self._from_cache(node, course)
        await course.permit(node)
        return await self.start(node, course)

    def start(self, node: Node, course: Course) -> Awaitable[Any]:
        """Begin a task; awaiting what this returns gives its value, or raises what its last attempt raised."""
        definition, policies = node.definition, node.call.policies
        course.begin(node)
        if policies is not NO_POLICIES:
            return self._attempts(node, course)
        if definition.is_async and not definition.injections:  # the common case, without a frame in between
            args, kwargs = node.scope.arguments(node)
            called: Awaitable[Any] = definition.function(*args, **kwargs)
            return called
        return self._attempt(node, course)

    async def _from_cache(self, node: Node, course: Course) -> Any:
        policy = node.call.policies.cache
        assert policy is not None

        async def compute(prepare: Prepare) -> Any:
            await course.permit(node)
            course.begin(node)
            return await self._attempts(node, course, prepare)

        args, kwargs = node.scope.arguments(node)
        answer = await self._cached_calls().call(policy, node.definition, args, kwargs, compute)
        if answer.reason:
            course.spare(node, answer.reason)
        return answer.value

    def _cached_calls(self) -> CachedCalls:
        if self._cached is None:
            from cascade.runtime.storage import CachedCalls  # only runs with caches pay for the import

            self._cached = CachedCalls(self._cache_backend(), clock=self._clock)
        return self._cached

    async def _attempts(self, node: Node, course: Course, prepare: Prepare | None = None) -> Any:
        policies = node.call.policies
        retry = policies.retry or _ONCE
        attempt = 1
        while True:
            if prepare is not None:
                await prepare()
            try:
                return await self._limited(node, course, policies.timeout)
            except Exception as exc:
                if attempt >= retry.max_attempts or not isinstance(exc, retry.on):
                    raise
                failure = exc
            delay = retry.delay_after(attempt, random.random())
            reason = f"attempt {attempt} of {retry.max_attempts} failed; the next one comes in {delay:g} s"
            await course.again(node, failure, delay, reason)
            attempt += 1

    async def _limited(self, node: Node, course: Course, timeout: float | None) -> Any:
        if timeout is None:
            return await self._attempt(node, course)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._attempt(node, course)
        except TimeoutError as exc:
            if limit.expired():
                raise TaskTimeoutError(node.name, timeout) from exc
            raise

    async def _attempt(self, node: Node, course: Course) -> Any:
        args, kwargs = node.scope.arguments(node)
        if not node.definition.injections:
            return await self._call(node, course, args, kwargs)
        async with self._resources.attempt() as scope:
            return await self._call(node, course, args, await scope.fill(node.definition, args, kwargs))

    async def _call(self, node: Node, course: Course, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        definition = node.definition
        if definition.is_async:
            return await definition.function(*args, **kwargs)
        if definition.on_loop:
            value = definition.function(*args, **kwargs)
        else:
            value = await self._elsewhere(node, course, args, kwargs)
        return await value if type(value) is CoroutineType else value

    async def _elsewhere(
        self, node: Node, course: Course, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        executor = self._executor(node.definition.mode)
        try:
            return await executor.run(node.definition.function, args, kwargs)
        except asyncio.CancelledError:
            ended = executor.runs_on() if supports(executor, SupportsTracking) else None
            if ended is not None:
                course.runs_on(node, ended)
            raise

    def _executor(self, mode: str) -> Executor:
        try:
            return self._executors[mode]
        except KeyError:
            known = ", ".join(sorted(name for name in self._executors if name != AUTO))
            raise ConfigurationError(
                "task(mode=)", f"the engine has no executor {mode!r}; it has {known}"
            ) from None


_ONCE = RetryPolicy(max_attempts=1)
