"""Resources of a run: opened when first needed, shared, and closed in reverse order whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from cascade.interfaces import ConfigurationError, Executor, ResourceNotFoundError, UsageError
from cascade.spec import Call, Injection, MapCall, Resource, TaskDefinition

_END: Any = object()
_overrides: ContextVar[Mapping[str, Any]] = ContextVar("cascade resource overrides", default={})  # noqa: B039 - nobody writes to it


@contextmanager
def override_resource(name: str, value: Any) -> Iterator[None]:
    """Let runs begun inside the context use ``value``, or another resource, under this name."""
    token = _overrides.set({**_overrides.get(), name: value})
    try:
        yield
    finally:
        _overrides.reset(token)


class Scope:
    """Resources that live and end together: a run's, or one attempt's.

    Each resource is opened and closed in one asyncio task of its own, so that what it yields
    may stand inside a time limit or a task group of its own.
    """

    def __init__(
        self, offered: Iterable[Resource], threads: Executor, *, parent: Scope | None = None
    ) -> None:
        self._known: Mapping[str, Resource] = parent._known if parent is not None else _by_name(offered)
        self._overrides: Mapping[str, Any] = parent._overrides if parent is not None else _overrides.get()
        self._threads = threads
        self._parent = parent
        self._held: dict[Resource, _Holding] = {}

    def attempt(self) -> Scope:
        """Return a scope for one attempt of a task inside this run's."""
        return Scope((), self._threads, parent=self)

    def check(self, call: Call) -> None:
        """Refuse a call for which there is no resource, before anything is opened.

        :raises ResourceNotFoundError: naming the task.
        """
        definition = call.definition
        given = set(call.kwargs)
        if isinstance(call, MapCall):
            given |= set(call.fixed)
        elif definition.signature is not None:
            given |= set(definition.signature.bind_partial(*call.args).arguments)
        wanted = [i for name, i in definition.injections.items() if name not in given]
        seen: set[str] = set()
        while wanted:
            injection = wanted.pop()
            if injection.name in seen:
                continue
            seen.add(injection.name)
            found = self._find(injection, task_name=definition.name)
            if isinstance(found, Resource):
                wanted += found.injections.values()

    async def fill(
        self, definition: TaskDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the keywords with a resource for each parameter that asks for one and has none.

        :raises ResourceNotFoundError: if the run does not have it.
        """
        signature = definition.signature
        given = signature.bind_partial(*args, **kwargs).arguments if signature is not None else kwargs
        return kwargs | await self._values({n: i for n, i in definition.injections.items() if n not in given})

    async def close(self) -> None:
        """Close everything in the reverse order of opening; what goes wrong is raised at the end."""
        errors: list[Exception] = []
        for holding in reversed(list(self._held.values())):
            try:
                await holding.close()
            except Exception as exc:
                errors.append(exc)
        self._held.clear()
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup("resources could not be closed", errors)

    async def _values(self, injections: Mapping[str, Injection]) -> dict[str, Any]:
        return {name: await self._value(injection) for name, injection in injections.items()}

    async def _value(self, injection: Injection) -> Any:
        found = self._find(injection)
        return await self._open(found) if isinstance(found, Resource) else found

    def _find(self, injection: Injection, *, task_name: str = "") -> Any:
        """Return the resource that an injection means, or the value that was put in its place."""
        name = injection.name
        if name in self._overrides:
            return self._overrides[name]
        resource = injection.resource or self._known.get(name)
        if resource is None:
            raise ResourceNotFoundError(name, tuple(sorted(self._known)), task_name=task_name)
        return resource

    async def _open(self, resource: Resource) -> Any:
        if resource.scope == "run" and self._parent is not None:
            return await self._parent._open(resource)
        if resource.scope == "task" and self._parent is None:
            raise UsageError(
                f"resource {resource.name!r} lives for one task; one that lives for the run cannot use it"
            )
        holding = self._held.get(resource)
        if holding is None:
            values = await self._values(resource.injections)
            holding = self._held.get(resource)  # somebody else may have opened it meanwhile
            if holding is None:
                holding = self._held[resource] = _Holding(resource, values, self._threads)
        return await holding.value()


class _Holding:
    """One open resource, and the task that opened it and will close it."""

    def __init__(self, resource: Resource, values: dict[str, Any], threads: Executor) -> None:
        loop = asyncio.get_running_loop()
        self._resource = resource
        self._threads = threads
        self._opened: asyncio.Future[Any] = loop.create_future()
        self._wanted = asyncio.Event()
        self._task = loop.create_task(self._hold(values), name=f"cascade resource {resource.name}")

    async def value(self) -> Any:
        """Return what the resource yields; who is cancelled meanwhile does not stop the opening."""
        await asyncio.wait({self._opened})
        return self._opened.result()

    async def close(self) -> None:
        """Let the generator run on, and wait for its end."""
        self._wanted.set()
        await asyncio.wait({self._task})
        if self._opened.done() and self._opened.exception() is None:
            self._task.result()

    async def _hold(self, values: dict[str, Any]) -> None:
        steps = (
            _AsyncSteps(self._resource, values)
            if self._resource.is_async
            else _Steps(self._resource, values, self._threads)
        )
        try:
            value = await steps.next()
            if value is _END:
                raise UsageError(f"resource {self._resource.name!r} yields nothing")
        except Exception as exc:
            self._opened.set_exception(exc)
            return
        self._opened.set_result(value)
        await self._wanted.wait()
        if await steps.next() is not _END:
            raise UsageError(f"resource {self._resource.name!r} yields more than once")


class _AsyncSteps:
    """An asynchronous generator, step by step."""

    def __init__(self, resource: Resource, values: dict[str, Any]) -> None:
        self._generator: AsyncGenerator[Any, None] = resource.function(**values)

    async def next(self) -> Any:
        return await anext(self._generator, _END)


class _Steps:
    """A synchronous generator, step by step in threads, because opening may block."""

    def __init__(self, resource: Resource, values: dict[str, Any], threads: Executor) -> None:
        self._generator: Generator[Any, None, None] = resource.function(**values)
        self._threads = threads

    async def next(self) -> Any:
        return await self._threads.run(next, (self._generator, _END), {})


def _by_name(offered: Iterable[Resource]) -> dict[str, Resource]:
    known: dict[str, Resource] = {}
    for resource in offered:
        if not isinstance(resource, Resource):
            raise ConfigurationError("resources", f"takes what @cs.resource declares, not {resource!r}")
        if resource.name in known:
            raise ConfigurationError(
                "resources", f"two are named {resource.name!r}; give one @cs.resource(name=...)"
            )
        known[resource.name] = resource
    return known
