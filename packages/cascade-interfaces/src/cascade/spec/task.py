"""``@task``: a function that declares a node of a graph when it is called."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar, overload

from cascade.interfaces.errors import MapLengthError, TaskCallError
from cascade.spec.caching import CachePolicy, cache_policy
from cascade.spec.definition import AUTO, TaskDefinition, define
from cascade.spec.lazy import NO_KWARGS, Call, LazyResult, MapCall, checked_demands
from cascade.spec.policies import LONGEST_DELAY, NO_POLICIES, Policies, RetryPolicy

R = TypeVar("R")


class Task(Generic[R]):
    """A declared function. Calling it runs nothing and returns a :class:`LazyResult`."""

    __name__: str

    def __init__(
        self,
        definition: TaskDefinition,
        policies: Policies = NO_POLICIES,
        fixed: Mapping[str, Any] = NO_KWARGS,
    ) -> None:
        functools.update_wrapper(self, definition.function)
        self._definition = definition
        self._policies = policies
        self._fixed = fixed

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
        if self._fixed:
            kwargs = {**self._fixed, **kwargs}
        self._definition.check_call(args, kwargs)
        return LazyResult(Call(self._definition, args, kwargs or NO_KWARGS, self._policies))

    def partial(self, **fixed: Any) -> Task[R]:
        """Return a task some of whose arguments are given, by name; a call may give them anew.

        :raises TaskCallError: if the function has no such parameter.
        """
        self._check_names(fixed)
        return Task(self._definition, self._policies, {**self._fixed, **fixed})

    def map(self, **iterables: Iterable[Any] | LazyResult[Iterable[Any]]) -> LazyResult[list[R]]:
        """Declare a call for each item; the value is the list of results, in order.

        Iterables are zipped; a lazy one is asked for its items when it has run. Arguments that
        are the same for every item are given with :meth:`partial`.

        :raises MapLengthError: if iterables differ in length.
        :raises TaskCallError: if the function has no such parameter, or one is not iterable.
        """
        if not iterables:
            raise TaskCallError(self.name, self._definition.signature_text, "map needs an iterable, by name")
        self._definition.check_call((), {**self._fixed, **iterables})
        columns = {name: self._column(name, items) for name, items in iterables.items()}
        check_lengths(self.name, {k: len(v) for k, v in columns.items() if isinstance(v, tuple)})
        fixed = {name: value for name, value in self._fixed.items() if name not in columns}
        return LazyResult(MapCall(self._definition, (), columns, self._policies, fixed=fixed))

    def with_retry(
        self,
        max_attempts: int = 3,
        *,
        delay: float = 0.0,
        backoff: float = 1.0,
        max_delay: float = LONGEST_DELAY,
        jitter: float = 0.0,
        on: tuple[type[Exception], ...] = (Exception,),
    ) -> Task[R]:
        """Return a task each call of which is tried up to ``max_attempts`` times in all.

        The arguments are those of :meth:`LazyResult.with_retry`.

        :raises ConfigurationError: if a value makes no sense.
        """
        return self._changed(retry=RetryPolicy(max_attempts, delay, backoff, max_delay, jitter, on))

    def with_timeout(self, seconds: float) -> Task[R]:
        """Return a task each attempt of which may take ``seconds``.

        :raises ConfigurationError: if ``seconds`` is not a number above 0.
        """
        return self._changed(timeout=seconds)

    def with_cache(self, policy: CachePolicy | None = None, **settings: Any) -> Task[R]:
        """Return a task whose calls do not run when their value is already there.

        :raises ConfigurationError: if a setting makes no sense, or names what is no parameter.
        """
        return self._changed(cache=cache_policy(self._definition, policy, settings))

    def with_constraints(self, **demands: float | LazyResult[float]) -> Task[R]:
        """Return a task each call of which holds these amounts of the engine's resources while it runs.

        :raises ConfigurationError: if an amount is neither a number from 0 nor a lazy result.
        """
        return self._changed(demands=checked_demands(demands))

    def __repr__(self) -> str:
        return f"<Task {self.name}{self._definition.signature_text}>"

    def _changed(self, **policies: Any) -> Task[R]:
        return Task(self._definition, replace(self._policies, **policies), self._fixed)

    def _check_names(self, names: Mapping[str, Any]) -> None:
        signature = self._definition.signature
        if signature is None:
            return
        try:
            signature.bind_partial(**names)
        except TypeError as exc:
            raise TaskCallError(self.name, str(signature), str(exc)) from None

    def _column(self, name: str, items: object) -> tuple[Any, ...] | LazyResult[Any]:
        return items if isinstance(items, LazyResult) else column_of(self._definition, name, items)


def column_of(definition: TaskDefinition, name: str, items: object, *, given_by: str = "") -> tuple[Any, ...]:
    """Return the items of one iterable of a map.

    :raises TaskCallError: if it is a text, a mapping or not iterable at all; ``given_by`` names
        the task whose value it is.
    """
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        source = (
            f", but {given_by!r} gave {type(items).__name__}" if given_by else f", not {type(items).__name__}"
        )
        problem = f"map needs a list of values for {name!r}{source}"
        raise TaskCallError(definition.name, definition.signature_text, problem)
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
def task(*, name: str | None = None, mode: str = AUTO) -> _Decorator: ...
def task(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, mode: str = AUTO
) -> Task[Any] | _Decorator:
    """Declare a function as a task.

    An async function runs on the event loop. A synchronous one is run by the engine's executor
    (threads, unless it was given another); ``mode`` says otherwise: ``"inline"`` on the event
    loop, for work that takes microseconds; ``"thread"``, ``"process"`` or the name of any other
    executor that the engine has.

    :raises TaskDefinitionError: if it is not a function, or is a generator.
    :raises ConfigurationError: if the mode does not fit the function.
    """
    if function is None:
        return _Decorator(name, mode)
    return Task(define(function, name=name, mode=mode))


class _Decorator:
    """``@task(...)`` with its settings, waiting for the function."""

    def __init__(self, name: str | None, mode: str) -> None:
        self._name = name
        self._mode = mode

    @overload
    def __call__(self, function: Callable[..., Awaitable[R]], /) -> Task[R]: ...
    @overload
    def __call__(self, function: Callable[..., R], /) -> Task[R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Task[Any]:
        return Task(define(function, name=self._name, mode=self._mode))
