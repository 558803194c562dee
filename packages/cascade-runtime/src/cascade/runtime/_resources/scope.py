"""The resources of a run or of one attempt: opened when first needed, shared, closed in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from cascade.interfaces import (
    ConfigurationError,
    Executor,
    ResourceFailedError,
    ResourceNotFoundError,
    UsageError,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor, describe
from cascade.runtime._resources.lifetime import CloseTimeouts, OpenResource
from cascade.runtime._support.text import add_note
from cascade.spec import Call, Injection, MapCall, Resource, TaskDefinition

_NOT_CLOSED = "resources could not be closed"

_log = get_logger("cascade.engine")
_overrides: ContextVar[Mapping[str, Any]] = ContextVar("cascade resource overrides", default={})  # noqa: B039 - it is never changed


@contextmanager
def override_resource(name: str, value: Any) -> Iterator[None]:
    """Replace a resource by ``value``, or by another resource, for runs started inside the context."""
    token = _overrides.set({**_overrides.get(), name: value})
    try:
        yield
    finally:
        _overrides.reset(token)


class ResourceScope:
    """Opens resources on demand and closes them together: those of a run, or of one attempt.

    As a context manager it closes them at its end in reverse order, whatever happens. An error
    while closing is raised; if another error or a cancellation is being raised already, the
    closing error is logged and added to it as a note. The asyncio tasks of resources that do not end
    are added to ``still_running``.
    """

    def __init__(
        self,
        offered: Iterable[Resource],
        threads: Executor,
        *,
        timeouts: CloseTimeouts = CloseTimeouts(),  # noqa: B008 - it is frozen
        parent: ResourceScope | None = None,
        still_running: list[asyncio.Task[Any]] | None = None,
    ) -> None:
        self._known: Mapping[str, Resource] = parent._known if parent is not None else _by_name(offered)
        self._overrides: Mapping[str, Any] = parent._overrides if parent is not None else _overrides.get()
        self._threads = threads
        self._timeouts = timeouts
        self._parent = parent
        self._still_running: list[asyncio.Task[Any]] = (
            parent._still_running if parent is not None else [] if still_running is None else still_running
        )
        self._open: dict[Resource, OpenResource] = {}
        self._attempts: set[ResourceScope] = set()
        self._checked: set[Resource] = set()
        self._closed = False

    def attempt(self) -> ResourceScope:
        """Return a scope for one attempt of a task, inside this scope of the run."""
        return ResourceScope((), self._threads, timeouts=self._timeouts, parent=self)

    async def __aenter__(self) -> ResourceScope:
        if self._parent is not None:
            self._parent._attempts.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        cancelled = await self._close()
        if self._parent is not None:
            self._parent._attempts.discard(self)
        errors = [each.close_error for each in self._open.values() if each.close_error is not None]
        if errors:
            _report(errors, pending=cancelled or error)
        if cancelled is not None:
            raise cancelled

    def check(self, call: Call) -> None:
        """Check that the run has every resource that a call needs; open nothing.

        :raises ResourceNotFoundError: if one is missing; the error names the task.
        :raises UsageError: if resources need each other in a cycle, or a resource of the run
            needs a resource of a task.
        """
        definition = call.definition
        passed = set(call.kwargs)
        if isinstance(call, MapCall):
            passed |= set(call.fixed)
        elif definition.signature is not None:
            passed |= set(definition.signature.bind_partial(*call.args).arguments)
        for name, injection in definition.injections.items():
            if name not in passed:
                self._check(injection, (), definition.name)

    async def fill(
        self, definition: TaskDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the keyword arguments with a value for each injected parameter that was not passed.

        A resource that could not be opened is tried again for the next task that needs it.

        :raises ResourceNotFoundError: if the run does not have the resource.
        :raises ResourceFailedError: if its opening was cancelled, or the scope is closed.
        """
        signature = definition.signature
        passed = signature.bind_partial(*args, **kwargs).arguments if signature is not None else kwargs
        return kwargs | await self._values(
            {name: each for name, each in definition.injections.items() if name not in passed}
        )

    def _check(self, injection: Injection, users: tuple[Resource, ...], task_name: str) -> None:
        """Check a resource and its dependencies; ``users`` is the path of resources that led to it."""
        resource = self._find(injection, task_name=task_name)
        if not isinstance(resource, Resource):
            return
        if users and users[-1].scope == "run" and resource.scope == "task":
            raise UsageError(
                f"task {task_name!r}: resource {users[-1].name!r} lives for the run and cannot use "
                f"{resource.name!r}, which lives for one task; give both the same scope"
            )
        if resource in users:
            cycle = " -> ".join(each.name for each in (*users[users.index(resource) :], resource))
            raise UsageError(
                f"task {task_name!r}: resources need each other in a cycle: {cycle}; "
                "remove one of these injections"
            )
        if resource not in self._checked:
            for needed in resource.injections.values():
                self._check(needed, (*users, resource), task_name)
            self._checked.add(resource)

    async def _close(self) -> asyncio.CancelledError | None:
        """Close every resource; if the caller is cancelled meanwhile, return that when all are closed."""
        self._closed = True
        cancelled: asyncio.CancelledError | None = None
        # attempts of tasks that are still running
        for attempt in list(self._attempts):
            cancelled = await attempt._close() or cancelled
        for resource in reversed(list(self._open.values())):
            cancelled = await resource.close() or cancelled
            if not resource.task.done():
                self._still_running.append(resource.task)
        return cancelled

    async def _values(self, injections: Mapping[str, Injection]) -> dict[str, Any]:
        return {name: await self._value(injection) for name, injection in injections.items()}

    async def _value(self, injection: Injection) -> Any:
        found = self._find(injection)
        return await self._value_of(found) if isinstance(found, Resource) else found

    def _find(self, injection: Injection, *, task_name: str = "") -> Any:
        """Return the resource that an injection names, or the value that overrides it."""
        name = injection.name
        if name in self._overrides:
            return self._overrides[name]
        resource = injection.resource or self._known.get(name)
        if resource is None:
            raise ResourceNotFoundError(name, tuple(sorted(self._known)), task_name=task_name)
        return resource

    async def _value_of(self, resource: Resource) -> Any:
        if resource.scope == "run" and self._parent is not None:
            return await self._parent._value_of(resource)
        opened = self._opened(resource)
        if opened is None:
            values = await self._values(resource.injections)
            # Another task may have opened it while this one waited for the values.
            opened = self._opened(resource) or self._start_opening(resource, values)
        return await opened.value()

    def _opened(self, resource: Resource) -> OpenResource | None:
        """Return the resource if it is open or opening; forget one that could not be opened."""
        opened = self._open.get(resource)
        if opened is not None and opened.failed:
            del self._open[resource]
            return None
        return opened

    def _start_opening(self, resource: Resource, values: dict[str, Any]) -> OpenResource:
        if self._closed:
            problem = "was requested after the run or the attempt had closed its resources"
            raise ResourceFailedError(resource.name, problem)
        opened = self._open[resource] = OpenResource(resource, values, self._threads, self._timeouts)
        return opened


def _by_name(offered: Iterable[Resource]) -> dict[str, Resource]:
    known: dict[str, Resource] = {}
    for resource in offered:
        if not isinstance(resource, Resource):
            raise ConfigurationError("resources", f"needs functions with @cs.resource, not {resource!r}")
        if resource.name in known:
            raise ConfigurationError(
                "resources",
                f"two resources have the name {resource.name!r}; rename one with @cs.resource(name=...)",
            )
        known[resource.name] = resource
    return known


def _report(errors: list[BaseException], *, pending: BaseException | None) -> None:
    """Raise closing errors; if ``pending`` is being raised already, log them and add notes to it."""
    if pending is None:
        failures = [error for error in errors if isinstance(error, Exception)]
        # KeyboardInterrupt and SystemExit go first: an ExceptionGroup cannot hold them.
        if len(errors) == 1 or len(failures) < len(errors):
            raise next((error for error in errors if error not in failures), errors[0])
        raise ExceptionGroup(_NOT_CLOSED, failures)
    for error in errors:
        text = f"{_NOT_CLOSED}: {Redactor.DEFAULT.one_line(describe(error))}"
        _log.warning("%s", text)
        add_note(pending, text)
