"""Calls one task: its arguments, its executor, its resources, its attempts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from types import CoroutineType
from typing import Any

from cascade.interfaces import ConfigurationError, Executor
from cascade.interfaces.errors import TaskTimeoutError
from cascade.runtime.graph import Node
from cascade.runtime.resources import Scope
from cascade.spec.definition import AUTO
from cascade.spec.policies import NO_POLICIES

Retrying = Callable[[Exception, str], None]


class Caller:
    """Runs tasks for one run, on the loop or through executors, as often as their policies say."""

    def __init__(self, executors: Mapping[str, Executor], resources: Scope) -> None:
        self._executors = executors
        self._resources = resources

    def workers(self, mode: str) -> int:
        """Return how many calls of this mode may run at the same time.

        :raises ConfigurationError: if the engine has no such executor.
        """
        return self._executor(mode).workers

    def start(self, node: Node, retrying: Retrying) -> Awaitable[Any]:
        """Begin a task; awaiting what this returns gives its value, or raises what its last attempt raised.

        ``retrying`` is told of each attempt that is followed by another.
        """
        definition = node.definition
        if node.call.policies is not NO_POLICIES:
            return self._attempts(node, retrying)
        if definition.is_async and not definition.injections:  # the common case, without a frame in between
            args, kwargs = node.scope.arguments(node)
            called: Awaitable[Any] = definition.function(*args, **kwargs)
            return called
        return self._attempt(node)

    async def _attempts(self, node: Node, retrying: Retrying) -> Any:
        policies = node.call.policies
        retry = policies.retry
        attempt = 1
        while True:
            try:
                return await self._limited(node, policies.timeout)
            except Exception as exc:
                if retry is None or attempt >= retry.max_attempts or not isinstance(exc, retry.on):
                    raise
                delay = retry.delay_after(attempt, random.random())
                retrying(
                    exc,
                    f"attempt {attempt} of {retry.max_attempts} failed; the next one comes in {delay:g} s",
                )
            await asyncio.sleep(delay)
            attempt += 1

    async def _limited(self, node: Node, timeout: float | None) -> Any:
        if timeout is None:
            return await self._attempt(node)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._attempt(node)
        except TimeoutError as exc:
            if limit.expired():
                raise TaskTimeoutError(node.name, timeout) from exc
            raise

    async def _attempt(self, node: Node) -> Any:
        args, kwargs = node.scope.arguments(node)
        if not node.definition.injections:
            return await self._call(node, args, kwargs)
        scope = self._resources.attempt()
        try:
            return await self._call(node, args, await scope.fill(node.definition, args, kwargs))
        finally:
            await scope.close()

    async def _call(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        definition = node.definition
        if definition.is_async:
            return await definition.function(*args, **kwargs)
        if definition.on_loop:
            value = definition.function(*args, **kwargs)
        else:
            value = await self._executor(definition.mode).run(definition.function, args, kwargs)
        return await value if type(value) is CoroutineType else value

    def _executor(self, mode: str) -> Executor:
        try:
            return self._executors[mode]
        except KeyError:
            known = ", ".join(sorted(name for name in self._executors if name != AUTO))
            raise ConfigurationError(
                "task(mode=)", f"the engine has no executor {mode!r}; it has {known}"
            ) from None
