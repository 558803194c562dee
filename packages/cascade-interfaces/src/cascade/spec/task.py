"""``@task``: a function that declares a node of a graph when it is called."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

from cascade.interfaces.errors import MapLengthError, TaskCallError
from cascade.spec.definition import Mode, TaskDefinition, define
from cascade.spec.lazy import LazyResult, MapResult
from cascade.spec.policies import NO_POLICIES, Policies, RetryPolicy

R = TypeVar("R")

_NO_KWARGS: Mapping[str, Any] = MappingProxyType({})  # shared, so that a call without keywords keeps no dict


class Task(Generic[R]):
    """A declared function. Calling it runs nothing and returns a :class:`LazyResult`."""

    __name__: str

    def __init__(self, definition: TaskDefinition, policies: Policies = NO_POLICIES) -> None:
        functools.update_wrapper(self, definition.function)
        self._definition = definition
        self._policies = policies

    @property
    def name(self) -> str:
        """The name that observers see and constraints match."""
        return self._definition.name

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself, for a direct call."""
        return self._definition.function

    def __call__(self, *args: Any, **kwargs: Any) -> LazyResult[R]:
        """Declare a call; each argument may be, or hold, a lazy result.

        :raises TaskCallError: if the function does not take these arguments.
        """
        self._definition.check_call(args, kwargs)
        return LazyResult(self._definition, args, kwargs or _NO_KWARGS, self._policies)

    def map(self, **iterables: Iterable[Any] | LazyResult[Iterable[Any]]) -> LazyResult[list[R]]:
        """Declare a call for each item; the value is the list of results, in order.

        Iterables are zipped; a lazy one is asked for its items when it has run.

        :raises MapLengthError: if iterables differ in length.
        :raises TaskCallError: if the function has no such parameter, or one is not iterable.
        """
        if not iterables:
            raise TaskCallError(self.name, self._signature_text(), "map needs at least one iterable by name")
        self._definition.check_call((), iterables)
        columns = {name: self._column(name, items) for name, items in iterables.items()}
        check_lengths(self.name, {k: len(v) for k, v in columns.items() if isinstance(v, tuple)})
        return MapResult(self._definition, (), columns, self._policies)

    def with_retry(self, max_attempts: int = 3, *, delay: float = 0.0, backoff: float = 1.0) -> Task[R]:
        """Return a task each call of which is tried up to ``max_attempts`` times in all.

        :raises ConfigurationError: if a value makes no sense.
        """
        retry = RetryPolicy(max_attempts=max_attempts, delay=delay, backoff=backoff)
        return Task(self._definition, replace(self._policies, retry=retry))

    def with_timeout(self, seconds: float) -> Task[R]:
        """Return a task each attempt of which may take ``seconds``.

        :raises ConfigurationError: if ``seconds`` is not a number above 0.
        """
        return Task(self._definition, replace(self._policies, timeout=seconds))

    def __repr__(self) -> str:
        return f"<Task {self.name}{self._signature_text()}>"

    def _signature_text(self) -> str:
        return str(self._definition.signature or "(...)")

    def _column(self, name: str, items: object) -> tuple[Any, ...] | LazyResult[Any]:
        if isinstance(items, LazyResult):
            return items
        if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
            problem = f"map needs a list of values for {name!r}, not {type(items).__name__}"
            raise TaskCallError(self.name, self._signature_text(), problem)
        return tuple(items)


def check_lengths(task_name: str, lengths: dict[str, int]) -> None:
    """Refuse columns of different lengths.

    :raises MapLengthError: naming each column's length.
    """
    if len(set(lengths.values())) > 1:
        raise MapLengthError(task_name, lengths)


@overload
def task(function: Callable[..., Awaitable[R]], /) -> Task[R]: ...
@overload
def task(function: Callable[..., R], /) -> Task[R]: ...
@overload
def task(*, name: str | None = None, mode: Mode = "auto") -> _Decorator: ...
def task(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, mode: Mode = "auto"
) -> Task[Any] | _Decorator:
    """Declare a function as a task.

    An async function runs on the event loop. A synchronous one runs in a thread, or on the
    event loop with ``mode="inline"``, for work that takes microseconds.

    :raises TaskDefinitionError: if it is not a function, or is a generator.
    :raises ConfigurationError: if the mode is unknown, or does not fit the function.
    """
    if function is None:
        return _Decorator(name, mode)
    return Task(define(function, name=name, mode=mode))


class _Decorator:
    """``@task(...)`` with its settings, waiting for the function."""

    def __init__(self, name: str | None, mode: Mode) -> None:
        self._name = name
        self._mode = mode

    @overload
    def __call__(self, function: Callable[..., Awaitable[R]], /) -> Task[R]: ...
    @overload
    def __call__(self, function: Callable[..., R], /) -> Task[R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Task[Any]:
        return Task(define(function, name=self._name, mode=self._mode))
