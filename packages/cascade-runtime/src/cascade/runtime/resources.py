"""Resources of a run: opened when first needed, shared, and closed in reverse order whatever happens."""

from __future__ import annotations

import asyncio
import logging
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
from cascade.runtime._holding import Holding, Patience
from cascade.runtime._traceback import add_note
from cascade.runtime.telemetry.redaction import describe, one_line
from cascade.spec import Call, Injection, MapCall, Resource, TaskDefinition

_NOT_CLOSED = "resources could not be closed"

_log = logging.getLogger("cascade.engine")
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

    As a context it closes them at its end, in the reverse order of their opening, whatever
    happens. What goes wrong there is raised, unless something else is on its way already.
    """

    def __init__(
        self,
        offered: Iterable[Resource],
        threads: Executor,
        *,
        patience: Patience = Patience(),  # noqa: B008 - it is frozen
        parent: Scope | None = None,
    ) -> None:
        self._known: Mapping[str, Resource] = parent._known if parent is not None else _by_name(offered)
        self._overrides: Mapping[str, Any] = parent._overrides if parent is not None else _overrides.get()
        self._threads = threads
        self._patience = patience
        self._parent = parent
        self._held: dict[Resource, Holding] = {}
        self._attempts: set[Scope] = set()
        self._checked: set[Resource] = set()
        self._closed = False

    def attempt(self) -> Scope:
        """Return a scope for one attempt of a task inside this run's."""
        return Scope((), self._threads, patience=self._patience, parent=self)

    async def __aenter__(self) -> Scope:
        if self._parent is not None:
            self._parent._attempts.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        cancelled = await self._close()
        if self._parent is not None:
            self._parent._attempts.discard(self)
        troubles = [each.trouble for each in self._held.values() if each.trouble is not None]
        if troubles:
            _tell(troubles, instead_of=cancelled or error)
        if cancelled is not None:
            raise cancelled

    def check(self, call: Call) -> None:
        """Refuse a call for which there is no resource, before anything is opened.

        :raises ResourceNotFoundError: naming the task.
        :raises UsageError: if resources need each other in a circle, or one that lives for the
            run needs one that lives for a task.
        """
        definition = call.definition
        given = set(call.kwargs)
        if isinstance(call, MapCall):
            given |= set(call.fixed)
        elif definition.signature is not None:
            given |= set(definition.signature.bind_partial(*call.args).arguments)
        for name, injection in definition.injections.items():
            if name not in given:
                self._check(injection, (), definition.name)

    async def fill(
        self, definition: TaskDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the keywords with a resource for each parameter that asks for one and has none.

        One that could not be opened is tried again by whoever asks next.

        :raises ResourceNotFoundError: if the run does not have it.
        :raises ResourceFailedError: if its opening was cancelled, or the run is over.
        """
        signature = definition.signature
        given = signature.bind_partial(*args, **kwargs).arguments if signature is not None else kwargs
        return kwargs | await self._values({n: i for n, i in definition.injections.items() if n not in given})

    def _check(self, injection: Injection, users: tuple[Resource, ...], task_name: str) -> None:
        """Check what an injection means and all that it needs; ``users`` are the resources on the way."""
        resource = self._find(injection, task_name=task_name)
        if not isinstance(resource, Resource):
            return
        if users and users[-1].scope == "run" and resource.scope == "task":
            raise UsageError(
                f"task {task_name!r}: resource {users[-1].name!r} lives for the run and cannot use "
                f"{resource.name!r}, which lives for one task; give both the same scope"
            )
        if resource in users:
            circle = " -> ".join(each.name for each in (*users[users.index(resource) :], resource))
            raise UsageError(f"task {task_name!r}: resources need each other in a circle: {circle}")
        if resource not in self._checked:
            for needed in resource.injections.values():
                self._check(needed, (*users, resource), task_name)
            self._checked.add(resource)

    async def _close(self) -> asyncio.CancelledError | None:
        """Close everything; who is cancelled meanwhile gets that back at the end."""
        self._closed = True
        cancelled: asyncio.CancelledError | None = None
        for attempt in list(self._attempts):  # of tasks that would not stop
            cancelled = await attempt._close() or cancelled
        for holding in reversed(list(self._held.values())):
            cancelled = await holding.close() or cancelled
        return cancelled

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
        holding = self._holding(resource)
        if holding is None:
            values = await self._values(resource.injections)
            holding = self._holding(resource) or self._hold(resource, values)
        return await holding.value()

    def _holding(self, resource: Resource) -> Holding | None:
        """Return what is open or about to be; what could not be opened is forgotten."""
        holding = self._held.get(resource)
        if holding is not None and holding.failed:
            del self._held[resource]
            return None
        return holding

    def _hold(self, resource: Resource, values: dict[str, Any]) -> Holding:
        if self._closed:
            raise ResourceFailedError(resource.name, "is asked for when its time is over")
        holding = self._held[resource] = Holding(resource, values, self._threads, self._patience)
        return holding


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


def _tell(troubles: list[BaseException], *, instead_of: BaseException | None) -> None:
    """Raise what went wrong, or only tell it where that would hide something else."""
    if instead_of is None:
        failures = [trouble for trouble in troubles if isinstance(trouble, Exception)]
        if len(troubles) == 1 or len(failures) < len(troubles):  # a word to the process goes first
            raise next((trouble for trouble in troubles if trouble not in failures), troubles[0])
        raise ExceptionGroup(_NOT_CLOSED, failures)
    for trouble in troubles:
        text = f"{_NOT_CLOSED}: {one_line(describe(trouble))}"
        _log.warning("%s", text)
        add_note(instead_of, text)
